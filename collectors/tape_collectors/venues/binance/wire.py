"""Binance payloads. Each class names its page: *Spot* is binance-spot-api-docs, ``web-socket-streams.md`` (2026-07-21); *Futures* is
developers.binance.com, USDⓈ-M Futures, WebSocket Market Streams (2026-01-15, with the notices of 2026-03-06 and 2026-06-30). Both read
2026-11-20 from the project's sheet, sections 2.2 and 3.3.

Decimal values stay text. Keys that we do not use are skipped; they are on the tape. ``st`` is 1 for USD-M and 2 for COIN-M on the
streams that carry both since 2026-06-30. Spot frames of 2021 lack some keys, hence the defaults.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tape_archive.format.records import Levels
from tape_collectors.venues.numbers import Id, Ms

MS = 1_000_000


class Depth(msgspec.Struct, gc=False):
    """``<symbol>@depth[@speed]``, ``@rpiDepth@500ms``; ``pu`` and ``T`` on futures only. Spot and Futures, "Diff. Book Depth Streams"."""

    U: Id
    u: Id
    b: Levels
    a: Levels
    s: str = ""
    E: Ms = 0
    pu: Id = -1
    st: int = 1


class Partial(msgspec.Struct, gc=False):
    """``<symbol>@depth5|10|20``: on spot with ``lastUpdateId``, without symbol and time; on futures it looks like ``Depth``. Spot and
    Futures, "Partial Book Depth Streams"."""

    bids: Levels = []
    asks: Levels = []
    b: Levels = []
    a: Levels = []
    lastUpdateId: Id = 0
    u: Id = 0
    E: Ms = 0


class TradeEvent(msgspec.Struct, gc=False):
    """``@trade``, and spot's ``@blockTrade``: one fill. ``m``: the buyer is the maker, so the taker sold. ``X`` on futures: only MARKET is
    a trade of the book. Spot, "Trade Streams", "Block Trade Streams"; undocumented on futures."""

    t: Id
    p: str
    q: str
    m: bool
    s: str = ""
    E: Ms = 0
    T: Ms = 0
    X: str = "MARKET"


class AggTrade(msgspec.Struct, gc=False):
    """``@aggTrade``: the fills ``f`` to ``l`` of one taker order at one price. Spot and Futures, "Aggregate Trade Streams"."""

    a: Id
    p: str
    q: str
    m: bool
    f: Id = -1
    l: Id = -1  # noqa: E741
    s: str = ""
    E: Ms = 0
    T: Ms = 0
    st: int = 1


class BookTicker(msgspec.Struct, gc=False):
    """``@bookTicker``; spot has no times. Spot and Futures, "Individual Symbol Book Ticker Streams"."""

    u: Id
    s: str
    b: str
    B: str
    a: str
    A: str
    E: Ms = 0
    T: Ms = 0
    st: int = 1


class MarkPrice(msgspec.Struct, gc=False):
    """``@markPrice``: ``p`` mark, ``i`` index, ``P`` the settlement's estimate, ``r`` funding rate in force, ``T`` next funding time. Empty
    ``r`` on delivery contracts. Futures, "Mark Price Stream"."""

    s: str
    E: Ms
    p: str
    i: str = ""
    P: str = ""
    r: str = ""
    T: Ms = 0
    st: int = 1


class Bar(msgspec.Struct, gc=False):
    """``k`` of a kline event. ``q`` quote volume, ``n`` trades, ``V`` and ``Q`` what takers bought, in base and quote."""

    t: Ms
    i: str
    o: str
    h: str
    l: str  # noqa: E741
    c: str
    v: str
    x: bool
    s: str = ""
    q: str = ""
    n: Id = -1
    V: str = ""
    Q: str = ""


class Kline(msgspec.Struct, gc=False):
    """``@kline_<interval>``. Spot and Futures, "Kline/Candlestick Streams"."""

    k: Bar
    s: str = ""
    E: Ms = 0


class Ticker24(msgspec.Struct, gc=False):
    """``@ticker``: ``c`` last price, ``Q`` its size, ``w`` average price, ``n`` trades, ``L`` the id of the last one. Spot and Futures,
    "Individual Symbol Ticker Streams"."""

    e: str
    s: str
    E: Ms
    c: str
    Q: str
    o: str
    h: str
    l: str  # noqa: E741
    w: str
    v: str
    q: str
    n: Id = -1
    L: Id = -1
    st: int = 1


class OpenInterest(msgspec.Struct, gc=False):
    """REST ``/fapi/v1/openInterest``; ``time`` in ms. Futures, "Open Interest"."""

    symbol: str
    openInterest: str
    time: Ms


class Order(msgspec.Struct, gc=False):
    """``o`` of a forceOrder event; ``S`` is the order's side, ``p`` its price, ``ap`` the average one of what was filled (``z``), ``X`` its
    status."""

    s: str
    S: str
    q: str
    p: str
    ap: str = ""
    z: str = ""
    X: str = ""
    T: Ms = 0
    st: int = 1


class ForceOrder(msgspec.Struct, gc=False):
    """``@forceOrder``: only the latest liquidation of a symbol in each second. Futures, "Liquidation Order Streams"."""

    o: Order
    E: Ms = 0
    st: int = 1


class Snapshot(msgspec.Struct, gc=False):
    """REST ``/api/v3/depth`` and ``/fapi/v1/depth``."""

    lastUpdateId: Id
    bids: Levels
    asks: Levels
    E: Ms = 0
    T: Ms = 0


class Control(msgspec.Struct, gc=False):
    """Everything that is not a stream's payload: acks, errors, notices."""

    id: Any = None
    result: Any = msgspec.UNSET
    code: Any = None
    msg: str = ""
    error: Any = None
    e: str = ""


class Combined(msgspec.Struct, gc=False):
    """``{"stream": …, "data": …}``, in any key order."""

    stream: str
    data: msgspec.Raw


class Event(msgspec.Struct, gc=False):
    """Type, time and symbol of any event; of a raw (not combined) frame all that tells what it is."""

    e: str = ""
    E: Ms = 0
    s: str = ""
    u: Id = 0
    st: int = 1


class ContractInfo(msgspec.Struct, gc=False):
    """``!contractInfo``: an instrument was listed, changed or settled; ``cs`` its status, ``ct`` its kind. Futures,
    "Contract Info Stream"."""

    s: str
    cs: str
    E: Ms = 0
    ct: str = ""
    st: int = 1


depth = msgspec.json.Decoder(Depth).decode
partial = msgspec.json.Decoder(Partial).decode
trade = msgspec.json.Decoder(TradeEvent).decode
agg_trade = msgspec.json.Decoder(AggTrade).decode
book_ticker = msgspec.json.Decoder(BookTicker).decode
mark_price = msgspec.json.Decoder(MarkPrice).decode
kline = msgspec.json.Decoder(Kline).decode
ticker = msgspec.json.Decoder(Ticker24).decode
open_interest = msgspec.json.Decoder(OpenInterest).decode
force_order = msgspec.json.Decoder(ForceOrder).decode
snapshot = msgspec.json.Decoder(Snapshot).decode
control = msgspec.json.Decoder(Control).decode
combined = msgspec.json.Decoder(Combined).decode
event = msgspec.json.Decoder(Event).decode
contract_info = msgspec.json.Decoder(ContractInfo).decode
raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def time_of(payload: bytes) -> int:
    """``E`` of an event, in ms; 0 if there is none."""
    try:
        return event(payload).E if payload else 0
    except msgspec.DecodeError:
        return 0


#: Ids without decoding the rest. No position is relied on: where another key order comes, nothing matches, and the frame is decoded.
HEADER = re.compile(rb'"U":(\d{1,18}),"u":(\d{1,18}),').search
HEADER_PU = re.compile(rb'"U":(\d{1,18}),"u":(\d{1,18}),"pu":(\d{1,18}),').search
NUMBER = {
    "trade": re.compile(rb'"t":(\d{1,18}),').search,
    "aggTrade": re.compile(rb'"a":(\d{1,18}),').search,
    "bookTicker": re.compile(rb'"u":(\d{1,18}),').search,
}
