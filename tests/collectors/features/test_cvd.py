"""Cumulative volume delta: the oracle to 1e-9, each rule of the module, and pandas beside it."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.features.cvd import CVD, HOUR_NS, Anchor, CvdPoint
from tape_collectors.market.features.rolling import Ewma
from tests.collectors.features.streams import SECOND, START, golden, sizes, trades

MIDNIGHT = 1_700_006_400 * SECOND
EPS = 2.0**-52
near = pytest.approx


def told(cvd: CVD, price: float, side: str = "", mid: float | None = None, ts: int = START) -> float | None:
    """The sign that a trade of size 1 is given."""
    point = cvd.update(ts, price, 1.0, side, mid)
    assert point is not None
    return point.delta


# -- oracles ----------------------------------------------------------------------------------------------------------------------


def test_oracle_delta_cvd_and_its_average() -> None:
    cvd, average = CVD("run"), Ewma()
    rows = [("buy", 1.5), ("sell", 2.0), ("buy", 0.5), ("buy", 3.0), ("sell", 1.0)]
    points = [cvd.update(START + n, 100.0, size, side) for n, (side, size) in enumerate(rows)]
    found = [point for point in points if point is not None]
    assert [point.delta for point in found] == near([1.5, -2.0, 0.5, 3.0, -1.0], rel=1e-9)
    assert [point.cvd for point in found] == near([1.5, -0.5, 0.0, 3.0, 2.0], rel=1e-9, abs=1e-9)
    assert [point.cvd_quote for point in found] == near([150.0, -50.0, 0.0, 300.0, 200.0], rel=1e-9, abs=1e-9)
    assert [average.push(point.cvd, 0.2) for point in found] == near([1.5, 1.1, 0.88, 1.304, 1.4432], rel=1e-9)


def test_oracle_levels_of_the_golden_stream() -> None:
    cvd, expected = CVD("run"), {49: 6.014, 50: 7.268, 199: -0.142, 203: 5.323, 262: 9.023, 399: -2.874}
    for number, trade in enumerate(golden(400)):
        point = cvd.update(*trade)
        assert point is not None
        if number in expected:
            assert point.cvd == near(expected[number], rel=1e-9)


def test_oracle_sides_of_the_golden_stream() -> None:
    rows = list(golden(400))
    assert (rows[49].size, rows[49].side, rows[49].ts) == (4.055, "buy", 1_700_000_025_346_000_000)
    assert (rows[399].size, rows[399].side, rows[399].ts) == (2.991, "sell", 1_700_000_203_195_000_000)


# -- the numbered rules -----------------------------------------------------------------------------------------------------------


def test_rule_1_the_side_gives_the_sign() -> None:
    cvd = CVD()
    assert told(cvd, 100.0, "buy", mid=200.0) == 1.0
    assert told(cvd, 300.0, "sell", mid=200.0) == -1.0
    assert cvd.update(START, 100.0, 1.0, "buy").inferred is False  # type: ignore[union-attr]


def test_rule_1_without_a_side_by_the_mid() -> None:
    cvd = CVD()
    assert told(cvd, 100.2, mid=100.1) == 1.0
    assert told(cvd, 100.3, mid=100.4) == -1.0
    assert cvd.update(START, 100.0, 1.0, "", 99.0).inferred is True  # type: ignore[union-attr]


def test_rule_1_at_the_mid_or_without_it_by_the_tick() -> None:
    for mid in (None, math.nan):
        cvd = CVD()
        assert told(cvd, 100.0, mid=mid) is None
        assert told(cvd, 100.1, mid=mid) == 1.0
        assert told(cvd, 100.1, mid=mid) == 1.0
        assert told(cvd, 100.0, mid=mid) == -1.0
        assert told(cvd, 100.0, mid=mid) == -1.0
    cvd = CVD()
    assert told(cvd, 100.0, "sell") == -1.0
    assert told(cvd, 100.0, mid=100.0) == -1.0
    assert told(cvd, 100.1, mid=100.1) == 1.0


def test_rule_1_what_tells_nothing_is_not_in_the_sum_and_counted() -> None:
    cvd = CVD()
    point = cvd.update(MIDNIGHT, 100.0, 5.0)
    assert point == CvdPoint(MIDNIGHT, None, None, 0.0, 0.0, MIDNIGHT, 0, True)
    assert cvd.unsided == 1
    assert cvd.update(MIDNIGHT, 100.1, 2.0).cvd == 2.0  # type: ignore[union-attr]
    assert cvd.unsided == 1


@pytest.mark.parametrize(("anchor", "hours"), [("day", 24), ("session", 8)])
def test_rule_2_periods(anchor: Anchor, hours: int) -> None:
    cvd = CVD(anchor)
    end = MIDNIGHT + hours * HOUR_NS
    found = [cvd.update(ts, 2.0, 1.0, "buy") for ts in (MIDNIGHT, end - 1, end, end + 1)]
    assert [(point.cvd, point.cvd_quote, point.anchor) for point in found if point is not None] == [
        (1.0, 2.0, MIDNIGHT),
        (2.0, 4.0, MIDNIGHT),
        (1.0, 2.0, end),
        (2.0, 4.0, end),
    ]


def test_rule_2_a_run() -> None:
    cvd = CVD("run")
    assert cvd.anchor is None
    for day in range(3):
        point = cvd.update(START + day * 24 * HOUR_NS, 1.0, 1.0, "buy")
        assert point is not None
        assert (point.cvd, point.anchor, point.gaps) == (day + 1.0, START, 0)


def test_rule_2_an_anchor_never_goes_back() -> None:
    cvd = CVD("day")
    cvd.update(MIDNIGHT, 1.0, 1.0, "buy")
    late = cvd.update(MIDNIGHT - HOUR_NS, 1.0, 1.0, "buy")
    assert late is not None
    assert (late.cvd, late.anchor) == (2.0, MIDNIGHT)


def test_rule_2_a_day_that_nothing_traded_in_is_passed_over() -> None:
    cvd = CVD("session")
    cvd.update(MIDNIGHT, 1.0, 1.0, "buy")
    point = cvd.update(MIDNIGHT + 75 * HOUR_NS, 1.0, 1.0, "sell")
    assert point is not None
    assert (point.cvd, point.anchor) == (-1.0, MIDNIGHT + 72 * HOUR_NS)


def test_rule_3_a_run_that_begins_late_has_missed_what_was_before() -> None:
    assert CVD("day").update(MIDNIGHT, 1.0, 1.0, "buy").gaps == 0  # type: ignore[union-attr]
    assert CVD("day").update(MIDNIGHT + 1, 1.0, 1.0, "buy").gaps == 1  # type: ignore[union-attr]


def test_rule_3_gaps_count_since_the_anchor() -> None:
    cvd = CVD("session")
    assert cvd.update(MIDNIGHT, 1.0, 1.0, "buy").gaps == 0  # type: ignore[union-attr]
    cvd.gap(MIDNIGHT + 5)
    cvd.gap(MIDNIGHT + 9)
    assert cvd.update(MIDNIGHT + 10, 1.0, 1.0, "buy").gaps == 2  # type: ignore[union-attr]
    assert cvd.update(MIDNIGHT + 8 * HOUR_NS, 1.0, 1.0, "buy").gaps == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(("after", "gaps"), [(-1, 0), (0, 1), (1, 1)])
def test_rule_3_a_gap_over_the_anchor(after: int, gaps: int) -> None:
    cvd, anchor = CVD("session"), MIDNIGHT + 8 * HOUR_NS
    cvd.update(MIDNIGHT, 1.0, 1.0, "buy")
    cvd.gap(anchor + after)
    assert cvd.update(anchor + 2, 1.0, 1.0, "buy").gaps == gaps  # type: ignore[union-attr]


def test_rule_3_after_a_gap_the_tick_knows_nothing() -> None:
    cvd = CVD("run")
    told(cvd, 100.0, "buy")
    cvd.gap(START)
    assert told(cvd, 100.1) is None
    assert cvd.unsided == 1


def test_rule_4_ids() -> None:
    cvd = CVD("run")
    found = [cvd.update(START, 1.0, 1.0, "buy", id=number) for number in (7, 8, 8, 7, 9, 12, 13)]
    assert [None if point is None else (point.cvd, point.gaps) for point in found] == [(1, 0), (2, 0), None, None, (3, 0), (4, 1), (5, 1)]
    assert (cvd.duplicates, cvd.gaps) == (2, 1)


def test_rule_4_a_skipped_id_at_the_anchor_may_be_of_either_day() -> None:
    cvd = CVD("day")
    cvd.update(MIDNIGHT - 1, 1.0, 1.0, "buy", id=1)
    assert cvd.update(MIDNIGHT, 1.0, 1.0, "buy", id=3).gaps == 1  # type: ignore[union-attr]


def test_rule_4_trades_without_ids_are_all_taken() -> None:
    cvd = CVD("run")
    for _ in range(3):
        cvd.update(START, 1.0, 1.0, "buy")
    assert (cvd.duplicates, cvd.gaps) == (0, 0)


@pytest.mark.parametrize(("price", "size"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, -1.0), (1.0, math.inf)])
def test_rule_5_what_is_no_trade(price: float, size: float) -> None:
    cvd = CVD("run")
    assert cvd.update(START, price, size, "buy") is None
    assert (cvd.bad, cvd.anchor) == (1, None)
    assert cvd.update(START, 1.0, 0.0, "buy").cvd == 0.0  # type: ignore[union-attr]


def test_rule_6_a_day_of_trades_adds_up_exactly() -> None:
    cvd, deltas, quotes, worst = CVD("run"), [], [], 0.0
    plain = 0.0
    for trade in trades(20_000):
        point = cvd.update(trade.ts, trade.price * 1.1, trade.size * 0.1, trade.side)
        assert point is not None and point.delta is not None and point.delta_quote is not None
        deltas.append(point.delta)
        quotes.append(point.delta_quote)
        plain += point.delta_quote
        if len(deltas) % 500 == 0:
            for level, parts in ((point.cvd, deltas), (point.cvd_quote, quotes)):
                exact = math.fsum(parts)
                assert abs(level - exact) <= math.ulp(exact)
            worst = max(worst, abs(plain - exact) / math.ulp(exact))
    assert worst > 2, "a plain sum would do: the test shows nothing"


# -- what must always hold --------------------------------------------------------------------------------------------------------

signed = st.lists(st.tuples(sizes, st.booleans(), st.integers(0, 3 * HOUR_NS)), min_size=1, max_size=60)


@given(signed, st.sampled_from(["run", "day", "session"]))
def test_the_level_is_the_sum_of_the_deltas_since_its_anchor(rows: list[tuple[float, bool, int]], anchor: Anchor) -> None:
    cvd, seen, ts = CVD(anchor), [], MIDNIGHT
    for size, buys, step in rows:
        ts += step
        point = cvd.update(ts, 4.0, size, "buy" if buys else "sell")
        assert point is not None
        seen.append((ts, point.delta, point.delta_quote))
        assert point.anchor <= ts
        assert point.cvd == sum(delta for at, delta, _ in seen if at >= point.anchor and delta is not None)
        assert point.cvd_quote == sum(quote for at, _, quote in seen if at >= point.anchor and quote is not None)


@given(signed)
def test_levels_of_pandas(rows: list[tuple[float, bool, int]]) -> None:
    cvd, ts, times = CVD("day"), MIDNIGHT, []
    found = []
    for size, buys, step in rows:
        ts += step
        times.append(ts)
        found.append(cvd.update(ts, 1.0, size, "buy" if buys else "sell"))
    frame = pd.DataFrame({"delta": [size if buys else -size for size, buys, _ in rows]}, index=pd.to_datetime(times, utc=True))
    assert [point.cvd for point in found if point is not None] == frame.groupby(frame.index.floor("D"))["delta"].cumsum().tolist()


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda value: abs(value) > 1e-9), min_size=1, max_size=60))
def test_a_sum_loses_no_more_than_its_last_digit(values: list[float]) -> None:
    cvd, point = CVD("run"), None
    for value in values:
        point = cvd.update(START, 1.0, abs(value), "buy" if value > 0 else "sell")
    assert point is not None
    exact = math.fsum(values)
    # What cancels to almost nothing keeps what its largest parts leave of the second order.
    assert abs(point.cvd - exact) <= math.ulp(exact) + len(values) ** 2 * EPS**2 * sum(map(abs, values))


@given(signed)
def test_who_sells_where_others_bought_has_the_opposite_level(rows: list[tuple[float, bool, int]]) -> None:
    one, other = CVD("run"), CVD("run")
    for size, buys, _ in rows:
        there = one.update(START, 3.0, size, "buy" if buys else "sell")
        back = other.update(START, 3.0, size, "sell" if buys else "buy")
        assert there is not None and back is not None
        assert (back.cvd, back.cvd_quote) == (-there.cvd, -there.cvd_quote)


@given(signed, st.sets(st.integers(0, 59)))
def test_duplicates_change_nothing(rows: list[tuple[float, bool, int]], again: set[int]) -> None:
    plain, twice, ts = CVD("day"), CVD("day"), MIDNIGHT
    for number, (size, buys, step) in enumerate(rows, 1):
        ts += step
        row = (ts, 1.0, size, "buy" if buys else "sell", None, number)
        assert plain.update(*row) == twice.update(*row)
        if number in again:
            assert twice.update(*row) is None
    assert twice.duplicates == len([number for number in again if 0 < number <= len(rows)])
