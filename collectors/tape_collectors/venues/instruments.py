"""What a venue lists, in one form for all venues, and what changed between two looks at it. Pure.

Names: spot ``BTC-USDT``, perpetual ``BTC-USDT-PERP``, dated ``BTC-USDT-<the rest of the symbol>``. Base and quote are as the venue tells
them, never cut out of a joined name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Instrument(msgspec.Struct, frozen=True):
    """One listed instrument. ``tick`` and ``lot`` are steps of price and size as the venue writes them (size in its own units);
    ``contract`` is the base-coin value of one unit of size; ``trading`` says whether its streams should speak."""

    symbol: str
    name: str
    status: str
    trading: bool
    tick: str = ""
    lot: str = ""
    contract: str = "1"


class Change(msgspec.Struct, frozen=True):
    """What changed of one instrument: ``what`` is listed, gone, status, tick, lot or contract."""

    symbol: str
    what: str
    before: str
    after: str


def changes(before: Mapping[str, Instrument], after: Mapping[str, Instrument], symbols: Iterable[str]) -> list[Change]:
    """The changes of some symbols, in their order."""
    out: list[Change] = []
    for symbol in symbols:
        old, new = before.get(symbol), after.get(symbol)
        if old is None and new is not None:
            out.append(Change(symbol, "listed", "", new.status))
        elif old is not None and new is None:
            out.append(Change(symbol, "gone", old.status, ""))
        elif old is not None and new is not None:
            pairs = ((what, getattr(old, what), getattr(new, what)) for what in ("status", "tick", "lot", "contract"))
            out += [Change(symbol, what, one, other) for what, one, other in pairs if one != other]
    return out
