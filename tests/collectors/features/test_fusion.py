"""Fusion of two z-scores: oracles to 1e-9, and each rule of the module on event time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.features.fusion import SIGNALS, Fusion, FusionPoint, FusionSetup, consistency
from tape_collectors.market.features.zscore import SECOND_NS, LevelZ
from tests.collectors.features.streams import START

near = pytest.approx
#: the thresholds of the origin's last state
LATER: dict[str, Any] = {"buy": 0.95, "strong": 1.70, "agree": 0.12, "firm": 0.45}


def setup(**changes: Any) -> FusionSetup:
    return FusionSetup(**{"warm_up": 0, "repeats": 1, "cooldown_s": 0.0, **changes})


def run(fusion: Fusion, rows: Any, step: float = 1.0) -> list[FusionPoint]:
    return [fusion.update(START + int(number * step * SECOND_NS), *row) for number, row in enumerate(rows)]


# -- oracles ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ofi", "cvd", "score", "alike", "apart"),
    [(2, 1, 1.6, 0.5, 1), (3, 2, 2.6, 0.6666666666666666, 1), (2, -1, 0.8, 0, 3), (-2.5, -2.0, -2.3, 0.8, 0.5)],
)
def test_oracle_score_consistency_dispersion(ofi: float, cvd: float, score: float, alike: float, apart: float) -> None:
    found = Fusion().update(START, ofi, cvd)
    assert (found.score, found.consistency, found.dispersion) == (near(score, rel=1e-9), near(alike, rel=1e-9), near(apart, rel=1e-9))


def test_oracle_probability() -> None:
    assert Fusion().update(START, 2.0, 1.0).probability == near(0.8320183851339245, rel=1e-9)


def test_oracle_z_of_the_score() -> None:
    """0, 0.1 … 1.0, the score itself in its baseline."""
    fusion = Fusion(setup(score_own=True, ofi_weight=1.0, cvd_weight=0.0))
    found = run(fusion, [(number / 10, 0.0) for number in range(11)])
    assert [point.score_z for point in found[:10]] == [None] * 10
    assert found[10].score_z == near(1.5811388300841893, rel=1e-9)


@pytest.mark.parametrize(
    ("thresholds", "row", "raw"),
    [({}, (2, 1), "buy"), ({}, (3, 2), "buy"), (LATER, (3, 2), "strong_buy"), ({}, (2, -1), "neutral"), ({}, (-2.5, -2.0), "sell")],
)
def test_oracle_raw_signal(thresholds: dict[str, Any], row: tuple[float, float], raw: str) -> None:
    assert Fusion(setup(**thresholds)).update(START, *row).raw == raw


# -- the numbered rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [(None, 2.0), (2.0, None), (None, None), (math.nan, 2.0), (2.0, math.nan)])
def test_rule_1_none_is_none_and_never_zero(row: tuple[float | None, float | None]) -> None:
    fusion = Fusion(setup(repeats=2))
    found = run(fusion, [(3.0, 3.0), row, (3.0, 3.0), (3.0, 3.0)])
    assert found[1] == FusionPoint(START + SECOND_NS)
    assert [point.signal for point in found] == ["neutral", None, "neutral", "strong_buy"]


def test_rule_1_what_is_none_is_not_in_the_baseline() -> None:
    one, other = Fusion(setup(score_least=3)), Fusion(setup(score_least=3))
    rows = [(1.0, 2.0), (2.0, 0.0), (0.5, 1.0)]
    assert run(one, [*rows, (None, 9.0), (3.0, 3.0)])[-1].score_z == run(other, [*rows, (3.0, 3.0)])[-1].score_z


@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(-4, 4)), min_size=1, max_size=40), st.integers(1, 10**9))
def test_rule_2_a_replay_is_the_same_whenever_it_runs(rows: list[tuple[float, float]], later: int) -> None:
    one, other = Fusion(setup(cooldown_s=2.5, repeats=2)), Fusion(setup(cooldown_s=2.5, repeats=2))
    for number, row in enumerate(rows):
        ts = START + number * SECOND_NS
        found, again = one.update(ts, *row), other.update(ts + later * SECOND_NS, *row)
        again.ts = found.ts
        assert found == again


@pytest.mark.parametrize(
    ("row", "raw"),
    [
        ((1.5, 1.5), "neutral"),
        ((1.51, 1.51), "buy"),
        ((2.5, 2.5), "buy"),
        ((2.51, 2.51), "strong_buy"),
        ((3.5, 1.0), "neutral"),
        ((3.5, 1.1), "buy"),
        ((4.0, 2.7), "buy"),
        ((4.0, 2.9), "strong_buy"),
    ],
)
def test_rule_3_thresholds(row: tuple[float, float], raw: str) -> None:
    assert Fusion(setup()).update(START, *row).raw == raw
    mirrored = SIGNALS[4 - SIGNALS.index(raw)]  # type: ignore[arg-type]
    assert Fusion(setup()).update(START, -row[0], -row[1]).raw == mirrored


def test_rule_4_a_side_needs_raw_signals_in_a_row() -> None:
    found = run(Fusion(setup(repeats=3)), [(2, 2), (2, 2), (0, 0), (2, 2), (2, 2), (2, 2), (2, 2)])
    assert [point.signal for point in found] == ["neutral"] * 5 + ["buy"] * 2
    assert [point.entered for point in found] == [False] * 5 + [True, False]


def test_rule_4_the_other_side_breaks_the_row() -> None:
    found = run(Fusion(setup(repeats=2)), [(2, 2), (-2, -2), (2, 2), (2, 2)])
    assert [point.signal for point in found] == ["neutral", "neutral", "neutral", "buy"]


def test_rule_4_a_side_is_left_below_leave() -> None:
    found = run(Fusion(setup()), [(2, 2), (1.3, 1.3), (1.2, 1.2), (1.19, 1.19), (1.3, 1.3)])
    assert [point.signal for point in found] == ["buy", "buy", "buy", "neutral", "neutral"]
    assert [point.raw for point in found] == ["buy", "neutral", "neutral", "neutral", "neutral"]
    down = run(Fusion(setup()), [(-2, -2), (-1.2, -1.2), (-1.19, -1.19)])
    assert [point.signal for point in down] == ["sell", "sell", "neutral"]


def test_rule_4_a_side_stays_whatever_the_raw_signal() -> None:
    found = run(Fusion(setup()), [(2, 2), (4, -0.1), (2, 2)])
    assert found[1].raw == "neutral"
    assert [point.signal for point in found] == ["buy", "buy", "buy"]
    assert [point.entered for point in found] == [True, False, False]


def test_rule_4_a_strong_one_stays_strong_until_it_is_left() -> None:
    found = run(Fusion(setup()), [(2, 2), (3, 3), (2, 2), (1, 1), (2, 2)])
    assert [point.signal for point in found] == ["buy", "strong_buy", "strong_buy", "neutral", "buy"]
    assert [point.entered for point in found] == [True, True, False, False, True]


@pytest.mark.parametrize(("step", "signals"), [(0.9, ["buy", "neutral", "neutral", "buy"]), (1.0, ["buy", "neutral", "buy", "buy"])])
def test_rule_4_entries_are_a_cool_down_apart(step: float, signals: list[str]) -> None:
    found = run(Fusion(setup(cooldown_s=2.0)), [(2, 2), (0, 0), (2, 2), (2, 2)], step)
    assert [point.signal for point in found] == signals


def test_rule_4_one_row_may_leave_a_side_and_enter_the_other() -> None:
    found = run(Fusion(setup()), [(2, 2), (-2, -2)])
    assert [point.signal for point in found] == ["buy", "sell"]


@pytest.mark.parametrize(("lag", "lagged"), [(300_000_000, False), (300_000_001, True), (-300_000_001, True)])
def test_rule_5_far_apart_the_stronger_stands_alone(lag: int, lagged: bool) -> None:
    found = Fusion(setup()).update(START, 3.0, -2.0, lag)
    assert found.lagged is lagged
    assert (found.score, found.consistency) == ((near(1.8), 1.0) if lagged else (near(1.0), 0.0))
    assert found.dispersion == 5.0
    other = Fusion(setup()).update(START, 2.0, -3.0, lag)
    assert other.score == (near(-1.2) if lagged else near(0.0))


def test_rule_5_or_the_row_is_none() -> None:
    assert Fusion(setup(lagged="none")).update(START, 3.0, 2.0, SECOND_NS) == FusionPoint(START, lagged=True)
    assert Fusion(setup(lagged="none")).update(START, 3.0, 2.0, 0).score is not None


def test_rule_6_warm_up() -> None:
    found = run(Fusion(setup(warm_up=3)), [(2, 2), (None, 2), (2, 2), (2, 2), (2, 2)])
    assert [(point.raw, point.signal) for point in found] == [(None, None)] * 4 + [("buy", "buy")]
    assert found[2].score is not None
    assert [point.entered for point in found] == [False] * 4 + [True]


@pytest.mark.parametrize("own", [False, True])
def test_rule_6_score_z_needs_scores(own: bool) -> None:
    found = run(Fusion(setup(score_least=5, score_own=own)), [(number % 3, 1.0) for number in range(6)])
    assert [point.score_z is None for point in found] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("weights", [(-0.1, 1.0), (1.0, -0.1), (0.0, 0.0)])
def test_weights_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="ofi_weight and cvd_weight"):
        Fusion(FusionSetup(ofi_weight=weights[0], cvd_weight=weights[1]))


# -- what must always hold --------------------------------------------------------------------------------------------------------

zs = st.floats(-6, 6)
rows_of_z = st.lists(st.tuples(zs, zs), min_size=1, max_size=60)


@given(zs, zs)
def test_consistency_is_a_share_and_knows_no_order(one: float, other: float) -> None:
    found = consistency(one, other)
    assert 0.0 <= found <= 1.0
    assert found == consistency(other, one) == consistency(-one, -other)
    assert found == 0.0 or one * other > 0
    assert consistency(one, one) == (1.0 if abs(one) >= 1e-9 else 0.0)


@given(rows_of_z)
def test_scores_are_the_weighted_sum_of_what_is_clipped(rows: list[tuple[float, float]]) -> None:
    weights, clipped = np.array([3.0, 2.0]), np.clip(np.array(rows), -5, 5)
    found = run(Fusion(FusionSetup(ofi_weight=3.0, cvd_weight=2.0)), rows)
    assert [point.score for point in found] == near((clipped @ weights / 5.0).tolist(), rel=1e-9, abs=1e-9)
    assert [point.probability for point in found] == near((1 / (1 + np.exp(-(clipped @ weights / 5.0)))).tolist(), rel=1e-9)


@given(rows_of_z)
def test_z_of_the_score_is_a_z_of_a_level(rows: list[tuple[float, float]]) -> None:
    found, plain = run(Fusion(setup(score_least=4, score_window=9)), rows), LevelZ(9, 3)
    for point in found:
        assert point.score_z == plain.update(point.ts, point.score).z


@given(rows_of_z)
def test_a_mirrored_market_has_the_opposite_signal(rows: list[tuple[float, float]]) -> None:
    one = run(Fusion(setup(repeats=2, cooldown_s=3.0)), rows)
    other = run(Fusion(setup(repeats=2, cooldown_s=3.0)), [(-ofi, -cvd) for ofi, cvd in rows])
    for here, there in zip(one, other, strict=True):
        assert there.score == -here.score  # type: ignore[operator]
        assert SIGNALS.index(there.signal) == 4 - SIGNALS.index(here.signal)  # type: ignore[arg-type]


@given(rows_of_z, st.integers(1, 4), st.floats(0, 5))
def test_entries_keep_the_rules(rows: list[tuple[float, float]], repeats: int, cooldown: float) -> None:
    setting = setup(repeats=repeats, cooldown_s=cooldown)
    found, last = run(Fusion(setting), rows), None
    sides = [0] + [int(math.copysign(1, SIGNALS.index(point.signal) - 2)) if point.signal != "neutral" else 0 for point in found]  # type: ignore[arg-type]
    for number, point in enumerate(found):
        before, side = sides[number], sides[number + 1]
        if side and side == before:
            assert point.score * side >= setting.leave  # type: ignore[operator]
        elif side:
            assert point.entered
            recent = [SIGNALS.index(one.raw) - 2 for one in found[number + 1 - repeats : number + 1]]  # type: ignore[arg-type]
            assert len(recent) == repeats and all(one * side > 0 for one in recent)
            assert last is None or point.ts - last >= cooldown * SECOND_NS
            last = point.ts


@given(rows_of_z, rows_of_z)
def test_after_reset_it_is_a_fresh_instance(before: list[tuple[float, float]], after: list[tuple[float, float]]) -> None:
    used, fresh = Fusion(setup(warm_up=3)), Fusion(setup(warm_up=3))
    run(used, before)
    used.reset()
    assert run(used, after) == run(fresh, after)
