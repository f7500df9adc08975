"""The state of all recorded markets, sampled on a grid of tape time.

Rules (each has its test in tests/collectors/market/test_sampler.py):

1. Ticks are the multiples of ``1/hz`` seconds of unix time. The row of tick ``T`` reflects every line with ``t <= T`` and none
   later: two frames that were read in one wake-up have different ``t`` (tape time is strictly increasing), so no tie is left to chance.
   The row is made when the first line with ``t > T`` comes, from whichever tape of the run.
2. The best bid and offer are the last quote's, where quotes are recorded: the venue sends each change of them at once, and books in
   batches. If the book is newer (by the venue's update ids, or by its times where quotes have no ids of the book) and disagreed with
   the same quote at the tick before too, quotes have stopped, and the book's own are taken.
3. A market with no proven book at ``T`` has a row with empty cells and a reason in ``err``: why the book went, and what the venue did since
   (connections or subscriptions that it refused, REST that did not answer, streams that are silent; see ``troubles``).
4. A tick that falls in a silence longer than ``SILENCE`` (the process was stopped: it writes a clock mark every second) is not proven.
5. Sums are made by ``math.fsum``, which does not depend on order; exact decimals stay the venue's text or are made by ``Decimal``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Levels, Quote, Record, Trade
from tape_collectors.market.book import Book
from tape_collectors.market.troubles import concerns

SECOND = 1_000_000_000
SILENCE = 3 * SECOND


class TickSetup(msgspec.Struct, frozen=True):
    """Where tick Parquet is cut: rows of one part, of all open parts together, of one row group. ``format``: how it is encoded."""

    part_rows: int = 1 << 19
    all_rows: int = 1 << 21
    group_rows: int = 1 << 18
    format: int = 1


class Setup(msgspec.Struct, frozen=True):
    """What a sampled output is: enough, with the tape, to make it again. ``markets`` are (venue, symbol) in row order."""

    markets: tuple[tuple[str, str], ...]
    hz: float = 1.0
    band_bps: float = 10.0
    top: int = 5
    out: str = "logs/cex.csv"
    split_hours: int = 0
    #: None: no tick Parquet
    ticks: TickSetup | None = None


class Sample(msgspec.Struct):
    """One market at one tick. Empty texts and None where ``err`` says why."""

    tick: int
    number: int
    venue: str
    symbol: str
    err: str = ""
    best_bid: str = ""
    best_ask: str = ""
    bid_size: str = ""
    ask_size: str = ""
    bid_notional: float = 0.0
    ask_notional: float = 0.0
    top_bids: Levels = msgspec.field(default_factory=list)
    top_asks: Levels = msgspec.field(default_factory=list)
    ts: int = 0
    age_ns: int = 0
    sequence: int = 0
    coverage: float = 0.0


class _Side:
    """What one connection epoch knows of one market."""

    __slots__ = ("book", "id", "quote", "t", "ts")

    def __init__(self) -> None:
        self.book: Book | None = None
        self.id = 0
        self.t = 0
        self.ts = 0
        self.quote: Quote | None = None


class Market:
    """One (venue, symbol): what each open connection knows, and for how long a proven book was there."""

    def __init__(self, venue: str, symbol: str) -> None:
        self.venue = venue
        self.symbol = symbol
        self.sides: dict[str, _Side] = {}
        self.why = "no book yet"
        #: what the venue did since that keeps the book away
        self.trouble = ""
        self._proven_since = 0
        self._proven_ns = 0
        self._covered_to = 0
        self._doubted = 0

    def record(self, s: str, record: Record) -> None:
        """Take one record of epoch ``s``."""
        side = self.sides.get(s)
        if side is None:
            side = self.sides[s] = _Side()
            self.trouble = ""
        kind = type(record)
        if kind is BookDelta:
            book = side.book
            if book is not None:
                book.apply(record.bids, record.asks)  # type: ignore[union-attr]
                side.id = record.last  # type: ignore[union-attr, assignment]
                side.t = record.t
                side.ts = record.ts  # type: ignore[union-attr]
        elif kind is Quote:
            side.quote = record  # type: ignore[assignment]
        elif kind is Trade:
            return
        elif isinstance(record, BookSnapshot):
            if record.source == "top":
                return
            side.book = Book()
            side.book.replace(record.bids, record.asks)
            side.id, side.t, side.ts = record.id, record.t, record.ts
            self.trouble = ""
            # A checkpoint stands at a segment's head, a whole hour: the book was proven for the whole interval that begins there.
            self._proof(1 if record.source == "checkpoint" else record.t, True)
        elif isinstance(record, BookLost):
            side.book = None
            self.why, self.trouble = record.why, ""
            self._proof(record.t, any(other.book is not None for other in self.sides.values()))

    def closed(self, t: int, s: str, why: str) -> object:
        """Epoch ``s`` is over. Gives what was known by it: to let go of a book takes a while."""
        side = self.sides.pop(s, None)
        if side is not None:
            self.why, self.trouble = f"disconnected: {why}", ""
            self._proof(t, any(other.book is not None for other in self.sides.values()))
        return side

    def coverage(self, tick: int, interval: int) -> float:
        """The share of the interval that ends at ``tick`` in which a proven book was there; starts the next interval."""
        proven = self._proven_ns
        if self._proven_since:
            proven += tick - max(self._proven_since, tick - interval)
        self._proven_ns = 0
        self._covered_to = tick
        return min(1.0, max(0, proven) / interval)

    def best(self) -> _Side | None:
        """The proven side with the greatest update id; on a tie the one that was heard last."""
        proven = [side for side in self.sides.values() if side.book is not None]
        return max(proven, key=lambda side: (side.id, side.t)) if proven else None

    def quote(self) -> Quote | None:
        """The quote with the greatest update id over all open connections; on a tie the latest."""
        quotes = [side.quote for side in self.sides.values() if side.quote is not None]
        return max(quotes, key=lambda quote: (quote.id, quote.t)) if quotes else None

    def believed(self, quote: Quote, side: _Side, best: tuple[str, str, str, str]) -> bool:
        """Rule 2, asked once a tick."""
        newer = quote.id >= side.id if quote.id else quote.ts >= side.ts
        if newer or best == (quote.bid, quote.bid_size, quote.ask, quote.ask_size):
            self._doubted = 0
            return True
        before, self._doubted = self._doubted, quote.id or quote.t
        return before != self._doubted

    def state(self, s: str) -> dict[str, object]:
        """What a checkpoint of epoch ``s`` must hold of this market: levels, their times and id, and the quote."""
        side = self.sides.get(s)
        out: dict[str, object] = {}
        if side is not None and side.book is not None:
            bids, asks = side.book.levels()
            out = {"book": [side.t, side.ts, side.id], "bids": bids, "asks": asks}
        if side is not None and (quote := side.quote) is not None:
            out["quote"] = list(msgspec.structs.astuple(quote))
        return out

    def _proof(self, t: int, proven: bool) -> None:
        if self._proven_since and not proven:
            self._proven_ns += t - max(self._proven_since, self._covered_to)
            self._proven_since = 0
        elif proven and not self._proven_since:
            self._proven_since = t


class Sampler:
    """All markets of one output on one grid. Feed it lines in tape order: ``advance(t)`` first, then what the line said."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.interval = round(SECOND / setup.hz)
        self.markets = {key: Market(*key) for key in setup.markets}
        self.next_tick = 0
        #: what is to be let go of, one with each sample: hundreds of books at once take a tenth of a second
        self._gone: list[object] = []
        self._first = 0
        self._last_t = 0

    def start(self, t: int, begun: int) -> None:
        """Nothing is known at tape time ``t``, of a run that began at ``begun``; the next tick is the first one after ``t``."""
        self.markets = {key: Market(*key) for key in self.setup.markets}
        self.next_tick = (t // self.interval + 1) * self.interval
        self._first = (begun // self.interval + 1) * self.interval
        self._last_t = t

    def record(self, venue: str, s: str, record: Record) -> None:
        """Take one record of epoch ``s`` of ``venue``."""
        # Two of three records are trades and quotes: they go the short way.
        kind = type(record)
        if kind is Trade:
            return
        market = self.markets.get((venue, getattr(record, "symbol", "")))
        if market is None:
            return
        if kind is Quote and (side := market.sides.get(s)) is not None:
            side.quote = record  # type: ignore[assignment]
            return
        market.record(s, record)

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """Epoch ``s`` of ``venue`` is over."""
        for market in self.markets.values():
            if market.venue == venue and (side := market.closed(t, s, why)) is not None:
                self._gone.append(side)

    def trouble(self, venue: str, where: str, why: str) -> None:
        """Something is wrong with the venue."""
        for market in self.markets.values():
            if market.venue == venue and concerns(where, market.symbol):
                market.trouble = why

    def advance(self, t: int) -> Iterator[list[Sample]]:
        """The samples of every tick before ``t``, a list a tick. Call it with each line's ``t`` before the line itself."""
        while self.next_tick < t:
            yield list(self.tick(t))
        self._last_t = t

    def tick(self, t: int) -> Iterator[Sample]:
        """The samples of the next tick, which is before ``t``, one by one. Until all are made nothing else may be told, but ``t`` again."""
        tick = self.next_tick
        silent = t - self._last_t > SILENCE and tick > self._last_t + SILENCE
        self.next_tick += self.interval
        for market in self.markets.values():
            yield self._sample(market, tick, silent)
            if self._gone:
                self._gone.pop()

    def heard(self, t: int) -> None:
        """A line came at ``t`` and no tick is due."""
        self._last_t = t

    def _sample(self, market: Market, tick: int, silent: bool) -> Sample:
        coverage = market.coverage(tick, self.interval)
        number = (tick - self._first) // self.interval + 1
        sample = Sample(tick, number, market.venue, market.symbol, coverage=coverage)
        side = market.best()
        if side is None or side.book is None:
            sample.err = f"BookNotProven: {market.why}" + (f"; {market.trouble}" if market.trouble else "")
            return sample
        if silent:
            sample.err, sample.coverage = "TapeSilent: nothing was recorded at this time", 0.0
            return sample
        best = side.book.best()
        if best is None:
            sample.err = "BookEmpty: one side of the book has no level"
            return sample
        sample.sequence, sample.ts, sample.age_ns = side.id, side.ts, tick - side.t
        quote = market.quote()
        if quote is not None and market.believed(quote, side, best):
            best = (quote.bid, quote.bid_size, quote.ask, quote.ask_size)
            sample.sequence, sample.ts, sample.age_ns = quote.id, quote.ts, tick - quote.t
        self._fill(sample, side.book, best)
        return sample

    def _fill(self, sample: Sample, book: Book, best: tuple[str, str, str, str]) -> None:
        sample.best_bid, sample.bid_size, sample.best_ask, sample.ask_size = best
        bid, ask = float(best[0]), float(best[2])
        top_bids, top_asks = book.top(self.setup.top + 16)
        sample.top_bids = _under(best[0], best[1], [level for level in top_bids if float(level[0]) < bid], self.setup.top)
        sample.top_asks = _under(best[2], best[3], [level for level in top_asks if float(level[0]) > ask], self.setup.top)
        sample.bid_notional, sample.ask_notional = book.within((bid + ask) / 2, self.setup.band_bps)


def _under(price: str, size: str, rest: Sequence[tuple[str, str]], top: int) -> Levels:
    return [(price, size), *rest][:top]


def mid_and_spread(sample: Sample) -> tuple[str, str]:
    """Mid and spread as exact decimal text."""
    bid, ask = Decimal(sample.best_bid), Decimal(sample.best_ask)
    return str((bid + ask) / 2), str(ask - bid)
