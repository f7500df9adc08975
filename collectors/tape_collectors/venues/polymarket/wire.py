"""Every shape on Polymarket's wire that we read: market channel, Gamma, CLOB REST, RTDS, PolyBolt.

Source: the project's sheet polymarket.md, sections 1.3, 2.5, 3 and 4, read 2026-11-20. Only fields that are used are named:
unknown keys are skipped here and kept on the tape. Prices, sizes and ids are text, checked while decoding, so that a frame is
taken whole or not at all. Timestamps are epoch milliseconds. Levels come best-last, on the socket and by REST, whatever the
venue's OpenAPI text says.

``price_change`` had three shapes, told apart by their keys (a recording may hold any of them):

- in 2024: one level at the top of the frame (``asset_id``, ``price``, ``size``, ``side``);
- then ``changes`` (``price``, ``size``, ``side``) of one top-level ``asset_id``;
- since September 2025: ``price_changes``, each with its own ``asset_id``, ``best_bid`` and ``best_ask``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from tape_archive.format.records import Levels

MS = 1_000_000
#: what is not there; a null is kept as its text
_NOTHING = msgspec.Raw(b"")
Decimal = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]*\.?[0-9]+\Z", max_length=80)]
#: best prices of an empty side: it is not documented what stands there
Best = Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9]*\.?[0-9]+)?\Z", max_length=80)]


class PriceSize(msgspec.Struct, gc=False):
    """A level."""

    price: Decimal
    size: Decimal


class Leg(msgspec.Struct, gc=False):
    """One element of ``price_changes``: the new total size at a price. ``hash`` is an order's, not the book's."""

    asset_id: str
    price: Decimal
    size: Decimal
    side: str
    hash: str = ""
    best_bid: Best = ""
    best_ask: Best = ""


class OldLeg(msgspec.Struct, gc=False):
    """One element of ``changes``, the shape before September 2025."""

    price: Decimal
    size: Decimal
    side: str


class Event(msgspec.Struct, gc=False):
    """Any event of the market channel; which fields are there depends on ``event_type``."""

    event_type: str = ""
    market: str = ""
    asset_id: str = ""
    timestamp: str | int = ""
    hash: str = ""
    bids: list[PriceSize] | None = None
    asks: list[PriceSize] | None = None
    price_changes: list[Leg] | None = None
    changes: list[OldLeg] | None = None
    price: Best = ""
    size: Best = ""
    side: str = ""
    best_bid: Best = ""
    best_ask: Best = ""
    old_tick_size: str = ""
    new_tick_size: str = ""
    transaction_hash: str | None = None
    slug: str = ""
    winning_asset_id: str = ""
    winning_outcome: str = ""


def kind(event: Event) -> str:
    """``event_type``, or what the keys say where a recording has dropped it; "" for what nobody knows."""
    if event.event_type:
        return event.event_type
    if event.bids is not None or event.asks is not None:
        return "book"
    if event.price_changes is not None or event.changes is not None:
        return "price_change"
    if event.new_tick_size:
        return "tick_size_change"
    return "last_trade_price" if event.asset_id and event.price and event.size else ""


class Config(msgspec.Struct, gc=False):
    """``cryptoMarketConfig`` (undocumented, since August 2026)."""

    twapEnabled: bool | None = None
    twapLookbackSeconds: int | None = None


class Market(msgspec.Struct, gc=False):
    """A Gamma market. Lists come as JSON text or as lists; anything may be null."""

    slug: str | None = None
    conditionId: str | None = None
    outcomes: Any = None
    outcomePrices: Any = None
    clobTokenIds: Any = None
    positionIds: Any = None
    eventStartTime: str | None = None
    endDate: str | None = None
    closed: bool | None = None
    closedTime: str | None = None
    umaResolutionStatus: str | None = None
    resolutionSource: str | None = None
    version: str | int | None = None
    cryptoMarketConfig: Config | None = None


class Metadata(msgspec.Struct, gc=False):
    """``eventMetadata``: undocumented, and may vanish. Numbers are kept as they are written."""

    priceToBeat: msgspec.Raw = _NOTHING
    finalPrice: msgspec.Raw = _NOTHING


class GammaEvent(msgspec.Struct, gc=False):
    """A Gamma event with its markets."""

    slug: str | None = None
    markets: list[Market] | None = None
    eventMetadata: Metadata | None = None


class ClobToken(msgspec.Struct, gc=False):
    """A row of ``/clob-markets/{cid}`` (``t``, ``o``), or of ``/markets/{cid}`` (the long names, and who won)."""

    t: str = ""
    o: str = ""
    token_id: str = ""
    outcome: str = ""
    winner: bool | None = None


class ClobMarket(msgspec.Struct, gc=False):
    """``/clob-markets/{cid}`` has ``t``; ``/markets/{cid}`` (undocumented) has ``tokens``."""

    t: list[ClobToken] | None = None
    tokens: list[ClobToken] | None = None


class Point(msgspec.Struct, gc=False):
    """One tick. ``value`` is a rounded float; ``full_accuracy_value`` is exact: E18 on RTDS's Chainlink topics, else decimal text."""

    timestamp: int = 0
    value: msgspec.Raw = _NOTHING
    full_accuracy_value: str | None = None


class Payload(msgspec.Struct, gc=False):
    """A tick, or (``data``) a snapshot of the last one or two minutes."""

    symbol: str = ""
    timestamp: int = 0
    value: msgspec.Raw = _NOTHING
    full_accuracy_value: str | None = None
    window_s: int | None = None
    window_seconds: int | None = None
    data: list[Point] | None = None


class RtdsFrame(msgspec.Struct, gc=False):
    """RTDS. An error has ``statusCode`` and no topic; payloads of topics that we do not know are not looked into."""

    topic: str = ""
    type: str = ""
    payload: msgspec.Raw = _NOTHING
    statusCode: int | None = None


class BoltFrame(msgspec.Struct, gc=False):
    """PolyBolt: an envelope (``seq``), or an answer (``op``)."""

    op: str = ""
    rid: str | None = None
    code: str | None = None
    channel: str | None = None
    seq: int = 0
    dropped: int | None = None
    payload: Payload | None = None


event = msgspec.json.Decoder(Event).decode
gamma_market = msgspec.json.Decoder(Market).decode
clob_market = msgspec.json.Decoder(ClobMarket).decode
raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
events = msgspec.json.Decoder(list[Event]).decode
rtds = msgspec.json.Decoder(RtdsFrame).decode
bolt = msgspec.json.Decoder(BoltFrame).decode
payload = msgspec.json.Decoder(Payload).decode
_gamma_event = msgspec.json.Decoder(GammaEvent | list[GammaEvent]).decode


def gamma(data: bytes, slug: str, *, event: bool) -> tuple[Market | None, Metadata]:
    """The market of ``slug`` in the reply to ``/events/slug/…`` (object, or array) or ``/markets/slug/…``. Raises ValueError."""
    if not event:
        market = gamma_market(data)
        return (market if market.slug in (None, "", slug) else None), Metadata()
    found = _gamma_event(data)
    for one in found if isinstance(found, list) else [found]:
        for market in one.markets or ():
            if market.slug == slug or (not market.slug and one.slug == slug):
                return market, one.eventMetadata or Metadata()
    return None, Metadata()


def listed(value: Any) -> list[str]:
    """A Gamma list field: a list, or JSON text of one. Empty for anything else."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return []
    return [str(one) for one in value] if isinstance(value, list) else []


def milliseconds(text: str | int) -> int:
    """A timestamp as unix ns; 0 if it is none."""
    text = str(text)
    return int(text) * MS if text.isascii() and text.isdecimal() and len(text) < 14 else 0


def levels(rows: list[PriceSize] | None, *, best_high: bool) -> Levels:
    """Levels as (price, size), best first. Never trust the venue's order."""
    out = [(price(row.price), row.size) for row in rows or ()]
    out.sort(key=_value, reverse=best_high)
    return out


def _value(level: tuple[str, str]) -> float:
    return float(level[0])


def price(text: str) -> str:
    """A price in one spelling: ``.48``, ``0.480`` and ``0.48`` are one level."""
    if text[:1] in ".0":
        text = "0" + text.lstrip("0")
        if text[1:2] not in (".", ""):
            text = text[1:]
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text


_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?", re.ASCII)


def decimal(text: str, exponent: int = 0) -> str:
    """Plain decimal text of a number times ten to ``exponent``, no digit lost. Raises ValueError for what is no number."""
    match = _NUMBER.fullmatch(text) if len(text) <= 120 else None
    if match is None:
        raise ValueError(f"not a number: {text[:40]!r}")
    if not exponent and match[4] is None:
        return text
    shift = exponent + int(match[4] or 0)
    digits, fraction = match[2], match[3] or ""
    if shift < 0:
        digits = digits.zfill(1 - shift)
        digits, fraction = digits[:shift], digits[shift:] + fraction
    else:
        fraction = fraction.ljust(shift, "0")
        digits, fraction = digits + fraction[:shift], fraction[shift:]
    fraction = fraction.rstrip("0")
    return match[1] + (digits.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def raw_decimal(raw: msgspec.Raw) -> str:
    """A JSON number, or a number in a string, as decimal text; empty for null or nothing. Raises ValueError."""
    text = bytes(raw).decode()
    return "" if text in ("", "null", '""') else decimal(text.strip('"'))
