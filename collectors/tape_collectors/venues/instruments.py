"""What a venue lists, in one form for all venues, and what changed between two looks at it. Pure.

Names: spot ``BTC-USDT``, perpetual ``BTC-USDT-PERP``, dated ``BTC-USDT-<the rest of the symbol>``. Base and quote are as the venue tells
them, never cut out of a joined name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Instrument(msgspec.Struct, frozen=True):
    """One listed instrument. ``tick`` and ``lot`` are steps of price and size as the venue writes them (size in its own units);
    ``contract`` is the base-coin value of one unit of size; ``trading`` says whether its streams should speak, ``ended`` that they will not
    again. ``coin``: what is traded, without the ``multiplier`` that a venue puts into the name (1000PEPE: PEPE, 1000); empty: as the name
    says. ``since`` and ``until``: the venue's listing and delivery times, unix ns; 0: it does not tell."""

    symbol: str
    name: str
    status: str
    trading: bool
    tick: str = ""
    lot: str = ""
    contract: str = "1"
    coin: str = ""
    multiplier: str = "1"
    ended: bool = False
    since: int = 0
    until: int = 0


#: what may change while an instrument keeps its symbol
_WATCHED = ("name", "status", "tick", "lot", "contract", "multiplier")


class Change(msgspec.Struct, frozen=True):
    """What changed of one instrument: ``what`` is listed, gone, name, status, tick, lot, contract or multiplier."""

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
            pairs = ((what, getattr(old, what), getattr(new, what)) for what in _WATCHED)
            out += [Change(symbol, what, one, other) for what, one, other in pairs if one != other]
    return out


def renamed(known: Mapping[str, Instrument], found: Mapping[str, Instrument], one: Instrument) -> str:
    """The name under which a newly listed instrument was traded before, perhaps with another multiplier; "" if it is new. It is that of an
    instrument of the same coin and quote that we knew and that trades no more."""
    if not one.coin:
        return ""
    quote = one.name.partition("-")[2]
    for symbol, other in known.items():
        now = found.get(symbol)
        gone = now is None or (now.ended and not now.trading)
        if gone and symbol != one.symbol and other.coin == one.coin and other.name.partition("-")[2] == quote:
            return other.name
    return ""
