"""Order flow and CVD beside another project's: wickra (Rust, MIT or Apache-2.0), which only the tests install."""

from __future__ import annotations

import pytest
import wickra
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.features.cvd import CVD
from tape_collectors.market.features.ofi import BestOFI, RankDifference
from tests.collectors.features.streams import Quote, books, quotes, trades
from tests.collectors.features.test_captures import FILES, recorded
from tests.collectors.features.test_ofi import QUOTES


def theirs(rows: list[Quote], events: int = 1) -> list[float | None]:
    """Their sum over the last ``events`` events, after each quote."""
    flow = wickra.OrderFlowImbalance(events)
    return [flow.update([bid], [bids], [ask], [asks]) for bid, bids, ask, asks in rows]


def ours(rows: list[Quote]) -> list[float | None]:
    flow = BestOFI()
    return [flow.update(*row) for row in rows]


def test_the_oracle_is_theirs_too_and_the_rank_difference_is_not() -> None:
    assert ours(QUOTES) == theirs(QUOTES) == [None, 2, 5, -6, -5, 6, 4, 7]
    assert theirs(QUOTES, 7)[-1] == 13
    plain = RankDifference([1.0])
    assert [plain.update([quote[:2]], [quote[2:]]) for quote in QUOTES] != theirs(QUOTES)


@given(quotes())
def test_each_event(rows: list[Quote]) -> None:
    assert ours(rows) == theirs(rows)


@given(quotes(least=3), st.data())
def test_intervals(rows: list[Quote], data: st.DataObject) -> None:
    events = data.draw(st.integers(1, len(rows) - 1))
    flow = BestOFI()
    for number, row in enumerate(rows):
        if number == len(rows) - events:
            flow.take()
        flow.update(*row)
    assert flow.take().ofi == theirs(rows, events)[-1]


def test_a_long_market() -> None:
    rows = [(*bids[0], *asks[0]) for bids, asks in books(5000)]
    assert ours(rows) == theirs(rows)


@pytest.mark.captures
@pytest.mark.parametrize("path", FILES)
def test_recorded_quotes(path: str) -> None:
    table = recorded(path, b"@bookTicker")[["b", "B", "a", "A"]].astype("float64")
    rows = list(table.itertuples(index=False, name=None))
    assert len(rows) > 20_000
    assert ours(rows)[1:] == pytest.approx(theirs(rows)[1:], rel=1e-9, abs=1e-9)


def test_volume_delta() -> None:
    cvd, other = CVD("run"), wickra.CumulativeVolumeDelta()
    for trade in trades(5000):
        point = cvd.update(*trade)
        assert point is not None and point.cvd == pytest.approx(other.update(trade.price, trade.size, trade.side == "buy"), abs=1e-9)
