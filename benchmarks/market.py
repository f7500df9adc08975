"""``python -m benchmarks.market [seconds] [perpetuals] [rate] [store]``: the whole market in one recorder, and what its tables have at the end.

The simulator takes one processor with the writer of tables, the recorder has the other. ``store``: parquet (the default), postgresql (a server of
its own is started), chdb, or none. While it runs symbols are listed and delisted and sockets are cut (``--trouble``); without, every row is compared with the
simulator's own count and hash of what it sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.venues import pinned
from tape_archive.tables.tables import open_tables
from tests.support.ledger import told
from tests.support.postgres import Postgres
from tests.support.recording import tape
from tests.support.stored import Difference, compare

CHANNELS = 11


def ask(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=60) as answer:
        return json.loads(answer.read())


@contextlib.contextmanager
def store_of(kind: str, folder: Path) -> Iterator[tuple[str, Postgres | None]]:
    """The URL of a store that is there for the run, and its server."""
    if kind == "postgresql":
        server = Postgres()
        server.start()
        try:
            yield server.url(), server
        finally:
            server.stop()
    else:
        yield {"parquet": f"parquet://{folder / 'tables'}", "chdb": f"chdb://{folder / 'chdb'}", "none": "none"}[kind], None


class Watch:
    """CPU and memory of the two processes, and how far the tables are behind, sampled every second."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root = root
        self.recorder = psutil.Process(pid)
        self.lags: list[float] = []
        self.memory: list[tuple[float, float]] = []
        self.begun, self.used = time.monotonic(), self.cpu()

    def writer(self) -> psutil.Process | None:
        return next(iter(self.recorder.children()), None)

    def cpu(self) -> tuple[float, float]:
        writer = self.writer()
        return sum(self.recorder.cpu_times()[:2]), sum(writer.cpu_times()[:2]) if writer else 0.0

    def sample(self) -> None:
        writer = self.writer()
        self.memory.append((self.recorder.memory_info().rss / 2**20, writer.memory_info().rss / 2**20 if writer else 0.0))
        with contextlib.suppress(OSError, ValueError):
            status = json.loads((self.root / "state" / "tables-1-of-1.status.json").read_text())
            self.lags += [(time.time_ns() - tape["t"]) / 1e9 for tape in status["tapes"].values() if tape["t"]]

    def tell(self, frames: int) -> None:
        wall, used = time.monotonic() - self.begun, self.cpu()
        mine, theirs = used[0] - self.used[0], used[1] - self.used[1]
        print(
            f"recorder: {frames / wall:,.0f} frames/s, {mine / wall:.1%} of a core, {mine / frames * 1e6:.1f} µs a frame, {max(m for m, _ in self.memory):.0f} MiB"
        )
        print(f"tables:   {theirs / wall:.1%} of a core, {theirs / frames * 1e6:.1f} µs a frame, {max(m for _, m in self.memory):.0f} MiB")
        if len(self.lags) > 20:
            p50, p99 = statistics.median(self.lags), statistics.quantiles(self.lags, n=100)[98]
            print(f"the writer is behind the tape by {p50:.2f} s (median), {p99:.2f} s (p99)")


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    seconds, count, rate, kind = (words + ["120", "600", "15000", "parquet"][len(words) :])[:4]
    with (
        tempfile.TemporaryDirectory(prefix="tape-market-", dir=os.environ.get("BENCH_DIR")) as name,
        store_of(kind, Path(name)) as (store, database),
    ):
        folder = Path(name)
        ports, root = folder / "ports.json", folder / "data"
        simulate = [sys.executable, "-m", "tape_archive", "simulate", "--perpetuals", count, "--rate", rate, "--port-file", str(ports)]
        server = subprocess.Popen([*pinned(0), *simulate, "--weight-limit", "1000000"], stdout=subprocess.DEVNULL)
        try:
            while not ports.exists():
                time.sleep(0.1)
            endpoints = json.loads(ports.read_text())
            mine = [word for key, url in endpoints.items() if key.startswith("binance_usdm") for word in ("--endpoint", f"{key}={url}")]
            record = [
                sys.executable,
                "-m",
                "tape_collectors.cli.market_record",
                "--root",
                str(root),
                "--metrics-port",
                "-1",
                "--log-level",
                "warning",
            ]
            child = subprocess.Popen(
                [*pinned(1), *record, "--discovery-seconds", "5", *mine], env=os.environ | {"TAPE_STORE": store, "TAPE_DRAIN_S": "300"}
            )
            run(child, root, endpoints["binance_usdm.rest"], float(seconds), "--trouble" in sys.argv, store, database)
        finally:
            server.terminate()
            server.wait()


def run(
    child: subprocess.Popen[bytes], root: Path, rest: str, seconds: float, trouble: bool, store: str, database: Postgres | None
) -> None:
    while not (root / "state" / "market.status.json").exists():
        time.sleep(0.2)
    wanted = 0
    while not wanted or ask(f"{rest}/control/status")["streams"] < wanted:
        time.sleep(1)
        wanted = CHANNELS * sum(
            row["symbol"].endswith("USDT") and row["contractType"] == "PERPETUAL" for row in ask(f"{rest}/fapi/v1/exchangeInfo")["symbols"]
        )
        assert child.poll() is None, "the recorder ended"
    time.sleep(5)
    ask(f"{rest}/control/ledger/reset", b"")
    frames = json.loads((root / "state" / "market.status.json").read_text())["frames"]
    watch = Watch(root, child.pid)
    at = {0.2: "list?count=40", 0.4: "delist?count=15", 0.85: "cut?count=3"} if trouble else {}
    kills = {0.5: "kill", 0.7: "start"} if trouble and database is not None else {}
    while (passed := time.monotonic() - watch.begun) < seconds and child.poll() is None:
        time.sleep(1)
        watch.sample()
        for share in [share for share in at if passed > share * seconds]:
            print(f"after {passed:.0f} s: {at[share]}: {str(ask(f'{rest}/control/{at.pop(share)}', b''))[:80]}")
        for share in [share for share in kills if passed > share * seconds]:
            print(f"after {passed:.0f} s: {kills[share]} the database")
            getattr(database, kills.pop(share))()
    frames = json.loads((root / "state" / "market.status.json").read_text())["frames"] - frames
    print(f"{wanted:,} streams, {seconds:.0f} s, store {store.partition(':')[0]}")
    watch.tell(frames)
    ask(f"{rest}/control/ledger/stop", b"")
    ledger = ask(f"{rest}/control/ledger")
    time.sleep(5)
    child.terminate()
    child.wait()
    print(f"recorder: exit {child.returncode}, {time.monotonic() - watch.begun - seconds:.0f} s to seal the tapes and write all rows")
    if store != "none":
        result(root, store, ledger["rows"] if isinstance(ledger, dict) else ledger)


def result(root: Path, store: str, lines: list[dict[str, Any]]) -> None:
    """What the tables have, beside what was sent."""
    tables = open_tables(store)
    found = compare(tables, lines)
    for table, rows in found.rows.items():
        print(f"  {table:14} {rows:>11,} rows as they were sent")
    missing = {}
    for one in found.different:
        missing[one.stream] = missing.get(one.stream, 0) + one.sent - one.stored
    print(f"{len(found.different)} streams of a symbol differ from what was sent: {missing or 'none'}")
    for one in found.different[:5]:
        print(f"  {one.stream} of {one.symbol}: {one.sent} sent, {one.stored} stored, {on_tape(root, one, lines)} on the tape")
    begun = time.perf_counter()
    rows = len(tables.read("candles_5m", "BTC-USDT-PERP"))
    print(f"candles_5m of one symbol: {rows} rows in {(time.perf_counter() - begun) * 1e3:.0f} ms")
    tables.close()


def on_tape(root: Path, one: Difference, ledger: list[dict[str, Any]]) -> int:
    """Frames of a stream on the tapes, each id once, as plain JSON."""
    line = next(line for line in ledger if (line["stream"], line["symbol"]) == (one.stream, one.symbol))
    name, seen = f"{one.symbol.lower()}@{one.stream}", set()
    for each in tape(root, "binance_usdm"):
        if each.data is not None and each.request is None and (frame := json.loads(each.data)).get("stream") == name:
            seen.add(told(name, frame["data"])[2])
    return sum(line["first"] <= id <= line["last"] for id in seen)


if __name__ == "__main__":
    main()
