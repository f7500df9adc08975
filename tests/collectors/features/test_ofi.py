"""Order flow imbalance: published oracles to 1e-9, and each rule of the module."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.features.ofi import (
    ORIGIN_WEIGHTS,
    BestOFI,
    IntegratedOFI,
    LevelsOFI,
    RankDifference,
    Retreat,
    first_component,
    flow,
    ladder,
    weighted,
)
from tests.collectors.features.streams import Book, Quote

QUOTES: list[Quote] = [
    (100.0, 10, 100.5, 8),
    (100.0, 12, 100.5, 8),
    (100.1, 5, 100.5, 8),
    (100.1, 5, 100.4, 6),
    (100.0, 11, 100.4, 6),
    (100.0, 11, 100.5, 10),
    (100.0, 9, 100.5, 4),
    (100.2, 3, 100.6, 7),
]
BOOKS: list[Book] = [
    ([(100, 10), (99, 20)], [(101, 8), (102, 15)]),
    ([(100, 12), (99, 18)], [(101, 8), (102, 15)]),
    ([(100.5, 4), (100, 12)], [(101, 8), (102, 15)]),
    ([(100.5, 4), (100, 12)], [(102, 15), (103, 9)]),
]
ROWS = [(1.0, 2.0), (2.0, 3.9), (3.0, 6.1), (-1.0, -2.1), (0.0, 0.1)]
exactly = pytest.approx


def near(value: object) -> object:
    return exactly(value, rel=1e-9, abs=1e-9)


def best(rows: Sequence[Quote], retreat: Retreat = "previous") -> list[float | None]:
    ofi = BestOFI(retreat)
    return [ofi.update(*row) for row in rows]


# -- oracles ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retreat", "events", "total"), [("previous", [2, 5, -6, -5, 6, 4, 7], 13), ("current", [2, 5, -6, -11, 10, 4, 10], 14)]
)
def test_oracle_best_level(retreat: Retreat, events: list[int], total: int) -> None:
    found = best(QUOTES, retreat)
    assert found[0] is None
    assert found[1:] == near(events)
    assert sum(found[1:]) == near(total)  # type: ignore[arg-type]


def test_oracle_rank_difference_is_what_the_origin_called_ofi() -> None:
    measure = RankDifference([1.0])
    found = [measure.update([(bid, bids)], [(ask, asks)]) for bid, bids, ask, asks in QUOTES]
    assert found == [None, *map(near, [2, -7, 2, 6, -4, 4, -9])]
    assert sum(found[1:]) == near(-6)  # type: ignore[arg-type]


def test_oracle_depth_and_normalised() -> None:
    ofi = BestOFI()
    ofi.update(*QUOTES[0])
    ofi.take()
    for quote in QUOTES[1:]:
        ofi.update(*quote)
    found = ofi.take()
    assert (found.ofi, found.depth, found.normalised) == (near(13), near(7.5), near(1.7333333333333334))
    assert (found.events, found.resets) == (7, 0)


def test_oracle_levels() -> None:
    ofi = LevelsOFI(2)
    assert ofi.update(*BOOKS[0]) is None
    ofi.take()
    assert [ofi.update(*book) for book in BOOKS[1:]] == [near([2, -2]), near([4, 12]), near([8, 15])]
    found = ofi.take()
    assert found.ofi == near([14, 25])
    assert found.depth == near(11)
    assert found.normalised == near([1.2727272727272727, 2.272727272727273])
    assert weighted(found.ofi, [0.4, 0.3]) == near(18.714285714285715)


def test_oracle_depth_of_each_rank() -> None:
    for rank, depth in ((0, 8.5), (1, 13.5)):
        ofi = BestOFI()
        for number, (bids, asks) in enumerate(BOOKS):
            ofi.update(*bids[rank], *asks[rank])
            if not number:
                ofi.take()
        assert ofi.take().depth == near(depth)


def test_oracle_weights() -> None:
    assert sum(ORIGIN_WEIGHTS) == near(1.0)
    assert weighted([1.0, 0.0], [0.4, 0.3]) == near(0.5714285714285715)
    assert weighted([0.0, 1.0], [0.4, 0.3]) == near(0.4285714285714286)
    assert weighted([1.0] * 5, [0.4, 0.3, 0.2, 0.08, 0.02]) == near(1.0)


def test_oracle_component_and_integrated() -> None:
    component = first_component(ROWS)
    assert component is not None
    assert component.weights == near([0.330968937259411, 0.669031062740589])
    assert component.explained == near(0.9998606997427175)
    ofi = IntegratedOFI(window=5, refit=5)
    assert [ofi.update(row) for row in ROWS] == [None] * 5
    expected = [1.669031062740589, 3.2711590192071194, 5.073996294495825, -1.735934169014648, 0.0669031062740589]
    assert [ofi.apply(row) for row in ROWS] == near(expected)


def test_oracle_covariance_behind_the_component() -> None:
    found = np.cov(np.array(ROWS).T)
    assert found.tolist() == [near([2.5, 5.05]), near([5.05, 10.21])]
    component = first_component(ROWS)
    assert component is not None
    vector = np.array(component.weights, dtype=float)
    vector /= np.linalg.norm(vector)
    assert vector.tolist() == near([0.44340837949708584, 0.8963197024453764])
    assert (found @ vector).tolist() == near((12.70822949372994 * vector).tolist())


def test_oracle_of_joined_events() -> None:
    rows: list[Quote] = [(100, 10, 101, 5), (100, 12, 101, 5), (100.1, 5, 101, 5), (100.1, 7, 101, 5)]
    assert best(rows)[1:] == near([2, 5, 2])
    assert best([rows[0], rows[-1]])[1:] == near([7])


# -- the numbered rules -----------------------------------------------------------------------------------------------------------


def test_rule_1_the_first_book_gives_no_value() -> None:
    assert best(QUOTES[:1]) == [None]
    assert LevelsOFI(2).update(*BOOKS[0]) is None
    assert RankDifference().update(*BOOKS[0]) is None


BAD: list[Quote] = [
    (100.0, 0.0, 100.5, 8.0),
    (100.0, 10.0, 100.5, 0.0),
    (100.0, -1.0, 100.5, 8.0),
    (100.0, math.nan, 100.5, 8.0),
    (100.0, 10.0, 100.5, math.inf),
    (100.5, 10.0, 100.5, 8.0),
    (100.6, 10.0, 100.5, 8.0),
    (math.nan, 10.0, 100.5, 8.0),
    (100.0, 10.0, math.nan, 8.0),
    (-math.inf, 10.0, 100.5, 8.0),
    (100.0, 10.0, math.inf, 8.0),
]


@pytest.mark.parametrize("bad", BAD)
def test_rule_2_what_is_no_book_gives_none_and_forgets_the_book_before(bad: Quote) -> None:
    assert best([QUOTES[0], bad, QUOTES[1], QUOTES[2]]) == [None, None, None, 5]
    for measure in (LevelsOFI(1), RankDifference([1.0])):
        found = [measure.update([(bid, bids)], [(ask, asks)]) for bid, bids, ask, asks in (QUOTES[0], bad, QUOTES[1], QUOTES[2])]
        assert found[:3] == [None, None, None]
        assert found[3] is not None


def test_rule_2_an_empty_side() -> None:
    for measure in (LevelsOFI(2), RankDifference([0.5, 0.5])):
        for empty in (([], BOOKS[0][1]), (BOOKS[0][0], []), ([], [])):
            assert measure.update(*BOOKS[0]) is None
            assert measure.update(*empty) is None
            assert measure.update(*BOOKS[1]) is None
            measure.reset()


def test_rule_2_the_caller_resets_at_a_gap() -> None:
    ofi, levels, ranks = BestOFI(), LevelsOFI(2), RankDifference([0.5, 0.5])
    ofi.update(*QUOTES[0])
    levels.update(*BOOKS[0])
    ranks.update(*BOOKS[0])
    ofi.reset()
    levels.reset()
    ranks.reset()
    assert ofi.update(*QUOTES[1]) is None
    assert levels.update(*BOOKS[1]) is None
    assert ranks.update(*BOOKS[1]) is None
    assert ofi.take().resets == levels.take().resets == 1


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(1, 8))
def test_rule_3_texts_are_equal_floats_exactly_when_their_numbers_are(one: int, other: int, places: int) -> None:
    texts = [f"{number // 10**places}.{number % 10**places:0{places}d}" for number in (one, other)]
    before, after = ((float(text), 4.0, 1e9, 1.0) for text in texts)
    expected = 9.0 if other > one else 9.0 - 4.0 if other == one else -4.0
    assert flow(before, (after[0], 9.0, 1e9, 1.0)) == expected
    assert float(texts[0]) == float(texts[0] + "00")


def test_rule_3_there_is_no_epsilon() -> None:
    low = 0.1 + 0.2
    assert best([(0.3, 4.0, 1.0, 1.0), (low, 9.0, 1.0, 1.0)]) == [None, 9.0]
    assert best([(3, 4.0, 10, 1.0), (3, 9.0, 10, 1.0)]) == [None, 5.0]


def test_rule_4_a_rank_that_is_not_there_is_none() -> None:
    ofi = LevelsOFI(3)
    assert ofi.update(*BOOKS[0]) is None
    assert ofi.update(*BOOKS[1]) == [2, -2, None]
    assert ofi.update(BOOKS[2][0][:1], BOOKS[2][1]) == [4, None, None]
    assert ofi.update(*BOOKS[3]) == [8, None, None]


def test_rule_4_sizes_of_zero_are_no_level_and_ranks_move_up() -> None:
    assert ladder([(100, 0.0), (99, 3.0), (98, math.nan), (97, 4.0)], 2) == [(99, 3.0), (97, 4.0)]
    ofi = LevelsOFI(2)
    ofi.update(*BOOKS[0])
    bids, asks = BOOKS[1]
    assert ofi.update([(100.5, 0.0), bids[0], (99.5, 0.0), bids[1]], asks) == [2, -2]


def test_rule_4_weights_need_the_ranks_that_they_weigh() -> None:
    assert weighted([1.0, None], [1.0, 0.0]) == 1.0
    assert weighted([1.0, None], [1.0, -3.0]) == 1.0
    assert weighted([1.0, None], [0.5, 0.5]) is None
    assert weighted([1.0], [0.5, 0.5]) is None
    assert weighted([1.0], [1.0, 0.0]) == 1.0
    assert weighted([1.0], []) is None
    assert weighted([1.0], [-1.0]) is None
    assert RankDifference([0.5, 0.5]).update(*BOOKS[0]) is None


def test_rule_4_the_rank_difference_needs_them_too() -> None:
    measure = RankDifference([0.5, 0.5])
    measure.update(*BOOKS[0])
    assert measure.update(BOOKS[1][0][:1], BOOKS[1][1]) is None
    assert measure.update(*BOOKS[2]) is None
    assert measure.update(*BOOKS[3]) == near(0.5 * (0 - 7) + 0.5 * (0 - -6))


@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (-1.0, 0.0)])
def test_rule_4_weights_of_nothing_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights: one of them must be above 0"):
        RankDifference(weights)


def test_rule_4_ranks_without_a_weight_are_not_needed() -> None:
    measure = RankDifference([0.5, 0.0, -2.0])
    assert measure.update(BOOKS[0][0][:1], BOOKS[0][1][:1]) is None
    assert measure.update(BOOKS[1][0][:1], BOOKS[1][1][:1]) == 2.0


def test_rule_5_an_interval_that_was_not_seen_whole_has_no_sum() -> None:
    ofi = BestOFI()
    for quote in QUOTES[:3]:
        ofi.update(*quote)
    first = ofi.take()
    assert (first.ofi, first.depth, first.normalised, first.events) == (None, None, None, 2)
    ofi.update(*QUOTES[3])
    assert ofi.take().ofi == -6
    ofi.update(*QUOTES[4])
    ofi.reset()
    ofi.update(*QUOTES[5])
    ofi.update(*QUOTES[6])
    assert ofi.take().ofi is None
    assert ofi.take().ofi == 0.0


def test_rule_5_an_interval_without_an_event_is_zero_and_has_no_depth() -> None:
    ofi, levels = BestOFI(), LevelsOFI(2)
    ofi.update(*QUOTES[0])
    levels.update(*BOOKS[0])
    ofi.take()
    levels.take()
    quiet, flat = ofi.take(), levels.take()
    assert (quiet.ofi, quiet.depth, quiet.normalised, quiet.events) == (0.0, None, None, 0)
    assert (flat.ofi, flat.depth, flat.normalised, flat.events) == ([0.0, 0.0], None, [None, None], 0)


def test_rule_5_a_rank_needs_every_book_of_the_interval() -> None:
    ofi = LevelsOFI(2)
    ofi.update(*BOOKS[0])
    ofi.take()
    ofi.update(BOOKS[1][0][:1], BOOKS[1][1])
    ofi.update(*BOOKS[2])
    found = ofi.take()
    assert found.ofi == [6.0, None]
    assert found.depth == near((12 + 8 + 4 + 8) / 4)
    assert found.normalised == [near(6 / 8), None]
    ofi.update(*BOOKS[3])
    assert ofi.take().ofi == [8.0, 15.0]


def test_rule_5_the_book_at_the_beginning_counts_too() -> None:
    ofi = LevelsOFI(2)
    ofi.update(BOOKS[0][0][:1], BOOKS[0][1])
    ofi.take()
    ofi.update(*BOOKS[1])
    ofi.update(*BOOKS[2])
    assert ofi.take().ofi == [6.0, None]
    ofi.update(*BOOKS[3])
    ofi.reset()
    assert ofi.take().ofi == [None, None]


def test_rule_6_a_stream_that_joins_events_gives_another_sum() -> None:
    stands = [quote for quote in QUOTES if quote[0] == 100.0 and quote[2] == 100.5]
    assert sum(best(stands)[1:]) == sum(best([stands[0], stands[-1]])[1:])  # type: ignore[arg-type]
    assert sum(best(QUOTES)[1:]) != sum(best([QUOTES[0], QUOTES[-1]])[1:])  # type: ignore[arg-type]
