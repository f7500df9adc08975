"""How unusual a value is: z-scores whose scale is carried on from value to value.

Rules (each has its test in tests/collectors/features/test_zscore.py):

1. A value that is not known, warm-up, a hold after a gap and a scale of nothing give z None with the reason in ``why``; never 0.
2. The baseline of a level is what came before it; the value itself is not in it (unless ``own`` asks for that).
3. A half-life is in seconds of event time, and a change of it changes the scale. Per update it is in updates, if ``per`` says so.
4. A time step shorter than 1 ms, or backwards, counts as 1 ms: trades of one millisecond would weigh nothing. Steps are from the latest
   time seen: a late value neither ages those before it nor makes a gap.
5. ``floor_used`` says that the MAD floor, not the average, is the scale. MAD may be 0 (sizes are discrete): below ``least`` there is no z.
6. ``z`` is ``z_raw`` clipped at ±limit. That is no winsorising, which would replace by quantiles; both are given.
7. After a step of event time longer than a hold's seconds that many values, from the first after it, have z None. They do count for the
   scale. What was lost on the way, the tape says: then call ``reset`` (begin anew) or ``hold``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from tape_collectors.market.features.rolling import NORMAL_MAD, NORMAL_MEAN, Ewma, Median, Moments, alpha

SECOND_NS = 1_000_000_000
_STEP_NS = 1_000_000
#: (seconds, values): after a step longer than that, so many values have no z. The longest first.
Holds = tuple[tuple[float, int], ...]


class Z(msgspec.Struct, gc=False):
    """``scale``: what the value was divided by. ``why``: why z is None: ``value``, ``warm-up``, ``hold``, ``flat``; empty if it is not."""

    z_raw: float | None = None
    z: float | None = None
    scale: float | None = None
    sigma_floor: float | None = None
    floor_used: bool = False
    why: str = ""


def clip(value: float, limit: float) -> float:
    """The nearest value within ±limit."""
    return limit if value > limit else -limit if value < -limit else value


def clip_share(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    """The share of (z_raw, z) that the limit changed (the brief's Winsor effect); rows without a z do not count. None without rows."""
    rows = [(raw, z) for raw, z in pairs if raw is not None and z is not None]
    return sum(abs(raw) > abs(z) for raw, z in rows) / len(rows) if rows else None


class _Held:
    """Rule 7."""

    __slots__ = ("_count", "_holds", "_ts")

    def __init__(self, holds: Holds) -> None:
        self._holds = tuple((seconds * SECOND_NS, count) for seconds, count in sorted(holds, reverse=True))
        self._ts: int | None = None
        self._count = 0

    def step(self, ts: int) -> int | None:
        """Event time since the latest value before, in ns; None at the first value."""
        before = self._ts
        if before is None:
            self._ts = ts
            return None
        if ts <= before:
            return 0
        self._ts = ts
        for limit, count in self._holds:
            if ts - before > limit:
                self.hold(count)
                break
        return ts - before

    def hold(self, count: int) -> None:
        self._count = max(self._count, count)

    def take(self) -> bool:
        """Whether this value has no z."""
        if not self._count:
            return False
        self._count -= 1
        return True


class LevelZ:
    """z of a level against the window before it. No unit.

    z = (x - mean) / s over the last ``window`` values that end with x, x itself left out (``own``: with x); s is their standard deviation,
    of the population (``ddof`` 0) or of a sample (1). Warm-up: until ``warm_up`` values came before (with ``own``: are there). Flat: s is
    at most ``least``, or 1e-12 of the mean, which is rounding. Where a feature's own level drifts, as CVD's does, z says where the level
    stands in its window, and depends on the window's length.

    Source: the origin of the brief (its ``z_mode=level``, and its z of OFI with ``ddof`` 1), whose 0 for warm-up and flat is None here.
    """

    __slots__ = ("_held", "_holds", "_moments", "_size", "ddof", "least", "limit", "own", "warm_up", "window")

    def __init__(
        self,
        window: int = 300,
        warm_up: int | None = None,
        ddof: int = 0,
        limit: float = math.inf,
        least: float = 1e-9,
        holds: Holds = (),
        own: bool = False,
    ) -> None:
        self.window, self.ddof, self.limit, self.least, self.own = window, ddof, limit, least, own
        self.warm_up = max(5, window // 5) if warm_up is None else warm_up
        self._size = window - (not own)
        if self._size < max(1, self.warm_up):
            raise ValueError(f"window {window}: the baseline has {self._size} values, fewer than warm_up {self.warm_up}")
        self._holds = holds
        self.reset()

    def reset(self) -> None:
        """Begin anew, warm-up included."""
        self._moments = Moments(self._size)
        self._held = _Held(self._holds)

    def hold(self, count: int) -> None:
        """Give the next ``count`` values no z."""
        self._held.hold(count)

    def update(self, ts: int, x: float | None) -> Z:
        """Take ``x`` at event time ``ts`` (unix ns)."""
        if x is None or not math.isfinite(x):
            return Z(why="value")
        moments = self._moments
        if self._holds:
            self._held.step(ts)
        held = self._held.take()
        if self.own:
            moments.push(x)
        count, mean, std = len(moments), moments.mean, moments.std(self.ddof)
        if not self.own:
            moments.push(x)
        if count < self.warm_up or std is None:
            return Z(why="warm-up")
        if std <= self.least or std <= 1e-12 * abs(mean):
            return Z(scale=std, why="flat")
        if held:
            return Z(scale=std, why="hold")
        raw = (x - mean) / std
        return Z(raw, clip(raw, self.limit), std)


class Activity(msgspec.Struct, frozen=True):
    """Fewer trades, a wider scale. r = trades in the last 60 s / 60. The fast weight is multiplied by min(1, (r / rate)^fade), the floor by
    max(1, (rate / max(r, lowest))^lift)."""

    rate: float = 1.5
    fade: float = 1.0
    lift: float = 0.7
    lowest: float = 0.2


class DeltaSetup(msgspec.Struct, frozen=True):
    """Of ``DeltaZ``; the defaults are the brief's settings. ``slow_weight`` None: 1 - fast_weight. ``unit``: averages times √(π/2), so that
    normal values have z of variance 1. ``mad_least``: fewer values give no floor. ``warm_up``: the first value that may have a z."""

    scale: Literal["ewma", "hybrid"] = "hybrid"
    half_life: float = 600.0
    fast_half_life: float = 60.0
    per: Literal["second", "update"] = "second"
    fast_weight: float = 0.2
    slow_weight: float | None = None
    unit: bool = False
    mad_multiplier: float = 1.8
    mad_window: int = 300
    mad_least: int = 60
    limit: float = 8.0
    least: float = 1e-9
    warm_up: int = 50
    holds: Holds = ((5.0, 3), (4.0, 2))
    activity: Activity | None = Activity()


class DeltaZ:
    """z of a change against the size that changes have. No unit.

    z_raw = Δ / scale, without a mean; z = clip(z_raw, ±limit). Averages of |Δ| decay with time: α = 1 - 2^(-Δt / half-life).
    ``ewma``: scale = EWMA_slow|Δ|. ``hybrid``: mix = w_fast·EWMA_fast|Δ| + w_slow·EWMA_slow|Δ|, the weights within [0, 1] and of sum 1;
    sigma_floor = mad_multiplier · 1.4826 · MAD of the last ``mad_window`` Δ, this one included; scale = max(mix, sigma_floor).
    scale and sigma_floor have the unit of Δ. EWMA|Δ| is not σ (of normal values it is 0.798 σ), while the floor is: see ``unit``.
    Flat: mix and floor are at most ``least``.

    Source: the origin of the brief (its ``z_mode=delta``), as far as its documents say what it should be: the half-life works.
    """

    __slots__ = ("_count", "_fast", "_held", "_median", "_recent", "_share", "_slow", "setup")

    def __init__(self, setup: DeltaSetup | None = None) -> None:
        self.setup = setup = setup or DeltaSetup()
        fast = clip(max(0.0, setup.fast_weight), 1.0)
        slow = 1.0 - fast if setup.slow_weight is None else clip(max(0.0, setup.slow_weight), 1.0)
        if not fast + slow > 0:
            raise ValueError("fast_weight and slow_weight: one of them must be above 0")
        self._share = fast / (fast + slow)
        self.reset()

    def reset(self) -> None:
        """Begin anew, warm-up included."""
        setup = self.setup
        self._count = 0
        self._fast, self._slow = Ewma(), Ewma()
        self._median = Median(setup.mad_window)
        self._held = _Held(setup.holds)
        # Above ``rate`` the number of trades changes nothing, so that no more need be remembered.
        most = math.ceil(60 * setup.activity.rate) if setup.activity else 0
        self._recent: deque[int] = deque(maxlen=most)

    def hold(self, count: int) -> None:
        """Give the next ``count`` values no z."""
        self._held.hold(count)

    def update(self, ts: int, delta: float | None) -> Z:
        """Take ``delta`` at event time ``ts`` (unix ns)."""
        if delta is None or not math.isfinite(delta):
            return Z(why="value")
        setup = self.setup
        self._count += 1
        self._average(abs(delta), self._held.step(ts))
        hybrid = setup.scale == "hybrid"
        if hybrid:
            self._median.push(delta)
            if setup.activity:
                self._recent.append(ts)
        held = self._held.take()
        if self._count < setup.warm_up:
            return Z(why="warm-up")
        mix, floor = self._hybrid() if hybrid else (self._slow.value or 0.0, None)
        if setup.unit:
            mix *= NORMAL_MEAN
        used = floor is not None and floor > 0.0 and floor >= mix * (1 - 1e-6)
        scale = max(mix, floor or 0.0)
        if scale <= setup.least:
            return Z(None, None, scale, floor, used, "flat")
        if held:
            return Z(None, None, scale, floor, used, "hold")
        raw = delta / scale
        return Z(raw, clip(raw, setup.limit), scale, floor, used)

    def _average(self, size: float, step: int | None) -> None:
        """Rules 3 and 4."""
        setup = self.setup
        elapsed = 1.0 if setup.per == "update" else max(step or 0, _STEP_NS) / SECOND_NS
        self._slow.push(size, alpha(elapsed, setup.half_life))
        if setup.scale == "hybrid":
            self._fast.push(size, alpha(elapsed, setup.fast_half_life))

    def _hybrid(self) -> tuple[float, float | None]:
        """The mix, and the floor if there are values enough."""
        setup, share, lift = self.setup, self._share, 1.0
        activity = setup.activity
        if activity:
            rate = self._rate()
            if rate < activity.rate:
                share *= (rate / activity.rate) ** activity.fade
                lift = (activity.rate / max(rate, activity.lowest)) ** activity.lift
        mix = share * (self._fast.value or 0.0) + (1.0 - share) * (self._slow.value or 0.0)
        if len(self._median) < setup.mad_least:
            return mix, None
        return mix, setup.mad_multiplier * NORMAL_MAD * (self._median.mad() or 0.0) * max(1.0, lift)

    def _rate(self) -> float:
        """Trades a second over the last minute, as far as it matters; 0 for the only one."""
        recent = self._recent
        oldest = recent[-1] - 60 * SECOND_NS
        while recent[0] < oldest:
            recent.popleft()
        return len(recent) / 60.0 if len(recent) > 1 else 0.0
