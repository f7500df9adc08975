"""A day of ``ofi-record`` against the simulated market, as fast as both go: no sockets, and the recorder's clock shows the market's time.

Everything else is the recorder's own: stamp, tape, decode, features, parts, checkpoints, snapshots that a feed asks for, and a restart
that goes on where a killed process stood. ``harvest_defects.Defects`` says what goes wrong on the way.
"""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.harvest_defects import CONNECTIONS, Defects, Timeline
from tape_archive.format.clock import TapeClock
from tape_archive.format.records import BookDelta, Record, Trade
from tape_archive.format.tape import Tape
from tape_collectors.harvest import derive
from tape_collectors.harvest.output import HarvestOutput, carried
from tape_collectors.market.harvest_setup import HarvestSetup
from tape_collectors.runtime.error_budget import ErrorBudget
from tape_collectors.runtime.recorder import Recorder
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.simulator import binance_events as events
from tape_collectors.simulator.binance_events import Batch
from tape_collectors.simulator.market import Market
from tape_collectors.simulator.world import PRICES
from tape_collectors.venues import load
from tape_collectors.venues.protocol import Command, Fetch, Group

MS = 1_000_000
#: 2026-01-10T00:00:00Z
MIDNIGHT_MS = 1_768_003_200_000
STEP_MS = 50
encode = msgspec.json.Encoder().encode
Frame = tuple[str, int, bytes]


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


class Life:
    """One process: its recorder, from a start to an end or a kill."""

    def __init__(self, root: Path, symbols: tuple[str, ...], name: str, clocks: tuple[Callable[[], int], Callable[[], int]]) -> None:
        self.venue: Any = load("binance_usdm")
        setup = HarvestSetup(symbols=symbols)
        self.output = Watched(root, msgspec.structs.replace(setup, carry=carried(root, setup)), name, ErrorBudget())
        tapes = {stream: Tape(root, self.venue.name, stream) for stream in CONNECTIONS}
        last = max(tape.last_t() for tape in tapes.values())
        self.recorder = Recorder(TapeClock(*clocks, last), self.output)
        self.intakes = {stream: self._intake(stream, tape) for stream, tape in tapes.items()}
        #: the epoch of each connection that is up
        self.epochs: dict[str, str] = {}
        self.asked: list[str] = []
        self._opened = dict.fromkeys(CONNECTIONS, 0)

    def _intake(self, stream: str, tape: Tape) -> TapeIntake:
        described = {derive.KEY: msgspec.to_builtins(self.output.harvest.setup)}
        head = {"format": 1, "venue": self.venue.name, "stream": stream, "run": self.output.run, "setup": described}
        intake = TapeIntake(self.recorder, self.venue.name, tape, self.venue.feed, lambda: head)
        intake.act = self._act
        return intake

    def _act(self, s: str, commands: Sequence[Command]) -> None:
        self.asked += [command.request for command in commands if isinstance(command, Fetch)]

    def begin(self) -> None:
        """The process starts: what an earlier one left unfinished is made from its tape."""
        self.output.start(lambda: None)
        self.recorder.start(_NoLoop())  # type: ignore[arg-type]
        self.recorder.work(60.0)
        if self.output.owing:
            self.output.remake()

    def connect(self, up: frozenset[str]) -> None:
        """These connections are up, and no others."""
        for stream, intake in self.intakes.items():
            if stream in up and stream not in self.epochs:
                self._opened[stream] += 1
                self.epochs[stream] = f"{stream}-{self._opened[stream]}"
                intake.opened(self.epochs[stream], Group(stream, "", ()))
            elif stream not in up and stream in self.epochs:
                intake.closed(self.epochs.pop(stream), "cut", 1006)
        self.recorder.work(60.0)

    def end(self, *, killed: bool = False) -> None:
        """The process stops in order, or is killed: what is not on the disk is lost."""
        if killed:
            for intake in self.intakes.values():
                if intake.tape.file is not None:
                    intake.tape.file.close()
        else:
            self.recorder.close()
        self.output.stop(not killed)


class Day:
    """A market, and a recorder whose clock shows the market's time."""

    def __init__(
        self, root: Path, symbols: tuple[str, ...], seed: int = 1, begin_ms: int = MIDNIGHT_MS, defects: Defects | None = None
    ) -> None:
        self.root = root
        self.symbols = symbols
        self.defects = Timeline(defects or Defects())
        self.begin_ms = self.ms = begin_ms
        #: the monotonic clock, and how far the wall clock is ahead of it, ns
        self.t = begin_ms * MS
        self.ahead = 0
        self.chance = random.Random(seed)
        self.market = Market({symbol: PRICES[symbol] for symbol in symbols}, seed=seed, first_id=begin_ms, stride=9)
        self.batches = {symbol: Batch(last=one.id, due=0) for symbol, one in self.market.instruments.items()}
        self.lives: list[Life] = []
        self.life: Life | None = None
        self.trades = self.updates = 0
        self.trade_s = self.update_s = 0.0
        #: trades that were sent twice: (symbol, id)
        self.doubled: list[tuple[str, int]] = []
        self._ticked = 0
        #: what it costs to look at the CPU clock
        self._look = _look()

    @property
    def output(self) -> Watched:
        """Of the last process."""
        return self.lives[-1].output

    def begin(self) -> None:
        """The first process starts."""
        self._start()
        for _ in range(10):
            self.step()

    def _start(self) -> None:
        clocks = (lambda: self.t + self.ahead, lambda: self.t)
        self.life = Life(self.root, self.symbols, f"day-{len(self.lives)}", clocks)
        self.lives.append(self.life)
        self.life.begin()

    def step(self) -> None:
        """The market moves, and what it says is recorded, if somebody is there."""
        self.ms += STEP_MS
        trades, updates = self._said()
        now = self.defects.at(self.ms - self.begin_ms)
        self.t = max(self.t, self.ms * MS + int(self.chance.expovariate(1 / 5e6) + now.late_ms * MS))
        self.ahead = int(now.ahead_ms * MS)
        if now.dead:
            if self.life is not None:
                self.life.end(killed=True)
                self.life = None
            return
        if self.life is None:
            self._start()
        assert self.life is not None
        if self.life.epochs.keys() != now.up:
            self.life.connect(now.up)
        trades = self._twice([frame for frame in trades if frame[0] not in now.silent])
        self.trade_s += self._record("market", trades)
        self.update_s += self._record("public", [frame for frame in updates if frame[0] not in now.silent])
        self._reply()
        if self.ms - self._ticked >= 900:
            self._ticked = self.ms
            self.life.recorder.tick()

    def _said(self) -> tuple[list[Frame], list[Frame]]:
        """Frames of trades and of books: (symbol, id, bytes)."""
        trades: list[Frame] = []
        updates: list[Frame] = []
        for symbol, (changes, fills) in self.market.step(self.ms).items():
            one, batch = self.market.instruments[symbol], self.batches[symbol]
            batch.add(changes)
            for fill in fills:
                event = events.agg_trade(one, fill, futures=True)
                data = encode({"stream": f"{symbol.lower()}@aggTrade", "data": event})
                trades.append((symbol, int(str(event["a"])), data))
            if self.ms % 100 == 0 and (update := batch.take(one, self.ms, 0, futures=True)):
                updates.append((symbol, one.id, encode({"stream": f"{symbol.lower()}@depth@100ms", "data": update})))
        return trades, updates

    def _twice(self, trades: list[Frame]) -> list[Frame]:
        """The trades, and again those that the venue sends twice."""
        assert self.life is not None
        if trades and "market" in self.life.epochs and self.defects.double_due(self.ms - self.begin_ms):
            self.doubled.append(trades[0][:2])
            return [trades[0], *trades]
        return trades

    def _record(self, stream: str, frames: list[Frame]) -> float:
        """CPU seconds of this thread."""
        assert self.life is not None
        epoch = self.life.epochs.get(stream)
        if not frames or epoch is None:
            return 0.0
        self.trades += len(frames) * (stream == "market")
        self.updates += len(frames) * (stream == "public")
        intake, recorder = self.life.intakes[stream], self.life.recorder
        begun = time.thread_time()
        for _, _, data in frames:
            intake.frame(epoch, data)
        recorder.work(60.0)
        return time.thread_time() - begun - self._look

    def _reply(self) -> None:
        """The snapshots that feeds asked for."""
        assert self.life is not None
        asked, self.life.asked = self.life.asked, []
        for request in asked:
            symbol = request.partition("symbol=")[2].partition("&")[0]
            update, bids, asks = events.top(self.market.instruments[symbol], 1000)
            body = {"lastUpdateId": update, "E": self.ms, "T": self.ms, "bids": bids, "asks": asks}
            self.life.intakes["public"].reply(request, 200, encode(body))
            self.life.recorder.work(60.0)

    def memory(self) -> int:
        """Bytes in use by the process, once the parts are written that only wait because tape time runs so fast."""
        if self.life is not None:
            written = threading.Event()
            self.life.output.files.then(written.set)
            written.wait()
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    def end(self) -> None:
        """The recorder stops."""
        if self.life is not None:
            self.life.end()


def _look() -> float:
    begun = time.thread_time()
    for _ in range(1000):
        time.thread_time()
    return (time.thread_time() - begun) / 1001
