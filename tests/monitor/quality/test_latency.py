"""Latency: quantiles, values below 0, late stretches, and clocks that step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_monitor.quality import latency
from tape_monitor.quality.latency import clock, corrected, spikes
from tape_monitor.quality.spans import MINUTE, Span

SECOND = 1_000_000_000
HOURS = Span(0, 180 * MINUTE)
EVERY = SECOND // 2


def stream(seed: int, window: Span = HOURS) -> tuple[np.ndarray, np.ndarray]:
    """Times and latencies of a healthy line: 15 ms and a tail."""
    random = np.random.default_rng(seed)
    times = np.arange(window.start + seed, window.end, EVERY)
    return times, 15.0 + np.minimum(random.exponential(8.0, len(times)), 60.0)


def test_quantiles_are_numpys() -> None:
    times, values = np.arange(5) * SECOND, np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    found = latency.latency("S", "prices", times, values, clock([(times, values)], Span(0, MINUTE)))
    assert (found.p50, found.p99) == (30.0, 49.6) and found.rows == 5


def test_without_values_nothing_is_known() -> None:
    times, values = np.arange(3) * SECOND, np.full(3, np.nan)
    found = latency.latency("S", "prices", times, values, clock([(times, values)], Span(0, MINUTE)))
    assert (found.p50, found.p99, found.unknown) == (None, None, 3)
    assert clock([], Span(0, MINUTE)).steps == []


def test_values_below_0_are_kept_and_tell_that_the_clock_is_behind() -> None:
    times, values = stream(1)
    of = clock([(times, values - 40.0)], HOURS)
    found = latency.latency("S", "prices", times, values - 40.0, of)
    assert found.negative > len(values) * 0.8 and found.lowest is not None and found.lowest < -24.9
    assert of.behind_ms == pytest.approx(25.0, abs=0.1) and found.raw_p50 == pytest.approx(-19.5, abs=0.3)
    assert found.p50 == pytest.approx(5.5, abs=0.3)


def test_a_healthy_line_has_no_step_and_no_late_stretch() -> None:
    rows = [stream(seed) for seed in range(1, 5)]
    of = clock(rows, HOURS)
    assert of.steps == [] and of.shifts == [0.0] and of.drift_ms is not None and of.drift_ms < 1
    assert not [one for times, values in rows for one in spikes("S", "prices", times, values, 120.0, of)]


@settings(max_examples=40, deadline=None)
@given(st.integers(6 * 60, 174 * 60), st.sampled_from([-5000.0, -350.0, 350.0, 5000.0]), st.integers(0, 999))
def test_a_step_is_found_where_it_is_and_corrected_for(second: int, size: float, ms: int) -> None:
    at = second * SECOND + ms * 1_000_000
    rows = [stream(seed) for seed in (1, 2)]
    moved = [(times, values + np.where(times >= at, size, 0.0) + 6000.0) for times, values in rows]
    of = clock(moved, HOURS)
    assert len(of.steps) == 1 and abs(of.steps[0].size_ms - size) < 5
    assert 0 <= of.steps[0].at - at < 2 * EVERY
    right = [corrected(times, values, of) for times, values in moved]
    assert all(float(values.max() - values.min()) < 70 for values in right)
    # The way is no longer than where it looks shortest, however long it looked so.
    least = 6000.0 + min(size, 0.0)
    assert float(np.median(right[0])) == pytest.approx(least + 20.5, abs=2)
    assert not [one for (times, _), values in zip(moved, right, strict=True) for one in spikes("S", "p", times, values, least + 120, of)]


@pytest.mark.parametrize("second", [600, 5400, 10_000])
@pytest.mark.parametrize(
    "before, after", [(0.0, 430.0), (430.0, 0.0), (0.0, -430.0), (-430.0, 0.0), (0.0, -60.0), (-5.0, 430.0), (430.0, -5.0)]
)
def test_a_clock_that_was_set_right_or_wrong_for_however_long(second: int, before: float, after: float) -> None:
    rows = [stream(seed) for seed in (1, 2)]
    moved = [(times, values + np.where(times >= second * SECOND, after, before)) for times, values in rows]
    of = clock(moved, HOURS)
    for (times, values), (_, true) in zip(moved, rows, strict=True):
        assert float(np.abs(corrected(times, values, of) - true).max()) < 6.0


@pytest.mark.parametrize("before, after", [(0.0, 300.0), (500.0, 0.0), (300.0, -300.0)])
def test_what_only_one_stream_shows_is_no_step_of_the_clock(before: float, after: float) -> None:
    times, values = stream(1)
    other, calm = stream(2)
    of = clock([(times, values + np.where(times > 90 * MINUTE, after, before)), (other, calm + 200.0)], HOURS)
    assert of.steps == []


def test_a_clock_that_drifts_is_told() -> None:
    times, values = stream(1)
    of = clock([(times, values + times / HOURS.end * 400.0)], HOURS)
    assert of.steps == [] and of.drift_ms == pytest.approx(267, abs=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(3, 150)), min_size=0, max_size=6, unique_by=lambda one: one[0]))
def test_random_late_stretches_are_found_exactly(planted: list[tuple[int, int]]) -> None:
    rows = [stream(seed) for seed in (1, 2)]
    late = [(ten * 10 * MINUTE + 5 * MINUTE, ten * 10 * MINUTE + 5 * MINUTE + length * SECOND) for ten, length in sorted(planted)]
    for times, values in rows:
        for begin, end in late:
            values[(times >= begin) & (times < end)] += 300.0
    of = clock(rows, HOURS)
    assert of.steps == []
    for times, values in rows:
        found = spikes("S", "prices", times, values, 120.0, of)
        assert [(abs(one.start - begin) < SECOND, abs(one.end - end) < SECOND) for one, (begin, end) in zip(found, late, strict=True)] == [
            (True, True)
        ] * len(late)


def test_a_late_row_or_a_late_moment_is_no_stretch() -> None:
    times, values = stream(1)
    values[::50] = 500.0
    values[1000:1004] = 500.0
    moment = np.full(20, times[2000])
    times, values = np.insert(times, 2000, moment), np.insert(values, 2000, np.full(20, 500.0))
    assert spikes("S", "prices", times, values, 120.0, clock([(times, values)], HOURS)) == []
