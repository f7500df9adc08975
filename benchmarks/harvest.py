"""A day of ``ofi-record`` in minutes: ``python -m benchmarks.harvest --hours 24``.

The recorder itself (stamp, tape, decode, features, parts, checkpoints), without sockets: the simulator's market is stepped as fast as it
goes, and the recorder's clock shows the market's time. Prints CPU for 1,000 trades and for 1,000 book updates, what the parts cost, and
memory after each hour; exit 1 if memory grows by more than 5 % after the hours of warm-up, or a core alone would be slower than ``--speed``.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import msgspec
import psutil

from tape_archive.format import harvest as layout
from tape_archive.format.clock import TapeClock
from tape_archive.format.layout import segments
from tape_archive.format.records import BookDelta, Record, Trade
from tape_archive.format.tape import Tape
from tape_archive.human import size
from tape_collectors.harvest import derive
from tape_collectors.harvest.output import HarvestOutput
from tape_collectors.market.harvest_setup import HarvestSetup
from tape_collectors.runtime.error_budget import ErrorBudget
from tape_collectors.runtime.recorder import Recorder
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.simulator import binance_events as events
from tape_collectors.simulator.binance_events import Batch
from tape_collectors.simulator.market import Market
from tape_collectors.simulator.world import PRICES
from tape_collectors.venues import load
from tape_collectors.venues.protocol import Group

MS = 1_000_000
#: 2026-01-10T00:00:00Z
MIDNIGHT_MS = 1_768_003_200_000
STEP_MS = 50
#: hours after which memory must be flat: windows are full, the integrated measure is fitted, a day's regimes excepted
WARM_UP = 3
encode = msgspec.json.Encoder().encode


class _NoLoop:
    """Whoever steps the market does the work itself."""

    def call_soon(self, job: Callable[[], None]) -> None:
        """Nothing."""


class Watched(HarvestOutput):
    """Looks at the clock around every 16th record: what features and rows alone cost."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.ns: dict[type, deque[int]] = {Trade: deque(maxlen=20_000), BookDelta: deque(maxlen=20_000)}
        self._number = 0

    def record(self, venue: str, s: str, record: Record) -> None:
        """What a line said."""
        self._number += 1
        if self._number & 15 or type(record) not in self.ns:
            self.harvest.record(venue, s, record)
            return
        begun = time.perf_counter_ns()
        self.harvest.record(venue, s, record)
        self.ns[type(record)].append(time.perf_counter_ns() - begun)


class Day:
    """A recorder whose clock shows the market's time."""

    def __init__(self, root: Path, symbols: tuple[str, ...], seed: int = 1, begin_ms: int = MIDNIGHT_MS) -> None:
        self.root = root
        self.ms = begin_ms
        self.t = begin_ms * MS
        self.chance = random.Random(seed)
        self.market = Market({symbol: PRICES[symbol] for symbol in symbols}, seed=seed, first_id=begin_ms, stride=9)
        self.batches = {symbol: Batch(last=one.id, due=0) for symbol, one in self.market.instruments.items()}
        self.venue: Any = load("binance_usdm")
        self.output = Watched(root, HarvestSetup(symbols=symbols), f"day-{seed}", ErrorBudget())
        self.recorder = Recorder(TapeClock(lambda: self.t, lambda: self.t, 0), self.output)
        self.intakes = {name: self._intake(name) for name in ("public", "market")}
        self.trades = self.updates = 0
        self.trade_s = self.update_s = 0.0
        self._ticked = 0
        #: what it costs to look at the CPU clock
        self._look = _look()

    def _intake(self, stream: str) -> TapeIntake:
        described = {derive.KEY: msgspec.to_builtins(self.output.harvest.setup)}
        head = {"format": 1, "venue": self.venue.name, "stream": stream, "run": self.output.run, "setup": described}
        return TapeIntake(self.recorder, self.venue.name, Tape(self.root, self.venue.name, stream), self.venue.feed, lambda: head)

    def begin(self) -> None:
        """Sockets open, and a snapshot of each book comes."""
        self.output.start(lambda: None)
        self.output.owing = False
        self.recorder.start(_NoLoop())  # type: ignore[arg-type]
        for name, intake in self.intakes.items():
            intake.opened(f"{name}-1", Group(name, "", ()))
        self.recorder.work(60.0)
        for _ in range(10):
            self.step()
        for symbol, one in self.market.instruments.items():
            update, bids, asks = events.top(one, 1000)
            body = {"lastUpdateId": update, "E": self.ms, "T": self.ms, "bids": bids, "asks": asks}
            self.intakes["public"].reply(f"GET /fapi/v1/depth?symbol={symbol}&limit=1000", 200, encode(body))
        self.recorder.work(60.0)

    def step(self) -> None:
        """The market moves, and what it says is recorded."""
        self.ms += STEP_MS
        trades: list[bytes] = []
        updates: list[bytes] = []
        for symbol, (changes, fills) in self.market.step(self.ms).items():
            one, batch = self.market.instruments[symbol], self.batches[symbol]
            batch.add(changes)
            for fill in fills:
                event = events.agg_trade(one, fill, futures=True)
                trades.append(encode({"stream": f"{symbol.lower()}@aggTrade", "data": event}))
            if self.ms % 100 == 0 and (update := batch.take(one, self.ms, 0, futures=True)):
                updates.append(encode({"stream": f"{symbol.lower()}@depth@100ms", "data": update}))
        self.t = max(self.t, self.ms * MS + int(self.chance.expovariate(1 / 5e6)))
        self.trade_s += self._record("market", trades)
        self.update_s += self._record("public", updates)
        self.trades += len(trades)
        self.updates += len(updates)
        if self.ms - self._ticked >= 900:
            self._ticked = self.ms
            self.recorder.tick()

    def _record(self, stream: str, frames: list[bytes]) -> float:
        """CPU seconds of this thread."""
        if not frames:
            return 0.0
        begun = time.thread_time()
        intake = self.intakes[stream]
        for data in frames:
            intake.frame(f"{stream}-1", data)
        self.recorder.work(60.0)
        return time.thread_time() - begun - self._look

    def memory(self) -> int:
        """Bytes in use by the process, once the parts are written that only wait because tape time runs so fast."""
        written = threading.Event()
        self.output.files.then(written.set)
        written.wait()
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    def end(self) -> None:
        """The recorder stops."""
        self.recorder.close()
        self.output.stop(True)


def _look() -> float:
    begun = time.thread_time()
    for _ in range(1000):
        time.thread_time()
    return (time.thread_time() - begun) / 1001


def run(
    root: Path, hours: float, symbols: tuple[str, ...], said: Callable[[str], None] = lambda line: None, begin_ms: int = MIDNIGHT_MS
) -> dict[str, Any]:
    """A day; gives the figures."""
    day = Day(root, symbols, begin_ms=begin_ms)
    begun, cpu, thread = time.perf_counter(), time.process_time(), time.thread_time()
    day.begin()
    memory: list[int] = []
    steps = round(hours * 3_600_000 / STEP_MS)
    every = 3_600_000 // STEP_MS if hours > 1 else max(1, steps // 10)
    for number in range(1, steps + 1):
        day.step()
        if number % every == 0:
            memory.append(day.memory())
            speed = number * STEP_MS / 1000 / (time.perf_counter() - begun)
            said(f"{number * STEP_MS / 3_600_000:6.2f} h  {size(memory[-1]):>10}  {speed:5.0f} times as fast as the clock")
    wall = time.perf_counter() - begun
    day.end()
    parts = list((root / layout.FOLDER).rglob("*.parquet"))
    rows = {kind: sum(market.rows.count[kind] for market in day.output.harvest.markets.values()) for kind in layout.KINDS}
    others = (time.process_time() - cpu) - (time.thread_time() - thread)
    warm = memory[WARM_UP:] or memory[-1:]
    return {
        "hours": hours,
        "speed": hours * 3600 / wall,
        "core_speed": hours * 3600 / (time.process_time() - cpu),
        "trades": day.trades,
        "updates": day.updates,
        "ms_per_1000_trades": 1e6 * day.trade_s / day.trades,
        "ms_per_1000_updates": 1e6 * day.update_s / day.updates,
        "features_us_per_trade": median(day.output.ns[Trade]) / 1000,
        "features_us_per_update": median(day.output.ns[BookDelta]) / 1000,
        "parts": len(parts),
        "ms_per_part": 1000 * others / len(parts),
        "bytes": sum(path.stat().st_size for path in parts),
        "tape_bytes": sum(one.file.stat().st_size for one in segments(root)),
        "rows": rows,
        "rss": memory,
        "growth": max(warm) / min(warm) - 1,
    }


@click.command()
@click.option("--hours", type=float, default=24.0, show_default=True, help="Tape time.")
@click.option("--symbols", default="BTCUSDT,ETHUSDT", show_default=True)
@click.option("--root", type=click.Path(path_type=Path), help="Keep tapes and parts here.")
@click.option("--speed", type=float, default=100.0, show_default=True, help="At least so many times as fast as the clock.")
@click.option("--check", is_flag=True, help="Make every part again from the tape and compare.")
@click.option("--json", "as_json", is_flag=True)
def main(hours: float, symbols: str, root: Path | None, speed: float, check: bool, as_json: bool) -> None:
    """A day of ofi-record in minutes."""
    with tempfile.TemporaryDirectory(prefix="tape-harvest-") as spare:
        folder = root or Path(spare)
        found = run(folder, hours, tuple(symbols.split(",")), lambda line: print(line, file=sys.stderr, flush=True))
        if check:
            again = folder / "again"
            made = derive.write(folder, again)
            found["differing"] = sum((folder / name).read_bytes() != (again / name).read_bytes() for name in made)
    print(json.dumps(found) if as_json else show(found))
    sys.exit(0 if found["core_speed"] >= speed and found["growth"] <= 0.05 and not found.get("differing") else 1)


def show(found: dict[str, Any]) -> str:
    """The figures, for people."""
    rows = ", ".join(f"{kind} {count:,}" for kind, count in found["rows"].items())
    lines = [
        f"{found['hours']:g} h of tape time, {found['speed']:.0f} times as fast as the clock ({found['core_speed']:.0f} with a core of its own)",
        f"{found['trades']:,} trades: {found['ms_per_1000_trades']:.1f} ms CPU for 1,000 (stamp, tape, decode, features, rows);"
        f" features and rows alone {found['features_us_per_trade']:.1f} µs each (median)",
        f"{found['updates']:,} book updates: {found['ms_per_1000_updates']:.1f} ms CPU for 1,000;"
        f" features and rows alone {found['features_us_per_update']:.1f} µs each (median)",
        f"{found['parts']:,} parts, {size(found['bytes'])} (tape {size(found['tape_bytes'])}): {found['ms_per_part']:.1f} ms CPU a part, in its own thread",
        f"rows: {rows}",
        f"memory after each hour: {' '.join(size(one) for one in found['rss'])}; from hour {WARM_UP + 1} on within {found['growth']:.1%}",
    ]
    if "differing" in found:
        lines.append(f"made again from the tape: {found['differing']} parts differ")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
