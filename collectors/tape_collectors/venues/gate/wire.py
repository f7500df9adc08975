"""Gate.io spot v4 payloads. Source of each class: the v4 websocket docs' page of the channel (gate.com, 2026), read 2026-11-20 from the
project's sheet, section 6. Samples of the docs omit ``event``; fields come in any order; unknown keys are skipped.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tape_archive.format.records import Levels


class Frame(msgspec.Struct, gc=False):
    """The envelope of everything. Times in ms; ``id`` is that of the request, where the venue repeats it."""

    channel: str = ""
    event: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None
    payload: Any = None
    id: Any = None
    time_ms: int = 0
    type: str = ""
    method: str = ""


class Obu(msgspec.Struct, gc=False):
    """``spot.obu``: ``s`` is ``ob.<symbol>.<levels>``; a full push has only ``u``; empty sides are left out."""

    s: str
    u: int
    t: int = 0
    U: int = 0
    full: bool = False
    b: Levels = []
    a: Levels = []


class Update(msgspec.Struct, gc=False):
    """``spot.order_book_update``."""

    s: str
    u: int
    U: int = 0
    t: int = 0
    full: bool = False
    b: Levels = []
    a: Levels = []


class Fill(msgspec.Struct, gc=False):
    """``spot.trades``: ``side`` is the taker's; ``id_market`` counts the trades of one market (absent in 2021)."""

    id: int
    side: Literal["buy", "sell"]
    currency_pair: str
    amount: str
    price: str
    create_time_ms: str = "0"
    id_market: int = 0


class Best(msgspec.Struct, gc=False):
    """``spot.book_ticker``: ``u`` is the book's update id."""

    s: str
    u: int
    b: str
    B: str
    a: str
    A: str
    t: int = 0


class Bar(msgspec.Struct, gc=False):
    """``spot.candlesticks``: ``n`` is ``<interval>_<symbol>``; ``a`` the base volume, ``w`` whether the bar is closed; ``t`` in seconds."""

    t: str | int
    n: str
    o: str
    h: str
    l: str  # noqa: E741
    c: str
    a: str = ""
    w: bool = False


class Top(msgspec.Struct, gc=False):
    """``spot.order_book``: the best levels, whole each time."""

    s: str
    bids: Levels
    asks: Levels
    lastUpdateId: int = 0
    t: int = 0


class RestBook(msgspec.Struct, gc=False):
    """``/spot/order_book`` with ``with_id=true``; without an id it is of no use. Times in ms."""

    bids: Levels
    asks: Levels
    id: int = 0
    update: int = 0


class Pair(msgspec.Struct):
    """A row of ``/spot/currency_pairs``; precisions are decimals."""

    id: str
    base: str = ""
    quote: str = ""
    precision: int = 0
    amount_precision: int = 0
    trade_status: str = ""


frame = msgspec.json.Decoder(Frame).decode
obu = msgspec.json.Decoder(Obu).decode
update = msgspec.json.Decoder(Update).decode
fills = msgspec.json.Decoder(Fill | list[Fill]).decode
best = msgspec.json.Decoder(Best).decode
bar = msgspec.json.Decoder(Bar).decode
top = msgspec.json.Decoder(Top).decode
rest_book = msgspec.json.Decoder(RestBook).decode
pairs = msgspec.json.Decoder(list[Pair]).decode
