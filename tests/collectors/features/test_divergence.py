"""Divergences at pivots and conflicts of two z-scores: oracles to 1e-9, each rule, and a search through the whole series beside them."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.features.divergence import Conflict, Divergence, DivergenceEvent, DivergenceSetup, validity
from tape_collectors.market.features.zscore import SECOND_NS
from tests.collectors.features.streams import START

near = pytest.approx


def setup(**changes: Any) -> DivergenceSetup:
    return DivergenceSetup(**{"side": 1, "nearest": 1, "warm_up": 0, "cooldown_s": 0.0, "scored": False, **changes})


def run(measure: Divergence, prices: Any, indicators: Any, step: int = SECOND_NS, start: int = START) -> list[DivergenceEvent]:
    return [
        event
        for number, row in enumerate(zip(prices, indicators, strict=True))
        for event in measure.update(start + number * step, *row)
    ]  # fmt: skip


def second(ts: int) -> float:
    return (ts - START) / SECOND_NS


# -- oracles ----------------------------------------------------------------------------------------------------------------------


def test_oracle_of_one_pair() -> None:
    measure = Divergence("cvd", setup(nearest=2, scored=True))
    found = run(measure, [10.0, 9.0, 11.0, 8.0, 12.0], [0.0, -1.0, 0.0, -0.2, 0.0])
    assert len(found) == 1
    event = found[0]
    assert (event.kind, event.channel, event.separation) == ("bull_div", "cvd", 2)
    assert event.score == near(67.69444444444444, rel=1e-9)
    assert event.strength == "normal"
    assert (event.prices, event.indicators) == ((9.0, 8.0), (-1.0, -0.2))
    assert (second(event.ts), second(event.pivot_ts), second(event.before_ts)) == (4, 3, 1)


def test_oracle_validity() -> None:
    assert validity(9.0, 8.0, -1.0, -0.2, 2, 1) == near(0.7277777777777779, rel=1e-9)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((10.0, 10.0, 1.0, 1.0, 3, 2), 0.375),
        ((10.0, 10.0, 1.0, 1.0, 9, 2), 0.5),
        ((10.0, 15.0, 1.0, 0.5, 4, 2), 0.75),
        ((10.0, 15.0, -3.0, 3.0, 4, 2), 1.0),
        ((-10.0, -15.0, 1.0, 1.0, 4, 2), 0.625),
        ((0.0, 5.0, 1.0, 1.0, 4, 2), 0.5),
    ],
)
def test_validity_by_hand(row: tuple[float, float, float, float, int, int], expected: float) -> None:
    assert validity(*row) == near(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("largest", "alike", "score"),
    [
        (1.5, None, 35 + 25),
        (1.49, None, 24.5 + 25),
        (0.7, None, 24.5 + 25),
        (0.69, None, 10.5 + 25),
        (1.5, 0.29, 60),
        (1.5, 0.3, 60.75),
        (1.5, 0.65, 60 + 15 * 0.1),
        (1.5, 1.0, 60 + 15 * 0.15),
    ],
)
def test_parts_of_the_score(largest: float, alike: float | None, score: float) -> None:
    measure, found = Divergence("ofi", setup(scored=True, weak=0.0)), []
    for number, (price, z) in enumerate([(10.0, 0.0), (9.0, largest - 0.1), (11.0, 0.0), (8.0, largest), (12.0, 0.0)]):
        found += measure.update(START + number, price, z, alike)
    assert found[0].score == near(score + 25 * validity(9.0, 8.0, largest - 0.1, largest, 2, 1), rel=1e-9)


# -- the numbered rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "pivots"),
    [
        ([1, 3, 1, 4, 1], [3]),
        ([1, 3, 3, 1, 4, 4, 4, 1, 1, 1], [4]),
        ([1, 3, 4, 3, 1, 5, 6, 1], [6]),
        ([5, 5, 5, 5, 5, 5], []),
    ],
)
def test_rule_1_a_plateau_has_one_pivot_its_first_sample(prices: list[int], pivots: list[int]) -> None:
    """Highs only: the indicator falls, so that each higher high after the first is an event."""
    found = run(Divergence("cvd", setup()), [float(price) for price in prices], [-float(number) for number in range(len(prices))])
    assert [second(event.pivot_ts) for event in found if event.kind == "bear_div"] == pivots


def test_rule_1_the_indicator_makes_no_pivots() -> None:
    assert run(Divergence("cvd", setup()), [float(n) for n in range(20)], [math.sin(n) for n in range(20)]) == []


@pytest.mark.parametrize("side", [1, 2, 5])
def test_rule_2_an_event_has_the_time_at_which_it_was_known(side: int) -> None:
    wave = [*range(side), *range(side + 1, 0, -1)]
    prices = [float(value) for value in [*wave, *(2 * value for value in wave), 0]]
    found = run(Divergence("cvd", setup(side=side)), prices, [-float(n) for n in range(len(prices))])
    high = [event for event in found if event.kind == "bear_div"]
    assert len(high) == 1
    assert prices[int(second(high[0].pivot_ts))] == max(prices)
    assert second(high[0].ts) == second(high[0].pivot_ts) + side


@pytest.mark.parametrize(
    ("prices", "indicators", "kind"),
    [
        ((3, 4), (2, 1), "bear_div"),
        ((4, 3), (1, 2), "hidden_bear"),
        ((-3, -4), (1, 2), "bull_div"),
        ((-4, -3), (2, 1), "hidden_bull"),
        ((3, 4), (1, 2), None),
        ((4, 3), (2, 1), None),
        ((3, 3), (1, 2), None),
        ((3, 4), (2, 2), None),
        ((-3, -4), (2, 1), None),
    ],
)
def test_rule_3_kinds(prices: tuple[int, int], indicators: tuple[int, int], kind: str | None) -> None:
    rows = [0.0, prices[0], 0.0, 0.0, prices[1], 0.0]
    found = run(Divergence("cvd", setup()), [10.0 + price for price in rows], [0.0, indicators[0], 0.0, 0.0, indicators[1], 0.0])
    assert [event.kind for event in found] == ([kind] if kind else [])


@pytest.mark.parametrize(("nearest", "farthest", "count"), [(3, 240, 1), (4, 240, 0), (1, 3, 1), (1, 2, 0)])
def test_rule_3_how_far_apart(nearest: int, farthest: int, count: int) -> None:
    measure = Divergence("cvd", setup(nearest=nearest, farthest=farthest))
    assert len(run(measure, [0.0, 3.0, 0.0, 0.0, 4.0, 0.0], [0.0, 2.0, 0.0, 0.0, 1.0, 0.0])) == count


def test_rule_3_pivots_that_follow_each_other() -> None:
    """The third high is compared with the second, not with the first, of which it would diverge."""
    prices = [0.0, 5.0, 0.0, 3.0, 0.0, 6.0, 0.0]
    indicators: list[float | None] = [0.0, 9.0, 0.0, 1.0, 0.0, 2.0, 0.0]
    assert [event.kind for event in run(Divergence("cvd", setup()), prices, indicators)] == []


@pytest.mark.parametrize("gone", [None, math.nan, math.inf])
def test_rule_4_an_indicator_that_is_not_known_makes_no_pair(gone: float | None) -> None:
    prices = [0.0, 3.0, 0.0, 4.0, 0.0, 5.0, 0.0, 6.0, 0.0]
    found = run(Divergence("cvd", setup()), prices, [0.0, 9.0, 0.0, gone, 0.0, 7.0, 0.0, 6.0, 0.0])
    assert [(second(event.before_ts), second(event.pivot_ts)) for event in found] == [(5, 7)]


def test_rule_5_events_of_one_kind_are_a_cool_down_apart() -> None:
    prices = [0.0, 3.0, 0.0, 4.0, 0.0, 5.0, 0.0, 6.0, 0.0, 7.0, 0.0]
    indicators = [-float(n) for n in range(11)]
    for cooldown, times in ((0.0, [4, 6, 8, 10]), (2.0, [4, 6, 8, 10]), (2.1, [4, 8]), (60.0, [4])):
        found = run(Divergence("cvd", setup(cooldown_s=cooldown)), prices, indicators)
        assert [second(event.ts) for event in found if event.kind == "bear_div"] == times


def test_rule_5_each_kind_has_its_own() -> None:
    prices = [10.0, 13.0, 7.0, 14.0, 6.0, 10.0]
    found = run(Divergence("cvd", setup(cooldown_s=60.0)), prices, [0.0, 2.0, 1.0, 1.0, 2.0, 0.0])
    assert [event.kind for event in found] == ["bear_div", "bull_div"]


def test_rule_5_what_is_too_weak_begins_no_cool_down() -> None:
    prices = [0.0, 10.0, 0.0, 10.1, 0.0, 20.0, 0.0]
    indicators = [0.0, 0.2, 0.0, 0.1, 0.0, -5.0, 0.0]
    found = run(Divergence("ofi", setup(scored=True, weak=60.0, cooldown_s=60.0)), prices, indicators)
    assert [second(event.pivot_ts) for event in found] == [5]
    assert found[0].strength == "strong"


def test_rule_6_reset_forgets_pivots_and_neighbours() -> None:
    measure = Divergence("cvd", setup())
    run(measure, [0.0, 3.0, 0.0, 4.0], [0.0, 2.0, 0.0, 1.0])
    measure.reset()
    assert run(measure, [0.0, 5.0, 0.0], [0.0, 0.5, 0.0], start=START + 4 * SECOND_NS) == []
    assert len(run(measure, [6.0, 0.0], [0.1, 0.0], start=START + 7 * SECOND_NS)) == 1


def test_rule_6_the_cool_down_goes_on() -> None:
    prices, indicators = [0.0, 3.0, 0.0, 4.0, 0.0], [0.0, 2.0, 0.0, 1.0, 0.0]
    measure = Divergence("cvd", setup(cooldown_s=60.0))
    assert len(run(measure, prices, indicators)) == 1
    measure.reset()
    assert run(measure, prices, indicators, start=START + 5 * SECOND_NS) == []
    measure.reset()
    assert len(run(measure, prices, indicators, start=START + 64 * SECOND_NS)) == 1


def test_before_the_warm_up_no_pivot_counts() -> None:
    prices, indicators = [0.0, 3.0, 0.0, 4.0, 0.0, 5.0, 0.0], [-float(n) for n in range(7)]
    for warm_up, count in ((0, 2), (1, 2), (2, 1), (4, 0)):
        found = run(Divergence("cvd", setup(warm_up=warm_up)), prices, indicators)
        assert len([event for event in found if event.kind == "bear_div"]) == count


def test_an_indicator_that_is_a_z_is_clipped_and_a_level_is_not() -> None:
    prices = [0.0, 3.0, 0.0, 4.0, 0.0]
    assert run(Divergence("ofi", setup(scored=True)), prices, [0.0, 9.0, 0.0, 6.0, 0.0]) == []
    found = run(Divergence("cvd", setup()), prices, [0.0, 900.0, 0.0, 600.0, 0.0])
    assert (found[0].indicators, found[0].score, found[0].strength) == ((900.0, 600.0), None, None)


def test_a_price_that_is_not_finite_is_no_sample() -> None:
    prices, indicators = [0.0, 3.0, 0.0, 4.0, 0.0], [0.0, 2.0, 0.0, 1.0, 0.0]
    plain = run(Divergence("cvd", setup()), prices, indicators, step=0)
    for bad in (math.nan, math.inf):
        mixed = [value for price in prices for value in (price, bad)]
        assert run(Divergence("cvd", setup()), mixed, [value for one in indicators for value in (one, 0.0)], step=0) == plain


def test_a_pivot_without_neighbours_is_refused() -> None:
    with pytest.raises(ValueError, match="side 0: a pivot has at least 1 sample on either side"):
        Divergence("cvd", setup(side=0))


@pytest.mark.parametrize(("weak", "strength"), [(0.0, "weak"), (50.0, "normal"), (70.0, "strong")])
def test_strengths(weak: float, strength: str) -> None:
    for z in [number / 20 for number in range(1, 100)]:
        for event in run(Divergence("ofi", setup(scored=True, weak=0.0)), [1.0, 3.0, 1.0, 4.0, 1.0], [0.0, z, 0.0, z / 2, 0.0]):
            assert event.score is not None
            assert (event.strength == strength) == (weak <= event.score < {"weak": 50, "normal": 70, "strong": 101}[strength])


# -- what must always hold --------------------------------------------------------------------------------------------------------

series = st.lists(st.tuples(st.integers(0, 6).map(float), st.one_of(st.none(), st.integers(-3, 3).map(float))), max_size=80)


def searched(rows: list[tuple[float, float | None]], side: int, nearest: int, farthest: int) -> list[tuple[str, int, int, int]]:
    """The same by searching the whole series, sample by sample: kind, known, pivot, pivot before."""
    out = []
    for sign, higher, lower in ((1, "bear_div", "hidden_bear"), (-1, "hidden_bull", "bull_div")):
        pivots = []
        for at in range(side, len(rows) - side):
            here = sign * rows[at][0]
            if all(sign * rows[near][0] < here for near in range(at - side, at)) and all(
                sign * rows[near][0] <= here for near in range(at + 1, at + side + 1)
            ):
                pivots.append(at)
        for before, at in zip(pivots, pivots[1:], strict=False):
            (price0, one), (price1, other) = rows[before], rows[at]
            if one is None or other is None or not nearest <= at - before <= farthest:
                continue
            if (price1 - price0) * (other - one) < 0:
                out.append((higher if price1 > price0 else lower, at + side, at, before))
    return sorted(out, key=lambda event: event[1])


@given(series, st.integers(1, 4), st.integers(1, 8), st.integers(4, 30))
def test_events_are_those_that_a_search_finds(rows: list[tuple[float, float | None]], side: int, nearest: int, farthest: int) -> None:
    measure = Divergence("cvd", setup(side=side, nearest=nearest, farthest=farthest))
    found = run(measure, [price for price, _ in rows], [one for _, one in rows])
    assert [(event.kind, second(event.ts), second(event.pivot_ts), second(event.before_ts)) for event in found] == searched(
        rows, side, nearest, farthest
    )


@pytest.mark.parametrize("side", [1, 2, 3, 5, 12])
def test_events_of_a_long_market_are_those_that_a_search_finds(side: int) -> None:
    chance, rows, price, level = random.Random(side), [], 50, 0
    for _ in range(4000):
        price += chance.choice((-1, 0, 0, 1))
        level += chance.choice((-1, 0, 1))
        rows.append((float(price), None if chance.random() < 0.02 else float(level)))
    found = run(Divergence("cvd", setup(side=side, nearest=6)), [row[0] for row in rows], [row[1] for row in rows])
    told = [(event.kind, second(event.ts), second(event.pivot_ts), second(event.before_ts)) for event in found]
    assert told == searched(rows, side, 6, 240)
    assert len({event.kind for event in found}) == 4


@given(series, series)
def test_after_reset_it_is_a_fresh_instance(before: list[tuple[float, float | None]], after: list[tuple[float, float | None]]) -> None:
    used, fresh = Divergence("cvd", setup(side=2)), Divergence("cvd", setup(side=2))
    run(used, *zip(*before, strict=True)) if before else None
    used.reset()
    if after:
        assert run(used, *zip(*after, strict=True)) == run(fresh, *zip(*after, strict=True))


# -- conflicts ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ofi", "cvd", "kinds"),
    [
        (2.0, -1.0, ["ofi_cvd_conflict"]),
        (1.99, -1.0, []),
        (2.0, -0.99, []),
        (2.0, 1.0, []),
        (-2.0, 1.0, ["ofi_cvd_conflict"]),
        (2.6, -2.6, ["ofi_cvd_conflict", "ofi_cvd_divergence", "anomaly"]),
        (2.5, -2.5, ["ofi_cvd_conflict"]),
        (3.0, 0.0, []),
        (3.01, 0.0, ["anomaly"]),
        (0.0, -2.51, ["anomaly"]),
        (-3.01, None, ["anomaly"]),
        (None, 2.6, ["anomaly"]),
        (2.0, None, []),
        (None, None, []),
        (math.nan, -2.0, []),
    ],
)
def test_conflicts(ofi: float | None, cvd: float | None, kinds: list[str]) -> None:
    assert [event.kind for event in Conflict().update(START, 100.0, ofi, cvd)] == kinds


@pytest.mark.parametrize(("price", "count"), [(105.0, 0), (105.01, 1), (95.0, 0), (94.99, 1)])
def test_prices_that_jump(price: float, count: int) -> None:
    measure = Conflict()
    assert measure.update(START, 100.0, None, None) == []
    found = measure.update(START + 1, price, None, None)
    assert [event.kind for event in found] == ["price_anomaly"] * count
    if found:
        assert found[0].price_change == near(price / 100.0 - 1.0)
        assert (found[0].z_ofi, found[0].z_cvd) == (None, None)


def test_prices_are_not_compared_over_a_gap() -> None:
    measure = Conflict()
    measure.update(START, 100.0, None, None)
    measure.reset()
    assert measure.update(START + 1, 200.0, None, None) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_what_is_no_price_is_not_compared(bad: float) -> None:
    measure = Conflict()
    measure.update(START, 100.0, None, None)
    assert measure.update(START + 1, bad, None, None) == []
    assert [event.kind for event in measure.update(START + 2, 106.0, None, None)] == ["price_anomaly"]


@pytest.mark.parametrize(("cooldown", "times"), [(0.0, [0, 1, 2, 3]), (1.0, [0, 1, 2, 3]), (1.5, [0, 2]), (9.0, [0])])
def test_each_conflict_has_its_cool_down(cooldown: float, times: list[int]) -> None:
    measure = Conflict(cooldown)
    found = [event for n in range(4) for event in measure.update(START + n * SECOND_NS, 100.0, 4.0, 0.0)]
    assert [second(event.ts) for event in found] == times
    assert [event.kind for event in measure.update(START + 4 * SECOND_NS, 100.0, -2.9, 1.0)] == ["ofi_cvd_conflict"]
