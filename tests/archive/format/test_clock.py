"""Tape time never goes back, whatever is done to the wall clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.clock import TapeClock

SECOND = 1_000_000_000


class Clocks:
    """A wall clock and a monotonic one that the test moves."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000 * SECOND
        self.mono = 5 * SECOND

    def pass_(self, ns: int) -> None:
        self.wall += ns
        self.mono += ns

    def clock(self, after: int = 0) -> TapeClock:
        return TapeClock(lambda: self.wall, lambda: self.mono, after)


def test_follows_the_wall_clock() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.pass_(10 * SECOND)
    assert clock.now() == clocks.wall
    assert clock.check() is None


def test_a_step_forward_is_followed_and_said() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.wall += 3600 * SECOND
    before = clock.now()
    assert clock.check() == 3600 * SECOND - 1 or clock.check() is None
    clocks.pass_(SECOND)
    assert clock.now() - clocks.wall == 0
    assert clock.now() > before


def test_a_step_back_is_slewed_until_both_agree() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.wall -= 5 * SECOND
    seen = []
    for _ in range(70):
        clocks.pass_(SECOND)
        offset = clock.check()
        seen.append(offset)
        if offset is None:
            break
    assert seen[0] is not None and -5 * SECOND <= seen[0] < -4 * SECOND
    assert seen[-1] is None and 40 <= len(seen) <= 60
    assert abs(clock.now() - clocks.wall) < SECOND // 5


@pytest.mark.parametrize("behind", [1, 40_000_000, 99_999_999, 130_000_000, 5 * SECOND, 3600 * SECOND])
def test_what_the_clock_is_ahead_by_is_given_back_to_the_last_ns_and_not_more(behind: int) -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.pass_(SECOND)
    clock.check()
    clocks.wall -= behind
    seconds = behind * 10 // SECOND + 3
    for _ in range(seconds):
        clocks.pass_(SECOND)
        offset = clock.check()
        assert offset is None or -behind <= offset < -100_000_000
        assert -behind - 1 <= clock.offset_ns <= 0
    assert offset is None and clock.offset_ns == 0
    clocks.pass_(SECOND // 2)
    assert clock.now() == clocks.wall


def test_a_wall_clock_that_is_slewed_is_followed_closely() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    for _ in range(300):
        clocks.pass_(SECOND)
        clocks.wall -= 500_000  # what NTP does: 500 ppm
        clock.check()
        assert abs(clock.now() - clocks.wall) <= 1_000_000


def test_a_run_that_starts_behind_its_tape_goes_on_from_it() -> None:
    clocks = Clocks()
    last = clocks.wall + 3600 * SECOND
    clock = clocks.clock(after=last)
    assert clock.now() > last
    clocks.pass_(10 * SECOND)
    assert last + 9 * SECOND <= clock.now() < last + 10 * SECOND


@given(st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(-3 * SECOND, 3 * SECOND), st.booleans()), max_size=60))
def test_never_goes_back_and_never_repeats(moves: list[tuple[int, int, bool]]) -> None:
    clocks = Clocks()
    clock = clocks.clock()
    last = 0
    for passed, step, check in moves:
        clocks.pass_(passed)
        clocks.wall += step
        if check:
            clock.check()
        for _ in range(3):
            t = clock.now()
            assert t > last
            last = t
