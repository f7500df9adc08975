"""Divergences of price and an indicator at the price's pivots, and conflicts of the two z-scores.

Rules (each has its test in tests/collectors/features/test_divergence.py):

1. A sample is a pivot if the price is beyond all of the ``side`` samples before it, and none of the ``side`` after it is beyond it. So a
   plateau has one pivot, its first sample. Price alone makes pivots.
2. A pivot is known ``side`` samples later, and not before. Events carry that time (``ts``), and the pivot's beside it (``pivot_ts``).
3. Two pivots of one kind that follow each other are compared, if they are at least ``nearest`` and at most ``farthest`` samples apart.

       price       indicator   at highs       at lows
       higher      lower       bear_div       hidden_bull
       lower       higher      hidden_bear    bull_div

4. An indicator that is None at a pivot makes no pair. Such a pivot is still the one that the next is compared with.
5. Of one type, events are at least ``cooldown_s`` of event time apart; what is within is dropped, not delayed.
6. After ``reset`` (a gap in the data) no pivot, and no sample beside one, is from before it.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import Literal

import msgspec

from tape_collectors.market.features.zscore import SECOND_NS, clip

Kind = Literal["bull_div", "bear_div", "hidden_bull", "hidden_bear"]
Strength = Literal["strong", "normal", "weak"]


class DivergenceSetup(msgspec.Struct, frozen=True):
    """Of ``Divergence``. ``scored``: the indicator is a z-score, clipped at ±limit, and events have a score, of which at least ``weak`` is
    wanted. A level (CVD itself) has no score. ``warm_up``: the samples before which no pivot counts."""

    side: int = 12
    nearest: int = 6
    farthest: int = 240
    cooldown_s: float = 30.0
    scored: bool = True
    limit: float = 5.0
    weak: float = 35.0
    warm_up: int = 100


class DivergenceEvent(msgspec.Struct):
    """``ts``: when it was known; ``pivot_ts``, ``before_ts``: its two pivots. Prices and indicators at both, the earlier first."""

    kind: Kind
    channel: str
    ts: int
    pivot_ts: int
    before_ts: int
    prices: tuple[float, float]
    indicators: tuple[float, float]
    separation: int
    score: float | None
    strength: Strength | None


class _Sample(msgspec.Struct, gc=False):
    number: int
    ts: int
    price: float
    indicator: float | None
    consistency: float | None


class _Cooldown:
    """Rule 5."""

    __slots__ = ("_last", "_ns")

    def __init__(self, seconds: float) -> None:
        self._ns = seconds * SECOND_NS
        self._last: dict[str, int] = {}

    def over(self, kind: str, ts: int) -> bool:
        """Whether ``kind`` may be told at ``ts``; then it is."""
        last = self._last.get(kind)
        if last is not None and ts - last < self._ns:
            return False
        self._last[kind] = ts
        return True


class Divergence:
    """Divergences of the price and one indicator (``channel``: its name, as ``ofi``, ``cvd``, ``fusion``).

    Events by rule 3. With the level of CVD they are what technical analysis calls divergence; a z of single changes has next to no memory,
    and what it shows at a pivot is that one sample. Where ``scored``: score = 100·(0.35·size + 0.25·validity + 0.25 + 0.15·bonus); size
    1, 0.7 or 0.3 as the greater |z| of the two is at least 1.5, 0.7 or less; validity the mean of min(1, separation / 2 side) and
    min(1, (|Δprice| / price + |Δz|) / 2); bonus 0 below consistency 0.3 at the pivot, else 0.05 + 0.10·(consistency - 0.3) / 0.7.
    strong from 70, normal from 50, weak from 35.

    Source: the origin of the brief (pivots, kinds, score), which stamped the event with the pivot's time: then nobody knew it.
    """

    __slots__ = ("_cooldown", "_count", "_highs", "_lows", "_prices", "_samples", "channel", "setup")

    def __init__(self, channel: str, setup: DivergenceSetup | None = None) -> None:
        self.channel = channel
        self.setup = setup or DivergenceSetup()
        if self.setup.side < 1:
            raise ValueError(f"side {self.setup.side}: a pivot has at least 1 sample on either side")
        self._cooldown = _Cooldown(self.setup.cooldown_s)
        self.reset()

    def reset(self) -> None:
        """Rule 6. The cool-down goes on."""
        self._count = 0
        width = 2 * self.setup.side + 1
        self._samples: deque[_Sample] = deque(maxlen=self.setup.side + 1)
        self._prices: deque[float] = deque(maxlen=width)
        self._lows: _Sample | None = None
        self._highs: _Sample | None = None

    def update(self, ts: int, price: float, indicator: float | None, consistency: float | None = None) -> list[DivergenceEvent]:
        """One sample at event time ``ts`` (unix ns): the events that it makes known. A price that is not finite is no sample."""
        if not math.isfinite(price):
            return []
        if indicator is not None and not math.isfinite(indicator):
            indicator = None
        elif indicator is not None and self.setup.scored:
            indicator = clip(indicator, self.setup.limit)
        self._samples.append(_Sample(self._count, ts, price, indicator, consistency))
        self._prices.append(price)
        self._count += 1
        if len(self._prices) < 2 * self.setup.side + 1:
            return []
        pivot, event = self._samples[0], None
        here = pivot.price
        if pivot.number < self.setup.warm_up:
            return []
        # Most samples are told by their neighbours alone.
        before, after = self._prices[self.setup.side - 1], self._samples[1].price
        if before < here >= after:
            if here >= max(self._prices) and max(islice(self._prices, self.setup.side)) < here:
                event = self._pair(ts, self._highs, pivot, ("bear_div", "hidden_bear"))
                self._highs = pivot
        elif before > here <= after and here <= min(self._prices) and min(islice(self._prices, self.setup.side)) > here:
            event = self._pair(ts, self._lows, pivot, ("hidden_bull", "bull_div"))
            self._lows = pivot
        return [] if event is None else [event]

    def _pair(self, ts: int, before: _Sample | None, pivot: _Sample, kinds: tuple[Kind, Kind]) -> DivergenceEvent | None:
        """Rules 3 to 5; ``kinds`` of a higher and of a lower price."""
        setup = self.setup
        if before is None or before.indicator is None or pivot.indicator is None:
            return None
        separation = pivot.number - before.number
        rise, change = pivot.price - before.price, pivot.indicator - before.indicator
        if not setup.nearest <= separation <= setup.farthest or rise * change >= 0:
            return None
        score, strength = self._score(before, pivot, separation) if setup.scored else (None, None)
        kind = kinds[0] if rise > 0 else kinds[1]
        if (score is not None and score < setup.weak) or not self._cooldown.over(kind, ts):
            return None
        prices, indicators = (before.price, pivot.price), (before.indicator, pivot.indicator)
        return DivergenceEvent(kind, self.channel, ts, pivot.ts, before.ts, prices, indicators, separation, score, strength)

    def _score(self, before: _Sample, pivot: _Sample, separation: int) -> tuple[float, Strength]:
        early, late = before.indicator or 0.0, pivot.indicator or 0.0
        largest = max(abs(early), abs(late))
        size = 1.0 if largest >= 1.5 else 0.7 if largest >= 0.7 else 0.3
        score = 100 * (0.35 * size + 0.25 * validity(before.price, pivot.price, early, late, separation, self.setup.side) + 0.25)
        alike = pivot.consistency
        if alike is not None and alike >= 0.3:
            score += 15 * (0.05 + 0.10 * (alike - 0.3) / 0.7)
        return score, "strong" if score >= 70 else "normal" if score >= 50 else "weak"


def validity(price0: float, price1: float, z0: float, z1: float, separation: int, side: int) -> float:
    """How far apart two pivots are, in samples and in size: 0 to 1."""
    moved = abs(price1 - price0) / abs(price0) if price0 else 0.0
    return (min(1.0, separation / (2 * side)) + min(1.0, (moved + abs(z1 - z0)) / 2)) / 2


class ConflictEvent(msgspec.Struct):
    """``kind``: ``ofi_cvd_conflict``, ``ofi_cvd_divergence``, ``anomaly`` or ``price_anomaly``; what they are of, and by how much."""

    kind: str
    ts: int
    z_ofi: float | None
    z_cvd: float | None
    price_change: float | None


class Conflict:
    """Rows in which the two z-scores contradict each other, or one value is out of the ordinary.

    ``ofi_cvd_conflict``: |z_ofi| ≥ 2 and |z_cvd| ≥ 1 of opposite signs; ``ofi_cvd_divergence``: both above 2.5, opposite; ``anomaly``:
    |z_ofi| > 3 or |z_cvd| > 2.5; ``price_anomaly``: the price is more than 5 % from the row before. Each type by rule 5. A z that is None
    contradicts nothing, and a price that is no finite number above zero is not compared.

    Source: the origin of the brief.
    """

    __slots__ = ("_cooldown", "_price")

    def __init__(self, cooldown_s: float = 1.0) -> None:
        self._cooldown = _Cooldown(cooldown_s)
        self._price: float | None = None

    def reset(self) -> None:
        """The price before is forgotten (a gap in the data)."""
        self._price = None

    def update(self, ts: int, price: float, z_ofi: float | None, z_cvd: float | None) -> list[ConflictEvent]:
        """One row at event time ``ts`` (unix ns): its events."""
        before, change, jumped = self._price, None, False
        if 0.0 < price < math.inf:
            self._price = price
            if before is not None:
                change, jumped = price / before - 1.0, abs(price - before) > 0.05 * before
        ofi, cvd = z_ofi or 0.0, z_cvd or 0.0
        if not jumped and abs(ofi) < 2.0 and abs(cvd) <= 2.5:
            return []
        opposite = ofi * cvd < 0
        found = {
            "ofi_cvd_conflict": opposite and abs(ofi) >= 2.0 and abs(cvd) >= 1.0,
            "ofi_cvd_divergence": opposite and min(abs(ofi), abs(cvd)) > 2.5,
            "anomaly": abs(ofi) > 3.0 or abs(cvd) > 2.5,
            "price_anomaly": jumped,
        }
        return [ConflictEvent(kind, ts, z_ofi, z_cvd, change) for kind, here in found.items() if here and self._cooldown.over(kind, ts)]
