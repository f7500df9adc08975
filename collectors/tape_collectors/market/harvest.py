"""Trades and books of some markets as rows of prices, OFI, CVD, their fusion, events and books, cut into parts of tape time.

Rules (each has its test in tests/collectors/market/test_harvest.py):

1. Rows and parts are a function of the lines alone: live and from the tape they are the same. A part holds one rotation of tape time,
   counted from the whole UTC hour, of one run.
2. A trade gives a row of ``prices`` and one of ``cvd`` (in the order of ids, each id once: ``trade_chain``); a book update gives one of
   ``ofi``, ``fusion`` and ``book``.
3. One connection's book is read. When it is lost and another one's is proven, that one goes on from the first update that is newer;
   nothing is missing between them. When none is proven, all that was differenced begins anew with the next whole book.
4. Where trades were missed, and where the venue began anew, the scales, rates and regimes begin anew: null until they are warm again.
   Where the last connection with trades closed, so do rate and regime, and the last z_cvd is not used any more.
5. The flow of an interval is that of the last whole one of ``interval_s`` seconds of tape time, without a gap in it.
6. Divergences are looked for once in each second of event time.
7. Trades that came again have no row. How many there were is told at the end of each part, and which of them one connection sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tape_archive.format.harvest import KINDS, Kind
from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Notice, Record, Reset, Trade
from tape_archive.format.rotation import HOUR
from tape_collectors.market.harvest_books import BookRows
from tape_collectors.market.harvest_setup import HarvestSetup
from tape_collectors.market.harvest_trades import TradeRows
from tape_collectors.market.sampler import Market

_MS = 1_000_000
_json = msgspec.json.Encoder().encode


class HarvestPart(msgspec.Struct):
    """Rows of one kind of one market, as columns of ``format.harvest`` say. ``first``, ``last``: their tape times, unix ns."""

    symbol: str
    kind: Kind
    first: int
    last: int
    rows: list[tuple[Any, ...]]

    def __len__(self) -> int:
        return len(self.rows)


class Rows:
    """The open rows of one market, by kind; and its clock: the tape time of the line that is being read."""

    __slots__ = ("count", "now", "open", "symbol", "times")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.now = 0
        self.open: dict[Kind, list[tuple[Any, ...]]] = {kind: [] for kind in KINDS}
        #: tape times of the first and last open row, by kind
        self.times: dict[Kind, list[int]] = {kind: [0, 0] for kind in KINDS}
        #: rows so far, by kind
        self.count: dict[Kind, int] = dict.fromkeys(KINDS, 0)

    def add(self, kind: Kind, row: tuple[Any, ...]) -> None:
        """One row, of now."""
        rows = self.open[kind]
        times = self.times[kind]
        if not rows:
            times[0] = self.now
        times[1] = self.now
        rows.append(row)

    def event(self, name: str, meta: dict[str, Any], feed: str, ts: int | None = None, pivot: int | None = None) -> None:
        """A row of ``events``; ``ts`` and ``pivot`` in unix ns."""
        known = None if ts is None else ts // _MS
        at = None if pivot is None else pivot // _MS
        self.add("events", (self.now // _MS, self.symbol, name, _json(meta).decode(), known, self.now, at, feed))

    def total(self) -> dict[Kind, int]:
        """Rows so far, the open ones included."""
        return {kind: self.count[kind] + len(rows) for kind, rows in self.open.items()}

    def finish(self, finished: Callable[[HarvestPart], None]) -> None:
        """Give away what is open."""
        for kind, rows in self.open.items():
            if rows:
                self.count[kind] += len(rows)
                first, last = self.times[kind]
                self.open[kind] = []
                finished(HarvestPart(self.symbol, kind, first, last, rows))


class HarvestMarket:
    """One market: its books by connection, its trades, and the rows of both."""

    __slots__ = ("books", "market", "rows", "setup", "trades")

    def __init__(self, setup: HarvestSetup, symbol: str) -> None:
        self.setup = setup
        self.market = Market(setup.venue, symbol)
        self.rows = Rows(symbol)
        self.trades = TradeRows(setup, self.rows)
        self.books = BookRows(setup, self.rows, self.trades)

    def record(self, s: str, record: Record) -> None:
        """What a line of epoch ``s`` said."""
        kind = type(record)
        if kind is BookDelta:
            if record.channel == self.setup.depth:  # type: ignore[union-attr]
                self.market.record(s, record)
                self.books.delta(s, record, self.market)  # type: ignore[arg-type]
        elif kind is Trade:
            if record.channel == self.setup.trades:  # type: ignore[union-attr]
                self.trades.trade(s, record)  # type: ignore[arg-type]
        elif isinstance(record, BookSnapshot):
            if record.source != "top":
                self.market.record(s, record)
                self.books.snapshot(s, record, self.market)
        elif isinstance(record, BookLost):
            self.market.record(s, record)
            self.books.left(s, record.why, self.market)
        elif isinstance(record, Reset):
            self.rows.event("reset", {"channel": record.channel, "why": record.why}, record.channel)
        else:
            self._noticed(record)

    def _noticed(self, record: Record) -> None:
        """Rule 7."""
        if isinstance(record, Notice) and record.number and record.channel == self.setup.trades:
            self.trades.again(record.number)

    def closed(self, t: int, s: str, why: str) -> None:
        """Epoch ``s`` is over."""
        self.market.closed(t, s, why)
        self.trades.closed(s)
        self.books.left(s, f"disconnected: {why}", self.market)


class Harvest:
    """All markets of one output. Feed it lines in tape order: ``advance`` first, then what the line said. Finished parts go to
    ``finished``; ``rotated`` is told when all of a rotation are, and ``turned`` of each whole hour of tape time, after that."""

    def __init__(self, setup: HarvestSetup, finished: Callable[[HarvestPart], None]) -> None:
        self.setup = setup
        self.finished = finished
        self.rotated: Callable[[int], None] = lambda t: None
        self.turned: Callable[[int], None] = lambda hour: None
        self.markets: dict[str, HarvestMarket] = {}
        #: tape time
        self.now = 0
        self._until = 0
        self._hour = 0

    def begin(self, t: int, begun: int) -> None:
        """A run begins; nothing is known but what it carries on."""
        self.markets = {symbol: HarvestMarket(self.setup, symbol) for symbol in self.setup.symbols}
        self._window(begun)
        self._hour = (begun // HOUR + 1) * HOUR
        for symbol, market in self.markets.items():
            market.rows.now = begun
            market.rows.event("begin", {"carried": symbol in self.setup.carry}, "")

    def advance(self, t: int) -> None:
        """Tape time is ``t`` now."""
        self.now = t
        if t >= self._until:
            self.end()
            self._window(t)
            self.rotated(t)
            if t >= self._hour:
                self._hour = (t // HOUR + 1) * HOUR
                self.turned(self._hour - HOUR)
        for market in self.markets.values():
            market.rows.now = t

    def record(self, venue: str, s: str, record: Record) -> None:
        """What a line of epoch ``s`` said."""
        market = self.markets.get(getattr(record, "symbol", ""))
        if market is not None and venue == self.setup.venue:
            market.record(s, record)

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """An epoch is over."""
        if venue == self.setup.venue:
            for market in self.markets.values():
                market.closed(t, s, why)

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """What a checkpoint must hold beside the feed's own state."""
        market = self.markets.get(symbol)
        return market.market.state(s) if market is not None and venue == self.setup.venue else {}

    def end(self) -> None:
        """Finish every part: the rotation is over, or the run."""
        for market in self.markets.values():
            market.trades.settle()
            market.rows.finish(self.finished)

    def freeze(self) -> dict[str, tuple[Rows, TradeRows, BookRows]]:
        """All that a later line depends on, without the books (the tape's checkpoints have them): plain data, to be pickled at once."""
        return {symbol: (market.rows, market.trades, market.books) for symbol, market in self.markets.items()}

    def thaw(self, t: int, state: dict[str, tuple[Rows, TradeRows, BookRows]]) -> None:
        """Go on at tape time ``t`` from what ``freeze`` gave when the hour turned, instead of ``begin``."""
        self.markets = {symbol: HarvestMarket(self.setup, symbol) for symbol in self.setup.symbols}
        for symbol, (rows, trades, books) in state.items():
            market = self.markets[symbol]
            market.rows, market.trades, market.books = rows, trades, books
        self._window(t)
        self._hour = (t // HOUR + 1) * HOUR

    def _window(self, t: int) -> None:
        """Rule 1."""
        hour, every = t // HOUR * HOUR, self.setup.rotate_s * 1_000_000_000
        self._until = min(hour + ((t - hour) // every + 1) * every, hour + HOUR)
