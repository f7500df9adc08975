"""What is complete, what is missing and why, read from the tapes alone.

Three kinds of gap (see docs/reference/coverage.md): the venue's own numbers (what every connection received is put together by id, and the
holes of the whole are what is missing), the connection (where the venue does not count: no open socket carried the stream), and silence
(the watchdog's mark). A hole in one of several redundant sockets is none if another covers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from tape_access.holes import Epoch, Missing, Row, finish
from tape_archive.format.layout import Segment, name_of, segments, windows
from tape_archive.format.lines import Line, parse, time_of
from tape_archive.format.read import last_time, read_lines
from tape_archive.format.records import Gap
from tape_collectors.market.replay import MakeFeed, Replay
from tape_collectors.venues import VENUES, load
from tape_collectors.venues.protocol import Stream

__all__ = ["Coverage", "Missing", "builtins", "of_file", "of_root"]


class Coverage(msgspec.Struct):
    """One stream. ``slug`` is set on Polymarket only: the window whose tape this is."""

    venue: str
    symbol: str
    channel: str
    frames: int = 0
    first_ns: int = 0
    last_ns: int = 0
    complete: bool = True
    gaps: list[Missing] = msgspec.field(default_factory=list)
    slug: str = ""


def builtins(rows: Iterable[Coverage]) -> list[dict[str, object]]:
    """As the stable JSON: ``slug`` only where it is set."""
    out = []
    for row in rows:
        fields: dict[str, object] = msgspec.to_builtins(row)
        if not row.slug:
            del fields["slug"]
        out.append(fields)
    return out


#: slug ("" of an exchange), symbol, channel
Key = tuple[str, str, str]


def _feeds(venue: str) -> MakeFeed:
    """Feeds that check sequences; where a venue can do so without decoding the books, without."""
    made = load(venue)
    return partial(made.feed, books=False) if hasattr(made, "rule") else made.feed


class _Scan:
    """One tape, from the line where it is begun to be read."""

    def __init__(self, venue: str, rows: dict[Key, Row], span: tuple[int, int], slug: str = "") -> None:
        self.slug = slug
        self.rows = rows
        self.replay = Replay(_feeds(venue))
        self.opened: dict[str, int] = {}
        self.run = ""
        self.last_t = 0
        self._from, self._to = span
        #: of streams that were open when the span began: the time from which this connection carried them
        self._before: dict[int, int] = {}
        #: frames and first and last time of streams that were open when the span ended
        self._then: dict[int, tuple[int, int, int]] = {}
        self._ended = False

    def row(self, symbol: str, channel: str) -> Row:
        return self.rows.setdefault((self.slug, symbol, channel), Row())

    def line(self, line: Line) -> None:
        """One line, in order."""
        t, mark = line.t, line.mark
        if self._from and self.last_t < self._from <= t:
            self._begin_span()
        if self._to and not self._ended and t > self._to:
            self._end_span()
        if mark is not None:
            self._mark(line)
        for s, record in self.replay.line(line):
            if isinstance(record, Gap) and self._judged(s):
                missing = Missing(record.from_ns, record.t, record.from_id, record.to_id, record.why)
                self.row(record.symbol, record.channel).found.append((self._epoch_name(s), missing))
        if mark == "open":
            self.opened[line.s] = t
            if names := line.fields.get("names"):
                self.replay.feeds[line.s].want(t, names)
        self.last_t = t

    def _mark(self, line: Line) -> None:
        if line.mark == "tape" and (run := str(line.fields.get("run", ""))) != self.run:
            self.end("the recorder ended without closing")
            self.run = run
        elif line.mark == "want" and (feed := self.replay.feeds.get(line.s)) is not None:
            names = set(line.fields.get("names", ()))
            for stream in [stream for name, stream in feed.streams.items() if name not in names]:
                self._carried(line.s, stream, self.opened.get(line.s, 0), line.t, "moved or not wanted any more")
        elif line.mark == "close":
            self._close(line.s, line.t, str(line.fields.get("why", "")))
        elif line.mark == "silent":
            since = int(line.fields.get("since_ns", 0))
            self.row(str(line.fields.get("symbol", "")), str(line.fields.get("channel", ""))).silent.append(since)

    def _streams(self) -> Iterator[Stream]:
        for feed in self.replay.feeds.values():
            yield from feed.streams.values()

    def _begin_span(self) -> None:
        for stream in self._streams():
            self._before[id(stream)] = stream.first_t
            stream.frames = stream.first_t = 0

    def _end_span(self) -> None:
        self._ended = True
        for stream in self._streams():
            self._then[id(stream)] = (stream.frames, stream.first_t, stream.last_t)

    def _epoch_name(self, s: str) -> str:
        return f"{id(self)} {self.run} {s}"

    def _judged(self, s: str) -> bool:
        # A window's tape has a copy of the price, without the marks of its sockets: that is judged on the price's own tape.
        return not self.slug or s in self.opened

    def _close(self, s: str, t: int, why: str) -> None:
        feed = self.replay.feeds.get(s)
        if feed is None or not self._judged(s):
            return
        opened = self.opened.pop(s, 0)
        for stream in feed.streams.values():
            self._carried(s, stream, opened, t, why)

    def _carried(self, s: str, stream: Stream, opened: int, t: int, why: str) -> None:
        """Connection ``s`` carries this stream no more."""
        first_t = self._before.pop(id(stream), 0) or stream.first_t
        outside = self._ended or t < self._from
        shown = self._then.pop(id(stream), (0, 0, 0) if outside else (stream.frames, stream.first_t, stream.last_t))
        epoch = Epoch(
            *(self._epoch_name(s), opened or first_t, t, stream.acked_t, first_t, stream.last_t if first_t else 0),
            *(stream.first_id, stream.last_id, stream.dense, why, bool(self.slug)),
            *(shown if shown[0] else (0, 0, 0)),
        )
        self.row(stream.symbol, stream.channel).epochs.append(epoch)

    def end(self, why: str) -> None:
        """No more lines of this run."""
        for s in list(self.replay.feeds):
            self._close(s, self.last_t, why)
            self.replay.closed(s)


def of_root(root: Path, *, venue: str | None = None, from_ns: int = 0, to_ns: int = 0) -> list[Coverage]:
    """The coverage of everything under a root, or of what lies between two times (0: no bound); gaps that reach into it are told whole."""
    span = (from_ns, to_ns)
    out: list[Coverage] = []
    known = segments(root, venue)
    for name in dict.fromkeys(segment.venue for segment in known if segment.venue in VENUES):
        rows: dict[Key, Row] = {}
        for stream in dict.fromkeys(segment.stream for segment in known if segment.venue == name):
            scan = _Scan(name, rows, span)
            for segment in within([one for one in known if (one.venue, one.stream) == (name, stream)], span):
                _read(scan, segment.file)
            scan.end("")
        # The prices' own tape of Polymarket and each window's are told apart by the slug.
        out += _finished(name, rows, span, edges=name != "polymarket")
    if venue in (None, "polymarket"):
        for path in windows(root):
            if _overlaps(path, span):
                out += of_file(path, "polymarket", from_ns=from_ns, to_ns=to_ns)
    return sorted(out, key=lambda row: (row.venue, row.slug, row.symbol, row.channel))


def of_file(path: Path, venue: str, *, from_ns: int = 0, to_ns: int = 0) -> list[Coverage]:
    """The coverage of one tape file."""
    rows: dict[Key, Row] = {}
    slug = name_of(path.name.partition(".jsonl")[0]) if venue == "polymarket" else ""
    scan = _Scan(venue, rows, (from_ns, to_ns), slug)
    _read(scan, path)
    scan.end("")
    return _finished(venue, rows, (from_ns, to_ns), edges=False)


def within(known: Sequence[Segment], span: tuple[int, int]) -> list[Segment]:
    """Of one tape: the segments that tell of a span: its hours, and one hour that was recorded before and after it."""
    hours = sorted({segment.hour for segment in known})
    low = max((hour for hour in hours if hour <= span[0]), default=0)
    low = max((hour for hour in hours if hour < low), default=low) if span[0] else 0
    high = min((hour for hour in hours if hour > span[1]), default=0) if span[1] else 0
    return [segment for segment in known if segment.hour >= low and (not high or segment.hour <= high)]


def _overlaps(path: Path, span: tuple[int, int]) -> bool:
    if not any(span):
        return True
    first = next(read_lines(path), None)
    return first is not None and (not span[1] or time_of(first) <= span[1]) and (not span[0] or last_time(path) >= span[0])


def _read(scan: _Scan, path: Path) -> None:
    for raw in read_lines(path):
        scan.line(parse(raw))


def _finished(venue: str, rows: dict[Key, Row], span: tuple[int, int], *, edges: bool) -> list[Coverage]:
    out = []
    for (slug, symbol, channel), row in rows.items():
        done = finish(row, span, edges=edges)
        if done is not None:
            gaps, frames, first_ns, last_ns = done
            out.append(Coverage(venue, symbol, channel, frames, first_ns, last_ns, not gaps, gaps, slug))
    return out
