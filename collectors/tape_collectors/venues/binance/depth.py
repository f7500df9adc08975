"""The book rules of Binance, spot and USD-M.

Sources: binance-spot-api-docs "How to manage a local order book correctly" (text of 2025-11-12) and the futures page of the same name;
both read 2026-11-20 from the project's sheet (sections 2.3 and 3.4).

The *stream* has one rule, which needs no snapshot:

1. Every event continues the one before. Spot: ``U == previous u + 1`` (``U <= previous u + 1 <= u`` is accepted). USD-M: ``pu ==
   previous u``;
   its ``U`` need not follow. Anything else that is newer is a gap: the missing ids are ``previous u + 1 .. U - 1`` (USD-M: ``.. pu``).
2. An event that ends at or before the last one (``u <= previous u``) is late or doubled: it changes nothing.

The *book* joins a REST snapshot with id ``L`` to the stream:

3. Events are kept from the first one on, until a snapshot is there; a gap in the stream throws away those before it.
4. A snapshot from before the first kept event cannot be joined (spot: ``L + 1 < U``; USD-M: ``L < U`` and ``pu != L``): ask for
   another, later.
5. Events wholly inside the snapshot are dropped (spot: ``u <= L``; USD-M: ``u < L``).
6. The first event after it must reach it: spot ``U <= L + 1 <= u``; USD-M ``U <= L <= u`` or ``pu == L``. If it does not, the book is lost.
7. A gap in the stream loses the book: nobody may use it until a new snapshot is joined.
8. Sizes are absolute; zero deletes; deleting a level that is not there is normal (kept by ``market.book``).
"""

from __future__ import annotations

from collections import deque

import msgspec

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Notice, Record
from tape_collectors.venues.binance.wire import MS, Depth, Snapshot

KEPT = 20_000


class Rule(msgspec.Struct, frozen=True):
    """What differs between the two products."""

    by_pu: bool

    def follows(self, event: Depth, last: int) -> bool:
        """Rule 1."""
        return event.pu == last if self.by_pu else last + 1 >= event.U

    def missing(self, event: Depth, last: int) -> tuple[int, int]:
        """The ids that rule 1 found missing, inclusive; (0, 0) if the venue's numbers do not say."""
        to = event.pu if self.by_pu else event.U - 1
        return (last + 1, to) if to > last else (0, 0)

    def inside(self, event: Depth, snapshot: int) -> bool:
        """Rule 5."""
        return event.u < snapshot if self.by_pu else event.u <= snapshot

    def reaches(self, event: Depth, snapshot: int) -> bool:
        """Rule 6."""
        if self.by_pu:
            return event.U <= snapshot <= event.u or event.pu == snapshot
        return event.U <= snapshot + 1 <= event.u

    def too_old(self, event: Depth, snapshot: int) -> bool:
        """Rule 4, for the first kept event."""
        if self.by_pu:
            return snapshot < event.U and event.pu != snapshot
        return snapshot + 1 < event.U


SPOT = Rule(by_pu=False)
USDM = Rule(by_pu=True)


class DepthBook:
    """The sequence of one symbol's depth stream on one connection, and whether its book is proven."""

    __slots__ = ("asked_t", "attempts", "channel", "joining", "kept", "last", "last_t", "live", "rule", "symbol")

    def __init__(self, rule: Rule, symbol: str, channel: str) -> None:
        self.rule = rule
        self.symbol = symbol
        self.channel = channel
        self.last = 0
        self.last_t = 0
        self.live = False
        self.joining = 0
        self.kept: deque[tuple[int, Depth]] = deque(maxlen=KEPT)
        self.asked_t = 0
        self.attempts = 0

    def event(self, t: int, event: Depth) -> list[Record]:
        """One depth event. The book needs a snapshot whenever ``live`` is False afterwards."""
        out: list[Record] = []
        if self.last:
            if event.u <= self.last and self._passed(event):
                return [Notice(t, "duplicate", f"{self.symbol} {self.channel} u={event.u}")]
            if not self.rule.follows(event, self.last):
                out += self._broken(t, event)
        self.last, self.last_t = event.u, t
        if not self.live:
            self.kept.append((t, event))
            return out
        if self.joining:
            if self.rule.inside(event, self.joining):
                return out
            if not self.rule.reaches(event, self.joining):
                return [*out, *self._lost(t, event, "the event after the snapshot does not reach it")]
            self.joining = 0
        out.append(self._delta(t, event))
        return out

    def snapshot(self, t: int, snapshot: Snapshot) -> list[Record] | None:
        """A REST snapshot. None: of no use (too old, rule 4); empty: not needed."""
        if self.live:
            return []
        after = [(at, event) for at, event in self.kept if not self.rule.inside(event, snapshot.lastUpdateId)]
        if after and not self._joins(after[0][1], snapshot.lastUpdateId):
            return None
        self.live = True
        self.joining = 0 if after else snapshot.lastUpdateId
        self.kept.clear()
        self.attempts = self.asked_t = 0
        ts = (snapshot.E or snapshot.T) * MS
        first = BookSnapshot(t, ts, self.symbol, self.channel, snapshot.lastUpdateId, snapshot.bids, snapshot.asks, "rest")
        return [first, *(self._delta(t, event) for _, event in after)]

    def check(self, t: int, first: int, last: int, previous: int) -> list[Record]:
        """Rules 1 and 2 alone, from a header scan, for a recorder that keeps no books."""
        if previous == self.last if self.rule.by_pu else first == self.last + 1:
            self.last, self.last_t = last, t
            return []
        out = self.event(t, Depth(first, last, [], [], pu=previous))
        self.kept.clear()
        return out

    def _joins(self, first: Depth, snapshot: int) -> bool:
        """Rules 4 and 6 for the first kept event."""
        return not self.rule.too_old(first, snapshot) and self.rule.reaches(first, snapshot)

    def _passed(self, event: Depth) -> bool:
        """Rule 2."""
        return True

    def _delta(self, t: int, event: Depth) -> BookDelta:
        return BookDelta(t, event.E * MS, self.symbol, self.channel, event.U, event.u, event.b, event.a)

    def _broken(self, t: int, event: Depth) -> list[Record]:
        from_id, to_id = self.rule.missing(event, self.last)
        gap = Gap(t, self.symbol, self.channel, self.last_t, from_id, to_id, "sequence")
        self.kept.clear()
        if not self.live:
            return [gap]
        self.live, self.joining = False, 0
        return [gap, BookLost(t, self.symbol, self.channel, "gap in the depth stream")]

    def _lost(self, t: int, event: Depth, why: str) -> list[Record]:
        self.live, self.joining = False, 0
        self.kept.clear()
        self.kept.append((t, event))
        return [BookLost(t, self.symbol, self.channel, why)]
