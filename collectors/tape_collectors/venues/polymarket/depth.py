"""The books of the market channel, which has no sequence numbers. What can be told, and what cannot:

1. A ``book`` event replaces the whole book, at any time; it comes after subscribing and after trades.
2. A ``price_change`` leg sets the total size at one price; "0" removes the level. BUY is the bid side, SELL the ask side.
3. Before the first ``book`` of an epoch there is no book: legs are kept for rule 6, and nobody is told of them.
4. Order is the order of receipt; but a leg that is older (server time) than the last ``book`` of its asset is already inside
   it, and one that is older than the last leg at its own price and side was overtaken: neither is applied.
5. The same event twice (type, asset, hash, timestamp, and what it says) changes nothing, even when others came between.
6. A ``book`` that is older than the one before changes nothing. One that is older than some legs (also those that came before
   the first ``book``) is right but for their levels: these stay.
7. After a change of the tick size the old grid's levels may be void, and the venue does not say which: the book is kept, but it
   is not proven until the next ``book``.
8. Each leg tells the best prices after its frame. A book that disagrees for ``DISAGREES`` frames in a row and for
   ``DISAGREES_NS`` of server time has lost something: it is not proven until the next ``book``.

What this guarantees, without numbers: if nothing was lost, the book is the venue's, however frames were doubled or overtook
each other (a level that changes twice within one millisecond is taken in the order of receipt). If a frame was lost, the book
may differ in the levels that it named, until they change again or the next ``book`` comes, which puts everything right; rule 8
finds it before that only if a best price is wrong. The comparison with REST (``crosscheck``) finds the rest.
"""

from __future__ import annotations

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Levels, Notice, Record
from tape_collectors.market.book import Book, is_zero
from tape_collectors.venues.polymarket.wire import Event, Leg, levels, milliseconds, price

DISAGREES = 10
DISAGREES_NS = 2_000_000_000
#: events remembered for rule 5, per asset (two generations of so many)
REMEMBERED = 1024


class Doubles:
    """Rule 5: which of the last events were there before. Bounded: the older generation is forgotten as a whole."""

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: set[tuple[str, ...]] = set()
        self._old: set[tuple[str, ...]] = set()

    def __call__(self, key: tuple[str, ...]) -> bool:
        """Whether this event was there before; from now on it was."""
        if key in self._new or key in self._old:
            return True
        self._new.add(key)
        if len(self._new) >= REMEMBERED:
            self._old, self._new = self._new, set()
        return False


class AssetBook:
    """The book of one token on one connection. ``live``: proven."""

    __slots__ = ("asset", "book", "disagreed", "disagreed_ts", "doubled", "last_ts", "live", "seen", "times", "touch")

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self.book = Book()
        self.live = False
        self.last_ts = 0
        self.disagreed = 0
        self.disagreed_ts = 0
        self.doubled = Doubles()
        self.times: dict[tuple[str, str], int] = {}
        self.seen: tuple[str, str | int] = ("", "")
        #: best prices, kept from change to change: asking the book after each frame would cost ten times the rest
        self.touch = {"BUY": 0.0, "SELL": 1.0}

    def snapshot(self, t: int, event: Event) -> list[Record]:
        """Rules 1, 5 and 6."""
        if self.live and event.hash and (event.hash, event.timestamp) == self.seen:
            return [Notice(t, "duplicate", f"book {self.asset[:12]} {event.hash[:12]}")]
        ts = milliseconds(event.timestamp)
        if ts < self.last_ts:
            return [Notice(t, "late", f"book {self.asset[:12]} is older than the one before")]
        self.seen = (event.hash, event.timestamp)
        newer = {key: at for key, at in self.times.items() if at > ts}
        bids = self._kept(levels(event.bids, best_high=True), "BUY", newer)
        asks = self._kept(levels(event.asks, best_high=False), "SELL", newer)
        self.book.replace(bids, asks)
        self.touch = {"BUY": self._best("BUY"), "SELL": self._best("SELL")}
        self.live, self.last_ts, self.disagreed, self.times = True, ts, 0, newer
        return [BookSnapshot(t, ts, self.asset, "book", 0, bids, asks)]

    def _kept(self, rows: Levels, side: str, newer: dict[tuple[str, str], int]) -> Levels:
        """Rule 6: the venue's levels, but ours where a newer leg set them."""
        mine = [at for name, at in newer if name == side]
        if not mine:
            return rows
        held = (self.book.bids if side == "BUY" else self.book.asks).levels
        merged = dict(rows) | {at: held.get(at, "0") for at in mine}
        kept = [(at, size) for at, size in merged.items() if not is_zero(size)]
        return sorted(kept, key=lambda level: float(level[0]), reverse=side == "BUY")

    def leg(self, t: int, ts: int, leg: Leg) -> list[Record]:
        """Rules 2 to 5."""
        if leg.side not in ("BUY", "SELL"):
            return [Notice(t, "side", f"price_change of {self.asset[:12]}: side {leg.side[:20]!r}")]
        if leg.hash and self.doubled((str(ts), leg.hash, leg.side, leg.price, leg.size)):
            return [Notice(t, "duplicate", f"price_change {self.asset[:12]} {leg.hash[:12]}")]
        at = price(leg.price)
        key = (leg.side, at)
        if ts < self.last_ts or ts < self.times.get(key, 0):
            return [Notice(t, "late", f"price_change of {self.asset[:12]}")]
        self.times[key] = ts
        bids, asks = ([(at, leg.size)], []) if leg.side == "BUY" else ([], [(at, leg.size)])
        self.book.apply(bids, asks)
        self._touched(leg.side, float(at), leg.size)
        if not self.live:
            return [Notice(t, "early", f"price_change of {self.asset[:12]} before its book")]
        return [BookDelta(t, ts, self.asset, "price_change", 0, 0, bids, asks)]

    def _touched(self, side: str, at: float, size: str) -> None:
        best = self.touch[side]
        if not is_zero(size):
            self.touch[side] = max(best, at) if side == "BUY" else min(best, at)
        elif at == best:
            self.touch[side] = self._best(side)

    def _best(self, side: str) -> float:
        held = (self.book.bids if side == "BUY" else self.book.asks).levels
        prices = [float(at) for at, size in held.items() if not is_zero(size)]
        return max(prices, default=0.0) if side == "BUY" else min(prices, default=1.0)

    def agree(self, t: int, ts: int, leg: Leg) -> list[Record]:
        """Rule 8, after all legs of a frame."""
        if not self.live or not leg.best_bid or not leg.best_ask:
            return []
        bid, ask = self.touch["BUY"], self.touch["SELL"]
        # An empty side: nothing says what the venue writes, and nobody can trade at 0 or 1.
        if bid == float(leg.best_bid) and (ask == float(leg.best_ask) or (ask == 1.0 and float(leg.best_ask) == 0.0)):
            self.disagreed = 0
            return []
        self.disagreed += 1
        if self.disagreed == 1:
            self.disagreed_ts = ts
        if self.disagreed < DISAGREES or ts - self.disagreed_ts < DISAGREES_NS:
            return []
        return self.lose(t, f"best prices differ from the venue's: {bid:g}/{ask:g} here, {leg.best_bid}/{leg.best_ask} there")

    def lose(self, t: int, why: str) -> list[Record]:
        """The book is not proven until the next ``book``."""
        if not self.live:
            return []
        self.live = False
        self.disagreed = 0
        return [BookLost(t, self.asset, "book", why)]
