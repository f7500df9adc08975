"""The book rules of Binance, spot and USD-M: one machinery, two small rule objects.

Sources: binance-spot-api-docs "How to manage a local order book correctly" (text of 2025-11-12) and the futures page of the same name
(2026-01-15); both read 2026-11-20 from the project's sheet (sections 2.3 and 3.4). The rules are numbered in ``DepthBook``; the page
docs/venues/binance.md names the test that fails without each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Notice, Record, Reset
from tape_collectors.venues.binance import wire
from tape_collectors.venues.binance.wire import MS, Depth, Snapshot

SECOND = 1_000_000_000
#: rule 3: events kept for a snapshot, by number and by age; a request takes at most 20 s once it is sent
KEPT = 20_000
KEPT_NS = 60 * SECOND
#: rule 7: the stream must come to a snapshot within this time
REACH_NS = 30 * SECOND


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

    def sane(self, event: Depth) -> bool:
        """Whether the ids can be those of a depth event of this product."""
        return 0 <= event.U <= event.u and (event.pu >= 0 or not self.by_pu)

    def inside(self, event: Depth, snapshot: int) -> bool:
        """Rule 5."""
        return event.u < snapshot if self.by_pu else event.u <= snapshot

    def reaches(self, event: Depth, snapshot: int) -> bool:
        """Rules 4 and 6."""
        if self.by_pu:
            return event.U <= snapshot <= event.u or event.pu == snapshot
        return event.U <= snapshot + 1 <= event.u


SPOT = Rule(by_pu=False)
USDM = Rule(by_pu=True)


class DepthBook:
    """The sequence of one depth stream on one connection, and whether its book is proven (``live``).

    The *stream* has rules of its own, which need no snapshot; so a gap is found also while none is there:

    1. Every event continues the one before. Spot: ``U == previous u + 1`` (one that begins earlier and ends later is accepted: sizes
       are absolute). USD-M: ``pu == previous u``; its ``U`` need not follow. Anything else that is newer is a gap: the ids
       ``previous u + 1 .. U - 1`` (USD-M: ``.. pu``) did not come.
    2. An event that ends at or before the last one (``u <= previous u``) is doubled or late: a notice, and nothing changes. A late one
       was a gap when its successor came before it; a doubled one never is, whatever its ``pu`` says.
    3. Events are kept, the newest ``KEPT`` of the last ``KEPT_NS``, while no snapshot is there. A snapshot is always asked anew, so what
       was dropped from the old end only makes a snapshot from before it too old (rule 4). A gap throws away everything before it;
       the event behind it is kept, since the next snapshot may begin with it.

    The *book* joins a REST snapshot with id ``L`` to the stream:

    4. A snapshot that the first kept event behind it does not continue is too old (spot: not ``U <= L + 1 <= u``; USD-M: neither
       ``U <= L <= u`` nor ``pu == L``): it is not used, and another is asked for, later.
    5. Events wholly inside the snapshot are dropped (spot: ``u <= L``; USD-M: ``u < L``).
    6. If all kept events are inside it, the book is the snapshot, and the first event behind it must reach it by the same test; if it
       does not, the book is lost.
    7. A snapshot that the stream has not come to within ``REACH_NS`` is none of this stream: the book is lost.
    8. A gap in the stream loses the book: nobody may use it until a new snapshot is joined.
    9. Ids that go back while the venue's own event time goes on are no late event: the venue began anew. A reset, and the book is lost.

    Sizes are absolute, zero deletes, and deleting a level that is not there is normal: kept by ``market.book``.
    """

    __slots__ = ("asked_t", "attempts", "channel", "joined_t", "joining", "kept", "last", "last_t", "live", "rule", "symbol", "tail")

    def __init__(self, rule: Rule, symbol: str, channel: str) -> None:
        self.rule = rule
        self.symbol = symbol
        self.channel = channel
        self.last = 0
        self.last_t = 0
        #: payload of the last event in sequence: rule 9 reads its time, when it needs to
        self.tail = b""
        self.live = False
        self.joining = 0
        self.joined_t = 0
        self.kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self.asked_t = 0
        self.attempts = 0

    def proven(self, t: int, event: Depth, payload: bytes) -> BookDelta | None:
        """The usual case of ``event`` in one step: a proven book, and the event that continues it exactly. None: ask ``event``."""
        last, u = self.last, event.u
        if self.live and not self.joining and last < u and (event.pu == last if self.rule.by_pu else last + 1 == event.U):
            self.last, self.last_t, self.tail = u, t, payload
            return BookDelta(t, event.E * MS, self.symbol, self.channel, event.U, u, event.b, event.a, event.pu)
        return None

    def event(self, t: int, event: Depth, payload: bytes) -> list[Record]:
        """One depth event and its bytes. The book needs a snapshot whenever ``live`` is False afterwards."""
        out: list[Record] = []
        if self.last:
            if event.u <= self.last:
                if not self._began_anew(event):
                    return [Notice(t, "duplicate", f"{self.symbol} {self.channel} u={event.u}")]
                out.append(Reset(t, self.symbol, self.channel, f"update ids went back from {self.last} to {event.u}"))
                out += self._lost(t, "the venue began anew")
            elif not self.rule.follows(event, self.last):
                from_id, to_id = self.rule.missing(event, self.last)
                out.append(Gap(t, self.symbol, self.channel, self.last_t, from_id, to_id, "sequence"))
                out += self._broken(t)
        self.last, self.last_t, self.tail = event.u, t, payload
        if self.live and self.joining:
            if self.rule.inside(event, self.joining):
                return [*out, *self._lost(t, "the stream does not come to the snapshot")] if self._overdue(t) else out
            if not self.rule.reaches(event, self.joining):
                out += self._lost(t, "the event behind the snapshot does not reach it")
            self.joining = 0
        if self.live:
            out.append(self._delta(t, event))
        else:
            self._keep(t, payload)
        return out

    def snapshot(self, t: int, snapshot: Snapshot) -> list[Record] | None:
        """A REST snapshot. None: of no use (too old, rule 4); empty: not needed."""
        if self.live:
            return []
        events = [(at, wire.depth(payload)) for at, payload in self.kept]
        after = [(at, event) for at, event in events if not self.rule.inside(event, snapshot.lastUpdateId)]
        if after and not self._joins(after[0][1], snapshot.lastUpdateId):
            return None
        self.live = True
        self.joining, self.joined_t = (0 if after else snapshot.lastUpdateId), t
        self.kept.clear()
        self.attempts = self.asked_t = 0
        ts = (snapshot.E or snapshot.T) * MS
        first = BookSnapshot(t, ts, self.symbol, self.channel, snapshot.lastUpdateId, snapshot.bids, snapshot.asks, "rest")
        return [first, *(self._delta(t, event) for _, event in after)]

    def check(self, t: int, first: int, last: int, previous: int, payload: bytes) -> bool:
        """Rule 1 alone, from a header scan, for a recorder that keeps no books. False: look at the whole event."""
        if (previous == self.last if self.rule.by_pu else first == self.last + 1) and last > self.last and self.last:
            self.last, self.last_t, self.tail = last, t, payload
            return True
        return False

    def state(self) -> dict[str, object]:
        """What ``restore`` needs, beside the levels."""
        kept = [[at, payload.decode("utf-8", "replace")] for at, payload in self.kept]
        names = ("channel", "last", "last_t", "live", "joining", "joined_t", "asked_t", "attempts")
        return {name: getattr(self, name) for name in names} | {"tail": _E % self._time(), "kept": kept}

    def restore(self, t: int, state: Mapping[str, Any], *, levels: bool) -> None:
        """Go on from ``state``. Without the levels the book waits for the next snapshot. Earlier tapes lack the later names."""
        self.last, self.last_t, self.joining = state["last"], state["last_t"], state["joining"]
        self.joined_t, self.asked_t, self.attempts = state.get("joined_t", t), state.get("asked_t", 0), state.get("attempts", 0)
        self.live = state["live"] and levels
        self.tail = state.get("tail", "").encode()
        self.kept.extend((at, payload.encode()) for at, payload in state.get("kept", ()))

    def _joins(self, first: Depth, snapshot: int) -> bool:
        """Rule 4."""
        return self.rule.reaches(first, snapshot)

    def _keep(self, t: int, payload: bytes) -> None:
        """Rule 3."""
        self.kept.append((t, payload))
        while self.kept[0][0] < t - KEPT_NS:
            self.kept.popleft()

    def _overdue(self, t: int) -> bool:
        """Rule 7."""
        return t - self.joined_t > REACH_NS

    def _began_anew(self, event: Depth) -> bool:
        """Rule 9."""
        return 0 < self._time() < event.E

    def _time(self) -> int:
        """The venue's time of the last event in sequence, in ms; 0 if it has none."""
        return wire.time_of(self.tail)

    def _broken(self, t: int) -> list[Record]:
        """Rule 8."""
        return self._lost(t, "gap in the depth stream")

    def _lost(self, t: int, why: str) -> list[Record]:
        was, self.live, self.joining = self.live, False, 0
        self.kept.clear()
        return [BookLost(t, self.symbol, self.channel, why)] if was else []

    def _delta(self, t: int, event: Depth) -> BookDelta:
        return BookDelta(t, event.E * MS, self.symbol, self.channel, event.U, event.u, event.b, event.a, event.pu)


_E = '{"E":%d}'
