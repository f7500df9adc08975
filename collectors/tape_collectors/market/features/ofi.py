"""Order flow imbalance: by how much the events of an interval added to the demand, net of the supply, at the top of the book.

Rules (each has its test in tests/collectors/features/test_ofi.py):

1. The first book gives no value: there is nothing to compare it with.
2. A side that is empty (no level, or of a quote a size that is no finite number above zero), a book that is crossed or locked, and a best
   price that is not finite give None, and forget the book before. So must the caller, by ``reset``, at a gap and at a reconnect: no
   difference is taken across what was not seen.
3. Prices are only compared, and exactly. Ticks (int) or ``float(text)``: of up to 15 significant digits, texts of equal numbers are equal
   floats and all others are not. There is no epsilon.
4. A rank that a book does not have is None, never 0. In a ladder a size that is no finite number above zero is no level; ranks move up.
5. An interval's sum is None unless every book in it was seen, from its beginning on; so is a rank's sum unless every book had that rank.
6. A stream that joins events (``@depth5@100ms``) gives another sum than one that tells each: both telescope only while the prices stand.
   So a row must say which stream it was made of.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

Quote = tuple[float, float, float, float]
Ladder = Sequence[tuple[float, float]]
Vector = list[float | None]
#: the size that leaves when the best price retreats: what stood there before (CKS), or what stands at the next price (CCZ)
Retreat = Literal["previous", "current"]
#: the origin's weights of the ranks, best first
ORIGIN_WEIGHTS = (0.4, 0.25, 0.2, 0.1, 0.05)
_INF = math.inf


def flow(before: Quote, after: Quote, current: bool = False) -> float:
    """One event's contribution e; quotes are (bid, bid size, ask, ask size). ``current``: the CCZ variant. See ``BestOFI``."""
    bid0, bids0, ask0, asks0 = before
    bid1, bids1, ask1, asks1 = after
    if bid1 > bid0:
        demand = bids1
    elif bid1 == bid0:
        demand = bids1 - bids0
    else:
        demand = -bids1 if current else -bids0
    if ask1 < ask0:
        return demand - asks1
    if ask1 == ask0:
        return demand - (asks1 - asks0)
    return demand + (asks1 if current else asks0)


class Interval(msgspec.Struct, gc=False):
    """``ofi``: Σe. ``depth``: mean of (bid size + ask size) / 2 over the events. ``normalised``: ofi / depth. None by rule 5, and without
    an event, where ofi is 0 and has no depth."""

    ofi: float | None
    depth: float | None
    normalised: float | None
    events: int
    resets: int


class BestOFI:
    """OFI of the best level, in the unit of the sizes.

    e = 1[b ≥ b′]·q - 1[b ≤ b′]·q′ - 1[a ≤ a′]·r + 1[a ≥ a′]·r′, b and q the best bid and its size, a and r the best ask's, ′ the event
    before. An interval's OFI is Σe; its depth AD is the mean over its events of (q + r) / 2, after each; normalised it is OFI / AD.
    A price that retreats takes away what stood there (``previous``). With ``current`` it takes what stands at the next price, as two
    public implementations of Cont, Cucuringu & Zhang do.

    Source: Cont, Kukanov & Stoikov, The Price Impact of Order Book Events, J. Financial Econometrics 12(1), 2014 (arXiv 1011.6402).
    """

    __slots__ = ("_current", "_depth", "_events", "_quote", "_resets", "_sum", "_whole")

    def __init__(self, retreat: Retreat = "previous") -> None:
        self._current = retreat == "current"
        self._quote: Quote | None = None
        self._whole = False
        self._sum = self._depth = 0.0
        self._events = self._resets = 0

    def update(self, bid: float, bid_size: float, ask: float, ask_size: float) -> float | None:
        """The event's e; None by rules 1 and 2."""
        if not (0.0 < bid_size < _INF and 0.0 < ask_size < _INF and -_INF < bid < ask < _INF):
            self.reset()
            return None
        before, after = self._quote, (bid, bid_size, ask, ask_size)
        self._quote = after
        if before is None:
            return None
        value = flow(before, after, self._current)
        self._sum += value
        self._depth += bid_size + ask_size
        self._events += 1
        return value

    def reset(self) -> None:
        """What comes next is a first book."""
        if self._quote is not None:
            self._resets += 1
        self._quote, self._whole = None, False

    def take(self) -> Interval:
        """What the interval that ends here adds up to. The next one begins."""
        ofi = self._sum if self._whole else None
        depth = self._depth / (2 * self._events) if self._events and self._whole else None
        normalised = None if ofi is None or depth is None else ofi / depth
        out = Interval(ofi, depth, normalised, self._events, self._resets)
        self._whole = self._quote is not None
        self._sum = self._depth = 0.0
        self._events = self._resets = 0
        return out


class LevelsInterval(msgspec.Struct, gc=False):
    """As ``Interval``, by rank. ``depth``: mean of the ranks' depths, over the ranks that are known."""

    ofi: Vector
    depth: float | None
    normalised: Vector
    events: int
    resets: int


class LevelsOFI:
    """OFI of each rank 1..M of the book, in the unit of the sizes.

    ``BestOFI``'s e at each rank m. Normalised: OFI^m / Q, Q = (1/M) Σ_m Q^m, Q^m the mean over the interval's events of (q^m + r^m) / 2.
    A new best price moves every rank, and shows at every rank: that is a property of the measure, not an error.

    Sources: Xu, Gould & Howison, Multi-Level Order-Flow Imbalance, Market Microstructure and Liquidity 4(3-4), 2018 (arXiv 1907.06230);
    the depth is that of Cont, Cucuringu & Zhang, Cross-impact of order flow imbalance, Quantitative Finance 2023 (arXiv 2112.13213).
    """

    __slots__ = ("_asks", "_bids", "_current", "_depths", "_events", "_missed", "_resets", "_sums", "_whole", "levels")

    def __init__(self, levels: int, retreat: Retreat = "previous") -> None:
        self.levels = levels
        self._current = retreat == "current"
        self._bids: Ladder | None = None
        self._asks: Ladder = ()
        self._whole = False
        self._begin()

    def _begin(self) -> None:
        self._sums, self._depths = [0.0] * self.levels, [0.0] * self.levels
        ranks = min(len(self._bids or ()), len(self._asks))
        self._missed = [at >= ranks for at in range(self.levels)]
        self._events = self._resets = 0

    def update(self, bids: Ladder, asks: Ladder) -> Vector | None:
        """The event's e by rank, of levels (price, size), best first; None by rules 1 and 2."""
        bids, asks = ladder(bids, self.levels), ladder(asks, self.levels)
        if not bids or not asks or not -_INF < bids[0][0] < asks[0][0] < _INF:
            self.reset()
            return None
        before_bids, before_asks = self._bids, self._asks
        self._bids, self._asks = bids, asks
        if before_bids is None:
            return None
        self._events += 1
        out: Vector = []
        known = min(len(bids), len(asks), len(before_bids), len(before_asks))
        sums, depths, current = self._sums, self._depths, self._current
        for at in range(known):
            bid, ask = bids[at], asks[at]
            value = flow(before_bids[at] + before_asks[at], bid + ask, current)
            sums[at] += value
            depths[at] += bid[1] + ask[1]
            out.append(value)
        for at in range(known, self.levels):
            self._missed[at] = True
            out.append(None)
        return out

    def reset(self) -> None:
        """What comes next is a first book."""
        if self._bids is not None:
            self._resets += 1
        self._bids, self._whole = None, False

    def take(self) -> LevelsInterval:
        """What the interval that ends here adds up to. The next one begins."""
        known = [self._whole and not missed for missed in self._missed]
        ofi = [value if here else None for value, here in zip(self._sums, known, strict=True)]
        depths = [depth / (2 * self._events) for depth, here in zip(self._depths, known, strict=True) if here and self._events]
        depth = sum(depths) / len(depths) if depths else None
        normalised = [None if value is None or depth is None else value / depth for value in ofi]
        out = LevelsInterval(ofi, depth, normalised, self._events, self._resets)
        self._whole = self._bids is not None
        self._begin()
        return out


def ladder(levels: Ladder, most: int) -> Ladder:
    """The best ``most`` levels, without those whose size is no finite number above zero."""
    best = levels[:most]
    for _, size in best:
        if not 0.0 < size < _INF:
            return [level for level in levels if 0.0 < level[1] < _INF][:most]
    return best


def weighted(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Σ w·value, w without its negatives and with the sum 1. None if a rank that has a weight is None, or no rank has one."""
    total = sum(weight for weight in weights if weight > 0)
    if not total > 0 or any(weight > 0 for weight in weights[len(values) :]):
        return None
    out = 0.0
    for value, weight in zip(values, weights, strict=False):
        if weight > 0:
            if value is None:
                return None
            out += weight / total * value
    return out


class RankDifference:
    """What the origin of the brief calls OFI: Σ_m w_m (Δbid size_m - Δask size_m), whatever the prices did, in the unit of the sizes.

    It is the change of the weighted depth and telescopes always. When a price moves it compares the sizes of two different prices, so
    that its sign may be the opposite of OFI's (docs/explanation/ofi.md). Kept, under its own name, to compare with recordings of then.
    Rules 1 and 2 hold; None where a weighted rank is missing.
    """

    __slots__ = ("_before", "_needed", "_shares", "weights")

    def __init__(self, weights: Sequence[float] = ORIGIN_WEIGHTS) -> None:
        self.weights = tuple(weights)
        total = sum(weight for weight in weights if weight > 0)
        if not total > 0:
            raise ValueError("weights: one of them must be above 0")
        self._shares = [max(0.0, weight) / total for weight in weights]
        self._needed = max(at for at, share in enumerate(self._shares, 1) if share)
        self._before: tuple[Ladder, Ladder] | None = None

    def update(self, bids: Ladder, asks: Ladder) -> float | None:
        """The event's weighted difference."""
        most = len(self.weights)
        bids, asks = ladder(bids, most), ladder(asks, most)
        if not bids or not asks or not -_INF < bids[0][0] < asks[0][0] < _INF:
            self._before = None
            return None
        before, self._before = self._before, (bids, asks)
        if before is None:
            return None
        if min(len(bids), len(asks), len(before[0]), len(before[1])) < self._needed:
            return None
        out = 0.0
        for weight, bid, bid0, ask, ask0 in zip(self._shares, bids, before[0], asks, before[1], strict=False):
            out += weight * (bid[1] - bid0[1] - (ask[1] - ask0[1]))
        return out

    def reset(self) -> None:
        """What comes next is a first book."""
        self._before = None


class Component(msgspec.Struct):
    """First principal component. ``weights``: w / ‖w‖₁ by rank, None where a column was left out. ``explained``: its share of variance."""

    weights: Vector
    explained: float


def first_component(rows: Sequence[Sequence[float | None]]) -> Component | None:
    """Of rows of normalised OFI by rank. Columns that are constant or not known throughout are left out; the sign is the one with Σw > 0;
    where the largest variance is not one direction's alone, or Σw is 0, weights are equal. None with fewer than two rows or no column left.
    """
    if len(rows) < 2:
        return None
    columns = list(zip(*rows, strict=True))
    kept = [at for at, column in enumerate(columns) if all(map(_known, column)) and min(column) < max(column)]
    if not kept:
        return None
    matrix = np.array([columns[at] for at in kept], dtype=np.float64)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(matrix)))
    first = vectors[:, -1]
    total = float(first.sum())
    if abs(total) <= 1e-12 or (len(kept) > 1 and values[-1] - values[-2] <= 1e-12 * values[-1]):
        first, total = np.ones(len(kept)), 1.0
    shares = first * math.copysign(1.0, total) / np.abs(first).sum()
    weights: Vector = [None] * len(columns)
    for at, share in zip(kept, shares.tolist(), strict=True):
        weights[at] = share
    return Component(weights, float(values[-1] / values.sum()))


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


class IntegratedOFI:
    """The ranks' normalised OFI in one number: wᵀ·ofi / ‖w‖₁, w the first principal component of an earlier window. No unit.

    Fitted on the last ``window`` intervals whenever ``refit`` more have come, and used from the next interval on: no value knows itself
    or what came after it. None until the first fit, and where a rank that has a weight is None. Intervals without any value are not
    fitted on. The defaults are half an hour of 10 s intervals.

    Source: Cont, Cucuringu & Zhang, Cross-impact of order flow imbalance in equity markets, Quantitative Finance 2023 (arXiv 2112.13213).
    """

    __slots__ = ("_refit", "_rows", "_since", "component")

    def __init__(self, window: int = 180, refit: int = 180) -> None:
        self._rows: deque[tuple[float | None, ...]] = deque(maxlen=window)
        self._refit = refit
        self._since = 0
        self.component: Component | None = None

    def update(self, normalised: Sequence[float | None]) -> float | None:
        """The interval's value, of its ``LevelsInterval.normalised``."""
        value = self.apply(normalised)
        if any(map(_known, normalised)):
            self._rows.append(tuple(normalised))
            self._since += 1
            if len(self._rows) == self._rows.maxlen and (self.component is None or self._since >= self._refit):
                self._since = 0
                self.component = first_component(self._rows)
        return value

    def apply(self, normalised: Sequence[float | None]) -> float | None:
        """The value under the component in force."""
        if self.component is None:
            return None
        out = 0.0
        for value, weight in zip(normalised, self.component.weights, strict=True):
            if weight is not None:
                if value is None or not math.isfinite(value):
                    return None
                out += weight * value
        return out
