"""Gate.io v4 payloads, spot and USDT futures. Source of each class: the v4 websocket docs' page of the channel (gate.com, 2026), read
2026-11-20 from the project's sheet, section 6. Samples of the docs omit ``event``; fields come in any order; unknown keys are skipped.
Numbers of the futures are text or JSON numbers, as the client asked and as the channel has it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import msgspec

from tape_archive.format.records import Levels
from tape_collectors.venues.numbers import Id, Ms


class Frame(msgspec.Struct, gc=False):
    """The envelope of everything. Times in ms; ``id`` is that of the request, where the venue repeats it."""

    channel: str = ""
    event: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None
    payload: Any = None
    id: Any = None
    time_ms: Ms = 0
    type: str = ""
    method: str = ""


class Obu(msgspec.Struct, gc=False):
    """``spot.obu``: ``s`` is ``ob.<symbol>.<levels>``; a full push has only ``u``; empty sides are left out."""

    s: str
    u: Id
    t: Ms = 0
    U: Id = 0
    full: bool = False
    b: Levels = []
    a: Levels = []


class Update(msgspec.Struct, gc=False):
    """``spot.order_book_update``."""

    s: str
    u: Id
    U: Id = 0
    t: Ms = 0
    full: bool = False
    b: Levels = []
    a: Levels = []


class Fill(msgspec.Struct, gc=False):
    """``spot.trades``: ``side`` is the taker's; ``id_market`` counts the trades of one market (absent in 2021)."""

    id: Id
    side: Literal["buy", "sell"]
    currency_pair: str
    amount: str
    price: str
    create_time_ms: str = "0"
    id_market: Id = 0


class Best(msgspec.Struct, gc=False):
    """``spot.book_ticker``: ``u`` is the book's update id."""

    s: str
    u: Id
    b: str
    B: str
    a: str
    A: str
    t: Ms = 0


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
    lastUpdateId: Id = 0
    t: Ms = 0


class RestBook(msgspec.Struct, gc=False):
    """``/spot/order_book`` with ``with_id=true``; without an id it is of no use. Times in ms."""

    bids: Levels
    asks: Levels
    id: Id = 0
    update: Ms = 0


class Pair(msgspec.Struct):
    """A row of ``/spot/currency_pairs``; precisions are decimals."""

    id: str
    base: str = ""
    quote: str = ""
    precision: int = 0
    amount_precision: int = 0
    trade_status: str = ""


Number = str | int | float


def text(number: Number) -> str:
    """A number as plain decimal text, digit for digit."""
    return f"{Decimal(repr(number)):f}" if isinstance(number, float) else str(number)


class Level(msgspec.Struct, gc=False):
    """A level of the futures where it is an object."""

    p: Number
    s: Number


Row = Level | tuple[Number, Number]


def level(row: Row) -> tuple[str, str]:
    """(price, size in contracts) of either form."""
    return (text(row.p), text(row.s)) if isinstance(row, Level) else (text(row[0]), text(row[1]))


class FuturesBook(msgspec.Struct, gc=False):
    """``futures.obu`` (levels are pairs, ``s`` is ``ob.<contract>.<levels>``) and ``futures.order_book_update`` (levels are objects)."""

    s: str
    u: Id
    t: Ms = 0
    U: Id = 0
    full: bool = False
    b: list[Row] = []
    a: list[Row] = []


class FuturesFill(msgspec.Struct, gc=False):
    """``futures.trades``: a size below zero is a sell; ``is_internal``: insurance or ADL. Times in ms, in old frames in s alone."""

    id: Id
    size: Number
    price: Number
    contract: str
    create_time_ms: Number = 0
    create_time: Number = 0
    is_internal: bool = False


class FuturesBest(msgspec.Struct, gc=False):
    """``futures.book_ticker``: ``u`` is the book's update id."""

    s: str
    u: Id
    b: str
    B: Number
    a: str
    A: Number
    t: Ms = 0


class FuturesTicker(msgspec.Struct, gc=False):
    """``futures.tickers``: ``total_size`` is the open interest in contracts."""

    contract: str
    last: str = ""
    mark_price: str = ""
    index_price: str = ""
    funding_rate: str = ""
    total_size: Number = ""


class FuturesBar(msgspec.Struct, gc=False):
    """``futures.candlesticks``: ``v`` is the volume in contracts; ``t`` in seconds."""

    t: str | int
    n: str
    o: Number
    h: Number
    l: Number  # noqa: E741
    c: Number
    v: Number = 0
    w: bool = False


class Forced(msgspec.Struct, gc=False):
    """``futures.public_liquidates``: a size below zero is a sell; the price is a JSON number."""

    price: Number
    size: Number
    contract: str
    time_ms: Ms = 0
    time: Ms = 0


class FuturesTop(msgspec.Struct, gc=False):
    """``futures.order_book``: the best levels, whole each time."""

    contract: str
    asks: list[Row]
    bids: list[Row]
    id: Id = 0
    t: Ms = 0


class FuturesRestBook(msgspec.Struct, gc=False):
    """``/futures/usdt/order_book`` with ``with_id=true``. Times in seconds."""

    bids: list[Row]
    asks: list[Row]
    id: Id = 0
    update: Number = 0


class Contract(msgspec.Struct):
    """A row of ``/futures/usdt/contracts``; ``quanto_multiplier``: base coins of one contract (0: one dollar)."""

    name: str
    quanto_multiplier: str = "1"
    order_price_round: str = ""
    order_size_min: Number = ""
    status: str = ""
    in_delisting: bool = False


FUTURES: dict[str, Callable[[msgspec.Raw], Any]] = {
    name: msgspec.json.Decoder(kind | list[kind]).decode  # type: ignore[valid-type]
    for name, kind in (
        *(("obu", FuturesBook), ("order_book_update", FuturesBook), ("trades", FuturesFill), ("book_ticker", FuturesBest)),
        *(("tickers", FuturesTicker), ("candlesticks", FuturesBar), ("public_liquidates", Forced), ("order_book", FuturesTop)),
    )
}
futures_book = msgspec.json.Decoder(FuturesRestBook).decode
contract = msgspec.json.Decoder(Contract).decode
contracts = msgspec.json.Decoder(list[Contract]).decode
frame = msgspec.json.Decoder(Frame).decode
obu = msgspec.json.Decoder(Obu).decode
update = msgspec.json.Decoder(Update).decode
fills = msgspec.json.Decoder(Fill | list[Fill]).decode
best = msgspec.json.Decoder(Best).decode
bar = msgspec.json.Decoder(Bar).decode
top = msgspec.json.Decoder(Top).decode
rest_book = msgspec.json.Decoder(RestBook).decode
pairs = msgspec.json.Decoder(list[Pair]).decode
