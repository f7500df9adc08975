"""An order book of price levels, kept as the venue's own decimal text.

Deltas are applied by ``dict.update``; sizes of zero are taken out only when somebody asks. Answers near the touch come from a window of
levels that is kept up to date from the changes since the last question, so that a book of 5,000 levels can be asked every second
without sorting it. Sums are ``math.fsum``: exact, whatever the order, so that live and rebuilt values are the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tape_archive.format.records import Level, Levels

#: past MOST levels a side is cut to the KEPT best; what is told about the best 1,000 is exact
MOST = 12_000
KEPT = 6_000
_WIDTH = 0.02
_FEWEST = 64
#: changes kept between two questions: kept levels are live objects, and the garbage collector looks at each of them
_CHANGES = 64


def is_zero(size: str) -> bool:
    """Whether a decimal text is zero: ``0``, ``0.00000000``."""
    return not size.strip("0.")


class Side:
    """One side. ``sign`` is -1 for bids (the highest price is best), +1 for asks."""

    __slots__ = ("_bound", "_changes", "_near", "levels", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.levels: dict[str, str] = {}
        self._changes: list[Iterable[Level]] = []
        self._near: dict[str, float] | None = None
        self._bound = 0.0

    def apply(self, levels: Levels) -> None:
        """Absolute sizes at prices; zero removes."""
        if not levels:
            return
        self.levels.update(levels)
        if self._near is None:
            # Nobody has asked since the last full sort; only the size of the book is watched.
            if len(self.levels) > MOST:
                self.ranked()
            return
        self._changes.append(levels)
        if len(self._changes) > _CHANGES:
            self._changes.clear()
            self._near = None

    def replace(self, levels: Levels) -> None:
        """All levels anew."""
        self.levels = dict(levels)
        self._changes.clear()
        self._near = None

    def ranked(self) -> list[tuple[float, str, str]]:
        """Every level as (price, price text, size text), best first. Sorts the whole side, and prunes it."""
        rows = sorted((self.sign * float(price), price, size) for price, size in self.levels.items() if not is_zero(size))
        if len(rows) > MOST:
            rows = rows[:KEPT]
        if len(rows) != len(self.levels):
            self.levels = {price: size for _, price, size in rows}
        return [(self.sign * key, price, size) for key, price, size in rows]

    def near(self, least: int = 1) -> list[tuple[float, str, str]]:
        """The levels within about two percent of the best (at least ``least``, if there are so many), best first."""
        if self._near is not None:
            rows = self._refresh()
            if len(rows) >= max(least, _FEWEST // 2) and self.sign * rows[0][0] < self.sign * self._bound:
                inner = self._bound - self.sign * abs(self._bound) * _WIDTH / 2
                if self.sign * rows[0][0] <= self.sign * inner or len(self._near) == len(self.levels):
                    return rows
        rows = self.ranked()
        self._changes.clear()
        if not rows:
            self._near = None
            return rows
        best = rows[0][0]
        self._bound = best + self.sign * abs(best) * _WIDTH
        count = max(least, _FEWEST)
        if len(rows) > count:
            if self.sign * rows[count - 1][0] > self.sign * self._bound:
                self._bound = rows[count - 1][0]
        else:
            self._bound = self.sign * math.inf
        kept = [row for row in rows if self.sign * row[0] <= self.sign * self._bound]
        self._near = {price: value for value, price, _ in kept}
        return kept

    def _refresh(self) -> list[tuple[float, str, str]]:
        near, levels = self._near, self.levels
        assert near is not None
        bound = self.sign * self._bound
        for changes in self._changes:
            for price, _ in changes:
                if price not in near:
                    value = float(price)
                    if self.sign * value <= bound:
                        near[price] = value
        self._changes.clear()
        rows, gone = [], []
        for price, value in near.items():
            size = levels.get(price)
            if size is None or is_zero(size):
                gone.append(price)
            else:
                rows.append((self.sign * value, price, size))
        for price in gone:
            del near[price]
            levels.pop(price, None)
        rows.sort()
        return [(self.sign * key, price, size) for key, price, size in rows]


class Book:
    """Both sides of one market."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(-1)
        self.asks = Side(1)

    def replace(self, bids: Levels, asks: Levels) -> None:
        """A snapshot."""
        self.bids.replace(bids)
        self.asks.replace(asks)

    def apply(self, bids: Levels, asks: Levels) -> None:
        """A delta."""
        self.bids.apply(bids)
        self.asks.apply(asks)

    def best(self) -> tuple[str, str, str, str] | None:
        """(bid, bid size, ask, ask size), or None if a side is empty."""
        bids, asks = self.bids.near(), self.asks.near()
        if not bids or not asks:
            return None
        return bids[0][1], bids[0][2], asks[0][1], asks[0][2]

    def top(self, count: int) -> tuple[Levels, Levels]:
        """The best ``count`` levels of each side, best first."""
        bids, asks = self.bids.near(count), self.asks.near(count)
        return [(price, size) for _, price, size in bids[:count]], [(price, size) for _, price, size in asks[:count]]

    def within(self, mid: float, bps: float) -> tuple[float, float]:
        """Sums of price·size of bids at or above ``mid·(1−bps/10⁴)`` and of asks at or below ``mid·(1+bps/10⁴)``."""
        low, high = mid * (1 - bps / 10_000), mid * (1 + bps / 10_000)
        wide = bps / 10_000 > _WIDTH / 2
        bids = self.bids.ranked() if wide else self.bids.near()
        asks = self.asks.ranked() if wide else self.asks.near()
        return (
            math.fsum(price * float(size) for price, _, size in bids if price >= low),
            math.fsum(price * float(size) for price, _, size in asks if price <= high),
        )

    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        best = self.best()
        return best is not None and float(best[0]) >= float(best[2])

    def levels(self) -> tuple[Levels, Levels]:
        """All levels, best first."""
        return [(p, s) for _, p, s in self.bids.ranked()], [(p, s) for _, p, s in self.asks.ranked()]
