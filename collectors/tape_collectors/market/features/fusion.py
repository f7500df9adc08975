"""One signal from two z-scores: how strong, how much of one mind, and for how long.

Rules (each has its test in tests/collectors/features/test_fusion.py):

1. A z that is None makes score, score_z, consistency and signal None, and breaks the run of rule 4. It never counts as 0.
2. Time is event time. Cool-down and hysteresis are the same in a replay, however fast.
3. Raw signal: ``buy`` if score > buy and consistency > agree; ``strong_buy`` above strong and firm; mirrored for sell; else ``neutral``.
4. A side is entered when ``repeats`` raw signals in a row say so and the last entry is at least ``cooldown_s`` ago. It is left when the
   score, on its side, falls below ``leave``; in between it stays, whatever the raw signal. A strong one stays strong until it is left.
5. Where the two values are more than ``lag_s`` apart, the stronger stands alone, with consistency 1 and ``lagged`` (as the origin does), or
   the row is None (``lagged="none"``).
6. The first ``warm_up`` rows with both values have no signal; score_z needs ``score_least`` scores.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from tape_collectors.market.features.zscore import SECOND_NS, LevelZ, clip

Signal = Literal["strong_sell", "sell", "neutral", "buy", "strong_buy"]
#: by strength, -2 to 2
SIGNALS: tuple[Signal, ...] = ("strong_sell", "sell", "neutral", "buy", "strong_buy")


class FusionSetup(msgspec.Struct, frozen=True):
    """Of ``Fusion``; the defaults are the brief's settings. ``score_own``: whether a score is in its own baseline (as in the origin)."""

    ofi_weight: float = 0.6
    cvd_weight: float = 0.4
    limit: float = 5.0
    buy: float = 1.5
    strong: float = 2.5
    agree: float = 0.3
    firm: float = 0.7
    leave: float = 1.2
    repeats: int = 2
    cooldown_s: float = 1.0
    lag_s: float = 0.3
    lagged: Literal["stronger", "none"] = "stronger"
    warm_up: int = 30
    score_window: int = 3600
    score_least: int = 11
    score_own: bool = False
    slope: float = 1.0


class FusionPoint(msgspec.Struct, gc=False):
    """``dispersion``: |z_ofi - z_cvd|. ``probability``: 1 / (1 + e^(-slope·score)), a squashed score that nothing has calibrated.
    ``raw``: rule 3, this row alone. ``signal``: rule 4. ``entered``: this row entered a side, or made it strong."""

    ts: int
    score: float | None = None
    score_z: float | None = None
    consistency: float | None = None
    dispersion: float | None = None
    probability: float | None = None
    raw: Signal | None = None
    signal: Signal | None = None
    entered: bool = False
    lagged: bool = False


def consistency(one: float, other: float) -> float:
    """min|z| / max|z| if both have the same sign, else 0; 0 if one is (nearly) 0."""
    small, large = sorted((abs(one), abs(other)))
    return 0.0 if small < 1e-9 or (one > 0) != (other > 0) else small / large


class Fusion:
    """Score and signal of OFI and CVD. No unit.

    score = w_ofi·z_ofi + w_cvd·z_cvd, the weights of sum 1, each z clipped at ±limit. score_z = (score - mean) / s over the last
    ``score_window`` scores before it, s of the population. consistency = min|z| / max|z| where the signs agree, else 0.

    Source: the origin of the brief; its wall clock is event time here, and its baseline leaves out the score itself unless ``score_own``.
    """

    __slots__ = ("_count", "_entered", "_run", "_scores", "_side", "_strong", "_weights", "setup")

    def __init__(self, setup: FusionSetup | None = None) -> None:
        self.setup = setup = setup or FusionSetup()
        total = setup.ofi_weight + setup.cvd_weight
        if min(setup.ofi_weight, setup.cvd_weight) < 0 or not total > 0:
            raise ValueError("ofi_weight and cvd_weight: none below 0, and one of them above")
        self._weights = (setup.ofi_weight / total, setup.cvd_weight / total)
        self.reset()

    def reset(self) -> None:
        """Begin anew, warm-up included; no side is held."""
        setup = self.setup
        self._scores = LevelZ(setup.score_window, setup.score_least - (not setup.score_own), own=setup.score_own)
        self._count = self._run = self._side = 0
        self._strong = False
        self._entered: int | None = None

    def update(self, ts: int, z_ofi: float | None, z_cvd: float | None, lag_ns: int = 0) -> FusionPoint:
        """One row at event time ``ts`` (unix ns); ``lag_ns``: how far apart the two values are."""
        setup = self.setup
        lagged = abs(lag_ns) > setup.lag_s * SECOND_NS
        if z_ofi is None or z_cvd is None or math.isnan(z_ofi + z_cvd) or (lagged and setup.lagged == "none"):
            self._run = 0
            return FusionPoint(ts, lagged=lagged)
        one, other = clip(z_ofi, setup.limit), clip(z_cvd, setup.limit)
        apart, alike = abs(one - other), 1.0
        if lagged:
            one, other = (one, 0.0) if abs(one) >= abs(other) else (0.0, other)
        else:
            alike = consistency(one, other)
        score = self._weights[0] * one + self._weights[1] * other
        point = FusionPoint(ts, score, self._scores.update(ts, score).z, alike, apart, lagged=lagged)
        point.probability = 1.0 / (1.0 + math.exp(-clip(setup.slope * score, 700.0)))
        self._count += 1
        if self._count > setup.warm_up:
            strength = self._raw(score, alike)
            point.raw = SIGNALS[strength + 2]
            point.entered = self._judge(ts, score, strength)
            point.signal = SIGNALS[self._side * (2 if self._strong else 1) + 2]
        return point

    def _raw(self, score: float, alike: float) -> int:
        """Rule 3, as a strength from -2 to 2."""
        setup, size = self.setup, abs(score)
        strength = 2 if size > setup.strong and alike > setup.firm else 1 if size > setup.buy and alike > setup.agree else 0
        return strength if score > 0 else -strength

    def _judge(self, ts: int, score: float, strength: int) -> bool:
        """Rule 4; whether a side was entered or made strong."""
        setup = self.setup
        direction = (strength > 0) - (strength < 0)
        self._run = self._run + direction if direction * self._run > 0 else direction
        if self._side and score * self._side < setup.leave:
            self._side, self._strong = 0, False
        if self._side:
            if self._strong or strength * self._side < 2:
                return False
            self._strong = True
            return True
        rested = self._entered is None or ts - self._entered >= setup.cooldown_s * SECOND_NS
        if not direction or abs(self._run) < setup.repeats or not rested:
            return False
        self._side, self._strong, self._entered = direction, abs(strength) > 1, ts
        return True
