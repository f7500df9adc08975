"""Ranges of whole numbers, put together. Pure."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator


class Spans:
    """``add`` ranges (both ends inclusive), and ask whether one is covered by all of them together."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def add(self, first: int, last: int) -> None:
        """One more range; those that touch become one."""
        at = max(0, bisect_right(self._spans, (first, -1)) - 1)
        while at < len(self._spans) and self._spans[at][0] <= last + 1:
            begun, ended = self._spans[at]
            if ended >= first - 1:
                first, last = min(first, begun), max(last, ended)
                del self._spans[at]
            else:
                at += 1
        insort(self._spans, (first, last))

    def cover(self, first: int, last: int) -> bool:
        """Whether every number of the range is in some range."""
        at = bisect_right(self._spans, (first, 2**63)) - 1
        return at >= 0 and self._spans[at][1] >= last

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._spans)


def outside(first: int, last: int, step: int, spans: Spans) -> list[tuple[int, int]]:
    """The parts of ``first``, ``first + step``, … ``last`` that no range has, as (first, last)."""
    parts: list[tuple[int, int]] = []
    at = first
    for begun, ended in spans:
        if ended < at:
            continue
        if begun > last:
            break
        if begun > at:
            parts.append((at, at + (begun - 1 - at) // step * step))
        at += max(0, -(-(ended + 1 - at) // step)) * step
    if at <= last:
        parts.append((at, last))
    return parts
