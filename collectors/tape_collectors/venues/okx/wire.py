"""OKX v5 public payloads. Source of each class: the v5 guide's page of the channel (mirrored 2026-10), read 2026-11-20 from the project's
sheet, section 4. Numbers are text, times are ms as text; unknown keys are skipped; ``checksum`` (always 0 since 2026-06-23) is not read.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tape_collectors.venues.numbers import Id

Side = Literal["buy", "sell"]
#: ``[price, size, "0", orders]``
Row = Annotated[list[str], msgspec.Meta(min_length=2)]
#: time, open, high, low, close, volume, …
Bar = Annotated[list[str], msgspec.Meta(min_length=6)]


class Arg(msgspec.Struct, gc=False):
    """What a frame belongs to; ``liquidation-orders`` has a product in place of an instrument."""

    channel: str = ""
    instId: str = ""
    instType: str = ""


class Frame(msgspec.Struct, gc=False):
    """The envelope of everything: a channel's data, or an event."""

    arg: Arg = msgspec.field(default_factory=Arg)
    data: msgspec.Raw = msgspec.Raw(b"")
    action: str = ""
    event: str = ""
    id: str = ""
    code: str = ""
    msg: str = ""
    table: str = ""


class Book(msgspec.Struct, gc=False):
    """``books``, ``books5``, ``bbo-tbt`` and REST ``books``. ``seqId`` -2: a frame of before the numbers (2022)."""

    bids: list[Row]
    asks: list[Row]
    ts: str
    seqId: Id = -2
    prevSeqId: Id = -2


class Fill(msgspec.Struct, gc=False):
    """``trades`` (``count`` fills of one taker, ``tradeId`` the last of them) and ``trades-all`` (one fill)."""

    instId: str
    tradeId: str
    px: str
    sz: str
    side: Side
    ts: str
    count: str = ""


class Mark(msgspec.Struct, gc=False):
    """``mark-price``."""

    instId: str
    markPx: str
    ts: str


class Index(msgspec.Struct, gc=False):
    """``index-tickers``."""

    instId: str
    idxPx: str
    ts: str


class FundingRate(msgspec.Struct, gc=False):
    """``funding-rate``; ``fundingTime`` is when this rate is paid."""

    instId: str
    fundingRate: str
    fundingTime: str
    ts: str = "0"


class Interest(msgspec.Struct, gc=False):
    """``open-interest``: ``oi`` in contracts, ``oiCcy`` in coins."""

    instId: str
    oi: str
    ts: str
    oiCcy: str = ""


class Detail(msgspec.Struct, gc=False):
    """One order of ``liquidation-orders``; ``side`` is the order's."""

    side: Side
    sz: str
    bkPx: str
    ts: str


class Liquidations(msgspec.Struct, gc=False):
    """``liquidation-orders``."""

    instId: str
    details: list[Detail]


class Listed(msgspec.Struct):
    """A row of ``/api/v5/public/instruments``. One unit of size is ``ctVal`` x ``ctMult`` of ``ctValCcy`` (derivatives)."""

    instId: str
    instType: str = ""
    state: str = ""
    baseCcy: str = ""
    quoteCcy: str = ""
    settleCcy: str = ""
    ctVal: str = ""
    ctMult: str = ""
    ctType: str = ""
    tickSz: str = ""
    lotSz: str = ""
    uly: str = ""


class Reply(msgspec.Struct):
    """Every REST reply."""

    code: str
    data: msgspec.Raw = msgspec.Raw(b"[]")
    msg: str = ""


frame = msgspec.json.Decoder(Frame).decode
books = msgspec.json.Decoder(list[Book]).decode
fills = msgspec.json.Decoder(list[Fill]).decode
marks = msgspec.json.Decoder(list[Mark]).decode
indexes = msgspec.json.Decoder(list[Index]).decode
rates = msgspec.json.Decoder(list[FundingRate]).decode
interests = msgspec.json.Decoder(list[Interest]).decode
liquidations = msgspec.json.Decoder(list[Liquidations]).decode
bars = msgspec.json.Decoder(list[Bar]).decode
listed = msgspec.json.Decoder(list[Listed]).decode
reply = msgspec.json.Decoder(Reply).decode
