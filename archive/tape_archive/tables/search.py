"""The search for what is missing, over rows that were read: for stores whose database does not do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tape_archive.tables.laws import Found, Gap, Ids, Ints, Law, Life, found_in, joined
from tape_archive.tables.schema import Spec


def nanoseconds(values: Any) -> Ints:
    """A column of times as unix ns."""
    return np.asarray(values.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64) * 1000


def columns_of(spec: Spec, law: Law) -> tuple[str, ...]:
    """The columns that a search reads."""
    return (spec.time, law.column) if isinstance(law, Ids) else (spec.time,)


def seen(spec: Spec, law: Law, rows: pa.Table) -> Found | None:
    """What the law finds in the rows of one symbol."""
    times = nanoseconds(rows[spec.time])
    if isinstance(law, Ids):
        return found_in(np.asarray(rows[law.column].to_numpy(), np.int64), times)
    return found_in(law.numbers(times))


def verdict(law: Law, symbols: Mapping[str, Life], found: Mapping[str, list[Found]], start: int, end: int) -> dict[str, list[Gap]]:
    """The gaps of each symbol from what was found of it, in pieces that do not overlap."""
    return {symbol: law.gaps(joined(found.get(symbol, ())), start, end, life) for symbol, life in symbols.items()}
