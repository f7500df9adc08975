"""What is complete, what is missing and why, read from the tapes alone.

Three kinds of gap (see docs/reference/coverage.md): the venue's own numbers (a feed runs over the tape again and finds the hole), the
connection (no open socket carried the stream; where the venue counts its events, the next socket's first number tells whether
anything was lost), and silence (the watchdog's mark). A hole in one of several redundant sockets is none if another covers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from tape_archive.format.layout import segments, windows
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import read_lines
from tape_archive.format.records import Gap
from tape_collectors.market.replay import Replay
from tape_collectors.venues import VENUES, load


class Missing(msgspec.Struct):
    """One gap. Times are tape time (ns) of the last frame before and the first after; ids are the missing ones, inclusive, 0 if unknown."""

    from_ns: int
    to_ns: int
    from_id: int
    to_id: int
    why: str


class Coverage(msgspec.Struct):
    """One stream."""

    venue: str
    symbol: str
    channel: str
    frames: int = 0
    first_ns: int = 0
    last_ns: int = 0
    complete: bool = True
    gaps: list[Missing] = msgspec.field(default_factory=list)


class _Epoch(msgspec.Struct):
    """One connection's share of one stream."""

    s: str
    opened: int
    closed: int
    frames: int
    first_t: int
    last_t: int
    first_id: int
    last_id: int
    counted: bool
    dense: bool
    why: str


class _Row:
    def __init__(self) -> None:
        self.epochs: list[_Epoch] = []
        self.found: list[tuple[str, Missing]] = []
        self.silent: list[Missing] = []


Key = tuple[str, str, str]


class _Scan:
    """One tape."""

    def __init__(self, venue: str, rows: dict[Key, _Row]) -> None:
        self.venue = venue
        self.rows = rows
        self.replay = Replay(load(venue).feed)
        self.opened: dict[str, int] = {}
        self.run = ""
        self.last_t = 0

    def row(self, symbol: str, channel: str) -> _Row:
        return self.rows.setdefault((self.venue, symbol, channel), _Row())

    def line(self, line: Line) -> None:
        """One line, in order."""
        mark = line.mark
        if mark == "tape" and (run := str(line.fields.get("run", ""))) != self.run:
            self.end("the recorder ended without closing")
            self.run = run
        if mark == "close":
            self._close(line.s, line.t, str(line.fields.get("why", "")))
        if mark == "silent":
            missing = Missing(int(line.fields.get("since_ns", 0)), 0, 0, 0, "silent")
            self.row(str(line.fields.get("symbol", "")), str(line.fields.get("channel", ""))).silent.append(missing)
        for s, record in self.replay.line(line):
            if isinstance(record, Gap):
                missing = Missing(record.from_ns, record.t, record.from_id, record.to_id, record.why)
                self.row(record.symbol, record.channel).found.append((s, missing))
        if mark == "open":
            self.opened[line.s] = line.t
            if names := line.fields.get("names"):
                self.replay.feeds[line.s].want(line.t, names)
        self.last_t = line.t

    def _close(self, s: str, t: int, why: str) -> None:
        feed = self.replay.feeds.get(s)
        if feed is None:
            return
        opened = self.opened.pop(s, 0)
        for stream in feed.streams.values():
            counted = bool(stream.first_id and stream.last_id)
            epoch = _Epoch(
                *(s, opened or stream.first_t, t, stream.frames, stream.first_t, stream.last_t),
                *(stream.first_id, stream.last_id, counted, stream.dense, why),
            )
            self.row(stream.symbol, stream.channel).epochs.append(epoch)

    def end(self, why: str) -> None:
        """No more lines of this run."""
        for s in list(self.replay.feeds):
            self._close(s, self.last_t, why)
            self.replay.closed(s)


def of_root(root: Path, *, venue: str | None = None, from_ns: int = 0, to_ns: int = 0) -> list[Coverage]:
    """The coverage of everything under a root."""
    rows: dict[Key, _Row] = {}
    scans: dict[tuple[str, str], _Scan] = {}
    for segment in segments(root, venue):
        if segment.venue in VENUES:
            scan = scans.setdefault((segment.venue, segment.stream), _Scan(segment.venue, rows))
            _read(scan, segment.file, from_ns, to_ns)
    for scan in scans.values():
        scan.end("")
    if venue in (None, "polymarket"):
        for path in windows(root):
            scan = _Scan("polymarket", rows)
            _read(scan, path, from_ns, to_ns)
            scan.end("")
    return [_finish(key, row) for key, row in sorted(rows.items())]


def of_file(path: Path, venue: str) -> list[Coverage]:
    """The coverage of one tape file."""
    rows: dict[Key, _Row] = {}
    scan = _Scan(venue, rows)
    _read(scan, path, 0, 0)
    scan.end("")
    return [_finish(key, row) for key, row in sorted(rows.items())]


def _read(scan: _Scan, path: Path, from_ns: int, to_ns: int) -> None:
    for line in _lines(path):
        if to_ns and line.t > to_ns:
            return
        if line.t >= from_ns:
            scan.line(line)


def _lines(path: Path) -> Iterator[Line]:
    for raw in read_lines(path):
        yield parse(raw)


def _finish(key: Key, row: _Row) -> Coverage:
    epochs = sorted((epoch for epoch in row.epochs), key=lambda epoch: (epoch.first_t or epoch.opened, epoch.s))
    spoke = [epoch for epoch in epochs if epoch.frames]
    out = Coverage(*key, frames=sum(epoch.frames for epoch in epochs))
    if spoke:
        out.first_ns = min(epoch.first_t for epoch in spoke)
        out.last_ns = max(epoch.last_t for epoch in spoke)
    out.gaps = [
        *(missing for s, missing in row.found if not _covered(missing, s, epochs, row.found)),
        *_between(epochs),
        *_silences(row.silent, spoke),
    ]
    out.gaps.sort(key=lambda gap: gap.from_ns)
    out.complete = not out.gaps
    return out


def _covered(missing: Missing, s: str, epochs: Iterable[_Epoch], found: list[tuple[str, Missing]]) -> bool:
    """Whether another connection carried the stream over this gap without one of its own."""
    for epoch in epochs:
        carried = epoch.s != s and epoch.frames and epoch.first_t <= missing.from_ns and missing.to_ns <= epoch.last_t
        if carried and not any(o == epoch.s and g.from_ns < missing.to_ns and missing.from_ns < g.to_ns for o, g in found):
            return True
    return False


def _between(epochs: list[_Epoch]) -> Iterator[Missing]:
    """What no connection carried."""
    before: _Epoch | None = None
    for epoch in epochs:
        if not epoch.frames:
            if epoch.dense and not any(o.frames and o.opened < epoch.closed and epoch.opened < o.closed for o in epochs):
                yield Missing(epoch.opened, epoch.closed, 0, 0, "no frame ever came")
            continue
        if before is not None and epoch.first_t > before.closed and epoch.dense:
            lost = not (before.counted and epoch.counted) or epoch.first_id > before.last_id + 1
            if lost:
                known = before.counted and epoch.counted
                ids = (before.last_id + 1, epoch.first_id - 1) if known else (0, 0)
                yield Missing(before.last_t, epoch.first_t, *ids, f"disconnect: {before.why}")
        if before is None or (epoch.closed, epoch.last_t) > (before.closed, before.last_t):
            before = epoch


def _silences(silent: list[Missing], spoke: list[_Epoch]) -> Iterator[Missing]:
    for missing in silent:
        if any(epoch.first_t <= missing.from_ns and epoch.last_t > missing.from_ns for epoch in spoke):
            # It spoke again on the same connection: where the venue counts, a loss shows in the numbers.
            continue
        after = [epoch.first_t for epoch in spoke if epoch.first_t > missing.from_ns]
        if not after:
            yield Missing(missing.from_ns, max((epoch.closed for epoch in spoke), default=missing.from_ns), 0, 0, "silent")
