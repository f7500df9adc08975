"""The book rules of ``venues.bybit.depth``, each by what would go wrong without it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Levels, Notice, Record, Reset
from tape_collectors.market.book import Book
from tape_collectors.venues.bybit import wire
from tape_collectors.venues.bybit.depth import JUMPS, JUMPS_NS, DepthBook


def frame(u: int, bids: Levels | None = None, asks: Levels | None = None) -> wire.Book:
    return wire.Book(s="S", b=bids or [], a=asks or [], u=u, seq=u * 3)


def kinds(records: list[Record]) -> list[str]:
    return [type(record).__name__ for record in records]


@pytest.fixture
def book() -> DepthBook:
    one = DepthBook("S", "orderbook.50")
    one.snapshot(1, 1, 1, frame(100, [("9", "1")], [("11", "1")]))
    return one


def test_rule_1_deltas_before_a_snapshot_prove_nothing_and_a_snapshot_always_replaces(book: DepthBook) -> None:
    fresh = DepthBook("S", "orderbook.50")
    assert kinds(fresh.delta(1, 1, 1, frame(5))) == [] and not fresh.live
    assert kinds(fresh.snapshot(2, 2, 2, frame(9))) == ["BookSnapshot"] and fresh.live
    assert kinds(book.snapshot(2, 2, 2, frame(150))) == ["BookSnapshot"], "no gap: nothing of the book is missing"
    assert kinds(book.delta(3, 3, 3, frame(151))) == ["BookDelta"]


def test_rule_2_a_restart_is_a_reset_and_no_loss(book: DepthBook) -> None:
    assert kinds(book.snapshot(2, 2, 2, frame(1))) == ["Reset", "BookSnapshot"]
    assert kinds(book.delta(3, 3, 3, frame(2))) == ["BookDelta"]


def test_rule_3_doubled_and_late_deltas_change_nothing(book: DepthBook) -> None:
    book.delta(2, 2, 2, frame(101))
    assert kinds(book.delta(3, 2, 2, frame(101))) == ["Notice"]
    assert kinds(book.delta(4, 1, 1, frame(90))) == ["Notice"] and book.live and book.last == 101


def test_rule_3_an_older_number_at_a_later_time_is_a_reset_and_loses_the_book(book: DepthBook) -> None:
    book.delta(2, 2, 2, frame(101))
    assert kinds(book.delta(3, 3, 3, frame(50))) == ["Reset", "BookLost"] and not book.live


def test_rule_4_a_jump_is_a_gap_with_its_numbers(book: DepthBook) -> None:
    gap, lost = book.delta(2, 2, 2, frame(104))
    assert isinstance(gap, Gap) and (gap.from_id, gap.to_id) == (101, 103) and isinstance(lost, BookLost) and not book.live


def test_rule_4_jumps_that_are_the_streams_habit_are_only_said() -> None:
    for pause, ended in ((1, "BookDelta"), (JUMPS_NS, "BookLost")):
        book, t, u = DepthBook("S", "orderbook.50"), 0, 0
        for _ in range(JUMPS + 1):
            t, u = t + pause, u + 10
            last = [*book.snapshot(t, 1, 1, frame(u)), *book.delta(t, 1, 1, frame(u + 2))]
        assert kinds(last)[-1] == ended


def test_rule_4_jumps_of_a_book_that_is_lost_are_no_habit(book: DepthBook) -> None:
    for number in range(2 * JUMPS):
        book.delta(number, 1, 1, frame(200 + 10 * number))
    book.snapshot(3 * JUMPS, 1, 1, frame(1000))
    assert kinds(book.delta(4 * JUMPS, 1, 1, frame(1002))) == ["Gap", "BookLost"]


@given(st.integers(0, 10**6), st.sampled_from(["drop", "double", "reorder", "none"]))
def test_the_book_is_the_venues_or_a_mark_stands(seed: int, fault: str) -> None:
    chance = random.Random(seed)
    truth: tuple[dict[str, str], dict[str, str]] = ({"9": "1"}, {"11": "1"})
    one, kept = DepthBook("S", "orderbook.50"), Book()
    records = one.snapshot(0, 0, 1, frame(100, list(truth[0].items()), list(truth[1].items())))
    frames = []
    for number in range(1, 40):
        side, price = chance.randrange(2), chance.randrange(5)
        level = (str(9 - price if side == 0 else 11 + price), chance.choice(["0", "1", "2.5"]))
        truth[side][level[0]] = level[1]
        frames.append((number, frame(100 + number, *([level], []) if side == 0 else ([], [level]))))
    at = chance.randrange(5, 30)
    if fault == "drop":
        del frames[at]
    elif fault == "double":
        frames.insert(at + 1, frames[at])
    elif fault == "reorder":
        frames[at], frames[at + 1] = frames[at + 1], frames[at]
    for t, (number, event) in enumerate(frames, 1):
        records += one.delta(t, number, number, event)
    for record in records:
        if isinstance(record, BookSnapshot):
            kept.replace(record.bids, record.asks)
        elif isinstance(record, BookDelta):
            kept.apply(record.bids, record.asks)
    marks = [record for record in records if isinstance(record, Gap | Reset | BookLost)]
    if fault in ("drop", "reorder"):
        assert not one.live and {type(mark) for mark in marks} == {Gap, BookLost}
    else:
        assert one.live and not marks
        bids, asks = kept.levels()
        assert dict(bids) == {price: size for price, size in truth[0].items() if size != "0"}
        assert dict(asks) == {price: size for price, size in truth[1].items() if size != "0"}
    assert sum(isinstance(record, Notice) for record in records) == (fault in ("double", "reorder"))


def test_going_on_from_a_checkpoint(book: DepthBook) -> None:
    book.delta(2, 2, 2, frame(101))
    other = DepthBook("S", "orderbook.50")
    other.restore(book.state(), levels=True)
    for one in (book, other):
        assert kinds(one.delta(3, 3, 3, frame(102))) == ["BookDelta"]
        assert kinds(one.delta(4, 4, 4, frame(110))) == ["Gap", "BookLost"]
    bare = DepthBook("S", "orderbook.50")
    bare.restore(book.state(), levels=False)
    assert not bare.live
