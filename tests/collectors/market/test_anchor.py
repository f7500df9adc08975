"""A REST book of any moment is compared with a book that has gone on: what is equal is never called different, what differs is found."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.records import BookDelta, BookSnapshot, Levels
from tape_collectors.market.anchor import WAIT_NS, Anchor, Comparison, covered
from tape_collectors.market.book import Book

SIZES = ("0", "1.5", "2", "7.25")
Change = tuple[int, int]


def rows(levels: dict[int, str], *, best_first: bool) -> Levels:
    return [(f"{price}.00", size) for price, size in sorted(levels.items(), reverse=best_first)]


class Venue:
    """The venue's own book, update by update."""

    def __init__(self) -> None:
        self.bids = {price: "1.5" for price in range(80, 100)}
        self.asks = {price: "1.5" for price in range(101, 121)}
        self.id = 0

    def change(self, price: int, size: str) -> None:
        side = self.bids if price <= 100 else self.asks
        self.id += 1
        if size == "0":
            side.pop(price, None)
        else:
            side[price] = size

    def snapshot(self, t: int = 1, limit: int = 1000, *, counted: bool = True) -> BookSnapshot:
        bids, asks = rows(self.bids, best_first=True)[:limit], rows(self.asks, best_first=False)[:limit]
        return BookSnapshot(t, 0, "S", "depth", self.id if counted else 0, bids, asks, "rest")


def net(before: Levels, after: Levels) -> Levels:
    """What a venue sends: the levels that are not what they were at the push before."""
    old, new = dict(before), dict(after)
    return [(price, "0") for price in old if price not in new] + [(price, size) for price, size in after if old.get(price) != size]


def play(
    changes: list[Change], asked: int, served: int, limit: int, batch: int, *, counted: bool = True, spoil: bool = False
) -> Comparison | None:
    """Asked after ``asked`` changes, served after ``served``, compared at the end; the stream sends ``batch`` changes a delta."""
    venue, book = Venue(), Book()
    first = venue.snapshot()
    book.replace(first.bids, first.asks)
    anchor: Anchor | None = None
    pushed, begun = first, 1
    for number, (price, size) in enumerate(changes, 1):
        venue.change(price, SIZES[size])
        if number % batch == 0 or number == len(changes):
            now = venue.snapshot()
            bids, asks = net(pushed.bids, now.bids), net(pushed.asks, now.asks)
            pushed = now
            delta = BookDelta(number, 0, "S", "depth", begun, venue.id, bids, asks)
            if spoil and number == batch:
                delta.bids = [*bids, ("95.00", "99")]
            book.apply(delta.bids, delta.asks)
            if anchor is not None:
                anchor.delta(delta)
            begun = venue.id + 1
        if anchor is None and number >= asked and begun == venue.id + 1:
            anchor = Anchor(number, venue.id, covered(first))
        if anchor is not None and anchor.snapshot is None and number >= served:
            anchor.snapshot = venue.snapshot(number, limit, counted=counted)
    if anchor is None or anchor.snapshot is None:
        return None
    assert anchor.due(len(changes) + WAIT_NS, venue.id)
    return anchor.compare(*book.levels())


CHANGES = st.lists(st.tuples(st.integers(70, 130).filter(lambda price: price != 100), st.integers(0, 3)), min_size=30, max_size=80)


@given(CHANGES, st.integers(1, 15), st.integers(1, 30), st.integers(1, 40), st.integers(1, 7), st.booleans())
def test_a_true_book_never_differs(changes: list[Change], asked: int, served: int, limit: int, batch: int, counted: bool) -> None:
    found = play(changes, asked, served, limit, batch, counted=counted)
    assert found is None or not found.differences or not found.sure


@given(CHANGES, st.integers(1, 7))
def test_a_level_that_is_wrong_is_found_unless_it_was_touched(changes: list[Change], batch: int) -> None:
    changes = [(price, size) for price, size in changes if price != 95]
    changes = [*changes, *[(99, 1)] * (30 - len(changes))]
    found = play(changes, batch, 20, 1000, batch, spoil=True)
    assert found is not None
    told = [(one.side, Decimal(one.price), one.ours, one.theirs) for one in found.differences]
    # A level that went and came back within one push differs from a book of that moment: such a difference is not sure, and is looked for again.
    assert ("bid", Decimal(95), "99", "1.5") in told and (told == [("bid", Decimal(95), "99", "1.5")] or not found.sure)


def test_a_snapshot_older_than_the_asking_proves_nothing() -> None:
    anchor = Anchor(10, 50, (Decimal(1), Decimal(200)))
    anchor.snapshot = BookSnapshot(11, 0, "S", "depth", 49, [("99", "1")], [("101", "1")], "rest")
    assert anchor.due(11, 50) and anchor.compare([("99", "2")], [("101", "1")]) is None
