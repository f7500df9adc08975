"""Minutes without rows: found where they are, head and tail included, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_monitor.quality.completeness import completeness
from tape_monitor.quality.spans import MINUTE, Span, around, empty_minutes, minutes, runs

HOUR = Span(0, 60 * MINUTE)


def times(*of: int) -> np.ndarray:
    """One row in the middle of each minute."""
    return np.array([minute * MINUTE + MINUTE // 2 for minute in of], np.int64)


@pytest.mark.parametrize("filled", [{0, 1, 2, 4, 5, 6, 7, 9}, set(range(8)), set(range(2, 10))])
def test_two_of_ten_minutes_are_empty_wherever_they_are(filled: set[int]) -> None:
    rows = times(*filled)
    found = completeness("S", "prices", rows, rows, [], Span(0, 10 * MINUTE))
    assert (found.minutes, found.empty, found.empty_rate) == (10, 2, 0.2)


def test_a_stream_without_rows_is_all_empty() -> None:
    none = times()
    found = completeness("S", "book", none, none, [], HOUR)
    assert (found.rows, found.empty, found.rate) == (0, 60, 1.0)
    assert [(hole.start, hole.end, hole.why) for hole in found.holes] == [(HOUR.start, HOUR.end, "unproven")]


def test_parts_of_minutes_at_the_ends_are_not_judged() -> None:
    window = Span(MINUTE // 2, 3 * MINUTE + MINUTE // 2)
    assert minutes(window) == (1, 3)
    assert empty_minutes(times(0, 1, 3), window).tolist() == [2]
    assert completeness("S", "ofi", times(0), times(0), [], Span(5, 10)).minutes == 0


def test_minutes_in_which_no_id_is_missing_are_quiet_and_do_not_count() -> None:
    rows = times(0, 1, 5, 6, 9)
    broken = [Span(int(rows[3]), int(rows[4]))]
    found = completeness("S", "prices", rows, rows, broken, Span(0, 12 * MINUTE))
    assert [(hole.minutes, hole.why) for hole in found.holes] == [(3, "quiet"), (2, "missed"), (2, "unproven")]
    assert (found.empty, found.quiet) == (7, 3) and found.rate == 4 / 12 and found.empty_rate == 7 / 12


def test_a_derived_kind_without_rows_where_its_source_has_some_is_not_quiet() -> None:
    source, derived = times(*range(10)), times(0, 1, 8, 9)
    found = completeness("S", "cvd", derived, source, [], Span(0, 10 * MINUTE))
    assert [hole.why for hole in found.holes] == ["unproven"] and found.rate == 0.6


@given(st.sets(st.integers(0, 199)), st.integers(0, 59))
def test_random_holes_are_found_exactly(empty: set[int], phase: int) -> None:
    window = Span(1_700_000_040 * 1_000_000_000, 1_700_000_040 * 1_000_000_000 + 200 * MINUTE)
    first = window.start // MINUTE
    filled = sorted(set(range(200)) - empty)
    rows = np.array([(first + minute) * MINUTE + phase * 1_000_000_000 for minute in filled], np.int64)
    found = completeness("S", "prices", rows, rows, [], window)
    planted = {minute for hole in found.holes for minute in range(-(-hole.start // MINUTE), hole.end // MINUTE) if minute - first < 200}
    inside = {minute - first for minute in planted if minute - first not in filled}
    assert inside == empty and sum(hole.minutes for hole in found.holes) == len(empty)
    assert all(other.start >= one.end for one, other in zip(found.holes, found.holes[1:], strict=False))
    for hole in found.holes:
        assert not ((rows > hole.start) & (rows < hole.end)).any()
        assert hole.start == window.start or hole.start in rows
        assert hole.end == window.end or hole.end in rows


@given(st.sets(st.integers(0, 50)))
def test_runs_are_the_numbers(numbers: set[int]) -> None:
    found = runs(np.array(sorted(numbers), np.int64))
    assert {number for first, last in found for number in range(first, last + 1)} == numbers
    assert all(other[0] > one[1] + 1 for one, other in zip(found, found[1:], strict=False))


def test_bounds_are_the_rows_on_both_sides() -> None:
    rows = times(1, 4)
    assert around(rows, Span(2 * MINUTE, 4 * MINUTE), HOUR) == Span(int(rows[0]), int(rows[1]))
    assert around(rows, Span(5 * MINUTE, 6 * MINUTE), HOUR) == Span(int(rows[1]), HOUR.end)
    assert around(rows, Span(0, MINUTE), HOUR) == Span(0, int(rows[0]))
