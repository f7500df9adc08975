"""Stretches of time: where rows are missing, and which of those belong together."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

MINUTE = 60_000_000_000


class Span(msgspec.Struct, frozen=True, order=True):
    """[start, end), unix ns."""

    start: int
    end: int

    def overlaps(self, other: Span) -> bool:
        """Whether they have a moment in common."""
        return self.start < other.end and other.start < self.end


def minutes(window: Span) -> tuple[int, int]:
    """The numbers of the first whole minute of a window and of the one behind its last. A part of a minute may be empty for no reason."""
    first = -(-window.start // MINUTE)
    return first, max(first, window.end // MINUTE)


def empty_minutes(times: NDArray[np.int64], window: Span) -> NDArray[np.int64]:
    """The whole minutes of the window without any of the times (unix ns), as minutes since 1970."""
    first, end = minutes(window)
    filled = np.zeros(end - first, np.bool_)
    at = times // MINUTE - first
    filled[at[(at >= 0) & (at < end - first)]] = True
    return np.flatnonzero(~filled) + first


def runs(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Rising numbers as stretches of neighbours: (first, last)."""
    if not len(numbers):
        return []
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    firsts = np.concatenate(([0], breaks + 1))
    lasts = np.concatenate((breaks, [len(numbers) - 1]))
    return [(int(numbers[first]), int(numbers[last])) for first, last in zip(firsts, lasts, strict=True)]


def around(times: NDArray[np.int64], inside: Span, window: Span) -> Span:
    """From the last of the sorted times before a stretch that has none to the first behind it; to the window's end where there is none."""
    before = int(np.searchsorted(times, inside.start, "left")) - 1
    after = int(np.searchsorted(times, inside.end, "left"))
    start = int(times[before]) if before >= 0 else window.start
    end = int(times[after]) if after < len(times) else window.end
    return Span(max(start, window.start), min(end, window.end))


def alike(one: Span, other: Span, slack: int = MINUTE) -> bool:
    """Whether two stretches begin and end together, but for ``slack`` ns."""
    return abs(one.start - other.start) <= slack and abs(one.end - other.end) <= slack
