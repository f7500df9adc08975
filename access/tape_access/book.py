"""The order book of one market at one time, from the tape."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.format.layout import Segment, segments, windows
from tape_archive.format.lines import parse
from tape_archive.format.read import last_line, read_lines
from tape_archive.format.records import Levels, Record
from tape_collectors.market.replay import Merged, Replay
from tape_collectors.market.sampler import Market
from tape_collectors.venues import load

HOUR = 3_600_000_000_000


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
    found = [segment for segment in segments(root, venue) if not t or segment.hour <= t]
    if not found:
        raise NotFound(f"no tape of {venue} under {root}" + (" before that time" if t else ""))
    newest = max(segment.hour for segment in found)
    symbols: set[str] = set()
    seen = _replay([segment for segment in found if segment.hour == newest], venue, market, t, symbols)
    if market.best() is None and market.ended is None and len(found) > 1:
        market = _Remembering(venue, market.symbol)
        seen = _replay(found, venue, market, t, symbols)
    if market.symbol not in symbols:
        near = get_close_matches(market.symbol, symbols, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise NotFound(f"{venue} has no {market.symbol!r} on these tapes{hint} (there: {', '.join(sorted(symbols)[:10]) or 'nothing'})")
    return _view(market, seen, depth)


def _view(market: Market, seen: int, depth: int) -> View:
    side = market.best()
    if side is None and isinstance(market, _Remembering) and market.ended is not None:
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


def _replay(chosen: list[Segment], venue: str, market: _Remembering, t: int, symbols: set[str]) -> int:
    """Run the market over the segments; gives the time of the last line used."""
    seen = 0
    by_stream: dict[str, list[Path]] = {}
    for segment in chosen:
        by_stream.setdefault(segment.stream, []).append(segment.file)
    for paths in by_stream.values():
        seen = max(seen, _run(Replay(load(venue).feed), _lines(paths), market, t, symbols))
    return seen


def _lines(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        yield from read_lines(path)


def _run(replay: Replay, raws: Iterator[bytes], market: _Remembering, t: int, symbols: set[str]) -> int:
    seen, run = 0, ""
    for raw in raws:
        line = parse(raw)
        if t and line.t > t:
            # The tape goes on after this time: what ended before it is an end within the recording.
            market.ended = None
            break
        seen = line.t
        if line.mark == "close" and (ended := replay.ends(line.s)):
            market.closed(line.t, ended, str(line.fields.get("why", "")))
        elif line.mark == "tape" and line.fields.get("run") != run:
            for s in list(replay.feeds):
                replay.closed(s)
                market.closed(line.t, s, "the recorder was restarted")
            run = str(line.fields.get("run"))
        for s, record in replay.line(line):
            symbol = getattr(record, "symbol", "")
            if symbol:
                symbols.add(symbol)
            if symbol == market.symbol:
                market.record(s, record)
    return seen


def _window(root: Path, symbol: str, t: int, depth: int) -> View:
    """``symbol``: a token id, or ``<slug>`` or ``<slug>/<outcome>`` (Up if not said)."""
    slug, _, outcome = symbol.partition("/")
    for path in windows(root):
        if not symbol.isdecimal() and path.name.partition(".")[0] != slug:
            continue
        head = next(read_lines(path), None)
        window = parse(head).fields.get("window", {}) if head else {}
        tokens = [str(token) for token in window.get("tokens", [])]
        if symbol.isdecimal() and symbol not in tokens:
            continue
        names = [str(name) for name in window.get("outcomes", [])]
        wanted = symbol if symbol.isdecimal() else next((tok for tok, n in zip(tokens, names, strict=True) if n == (outcome or "Up")), "")
        if not wanted:
            raise SettingsError(f"{slug} has no outcome {outcome!r} (known: {', '.join(names)})")
        market = _Remembering("polymarket", wanted)
        seen = _run(Merged(load("polymarket").feed, "clob"), read_lines(path), market, t, set())
        return _view(market, seen or parse(last_line(path) or b"").t, depth)
    raise NotFound(f"no window under {root} for {symbol!r}; tape ls --root {root} shows what is there")
