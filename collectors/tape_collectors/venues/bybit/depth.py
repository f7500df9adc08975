"""The book rules of Bybit v5, spot and linear alike.

Source: v5 docs, websocket/public/orderbook (2026-07), and the live notes of the project's sheet, sections 5.2 and 10.5; read 2026-11-20.
The rules are numbered in ``DepthBook``; docs/venues/bybit.md names the test that fails without each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Notice, Record, Reset
from tape_collectors.venues.bybit.wire import Book
from tape_collectors.venues.session import MS, SECOND

#: rule 4: so many jumps within such a time, each mended by a new snapshot, and ``u`` is believed not to be consecutive here. Fewer cost a
#: snapshot each; four were believed once, and a book that had lost five frames was called proven
JUMPS = 20
JUMPS_NS = 600 * SECOND


class DepthBook:
    """The sequence of one ``orderbook`` topic on one connection, and whether its book is proven (``live``).

    1. A snapshot is the whole book, whenever it comes; deltas before the first one prove nothing.
    2. ``u == 1`` with a snapshot: the venue's service began anew. A reset, and no loss.
    3. A delta must be newer than the last frame (``u`` greater); one with the same ``u``, or an older one, is doubled or late: a notice.
       An older ``u`` at a later time of the matching engine is the venue beginning anew without saying so: a reset, and the book is lost.
    4. ``u`` goes up by one with each delta: observed, and promised on the SBE page, but contradicted by a client tested live in 2026. So a
       jump is a gap and loses the book, as long as the stream does not show that jumps are its habit: after ``JUMPS`` of them within
       ``JUMPS_NS``, each of a book that was proven, a jump is only said (a notice), and the comparison with REST is what proves the book.
    5. A lost book is asked for again by subscribing anew: the snapshot is the first frame.

    Sizes are absolute, zero deletes: kept by ``market.book``.
    """

    __slots__ = ("channel", "cts", "habit", "jumps", "last", "last_t", "live", "seq", "symbol")

    def __init__(self, symbol: str, channel: str) -> None:
        self.symbol = symbol
        self.channel = channel
        self.last = 0
        self.last_t = 0
        self.seq = 0
        self.cts = 0
        self.live = False
        self.habit = False
        self.jumps: deque[int] = deque(maxlen=JUMPS)

    def snapshot(self, t: int, ts: int, cts: int, book: Book) -> list[Record]:
        """Rules 1 and 2."""
        out: list[Record] = []
        if book.u == 1 and self.last:
            out.append(Reset(t, self.symbol, self.channel, "service restart: u=1"))
        self._took(t, cts, book)
        self.live = True
        return [*out, BookSnapshot(t, (cts or ts) * MS, self.symbol, self.channel, book.u, book.b, book.a)]

    def delta(self, t: int, ts: int, cts: int, book: Book) -> list[Record]:
        """One delta. The book must be asked for again if ``live`` is False afterwards."""
        out: list[Record] = []
        if self.last and book.u <= self.last:
            if not self._went_back(cts, book.u):
                return [Notice(t, "duplicate", f"{self.symbol} {self.channel} u={book.u}")]
            out.append(Reset(t, self.symbol, self.channel, f"u went back from {self.last} to {book.u}"))
            out += self._lost(t, "the venue began anew without a snapshot")
        elif self.last and book.u != self.last + 1:
            out += self._jumped(t, book.u)
        first = self.last + 1 if self.last and self.last < book.u else book.u
        self._took(t, cts, book)
        if self.live:
            out.append(BookDelta(t, (cts or ts) * MS, self.symbol, self.channel, first, book.u, book.b, book.a))
        return out

    def state(self) -> dict[str, object]:
        """What ``restore`` needs, beside the levels."""
        names = ("channel", "last", "last_t", "seq", "cts", "live", "habit")
        return {name: getattr(self, name) for name in names} | {"jumps": list(self.jumps)}

    def restore(self, state: Mapping[str, Any], *, levels: bool) -> None:
        """Go on from ``state``; without the levels the book waits for a snapshot."""
        for name in ("last", "last_t", "seq", "cts", "habit"):
            setattr(self, name, state[name])
        self.live = bool(state["live"]) and levels
        self.jumps.extend(state["jumps"])

    def _took(self, t: int, cts: int, book: Book) -> None:
        self.last, self.last_t, self.seq, self.cts = book.u, t, book.seq, cts

    def _went_back(self, cts: int, u: int) -> bool:
        """Rule 3."""
        return u < self.last and 0 < self.cts < cts

    def _jumped(self, t: int, u: int) -> list[Record]:
        """Rule 4."""
        if self.habit:
            return [Notice(t, "jump", f"{self.symbol} {self.channel} u went from {self.last} to {u}")]
        if self.live:
            self.jumps.append(t)
        self.habit = len(self.jumps) == JUMPS and t - self.jumps[0] < JUMPS_NS
        gap = Gap(t, self.symbol, self.channel, self.last_t, self.last + 1, u - 1, "sequence")
        return [gap, *self._lost(t, "gap in the depth stream")]

    def _lost(self, t: int, why: str) -> list[Record]:
        was, self.live = self.live, False
        return [BookLost(t, self.symbol, self.channel, why)] if was else []
