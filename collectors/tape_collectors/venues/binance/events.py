"""What one stream's payload says: decoding, and the sequence rules of the streams that need no book.

1. Trade ids (``t``, ``a``) are contiguous for each symbol (sheet 8.3: practice, not promised): a hole is a gap, and the trade behind
   it counts.
2. An id that was there, or one before it, is a double: a notice and no second trade.
3. An id that went back while the venue's own time goes on is a reset: the venue began anew.
4. Quotes carry the book's update id, which jumps; only one that goes back is no news: a notice, and no quote. Rule 3 holds where quotes
   have times (futures); on spot they begin anew with the depth stream of the same symbol.
5. On futures only ``X == "MARKET"`` is a trade of the book; insurance fund and ADL fills have ids in the same sequence, and prices of
   their own.
6. Streams that carry both futures products since 2026-06-30: ``st == 2`` is COIN-M, another product. A notice.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tape_archive.format.records import (
    BookSnapshot,
    Candle,
    Funding,
    Gap,
    Lifecycle,
    Liquidation,
    Notice,
    Quote,
    Record,
    Reset,
    Ticker,
    Trade,
    Unknown,
)
from tape_collectors.venues.binance import wire
from tape_collectors.venues.binance.wire import MS
from tape_collectors.venues.protocol import NOTHING, Output, Stream
from tape_collectors.venues.session import told

Handler = Callable[[int, "Counted", bytes], Output]
_COINM = 2
#: events that we know and do not use, by ``e``: Spot and Futures, "Mini Ticker", "Ticker", "Rolling Window Statistics", "Average Price",
#: "Reference Price"; Futures, "Composite Index", "Multi-Assets Mode Asset Index", "Continuous Contract Kline", "Trading Session".
STATISTICS = frozenset(
    (
        *("24hrMiniTicker", "24hrTicker", "1hTicker", "4hTicker", "1dTicker", "avgPrice", "referencePrice", "compositeIndex"),
        *("assetIndexUpdate", "continuous_kline", "tradingSession", "indexPriceUpdate"),
    )
)
#: the options API of 2021 (``BTCUSDT_C@TRADE_ALL``), another product
OPTIONS = frozenset(("trade_all", "ticker_all"))


class Counted(Stream):
    """A stream and the last payload that was in sequence: rule 3 reads its time, when it needs to."""

    __slots__ = ("tail",)

    def __init__(self, name: str, symbol: str, channel: str, *, dense: bool = True) -> None:
        super().__init__(name, symbol, channel, dense=dense)
        self.tail = b""

    def time(self) -> int:
        """The venue's time of the last payload in sequence, in ms; 0 if it has none."""
        return wire.time_of(self.tail)


def base_of(channel: str) -> str:
    """``kline_1m`` -> ``kline``, ``depth5@100ms`` -> ``depth5``, ``markPrice@arr@1s`` -> ``markPrice``."""
    return channel.partition("@")[0].partition("_")[0]


def trade(t: int, stream: Counted, payload: bytes) -> Output:
    """``@trade``."""
    event = wire.trade(payload)
    number = event.t
    if number == stream.last_id + 1 and stream.first_id and event.X == "MARKET":
        stream.last_id, stream.tail = number, payload
        return (Trade(t, event.T * MS, stream.symbol, stream.channel, str(number), event.p, event.q, "sell" if event.m else "buy"),), ()
    record: Record = Trade(t, event.T * MS, stream.symbol, stream.channel, str(number), event.p, event.q, "sell" if event.m else "buy")
    if event.X != "MARKET":
        record = Notice(t, "off_book", f"{stream.name} {number} {event.X[:20]}")
    return _numbered(t, stream, number, event.E, payload, record)


def agg_trade(t: int, stream: Counted, payload: bytes) -> Output:
    """``@aggTrade``."""
    event = wire.agg_trade(payload)
    if event.st == _COINM:
        return _foreign(t, event.s)
    number = event.a
    side = "sell" if event.m else "buy"
    record = Trade(t, event.T * MS, stream.symbol, stream.channel, str(number), event.p, event.q, side, event.E * MS, event.f, event.l)
    if number == stream.last_id + 1 and stream.first_id:
        stream.last_id, stream.tail = number, payload
        return (record,), ()
    return _numbered(t, stream, number, event.E, payload, record)


def block_trade(t: int, stream: Counted, payload: bytes) -> Output:
    """``@blockTrade``: ids of their own, of which nobody says that they are contiguous."""
    event = wire.trade(payload)
    if event.t <= stream.last_id:
        return [Notice(t, "duplicate", f"{stream.name} {event.t}")], ()
    stream.last_id = event.t
    return [Trade(t, event.T * MS, stream.symbol, stream.channel, str(event.t), event.p, event.q, "sell" if event.m else "buy")], ()


def _numbered(t: int, stream: Counted, number: int, time: int, payload: bytes, record: Record) -> Output:
    """Rules 1 to 3."""
    last = stream.last_id
    if number <= last and not 0 < stream.time() < time:
        return [Notice(t, "duplicate", f"{stream.name} {number}", stream.symbol, stream.channel, number)], ()
    out: list[Record] = [record]
    if number <= last:
        out.insert(0, Reset(t, stream.symbol, stream.channel, f"ids went back from {last} to {number}"))
    elif last and number != last + 1:
        out.insert(0, Gap(t, stream.symbol, stream.channel, stream.last_t, last + 1, number - 1, "ids"))
    if not last or number <= last:
        stream.first_id = number
    stream.last_id, stream.tail = number, payload
    return out, told(out)


def quote(t: int, stream: Counted, payload: bytes) -> Output:
    """``@bookTicker``, ``!bookTicker``."""
    event = wire.book_ticker(payload)
    if event.st == _COINM:
        return _foreign(t, event.s)
    symbol = stream.symbol
    out: list[Record] = []
    if not symbol:
        symbol = event.s
    elif event.u <= stream.last_id:
        if not 0 < stream.time() < event.E:
            return [Notice(t, "duplicate", f"{stream.name} u={event.u}")], ()
        out.append(Reset(t, symbol, stream.channel, f"update ids went back from {stream.last_id} to {event.u}"))
    stream.last_id, stream.tail = event.u, payload
    record = Quote(t, (event.T or event.E) * MS, symbol, stream.channel, event.u, event.b, event.B, event.a, event.A)
    return ([*out, record], told(out)) if out else ((record,), ())


def number_header(base: str) -> Handler:
    """Ids of trades or quotes without decoding them, for a recorder that keeps no books. What is not in sequence is decoded."""
    search, decode, jumps = wire.NUMBER[base], DECODED[base], base == "bookTicker"

    def handler(t: int, stream: Counted, payload: bytes) -> Output:
        found = search(payload)
        if found is not None and stream.symbol:
            number, last = int(found[1]), stream.last_id
            if last and (number == last + 1 or (jumps and number > last)):
                stream.last_id, stream.tail = number, payload
                return NOTHING
        records, commands = decode(t, stream, payload)
        return [record for record in records if not isinstance(record, Trade | Quote)], commands

    return handler


def partial(t: int, stream: Counted, payload: bytes) -> Output:
    """``@depth5``: the best levels only, whole each time. Told from a depth update by the stream's name alone."""
    book = wire.partial(payload)
    number = book.lastUpdateId or book.u
    if not number:
        raise ValueError("a partial book without an update id")
    return [BookSnapshot(t, book.E * MS, stream.symbol, stream.channel, number, book.bids or book.b, book.asks or book.a, "top")], ()


def mark_price(t: int, stream: Counted, payload: bytes) -> Output:
    """``@markPrice``, ``!markPrice@arr``."""
    out: list[Record] = []
    for raw in _each(payload):
        event = wire.mark_price(raw)
        if event.st == _COINM:
            out.append(Notice(t, "foreign", f"{event.s} is COIN-M"))
        else:
            out.append(Funding(t, event.E * MS, event.s, stream.channel, event.p, event.i, event.r, event.T * MS, event.P))
    return out, ()


def kline(t: int, stream: Counted, payload: bytes) -> Output:
    """``@kline_<interval>``."""
    event = wire.kline(payload)
    bar = event.k
    symbol = stream.symbol or event.s
    rest = (bar.i, bar.o, bar.h, bar.l, bar.c, bar.v, bar.x, bar.q, bar.n, bar.V, bar.Q)
    return (Candle(t, event.E * MS, symbol, stream.channel, bar.t * MS, *rest),), ()


def ticker(t: int, stream: Counted, payload: bytes) -> Output:
    """``@ticker``, ``!ticker@arr``; rolling windows of other lengths (``@ticker_1h``) are statistics that we do not use."""
    out: list[Record] = []
    for raw in _each(payload):
        if wire.event(raw).e != "24hrTicker":
            return statistic(t, stream, payload)
        one = wire.ticker(raw)
        if one.st == _COINM:
            out.append(Notice(t, "foreign", f"{one.s[:40]} is COIN-M"))
        else:
            rest = (one.c, one.Q, one.o, one.h, one.l, one.w, one.v, one.q, one.n, one.L)
            out.append(Ticker(t, one.E * MS, one.s, stream.channel, *rest))
    return out, ()


def force_order(t: int, stream: Counted, payload: bytes) -> Output:
    """``@forceOrder``, ``!forceOrder@arr``."""
    event = wire.force_order(payload)
    order = event.o
    if _COINM in (order.st, event.st):
        return _foreign(t, order.s)
    rest = (order.p, order.q, order.S.lower(), order.ap, order.z, order.X)
    return [Liquidation(t, order.T * MS, order.s, stream.channel, *rest)], ()


def contract_info(t: int, stream: Counted, payload: bytes) -> Output:
    """``!contractInfo``."""
    event = wire.contract_info(payload)
    if event.st == _COINM:
        return _foreign(t, event.s)
    return [Lifecycle(t, event.E * MS, event.s, stream.channel, event.cs, event.ct)], ()


def statistic(t: int, stream: Counted, payload: bytes) -> Output:
    """A stream that we record and do not use; an event that nobody knows is told."""
    for raw in _each(payload):
        event = wire.event(raw)
        if event.e in OPTIONS:
            return [Notice(t, "foreign", f"{stream.name} is an option stream")], ()
        if event.e not in STATISTICS:
            return [Unknown(t, f"binance: stream {stream.name[:60]!r}: no decoder for event {event.e[:40]!r}")], ()
    return [Notice(t, "statistic", stream.name)], ()


def _each(payload: bytes) -> list[msgspec.Raw] | list[bytes]:
    return wire.raw_list(payload) if payload.lstrip()[:1] == b"[" else [payload]


def _foreign(t: int, symbol: str) -> Output:
    return [Notice(t, "foreign", f"{symbol[:40]} is COIN-M")], ()


DECODED: dict[str, Handler] = {
    "trade": trade,
    "aggTrade": agg_trade,
    "blockTrade": block_trade,
    "bookTicker": quote,
    "markPrice": mark_price,
    "kline": kline,
    "ticker": ticker,
    "forceOrder": force_order,
    "contractInfo": contract_info,
    "depth5": partial,
    "depth10": partial,
    "depth20": partial,
}
