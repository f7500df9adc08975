"""z-scores: oracles and golden vectors to 1e-9, and each rule of the module."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.features.rolling import NORMAL_MEAN, alpha
from tape_collectors.market.features.zscore import Activity, DeltaSetup, DeltaZ, LevelZ, Z, clip, clip_share
from tests.collectors.features.streams import SECOND, START, golden, trades

DELTAS = (1.5, -2.0, 0.5, 3.0, -1.0)
LEVELS = (1.5, -0.5, 0.0, 3.0, 2.0)
near = pytest.approx
PLAIN: dict[str, Any] = {"per": "update", "half_life": 4, "fast_half_life": 1, "warm_up": 1, "mad_least": 1, "holds": (), "activity": None}


def run(measure: DeltaZ | LevelZ, values: Any, step: int = SECOND) -> list[Z]:
    return [measure.update(START + number * step, value) for number, value in enumerate(values)]


def setup(**changes: Any) -> DeltaSetup:
    return DeltaSetup(**{**PLAIN, **changes})


# -- oracles ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ddof", "expected", "std"), [(0, 0.7302967433402214, 1.3693063937629153), (1, 0.6324555320336759, 1.5811388300841898)]
)
def test_oracle_level(ddof: int, expected: float, std: float) -> None:
    found = run(LevelZ(warm_up=4, ddof=ddof), LEVELS)
    assert [z.why for z in found] == ["warm-up"] * 4 + [""]
    assert (found[4].z, found[4].z_raw, found[4].scale) == (near(expected, rel=1e-9), near(expected, rel=1e-9), near(std, rel=1e-9))


def test_oracle_averages() -> None:
    slow = run(DeltaZ(setup(scale="ewma")), DELTAS)
    fast = run(DeltaZ(setup(scale="ewma", half_life=1)), DELTAS)
    assert [z.scale for z in slow] == near([1.5, 1.5795517923731428, 1.407791232287298, 1.6611173548948548, 1.5559312137931012], rel=1e-9)
    assert [z.scale for z in fast] == near([1.5, 1.75, 1.125, 2.0625, 1.53125], rel=1e-9)


def test_oracle_average_only() -> None:
    found = run(DeltaZ(setup(scale="ewma")), DELTAS)[-1]
    assert found.z == near(-0.6427019338227469, rel=1e-9)
    assert (found.sigma_floor, found.floor_used) == (None, False)


@pytest.mark.parametrize(
    ("multiplier", "z", "floor", "used"), [(1.8, -0.24981139239873898, 4.00302, True), (0.5, -0.644747416126708, 1.11195, False)]
)
def test_oracle_hybrid(multiplier: float, z: float, floor: float, used: bool) -> None:
    found = run(DeltaZ(setup(mad_multiplier=multiplier)), DELTAS)[-1]
    assert (found.z, found.z_raw, found.sigma_floor) == (near(z, rel=1e-9), near(z, rel=1e-9), near(floor, rel=1e-9))
    assert found.floor_used is used


@pytest.mark.parametrize(("slow_weight", "mix"), [(None, 1.550994971034481), (0.8, 1.550994971034481), (0.7, 1.5504464996168563)])
def test_oracle_mix(slow_weight: float | None, mix: float) -> None:
    found = run(DeltaZ(setup(slow_weight=slow_weight, mad_multiplier=0.0)), DELTAS)[-1]
    assert found.scale == near(mix, rel=1e-9)
    assert found.floor_used is False


def test_oracle_clip() -> None:
    rows = [0.5, -3.0, 9.0, -12.0, 2.0, 8.0]
    clipped = [clip(value, 8.0) for value in rows]
    assert clipped == [0.5, -3.0, 8.0, -8.0, 2.0, 8.0]
    assert clip_share(zip(rows, clipped, strict=True)) == near(1 / 3, rel=1e-9)


GOLDEN = {
    49: (2.898145827, 1.39917045, False),
    50: (0.896309895, 1.399069682, False),
    199: (0.001072152, 1.86540732, True),
    203: (2.317356087, 1.96948584, True),
    262: (1.242795199, 2.02285944, True),
    399: (-1.717668677, 1.7413137, True),
}


def test_golden_vector_of_delta() -> None:
    """400 trades of the class that the brief's commit had: its z, scale, floor, and what it suppressed. The ninth digit: see the next."""
    measure, none = DeltaZ(), []
    for number, trade in enumerate(golden(400)):
        found = measure.update(trade.ts, trade.size if trade.side == "buy" else -trade.size)
        if number in GOLDEN:
            z, scale, used = GOLDEN[number]
            assert (found.z, found.scale) == (near(z, rel=2e-9, abs=1e-9), near(scale, rel=2e-9))
            assert found.floor_used is used
        if found.z is None:
            none.append((number, found.why))
    assert none == [(n, "warm-up") for n in range(49)] + [(n, "hold") for n in (200, 201, 202, 260, 261)]


def test_golden_vector_differs_from_ours_only_by_its_clock() -> None:
    """With time steps from float seconds the digits are the origin's; with exact ones they are ours."""
    origin, exact, measure = Anew(floats=True), Anew(), DeltaZ()
    for number, trade in enumerate(golden(400)):
        delta = trade.size if trade.side == "buy" else -trade.size
        there, here, found = origin.update(trade.ts, delta), exact.update(trade.ts, delta), measure.update(trade.ts, delta)
        if number in GOLDEN:
            assert there == (near(GOLDEN[number][0], rel=0, abs=5.1e-10), near(GOLDEN[number][1], rel=0, abs=5.1e-10), GOLDEN[number][2])
            assert (found.z, found.scale) == (near(here[0], rel=1e-12), near(here[1], rel=1e-12))


def test_golden_vector_of_level() -> None:
    expected = {60: 0.7508208124, 61: 0.7743683497, 299: -0.8200528679, 399: -1.5194884126}
    measure, level = LevelZ(window=300), 0.0
    for number, trade in enumerate(golden(400)):
        level += trade.size if trade.side == "buy" else -trade.size
        found = measure.update(trade.ts, level)
        assert (found.z is None) == (number < 60)
        if number in expected:
            assert found.z == near(expected[number], abs=1e-9)


class Anew:
    """The same semantics as ``DeltaZ`` by default, with everything computed anew from lists. ``floats``: time steps are differences of unix
    seconds in floats, as in the origin, and so wrong by up to 0.2 µs."""

    def __init__(self, floats: bool = False) -> None:
        self.floats = floats
        self.rows: list[tuple[int, float]] = []
        self.held = 0
        self.fast = self.slow = 0.0

    def update(self, ts: int, delta: float) -> tuple[float | None, float | None, bool]:
        rows, size = self.rows, abs(delta)
        before = rows[-1][0] if rows else None
        rows.append((ts, delta))
        if before is None:
            self.fast = self.slow = size
        else:
            seconds = max(0.001, ts // 10**6 / 1000 - before // 10**6 / 1000 if self.floats else (ts - before) / SECOND)
            self.fast += (1 - 2 ** (-seconds / 60)) * (size - self.fast)
            self.slow += (1 - 2 ** (-seconds / 600)) * (size - self.slow)
            gap = (ts - before) / SECOND
            self.held = max(self.held, 3 if gap > 5 else 2 if gap > 4 else 0)
        held, self.held = self.held > 0, max(0, self.held - 1)
        if len(rows) < 50:
            return None, None, False
        rate = sum(ts - at <= 60 * SECOND for at, _ in rows) / 60
        share = 0.2 * min(1.0, rate / 1.5)
        mix = share * self.fast + (1 - share) * self.slow
        floor = 0.0
        if len(rows) >= 60:
            last = [value for _, value in rows[-300:]]
            middle = statistics.median(last)
            floor = 1.8 * 1.4826 * statistics.median(abs(value - middle) for value in last) * max(1.0, (1.5 / max(rate, 0.2)) ** 0.7)
        scale = max(mix, floor)
        return (None if held else max(-8.0, min(8.0, delta / scale))), scale, floor >= mix * (1 - 1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_delta_equals_a_computation_from_lists(seed: int) -> None:
    measure, plain, used = DeltaZ(), Anew(), set()
    for trade in trades(1500, seed):
        delta = trade.size if trade.side == "buy" else -trade.size
        found = measure.update(trade.ts, delta)
        z, scale, floored = plain.update(trade.ts, delta)
        if scale is not None:
            assert found.scale == near(scale, rel=1e-11)
            assert found.floor_used is floored
        assert found.z is None if z is None else found.z == near(z, rel=1e-9, abs=1e-12)
        used.add(floored)
    assert True in used


# -- the numbered rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_rule_1_what_is_not_known_has_no_z_and_leaves_no_trace(value: float | None) -> None:
    for one, other in ((LevelZ(warm_up=2), LevelZ(warm_up=2)), (DeltaZ(setup()), DeltaZ(setup()))):
        found = run(one, [1.0, 2.0, value, 4.0])
        assert found[2] == Z(why="value")
        assert found[3] == run(other, [1.0, 2.0, 4.0])[2]


def test_rule_1_warm_up_is_none_and_never_zero() -> None:
    assert [z.z for z in run(LevelZ(window=300), range(61))] == [None] * 60 + [near(30.5 / math.sqrt((60**2 - 1) / 12))]
    assert LevelZ(window=10).warm_up == 5
    found = run(DeltaZ(setup(warm_up=3)), [1.0, 1.0, 1.0])
    assert [(z.z, z.why) for z in found[:2]] == [(None, "warm-up")] * 2
    assert found[2].z is not None


def test_rule_1_without_a_warm_up_the_first_value_has_a_z() -> None:
    assert DeltaZ(setup(scale="ewma")).update(START, -3.0).z == -1.0
    assert run(LevelZ(warm_up=2), [1.0, 3.0, 3.0])[2].z == 1.0


def test_rule_1_a_scale_of_nothing_is_none_and_never_zero() -> None:
    found = run(LevelZ(warm_up=2), [5.0, 5.0, 5.0, 6.0, 5.0])
    assert [(z.z, z.why) for z in found[2:4]] == [(None, "flat")] * 2
    assert found[4].z is not None
    assert [(z.z, z.why, z.scale) for z in run(DeltaZ(setup()), [0.0, 0.0])] == [(None, "flat", 0.0)] * 2
    assert run(LevelZ(warm_up=2), [1e9, 1e9 + 1e-6, 1e9 + 2e-6])[2].why == "flat"
    assert run(LevelZ(warm_up=2, ddof=1), [1.0])[0].why == "warm-up"


def test_rule_2_the_value_itself_is_not_in_its_baseline() -> None:
    rows = [1.0, 2.0, 4.0, 1e6]
    found = run(LevelZ(window=4, warm_up=3), rows)[3]
    assert found.z == near((1e6 - np.mean(rows[:3])) / np.std(rows[:3]), rel=1e-9)
    owned = run(LevelZ(window=4, warm_up=4, own=True), rows)[3]
    assert owned.z == near((1e6 - np.mean(rows)) / np.std(rows), rel=1e-9)


def test_rule_3_a_half_life_is_in_seconds_and_works() -> None:
    late = {}
    for half_life in (60.0, 600.0):
        measure = DeltaZ(setup(scale="ewma", per="second", half_life=half_life))
        late[half_life] = run(measure, [1.0, 3.0], step=60 * SECOND)[1].scale
    assert late == {60.0: near(2.0, rel=1e-12), 600.0: near(1 + 2 * 0.06696700846319259, rel=1e-12)}


def test_rule_3_per_update_time_is_nothing() -> None:
    one, other = (run(DeltaZ(setup(scale="ewma")), DELTAS, step=step) for step in (SECOND, 999 * SECOND))
    assert one == other


@given(st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 400_000)), min_size=2, max_size=50), st.floats(1, 900))
def test_rule_3_an_average_is_the_same_however_time_is_cut(rows: list[tuple[float, int]], half_life: float) -> None:
    """Twice the time and twice the half-life: the same scale."""
    found = []
    for factor in (1, 2):
        measure, ts = DeltaZ(setup(scale="ewma", per="second", half_life=half_life * factor)), START
        scales = []
        for delta, step in rows:
            ts += step * 1_000_000 * factor
            scales.append(measure.update(ts, delta).scale)
        found.append(scales)
    assert found[0] == near(found[1], rel=1e-9)


def test_rule_4_a_step_is_at_least_a_millisecond() -> None:
    for step in (0, 1, 1_000_000, -5 * SECOND):
        measure = DeltaZ(setup(scale="ewma", per="second", half_life=1.0))
        measure.update(START, 1.0)
        assert measure.update(START + step, 3.0).scale == near(1 + 2 * alpha(0.001, 1.0), rel=1e-12)


def test_rule_4_steps_are_from_the_latest_time() -> None:
    measure = DeltaZ(setup(scale="ewma", per="second", half_life=1.0, holds=((4.0, 2),)))
    for ts in (START, START - 10 * SECOND):
        measure.update(ts, 1.0)
    found = measure.update(START + SECOND, 3.0)
    assert (found.scale, found.why) == (near(2.0, rel=1e-12), "")


def test_rule_5_floor_used_says_what_the_scale_is() -> None:
    for found in run(DeltaZ(setup(mad_multiplier=1.0)), [trade.size for trade in trades(300)]):
        if found.scale is not None and found.sigma_floor is not None:
            assert found.floor_used is (found.scale == found.sigma_floor)


def test_rule_5_a_mad_of_zero_is_no_floor() -> None:
    found = run(DeltaZ(setup()), [0.5] * 9 + [2.0])
    assert [z.sigma_floor for z in found] == [0.0] * 10
    assert not any(z.floor_used for z in found)
    assert found[-1].z is not None


def test_rule_5_too_few_values_give_no_floor() -> None:
    found = run(DeltaZ(setup(mad_least=4)), DELTAS)
    assert [z.sigma_floor is None for z in found] == [True] * 3 + [False] * 2


def test_rule_5_below_the_least_there_is_no_z() -> None:
    assert run(DeltaZ(setup(least=10.0)), DELTAS)[-1].why == "flat"
    assert run(LevelZ(warm_up=4, least=10.0), LEVELS)[-1] == Z(scale=near(1.3693063937629153), why="flat")


def test_rule_6_both_are_given() -> None:
    found = run(DeltaZ(setup(scale="ewma", limit=0.5)), DELTAS)[-1]
    assert (found.z_raw, found.z) == (near(-0.6427019338227469, rel=1e-9), -0.5)
    found = run(LevelZ(warm_up=4, limit=0.5), LEVELS)[-1]
    assert (found.z_raw, found.z) == (near(0.7302967433402214, rel=1e-9), 0.5)


def test_rule_6_the_share_that_was_clipped() -> None:
    assert clip_share([]) is None
    assert clip_share([(None, None)]) is None
    assert clip_share([(9.0, 8.0), (1.0, 1.0), (None, None), (-9.0, -8.0)]) == near(2 / 3)


@pytest.mark.parametrize(("step", "held"), [(4.0, 0), (4.001, 2), (5.0, 2), (5.001, 3), (60.0, 3)])
def test_rule_7_after_a_gap_values_are_held(step: float, held: int) -> None:
    times = [START + n * SECOND for n in range(5)]
    times += [times[-1] + int(step * SECOND) + n * SECOND for n in range(6)]
    for measure in (DeltaZ(setup(holds=((4.0, 2), (5.0, 3)))), LevelZ(warm_up=2, holds=((4.0, 2), (5.0, 3)))):
        found = [measure.update(ts, (-1.0) ** n * (n + 1)) for n, ts in enumerate(times)]
        assert [z.why for z in found[2:]] == [""] * 3 + ["hold"] * held + [""] * (6 - held)


def test_rule_7_what_is_held_counts_for_the_scale() -> None:
    one, other = DeltaZ(setup(per="second")), DeltaZ(setup(per="second"))
    one.hold(2)
    for held, plain in zip(run(one, DELTAS), run(other, DELTAS), strict=True):
        assert held.scale == plain.scale


def test_rule_7_a_hold_and_a_reset_by_the_caller() -> None:
    for measure in (DeltaZ(setup()), LevelZ(warm_up=1)):
        run(measure, DELTAS)
        measure.hold(2)
        assert [z.why for z in run(measure, DELTAS)][:3] == ["hold", "hold", ""]
        measure.reset()
        assert run(measure, DELTAS) == run(type(measure)(measure.setup) if isinstance(measure, DeltaZ) else LevelZ(warm_up=1), DELTAS)  # type: ignore[arg-type]


def test_activity_widens_the_scale_of_a_quiet_market() -> None:
    busy, quiet = (run(DeltaZ(setup(activity=Activity())), DELTAS * 60, step=step) for step in (SECOND // 10, 30 * SECOND))
    plain = run(DeltaZ(setup()), DELTAS * 60)
    assert busy[-1] == plain[-1]
    assert quiet[-1].sigma_floor == near((plain[-1].sigma_floor or 0.0) * (1.5 / 0.2) ** 0.7, rel=1e-9)


def test_activity_counts_the_last_minute() -> None:
    setting = setup(activity=Activity(), mad_multiplier=0.0)
    for count in (1, 30, 89, 90, 200):
        measure = DeltaZ(setting)
        for _ in range(5):
            measure.update(START - 61 * SECOND, 5.0)
        for _ in range(count):
            found = measure.update(START, 1.0)
        slow, fast = (DeltaZ(setup(scale="ewma", half_life=half)) for half in (4, 1))
        for value in [5.0] * 5 + [1.0] * count:
            ends = [one.update(START, value).scale or 0.0 for one in (fast, slow)]
        share = 0.2 * min(1.0, (count / 60 if count > 1 else 0.0) / 1.5)
        if count == 1:
            share = 0.0
        assert found.scale == near(share * ends[0] + (1 - share) * ends[1], rel=1e-12)


def test_unit_makes_the_z_of_normal_values_have_variance_one() -> None:
    rows = np.random.default_rng(5).normal(0, 7.0, 20_000).tolist()
    found = [z.z_raw for z in run(DeltaZ(setup(scale="ewma", half_life=2000, unit=True, warm_up=5000)), rows) if z.z_raw is not None]
    assert float(np.std(found)) == near(1.0, abs=0.03)
    plain = run(DeltaZ(setup(scale="ewma")), DELTAS)[-1].scale
    assert run(DeltaZ(setup(scale="ewma", unit=True)), DELTAS)[-1].scale == near(plain * NORMAL_MEAN, rel=1e-12)  # type: ignore[operator]


@pytest.mark.parametrize(("fast", "slow", "share"), [(0.2, 0.7, 0.2 / 0.9), (-3.0, 0.5, 0.0), (7.0, 7.0, 0.5), (1.0, None, 1.0)])
def test_weights_are_clipped_and_have_the_sum_one(fast: float, slow: float | None, share: float) -> None:
    ends = [run(DeltaZ(setup(scale="ewma", half_life=half)), DELTAS)[-1].scale or 0.0 for half in (1, 4)]
    found = run(DeltaZ(setup(fast_weight=fast, slow_weight=slow, mad_multiplier=0.0)), DELTAS)[-1].scale
    assert found == near(share * ends[0] + (1 - share) * ends[1], rel=1e-12)


def test_a_window_that_never_warms_up_is_refused() -> None:
    for window, warm_up in ((5, None), (300, 300), (1, 0)):
        with pytest.raises(ValueError, match=f"window {window}: the baseline has {window - 1} values"):
            LevelZ(window, warm_up)
    LevelZ(300, 300, own=True)


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="fast_weight and slow_weight"):
        DeltaZ(DeltaSetup(fast_weight=0.0, slow_weight=0.0))
