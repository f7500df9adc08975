"""The book rules of OKX v5, spot and derivatives alike.

Source: v5 guide, *Order book channel* (mirrored 2026-10), the delisting notice of the checksum (2026-05-21), and live notes of 2026-10;
read 2026-11-20 from the project's sheet, section 4.2. The rules are numbered in ``DepthBook``; docs/venues/okx.md names the test that fails
without each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Levels, Notice, Record, Reset
from tape_collectors.venues.numbers import ms
from tape_collectors.venues.okx import wire
from tape_collectors.venues.okx.wire import Book, Row
from tape_collectors.venues.session import MS

#: rule 6: updates kept for a REST book
KEPT = 2000
NO_ID = -2


class DepthBook:
    """The sequence of one ``books`` channel on one connection, and whether its book is proven (``live``).

    1. A snapshot is the whole book, whenever it comes.
    2. An update follows if its ``prevSeqId`` is the last ``seqId``; the numbers jump, so how many are missing cannot be said. Anything
       else is a gap and loses the book.
    3. ``seqId == prevSeqId`` with empty sides is a heartbeat of a quiet book: a notice, and proof that nothing was lost.
    4. ``seqId < prevSeqId``, with ``prevSeqId`` the last ``seqId``: the venue counts anew after maintenance. A reset, and no loss.
    5. An update that ends at or before the last one is doubled or late: a notice. If the venue's time went on, the bridge of rule 4 was
       lost: a reset, and the book is lost.
    6. Without a snapshot updates prove nothing; after a resubscription they may come before it, and are no reason to ask again. They are
       kept (``KEPT``) for a REST book: it joins if the first update behind its ``seqId`` has ``prevSeqId <= seqId``.
    7. ``checksum`` is ignored: always 0 since 2026-06-23.

    Frames of before 2022-07 have no numbers: nothing of them can be proven, and they are given as they are.
    """

    __slots__ = ("channel", "kept", "last", "last_t", "live", "sized", "symbol", "ts")

    def __init__(self, symbol: str, channel: str, sized: Callable[[Row], tuple[str, str]]) -> None:
        self.symbol = symbol
        self.channel = channel
        #: a row of the wire as (price, size in the base coin)
        self.sized = sized
        self.last = NO_ID
        self.last_t = 0
        self.ts = 0
        self.live = False
        self.kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT)

    def snapshot(self, t: int, book: Book, source: str = "ws") -> list[Record]:
        """Rule 1."""
        self.kept.clear()
        self.last, self.last_t, self.ts, self.live = book.seqId, t, ms(book.ts), True
        return [
            BookSnapshot(
                t, self.ts * MS, self.symbol, self.channel, max(book.seqId, 0), self._rows(book.bids), self._rows(book.asks), source
            )
        ]

    def update(self, t: int, book: Book) -> list[Record]:
        """One update. The book must be asked for again if ``live`` was true before and is not after."""
        if not self.live:
            self.kept.append((t, msgspec.json.encode(book)))
            return []
        if book.prevSeqId == NO_ID:
            return [self._delta(t, book)]
        if book.prevSeqId == self.last:
            if book.seqId == book.prevSeqId and not book.bids and not book.asks:
                self._took(t, book)
                return [Notice(t, "heartbeat", f"{self.symbol} {self.channel}")]
            out: list[Record] = []
            if book.seqId < book.prevSeqId:
                out.append(Reset(t, self.symbol, self.channel, f"seqId went back from {book.prevSeqId} to {book.seqId}"))
            delta = self._delta(t, book)
            self._took(t, book)
            return [*out, delta]
        if book.seqId <= self.last and ms(book.ts) <= self.ts:
            return [Notice(t, "duplicate", f"{self.symbol} {self.channel} seqId={book.seqId}")]
        return self._broken(t, book)

    def join(self, t: int, book: Book) -> list[Record] | None:
        """Rule 6: a REST book. None: of no use."""
        if self.live or book.seqId < 0:
            return []
        later = [(at, event) for at, event in ((at, wire.books(b"[" + raw + b"]")[0]) for at, raw in self.kept) if event.seqId > book.seqId]
        if later and later[0][1].prevSeqId > book.seqId:
            return None
        out = self.snapshot(t, book, "rest")
        if later:
            later[0][1].prevSeqId = book.seqId
        for _, event in later:
            out += self.update(t, event)
        return out

    def state(self) -> dict[str, object]:
        """What ``restore`` needs, beside the levels."""
        kept = [[at, raw.decode("utf-8", "replace")] for at, raw in self.kept]
        return {name: getattr(self, name) for name in ("channel", "last", "last_t", "ts", "live")} | {"kept": kept}

    def restore(self, state: Mapping[str, Any], *, levels: bool) -> None:
        """Go on from ``state``; without the levels the book waits for a snapshot."""
        self.last, self.last_t, self.ts = state["last"], state["last_t"], state["ts"]
        self.live = bool(state["live"]) and levels
        self.kept.extend((at, raw.encode()) for at, raw in state["kept"])

    def _took(self, t: int, book: Book) -> None:
        self.last, self.last_t, self.ts = book.seqId, t, ms(book.ts)

    def _broken(self, t: int, book: Book) -> list[Record]:
        """Rules 2 and 5."""
        if book.seqId <= self.last:
            found: Record = Reset(t, self.symbol, self.channel, f"seqId went back from {self.last} to {book.seqId}")
        else:
            found = Gap(t, self.symbol, self.channel, self.last_t, 0, 0, f"sequence: {self.last} is not followed by {book.prevSeqId}")
        self.live = False
        self.kept.clear()
        self.kept.append((t, msgspec.json.encode(book)))
        return [found, BookLost(t, self.symbol, self.channel, "gap in the depth stream")]

    def _delta(self, t: int, book: Book) -> BookDelta:
        first, last = max(book.prevSeqId, -1) + 1, max(book.seqId, 0)
        return BookDelta(t, ms(book.ts) * MS, self.symbol, self.channel, first, last, self._rows(book.bids), self._rows(book.asks))

    def _rows(self, rows: list[Row]) -> Levels:
        return [self.sized(row) for row in rows]
