"""What is missing, and what of it is old enough to be asked for. Pure."""

from __future__ import annotations

import msgspec

#: a row is asked for so long after its time
SETTLED_NS = 10 * 10**9


class Hole(msgspec.Struct, frozen=True, order=True):
    """Rows that are missing: ``first`` to ``last``, inclusive. Of ``trades`` these are ids, and ``from_ns..to_ns`` the time of the rows
    around them (id 0: not known, so the time alone counts); of all else opening or event times in ns, ``step`` apart, and the same as
    ``from_ns..to_ns``. ``symbol`` is the venue's name; ``interval``: of candles their length, of open interest its period."""

    table: str
    symbol: str
    interval: str
    step: int
    first: int
    last: int
    from_ns: int
    to_ns: int


def rows_of(hole: Hole) -> int:
    """How many rows are missing; of trades whose ids are not known 0."""
    return (hole.last - hole.first) // hole.step + 1 if hole.first and hole.last else 0


def cut_to(hole: Hole, first: int, last: int) -> Hole:
    """Some of its rows."""
    if hole.table == "trades":
        return msgspec.structs.replace(hole, first=first, last=last)
    return msgspec.structs.replace(hole, first=first, last=last, from_ns=first, to_ns=last)


def last_over(hole: Hole, until: int) -> int:
    """The last row on its grid that is over by then."""
    if hole.table.startswith("candles"):
        until -= hole.step - 1
    return hole.first + min(hole.last - hole.first, until - hole.first) // hole.step * hole.step


def settled(hole: Hole, now_ns: int) -> Hole | None:
    """The part that is old enough to be asked for: what is still on its way is no gap."""
    until = now_ns - SETTLED_NS
    if hole.table == "trades":
        return hole if hole.from_ns <= until else None
    last = last_over(hole, until)
    return cut_to(hole, hole.first, last) if hole.first <= last else None
