"""The books of the market channel, which has no sequence numbers. What can be told, and what cannot:

1. A ``book`` event replaces the whole book, at any time; it comes after subscribing and after trades.
2. A ``price_change`` leg sets the total size at one price; "0" removes the level. BUY is the bid side, SELL the ask side.
3. Before the first ``book`` of an epoch there is no book: legs are not applied.
4. Order is the order of receipt; but a leg that is older (server time) than the last ``book`` of its asset is already inside it, and one
   that is older than the last leg at its own price and side was overtaken: neither is applied.
5. The same event twice (type, asset, hash or levels, timestamp) changes nothing.
6. After a change of the tick size the old grid's levels may be void: the book is not proven until the next ``book``.
7. Each leg tells the best prices after it: a book that disagrees for ``DISAGREES`` legs in a row has lost something. It is not proven
   until the next ``book``.

Without numbers nobody can prove that no frame was lost inside an epoch. Rule 7 and the comparison with REST find what was.
"""

from __future__ import annotations

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Notice, Record
from tape_collectors.market.book import Book
from tape_collectors.venues.polymarket.wire import Event, Leg, levels, milliseconds, price

DISAGREES = 3


class AssetBook:
    """The book of one token on one connection."""

    __slots__ = ("asset", "book", "disagreed", "last_ts", "live", "seen", "times")

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self.book = Book()
        self.live = False
        self.last_ts = 0
        self.disagreed = 0
        self.times: dict[tuple[str, str], int] = {}
        self.seen: tuple[str, str] = ("", "")

    def snapshot(self, t: int, event: Event) -> list[Record]:
        """Rule 1."""
        if self.live and (event.hash, event.timestamp) == self.seen and event.hash:
            return [Notice(t, "duplicate", f"book {self.asset[:12]} {event.hash[:12]}")]
        ts = milliseconds(event.timestamp)
        if self.live and ts < self.last_ts:
            return [Notice(t, "late", f"book {self.asset[:12]} is older than the one before")]
        self.seen = (event.hash, event.timestamp)
        bids, asks = levels(event.bids), levels(event.asks)
        self.book.replace(bids, asks)
        self.live, self.last_ts, self.disagreed = True, ts, 0
        self.times.clear()
        return [BookSnapshot(t, ts, self.asset, "book", 0, bids, asks)]

    def leg(self, t: int, ts: int, leg: Leg) -> list[Record]:
        """Rules 2 to 4 and 7."""
        if not self.live:
            return [Notice(t, "early", f"price_change of {self.asset[:12]} before its book")]
        at = price(leg.price)
        key = (leg.side, at)
        if ts < self.last_ts or ts < self.times.get(key, 0):
            return [Notice(t, "late", f"price_change of {self.asset[:12]}")]
        self.times[key] = ts
        bids, asks = ([(at, leg.size)], []) if leg.side == "BUY" else ([], [(at, leg.size)])
        self.book.apply(bids, asks)
        return [BookDelta(t, ts, self.asset, "price_change", 0, 0, bids, asks)]

    def agree(self, t: int, leg: Leg) -> list[Record]:
        """Rule 7, after all legs of a frame."""
        best = self.book.best()
        if not self.live or best is None or not leg.best_bid or not leg.best_ask:
            return []
        if float(best[0]) == float(leg.best_bid) and float(best[2]) == float(leg.best_ask):
            self.disagreed = 0
            return []
        self.disagreed += 1
        if self.disagreed < DISAGREES:
            return []
        return self.lose(t, f"best prices differ from the venue's: {best[0]}/{best[2]} here, {leg.best_bid}/{leg.best_ask} there")

    def lose(self, t: int, why: str) -> list[Record]:
        """The book is not proven until the next ``book``."""
        if not self.live:
            return []
        self.live = False
        return [BookLost(t, self.asset, "book", why)]
