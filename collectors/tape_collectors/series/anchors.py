"""REST books as anchors: asked for every few minutes, kept on the tape, and compared with the live books (see ``market.anchor``).

A comparison ends in a mark: ``anchor`` (symbol, id, levels compared, differences), and ``diff`` with the levels if there are any. Nothing
is changed by it: the book stays what the stream made it, and whoever reads the tape knows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import structs

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Quote, Record, Trade
from tape_collectors.market.anchor import LATE_NS, Anchor, Comparison, covered
from tape_collectors.market.sampler import Sampler
from tape_collectors.runtime.catchup import Reply
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.recorder import NEVER
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.venues.protocol import Anchored, Fetch, Limits

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
#: anchors use at most this share of a host's weight; books that must be made anew need the rest
SHARE = 0.25
#: a difference that is not sure must be found so often in a row
FOUND = 3
_LEVELS = 50


class Anchors:
    """A consumer (behind the one that keeps the books) that compares them. Call ``tick`` once a second."""

    def __init__(self, sampler: Sampler, every_s: float) -> None:
        self.compared = 0
        self.differences = 0
        self._sampler = sampler
        self._every = int(every_s * SECOND)
        self._venues: dict[str, tuple[Sequence[TapeIntake], Fetcher, Mapping[str, Limits]]] = {}
        self._due: dict[tuple[str, str], int] = {}
        self._known: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
        self._open: dict[tuple[str, str], tuple[str, TapeIntake, Anchor]] = {}
        self._doubts: dict[tuple[str, str], tuple[int, set[tuple[str, str]] | None]] = {}

    def add(self, venue: str, intakes: Sequence[TapeIntake], fetcher: Fetcher, limits: Mapping[str, Limits]) -> None:
        """A venue's tapes, and who asks its REST hosts."""
        self._venues[venue] = intakes, fetcher, limits
        for intake in intakes:
            intake.replies = self._reply

    def tick(self, t: int) -> None:
        """Ask for the books that are due; give up on what did not come."""
        for key, (_, _, anchor) in list(self._open.items()):
            if t - anchor.t > LATE_NS:
                del self._open[key]
        for number, key in enumerate(self._sampler.markets):
            if key not in self._due:
                # Spread over the interval, and not before the first books are there.
                self._due[key] = t + min(10 * SECOND, self._every) + self._every * number // len(self._sampler.markets)
            elif t >= self._due[key] and key not in self._open:
                self._due[key] = t + self._ask(t, key)

    def _ask(self, t: int, key: tuple[str, str]) -> int:
        """Ask; gives how long to wait before the next time (ns)."""
        venue, symbol = key
        intakes, fetcher, limits = self._venues[venue]
        for intake in intakes:
            for s, feed in intake.replay.feeds.items():
                side = self._sampler.markets[key].sides.get(s)
                known = self._known.get((venue, s, symbol))
                if side is None or side.book is None or known is None or not isinstance(feed, Anchored):
                    continue
                if (request := feed.anchor(symbol)) is not None:
                    self._open[key] = s, intake, Anchor(t, side.id, known)
                    fetcher.fetch(intake, request)
                    return max(self._every, self._least(venue, request, limits))
        return SECOND

    def _least(self, venue: str, request: Fetch, limits: Mapping[str, Limits]) -> int:
        limit = limits[request.host]
        markets = sum(name == venue for name, _ in self._sampler.markets)
        return int(markets * request.weight / (limit.weight * SHARE) * limit.interval_s * SECOND)

    def _reply(self, intake: TapeIntake, t: int, reply: Reply, data: bytes) -> None:
        for (_, symbol), (s, asked, anchor) in list(self._open.items()):
            feed = intake.replay.feeds.get(s)
            if asked is intake and anchor.snapshot is None and reply.status == 200 and isinstance(feed, Anchored):
                snapshot = feed.anchored(t, reply.request, data)
                if snapshot is not None and snapshot.symbol == symbol:
                    anchor.snapshot = snapshot

    # -- as a consumer ---------------------------------------------------------------------------------------------------

    def begin(self, t: int, begun: int) -> None:
        """A run begins."""

    def advance(self, t: int) -> bool:
        """Compare what can be compared now."""
        for key, (s, intake, anchor) in list(self._open.items()) if self._open else ():
            side = self._sampler.markets[key].sides.get(s)
            if side is None or side.book is None:
                del self._open[key]
            elif anchor.due(t, side.id):
                del self._open[key]
                if (comparison := anchor.compare(*side.book.levels())) is not None:
                    self._judge(t, key, s, intake, comparison)
        return True

    def due(self) -> int:
        """Every line may complete a comparison that is open."""
        return 0 if self._open else NEVER

    def record(self, venue: str, s: str, record: Record) -> None:
        """Remember what is touched while a reply is awaited."""
        if type(record) is Quote or type(record) is Trade:
            return
        if isinstance(record, BookDelta):
            if self._open and (open := self._open.get((venue, record.symbol))) is not None and open[0] == s:
                open[2].delta(record)
        elif isinstance(record, BookSnapshot):
            self._known[venue, s, record.symbol] = covered(record)
            self._open.pop((venue, record.symbol), None)
        elif isinstance(record, BookLost):
            self._open.pop((venue, record.symbol), None)

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """An epoch is over."""
        self._known = {key: known for key, known in self._known.items() if key[:2] != (venue, s)}

    def trouble(self, venue: str, t: int, where: str, why: str) -> None:
        """Nothing: a book is compared or not."""

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """Nothing: a comparison is of the live run alone."""
        return {}

    def _judge(self, t: int, key: tuple[str, str], s: str, intake: TapeIntake, comparison: Comparison) -> None:
        """A difference that is not sure is one if it is found ``FOUND`` times in a row."""
        times, before = self._doubts.pop(key, (0, None))
        levels = comparison.differences if before is None else [one for one in comparison.differences if (one.side, one.price) in before]
        if levels and not comparison.sure and times + 1 < FOUND:
            self._doubts[key] = times + 1, {(one.side, one.price) for one in levels}
            self._due[key] = t
            return
        self._tell(key[1], s, intake, structs.replace(comparison, differences=levels))

    def _tell(self, symbol: str, s: str, intake: TapeIntake, comparison: Comparison) -> None:
        self.compared += 1
        count = len(comparison.differences)
        intake.mark(s, "anchor", {"symbol": symbol, "id": comparison.id, "levels": comparison.levels, "differences": count})
        if count:
            self.differences += 1
            levels = [[one.side, one.price, one.ours, one.theirs] for one in comparison.differences[:_LEVELS]]
            intake.mark(s, "diff", {"symbol": symbol, "source": "rest", "id": comparison.id, "levels": levels, "count": count})
            log.warning("REST book differs", extra={"venue": intake.venue, "symbol": symbol, "levels": count})
