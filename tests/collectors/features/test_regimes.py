"""Sessions and regimes: each rule, and everything computed anew from the list of trades beside them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.features.regimes import Labels, Regimes, RegimeSetup, session
from tests.collectors.features.streams import SECOND, START, trades

near = pytest.approx


def setup(**changes: Any) -> RegimeSetup:
    return RegimeSetup(**{"window_s": 10, "active_tps": 1.0, "every_s": 5, "history": 20, "least": 4, **changes})


def at(seconds: float) -> int:
    return START + int(seconds * SECOND)


class Anew:
    """The same from the list of all trades."""

    def __init__(self, setting: RegimeSetup) -> None:
        self.setup = setting
        self.seconds: dict[int, list[float]] = {}
        self.begun: int | None = None
        self.now = 0
        self.sampled: int | None = None
        self.history: list[float] = []

    def advance(self, ts: int) -> None:
        second = ts // SECOND
        if self.begun is None:
            self.begun = self.now = second
            self.sampled = second - 1
        second = max(second, self.now)
        assert self.sampled is not None
        for moment in range(self.sampled + 1, second):
            if moment % self.setup.every_s == 0 and moment - self.begun >= self.setup.window_s:
                self.history = [*self.history, self.volatility(moment)][-self.setup.history :]
            self.sampled = moment
        self.now = second

    def update(self, ts: int, price: float) -> None:
        self.advance(ts)
        self.seconds.setdefault(self.now, []).append(price)

    def volatility(self, end: int) -> float:
        last, squares = None, []
        for second in sorted(self.seconds):
            price = self.seconds[second][-1]
            if second <= end and last is not None and second > end - self.setup.window_s:
                squares.append(math.log(price / last) ** 2)
            last = price
        return math.sqrt(math.fsum(squares))

    def labels(self, ts: int) -> Labels:
        self.advance(ts)
        out = Labels(session(ts))
        if self.begun is None or self.now - self.begun < self.setup.window_s:
            return out
        count = sum(len(here) for second, here in self.seconds.items() if self.now - self.setup.window_s < second <= self.now)
        out.tps = count / self.setup.window_s
        out.regime = "active" if out.tps >= self.setup.active_tps else "quiet"
        out.volatility = self.volatility(self.now)
        if len(self.history) >= self.setup.least:
            low, high, split = (float(np.quantile(self.history, share)) for share in (1 / 3, 2 / 3, self.setup.split))
            out.bucket = "low" if out.volatility <= low else "mid" if out.volatility <= high else "high"
            out.scenario = ("A" if out.regime == "active" else "Q") + "_" + ("H" if out.volatility > split else "L")
        return out


def same(found: Labels, expected: Labels) -> bool:
    volatility, found.volatility = found.volatility, expected.volatility
    assert volatility == (None if expected.volatility is None else near(expected.volatility, rel=1e-9, abs=1e-15))
    return found == expected


# -- the numbered rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hour", "minute", "name"),
    [(0, 0, "Tokyo"), (7, 59, "Tokyo"), (8, 0, "London"), (15, 59, "London"), (16, 0, "NewYork"), (23, 59, "NewYork")],
)
def test_rule_1_sessions(hour: int, minute: int, name: str) -> None:
    for day in (1, 29):
        moment = datetime(2024, 2, day, hour, minute, tzinfo=UTC)
        assert session(int(moment.timestamp()) * SECOND) == name


@pytest.mark.parametrize(("count", "regime"), [(9, "quiet"), (10, "active"), (11, "active")])
def test_rule_2_the_rate(count: int, regime: str) -> None:
    measure = Regimes(setup())
    measure.update(at(0), 1.0)
    for _ in range(count):
        measure.update(at(10), 1.0)
    found = measure.labels(at(10))
    assert (found.tps, found.regime) == (count / 10, regime)


def test_rule_2_the_window_ends_with_the_second_that_runs() -> None:
    measure = Regimes(setup())
    for second in (0, 5, 10, 10.9):
        measure.update(at(second), 1.0)
    assert [measure.labels(at(second)).tps for second in (10.95, 14, 15, 19, 20)] == [0.3, 0.3, 0.2, 0.2, 0.0]


def test_rule_2_more_than_one_trade_a_second_can_be_seen() -> None:
    measure = Regimes()
    for number in range(4 * 601):
        measure.update(at(number / 4), 1.0)
    found = measure.labels(at(600.99))
    assert (found.tps, found.regime) == (4.0, "active")


def test_rule_3_volatility_is_of_the_last_trades_of_seconds() -> None:
    measure = Regimes(setup())
    for second, price in ((0, 100.0), (3.1, 777.0), (3.9, 110.0), (12, 99.0), (12.5, 121.0)):
        measure.update(at(second), price)
    assert measure.labels(at(12.6)).volatility == near(math.sqrt(2) * math.log(1.1), rel=1e-12)
    assert measure.labels(at(13)).volatility == near(math.log(1.1), rel=1e-12)
    assert measure.labels(at(22)).volatility == 0.0


def test_rule_3_a_price_that_is_none_counts_as_a_trade_and_moves_nothing() -> None:
    measure = Regimes(setup())
    for second, price in ((0, 100.0), (5, math.nan), (6, 0.0), (7, -1.0), (8, math.inf), (9, 110.0)):
        measure.update(at(second), price)
    found = measure.labels(at(10))
    assert (found.tps, found.volatility) == (0.5, near(math.log(1.1), rel=1e-12))


def busy(measure: Regimes, until: int, first: int = 0) -> None:
    """A return of alternately rising size each second."""
    for second in range(first, until):
        measure.update(at(second), 100.0 + (second % 7) * (second % 2))


def test_rule_4_no_value_is_in_its_own_baseline() -> None:
    measure = Regimes(setup(every_s=1, least=1, history=3))
    busy(measure, 40)
    assert measure.labels(at(39)).scenario is not None
    measure.update(at(40), 500.0)
    assert (measure.labels(at(40)).bucket, measure.labels(at(40)).scenario) == ("high", "A_H")
    for _ in range(3):
        assert measure.labels(at(40)).bucket == "high"


def test_rule_4_scenarios() -> None:
    found = set()
    for rate in (1, 3):
        for wild in (False, True):
            measure = Regimes(setup(active_tps=2.0))
            for second in range(61):
                size = 1.0 if second < 50 else 5.0 if wild else 0.1
                for _ in range(rate):
                    measure.update(at(second), 100.0 + size * (second % 2))
            found.add((rate, wild, measure.labels(at(60)).scenario, measure.labels(at(60)).bucket))
    assert found == {(1, False, "Q_L", "low"), (1, True, "Q_H", "high"), (3, False, "A_L", "low"), (3, True, "A_H", "high")}


def test_rule_5_until_the_window_was_watched_whole() -> None:
    measure, begin = Regimes(setup()), START // SECOND * SECOND
    measure.update(begin + SECOND // 2, 1.0)
    assert measure.labels(begin + 10 * SECOND - 1) == Labels(session(START))
    assert measure.labels(begin + 10 * SECOND).tps == 0.0


def test_rule_5_until_enough_came_before() -> None:
    measure = Regimes(setup())
    firsts = {}
    for second in range(60):
        measure.update(at(second), 100.0 + second % 3)
        found = measure.labels(at(second))
        for name in ("tps", "regime", "volatility", "bucket", "scenario"):
            if getattr(found, name) is not None:
                firsts.setdefault(name, second)
    # START is a multiple of 5 s: samples at 10, 15, 20, 25, each known when its second is over.
    assert START // SECOND % 5 == 0
    assert firsts == {"tps": 10, "regime": 10, "volatility": 10, "bucket": 26, "scenario": 26}


def test_rule_6_reset_forgets_the_window_and_keeps_what_is_usual() -> None:
    measure = Regimes(setup())
    busy(measure, 60)
    measure.reset()
    assert measure.labels(at(60)) == Labels(session(at(60)))
    busy(measure, 71, 60)
    found = measure.labels(at(70))
    assert None not in (found.tps, found.volatility, found.bucket, found.scenario)


def test_rule_6_no_return_is_taken_across_a_gap() -> None:
    measure = Regimes(setup())
    measure.update(at(0), 100.0)
    measure.reset()
    measure.update(at(1), 900.0)
    assert measure.labels(at(11)).volatility == 0.0


def test_a_late_trade_counts_in_the_second_that_runs() -> None:
    measure = Regimes(setup())
    for second in (0, 10, 3):
        measure.update(at(second), 1.0)
    assert measure.labels(at(19)).tps == 0.2
    assert measure.labels(at(12)).tps == 0.2


def test_a_market_without_a_trade() -> None:
    measure = Regimes(setup())
    assert measure.labels(at(0)).tps is None
    found = measure.labels(at(10))
    assert (found.tps, found.regime, found.volatility) == (0.0, "quiet", 0.0)


def test_a_long_silence_is_sampled_too() -> None:
    measure = Regimes(setup(history=6))
    busy(measure, 30)
    found = measure.labels(at(5000))
    assert (found.tps, found.volatility, found.bucket, found.scenario) == (0.0, 0.0, "low", "Q_L")


# -- beside a computation from all trades ---------------------------------------------------------------------------------------

rows = st.lists(st.tuples(st.integers(-1500, 9000), st.integers(80, 120).map(float), st.booleans()), min_size=1, max_size=80)


@given(rows)
def test_labels_are_those_of_all_trades(stream: list[tuple[int, float, bool]]) -> None:
    measure, plain, ts = Regimes(setup()), Anew(setup()), START
    for step, price, asked in stream:
        ts += step * 1_000_000
        measure.update(ts, price)
        plain.update(ts, price)
        if asked:
            assert same(measure.labels(ts + step * 500_000), plain.labels(ts + step * 500_000))
    assert same(measure.labels(ts), plain.labels(ts))


def test_labels_over_a_long_market() -> None:
    measure, plain, seen = Regimes(setup(window_s=30, every_s=10)), Anew(setup(window_s=30, every_s=10)), set()
    for number, trade in enumerate(trades(1200)):
        measure.update(trade.ts, trade.price)
        plain.update(trade.ts, trade.price)
        if number % 13 == 0:
            expected = plain.labels(trade.ts)
            assert same(measure.labels(trade.ts), expected)
            seen.add(expected.scenario)
    assert len(seen) >= 3
