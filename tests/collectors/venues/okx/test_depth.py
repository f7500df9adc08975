"""The book rules of ``venues.okx.depth``, each by what would go wrong without it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.records import BookDelta, BookSnapshot, Gap, Record, Reset
from tape_collectors.market.book import Book
from tape_collectors.venues.contracts import base
from tape_collectors.venues.okx import wire
from tape_collectors.venues.okx.depth import KEPT, DepthBook


def plain(row: wire.Row) -> tuple[str, str]:
    return row[0], row[1]


def frame(previous: int, seq: int, bids: list[list[str]] | None = None, asks: list[list[str]] | None = None, ts: int = 0) -> wire.Book:
    return wire.Book(bids=bids or [], asks=asks or [], ts=str(ts or 1000 + seq), seqId=seq, prevSeqId=previous)


def kinds(records: list[Record] | None) -> list[str]:
    return [type(record).__name__ for record in records or []]


LEVEL = [["9", "1", "0", "1"]]


@pytest.fixture
def book() -> DepthBook:
    one = DepthBook("S", "books", plain)
    one.snapshot(1, frame(-1, 10, LEVEL, [["11", "1", "0", "1"]]))
    return one


def test_the_documented_example_10_15_15_3_5(book: DepthBook) -> None:
    assert kinds(book.update(2, frame(10, 15, LEVEL))) == ["BookDelta"]
    assert kinds(book.update(3, frame(15, 15))) == ["Notice"], "rule 3: a heartbeat"
    assert kinds(book.update(4, frame(15, 3, LEVEL))) == ["Reset", "BookDelta"], "rule 4: maintenance"
    assert kinds(book.update(5, frame(3, 5, LEVEL))) == ["BookDelta"] and book.live


def test_rule_1_a_snapshot_replaces_whenever_it_comes(book: DepthBook) -> None:
    assert kinds(book.snapshot(2, frame(-1, 80))) == ["BookSnapshot"]
    assert kinds(book.update(3, frame(80, 90, LEVEL))) == ["BookDelta"]


def test_rule_2_an_update_that_does_not_follow_is_a_gap_without_numbers(book: DepthBook) -> None:
    gap, *rest = book.update(2, frame(12, 15, LEVEL))
    assert isinstance(gap, Gap) and (gap.from_id, gap.to_id) == (0, 0) and kinds(rest) == ["BookLost"] and not book.live


def test_rule_3_a_heartbeat_of_another_number_is_a_gap(book: DepthBook) -> None:
    assert kinds(book.update(2, frame(17, 17))) == ["Gap", "BookLost"]


def test_rule_5_doubled_updates_change_nothing(book: DepthBook) -> None:
    one = frame(10, 15, LEVEL)
    assert kinds(book.update(2, one)) == ["BookDelta"]
    assert kinds(book.update(3, one)) == ["Notice"] and book.live


def test_rule_5_a_reset_whose_bridge_was_lost_is_told_by_the_time(book: DepthBook) -> None:
    assert kinds(book.update(2, frame(3, 5, LEVEL, ts=99_999))) == ["Reset", "BookLost"] and not book.live


def test_rule_6_updates_before_a_snapshot_are_kept_for_a_rest_book() -> None:
    book = DepthBook("S", "books", plain)
    for previous, seq in ((20, 25), (25, 30), (30, 36)):
        assert book.update(1, frame(previous, seq, LEVEL)) == []
    assert book.join(2, frame(-2, 19, LEVEL)) is None, "older than the stream: the first update behind it does not follow"
    assert kinds(book.join(2, frame(-2, 27, LEVEL))) == ["BookSnapshot", "BookDelta", "BookDelta"] and book.last == 36
    assert kinds(book.update(3, frame(36, 40, LEVEL))) == ["BookDelta"]
    for seq in range(2 * KEPT):
        DepthBook("S", "books", plain).update(1, frame(seq, seq + 1))
    assert len(book.kept) == 0


def test_rule_7_frames_without_numbers_are_given_as_they_are() -> None:
    book = DepthBook("S", "books", plain)
    old = wire.Book(bids=LEVEL, asks=[], ts="5")
    assert kinds(book.snapshot(1, old)) == ["BookSnapshot"] and kinds(book.update(2, old)) == ["BookDelta"]


@given(st.integers(0, 10**6), st.sampled_from(["drop", "double", "reorder", "reset", "none"]))
def test_the_book_is_the_venues_or_a_mark_stands(seed: int, fault: str) -> None:
    chance = random.Random(seed)
    truth: tuple[dict[str, str], dict[str, str]] = ({"9": "1"}, {"11": "1"})
    one, kept, frames, seq = DepthBook("S", "books", plain), Book(), [], 100
    records = one.snapshot(0, frame(-1, seq, LEVEL, [["11", "1", "0", "1"]]))
    at = chance.randrange(5, 30)
    for number in range(1, 40):
        side, price = chance.randrange(2), chance.randrange(5)
        level = (str(9 - price if side == 0 else 11 + price), chance.choice(["0", "1", "2.5"]))
        truth[side][level[0]] = level[1]
        previous, seq = seq, 7 if fault == "reset" and number == at else seq + chance.randrange(1, 9)
        row = [[*level, "0", "1"]]
        frames.append(frame(previous, seq, *((row, []) if side == 0 else ([], row)), ts=2000 + number))
    if fault == "drop":
        del frames[at]
    elif fault == "double":
        frames.insert(at + 1, frames[at])
    elif fault == "reorder":
        frames[at], frames[at + 1] = frames[at + 1], frames[at]
    for t, event in enumerate(frames, 1):
        records += one.update(t, event)
    for record in records:
        if isinstance(record, BookSnapshot):
            kept.replace(record.bids, record.asks)
        elif isinstance(record, BookDelta):
            kept.apply(record.bids, record.asks)
    if fault in ("drop", "reorder"):
        assert not one.live and "Gap" in kinds(records) and "BookLost" in kinds(records)
    else:
        bids, asks = kept.levels()
        assert one.live and [kind for kind in kinds(records) if kind in ("Gap", "BookLost")] == []
        assert any(isinstance(record, Reset) for record in records) == (fault == "reset")
        assert dict(bids) == {price: size for price, size in truth[0].items() if size != "0"}
        assert dict(asks) == {price: size for price, size in truth[1].items() if size != "0"}


def test_going_on_from_a_checkpoint(book: DepthBook) -> None:
    book.update(2, frame(10, 15, LEVEL))
    other = DepthBook("S", "books", plain)
    other.restore(book.state(), levels=True)
    for one in (book, other):
        assert kinds(one.update(3, frame(15, 20, LEVEL))) == ["BookDelta"]
        assert kinds(one.update(4, frame(22, 25, LEVEL))) == ["Gap", "BookLost"]


@pytest.mark.parametrize(
    ("size", "contract", "price", "wanted"),
    [
        ("7.69", "0.01", "", "0.0769"),
        ("100", "0.01", "", "1"),
        ("0", "0.01", "", "0"),
        ("0.00001", "1", "", "0.00001"),
        ("5", "10", "", "50"),
    ],
)
def test_sizes_in_the_base_coin(size: str, contract: str, price: str, wanted: str) -> None:
    assert base(size, contract, price) == wanted
    assert base("3", "/100", "50000") == "0.006", "an inverse contract of 100 dollars"
