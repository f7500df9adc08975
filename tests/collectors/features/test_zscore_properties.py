"""z-scores: pandas and scipy beside them, and what must always hold."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from tape_collectors.market.features.rolling import NORMAL_MAD
from tape_collectors.market.features.zscore import DeltaSetup, DeltaZ, LevelZ, Z
from tests.collectors.features.streams import SECOND, START

near = pytest.approx
PLAIN: dict[str, Any] = {"per": "update", "half_life": 4, "fast_half_life": 1, "warm_up": 1, "mad_least": 1, "holds": (), "activity": None}


def run(measure: DeltaZ | LevelZ, values: Any, step: int = SECOND) -> list[Z]:
    return [measure.update(START + number * step, value) for number, value in enumerate(values)]


def setup(**changes: Any) -> DeltaSetup:
    return DeltaSetup(**{**PLAIN, **changes})


# -- beside pandas and scipy --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-1000, 1000).map(lambda n: n / 8), min_size=8, max_size=120), st.integers(4, 40), st.integers(0, 1))
def test_level_equals_pandas_rolling(rows: list[float], window: int, ddof: int) -> None:
    series = pd.Series(rows)
    rolling = series.rolling(window - 1, min_periods=max(2, window // 3))
    expected = (series - rolling.mean().shift(1)) / rolling.std(ddof=ddof).shift(1)
    for number, found in enumerate(run(LevelZ(window=window, warm_up=max(2, window // 3), ddof=ddof), rows)):
        if found.z is not None:
            assert found.z == near(expected[number], rel=1e-7, abs=1e-7)
        elif found.why == "warm-up":
            assert math.isnan(expected[number])


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=80), st.floats(0.5, 500), st.floats(0.5, 500), st.floats(0, 1))
def test_hybrid_equals_pandas_and_scipy(rows: list[float], fast: float, slow: float, weight: float) -> None:
    found = run(DeltaZ(setup(fast_half_life=fast, half_life=slow, fast_weight=weight, mad_window=20)), rows)
    sizes = pd.Series(rows).abs()
    mix = weight * sizes.ewm(halflife=fast, adjust=False).mean() + (1 - weight) * sizes.ewm(halflife=slow, adjust=False).mean()
    for number, z in enumerate(found):
        floor = 1.8 * NORMAL_MAD * float(median_abs_deviation(rows[max(0, number - 19) : number + 1], scale=1.0))
        assert z.scale == near(max(mix[number], floor), rel=1e-9, abs=1e-9)
        if z.z_raw is not None and z.scale is not None:
            assert z.z_raw == rows[number] / z.scale


# -- what must always hold --------------------------------------------------------------------------------------------------------

deltas = st.lists(st.integers(-400, 400).map(lambda n: n / 4), min_size=1, max_size=90)


@given(deltas, st.integers(-3, 12))
def test_a_z_of_changes_has_no_unit(rows: list[float], power: int) -> None:
    """Powers of two: exact."""
    one, other = run(DeltaZ(setup()), rows), run(DeltaZ(setup()), [value * 2.0**power for value in rows])
    assert [(z.z_raw, z.z, z.floor_used, z.why) for z in one] == [(z.z_raw, z.z, z.floor_used, z.why) for z in other]


@given(deltas, st.floats(0.01, 1000))
def test_a_z_of_changes_in_any_unit(rows: list[float], scale: float) -> None:
    for one, other in zip(run(DeltaZ(setup()), rows), run(DeltaZ(setup()), [value * scale for value in rows]), strict=True):
        assert other.z is None if one.z is None else other.z == near(one.z, rel=1e-9, abs=1e-12)


@given(deltas, st.floats(0.01, 1000), st.floats(-1e4, 1e4))
def test_a_z_of_levels_has_neither_unit_nor_origin(rows: list[float], scale: float, shift: float) -> None:
    other = run(LevelZ(window=30, warm_up=5), [value * scale + shift for value in rows])
    for one, moved in zip(run(LevelZ(window=30, warm_up=5), rows), other, strict=True):
        if one.why == moved.why == "" and moved.scale is not None and moved.scale > 1e-3:
            assert moved.z == near(one.z, rel=1e-5, abs=1e-5)


@given(deltas)
def test_who_sells_where_others_bought_has_the_opposite_z(rows: list[float]) -> None:
    for one, other in zip(run(DeltaZ(setup()), rows), run(DeltaZ(setup()), [-value for value in rows]), strict=True):
        assert other.z == (None if one.z is None else -one.z)


@given(deltas, st.floats(0.1, 8))
def test_no_z_is_beyond_its_limit(rows: list[float], limit: float) -> None:
    for z in run(DeltaZ(setup(limit=limit)), rows):
        if z.z is not None and z.z_raw is not None:
            assert abs(z.z) <= limit
            assert z.z == z.z_raw or abs(z.z_raw) > limit


@given(deltas, deltas)
def test_after_reset_it_is_a_fresh_instance(before: list[float], after: list[float]) -> None:
    assume(after)
    for used, fresh in ((DeltaZ(), DeltaZ()), (DeltaZ(setup()), DeltaZ(setup())), (LevelZ(warm_up=3), LevelZ(warm_up=3))):
        run(used, before)
        used.reset()
        assert run(used, after) == run(fresh, after)
