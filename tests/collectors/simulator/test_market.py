"""The market is a function of its seed, and its books are what its changes add up to."""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_collectors.simulator.market import DEPTH, Change, Fill, Instrument, Market

PRICES = {"BTCUSDT": 84000.0, "ETHUSDT": 2680.0}


def run(seed: int, steps: int = 200) -> list[tuple[list[Change], list[Fill]]]:
    market = Market(PRICES, seed=seed)
    return [pair for ms in range(steps) for pair in market.step(ms).values()]


def test_the_same_seed_makes_the_same_market_and_another_seed_another() -> None:
    assert run(3) == run(3)
    assert run(3) != run(4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_changes_add_up_to_the_book_and_never_cross_it(seed: int) -> None:
    one = Instrument("X", 100.0, seed=seed, keep=True)
    bids, asks = dict(one.bids), dict(one.asks)
    assert len(bids) == len(asks) == DEPTH
    trades = []
    for ms in range(300):
        changes, fills = one.step(ms, 0.4 if ms < 150 else -0.4)
        for change in changes:
            for book, levels in ((bids, change.bids), (asks, change.asks)):
                book.update(levels)
                for price in [price for price, size in book.items() if not size]:
                    del book[price]
        trades += fills
        assert (bids, asks) == (one.bids, one.asks) == one.at(one.id)
        assert max(bids) < min(asks)
    assert [fill.id for fill in trades] == list(range(trades[0].id, trades[0].id + len(trades)))


def test_a_trade_takes_what_it_trades_out_of_the_book() -> None:
    one = Instrument("X", 100.0, keep=True)
    seen = 0
    for ms in range(300):
        for fill in one.step(ms)[1]:
            side = 0 if fill.taker_sells else 1
            before, after = one.at(fill.update - 1)[side], one.at(fill.update)[side]
            assert fill.price == (max(before) if fill.taker_sells else min(before))
            assert before[fill.price] - after.get(fill.price, 0) == fill.size > 0
            seen += 1
    assert seen > 50


def test_instruments_move_together() -> None:
    """The moves of the mids over 50 steps correlate, and they are moves worth the name."""
    market = Market({"A": 1000.0, "B": 1000.0}, seed=5)
    mids: list[tuple[int, ...]] = []
    for ms in range(5000):
        market.step(ms)
        if ms % 50 == 49:
            mids.append(tuple(one.best()[0] for one in market.instruments.values()))
    moves = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(mids)]
    assert statistics.correlation(*zip(*moves, strict=True)) > 0.5
    assert len({mid for mid, _ in mids}) > 50


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(KeyError):
        Instrument("X", 100.0).at(5_000_000)
    with pytest.raises(ValueError, match="no room for 200 levels"):
        Instrument("DOGE", 0.2)
