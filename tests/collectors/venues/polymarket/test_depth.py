"""The books against a model venue, and every rule against a book that does not keep it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Record
from tape_collectors.market.book import Book
from tape_collectors.venues.polymarket import depth
from tape_collectors.venues.polymarket.depth import AssetBook, Doubles
from tape_collectors.venues.polymarket.feed import ClobFeed
from tests.collectors.venues.polymarket.frames import DOWN, SECOND, UP, book, change, compact, leg, trade

Sides = dict[str, dict[str, str]]


class Venue:
    """A model of the market channel for one asset: it knows its book, and writes the frames of a history."""

    def __init__(self) -> None:
        self.sides: Sides = {"BUY": {"0.4": "10"}, "SELL": {"0.6": "10"}}
        self.ms = 1_786_728_432_000
        self.orders = 0

    def best(self) -> tuple[str, str]:
        bids, asks = self.sides["BUY"], self.sides["SELL"]
        return (max(bids, key=float) if bids else "0", min(asks, key=float) if asks else "0")

    def step(self, price: int, size: int, side: str, gap_ms: int) -> bytes:
        """One level changes."""
        self.ms += gap_ms
        self.orders += 1
        at = f"{price / 100:.2f}".rstrip("0")
        if size:
            self.sides[side][at] = str(size)
        else:
            self.sides[side].pop(at, None)
        return compact(change(self.ms, leg(UP, at, str(size), side, self.best(), f"order-{self.orders}")))

    def book(self) -> bytes:
        return compact(book(UP, self.ms, self.sides["BUY"], self.sides["SELL"], digest=f"{self.ms}-{self.orders}"))


class Reader:
    """What a consumer of the records believes: the proven book, or None."""

    def __init__(self) -> None:
        self.book: Book | None = None

    def take(self, records: list[Record]) -> None:
        for record in records:
            if getattr(record, "symbol", "") != UP:
                continue
            if isinstance(record, BookSnapshot):
                self.book = Book()
                self.book.replace(record.bids, record.asks)
            elif isinstance(record, BookDelta) and self.book is not None:
                self.book.apply(record.bids, record.asks)
            elif isinstance(record, BookLost):
                self.book = None

    def sides(self) -> Sides | None:
        if self.book is None:
            return None
        bids, asks = self.book.levels()
        return {"BUY": dict(bids), "SELL": dict(asks)}


def run(frames: list[bytes]) -> tuple[Reader, list[Record], ClobFeed]:
    feed, reader, records = ClobFeed(), Reader(), []
    for number, frame in enumerate(frames):
        out = list(feed.receive(SECOND * 100 + number, frame)[0])
        reader.take(out)
        records += out
    if reader.book is not None:
        # What the feed itself holds (for the checks of rule 8 and against REST) is what it told.
        held = feed.books[UP]
        assert held.book.levels() == reader.book.levels()
        bids, asks = held.book.levels()
        assert held.touch == {"BUY": float(bids[0][0]) if bids else 0.0, "SELL": float(asks[0][0]) if asks else 1.0}
    return reader, records, feed


# Bids below 0.5, asks above: a venue's book is never crossed. Times differ: within one millisecond only the order of receipt tells.
steps = st.lists(
    st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(1, 49), st.sampled_from([0, 0, 5, 7, 9]), st.integers(1, 400)), max_size=40
)


def history(rows: list[tuple[str, int, int, int]], books: set[int]) -> tuple[Venue, list[bytes]]:
    venue = Venue()
    frames = [venue.book()]
    for number, (side, cents, size, gap) in enumerate(rows):
        frames.append(venue.step(cents if side == "BUY" else 100 - cents, size, side, gap))
        if number in books:
            frames.append(venue.book())
    return venue, frames


@given(steps, st.sets(st.integers(0, 40), max_size=6), st.data())
@settings(max_examples=150)
def test_nothing_lost_means_the_venues_book(rows: list[tuple[str, int, int, int]], books: set[int], data: st.DataObject) -> None:
    """Doubled frames, at any later place, and frames that overtake each other change nothing in the end."""
    venue, frames = history(rows, books)
    doubles = data.draw(st.lists(st.tuples(st.integers(0, len(frames) - 1), st.integers(0, len(frames))), max_size=8))
    places = [float(place) for place in range(len(frames))]
    late = data.draw(st.lists(st.tuples(st.integers(0, len(frames) - 1), st.integers(1, 6)), max_size=8))
    for at, by in late:
        places[at] = at + by + 0.5
    arrivals = [(places[at], at) for at in range(len(frames))] + [(max(places[at], float(to)) + 0.25, at) for at, to in doubles]
    reader, records, _ = run([frames[at] for _, at in sorted(arrivals)])
    assert reader.sides() == venue.sides
    assert not any(isinstance(record, BookLost) for record in records)


@given(steps, st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40), max_size=4))
@settings(max_examples=150)
def test_the_next_book_repairs_whatever_was_lost(rows: list[tuple[str, int, int, int]], lost: set[int], books: set[int]) -> None:
    venue, frames = history(rows, books)
    kept = [frame for number, frame in enumerate(frames) if number not in lost]
    venue.ms += 1
    reader, _, _ = run([*kept, venue.book()])
    assert reader.sides() == venue.sides


@given(steps, st.integers(0, 30))
@settings(max_examples=100)
def test_a_lost_best_price_does_not_stay_unseen(rows: list[tuple[str, int, int, int]], lost: int) -> None:
    """Without a repair: after enough frames the book is lost, or its best prices are the venue's."""
    venue, frames = history(rows, set())
    kept = [frame for number, frame in enumerate(frames) if number != lost + 1]
    after = [venue.step(1, 3 + number % 2, "BUY", 300) for number in range(depth.DISAGREES + 1)]
    reader, _, feed = run([*kept, *after])
    best = feed.books[UP].book.best() if reader.book is not None else None
    if best is not None and all(venue.sides.values()):
        assert (best[0], best[2]) == venue.best()


# -- rules ---------------------------------------------------------------------------------------------------------------------


def rule_1() -> None:
    reader, _, _ = run(
        [compact(book(UP, 1000, {"0.4": "1", "0.3": "2"}, {"0.6": "1"})), compact(book(UP, 1001, {"0.4": "1"}, {"0.6": "1"}))]
    )
    assert reader.sides() == {"BUY": {"0.4": "1"}, "SELL": {"0.6": "1"}}


def rule_2() -> None:
    frames = [book(UP, 1000, {"0.4": "1"}, {"0.6": "1"}), change(1001, leg(UP, "0.41", "5", "BUY"), leg(UP, "0.6", "0", "SELL"))]
    reader, _, _ = run([compact(frame) for frame in frames])
    assert reader.sides() == {"BUY": {"0.41": "5", "0.4": "1"}, "SELL": {}}


def rule_3() -> None:
    reader, records, _ = run([compact(change(1001, leg(UP, "0.41", "5", "BUY")))])
    assert reader.book is None and not any(isinstance(record, BookDelta) for record in records)


def rule_4() -> None:
    frames = [
        book(UP, 1000, {"0.4": "1"}, {"0.6": "1"}),
        change(1005, leg(UP, "0.41", "5", "BUY")),
        change(1003, leg(UP, "0.41", "0", "BUY")),
        change(999, leg(UP, "0.6", "0", "SELL")),
    ]
    reader, _, _ = run([compact(frame) for frame in frames])
    assert reader.sides() == {"BUY": {"0.41": "5", "0.4": "1"}, "SELL": {"0.6": "1"}}


def rule_5() -> None:
    first, second = (change(1001, leg(UP, "0.41", size, "BUY", digest=name)) for size, name in (("5", "a"), ("6", "b")))
    reader, records, _ = run([compact(frame) for frame in (book(UP, 1000, {}, {}), first, second, first, trade(UP, 1002), trade(UP, 1002))])
    assert reader.sides() == {"BUY": {"0.41": "6"}, "SELL": {}}
    assert sum(type(record).__name__ == "Trade" for record in records) == 1


def rule_6() -> None:
    frames = [
        change(1005, leg(UP, "0.42", "8", "BUY")),
        book(UP, 1004, {"0.4": "1"}, {"0.6": "1"}),
        change(1009, leg(UP, "0.41", "5", "BUY"), leg(UP, "0.6", "0", "SELL")),
        book(UP, 1007, {"0.42": "8", "0.4": "2"}, {"0.6": "1", "0.7": "3"}),
        book(UP, 1006, {"0.1": "1"}, {}),
    ]
    reader, _, _ = run([compact(frame) for frame in frames])
    assert reader.sides() == {"BUY": {"0.42": "8", "0.41": "5", "0.4": "2"}, "SELL": {"0.7": "3"}}


def rule_7() -> None:
    tick = {"market": "0x1", "asset_id": UP, "old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": "1001"}
    frames: list[dict[str, Any]] = [book(UP, 1000, {"0.4": "1"}, {"0.6": "1"}), tick | {"event_type": "tick_size_change"}]
    frames.append(change(1002, leg(UP, "0.41", "5", "BUY")))
    reader, _, _ = run([compact(frame) for frame in frames])
    assert reader.book is None
    reader, _, _ = run([compact(frame) for frame in [*frames, book(UP, 1001, {"0.4": "1"}, {"0.6": "1"})]])
    assert reader.sides() == {"BUY": {"0.41": "5", "0.4": "1"}, "SELL": {"0.6": "1"}}


def rule_8() -> None:
    frames = [book(UP, 1000, {"0.4": "1"}, {"0.6": "1"})]
    frames += [change(2000 + 300 * n, leg(UP, "0.1", str(n + 1), "BUY", ("0.45", "0.6"))) for n in range(depth.DISAGREES)]
    reader, records, feed = run([compact(frame) for frame in frames])
    assert reader.book is None
    assert ("0.4/0.6 here, 0.45/0.6 there") in next(record.why for record in records if isinstance(record, BookLost))
    brief = [change(1000 + n, leg(UP, "0.1", str(n + 1), "BUY", ("0.45", "0.6"))) for n in range(3 * depth.DISAGREES)]
    reader, _, feed = run([compact(frame) for frame in [frames[0], *brief]])
    assert reader.book is not None and feed.books[UP].disagreed


RULES: list[tuple[Callable[[], None], Any, str, Any]] = [
    (rule_1, Book, "replace", Book.apply),
    (rule_2, depth, "price", lambda text: "0.5"),
    (rule_3, AssetBook, "__init__", lambda self, asset, real=AssetBook.__init__: (real(self, asset), setattr(self, "live", True))[0]),
    (
        rule_4,
        AssetBook,
        "leg",
        lambda self, t, ts, one, real=AssetBook.leg: (self.times.clear(), setattr(self, "last_ts", 0), real(self, t, ts, one))[2],
    ),
    (rule_5, Doubles, "__call__", lambda self, key: False),
    (rule_6, AssetBook, "_kept", lambda self, rows, side, newer: rows),
    (rule_6, AssetBook, "snapshot", lambda self, t, event, real=AssetBook.snapshot: (setattr(self, "last_ts", 0), real(self, t, event))[1]),
    (rule_7, AssetBook, "lose", lambda self, t, why: []),
    (rule_8, AssetBook, "agree", lambda self, t, ts, one: []),
    (rule_8, depth, "DISAGREES_NS", 0),
]


@pytest.mark.parametrize(("rule", "where", "name", "broken"), RULES, ids=[f"{row[0].__name__}-{row[2]}" for row in RULES])
def test_each_rule_is_kept_and_its_absence_seen(
    rule: Callable[[], None], where: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule()
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError):
        rule()


def test_memory_is_bounded() -> None:
    doubles = Doubles()
    for number in range(10 * depth.REMEMBERED):
        assert not doubles((str(number),))
        assert doubles((str(number),)) and (number == 0 or doubles((str(number - 1),)))
    assert len(doubles._new) + len(doubles._old) <= 2 * depth.REMEMBERED


def test_both_legs_of_a_frame_reach_both_books() -> None:
    both = change(1001, leg(UP, "0.41", "5", "BUY"), leg(DOWN, "0.59", "5", "SELL"))
    _, records, feed = run([compact(book(UP, 1000, {}, {})), compact(book(DOWN, 1000, {}, {})), compact(both)])
    assert [record.symbol for record in records if isinstance(record, BookDelta)] == [UP, DOWN]
    assert json.loads(compact(both))["price_changes"] and set(feed.books) == {UP, DOWN}
