"""Completeness: minutes without rows, over the whole window, and which of them are proven to have had nothing.

The window is the same for every kind and symbol, so that a stream that began late, ended early or never spoke has its empty minutes too.
An empty minute is *quiet* if the ids of the source (trades: ``a``; books: ``pu``) go on across it: then nothing was missed, the market was
still. Only what is not proven so counts in ``rate``.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tape_archive.format.harvest import Kind
from tape_monitor.quality.spans import MINUTE, Span, around, empty_minutes, minutes, runs

Why = Literal["missed", "quiet", "unproven"]
#: whose ids prove a kind
SOURCES: dict[Kind, Kind] = {"prices": "prices", "cvd": "prices", "ofi": "book", "fusion": "book", "book": "book"}


class Hole(msgspec.Struct):
    """Minutes that follow each other without rows. ``start``, ``end``: the last row before and the first one after, or the window's end.
    ``why``: ``missed``: ids are missing across it; ``quiet``: none is; ``unproven``: at the window's ends, or where ids say nothing."""

    symbol: str
    kind: Kind
    start: int
    end: int
    minutes: int
    why: Why


class Completeness(msgspec.Struct):
    """Of one kind of one symbol, in whole minutes of the window. ``rate``: (empty - quiet) / minutes; ``empty_rate``: empty / minutes."""

    symbol: str
    kind: Kind
    rows: int
    minutes: int
    empty: int
    quiet: int
    rate: float
    empty_rate: float
    holes: list[Hole]


def completeness(
    symbol: str, kind: Kind, times: NDArray[np.int64], source: NDArray[np.int64], broken: list[Span], window: Span
) -> Completeness:
    """``times``: tape times (unix ns) of the rows; ``source``: those of the kind whose ids prove it; ``broken``: where ids are missing."""
    times, source = np.sort(times), np.sort(source)
    first, end = minutes(window)
    holes = []
    for begin, last in runs(empty_minutes(times, window)):
        inside = Span(begin * MINUTE, (last + 1) * MINUTE)
        bounds = around(times, inside, window)
        holes.append(Hole(symbol, kind, bounds.start, bounds.end, last - begin + 1, _why(inside, source, broken)))
    empty = sum(hole.minutes for hole in holes)
    quiet = sum(hole.minutes for hole in holes if hole.why == "quiet")
    total = end - first
    rates = ((empty - quiet) / total, empty / total) if total else (0.0, 0.0)
    return Completeness(symbol, kind, len(times), total, empty, quiet, *rates, holes)


def _why(inside: Span, source: NDArray[np.int64], broken: list[Span]) -> Why:
    before = int(np.searchsorted(source, inside.start, "left"))
    after = int(np.searchsorted(source, inside.end, "left"))
    if before != after or before == 0 or after == len(source):
        # The source has rows that this kind has not; or nothing stands on one side.
        return "unproven"
    return "missed" if any(span.start < inside.end and inside.start < span.end for span in broken) else "quiet"
