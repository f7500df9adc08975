"""Payloads of the CLOB market channel and of Gamma (project's sheet, sections 1.3 and 2.5, read 2026-11-20).

All prices, sizes and timestamps are text; timestamps are epoch milliseconds. Levels come best-last, on the socket and by REST. Unknown keys
are skipped here and kept on the tape.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tape_archive.format.records import Levels

MS = 1_000_000


class PriceSize(msgspec.Struct, gc=False):
    """A level."""

    price: str
    size: str


class Leg(msgspec.Struct, gc=False):
    """One element of ``price_changes``: the new total size at a price. ``hash`` is an order's, not the book's."""

    asset_id: str
    price: str
    size: str
    side: str
    hash: str = ""
    best_bid: str = ""
    best_ask: str = ""


class OldLeg(msgspec.Struct, gc=False):
    """One element of ``changes``, the shape before September 2025."""

    price: str
    size: str
    side: str


class Event(msgspec.Struct, gc=False):
    """Any event of the market channel."""

    event_type: str = ""
    market: str = ""
    asset_id: str = ""
    timestamp: str = ""
    hash: str = ""
    bids: list[PriceSize] = []
    asks: list[PriceSize] = []
    price_changes: list[Leg] | None = None
    changes: list[OldLeg] | None = None
    price: str = ""
    size: str = ""
    side: str = ""
    best_bid: str = ""
    best_ask: str = ""
    old_tick_size: str = ""
    new_tick_size: str = ""
    transaction_hash: str = ""
    slug: str = ""
    winning_asset_id: str = ""
    winning_outcome: str = ""


class Config(msgspec.Struct, gc=False):
    """``cryptoMarketConfig``."""

    twapEnabled: bool = False
    twapLookbackSeconds: int = 0


class Market(msgspec.Struct, gc=False):
    """A Gamma market. Lists come as JSON text or as lists."""

    slug: str = ""
    conditionId: str = ""
    outcomes: Any = None
    outcomePrices: Any = None
    clobTokenIds: Any = None
    positionIds: Any = None
    eventStartTime: str = ""
    endDate: str = ""
    closed: bool = False
    umaResolutionStatus: str = ""
    resolutionSource: str = ""
    version: str = ""
    cryptoMarketConfig: Config | None = None


class Metadata(msgspec.Struct, gc=False):
    """``eventMetadata``: undocumented, and may vanish."""

    priceToBeat: float | None = None
    finalPrice: float | None = None


class GammaEvent(msgspec.Struct, gc=False):
    """A Gamma event with its markets."""

    slug: str = ""
    markets: list[Market] = []
    eventMetadata: Metadata | None = None


class ClobMarket(msgspec.Struct, gc=False):
    """``/clob-markets/{condition}``: ``t`` pairs tokens with outcomes."""

    t: list[dict[str, Any]] = []


clob_market = msgspec.json.Decoder(ClobMarket).decode
events = msgspec.json.Decoder(list[Event]).decode
event = msgspec.json.Decoder(Event).decode
gamma_event = msgspec.json.Decoder(GammaEvent).decode
gamma_market = msgspec.json.Decoder(Market).decode
raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def listed(value: Any) -> list[str]:
    """A Gamma list field: a list, or JSON text of one. Empty for anything else."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return []
    return [str(one) for one in value] if isinstance(value, list) else []


def milliseconds(text: str) -> int:
    """A timestamp as unix ns; 0 if it is none."""
    return int(text) * MS if text.isdecimal() and len(text) < 16 else 0


def levels(rows: list[PriceSize]) -> Levels:
    """Levels as (price, size), in the venue's order."""
    return [(price(row.price), row.size) for row in rows]


def price(text: str) -> str:
    """A price in one spelling: ``.48``, ``0.480`` and ``0.48`` are one level."""
    if text.startswith("."):
        text = "0" + text
    if "." in text:
        text = text.rstrip("0").rstrip(".") or "0"
    return text
