"""Order flow imbalance: published oracles to 1e-9, each rule of the module, an independent implementation, and what must always hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from statsmodels.multivariate.pca import PCA as StatsPCA

from tape_collectors.market.features.ofi import (
    ORIGIN_WEIGHTS,
    BestOFI,
    Component,
    IntegratedOFI,
    LevelsOFI,
    RankDifference,
    Retreat,
    first_component,
    flow,
    ladder,
    weighted,
)
from tests.collectors.features.streams import Book, Quote, books, ladders, quotes, sizes

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


# -- what must always hold --------------------------------------------------------------------------------------------------------


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


# -- the component against numpy, scikit-learn and statsmodels ------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(2, 10), st.integers(12, 200))
def test_component_equals_two_libraries(seed: int, columns: int, count: int) -> None:
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(count, 1)) * chance.uniform(0.5, 2.0, columns) + 0.3 * chance.normal(size=(count, columns))
    found = first_component(rows.tolist())
    assert found is not None
    model = PCA(n_components=1).fit(rows)
    vector = model.components_[0] * np.sign(model.components_[0].sum())
    assert found.weights == exactly((vector / np.abs(vector).sum()).tolist(), abs=1e-9)
    assert found.explained == near(float(model.explained_variance_ratio_[0]))
    other = StatsPCA(rows, ncomp=1, standardize=False).loadings[:, 0]
    other = other * np.sign(other.sum())
    assert found.weights == exactly((other / np.abs(other).sum()).tolist(), abs=1e-9)
    assert sum(abs(weight) for weight in found.weights if weight is not None) == near(1.0)


def test_component_leaves_out_what_does_not_vary_or_is_not_known() -> None:
    rows: list[list[float | None]] = [[1.0, 5.0, None, 2.0, 1.0], [2.0, 5.0, 3.0, 3.9, math.nan], [3.0, 5.0, 4.0, 6.1, 2.0]]
    found, plain = first_component(rows), first_component([(row[0], row[3]) for row in rows])
    assert found is not None and plain is not None
    assert found.weights == [plain.weights[0], None, None, plain.weights[1], None]
    assert first_component([(1.0, None), (1.0, None)]) is None
    assert first_component(ROWS[:1]) is None
    assert first_component([(1.0,), (3.0,)]) == Component([1.0], 1.0)


def test_component_without_a_direction_has_equal_weights() -> None:
    square = [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
    opposite = [(1.0, -1.0), (2.0, -2.0), (3.0, -3.0)]
    for rows in (square, opposite):
        found = first_component(rows)
        assert found is not None
        assert found.weights == [0.5, 0.5]


@given(st.integers(0, 10**6))
def test_the_sign_of_the_component_is_positive(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(30, 3))
    found = first_component(rows.tolist())
    assert found is not None
    assert sum(weight for weight in found.weights if weight is not None) > 0


def test_integrated_is_fitted_on_earlier_rows_only() -> None:
    chance = np.random.default_rng(7)
    rows = chance.normal(size=(40, 3)).tolist()
    ofi, found = IntegratedOFI(window=10, refit=5), []
    for number, row in enumerate(rows):
        found.append(ofi.update(row))
        if number < 10:
            assert found[-1] is None
            continue
        fitted = 9 + (number - 10) // 5 * 5
        component = first_component(rows[fitted - 9 : fitted + 1])
        assert component is not None
        assert found[-1] == near(float(np.dot(row, np.array(component.weights, dtype=float))))


def test_integrated_does_not_know_what_comes_after() -> None:
    chance = np.random.default_rng(8)
    rows = chance.normal(size=(60, 3)).tolist()
    whole = IntegratedOFI(20, 7)
    found = [whole.update(row) for row in rows]
    for cut in (21, 25, 33, 59):
        part = IntegratedOFI(20, 7)
        assert [part.update(row) for row in [*rows[:cut], *([[1e6, -1e6, 3.0]] * 3)]][:cut] == found[:cut]


def test_integrated_is_none_where_a_weighted_rank_is() -> None:
    ofi = IntegratedOFI(window=5, refit=100)
    for row in ROWS:
        ofi.update([*row, 4.0])
    assert ofi.component is not None and ofi.component.weights[2] is None
    assert ofi.update([1.0, None, 4.0]) is None
    assert ofi.update([1.0, math.nan, 4.0]) is None
    assert ofi.update([1.0, 2.0, None]) == near(1.669031062740589)


def test_intervals_without_any_value_are_not_fitted_on() -> None:
    ofi = IntegratedOFI(window=5, refit=100)
    for row in ROWS:
        ofi.update([None, None])
        assert ofi.component is None
        ofi.update(row)
    assert ofi.component == first_component(ROWS)
