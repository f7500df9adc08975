"""What a venue's frames mean: the records that decoders give and that readers and sinks take.

Clocks: ``t`` is our receive time, ``ts`` the venue's own event time, both unix ns; ``ts`` is 0 where the venue sends none.
Prices and sizes are the venue's own decimal text. ``symbol`` is the venue's own name of the instrument.
``side`` of a trade is the taker's: ``buy`` or ``sell``. ``channel`` is the venue's stream name without the symbol.
"""

from __future__ import annotations

import msgspec

Level = tuple[str, str]
Levels = list[Level]


class Trade(msgspec.Struct, gc=False):
    """One trade. ``id`` is the venue's (text, since some venues have no number); ``channel`` tells fills from aggregates. ``sent``: when
    the venue sent it, unix ns, where it says so beside the time of the trade; else 0. ``first_id`` to ``last_id``: the fills of an
    aggregate, -1 where it does not tell."""

    t: int
    ts: int
    symbol: str
    channel: str
    id: str
    price: str
    size: str
    side: str
    sent: int = 0
    first_id: int = -1
    last_id: int = -1


class Quote(msgspec.Struct, gc=False):
    """Best bid and offer. ``id`` is the book's update id, 0 where the venue sends none."""

    t: int
    ts: int
    symbol: str
    channel: str
    id: int
    bid: str
    bid_size: str
    ask: str
    ask_size: str


class BookSnapshot(msgspec.Struct, gc=False):
    """The whole book as of update ``id``. Levels in any order. ``source``: ``rest``, ``ws`` or ``checkpoint``; ``top`` is a stream of
    the best few levels, whole each time, which no delta continues."""

    t: int
    ts: int
    symbol: str
    channel: str
    id: int
    bids: Levels
    asks: Levels
    source: str = "ws"


class BookDelta(msgspec.Struct, gc=False):
    """Changed levels; size zero removes. Applies to the book as of update ``first - 1`` and leaves it at ``last``. ``previous``: the
    ``last`` that came before by the venue's own word (Binance futures: ``pu``); -1 where it does not say."""

    t: int
    ts: int
    symbol: str
    channel: str
    first: int
    last: int
    bids: Levels
    asks: Levels
    previous: int = -1


class BookLost(msgspec.Struct, gc=False):
    """The book of ``symbol`` is no longer proven: nobody may use it until the next ``BookSnapshot``."""

    t: int
    symbol: str
    channel: str
    why: str


class Gap(msgspec.Struct):
    """Ids ``from_id..to_id`` (both inclusive, 0 where ids do not count) never came, between frames at ``from_ns`` and ``t``."""

    t: int
    symbol: str
    channel: str
    from_ns: int
    from_id: int
    to_id: int
    why: str


class Reset(msgspec.Struct):
    """The venue itself began anew (maintenance, service restart); not a loss of ours."""

    t: int
    symbol: str
    channel: str
    why: str


class Candle(msgspec.Struct, gc=False):
    """One candle; ``open_ts`` is its opening time in unix ns. What a venue does not tell is "" (``trades``: -1)."""

    t: int
    ts: int
    symbol: str
    channel: str
    open_ts: int
    interval: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    closed: bool
    quote_volume: str = ""
    trades: int = -1
    taker_volume: str = ""
    taker_quote_volume: str = ""


class Liquidation(msgspec.Struct, gc=False):
    """One forced order, side of the order. ``price``: the order's; ``average``: at which it was filled so far, as much as ``filled``;
    ``status``: the venue's word. Empty where the venue does not tell."""

    t: int
    ts: int
    symbol: str
    channel: str
    price: str
    size: str
    side: str
    average: str = ""
    filled: str = ""
    status: str = ""


class Funding(msgspec.Struct, gc=False):
    """Mark and index price with the funding rate in force; ``next_ts`` is the next funding time in unix ns. ``settle``: the price at which
    it would be settled, as the venue estimates it; empty where it does not."""

    t: int
    ts: int
    symbol: str
    channel: str
    mark: str
    index: str
    rate: str
    next_ts: int
    settle: str = ""


class Ticker(msgspec.Struct, gc=False):
    """Statistics of the last 24 h. ``average`` is weighted by volume; ``trades``, and ``last_id`` of the last one, are -1 where the venue
    does not tell."""

    t: int
    ts: int
    symbol: str
    channel: str
    last: str
    last_size: str
    open: str
    high: str
    low: str
    average: str
    volume: str
    quote_volume: str
    trades: int = -1
    last_id: int = -1


class OpenInterest(msgspec.Struct, gc=False):
    """What is open in an instrument, in the base coin; one side of it (each position counted once)."""

    t: int
    ts: int
    symbol: str
    channel: str
    size: str


class ReferencePrice(msgspec.Struct, gc=False):
    """One tick of a settlement source's price. ``source``: ``polybolt`` or ``rtds``; ``window_s`` 0 means spot."""

    t: int
    ts: int
    symbol: str
    channel: str
    price: str
    source: str
    window_s: int = 0


class TickSize(msgspec.Struct, gc=False):
    """The grid of prices changed."""

    t: int
    ts: int
    symbol: str
    channel: str
    old: str
    new: str


class Lifecycle(msgspec.Struct):
    """An instrument appeared, changed status, resolved or went. ``detail`` is what the venue said, as text."""

    t: int
    ts: int
    symbol: str
    channel: str
    status: str
    detail: str = ""


class Notice(msgspec.Struct):
    """A frame that carries no market data: an ack, a pong, a statistic nobody asked to decode. ``kind`` is documented. ``symbol``,
    ``channel``, ``number``: which trade came again on its connection, where the feed says it."""

    t: int
    kind: str
    detail: str = ""
    symbol: str = ""
    channel: str = ""
    number: int = 0


class Unknown(msgspec.Struct):
    """A frame that the decoder could not account for. It is on the tape; a human should look. ``why`` is one line."""

    t: int
    why: str


Record = (
    Trade
    | Quote
    | BookSnapshot
    | BookDelta
    | BookLost
    | Gap
    | Reset
    | Candle
    | Liquidation
    | Funding
    | Ticker
    | OpenInterest
    | ReferencePrice
    | TickSize
    | Lifecycle
    | Notice
    | Unknown
)
