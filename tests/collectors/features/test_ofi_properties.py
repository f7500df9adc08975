"""Order flow imbalance: what must always hold, and the paper's printed formula beside it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.features.ofi import BestOFI, LevelsOFI, RankDifference, Retreat
from tests.collectors.features.streams import Book, Quote, books, ladders, quotes, sizes

near = pytest.approx


def paper(rows: Sequence[Quote], current: bool = False) -> list[float]:
    """e of each event but the first, vectorised from the printed formula with its four indicators. ``current``: a retreat takes the size
    that stands at the next price."""
    frame = pd.DataFrame(rows, columns=["pb", "qb", "pa", "qa"], dtype="float64")
    before = frame.shift(1)
    bid_left = before["qb"].where(~((frame["pb"] < before["pb"]) & current), frame["qb"])
    ask_left = before["qa"].where(~((frame["pa"] > before["pa"]) & current), frame["qa"])
    e = (
        (frame["pb"] >= before["pb"]) * frame["qb"]
        - (frame["pb"] <= before["pb"]) * bid_left
        - (frame["pa"] <= before["pa"]) * frame["qa"]
        + (frame["pa"] >= before["pa"]) * ask_left
    )
    return [float(value) for value in e.iloc[1:]]


def best(rows: Sequence[Quote], retreat: Retreat = "previous") -> list[float | None]:
    ofi = BestOFI(retreat)
    return [ofi.update(*row) for row in rows]


@given(st.lists(st.tuples(sizes, sizes), min_size=2, max_size=40), st.sampled_from(["previous", "current"]))
def test_sums_telescope_while_prices_stand(pairs: list[tuple[float, float]], retreat: Retreat) -> None:
    rows = [(100.0, bid, 101.0, ask) for bid, ask in pairs]
    expected = (pairs[-1][0] - pairs[0][0]) - (pairs[-1][1] - pairs[0][1])
    assert sum(best(rows, retreat)[1:]) == expected  # type: ignore[arg-type]


@given(ladders(levels=2))
def test_the_rank_difference_telescopes_always(rows: list[Book]) -> None:
    measure = RankDifference([0.5, 0.25])
    found = [measure.update(*book) for book in rows][1:]

    def depth(book: Book) -> float:
        return sum(weight * (book[0][at][1] - book[1][at][1]) for at, weight in enumerate((2 / 3, 1 / 3)))

    assert sum(found) == near(depth(rows[-1]) - depth(rows[0]))  # type: ignore[arg-type]


@given(quotes(), st.booleans())
def test_best_level_is_the_paper_s_formula(rows: list[Quote], current: bool) -> None:
    assert best(rows, "current" if current else "previous")[1:] == paper(rows, current)


@given(ladders())
def test_each_rank_is_the_paper_s_formula(rows: list[Book]) -> None:
    ofi = LevelsOFI(3)
    found = [ofi.update(*book) for book in rows][1:]
    for rank in range(3):
        expected = paper([(*bids[rank], *asks[rank]) for bids, asks in rows])
        assert [event[rank] for event in found if event is not None] == expected


@given(quotes())
def test_variants_differ_only_where_a_price_retreats(rows: list[Quote]) -> None:
    for before, after, one, other in zip(rows, rows[1:], best(rows)[1:], best(rows, "current")[1:], strict=False):
        if after[0] >= before[0] and after[2] <= before[2]:
            assert one == other


@given(quotes(), st.sampled_from(["previous", "current"]))
def test_a_mirrored_market_has_the_opposite_flow(rows: list[Quote], retreat: Retreat) -> None:
    mirrored = [(-ask, asks, -bid, bids) for bid, bids, ask, asks in rows]
    assert best(mirrored, retreat)[1:] == [-value for value in best(rows, retreat)[1:]]  # type: ignore[operator]


@given(quotes(), st.integers(-3, 6))
def test_flow_has_the_unit_of_sizes_and_normalised_has_none(rows: list[Quote], power: int) -> None:
    scale = 2.0**power
    one, other = BestOFI(), BestOFI()
    for number, (bid, bids, ask, asks) in enumerate(rows):
        small, large = one.update(bid, bids, ask, asks), other.update(bid, bids * scale, ask, asks * scale)
        assert large == (None if small is None else small * scale)
        if not number:
            one.take()
            other.take()
    found, scaled = one.take(), other.take()
    assert scaled.ofi == found.ofi * scale  # type: ignore[operator]
    assert scaled.normalised == found.normalised


@given(quotes(least=3), st.data())
def test_intervals_add_up(rows: list[Quote], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(rows) - 1))
    whole, parts, sums = BestOFI(), BestOFI(), []
    for number, row in enumerate(rows):
        whole.update(*row)
        parts.update(*row)
        if not number:
            whole.take()
            parts.take()
        elif number == cut:
            sums.append(parts.take())
    sums.append(parts.take())
    together = whole.take()
    assert together.ofi == sum(part.ofi for part in sums)  # type: ignore[misc]
    assert together.events == sum(part.events for part in sums)


@given(ladders(levels=3))
def test_the_first_rank_is_the_best_level(rows: list[Book]) -> None:
    one, many = BestOFI(), LevelsOFI(3)
    for number, (bids, asks) in enumerate(rows):
        event, ranks = one.update(*bids[0], *asks[0]), many.update(bids, asks)
        assert event == (None if ranks is None else ranks[0])
        if not number:
            one.take()
            many.take()
    assert one.take().ofi == many.take().ofi[0]


@given(quotes(), quotes())
def test_after_reset_it_is_a_fresh_instance(before: list[Quote], after: list[Quote]) -> None:
    used = BestOFI()
    for row in before:
        used.update(*row)
    used.reset()
    fresh = BestOFI()
    assert [used.update(*row) for row in after] == [fresh.update(*row) for row in after]
    assert used.take().ofi is fresh.take().ofi is None
    assert [used.update(*row) for row in after] == [fresh.update(*row) for row in after]
    assert used.take() == fresh.take()


def test_levels_over_a_long_market() -> None:
    ofi, total = LevelsOFI(5), 0.0
    rows = books(2000)
    for book in rows:
        event = ofi.update(*book)
        total += event[0] or 0.0 if event else 0.0
    assert total == sum(paper([(*bids[0], *asks[0]) for bids, asks in rows]))
