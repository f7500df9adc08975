"""Rows against rows, signals, and rows against the tape's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tape_archive.format import harvest
from tape_collectors.market.features.zscore import clip_share
from tape_collectors.market.harvest import HarvestPart
from tape_monitor.quality import identities
from tape_monitor.quality.compare import Rows, compare
from tape_monitor.quality.retold import found
from tape_monitor.quality.signals import needed, scores, signals

#: Cont, Kukanov & Stoikov by hand: (bid, size, ask, size) and the event's contribution
QUOTES = [(100.0, 10, 100.5, 8), (100.0, 12, 100.5, 8), (100.1, 5, 100.5, 8), (100.1, 5, 100.4, 6), (100.0, 11, 100.4, 6)]
QUOTES += [(100.0, 11, 100.5, 10), (100.0, 9, 100.5, 4), (100.2, 3, 100.6, 7)]
FLOW = [2.0, 5.0, -6.0, -5.0, 6.0, 4.0, 7.0]


def book(snapshots: tuple[int, ...] = (0,)) -> dict[str, Any]:
    count = len(QUOTES)
    names = ("bid_price_1", "bid_qty_1", "ask_price_1", "ask_qty_1")
    out: dict[str, Any] = {name: np.array([quote[at] for quote in QUOTES], float) for at, name in enumerate(names)}
    previous = np.arange(count) + 99
    snapshot = np.isin(np.arange(count), snapshots)
    previous[snapshot] = -1
    return {**out, "recv_ns": np.arange(count), "last_id": np.arange(count) + 100, "prev_id": previous, "snapshot": snapshot}


def ofi(values: list[float], first: int = 101) -> dict[str, Any]:
    count = len(values)
    return {"recv_ns": np.arange(count), "last_id": np.arange(count) + first, "ofi_value": np.array(values)}


def test_order_flow_of_a_book_is_the_published_one() -> None:
    assert identities.best_level(book())[1:].tolist() == FLOW
    found = identities.order_flow("S", book(), ofi(FLOW))
    assert (found.rows, found.wrong) == (7, 0)


def test_one_wrong_value_is_found() -> None:
    wrong = [*FLOW[:3], -5.0 + 1e-6, *FLOW[4:]]
    found = identities.order_flow("S", book(), ofi(wrong))
    assert (found.wrong, found.first) == (1, 3)
    unknown = identities.order_flow("S", book(), ofi([*FLOW[:3], float("nan"), *FLOW[4:]]))
    assert unknown.wrong == 1, "a value that should be known"


def test_nothing_is_differenced_with_a_snapshot_or_across_a_loss() -> None:
    broken = book()
    broken["prev_id"][4] = 1
    assert identities.order_flow("S", broken, ofi([*FLOW[:3], 99.0, *FLOW[4:]])).wrong == 0
    assert np.isnan(identities.best_level(book(snapshots=(0, 4)))[4])


def cvd(**changed: Any) -> dict[str, Any]:
    delta = np.array([1.5, -2.0, 0.5, 3.0, -1.0])
    raw = delta / 0.2
    out: dict[str, Any] = {"recv_ns": np.arange(5), "agg_trade_id": np.arange(5), "cvd": np.cumsum(delta), "delta": delta, "z_raw": raw}
    out |= {"z_cvd": np.clip(raw, -8, 8), "scale": np.full(5, 0.2), "anchor_ms": np.zeros(5), "gaps": np.zeros(5, int)}
    return {**out, "floor_used": np.array([True, False, False, False, True]), "why": np.array([""] * 5, object), **changed}


def test_cvd_adds_up_and_a_level_that_does_not_is_found() -> None:
    assert identities.adds_up("S", cvd()).wrong == 0
    jumped = cvd(cvd=np.array([1.5, -0.5, 0.0, 3.1, 2.1]))
    assert (identities.adds_up("S", jumped).wrong, identities.adds_up("S", jumped).first) == (1, 3)
    for told in (
        {"gaps": np.array([0, 0, 0, 1, 1])},
        {"anchor_ms": np.array([0, 0, 0, 9, 9])},
        {"agg_trade_id": np.array([0, 1, 2, 5, 6])},
    ):
        assert identities.adds_up("S", {**jumped, **told}).wrong == 0


def test_scores_are_deltas_by_scales_within_the_limit() -> None:
    assert [one.wrong for one in identities.scores("S", cvd(), 8.0)] == [0, 0]
    assert [one.wrong for one in identities.scores("S", cvd(), None)] == [0, 0]
    assert [one.wrong for one in identities.scores("S", cvd(), 7.0)] == [3, 0]
    assert [one.wrong for one in identities.scores("S", cvd(scale=np.full(5, 0.25)), 8.0)] == [0, 5]
    assert len(identities.scores("S", cvd(), 8.0, single=False)) == 1


def test_prices_and_cvd_have_the_same_trades() -> None:
    prices = {"recv_ns": np.arange(5), "agg_trade_id": np.arange(5)}
    assert identities.same_trades("S", prices, cvd()).wrong == 0
    assert identities.same_trades("S", prices, cvd(agg_trade_id=np.array([0, 1, 2, 3, 7]))).wrong == 2


def test_the_winsor_effect_is_the_share_that_the_limit_changed() -> None:
    raw = np.array([0.5, -3.0, 9.0, -12.0, 2.0, 8.0, np.nan])
    z = np.clip(raw, -8, 8)
    rows = {"z_raw": raw, "z_cvd": z, "scale": raw, "floor_used": np.zeros(7, bool), "why": np.array([""] * 6 + ["warm-up"], object)}
    found = scores("S", rows)
    assert found.winsor_effect == pytest.approx(1 / 3) == clip_share(zip(raw[:6].tolist(), z[:6].tolist(), strict=True))
    assert found.unknown == {"warm-up": 1} and (found.above_2, found.above_3) == (4 / 6, 3 / 6) and sum(found.histogram) == 6
    none = scores("S", {name: values[:0] for name, values in rows.items()})
    assert (none.winsor_effect, none.median, none.floor) == (None, None, None)


def test_events_of_the_tape_are_no_signals() -> None:
    found = signals("S", np.array(["begin", "bull_div", "bull_div", "anomaly", "trades_missed"], object))
    assert found.signals == 3 and found.by_type["begin"] == 1
    assert [needed(hours, 1000) for hours in (72.0, 24.0, 36.0, 0.01)] == [1000, 334, 500, 1]


def test_rows_that_the_tape_does_not_make_are_told_by_column() -> None:
    made: Rows = {("prices", "S", 1): {"price": 1.0, "qty": 2.0}, ("prices", "S", 2): {"price": 1.0, "qty": 2.0}}
    stored: Rows = {("prices", "S", 1): {"price": 1.5, "qty": 2.0 + 1e-15, "more": 1}, ("prices", "S", 3): {"price": 1.0}}
    found = compare([((0, 1), stored, made)])
    assert (found.rows, found.values, found.different, found.lacking, found.surplus) == (1, 2, {"prices.price": 1}, 1, 1)
    assert "price is 1.5, by the tape 1.0" in " ".join(found.examples) and len(found.examples) == 3
    assert compare([], "no tape").why_not == "no tape"
    both = {("ofi", "S", 1): {"ofi_z": None}}
    assert compare([((0, 1), both, both)]).different == {}  # type: ignore[list-item]


def test_at_a_whole_hour_a_score_is_compared_when_its_window_was_seen() -> None:
    columns = harvest.names("ofi")
    row = {"recv_ns": 0, "symbol": "S", "last_id": 0, "ofi_z": 1.0, "scale": 1.0}
    rows = [tuple({**row, "recv_ns": at, "last_id": at}.get(name) for name in columns) for at in range(400)]
    part = HarvestPart("S", "ofi", 0, 399, rows)
    made = found([part], 200, 400, begun=False)
    assert len(made) == 200 and "regime" not in made["ofi", "S", 350], "what remembers longer is not compared"
    assert [at for at in range(200, 400) if "ofi_z" in made["ofi", "S", at]] == list(range(301, 400))
    assert all(len(one) == len(columns) for one in found([part], 0, 400, begun=True).values()), "from a run's beginning all is"
