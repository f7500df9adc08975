"""What /metrics of ``ofi-record`` shows beside the recorder's own: the brief's names (``format.harvest.METRICS``)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tape_archive.format.harvest import LATENCY_BUCKETS_MS, METRICS
from tape_collectors.wiring import Process

if TYPE_CHECKING:
    from tape_collectors.harvest.output import HarvestOutput


def metrics(output: HarvestOutput, process: Process) -> Iterator[Metric]:
    """Made from plain counters when Prometheus asks. A value that is not known has no sample."""
    family = {name: _family(name) for name, (kind, _, _) in METRICS.items() if kind != "histogram"}
    latency = HistogramMetricFamily("latency_ms", METRICS["latency_ms"][2], labels=METRICS["latency_ms"][1])
    family["ws_reconnects_total"].add_metric([], sum(pool.reconnects for pool in process.pools))
    family["write_errors_total"].add_metric([], output.errors)
    now = process.recorder.clock.now()
    for symbol, market in output.harvest.markets.items():
        trades = market.trades
        known = {
            "recv_rate_tps": trades.rate.at(now),
            "cvd_scale_median": median(trades.scales) if trades.scales else None,
            "cvd_floor_hit_rate": sum(trades.floors) / len(trades.floors) if trades.floors else None,
        }
        for name, value in known.items():
            if value is not None:
                family[name].add_metric([symbol], value)
        family["dedup_hits_total"].add_metric([symbol], trades.chain.doubles)
        for kind, rows in market.rows.total().items():
            family["data_rows_total"].add_metric([kind, symbol], rows)
        bounds = [*(f"{most:.1f}" for most in LATENCY_BUCKETS_MS), "+Inf"]
        buckets = list(zip(bounds, accumulate(trades.buckets), strict=True))
        latency.add_metric([symbol], buckets, sum_value=trades.latency_ms)
    yield from (*family.values(), latency)


def _family(name: str) -> GaugeMetricFamily | CounterMetricFamily:
    kind, labels, text = METRICS[name]
    if kind == "gauge":
        return GaugeMetricFamily(name, text, labels=labels)
    return CounterMetricFamily(name.removesuffix("_total"), text, labels=labels)
