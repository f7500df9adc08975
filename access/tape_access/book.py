"""The order book of one market at one time, from the tape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import msgspec

from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.format.layout import Segment, name_of, segments, windows
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import merge, read_lines
from tape_archive.format.records import Levels, Record
from tape_collectors.market.replay import Merged, Replay
from tape_collectors.market.sampler import Market
from tape_collectors.venues import load


class View(msgspec.Struct):
    """A book: levels as decimal text, best first. ``t`` is the time of the last line that it reflects."""

    venue: str
    symbol: str
    t: int
    proven: bool
    bids: Levels
    asks: Levels
    why: str = ""


def at(root: Path, venue: str, symbol: str, t: int = 0, depth: int = 10) -> View:
    """The book of ``symbol`` after every line with time <= ``t`` (0: all there is). Raises NotFound, SettingsError."""
    if venue == "polymarket":
        return _window(root, symbol, t, depth)
    market = _Remembering(venue, load(venue).native(symbol))
    known = segments(root, venue)
    found = [segment for segment in known if not t or segment.hour <= t]
    tapes = [_start([one for one in found if one.stream == stream]) for stream in dict.fromkeys(one.stream for one in found)]
    if not tapes:
        raise NotFound(f"no tape of {venue} under {root}" + (" before that time" if t else ""))
    symbols: set[str] = set()
    seen = _run(venue, _merged(tapes), market, t, symbols)
    if market.symbol not in symbols:
        near = get_close_matches(market.symbol, symbols, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        when = " at that time" if t else ""
        there = ", ".join(sorted(symbols)[:10]) or "nothing"
        raise NotFound(f"{venue} has no {market.symbol!r} on its tapes{when}{hint} (there: {there})")
    if len(found) < len(known):
        market.ended = None
    return _view(market, seen, depth)


def _start(tape: list[Segment]) -> list[Segment]:
    """The end of a tape that tells its last state: from the latest segment that begins with a checkpoint, or with a run."""
    for number in range(len(tape) - 1, 0, -1):
        head, books = _head(tape[number])
        if books and all("bids" in book.fields for book in books if "state" in book.fields):
            return tape[number:]
        if head.get("run") != _head(tape[number - 1])[0].get("run"):
            return tape[number:]
    return tape


def _head(segment: Segment) -> tuple[dict[str, Any], list[Line]]:
    """The ``tape`` mark of a segment, and the ``book`` marks that follow it."""
    lines = map(parse, read_lines(segment.file))
    first = next(lines, None)
    if first is None or first.mark != "tape":
        return {}, []
    return first.fields, list(takewhile(lambda line: line.mark == "book", lines))


def _merged(tapes: list[list[Segment]]) -> Iterator[Line]:
    """The lines of several tapes by time; the connections of each are told apart by its number."""
    chains = ((number, chain.from_iterable(read_lines(one.file) for one in tape)) for number, tape in enumerate(tapes))
    for number, raw in merge(chains):
        line = parse(raw)
        line.s = f"{number}/{line.s}"
        yield line


def _view(market: _Remembering, seen: int, depth: int) -> View:
    side = market.best()
    if side is None and market.ended is not None:
        seen, side = market.ended
    if side is None or side.book is None:
        return View(market.venue, market.symbol, seen, False, [], [], market.why)
    bids, asks = side.book.top(depth)
    return View(market.venue, market.symbol, seen, True, bids, asks)


class _Remembering(Market):
    """Also keeps the book that was proven when the recording ended: an end that nobody heard anything after is no loss."""

    ended: tuple[int, Any] | None = None

    def record(self, s: str, record: Record) -> None:
        """Something came after all."""
        self.ended = None
        super().record(s, record)

    def closed(self, t: int, s: str, why: str) -> None:
        """Remember the book of the last connection."""
        best = self.best()
        super().closed(t, s, why)
        if best is not None and self.best() is None:
            self.ended = (t, best)


def _run(venue: str, lines: Iterable[Line], market: _Remembering, t: int, symbols: set[str]) -> int:
    """Run the market over lines; gives the time of the last one used. ``symbols`` becomes what there is."""
    tapes: dict[str, _Tape] = {}
    seen = 0
    for line in lines:
        if t and line.t > t:
            # The tape goes on after this time: what ended before it is an end within the recording.
            market.ended = None
            break
        seen = line.t
        number = line.s.partition("/")[0] if "/" in line.s else ""
        tape = tapes.get(number)
        if tape is None:
            tape = tapes[number] = _Tape(venue, market, symbols)
        tape.line(line)
    for tape in tapes.values():
        for s in tape.replay.feeds:
            tape.note(s)
    return seen


class _Tape:
    """One tape, run into a market."""

    def __init__(self, venue: str, market: Market, symbols: set[str]) -> None:
        make = load(venue).feed
        self.replay = Merged(make, "clob") if venue == "polymarket" else Replay(lambda group: make(group.rpartition("/")[2]))
        self.market = market
        self.symbols = symbols
        self.run = ""

    def line(self, line: Line) -> None:
        """One line, in order."""
        if line.mark == "close" and (ended := self.replay.ends(line.s)):
            self.note(ended)
            self.market.closed(line.t, ended, str(line.fields.get("why", "")))
        elif line.mark == "tape" and (run := str(line.fields.get("run"))) != self.run:
            self.run = run
            for s in list(self.replay.feeds):
                self.note(s)
                self.replay.closed(s)
                self.market.closed(line.t, s, "the recorder was restarted")
        for s, record in self.replay.line(line):
            if getattr(record, "symbol", "") == self.market.symbol:
                self.market.record(s, record)

    def note(self, s: str) -> None:
        """Remember the symbols of a connection."""
        feed = self.replay.feeds.get(s)
        if feed is not None:
            self.symbols |= {stream.symbol for stream in feed.streams.values() if stream.symbol}


def _window(root: Path, symbol: str, t: int, depth: int) -> View:
    """``symbol``: a token id, or ``<slug>`` or ``<slug>/<outcome>`` (the first outcome if not said)."""
    slug, _, outcome = symbol.partition("/")
    names = []
    for path in windows(root):
        name = name_of(path.name.partition(".jsonl")[0])
        names.append(name)
        if not symbol.isdecimal() and name != slug:
            continue
        head = next(read_lines(path), None)
        window = parse(head).fields.get("window", {}) if head else {}
        tokens = {str(token): str(called) for token, called in zip(window.get("tokens", []), window.get("outcomes", []), strict=False)}
        if symbol.isdecimal():
            if symbol not in tokens:
                continue
            wanted = symbol
        else:
            wanted = next((token for token, called in tokens.items() if called.lower() == (outcome or called).lower()), "")
            if not wanted:
                raise SettingsError(f"{slug} has no outcome {outcome!r} (known: {', '.join(tokens.values())})")
        market = _Remembering("polymarket", wanted)
        seen = _run("polymarket", map(parse, read_lines(path)), market, t, set())
        return _view(market, seen, depth)
    near = get_close_matches(slug, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; tape ls --root {root} shows what is there"
    raise NotFound(f"no window under {root} for {symbol!r}{hint}")
