"""The search for what is missing, over rows that were read: for stores whose database does not do it."""

from __future__ import annotations

import itertools
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


def seen_by_symbol(spec: Spec, law: Law, rows: pa.Table, edges: Ints) -> list[Found | None]:
    """The same for many symbols: ``edges`` is where each begins, and the end of the last. Whose numbers all follow one another costs
    nothing of its own."""
    times = nanoseconds(rows[spec.time])
    ids = isinstance(law, Ids)
    numbers = np.asarray(rows[law.column].to_numpy(), np.int64) if isinstance(law, Ids) else law.numbers(times)
    if len(numbers) < len(times):
        return [seen(spec, law, rows.slice(low, high - low)) for low, high in itertools.pairwise(edges)]
    jumps = np.flatnonzero(np.diff(numbers) != 1) + 1
    broken = set((np.searchsorted(edges, jumps[~np.isin(jumps, edges)], "right") - 1).tolist())
    out: list[Found | None] = []
    for at, (low, high) in enumerate(itertools.pairwise(edges.tolist())):
        if at in broken or low == high:
            out.append(found_in(numbers[low:high], times[low:high] if ids else None))
        else:
            clock = (int(times[low]), int(times[high - 1])) if ids else (0, 0)
            out.append(Found(int(numbers[low]), int(numbers[high - 1]), *clock))
    return out


def verdict(law: Law, symbols: Mapping[str, Life], found: Mapping[str, list[Found]], start: int, end: int) -> dict[str, list[Gap]]:
    """The gaps of each symbol from what was found of it, in pieces that do not overlap."""
    return {symbol: law.gaps(joined(found.get(symbol, ())), start, end, life) for symbol, life in symbols.items()}
