"""The pure judgements of the runtime: quiet or dead, when to try again, how much weight is left."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format.errors import RateLimited, Refused, RemoteError, SettingsError
from tape_collectors.runtime.backoff import CAP_S, delays
from tape_collectors.runtime.budget import MARGIN, Budget
from tape_collectors.runtime.retry import worth_retry
from tape_collectors.runtime.watchdog import Silent, Watchdog
from tape_collectors.venues.protocol import Limits, Stream

SECOND = 10**9


def day(rate: float, seed: int, seconds: int, stop: int = 0) -> list[tuple[int, Silent]]:
    """A stream that speaks at random, ``rate`` times a second on average, judged once a second."""
    chance = random.Random(seed)
    stream, dog, found = Stream("s", "S", "c"), Watchdog(), []
    stream.requested_t = 1
    due = chance.expovariate(rate)
    for second in range(1, seconds):
        while due < second and not (stop and due >= stop):
            stream.frames += 1
            stream.first_t = stream.first_t or int(due * SECOND) + 1
            stream.last_t = int(due * SECOND)
            due += chance.expovariate(rate)
        found += [(second, verdict) for verdict in dog.judge([stream], second * SECOND)]
    return found


@pytest.mark.parametrize("rate", [50.0, 2.0, 0.3, 0.02])
def test_quiet_is_not_dead(rate: float) -> None:
    alarms = [verdict for seed in range(3) for _, verdict in day(rate, seed, 40_000) if not verdict.first]
    assert len(alarms) <= 2, "at most one false alarm in a day and a half of each stream"


@pytest.mark.parametrize(("rate", "bound"), [(50.0, 12), (2.0, 60), (0.3, 240)])
def test_a_stream_that_stops_is_found(rate: float, bound: int) -> None:
    stop = 20_000
    found = [second for second, _ in day(rate, 4, stop + 2000, stop) if second > stop]
    assert found and found[0] <= stop + bound


def test_the_first_frame_has_a_deadline_and_sparse_streams_have_none() -> None:
    dense, sparse, dog = Stream("d", "D", "depth"), Stream("f", "F", "forceOrder", dense=False), Watchdog()
    dense.requested_t = sparse.requested_t = 1
    verdicts = [verdict for second in range(1, 25) for verdict in dog.judge([dense, sparse], second * SECOND)]
    assert [(verdict.name, verdict.first) for verdict in verdicts] == [("d", True)] * 2


@given(st.integers(0, 10**6))
@settings(max_examples=50)
def test_delays_are_endless_jittered_and_capped(seed: int) -> None:
    waits = delays(chance=random.Random(seed))
    first = [next(waits) for _ in range(40)]
    assert first[0] <= 0.25 and all(0 <= wait <= CAP_S for wait in first) and CAP_S == 60.0
    assert sum(first[20:]) > 20 * CAP_S / 4 * 0.9 and len(set(first)) > 30


def test_what_is_worth_another_try() -> None:
    assert worth_retry(OSError("reset")) == 0 and worth_retry(TimeoutError()) == 0 and worth_retry(RemoteError("x")) == 0
    assert worth_retry(RateLimited("slow down", 7.0)) == 7.0
    assert worth_retry(Refused("no")) is None and worth_retry(SettingsError("x")) is None and worth_retry(ValueError("bug")) is None


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 300)), max_size=60))
@settings(max_examples=200)
def test_no_interval_ever_holds_more_than_the_budget(asked: list[tuple[float, int]]) -> None:
    budget, now, used = Budget(Limits(1000, 60.0)), 0.0, []
    for pause, weight in asked:
        now += pause
        while wait := budget.wait(now, weight):
            now += wait
        budget.take(now, weight)
        used.append((now, weight))
    for end, _ in used:
        assert sum(weight for at, weight in used if end - 60.0 < at <= end) <= 1000 * MARGIN


def test_the_venues_own_count_and_its_bans_are_obeyed() -> None:
    budget = Budget(Limits(1000, 60.0))
    budget.told(0.0, 880)
    assert budget.wait(1.0, 50) > 50
    budget.block(100.0, 30.0)
    assert budget.wait(110.0, 1) == 20.0 and budget.wait(131.0, 1) == 0.0
    assert budget.eta_s(600 * 20) == 13 * 60.0, "600 snapshots of weight 20 at 900 a minute: the first minute at once, 13 more"
