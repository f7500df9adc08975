"""Is the book that the stream built the venue's own? A REST book, asked for while the stream goes on, is compared level by level.

1. From the moment of asking, every level that a delta touches is remembered with the update that touched it.
2. Where REST counts updates as the stream does, the comparison waits until the book has reached the snapshot's update, and leaves out the
   levels that a later update touched: all others must be equal. A delta that spans the snapshot's update counts as later; and what came
   and went within it no delta tells, so that a difference found then is not sure: it is one if the next comparison finds it again.
3. Where it does not (``id`` 0), the comparison waits for two more seconds of the stream, and leaves out every level touched since asking.
4. Only prices are compared that the snapshot covers and that the book's own first snapshot covered: what lies farther out a book knows
   only as far as it changed since. Prices and sizes are compared as numbers.
5. A book that was lost or begun anew meanwhile is not compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from tape_archive.format.records import BookDelta, BookSnapshot, Level

Numbers = dict[Decimal, Decimal]

WAIT_NS = 2_000_000_000
#: a comparison that did not come about by then is given up
LATE_NS = 60_000_000_000


class Difference(msgspec.Struct, frozen=True):
    """One level: the book's size and the venue's, as decimal text (``0``: no such level)."""

    side: str
    price: str
    ours: str
    theirs: str


class Comparison(msgspec.Struct, frozen=True):
    """What came of it: how many levels were compared, and those that differ."""

    id: int
    levels: int
    differences: list[Difference]
    sure: bool = True


class Anchor:
    """One comparison in the making, begun at ``t`` when the book stood at update ``id`` and was complete between the prices ``known``."""

    def __init__(self, t: int, id: int, known: tuple[Decimal, Decimal]) -> None:
        self.t = t
        self.id = id
        self.snapshot: BookSnapshot | None = None
        self._known = known
        self._touched: dict[tuple[str, Decimal], int] = {}
        self._spans: list[tuple[int, int]] = []

    def delta(self, record: BookDelta) -> None:
        """What the stream changes meanwhile."""
        self._spans.append((record.first, record.last))
        for side, levels in (("bid", record.bids), ("ask", record.asks)):
            for price, _ in levels:
                self._touched[side, Decimal(price)] = record.last

    def due(self, t: int, book_id: int) -> bool:
        """Whether the comparison can be made now."""
        snapshot = self.snapshot
        return snapshot is not None and (book_id >= snapshot.id if snapshot.id else t >= snapshot.t + WAIT_NS)

    def compare(self, bids: Iterable[Level], asks: Iterable[Level]) -> Comparison | None:
        """The book's levels against the snapshot's. None where rule 2 cannot hold: the snapshot is older than the asking."""
        snapshot = self.snapshot
        assert snapshot is not None
        if snapshot.id and snapshot.id < self.id:
            return None
        count, found = 0, []
        for side, ours, theirs in (("bid", bids, snapshot.bids), ("ask", asks, snapshot.asks)):
            compared, differ = self._side(side, _numbers(ours), _numbers(theirs))
            count += compared
            found += differ
        sure = bool(snapshot.id) and not any(first <= snapshot.id < last for first, last in self._spans)
        return Comparison(snapshot.id, count, found, sure)

    def _side(self, side: str, held: Numbers, told: Numbers) -> tuple[int, list[Difference]]:
        if not told:
            return 0, []
        assert self.snapshot is not None
        least = max(min(told), self._known[0]) if side == "bid" else Decimal(0)
        most = min(max(told), self._known[1]) if side == "ask" else Decimal("Infinity")
        later = {price for (where, price), last in self._touched.items() if where == side and not 0 < last <= self.snapshot.id}
        compared = {price for price in (*told, *held) if least <= price <= most} - later
        pairs = [(price, held.get(price, Decimal(0)), told.get(price, Decimal(0))) for price in sorted(compared)]
        return len(compared), [Difference(side, str(price), str(ours), str(theirs)) for price, ours, theirs in pairs if ours != theirs]


def covered(record: BookSnapshot) -> tuple[Decimal, Decimal]:
    """The lowest bid and the highest ask of a snapshot: between them it is complete."""
    bids, asks = _numbers(record.bids), _numbers(record.asks)
    return min(bids, default=Decimal(0)), max(asks, default=Decimal("Infinity"))


def _numbers(levels: Iterable[Level]) -> Numbers:
    return {Decimal(price): Decimal(size) for price, size in levels}
