"""Rows of the output against rows made again from the tape."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tape_archive.format.harvest import Kind
from tape_monitor.quality.report import Sample

#: what was carried on from another beginning is the same but for rounding
NEAR = 1e-6
MOST_EXAMPLES = 10
Row = dict[str, Any]
Rows = dict[tuple[Kind, str, int], Row]


def same(one: Any, other: Any) -> bool:
    """Equal, or floats that differ by rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=NEAR, abs_tol=1e-9)
    return bool(one == other)


def compare(samples: Iterable[tuple[tuple[int, int], Rows, Rows]], why_not: str = "") -> Sample:
    """``samples``: (stretch of tape time, rows that the output has, rows that the tape makes), by what identifies a row. Of a row, what the
    tape's has is compared."""
    out = Sample([], 0, 0, {}, 0, 0, [], why_not)
    different: Counter[str] = Counter()
    for window, stored, made in samples:
        out.windows.append(window)
        for key, wanted in made.items():
            name = f"{key[1]} {key[0]} {key[2]}"
            found = stored.get(key)
            if found is None:
                out.lacking += 1
                out.examples.append(f"{name}: the output lacks the row")
                continue
            out.rows += 1
            out.values += len(wanted)
            for column, value in wanted.items():
                if not same(found[column], value):
                    different[f"{key[0]}.{column}"] += 1
                    out.examples.append(f"{name}: {column} is {found[column]!r}, by the tape {value!r}")
        for key in stored.keys() - made.keys():
            out.surplus += 1
            out.examples.append(f"{key[1]} {key[0]} {key[2]}: the tape makes no such row")
    out.examples = sorted(out.examples)[:MOST_EXAMPLES]
    out.different = dict(sorted(different.items()))
    return out
