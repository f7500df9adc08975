"""``tape merge``: recordings of the same streams by two machines (or more) become one, with a gap only where all miss.

The clocks of the machines are compared by the frames that both have: times of the later sides are moved by the median difference, and the
copy that then comes first stands. Frames of all sides are read by one feed, under one epoch that lasts as long as any side was connected;
streams whose batches differ from connection to connection (Binance's futures depth) keep their own epochs, side by side.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from pathlib import Path
from typing import Any

import msgspec

from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.format.layout import Segment, segments
from tape_archive.format.lines import Line, frame_line, mark_line, parse, reply_line
from tape_archive.format.read import read_lines
from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Notice, Quote, Record, Reset, Trade, Unknown
from tape_archive.format.rotation import next_hour
from tape_archive.format.tape import Tape, register
from tape_collectors.market.replay import Replay, group_of
from tape_collectors.market.sampler import Market
from tape_collectors.market.union import HOLD_NS, Union
from tape_collectors.venues import load

SECOND = 1_000_000_000
#: frames compared for the difference of the clocks
_SAMPLE = 100_000
_NAMES = "abcdefgh"
#: notices about the connection, whose frames are nobody else's; others are about market data
_ITS_OWN = frozenset(("ack", "pong", "refused", "error", "notice", "foreign", "shutdown"))
#: marks that are carried over; gaps, losses and heads are made anew
_CARRIED = ("listing", "silent", "refused", "anchor", "diff")


class Merged(msgspec.Struct):
    """What came of one tape. ``only``: frames that one side alone had, by side; ``filled``: gaps of one side that the others closed;
    ``offsets_ns``: how far each side's clock was ahead."""

    venue: str
    stream: str
    frames: int
    both: int
    only: list[int]
    gaps: list[int]
    gaps_left: int
    filled: int
    offsets_ns: list[int]


def merge_roots(roots: Sequence[Path], out: Path, progress: Callable[[int], None] | None = None) -> list[Merged]:
    """Merge all tapes of the roots into a new root, whole or not at all. Raises SettingsError, NotFound."""
    if len(roots) < 2 or len(roots) > len(_NAMES):
        raise SettingsError(f"merge takes two to {len(_NAMES)} recordings")
    if out.exists():
        raise SettingsError(f"{out} is there already; choose another --out")
    found = [segments(root) for root in roots]
    for root, some in zip(roots, found, strict=True):
        if not some:
            raise NotFound(f"no tape under {root / 'raw'}")
    tapes = sorted({(one.venue, one.stream) for some in found for one in some})
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    run, begun = _run(found), min(_first_t(some) for some in found)
    done = []
    for venue, stream in tapes:
        sides = [[one for one in some if (one.venue, one.stream) == (venue, stream)] for some in found]
        done.append(_Tape(partial, venue, stream, sides, run, begun).merge(progress))
    partial.rename(out)
    return done


def _run(found: list[list[Segment]]) -> str:
    """The same recordings give the same name."""
    digest = hashlib.sha256()
    for some in found:
        for one in some:
            digest.update(f"{one.venue}/{one.stream}/{one.hour}/{one.turn}/{one.file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def _first_t(some: list[Segment]) -> int:
    return min((parse(line).t for line in (next(read_lines(one.file), None) for one in some) if line is not None), default=0)


def _lines(side: Sequence[Segment]) -> Iterator[Line]:
    for segment in side:
        for raw in read_lines(segment.file):
            yield parse(raw)


def _offset(first: Sequence[Segment], other: Sequence[Segment]) -> int:
    """How far the clock of ``other`` was ahead of ``first``'s, by frames that both have once; 0 if there are none."""
    times: dict[bytes, int | None] = {}
    for line in _lines(first):
        if line.data is not None and line.request is None:
            times[line.data] = None if line.data in times else line.t
            if len(times) >= _SAMPLE:
                break
    ahead = [line.t - at for line in _lines(other) if line.data is not None and (at := times.pop(line.data, None)) is not None]
    return round(statistics.median(ahead)) if ahead else 0


class _Side:
    """One recording of a tape: its feeds tell what a frame is; its open epochs, which of them are connected."""

    def __init__(self, venue: Any) -> None:
        self.replay = Replay(venue.feed)
        self.open: dict[str, dict[str, Any]] = {}
        self.run = ""
        self.gaps = 0

    def look(self, line: Line) -> tuple[str, str, int, list[Record]]:
        """(stream, channel, order id, records) of a frame."""
        records = [record for _, record in self.replay.line(line)]
        feed = self.replay.feeds.get(line.s)
        stream = next((one for one in feed.streams.values() if one.last_t == line.t), None) if feed is not None else None
        if stream is None:
            return "", "", 0, records
        id, stream.at = max((_id(record) for record in records), default=0) or stream.at, 0
        return stream.name, stream.channel, id, records


def _id(record: Record) -> int:
    if isinstance(record, BookDelta):
        return record.last
    if isinstance(record, Quote | BookSnapshot):
        return record.id
    if isinstance(record, Trade):
        return int(record.id) if record.id.isdigit() else 0
    return 0


def _keys(data: bytes, records: list[Record]) -> list[Any]:
    """What a frame is known by; none for what is of its connection alone (acks, pongs)."""
    if any(isinstance(record, Notice) and record.kind in _ITS_OWN for record in records):
        return []
    told = [record for record in records if not isinstance(record, Notice | Unknown | Gap | Reset | BookLost)]
    keys: list[Any] = [data]
    # A whole book is known by its content alone: a venue may send another one of the same id.
    named = tuple((type(one).__name__, one.symbol, one.channel, _id(one)) for one in told if _id(one) and not isinstance(one, BookSnapshot))
    if named and len(named) == len(told):
        keys.append(named)
    return keys


class _Tape:
    """One tape of the output in the making."""

    def __init__(self, root: Path, venue: str, stream: str, sides: list[list[Segment]], run: str, begun: int) -> None:
        self.venue = load(venue)
        self.apart: tuple[str, ...] = getattr(self.venue, "apart", ())
        self.segments = sides
        self.sides = [_Side(self.venue) for _ in sides]
        self.union = Union()
        self.tape = Tape(root, venue, stream)
        self.run, self.begun = run, begun
        self.replay = Replay(self.venue.feed)
        self.markets: dict[str, Market] = {}
        self.setup: dict[str, Any] = {}
        self.boundary = self.last_t = self.frames = self.filled = 0
        #: gaps that remain, as ids, by market
        self.left: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self.waiting: list[bytes] = []
        #: the union's open epoch of each group, and who is connected (side, epoch); those that have an epoch of their own as well
        self.epochs: dict[str, str] = {}
        self.members: dict[str, set[tuple[int, str]]] = {}
        self.own: set[tuple[int, str]] = set()
        self.count = 0

    def merge(self, progress: Callable[[int], None] | None) -> Merged:
        """All of it."""
        first = self.segments[0]
        offsets = [0, *(_offset(first, other) for other in self.segments[1:])]
        tagged = (self._tagged(number, offset) for number, offset in enumerate(offsets))
        for number, (t, _, _, side, line) in enumerate(merge(*tagged), 1):
            self._take(t, side, line)
            if number % 512 == 0:
                self._leave(t)
                if progress is not None:
                    progress(512)
        self._leave(1 << 62)
        self._flush()
        if self.tape.file is not None and (path := self.tape.seal(self.last_t + 1)):
            register(path)
        gaps = [side.gaps for side in self.sides]
        only = [self.union.only.get(number, 0) for number in range(len(self.sides))]
        left = sum(map(len, self.left.values()))
        return Merged(self.tape.venue, self.tape.stream, self.frames, self.union.both, only, gaps, left, self.filled, offsets)

    def _tagged(self, number: int, offset: int) -> Iterator[tuple[int, int, int, int, Line]]:
        for order, line in enumerate(_lines(self.segments[number])):
            yield line.t - offset, number, order, number, line

    # -- in --------------------------------------------------------------------------------------------------------------

    def _take(self, t: int, number: int, line: Line) -> None:
        side = self.sides[number]
        if line.mark is not None:
            self._mark(t, number, side, line)
            return
        assert line.data is not None
        if line.request is not None:
            list(side.replay.line(line))
            self.union.frame(t, (number, ""), "rest", 0, [(line.request, line.data)], line)
            return
        name, channel, id, records = side.look(line)
        if self.apart and channel.startswith(self.apart):
            self.union.frame(t, (number, line.s), "", 0, [], msgspec.structs.replace(line, s=self._own(number, line.s)))
            return
        for record in records:
            if isinstance(record, Reset):
                self.union.reset(t, name)
            elif isinstance(record, Gap):
                side.gaps += 1
                # Judged when all that may fill it has left.
                self.union.other(t + HOLD_NS, number, record)
        keys = _keys(line.data, records)
        self.union.frame(t, (number, line.s), name, id, keys, msgspec.structs.replace(line, s=group_of(line.s)))

    def _own(self, number: int, s: str) -> str:
        return f"{group_of(s)}.{_NAMES[number]}-{s.rpartition('-')[2]}"

    def _mark(self, t: int, number: int, side: _Side, line: Line) -> None:
        if line.mark == "tape":
            self.setup = self.setup or dict(line.fields.get("setup") or {})
            if (run := str(line.fields.get("run", ""))) != side.run:
                for s in list(side.open):
                    self._closed(t, number, side, s, "the recorder ended without closing")
                side.run, side.replay = run, Replay(self.venue.feed)
        elif line.mark == "open":
            list(side.replay.line(line))
            side.open[line.s] = dict(line.fields)
            self.union.other(t, number, ("open", line.s, dict(line.fields)))
        elif line.mark == "close":
            list(side.replay.line(line))
            self._closed(t, number, side, line.s, str(line.fields.get("why", "")))
        elif line.mark in _CARRIED or line.mark == "clock":
            self.union.other(t, number, line)

    def _closed(self, t: int, number: int, side: _Side, s: str, why: str) -> None:
        if side.open.pop(s, None) is not None:
            self.union.other(t, number, ("close", s, {"why": why, "code": 0}))

    # -- out -------------------------------------------------------------------------------------------------------------

    def _leave(self, now: int) -> None:
        for held in self.union.release(now):
            what = held.what
            if isinstance(what, Line):
                self._line(held.t, held.lane[0], what)
            elif isinstance(what, Gap):
                self._filled(held.t, held.lane[0], what)
            elif isinstance(what, tuple):
                self._epoch(held.t, held.lane[0], *what)

    def _filled(self, t: int, number: int, gap: Gap) -> None:
        """What one side missed and the tape has: the mark says of whom it came."""
        left = self.left.get((gap.symbol, gap.channel), [])
        if gap.from_id and not any(first <= gap.to_id and last >= gap.from_id for first, last in left):
            self.filled += 1
            fields = {"symbol": gap.symbol, "channel": gap.channel, "from_id": gap.from_id, "to_id": gap.to_id, "missed": _NAMES[number]}
            by = "".join(name for name in _NAMES[: len(self.sides)] if name != _NAMES[number])
            self._put_mark(t, "tape", "filled", {**fields, "by": by})

    def _epoch(self, t: int, number: int, kind: str, s: str, fields: dict[str, Any]) -> None:
        """A side connected or left: the union's epoch begins with the first and ends with the last."""
        group = group_of(s)
        members = self.members.setdefault(group, set())
        names = [str(name) for name in fields.get("names", ())]
        own = [name for name in names if self._is_apart(name)]
        if kind == "open":
            members.add((number, s))
            if own:
                self.own.add((number, s))
                self._put_mark(t, self._own(number, s), kind, {**fields, "names": own})
            if group not in self.epochs:
                self.count += 1
                self.epochs[group] = f"{group}-{self.count}"
                rest = [name for name in names if name not in own]
                self._put_mark(t, self.epochs[group], "open", {"url": "", "group": group, "names": rest})
            return
        members.discard((number, s))
        if (number, s) in self.own:
            self._put_mark(t, self._own(number, s), kind, fields)
        if not members and group in self.epochs:
            self._put_mark(t, self.epochs.pop(group), "close", fields)

    def _is_apart(self, name: str) -> bool:
        return bool(self.apart) and name.partition("@")[2].startswith(self.apart)

    def _line(self, t: int, number: int, line: Line) -> None:
        if line.mark == "clock":
            if t - self.last_t >= SECOND * 9 // 10:
                self._put_mark(t, "tape", "clock", {"offset_ns": 0})
            return
        if line.mark is not None:
            self._put_mark(t, self.epochs.get(group_of(line.s), "tape"), line.mark, {**line.fields, "side": _NAMES[number]})
            return
        assert line.data is not None
        if line.request is not None:
            t = self._at(t)
            self._put(t, reply_line(t, line.request, line.data, line.status), msgspec.structs.replace(line, t=t))
            return
        s = line.s if "-" in line.s else self.epochs.get(line.s, f"{line.s}-0")
        self.frames += 1
        t = self._at(t)
        self._put(t, frame_line(t, s, line.data), msgspec.structs.replace(line, t=t, s=s))

    def _at(self, t: int) -> int:
        """The time of what is written next: a new hour begins with a head and checkpoints."""
        t = max(t, self.last_t + 1)
        if t >= self.boundary:
            self._flush()
            self._turn(t)
            t = self.last_t + 1
        return t

    def _turn(self, t: int) -> None:
        again = self.boundary > 0
        head = {
            "format": 1,
            "venue": self.tape.venue,
            "stream": self.tape.stream,
            "host": "",
            "pid": 0,
            "run": self.run,
            "version": "merge",
        }
        head |= {"setup": self.setup, "begun": self.begun, "checkpoint": again, "merged": len(self.sides)}
        seal_t, t = max(t, self.last_t + 1), max(t, self.last_t + 1) + 1
        lines, self.last_t = [mark_line(t, "tape", "tape", head)], t
        for s, feed in self.replay.feeds.items() if again else ():
            for state in feed.checkpoint():
                market = self.markets.get(str(state["symbol"]))
                self.last_t += 1
                lines.append(mark_line(self.last_t, s, "book", {**state, **(market.state(s) if market else {})}))
        sealed = self.tape.turn(t, lines, seal_t)
        if sealed is not None:
            register(sealed)
        self.boundary = next_hour(t)

    def _put_mark(self, t: int, s: str, kind: str, fields: dict[str, Any]) -> None:
        t = self._at(t)
        self._put(t, mark_line(t, s, kind, fields), Line(t, s, mark=kind, fields=fields))

    def _put(self, t: int, raw: bytes, line: Line) -> None:
        self.last_t = t
        self.waiting.append(raw)
        if line.mark == "close":
            for market in self.markets.values():
                market.closed(t, line.s, "")
        found = list(self.replay.line(line))
        for s, record in found:
            if symbol := getattr(record, "symbol", ""):
                self.markets.setdefault(symbol, Market(self.tape.venue, symbol)).record(s, record)
            if isinstance(record, Gap) and "." not in group_of(s):
                self.left.setdefault((record.symbol, record.channel), []).append((record.from_id, record.to_id))
                fields = msgspec.structs.asdict(record)
                del fields["t"]
                self.last_t += 1
                self.waiting.append(mark_line(self.last_t, s, "gap", fields))
        if len(self.waiting) >= 1000:
            self._flush()

    def _flush(self) -> None:
        if self.waiting:
            self.tape.append(b"".join(self.waiting), len(self.waiting))
            self.tape.roll()
            self.waiting.clear()
