"""The error budget: 100 errors an hour, then a pause of 300 s. Times are given."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.errors import StoreError
from tape_collectors.runtime.error_budget import HOUR_S, ErrorBudget
from tape_collectors.runtime.supervisor import Supervisor


def test_the_error_past_the_budget_begins_a_pause() -> None:
    budget = ErrorBudget()
    assert [budget.error(at) for at in range(100)] == [False] * 100 and budget.wait(99.0) == 0.0
    assert budget.error(100.0) and budget.wait(100.0) == 300.0 and budget.wait(399.5) == 0.5 and budget.wait(400.0) == 0.0
    assert not budget.error(200.0) and budget.wait(200.0) == 200.0, "an error within the pause does not make it longer"
    assert [budget.error(400.0 + at) for at in range(100)] == [False] * 100, "behind it the count begins anew"
    assert budget.error(500.0) and (budget.total, budget.cooldowns) == (203, 2)


def test_errors_that_are_an_hour_apart_are_forgotten() -> None:
    budget = ErrorBudget(most=2)
    assert not any(budget.error(at * HOUR_S / 2) for at in range(50))
    assert not budget.error(10 * HOUR_S * 10) and not budget.error(10 * HOUR_S * 10 + 1) and budget.error(10 * HOUR_S * 10 + 2)


def test_no_budget_never_pauses() -> None:
    budget = ErrorBudget(most=0)
    assert not any(budget.error(0.0) for _ in range(1000)) and budget.wait(0.0) == 0.0


@given(st.lists(st.floats(0, 20_000), max_size=300), st.integers(1, 20))
def test_outside_of_pauses_there_is_never_more_than_the_budget_in_an_hour(times: list[float], most: int) -> None:
    budget, counted = ErrorBudget(most, 300.0), []
    for now in sorted(times):
        if budget.wait(now) > 0:
            assert not budget.error(now)
            continue
        began = budget.error(now)
        counted = [at for at in counted if at > now - HOUR_S]
        assert began == (len(counted) + 1 > most)
        counted = [] if began else [*counted, now]


@pytest.mark.parametrize("budget", [ErrorBudget(most=3, cooldown_s=3600.0), None])
async def test_a_part_that_fails_too_often_is_left_alone_for_the_pause(monkeypatch: pytest.MonkeyPatch, budget: ErrorBudget | None) -> None:
    monkeypatch.setattr("tape_collectors.runtime.supervisor.delays", lambda: iter(lambda: 0.0, 1.0))
    monkeypatch.setattr("tape_collectors.runtime.supervisor.log", logging.Logger("quiet"))
    supervisor, runs = Supervisor(budget=budget), []

    async def part() -> None:
        runs.append(1)
        raise StoreError("no")

    supervisor.add("part", part)
    for _ in range(200):
        await asyncio.sleep(0)
    await supervisor.end()
    assert len(runs) == 4 if budget is not None else len(runs) > 20
    assert budget is None or budget.cooldowns == 1
