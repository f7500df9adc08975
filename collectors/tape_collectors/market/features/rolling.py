"""Sums, moments, medians and exponential averages that are carried on from value to value.

Each equals what a recomputation over its window would give (tests compare them), at a cost that does not grow with the window, or grows
with its logarithm.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

LN2 = math.log(2.0)
#: for normal values σ is this times the median absolute deviation (1 / Φ⁻¹(3/4), as the literature rounds it)
NORMAL_MAD = 1.4826
#: for normal values σ is this times the mean absolute value (√(π/2))
NORMAL_MEAN = math.sqrt(math.pi / 2.0)
#: moments are computed anew after so many windows, or when so much of the sum of squares has left the window that rounding would tell
_ANEW = 2
_LEFT = 1e-6


def alpha(elapsed: float, half_life: float) -> float:
    """The weight of a new value after ``elapsed``, in the unit of ``half_life``: 1 - 2^(-elapsed / half_life)."""
    return -math.expm1(-LN2 * elapsed / half_life)


class Sum:
    """A running sum, compensated (Neumaier 1974): a day of trades adds up to what ``math.fsum`` gives, to the last digit or one beside
    it."""

    __slots__ = ("_lost", "_sum")

    def __init__(self) -> None:
        self._sum = 0.0
        self._lost = 0.0

    def add(self, value: float) -> float:
        """The sum with ``value``."""
        before = self._sum
        self._sum = after = before + value
        self._lost += (before - after) + value if abs(before) >= abs(value) else (value - after) + before
        return after + self._lost


class Ewma:
    """s = s + α·(x - s), begun at the first x: pandas ``ewm(alpha=α, adjust=False)``. α may differ from value to value."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def push(self, x: float, weight: float) -> float:
        """The average with ``x`` at weight α = ``weight``."""
        self.value = value = x if self.value is None else self.value + weight * (x - self.value)
        return value


class Moments:
    """Mean and squared deviation of the last ``window`` values (Welford 1962, with removal). Values must be finite."""

    __slots__ = ("_count", "_peak", "_squares", "_values", "mean", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._values: deque[float] = deque()
        self.mean = 0.0
        self._squares = 0.0
        self._peak = 0.0
        self._count = 0

    def __len__(self) -> int:
        return len(self._values)

    def push(self, x: float) -> None:
        """Take ``x``; the oldest value leaves a full window."""
        values, mean = self._values, self.mean
        values.append(x)
        if len(values) > self.window:
            old = values.popleft()
            self.mean = after = mean + (x - old) / self.window
            self._squares += (x - old) * (x - after + old - mean)
        else:
            self.mean = after = mean + (x - mean) / len(values)
            self._squares += (x - mean) * (x - after)
        self._count += 1
        if self._squares > self._peak:
            self._peak = self._squares
        if self._squares < self._peak * _LEFT or self._count >= _ANEW * self.window:
            self._anew()

    def std(self, ddof: int = 0) -> float | None:
        """The standard deviation: of the values (``ddof`` 0) or of what they are a sample of (1). None with too few values."""
        count = len(self._values) - ddof
        return math.sqrt(max(0.0, self._squares) / count) if count > 0 else None

    def _anew(self) -> None:
        self.mean = mean = math.fsum(self._values) / len(self._values)
        self._squares = self._peak = math.fsum((x - mean) ** 2 for x in self._values)
        self._count = 0


class Median:
    """Median and median absolute deviation of the last ``window`` values, kept sorted. Values must be finite.

    The k values nearest to the median stand side by side, so that their left end is found by bisection, and with it the k-th smallest
    deviation. The same numbers as ``scipy.stats.median_abs_deviation(scale=1.0)``.
    """

    __slots__ = ("_sorted", "_values", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._values: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._values)

    def push(self, x: float) -> None:
        """Take ``x``; the oldest value leaves a full window."""
        self._values.append(x)
        if len(self._values) > self.window:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]
        insort(self._sorted, x)

    def median(self) -> float | None:
        """The middle value, or the mean of the two in the middle. None without values."""
        rows = self._sorted
        if not rows:
            return None
        half = len(rows) // 2
        return rows[half] if len(rows) % 2 else (rows[half - 1] + rows[half]) / 2

    def mad(self) -> float | None:
        """The median of the distances from the median. None without values."""
        rows, middle = self._sorted, self.median()
        if middle is None:
            return None
        count = len(rows)
        half = (count + 1) // 2
        low, high = 0, count - half
        while low < high:
            at = (low + high) // 2
            if middle - rows[at] > rows[at + half] - middle:
                low = at + 1
            else:
                high = at
        inner = max(middle - rows[low], rows[low + half - 1] - middle)
        if count % 2:
            return inner
        left = middle - rows[low - 1] if low else math.inf
        right = rows[low + half] - middle if low + half < count else math.inf
        return (inner + min(left, right)) / 2

    def quantile(self, share: float) -> float | None:
        """Linear between the two nearest values, as numpy's default. None without values."""
        rows = self._sorted
        if not rows:
            return None
        place = share * (len(rows) - 1)
        at = math.floor(place)
        low, high = rows[at], rows[min(at + 1, len(rows) - 1)]
        return low + (high - low) * (place - at)
