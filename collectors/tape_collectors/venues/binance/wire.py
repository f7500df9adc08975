"""Binance payloads, as documented in developers.binance.com "WebSocket Streams" and "USDⓈ-M Futures", read 2026-11-20 from the
project's sheet.

Decimal values stay text. Keys that we do not use are skipped; they are on the tape. ``st`` is 1 for USD-M and 2 for COIN-M on the
streams that carry both since 2026-06-30. Spot frames of 2021 lack some keys, hence the defaults.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tape_archive.format.records import Levels

MS = 1_000_000


class Depth(msgspec.Struct, gc=False):
    """``<symbol>@depth[@speed]``; ``pu`` and ``T`` on futures only."""

    U: int
    u: int
    b: Levels
    a: Levels
    s: str = ""
    E: int = 0
    pu: int = -1
    st: int = 1


class Partial(msgspec.Struct, gc=False):
    """``<symbol>@depth5|10|20``: on spot with ``lastUpdateId``, without symbol and time."""

    bids: Levels = []
    asks: Levels = []
    b: Levels = []
    a: Levels = []
    lastUpdateId: int = 0
    u: int = 0
    E: int = 0


class TradeEvent(msgspec.Struct, gc=False):
    """``@trade``: one fill. ``m``: the buyer is the maker, so the taker sold. ``X`` on futures: only MARKET is an ordinary trade."""

    t: int
    p: str
    q: str
    m: bool
    s: str = ""
    E: int = 0
    T: int = 0
    X: str = "MARKET"


class AggTrade(msgspec.Struct, gc=False):
    """``@aggTrade``: the fills of one taker order at one price."""

    a: int
    p: str
    q: str
    m: bool
    s: str = ""
    E: int = 0
    T: int = 0
    st: int = 1


class BookTicker(msgspec.Struct, gc=False):
    """``@bookTicker``; spot has no times."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str
    E: int = 0
    T: int = 0
    st: int = 1


class MarkPrice(msgspec.Struct, gc=False):
    """``@markPrice``: ``p`` mark, ``i`` index, ``r`` funding rate in force, ``T`` next funding time. Empty ``r`` on delivery contracts."""

    s: str
    E: int
    p: str
    i: str = ""
    r: str = ""
    T: int = 0
    st: int = 1


class Bar(msgspec.Struct, gc=False):
    """``k`` of a kline event."""

    t: int
    i: str
    o: str
    h: str
    l: str  # noqa: E741
    c: str
    v: str
    x: bool
    s: str = ""


class Kline(msgspec.Struct, gc=False):
    """``@kline_<interval>``."""

    k: Bar
    s: str = ""
    E: int = 0


class Order(msgspec.Struct, gc=False):
    """``o`` of a forceOrder event; ``S`` is the order's side; ``ap`` the average price."""

    s: str
    S: str
    q: str
    p: str
    ap: str = ""
    T: int = 0
    st: int = 1


class ForceOrder(msgspec.Struct, gc=False):
    """``@forceOrder``: only the latest liquidation of a symbol in each second."""

    o: Order
    E: int = 0


class Snapshot(msgspec.Struct, gc=False):
    """REST ``/api/v3/depth`` and ``/fapi/v1/depth``."""

    lastUpdateId: int
    bids: Levels
    asks: Levels
    E: int = 0
    T: int = 0


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
    """The type and symbol of a raw (not combined) frame."""

    e: str = ""
    s: str = ""
    u: int = 0
    b: msgspec.Raw = msgspec.Raw(b"")


depth = msgspec.json.Decoder(Depth).decode
partial = msgspec.json.Decoder(Partial).decode
trade = msgspec.json.Decoder(TradeEvent).decode
agg_trade = msgspec.json.Decoder(AggTrade).decode
book_ticker = msgspec.json.Decoder(BookTicker).decode
mark_price = msgspec.json.Decoder(MarkPrice).decode
kline = msgspec.json.Decoder(Kline).decode
force_order = msgspec.json.Decoder(ForceOrder).decode
snapshot = msgspec.json.Decoder(Snapshot).decode
control = msgspec.json.Decoder(Control).decode
combined = msgspec.json.Decoder(Combined).decode
event = msgspec.json.Decoder(Event).decode
raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

#: the ids of a depth event without decoding its levels; no match (another key order) means: decode it
NUMBER = {
    "trade": re.compile(rb'"t":(\d+),').search,
    "aggTrade": re.compile(rb'"a":(\d+),').search,
    "bookTicker": re.compile(rb'"u":(\d+),').search,
}
HEADER = re.compile(rb'"U":(\d+),"u":(\d+)(?:,"pu":(-?\d+))?,').search
