"""The rules of ``venues.joined``, which Gate.io and MEXC share, each by what would go wrong without it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.records import BookDelta, BookSnapshot, Gap, Record
from tape_collectors.market.book import Book
from tape_collectors.venues.joined import REACH_NS, Event, JoinedBook

ROW = [("9", "1")]


def event(first: int, last: int, ts: int = 0, *, full: bool = False) -> Event:
    return Event(first, last, ts or 1000 + last, ROW, [], full)


def kinds(records: list[Record] | None) -> list[str]:
    return [type(record).__name__ for record in records or []]


def live(*, overlaps: bool = False) -> JoinedBook:
    book = JoinedBook("S", "c", overlaps=overlaps)
    book.event(1, event(10, 12))
    assert kinds(book.snapshot(2, event(11, 11, full=True))) == ["BookSnapshot", "BookDelta"]
    return book


def test_rule_1_a_later_beginning_is_a_gap_with_its_ids_and_loses_the_book() -> None:
    book = live()
    assert kinds(book.event(3, event(13, 15))) == ["BookDelta"]
    gap, *rest = book.event(4, event(18, 20))
    assert isinstance(gap, Gap) and (gap.from_id, gap.to_id) == (16, 17) and kinds(rest) == ["BookLost"] and not book.live


@pytest.mark.parametrize(("overlaps", "wanted"), [(True, ["BookDelta"]), (False, ["Gap", "BookLost"])])
def test_rule_1_an_earlier_beginning_where_it_is_allowed(overlaps: bool, wanted: list[str]) -> None:
    assert kinds(live(overlaps=overlaps).event(3, event(11, 15))) == wanted


def test_rule_2_doubled_events_and_a_venue_that_begins_anew() -> None:
    book = live()
    assert kinds(book.event(3, event(10, 12))) == ["Notice"] and book.live
    assert kinds(book.event(4, event(3, 4, ts=9_999_999))) == ["Reset", "BookLost"] and not book.live


def test_rule_3_a_whole_book_replaces_whenever_it_comes() -> None:
    book = live()
    assert kinds(book.event(3, event(50, 50, full=True))) == ["BookSnapshot"]
    assert kinds(book.event(4, event(51, 53))) == ["BookDelta"]
    assert kinds(book.event(5, event(7, 7, full=True))) == ["Reset", "BookSnapshot"] and book.live
    assert kinds(book.event(6, event(8, 8))) == ["BookDelta"]


def test_rule_4_events_inside_the_snapshot_are_dropped() -> None:
    book = JoinedBook("S", "c")
    for first, last in ((10, 12), (13, 15), (16, 20)):
        assert book.event(1, event(first, last)) == []
    assert kinds(book.snapshot(2, event(17, 17, full=True))) == ["BookSnapshot", "BookDelta"] and book.last == 20


def test_rule_5_a_snapshot_that_the_stream_does_not_reach_is_too_old() -> None:
    book = JoinedBook("S", "c")
    book.event(1, event(10, 12))
    assert book.snapshot(2, event(8, 8, full=True)) is None and not book.live
    early = JoinedBook("S", "c")
    assert kinds(early.snapshot(2, event(8, 8, full=True))) == ["BookSnapshot"]
    assert kinds(early.event(3, event(11, 12))) == ["BookLost"], "what comes first must reach it"


def test_rule_6_a_snapshot_ahead_of_the_stream_for_too_long() -> None:
    for wait, wanted in ((1, []), (REACH_NS + 1, ["BookLost"])):
        book = JoinedBook("S", "c")
        book.event(1, event(10, 12))
        book.snapshot(2, event(100, 100, full=True))
        assert kinds(book.event(2 + wait, event(13, 14))) == wanted


@given(st.integers(0, 10**6), st.sampled_from(["drop", "double", "reorder", "late snapshot", "none"]), st.booleans())
def test_the_book_is_the_venues_or_a_mark_stands(seed: int, fault: str, pushed: bool) -> None:
    chance = random.Random(seed)
    truth: tuple[dict[str, str], dict[str, str]] = ({"9": "1"}, {"11": "1"})
    one, kept, events, at_id = JoinedBook("S", "c"), Book(), [], 100
    snapshots = {}
    for number in range(1, 60):
        first = at_id + 1
        bids, asks = [], []
        for _ in range(chance.randrange(1, 4)):
            at_id += 1
            side, price = chance.randrange(2), chance.randrange(5)
            level = (str(9 - price if side == 0 else 11 + price), chance.choice(["0", "1", "2.5"]))
            truth[side][level[0]] = level[1]
            (bids if side == 0 else asks).append(level)
        events.append(Event(first, at_id, 1000 + number, bids, asks))
        snapshots[number] = Event(at_id, at_id, 1000 + number, list(truth[0].items()), list(truth[1].items()), True)
    at, joins = chance.randrange(25, 50), chance.randrange(5, 15)
    if fault == "drop":
        del events[at]
    elif fault == "double":
        events.insert(at + 1, events[at])
    elif fault == "reorder":
        events[at], events[at + 1] = events[at + 1], events[at]
    records: list[Record] = []
    for t, some in enumerate(events, 1):
        records += one.event(t, some)
        if t == joins + (4 if fault == "late snapshot" else 0):
            found = snapshots[joins]
            records += one.event(t, snapshots[t]) if pushed and fault != "late snapshot" else (one.snapshot(t, found) or [])
    for record in records:
        if isinstance(record, BookSnapshot):
            kept.replace(record.bids, record.asks)
        elif isinstance(record, BookDelta):
            kept.apply(record.bids, record.asks)
    if fault in ("drop", "reorder"):
        assert not one.live and "Gap" in kinds(records) and "BookLost" in kinds(records)
    else:
        bids, asks = kept.levels()
        assert one.live and not {"Gap", "BookLost", "Reset"} & set(kinds(records))
        assert dict(bids) == {price: size for price, size in truth[0].items() if size != "0"}
        assert dict(asks) == {price: size for price, size in truth[1].items() if size != "0"}


def test_going_on_from_a_checkpoint() -> None:
    book, other = live(), JoinedBook("S", "c")
    other.restore(book.state(), levels=True)
    for one in (book, other):
        assert kinds(one.event(3, event(13, 14))) == ["BookDelta"]
        assert kinds(one.event(4, event(20, 21))) == ["Gap", "BookLost"]
