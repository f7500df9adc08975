"""Bybit v5 public payloads. Source of each class: the v5 docs page of the same name (websocket/public/…, 2026-07), read 2026-11-20 from
the project's sheet, sections 5.1 to 5.4. Keys come in any order, and that order differs between products; unknown keys are skipped.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tape_archive.format.records import Levels
from tape_collectors.venues.numbers import Id, Ms


class Frame(msgspec.Struct, gc=False):
    """The envelope of everything: a topic's data, or an answer. ``ts`` and ``cts`` in ms: sent, and by the matching engine."""

    topic: str = ""
    type: str = ""
    ts: Ms = 0
    cts: Ms = 0
    data: msgspec.Raw = msgspec.Raw(b"")
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class Book(msgspec.Struct, gc=False):
    """``orderbook.<depth>.<symbol>``. ``u`` counts this topic's updates, ``seq`` orders all topics of the symbol."""

    s: str
    b: Levels
    a: Levels
    u: Id
    seq: Id = 0


class Fill(msgspec.Struct, gc=False):
    """``publicTrade.<symbol>``: ``S`` is the taker's side. RPI fills come in another order of keys, with numeric ids."""

    T: Ms
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: str
    seq: Id = 0


class Forced(msgspec.Struct, gc=False):
    """``allLiquidation.<symbol>``: ``S`` is the side of the position, ``p`` the bankruptcy price."""

    T: Ms
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str


class Ticker(msgspec.Struct, gc=False):
    """``tickers.<symbol>`` of linear: what is absent has not changed. ``openInterest`` counts both sides of each position, the other one
    (since 2026-06-11) one."""

    symbol: str
    markPrice: str = ""
    indexPrice: str = ""
    fundingRate: str = ""
    nextFundingTime: str = ""
    openInterest: str = ""
    singleOpenInterest: str = ""


class Bar(msgspec.Struct, gc=False):
    """``kline.<interval>.<symbol>``; times in ms."""

    start: Ms
    interval: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    confirm: bool
    timestamp: Ms = 0


class RestBook(msgspec.Struct, gc=False):
    """``/v5/market/orderbook``; ``u`` counts with the 1000-level topic."""

    s: str
    b: Levels
    a: Levels
    u: Id = 0
    ts: Ms = 0


class RestReply(msgspec.Struct):
    """Every REST reply."""

    retCode: int
    result: msgspec.Raw = msgspec.Raw(b"{}")
    retMsg: str = ""


class Lot(msgspec.Struct):
    """``lotSizeFilter``: ``qtyStep`` on linear, ``basePrecision`` on spot."""

    qtyStep: str = ""
    basePrecision: str = ""


class Price(msgspec.Struct):
    """``priceFilter``."""

    tickSize: str = ""


class Listed(msgspec.Struct):
    """A row of ``/v5/market/instruments-info``."""

    symbol: str
    status: str = ""
    baseCoin: str = ""
    quoteCoin: str = ""
    contractType: str = ""
    lotSizeFilter: Lot = msgspec.field(default_factory=Lot)
    priceFilter: Price = msgspec.field(default_factory=Price)


class Listing(msgspec.Struct):
    """``result`` of instruments-info: at most 1,000 rows a page."""

    rows: list[Listed] = msgspec.field(name="list")
    nextPageCursor: str = ""


frame = msgspec.json.Decoder(Frame).decode
book = msgspec.json.Decoder(Book).decode
fills = msgspec.json.Decoder(list[Fill]).decode
forced = msgspec.json.Decoder(list[Forced]).decode
ticker = msgspec.json.Decoder(Ticker).decode
bars = msgspec.json.Decoder(list[Bar]).decode
reply = msgspec.json.Decoder(RestReply).decode
rest_book = msgspec.json.Decoder(RestBook).decode
listing = msgspec.json.Decoder(Listing).decode
anything = msgspec.json.Decoder(Any).decode
