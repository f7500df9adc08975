"""A process that shows the metrics of ofi-record by their names and types: ``python -m tests.support.exporter``.

Prints its port. Each line on stdin is ``<metric> <value>``: a counter grows by it, a gauge is set to it, a histogram observes it.
"""

from __future__ import annotations

import sys
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from tape_archive.format import harvest

SYMBOLS = ("BTCUSDT", "ETHUSDT")


def metrics(registry: CollectorRegistry) -> dict[str, list[Any]]:
    """Every metric of the format, with a child for each symbol and kind."""
    made: dict[str, list[Any]] = {}
    for name, (kind, labels, text) in harvest.METRICS.items():
        if kind == "histogram":
            metric: Any = Histogram(name, text, labels, registry=registry, buckets=harvest.LATENCY_BUCKETS_MS)
        else:
            metric = {"counter": Counter, "gauge": Gauge}[kind](name, text, labels, registry=registry)
        values = {"symbol": SYMBOLS, "kind": harvest.KINDS}
        children = [{}]
        for label in labels:
            children = [{**child, label: value} for child in children for value in values[label]]
        made[name] = [metric.labels(**child) if child else metric for child in children]
    return made


def change(child: Any, value: float) -> None:
    """By the metric's type."""
    getattr(child, "observe" if isinstance(child, Histogram) else "set" if isinstance(child, Gauge) else "inc")(value)


def main() -> None:
    """Serve until stdin ends."""
    registry = CollectorRegistry()
    made = metrics(registry)
    server, _ = start_http_server(0, "127.0.0.1", registry)
    print(server.server_port, flush=True)
    for line in sys.stdin:
        name, _, value = line.partition(" ")
        for child in made[name]:
            change(child, float(value))
        print("ok", flush=True)


if __name__ == "__main__":
    main()
