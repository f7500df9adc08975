"""A sample of the rows made again from the tape, by the classes that made them (``tape_collectors.market``), and compared value by value.

A sample begins where a run or a whole hour begins. From a run's beginning everything is known, and every value must be the same to the last
bit. At a whole hour the tape has the books, but not what the features remember; there, after a minute, those values are compared that
depend on no more than is known:

    prices, book     all (recv_rate_tps after its 60 s)
    cvd              delta, delta_quote; the levels by their differences are in ``identities``
    ofi              ofi_value, by rank, retreat, rank difference; ofi_z when its whole window has been seen; the last whole interval

What remembers longer (scales and z of CVD, scores, regimes) is compared from the beginning of runs only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tape_archive.format.errors import FormatError
from tape_archive.format.harvest import Kind, names
from tape_archive.format.layout import Segment, segments
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import last_time, merge, read_lines
from tape_archive.format.rotation import HOUR
from tape_collectors.market.harvest import Harvest, HarvestPart
from tape_collectors.market.harvest_setup import HarvestSetup
from tape_collectors.market.replay import Replay
from tape_collectors.venues import load

SECOND = 1_000_000_000
#: compared only when the whole of it has been seen: rows that must stand before
_OFI_WINDOW = 301
WARM_UP = 60 * SECOND
#: by kind, what identifies a row, and what is compared at a whole hour
KEYS: dict[Kind, str] = {"prices": "agg_trade_id", "cvd": "agg_trade_id", "ofi": "last_id", "book": "last_id"}
_KNOWN: dict[Kind, tuple[str, ...]] = {
    "prices": tuple(name for name in names("prices") if name != "missed"),
    "cvd": ("ts_ms", "symbol", "delta", "event_ts_ms", "recv_ns", "agg_trade_id", "delta_quote", "feed"),
    "ofi": (
        *("ts_ms", "symbol", "ofi_value", "ofi_z", "scale", "event_ts_ms", "recv_ns", "last_id"),
        *("ofi_1", "ofi_2", "ofi_3", "ofi_4", "ofi_5", "ofi_retreat", "rank_difference"),
        *("interval_end_ms", "interval_ofi", "interval_norm", "norm_1", "norm_2", "norm_3", "norm_4", "norm_5", "feed"),
    ),
    "book": tuple(names("book")),
}
Row = dict[str, Any]
Rows = dict[tuple[Kind, str, int], Row]


class Start(msgspec.Struct, frozen=True):
    """Where a sample may begin. ``begun``: it is a run's beginning, and ``t`` its first tape time; else the whole hour ``t``."""

    t: int
    begun: bool
    run: str


class Tape:
    """The tapes of a root that say how an OFI and CVD output was made."""

    def __init__(self, root: Path) -> None:
        self.segments = segments(root)
        self._heads = {segment: _head(segment) for segment in self.segments}
        self.setups = [setup for line in self._heads.values() if line is not None and (setup := _setup(line)) is not None]

    @property
    def symbols(self) -> list[str]:
        """What was asked for."""
        return sorted({symbol for setup in self.setups for symbol in setup.symbols})

    def end(self) -> int:
        """The last tape time; 0 without tapes."""
        own = [segment for segment, line in self._heads.items() if line is not None and _setup(line) is not None]
        last = max((segment.hour for segment in own), default=0)
        return max((last_time(segment.file) for segment in own if segment.hour == last), default=0)

    def starts(self) -> list[Start]:
        """Every place at which a sample may begin."""
        places = set()
        for segment, line in self._heads.items():
            if line is None or _setup(line) is None:
                continue
            run, begun = str(line.fields.get("run", "")), int(line.fields.get("begun", line.t))
            first = begun // HOUR * HOUR == segment.hour
            places.add(Start(begun, True, run) if first else Start(segment.hour, False, run))
        return sorted(places, key=lambda start: start.t)

    def rows(self, start: Start, seconds: int) -> tuple[Rows, tuple[int, int]]:
        """The rows that the tape makes from ``start`` on, and of which stretch of tape time they are all."""
        begin = start.t if start.begun else start.t + WARM_UP
        end = begin + seconds * SECOND
        parts: list[HarvestPart] = []
        walk = _Walk(parts.append, start)
        chosen = [one for one in self.segments if one.hour <= end and one.hour + HOUR > start.t and self._heads[one] is not None]
        tapes: dict[tuple[str, str], list[Segment]] = {}
        for one in chosen:
            tapes.setdefault((one.venue, one.stream), []).append(one)
        order = list(tapes.items())
        last = start.t
        for at, raw in merge((at, _chain(files)) for at, (_, files) in enumerate(order)):
            line = parse(raw)
            if line.t >= end:
                last = end
                break
            last = line.t
            if not walk.line(order[at][0], line):
                break
        walk.end()
        return found(parts, begin, last, begun=start.begun), (begin, last)


class _Walk:
    """Lines of one run -> parts."""

    def __init__(self, finished: Callable[[HarvestPart], None], start: Start) -> None:
        self._finished = finished
        self._start = start
        self._harvest: Harvest | None = None
        self._replays: dict[tuple[str, str], Replay] = {}

    def line(self, tape: tuple[str, str], line: Line) -> bool:
        """One line; False: another run begins, and the sample is over."""
        if line.mark == "tape":
            if str(line.fields.get("run", "")) != self._start.run:
                return self._harvest is None
            self._begin(tape, line)
        harvest, replay = self._harvest, self._replays.get(tape)
        if harvest is None or replay is None:
            return True
        harvest.advance(line.t)
        if line.mark == "close":
            replay.closed(line.s)
            harvest.closed(tape[0], line.t, line.s, str(line.fields.get("why", "")))
            return True
        for s, record in replay.line(line):
            harvest.record(tape[0], s, record)
        return True

    def end(self) -> None:
        """No more lines."""
        if self._harvest is not None:
            self._harvest.end()

    def _begin(self, tape: tuple[str, str], line: Line) -> None:
        setup = _setup(line)
        if setup is None or tape in self._replays:
            return
        self._replays[tape] = Replay(load(tape[0]).feed)
        if self._harvest is None:
            # At a whole hour CVD stands elsewhere than at the run's beginning.
            setup = setup if self._start.begun else msgspec.structs.replace(setup, carry={})
            self._harvest = Harvest(setup, self._finished)
            self._harvest.begin(self._start.t, self._start.t)


def _head(segment: Segment) -> Line | None:
    """The head mark of a segment; None for one that cannot be read."""
    try:
        raw = next(iter(read_lines(segment.file)), None)
        line = parse(raw) if raw is not None else None
    except (FormatError, OSError):
        return None
    return line if line is not None and line.mark == "tape" else None


def _setup(line: Line) -> HarvestSetup | None:
    described = (line.fields.get("setup") or {}).get("harvest")
    return None if described is None else msgspec.convert(described, HarvestSetup)


def _chain(files: list[Segment]) -> Iterator[bytes]:
    for one in files:
        yield from read_lines(one.file)


def found(parts: list[HarvestPart], begin: int, end: int, *, begun: bool) -> Rows:
    """Rows with tape time in [begin, end) by what identifies them; at a whole hour without what needs more than is known."""
    out: Rows = {}
    seen: dict[str, int] = {}
    for part in parts:
        if part.kind not in KEYS:
            continue
        columns = names(part.kind)
        for values in part.rows:
            row = dict(zip(columns, values, strict=True))
            if part.kind == "ofi":
                seen[part.symbol] = seen.get(part.symbol, 0) + 1
            if not begin <= row["recv_ns"] < end or (part.kind == "book" and row["snapshot"]):
                continue
            if not begun:
                row = {name: row[name] for name in _KNOWN[part.kind]}
                if part.kind == "ofi" and seen[part.symbol] <= _OFI_WINDOW:
                    del row["ofi_z"], row["scale"]
                if part.kind == "prices" and row["recv_rate_tps"] is None:
                    del row["recv_rate_tps"]
            out[part.kind, part.symbol, row[KEYS[part.kind]]] = row
    return out
