"""One connection to Gate.io's USDT perpetuals: what differs from spot (whose rules 1, 4 and 5 hold here too).

6. Sizes are contracts of ``quanto_multiplier`` base coins (see ``venues.contracts``); they may have decimals, and are whole numbers,
   rounded down, for a client that did not ask for decimals when it connected (header, since 2025-12-09).
7. The sign of a trade's size is the taker's side. ``is_internal`` trades (insurance, ADL) are none of the book: a notice.
8. Trades have an id, and nowhere it is said that one follows from the other: doubles are known by the last ids seen; a hole cannot be seen.
9. ``tickers`` carry mark, index, rate and open interest; there are no channels of their own for these. When the rate is due is not told.
10. ``public_liquidates``: the sign is the order's; one of a contract and second at most, so a lower bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tape_archive.format.records import (
    BookSnapshot,
    Candle,
    Funding,
    Level,
    Liquidation,
    Notice,
    OpenInterest,
    Quote,
    Record,
    Trade,
    Unknown,
)
from tape_collectors.venues.contracts import Contracts, base
from tape_collectors.venues.gate import wire
from tape_collectors.venues.gate.feed import GateFeed
from tape_collectors.venues.gate.symbols import contract
from tape_collectors.venues.gate.wire import text
from tape_collectors.venues.joined import Event
from tape_collectors.venues.numbers import ns
from tape_collectors.venues.protocol import Fetch, Output
from tape_collectors.venues.session import BROKEN, MS, SECOND

CONTRACTS = "GET /api/v4/futures/usdt/contracts"
_BOOK = "GET /api/v4/futures/usdt/order_book"
#: rule 8
IDS = 2000


def _request(symbol: str) -> Fetch:
    return Fetch(f"{CONTRACTS}/{symbol}")


class FuturesFeed(GateFeed):
    """USDT-margined perpetuals."""

    product = "futures"
    foreign = ("spot.", "options.")

    def __init__(self, *, books: bool = True) -> None:
        super().__init__(books=books)
        self._contracts: Contracts[wire.Frame] = Contracts(_request, wire.frame)
        self._ids: dict[str, OrderedDict[int, None]] = {}
        self._prices: dict[str, tuple[str, str, str]] = {}
        self._open: dict[str, str] = {}

    # -- frames ----------------------------------------------------------------------------------------------------------

    def data(self, t: int, frame: wire.Frame) -> Output:
        """Rule 6: a frame of a contract that is not known yet waits."""
        kind = frame.channel.removeprefix("futures.")
        if kind == "order_book" and frame.event == "update":
            return [Notice(t, "statistic", "futures.order_book of 2021, level by level")], ()
        decode = wire.FUTURES.get(kind)
        if decode is None:
            return [Unknown(t, f"gate: no decoder for channel {frame.channel[:40]!r} event {frame.event[:20]!r}")], ()
        found = decode(frame.result)
        rows: Sequence[Any] = found if isinstance(found, list) else [found]
        for name in dict.fromkeys(self._name(kind, row) for row in rows):
            self.spoke(t, name)
        return self._sized(t, frame, kind, rows)

    def _name(self, kind: str, row: Any) -> str:
        if kind == "obu":
            return _obu_name(row.s)
        if kind == "candlesticks":
            interval, _, symbol = row.n.partition("_")
            return f"candlesticks.{interval}:{symbol}"
        if kind == "order_book_update":
            return self.speed(row.s)
        return f"{kind}:{_symbol(row)}"

    def _sized(self, t: int, frame: wire.Frame, kind: str, rows: Sequence[Any]) -> Output:
        unknown = next((symbol for symbol in map(_symbol, rows) if symbol not in self._contracts.known), None)
        if unknown is not None and self._books:
            return self._contracts.hold(t, unknown, frame)
        return self._decode(t, frame, kind, rows)

    def _decode(self, t: int, frame: wire.Frame, kind: str, rows: Sequence[Any]) -> Output:
        if kind in ("obu", "order_book_update"):
            (push,) = rows
            symbol = _symbol(push)
            return self.pushed(t, self._name(kind, push), self._event(push, symbol))
        records: list[Record] = []
        for row in rows:
            records += self._KINDS[kind](self, t, frame, row)
        return records, ()

    def _event(self, push: wire.FuturesBook, symbol: str) -> Event:
        if not push.full and not 0 < push.U <= push.u:
            raise ValueError(f"{symbol[:40]}: update ids U={push.U} u={push.u}")
        return Event(push.U or push.u, push.u, push.t * MS, self._levels(symbol, push.b), self._levels(symbol, push.a), push.full)

    def _levels(self, symbol: str, rows: Sequence[wire.Row]) -> list[Level]:
        return [(price, self._base(symbol, size, price)) for price, size in map(wire.level, rows)]

    def _base(self, symbol: str, size: str, price: str) -> str:
        return base(size, self._contracts.known.get(symbol, "1"), price)

    # -- the other channels ----------------------------------------------------------------------------------------------

    def _trade(self, t: int, frame: wire.Frame, row: wire.FuturesFill) -> list[Record]:
        """Rules 7 and 8."""
        if row.is_internal:
            return [Notice(t, "off_book", f"{row.contract[:40]} {row.id}: insurance or ADL")]
        seen = self._ids.setdefault(row.contract, OrderedDict())
        if row.id in seen:
            return [Notice(t, "duplicate", f"trades:{row.contract[:40]} {row.id}")]
        seen[row.id] = None
        if len(seen) > IDS:
            seen.popitem(last=False)
        side, size = _signed(row.size)
        price = text(row.price)
        ts = ns(text(row.create_time_ms), MS) or ns(text(row.create_time), SECOND)
        return [Trade(t, ts, row.contract, "trades", str(row.id), price, self._base(row.contract, size, price), side)]

    def _quote(self, t: int, frame: wire.Frame, row: wire.FuturesBest) -> list[Record]:
        if not row.b or not row.a:
            return [Notice(t, "one-sided", f"book_ticker:{row.s[:40]}")]
        bid, ask = self._base(row.s, text(row.B), row.b), self._base(row.s, text(row.A), row.a)
        return [Quote(t, row.t * MS, row.s, "book_ticker", row.u, row.b, bid, row.a, ask)]

    def _bar(self, t: int, frame: wire.Frame, row: wire.FuturesBar) -> list[Record]:
        interval, _, symbol = row.n.partition("_")
        prices = text(row.o), text(row.h), text(row.l), text(row.c)
        volume = self._base(symbol, text(row.v), prices[3])
        opened = ns(str(row.t), SECOND)
        return [Candle(t, frame.time_ms * MS, symbol, f"candlesticks.{interval}", opened, interval, *prices, volume, row.w)]

    def _ticker(self, t: int, frame: wire.Frame, row: wire.FuturesTicker) -> list[Record]:
        """Rule 9: told when it changed."""
        out: list[Record] = []
        ts, symbol = frame.time_ms * MS, row.contract
        prices = row.mark_price, row.index_price, row.funding_rate
        if row.mark_price and self._prices.get(symbol) != prices:
            self._prices[symbol] = prices
            out.append(Funding(t, ts, symbol, "tickers", *prices, 0))
        size = text(row.total_size)
        if size and self._open.get(symbol) != size:
            self._open[symbol] = size
            out.append(OpenInterest(t, ts, symbol, "tickers", self._base(symbol, size, row.mark_price or row.last)))
        return out or [Notice(t, "statistic", frame.channel)]

    def _forced(self, t: int, frame: wire.Frame, row: wire.Forced) -> list[Record]:
        """Rule 10."""
        side, size = _signed(row.size)
        price = text(row.price)
        ts = row.time_ms * MS or row.time * SECOND
        return [Liquidation(t, ts, row.contract, "public_liquidates", price, self._base(row.contract, size, price), side)]

    def _top(self, t: int, frame: wire.Frame, row: wire.FuturesTop) -> list[Record]:
        sides = self._levels(row.contract, row.bids), self._levels(row.contract, row.asks)
        return [BookSnapshot(t, row.t * MS, row.contract, "order_book", row.id, *sides, "top")]

    _KINDS: ClassVar[dict[str, Any]] = {
        "trades": _trade,
        "book_ticker": _quote,
        "candlesticks": _bar,
        "tickers": _ticker,
        "public_liquidates": _forced,
        "order_book": _top,
    }

    # -- REST ------------------------------------------------------------------------------------------------------------

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """What a contract is (rule 6), or a book."""
        if not request.startswith(f"{CONTRACTS}/"):
            return super().fetched(t, request, data)
        try:
            row = wire.contract(data)
            known = [(row.name, contract(row))]
        except BROKEN as error:
            return [Unknown(t, f"gate: {request[:60]}: {str(error)[:100]}")], ()
        records: list[Record] = []
        commands: list[Any] = []
        for at, frame in self._contracts.told(known):
            kind = frame.channel.removeprefix("futures.")
            try:
                found = wire.FUTURES[kind](frame.result)
                more, asked = self._sized(at, frame, kind, found if isinstance(found, list) else [found])
            except BROKEN as error:
                more, asked = [Unknown(at, f"gate: {str(error)[:120]}")], ()
            records += more
            commands += asked
        return records, commands

    def book_request(self, symbol: str, channel: str = "") -> str:
        """The limit must be the stream's."""
        limit = 20 if channel.endswith("20ms") else 100
        return f"{_BOOK}?contract={symbol}&limit={limit}&with_id=true"

    def rest(self, request: str, data: bytes) -> tuple[str, Event] | None:
        """A REST book, with its times in seconds; None: another request, or no book, or its contract is not known."""
        if not request.startswith(f"{_BOOK}?"):
            return None
        symbol = request.partition("contract=")[2].partition("&")[0]
        if symbol not in self._contracts.known:
            return None
        try:
            book = wire.futures_book(data)
            bids, asks, ts = self._levels(symbol, book.bids), self._levels(symbol, book.asks), ns(text(book.update), SECOND)
        except BROKEN:
            return None
        return symbol, Event(book.id, book.id, ts, bids, asks, True)

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """Also what contracts are, frames that wait for it, the last ids of trades, and the last prices."""
        out = {str(fields["symbol"]): dict(fields) for fields in super().checkpoint()}
        for symbol, more in self._contracts.state().items():
            out.setdefault(symbol, {"symbol": symbol, "ids": {}}).update(more)
        for symbol, ids in self._ids.items():
            out.setdefault(symbol, {"symbol": symbol, "ids": {}})["trades"] = list(ids)
        for symbol, prices in self._prices.items():
            out.setdefault(symbol, {"symbol": symbol, "ids": {}})["prices"] = list(prices)
        for symbol, size in self._open.items():
            out.setdefault(symbol, {"symbol": symbol, "ids": {}})["open"] = size
        return list(out.values())

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """Go on from a checkpoint."""
        symbol = str(checkpoint["symbol"])
        self._contracts.restore(symbol, checkpoint)
        if "trades" in checkpoint:
            self._ids[symbol] = OrderedDict.fromkeys(checkpoint["trades"])
        if "prices" in checkpoint:
            mark, index, rate = checkpoint["prices"]
            self._prices[symbol] = mark, index, rate
        if "open" in checkpoint:
            self._open[symbol] = checkpoint["open"]
        return super().restore(t, checkpoint)


def _obu_name(s: str) -> str:
    symbol, _, levels = s.partition(".")[2].rpartition(".")
    return f"obu.{levels}:{symbol}"


def _symbol(row: Any) -> str:
    """Which contract a row is of: every channel has a field of its own for it."""
    if isinstance(row, wire.FuturesBook):
        return row.s.partition(".")[2].rpartition(".")[0] if row.s.startswith("ob.") else row.s
    if isinstance(row, wire.FuturesBar):
        return row.n.partition("_")[2]
    return str(row.s if isinstance(row, wire.FuturesBest) else row.contract)


def _signed(size: wire.Number) -> tuple[str, str]:
    """(side, size) of a signed size."""
    number = text(size)
    return ("sell", number[1:]) if number.startswith("-") else ("buy", number)
