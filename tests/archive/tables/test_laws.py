"""The laws of what a table should have, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.errors import SettingsError
from tape_archive.tables.laws import (
    ALWAYS,
    SECOND,
    Found,
    Gap,
    Grid,
    Hole,
    Ids,
    Life,
    Times,
    age,
    candles,
    found_in,
    funding,
    interval_ns,
    joined,
    polled,
)

MINUTE = 60 * SECOND


def times(gaps: list[Gap], step: int) -> list[int]:
    return [time for gap in gaps for time in range(gap.start, gap.end, step)]


def array(values: object) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(sorted(values), np.int64)  # type: ignore[call-overload,no-any-return]


SMALL = st.integers(0, 40)


@given(st.sets(SMALL), SMALL, SMALL, st.none() | st.integers(0, 400), st.none() | st.integers(0, 400), st.integers(0, 9), st.integers(0, 9))
def test_candles_against_brute_force(
    there: set[int], start: int, end: int, listed: int | None, delisted: int | None, early: int, late: int
) -> None:
    law, step = Grid(10, due=10, whole=False), 10
    start, end = start * step + early, end * step + late
    gaps = law.gaps(found_in(law.numbers(array(n * step for n in there))), start, end, Life(listed, delisted))
    wanted = [
        g
        for g in range(0, 600, step)
        if start <= g
        and g + step <= end
        and (listed is None or g + step > listed)
        and (delisted is None or g < delisted)
        and g // step not in there
    ]
    assert times(gaps, step) == wanted
    assert all(gap.rows == (gap.end - gap.start) // step for gap in gaps)
    assert all(one.end < other.start for one, other in zip(gaps, gaps[1:], strict=False)), "side by side is one gap"


@given(
    st.lists(st.integers(0, 400)),
    st.integers(0, 400),
    st.integers(0, 400),
    st.none() | st.integers(0, 400),
    st.none() | st.integers(0, 400),
)
def test_polled_against_brute_force(there: list[int], start: int, end: int, listed: int | None, delisted: int | None) -> None:
    law = Grid(10, slack=9, due=10)
    gaps = law.gaps(found_in(law.numbers(array(there))), start, end, Life(listed, delisted))
    low = max(start, listed or 0)
    high = min(end, 500 if delisted is None else delisted)
    assert times(gaps, 10) == [g for g in range(0, 500, 10) if low <= g and g + 10 <= high and not any(g <= t < g + 10 for t in there)]


@given(st.lists(st.integers(0, 400)), st.integers(0, 400), st.integers(0, 400))
def test_funding_against_brute_force(there: list[int], start: int, end: int) -> None:
    """A row up to three late; one that is later than that is not the row of its time."""
    law = Grid(50, slack=3, due=4)
    gaps = law.gaps(found_in(law.numbers(array(there))), start, end, ALWAYS)
    assert times(gaps, 50) == [g for g in range(0, 500, 50) if start <= g and g + 4 <= end and not any(g <= t <= g + 3 for t in there)]


@given(st.sets(st.integers(1, 60), min_size=1), st.none() | st.integers(0, 5))
def test_ids_against_brute_force(there: set[int], first: int | None) -> None:
    numbers = array(there)
    gaps = Ids(first=first).gaps(found_in(numbers, numbers * 7), 0, 1000, ALWAYS)
    low = min(there) if first is None else min(first, min(there))
    assert [n for gap in gaps for n in range(gap.first or 0, (gap.last or 0) + 1)] == [n for n in range(low, max(there)) if n not in there]
    assert all(gap.rows == (gap.last or 0) - (gap.first or 0) + 1 for gap in gaps)
    for gap in gaps:
        assert gap.end == ((gap.last or 0) + 1) * 7
        assert gap.start == ((gap.first or 0) - 1) * 7 or (gap.first == first and gap.start == 0)


@given(st.lists(st.sets(st.integers(0, 60)), max_size=5))
def test_pieces_joined_are_the_whole(pieces: list[set[int]]) -> None:
    """Also pieces that overlap, in any order."""
    whole = sorted(set().union(*pieces))
    found = joined(found_in(array(piece), array(piece) * 3) for piece in pieces)
    assert found == found_in(np.array(whole, np.int64), np.array(whole, np.int64) * 3)


@given(st.lists(st.integers(0, 30)))
def test_order_and_doubles_do_not_matter(values: list[int]) -> None:
    numbers = np.array(values, np.int64)
    assert found_in(numbers, numbers) == found_in(array(set(values)), array(set(values)))


@given(
    st.sets(st.integers(0, 400), max_size=30), st.lists(st.integers(0, 400)), st.integers(0, 400), st.integers(0, 400), st.integers(0, 3)
)
def test_times_against_brute_force(wanted: set[int], there: list[int], start: int, end: int, slack: int) -> None:
    points = sorted(point for point in wanted if not any(0 < point - other <= slack for other in wanted))
    law = Times(tuple(points), slack)
    gaps = law.gaps(found_in(law.numbers(array(there))), start, end, ALWAYS)
    assert [gap.start for gap in gaps] == [
        point for point in points if start <= point and point + max(slack, 1) <= end and not any(0 <= t - point <= slack for t in there)
    ]


def test_the_laws_of_the_tables() -> None:
    now = 1_768_003_200 * SECOND
    minute = candles("1m")
    # The candle that is open is not missing; of a listing in the middle of a minute, that minute has a candle.
    assert times(minute.gaps(None, now, now + 3 * MINUTE + 1, ALWAYS), MINUTE) == [now, now + MINUTE, now + 2 * MINUTE]
    assert minute.gaps(None, now, now + MINUTE - 1, ALWAYS) == []
    assert minute.gaps(None, now, now + 3 * MINUTE, Life(now + 90 * SECOND, now + 2 * MINUTE)) == [Gap(now + MINUTE, now + 2 * MINUTE, 1)]
    # One that is missing between two is seen.
    have = minute.numbers(np.array([now, now + 2 * MINUTE], np.int64))
    assert minute.gaps(found_in(have), now, now + 3 * MINUTE, ALWAYS) == [Gap(now + MINUTE, now + 2 * MINUTE, 1)]
    # Weeks begin on Monday: 2026-01-05 and 2026-01-12.
    assert candles("1w").gaps(None, now, now + 14 * 86_400 * SECOND, ALWAYS)[0].start == 1_768_176_000 * SECOND
    assert len(funding().numbers(np.array([now + 15_000_000, now + 61 * SECOND], np.int64))) == 1
    assert polled(5).gaps(None, now, now + 12 * SECOND, ALWAYS) == [Gap(now, now + 10 * SECOND, 2)]
    assert Ids().gaps(None, 0, 1, ALWAYS) == [] and Ids().gaps(Found(5, 9, 50, 90, [Hole(6, 8, 50, 80)]), 0, 100, ALWAYS) == [
        Gap(50, 80, 2, 6, 7)
    ]
    assert [age(Gap(0, end, 1), 100 * 3600 * SECOND) for end in (99 * 3600 * SECOND + 1, 99 * 3600 * SECOND, 76 * 3600 * SECOND)] == [
        "urgent",
        "recent",
        "historical",
    ]


@pytest.mark.parametrize("wrong", ["", "m", "0m", "1x", "-1m", "1.5h"])
def test_what_is_no_interval(wrong: str) -> None:
    with pytest.raises(SettingsError, match="no interval"):
        interval_ns(wrong)
