"""Numbers of the wire, as far as a table can hold them: 64 bits, times in ns among them. Pure.

A broken frame is no reason to stop: what is beyond that is no number of a venue, and its frame is unknown.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

import msgspec

#: update ids, ids of trades, counts
Id = Annotated[int, msgspec.Meta(ge=-(1 << 62), lt=1 << 62)]
#: times in ms: as ns they fit into 64 bits (until the year 2248)
Ms = Annotated[int, msgspec.Meta(ge=0, lt=1 << 43)]
_PLACES = 30


def whole(text: str) -> int:
    """An id as text. Raises ValueError."""
    number = int(text)
    if not -(1 << 62) <= number < 1 << 62:
        raise ValueError(f"no id: {text[:40]!r}")
    return number


def ms(text: str) -> int:
    """A time in ms as text. Raises ValueError."""
    number = int(text)
    if not 0 <= number < 1 << 43:
        raise ValueError(f"no time in ms: {text[:40]!r}")
    return number


def stamp(number: int, unit: int) -> int:
    """A time in units of so many ns, in ns. Raises ValueError."""
    if not 0 <= number * unit < 1 << 63:
        raise ValueError(f"no time: {number}")
    return number * unit


def ns(text: str, unit: int) -> int:
    """The same of a text, perhaps with decimals. Raises ValueError."""
    return stamp(int(exact(text) * unit), 1)


def exact(text: str) -> Decimal:
    """A decimal number. Raises ValueError for what is none, and for one of an absurd size: written out, ``1e9999999`` is ten megabytes, and
    takes minutes."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"no number: {text[:40]!r}") from None
    if not value.is_finite() or abs(value.adjusted()) > _PLACES:
        raise ValueError(f"no size or price: {text[:40]!r}")
    return value
