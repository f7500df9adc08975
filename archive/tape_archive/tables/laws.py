"""Which rows a table should have, and which of them it lacks. Pure: no clock, no database.

A law turns rows into whole numbers that would count up by one if nothing were missing: the number of a period since 1970, or a trade's id.
So one search serves all of them, and a database may do its first part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from tape_archive.format.errors import SettingsError

SECOND = 1_000_000_000
Ints = npt.NDArray[np.int64]
_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND, "w": 7 * 86_400 * SECOND}
#: weeks begin on Monday; 1970 began on a Thursday
_MONDAY = 4 * 86_400 * SECOND


class Life(msgspec.Struct, frozen=True):
    """When an instrument was traded, unix ns: from ``listed`` on, before ``delisted``; None: not known to begin or end."""

    listed: int | None = None
    delisted: int | None = None


ALWAYS = Life()


class Gap(msgspec.Struct, frozen=True, order=True):
    """Rows that are missing side by side. ``start`` to ``end`` (exclusive): their times, unix ns, or for ids the time of the row before to
    that of the row after. ``rows``: how many. ``first`` and ``last``: their ids, where the law is about ids."""

    start: int
    end: int
    rows: int
    first: int | None = None
    last: int | None = None


class Hole(msgspec.Struct, frozen=True, order=True):
    """Numbers ``low`` to ``high`` (exclusive) that no row has; ``before`` and ``after``: times (unix ns) of the rows beside it."""

    low: int
    high: int
    before: int = 0
    after: int = 0


class Found(msgspec.Struct, frozen=True):
    """What a search saw of one symbol: least and greatest number with their times (unix ns), and the holes between, rising."""

    low: int
    high: int
    low_time: int
    high_time: int
    holes: Sequence[Hole] = ()


class Grid(msgspec.Struct, frozen=True):
    """One row in each period of ``step`` ns, periods counted from ``offset``; its time is at most ``slack`` ns after the period begins.

    A row is expected when its period lies in the span that is asked for, and ``due`` ns of it have passed within that span: so the candle
    that is still open is not missing. ``whole``: a period that is cut by the listing or delisting has no row; otherwise it has one.
    """

    step: int
    offset: int = 0
    slack: int = 0
    due: int = 1
    whole: bool = True

    def numbers(self, times: Ints) -> Ints:
        """The period of each time (unix ns) that is on the grid; others are left out."""
        since = times - self.offset
        # Not divmod: it takes several times as long as dividing by a constant.
        number = since // self.step
        if self.slack >= self.step - 1:
            return number
        near = since - number * self.step <= self.slack
        return number if near.all() else number[near]

    def expected(self, start: int, end: int, life: Life) -> tuple[int, int]:
        """The periods, from and to (exclusive), that should have a row."""
        low = -((self.offset - start) // self.step)
        high = (end - self.offset - self.due) // self.step + 1
        if life.listed is not None:
            first = -((self.offset - life.listed) // self.step) if self.whole else (life.listed - self.offset) // self.step
            low = max(low, first)
        if life.delisted is not None:
            last = (
                (life.delisted - self.offset - self.due) // self.step + 1 if self.whole else -((self.offset - life.delisted) // self.step)
            )
            high = min(high, last)
        return low, max(low, high)

    def gaps(self, found: Found | None, start: int, end: int, life: Life) -> list[Gap]:
        """What is missing."""
        low, high = self.expected(start, end, life)
        return [
            Gap(self.offset + hole.low * self.step, self.offset + hole.high * self.step, hole.high - hole.low)
            for hole in clipped(around(found, low, high), low, high)
        ]


class Ids(msgspec.Struct, frozen=True):
    """Ids in ``column`` that count up by one. ``first``: the id that the instrument's first row has, where it is known.

    Beyond the rows that are there nothing is known: a missing head or tail is seen only beside a row outside the span (which a search
    looks for).
    """

    column: str = "trade_id"
    first: int | None = None

    def gaps(self, found: Found | None, start: int, end: int, life: Life) -> list[Gap]:
        """What is missing between the rows that were found; ``found`` has the nearest rows outside the span, if there are any."""
        if found is None:
            return []
        holes = list(found.holes)
        if self.first is not None and found.low > self.first:
            holes.insert(0, Hole(self.first, found.low, start if life.listed is None else life.listed, found.low_time))
        return [Gap(hole.before, hole.after, hole.high - hole.low, hole.low, hole.high - 1) for hole in holes]


class Times(msgspec.Struct, frozen=True):
    """One row at each of these times (unix ns, rising), at most ``slack`` ns late: funding whose interval changed."""

    times: tuple[int, ...]
    slack: int = 0

    def numbers(self, times: Ints) -> Ints:
        """Which of the times each row stands for; others are left out."""
        number = np.searchsorted(np.array(self.times, np.int64), times, "right") - 1
        known = np.array((0, *self.times), np.int64)[number + 1]
        return number[(number >= 0) & (times - known <= self.slack)].astype(np.int64)

    def gaps(self, found: Found | None, start: int, end: int, life: Life) -> list[Gap]:
        """What is missing, each time a gap of its own."""
        listed = start if life.listed is None else max(start, life.listed)
        delisted = end if life.delisted is None else min(end, life.delisted)
        wanted = [n for n, time in enumerate(self.times) if listed <= time and time + max(self.slack, 1) <= delisted]
        if not wanted:
            return []
        holes = clipped(around(found, wanted[0], wanted[-1] + 1), wanted[0], wanted[-1] + 1)
        return [Gap(self.times[n], self.times[n] + max(self.slack, 1), 1) for hole in holes for n in range(hole.low, hole.high)]


Law = Grid | Ids | Times


def interval_ns(interval: str) -> int:
    """``1m``, ``4h``, ``1d`` in ns. Raises SettingsError."""
    count, unit = interval[:-1], interval[-1:]
    if not count.isdecimal() or int(count) == 0 or unit not in _UNITS:
        raise SettingsError(f"{interval!r} is no interval; write 1m, 45m, 4h or 1d")
    return int(count) * _UNITS[unit]


def candles(interval: str) -> Grid:
    """The law of candles: one in each period, once it has ended; the first and the last one may be of part of a period."""
    step = interval_ns(interval)
    return Grid(step, offset=_MONDAY if interval.endswith("w") else 0, due=step, whole=False)


def funding(hours: int = 8, slack_s: int = 60) -> Grid:
    """The law of funding that is settled every so many hours, with the time of the settlement at most ``slack_s`` late."""
    return Grid(hours * 3600 * SECOND, slack=slack_s * SECOND, due=slack_s * SECOND + 1)


def polled(period_s: int) -> Grid:
    """The law of what is asked for every so many seconds (open interest): at least one row in each whole period."""
    step = period_s * SECOND
    return Grid(step, slack=step - 1, due=step)


def found_in(numbers: Ints, times: Ints | None = None) -> Found | None:
    """What a search sees of these numbers, in any order. ``times``: of the rows, unix ns, where the law is about ids."""
    if not len(numbers):
        return None
    if np.any(numbers[1:] < numbers[:-1]):
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        times = None if times is None else times[order]
    at = np.flatnonzero(np.diff(numbers) > 1)
    clock = np.zeros(len(numbers), np.int64) if times is None else times
    holes = [Hole(int(numbers[i]) + 1, int(numbers[i + 1]), int(clock[i]), int(clock[i + 1])) for i in at]
    return Found(int(numbers[0]), int(numbers[-1]), int(clock[0]), int(clock[-1]), holes)


def joined(parts: Iterable[Found | None]) -> Found | None:
    """What is seen of several sets of rows together: missing is what all of them miss."""
    whole: Found | None = None
    for part in sorted((one for one in parts if one is not None), key=lambda one: one.low):
        whole = part if whole is None else _union(whole, part)
    return whole


def _union(one: Found, other: Found) -> Found:
    """``one`` begins first."""
    between = Hole(one.high + 1, other.low, one.high_time, other.low_time)
    last = one if one.high > other.high else other
    if other.low > one.high:
        holes = [*one.holes, *([between] if between.low < between.high else []), *other.holes]
    else:
        far = last.high + 1
        holes = _both(
            [*one.holes, Hole(one.high + 1, far, one.high_time)],
            [Hole(one.low, other.low, 0, other.low_time), *other.holes, Hole(other.high + 1, far, other.high_time)],
        )
    return Found(one.low, last.high, one.low_time, last.high_time, holes)


def _both(one: Sequence[Hole], other: Sequence[Hole]) -> list[Hole]:
    """What lies in a hole of each; the row beside it is that of the hole that ends there."""
    out, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        a, b = one[i], other[j]
        low, high = max(a.low, b.low), min(a.high, b.high)
        if low < high:
            out.append(Hole(low, high, (a if a.low == low else b).before, (a if a.high == high else b).after))
        if a.high <= b.high:
            i += 1
        else:
            j += 1
    return out


def around(found: Found | None, low: int, high: int) -> list[Hole]:
    """The holes with what is missing before the first and after the last row."""
    if found is None:
        return [Hole(low, high)]
    return [Hole(low, found.low), *found.holes, Hole(found.high + 1, high)]


def clipped(holes: Sequence[Hole], low: int, high: int) -> list[Hole]:
    """The parts of holes within ``low`` to ``high`` (exclusive)."""
    cut = (Hole(max(hole.low, low), min(hole.high, high), hole.before, hole.after) for hole in holes)
    return [hole for hole in cut if hole.low < hole.high]


def age(gap: Gap, now: int) -> str:
    """``urgent`` (it ended less than an hour before ``now``, unix ns), ``recent`` (less than a day) or ``historical``."""
    return ("urgent", "recent", "historical")[bisect_right((3600 * SECOND, 86_400 * SECOND), now - gap.end)]
