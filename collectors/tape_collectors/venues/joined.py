"""A book whose events carry the first and the last id that they cover: joined to a REST snapshot, or begun by a whole book in the stream.

The rules that Gate.io and MEXC have in common; which of them a venue has is said by its ``depth`` module. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Levels, Notice, Record, Reset
from tape_collectors.venues.session import SECOND

#: events kept for a snapshot
KEPT = 4000
#: the stream must come to a snapshot within this time
REACH_NS = 30 * SECOND


class Event(msgspec.Struct, gc=False):
    """One event: ids ``first..last``, the venue's time in ns, changed levels; ``full``: the whole book as of ``last``."""

    first: int
    last: int
    ts: int
    bids: Levels
    asks: Levels
    full: bool = False


class JoinedBook:
    """The sequence of one depth stream on one connection, and whether its book is proven (``live``).

    1. An event continues the one before: ``first == last + 1``. With ``overlaps`` one that begins earlier and ends later is accepted.
       A later beginning is a gap, whose ids are known, and loses the book.
    2. An event that ends at or before the last one is doubled or late: a notice. If the venue's time went on, the venue began anew: a
       reset, and the book is lost.
    3. A whole book in the stream replaces the book, whenever it comes, and the sequence goes on from its id. One with an id before the last
       is the venue beginning anew: a reset, and no loss.
    4. Without a book events are kept (``KEPT``) for a snapshot; those that end at or before its id are dropped.
    5. The first event behind the snapshot must reach it (``first <= id + 1 <= last``); else the snapshot is too old, and another is asked
       for. If there is none yet, the first one to come must reach it, or the book is lost.
    6. A snapshot that the stream does not come to within ``REACH_NS`` is none of this stream: the book is lost.

    Empty sides advance the ids like any other event.
    """

    __slots__ = ("asked_t", "attempts", "channel", "joined_t", "joining", "kept", "last", "last_t", "live", "overlaps", "symbol", "ts")

    def __init__(self, symbol: str, channel: str, *, overlaps: bool = False) -> None:
        self.symbol = symbol
        self.channel = channel
        self.overlaps = overlaps
        self.last = self.last_t = self.ts = 0
        self.live = False
        self.joining = self.joined_t = 0
        self.asked_t = self.attempts = 0
        self.kept: deque[tuple[int, Event]] = deque(maxlen=KEPT)

    def event(self, t: int, event: Event) -> list[Record]:
        """One event. The book is needed again whenever ``live`` is False afterwards."""
        if event.full:
            return self._whole(t, event)
        out: list[Record] = []
        if self.last and event.last <= self.last:
            if not 0 < self.ts < event.ts:
                return [Notice(t, "duplicate", f"{self.symbol} {self.channel} {event.last}")]
            out.append(Reset(t, self.symbol, self.channel, f"ids went back from {self.last} to {event.last}"))
            out += self._lost(t, "the venue began anew")
        elif self.last and not self._follows(event):
            out.append(Gap(t, self.symbol, self.channel, self.last_t, self.last + 1, event.first - 1, "sequence"))
            out += self._lost(t, "gap in the depth stream")
        self.last, self.last_t, self.ts = event.last, t, event.ts
        if self.live and self.joining:
            if event.last <= self.joining:
                return [*out, *self._lost(t, "the stream does not come to the snapshot")] if t - self.joined_t > REACH_NS else out
            if event.first > self.joining + 1:
                out += self._lost(t, "the event behind the snapshot does not reach it")
            self.joining = 0
        if self.live:
            out.append(self._delta(t, event))
        else:
            self.kept.append((t, event))
        return out

    def snapshot(self, t: int, event: Event, source: str = "rest") -> list[Record] | None:
        """A snapshot from REST. None: of no use (rule 5); empty: not needed."""
        if self.live:
            return []
        after = [(at, one) for at, one in self.kept if one.last > event.last]
        if after and after[0][1].first > event.last + 1:
            return None
        self.live = True
        self.joining, self.joined_t = (0 if after else event.last), t
        self.kept.clear()
        self.attempts = self.asked_t = 0
        first = BookSnapshot(t, event.ts, self.symbol, self.channel, event.last, event.bids, event.asks, source)
        return [first, *(self._delta(t, one) for _, one in after)]

    def state(self) -> dict[str, object]:
        """What ``restore`` needs, beside the levels."""
        names = ("channel", "last", "last_t", "ts", "live", "joining", "joined_t", "asked_t", "attempts")
        return {name: getattr(self, name) for name in names} | {"kept": [[at, msgspec.to_builtins(one)] for at, one in self.kept]}

    def restore(self, state: Mapping[str, Any], *, levels: bool) -> None:
        """Go on from ``state``; without the levels the book waits for a snapshot."""
        for name in ("last", "last_t", "ts", "joining", "joined_t", "asked_t", "attempts"):
            setattr(self, name, state[name])
        self.live = bool(state["live"]) and levels
        self.kept.extend((at, msgspec.convert(one, Event)) for at, one in state["kept"])

    def _whole(self, t: int, event: Event) -> list[Record]:
        """Rule 3."""
        out: list[Record] = []
        if self.last and event.last < self.last:
            out.append(Reset(t, self.symbol, self.channel, f"ids went back from {self.last} to {event.last}"))
        self.last, self.last_t, self.ts = event.last, t, event.ts
        self.live, self.joining = True, 0
        self.kept.clear()
        return [*out, BookSnapshot(t, event.ts, self.symbol, self.channel, event.last, event.bids, event.asks)]

    def _follows(self, event: Event) -> bool:
        """Rule 1."""
        return event.first == self.last + 1 or (self.overlaps and event.first <= self.last + 1)

    def _lost(self, t: int, why: str) -> list[Record]:
        was, self.live, self.joining = self.live, False, 0
        self.kept.clear()
        return [BookLost(t, self.symbol, self.channel, why)] if was else []

    def _delta(self, t: int, event: Event) -> BookDelta:
        return BookDelta(t, event.ts, self.symbol, self.channel, event.first, event.last, event.bids, event.asks)
