"""Ids that never came, and ids that came twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tape_monitor.quality.continuity import book, duplicates, epochs, left_out, trades
from tape_monitor.quality.spans import Span

WINDOW = Span(0, 1000)


def prices(ids: list[int], events: list[int] | None = None) -> dict[str, Any]:
    count = len(ids)
    stamps = np.array(events if events is not None else range(count), np.int64)
    return {"recv_ns": np.arange(count) * 10, "agg_trade_id": np.array(ids, np.int64), "event_ts_ms": stamps}


def updates(rows: list[tuple[int, int, int, bool]]) -> dict[str, Any]:
    """(first, last, previous, snapshot)."""
    names = ("first_id", "last_id", "prev_id")
    out: dict[str, Any] = {name: np.array([row[at] for row in rows], np.int64) for at, name in enumerate(names)}
    return {**out, "snapshot": np.array([row[3] for row in rows], bool), "recv_ns": np.arange(len(rows)) * 10}


def test_missing_ids_are_counted_over_the_span() -> None:
    found = trades("S", prices([10, 11, 13, 16]))
    assert found.missing == 3 and found.rate == 3 / 7
    assert [(one.from_id, one.to_id, one.start, one.end) for one in found.breaks] == [(12, 12, 10, 20), (14, 15, 20, 30)]


def test_an_id_that_came_late_is_not_missing() -> None:
    found = trades("S", prices([10, 12, 15]), frozenset({11, 13}))
    assert [(one.why, one.missing) for one in found.breaks] == [("late", 0), ("missed", 1)] and found.missing == 1


def test_numbers_that_begin_anew_are_no_hole() -> None:
    ids, events = [100, 101, 5, 6, 8], [1, 2, 3, 4, 5]
    assert epochs(np.array(ids), np.array(events)).tolist() == [0, 0, 1, 1, 1]
    found = trades("S", prices(ids, events))
    assert (found.resets, found.missing) == (1, 1)
    assert epochs(np.array([100, 101, 100, 102]), np.array([1, 2, 1, 3])).tolist() == [0, 0, 0, 0], "a double is no new numbering"


@given(st.sets(st.integers(1, 300), min_size=2), st.lists(st.integers(0, 20), max_size=5))
def test_holes_of_random_ids_are_found_exactly(ids: set[int], twice: list[int]) -> None:
    rows = sorted([*ids, *(sorted(ids)[at % len(ids)] for at in twice)])
    found = trades("S", prices(rows, rows))
    lost = {number for one in found.breaks for number in range(one.from_id, one.to_id + 1)}
    assert lost == set(range(min(ids), max(ids) + 1)) - ids and found.missing == len(lost)
    double = duplicates("S", "prices", np.arange(len(rows)), np.array(rows), np.zeros(len(rows), np.int64))
    assert double.duplicates == len(twice) and set(double.ids) == {sorted(ids)[at % len(ids)] for at in twice}


def test_duplicates_are_rows_beyond_the_first_of_their_id() -> None:
    ids = np.array([1, 2, 2, 3, 4, 4, 4])
    found = duplicates("S", "prices", np.arange(7), ids, np.zeros(7, np.int64))
    assert found.duplicates == 3 and found.rate == 3 / 7 and found.ids == [2, 4, 4] and found.times == [2, 5, 6]
    anew = duplicates("S", "prices", np.arange(7), ids, np.array([0, 0, 1, 1, 1, 2, 3]))
    assert anew.duplicates == 0
    nothing = duplicates("S", "ofi", np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))
    assert nothing.rate is None


def test_a_book_is_whole_while_each_update_continues_the_one_before() -> None:
    whole = updates([(99, 99, -1, True), (98, 105, 97, False), (106, 106, 105, False), (107, 120, 106, False), (123, 125, 120, False)])
    assert book("S", whole, WINDOW).breaks == [], "numbers that are skipped are no loss: pu says so"
    lost = updates([(99, 99, -1, True), (98, 105, 97, False), (106, 106, 105, False), (107, 120, 106, False), (123, 125, 122, False)])
    found = book("S", lost, WINDOW)
    assert [(one.from_id, one.to_id, one.why, one.start, one.end) for one in found.breaks] == [(121, 122, "sequence", 30, 40)]
    assert found.rate == 10 / 1000


def test_a_book_that_begins_anew_was_not_known_in_between() -> None:
    rows = [(9, 9, -1, True), (8, 12, 7, False), (50, 50, -1, True), (48, 55, 47, False), (56, 58, 55, False)]
    found = book("S", updates(rows), WINDOW)
    assert [(one.why, one.start, one.end) for one in found.breaks] == [("resync", 10, 20)]
    again = [(9, 9, -1, True), (8, 12, 7, False), (12, 12, -1, True), (13, 15, 12, False)]
    assert book("S", updates(again), WINDOW).breaks == [], "the same id: nothing was between"


def test_the_first_update_after_a_snapshot_must_reach_it() -> None:
    assert len(book("S", updates([(9, 9, -1, True), (12, 15, 11, False)]), WINDOW).breaks) == 1


def test_another_connection_and_a_row_twice_are_no_loss() -> None:
    rows = [(9, 9, -1, True), (8, 12, 7, False), (10, 14, -1, False), (15, 16, 14, False), (15, 16, 14, False), (17, 18, 16, False)]
    found = book("S", updates(rows), WINDOW)
    assert found.breaks == [] and found.handovers == 1


def test_time_that_falls_is_counted() -> None:
    rows = prices([1, 2, 3, 4])
    rows["recv_ns"] = np.array([0, 5, 4, 9])
    assert trades("S", rows).disorder == 1


def test_what_was_left_out_is_what_the_events_tell() -> None:
    told = [
        '{"count":3,"sent_twice":2,"ids":[7,9]}',
        '{"missed":1}',
        '{"count":1,"sent_twice":0,"ids":[]}',
        '{"count":200,"sent_twice":200,"ids":[11]}',
    ]
    kinds = np.array(["trades_doubled", "trades_missed", "trades_doubled", "trades_doubled"], object)
    found = left_out("S", 796, {"recv_ns": np.arange(4) * 10, "event_type": kinds, "meta_json": np.array(told, object)})
    assert (found.count, found.sent_twice, found.rate) == (204, 202, 204 / 1000) and (found.ids, found.times) == ([7, 9, 11], [0, 30])
    none = left_out("S", 0, {"recv_ns": np.arange(0), "event_type": kinds[:0], "meta_json": kinds[:0]})
    assert (none.count, none.rate) == (0, None)
