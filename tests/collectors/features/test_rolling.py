"""What is carried on from value to value equals what numpy, scipy and pandas compute anew over the window."""

from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from tape_collectors.market.features.rolling import NORMAL_MAD, NORMAL_MEAN, Ewma, Median, Moments, Sum, alpha

near = pytest.approx
values = st.one_of(st.floats(-1e6, 1e6), st.integers(-5, 5).map(float))
lists = st.lists(values, min_size=1, max_size=80)
windows = st.integers(1, 30)


@pytest.mark.parametrize(
    ("half_life", "expected"),
    [
        (1, 0.5),
        (4, 0.1591035847462855),
        (80, 0.008626912537337939),
        (300, 0.0023078234729766445),
        (600, 0.001154578261969852),
        (1200, 0.0005774558586192358),
    ],
)
def test_oracle_alpha(half_life: float, expected: float) -> None:
    assert alpha(1, half_life) == near(expected, rel=1e-9)


@pytest.mark.parametrize(("elapsed", "expected"), [(0.25, 0.00028876962325730116), (60, 0.06696700846319259)])
def test_oracle_alpha_of_time(elapsed: float, expected: float) -> None:
    assert alpha(elapsed, 600) == near(expected, rel=1e-9)


def test_oracle_constants() -> None:
    assert near(1.2533141373155001, rel=1e-12) == NORMAL_MEAN
    assert near(0.7978845608028654, rel=1e-12) == 1 / NORMAL_MEAN
    assert NORMAL_MAD == 1.4826


def test_oracle_robust_and_classic_z_of_an_outlier() -> None:
    rows, median, moments = (1.0, 2.0, 3.0, 4.0, 100.0), Median(5), Moments(5)
    for value in rows:
        median.push(value)
        moments.push(value)
    middle, deviation, std = median.median(), median.mad(), moments.std()
    assert middle is not None and deviation is not None and std is not None
    assert (middle, deviation) == (3.0, 1.0)
    assert (100 - middle) / (NORMAL_MAD * deviation) == near(65.42560366922973, rel=1e-9)
    assert (100 - moments.mean) / std == near(1.9993428618189626, rel=1e-9)


def test_oracle_median_and_mad() -> None:
    median = Median(300)
    for value in (1.5, -2.0, 0.5, 3.0, -1.0):
        median.push(value)
    assert (median.median(), median.mad()) == (0.5, 1.5)
    assert near(2.2239, rel=1e-9) == NORMAL_MAD * 1.5
    assert near(4.00302, rel=1e-9) == 1.8 * NORMAL_MAD * 1.5


@given(lists, windows)
def test_median_and_mad_of_scipy(rows: list[float], window: int) -> None:
    median = Median(window)
    for number, value in enumerate(rows):
        median.push(value)
        here = rows[max(0, number + 1 - window) : number + 1]
        assert len(median) == len(here)
        assert median.median() == near(float(np.median(here)), rel=1e-12, abs=1e-9)
        assert median.mad() == near(float(median_abs_deviation(here, scale=1.0)), rel=1e-12, abs=1e-9)


@given(lists)
def test_sigma_from_mad_of_scipy(rows: list[float]) -> None:
    median = Median(len(rows))
    for value in rows:
        median.push(value)
    # scipy divides by Φ⁻¹(3/4), of which 1.4826 has five digits.
    assert NORMAL_MAD * (median.mad() or 0.0) == near(float(median_abs_deviation(rows, scale="normal")), rel=2e-6, abs=1e-9)


@given(lists, windows, st.floats(0, 1))
def test_quantile_of_numpy(rows: list[float], window: int, share: float) -> None:
    median = Median(window)
    for value in rows:
        median.push(value)
    assert median.quantile(share) == near(float(np.quantile(rows[-window:], share)), rel=1e-9, abs=1e-7)


def test_nothing_has_no_middle() -> None:
    median = Median(3)
    assert (median.median(), median.mad(), median.quantile(0.5), len(median)) == (None, None, None, 0)


@given(lists, windows, st.integers(0, 1))
def test_moments_of_numpy(rows: list[float], window: int, ddof: int) -> None:
    moments = Moments(window)
    for number, value in enumerate(rows):
        moments.push(value)
        here = rows[max(0, number + 1 - window) : number + 1]
        assert len(moments) == len(here)
        largest = max(map(abs, rows[: number + 1]))
        assert moments.mean == near(float(np.mean(here)), rel=1e-9, abs=1e-9 + 1e-12 * largest)
        found = moments.std(ddof)
        if len(here) <= ddof:
            assert found is None
        else:
            assert found == near(float(np.std(here, ddof=ddof)), rel=1e-6, abs=1e-6 + 1e-7 * largest)


@pytest.mark.parametrize("count", [10_000, 40_000])
def test_moments_of_a_level_that_drifts(count: int) -> None:
    chance = random.Random(3)
    rows, level = [], 1e6
    for _ in range(count):
        level += chance.gauss(0, 1)
        rows.append(level)
    moments, found = Moments(300), []
    for value in rows:
        moments.push(value)
        found.append((moments.mean, moments.std()))
    for end in range(count - 1000, count, 7):
        here = rows[end - 299 : end + 1]
        mean = math.fsum(here) / 300
        assert found[end][0] == near(mean, rel=1e-13)
        assert found[end][1] == near(math.sqrt(math.fsum((value - mean) ** 2 for value in here) / 300), rel=1e-9)


def test_moments_after_a_value_a_million_times_as_large() -> None:
    moments = Moments(50)
    for value in [*range(50), 1e12, *range(50)]:
        moments.push(float(value))
    assert moments.mean == near(24.5, rel=1e-12)
    assert moments.std() == near(float(np.std(range(50))), rel=1e-12)


@given(lists, st.floats(0.1, 500))
def test_ewma_of_pandas(rows: list[float], half_life: float) -> None:
    average = Ewma()
    found = [average.push(value, alpha(1, half_life)) for value in rows]
    assert found == near(pd.Series(rows).ewm(halflife=half_life, adjust=False).mean().tolist(), rel=1e-9, abs=1e-6)


@given(lists, st.floats(0.001, 1))
def test_ewma_of_pandas_by_weight(rows: list[float], weight: float) -> None:
    average = Ewma()
    found = [average.push(value, weight) for value in rows]
    assert found == near(pd.Series(rows).ewm(alpha=weight, adjust=False).mean().tolist(), rel=1e-9, abs=1e-6)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.001, 300)), min_size=1, max_size=60), st.floats(0.5, 900))
def test_ewma_over_time_is_its_closed_form(rows: list[tuple[float, float]], half_life: float) -> None:
    average, ages = Ewma(), [0.0]
    for value, step in rows:
        average.push(value, alpha(step, half_life))
    for _, step in reversed(rows[1:]):
        ages.append(ages[-1] + step)
    left = 0.5 ** (np.array(ages[::-1]) / half_life)
    weights = np.diff(np.concatenate(([0.0], left)))
    assert average.value == near(float(weights @ np.array([value for value, _ in rows])), rel=1e-9, abs=1e-6)
    assert float(weights.sum()) == near(1.0, rel=1e-12)


@given(lists)
def test_sum_of_fsum(rows: list[float]) -> None:
    total, found = Sum(), 0.0
    for value in rows:
        found = total.add(value)
    exact = math.fsum(rows)
    assert abs(found - exact) <= math.ulp(exact) + len(rows) ** 2 * 2.0**-104 * sum(map(abs, rows))


def test_sum_keeps_what_a_plain_sum_loses() -> None:
    total = Sum()
    assert [total.add(value) for value in (1e16, 1.0, -1e16)][-1] == 1.0
    assert 1e16 + 1.0 - 1e16 == 0.0
