"""Order book changes as rows: one row for each level that an update changed. What is a row, and in which part it stands.

Rules (each has its test in tests/collectors/market/test_ticks.py):

1. The rows of a market are one chain of updates. It begins with a whole book (``snapshot``) and goes on with changes, each of which
   continues the one before by the venue's own ids. Redundant connections give each update once: whichever brings the next one first.
2. Where the chain breaks (gap, reset, the last connection that held it closed), a whole book begins the next one. A connection whose
   book is proven meanwhile gives its own, at its next change.
3. A market's chain begins anew with each UTC hour of tape time, at its first change, with the ``BEST`` levels of each side as they stood
   before it. So every hour can be read alone, and a recorder that died makes an hour again from the checkpoint at that hour's head.
4. ``ts_recv`` is the tape time of the line that made the row, which its records tell: none is of a later time than its line. A change
   that waited for its REST snapshot, which comes before it, has the snapshot's: before, nobody could know the book. So ``ts_recv`` never
   falls along a market.
5. A part ends with the hour, with the run, when it has ``part_rows`` rows, or when all open parts together have ``all_rows`` (the largest
   ends): functions of the tape alone. One tape time never stands in two parts.
6. A price that is no finite number is no level; a size that is no number above zero removes it (as in ``market.book``).
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Levels, Record
from tape_archive.format.rotation import HOUR
from tape_collectors.market.book import numbers
from tape_collectors.market.sampler import Market, Sampler, TickSetup

#: levels of each side in the book that begins an hour: so many are exact in every book (see ``market.book``, rule 5)
BEST = 1000


class Part:
    """Rows of one market: a column for what updates have, with one entry an update, and one for what levels have, with one a row.

    Of each update the bids stand first. Times in unix ns, ``event`` 0 where the venue sends none. ``levels``: price and amount in turn,
    float64.
    """

    __slots__ = ("asks", "bids", "event", "first_id", "group_rows", "last_id", "levels", "recv", "snapshot", "symbol", "venue")

    def __init__(self, venue: str, symbol: str, group_rows: int) -> None:
        self.venue = venue
        self.symbol = symbol
        self.group_rows = group_rows
        self.recv = array("q")
        self.event = array("q")
        self.first_id = array("q")
        self.last_id = array("q")
        self.snapshot = array("b")
        self.bids = array("q")
        self.asks = array("q")
        self.levels = array("d")

    def __len__(self) -> int:
        return len(self.levels) // 2

    def add(self, t: int, ts: int, ids: tuple[int, int], bids: Levels, asks: Levels, snapshot: bool = False) -> int:
        """One update, known at tape time ``t``; gives its rows."""
        levels = numbers(list(itertools.chain.from_iterable(bids + asks)))
        if levels is None:
            bids, asks = _finite(bids), _finite(asks)
            levels = [float(text) for text in itertools.chain.from_iterable(bids + asks)]
        if not levels:
            return 0
        self.recv.append(t)
        self.event.append(ts)
        self.first_id.append(ids[0])
        self.last_id.append(ids[1])
        self.snapshot.append(snapshot)
        self.bids.append(len(bids))
        self.asks.append(len(asks))
        self.levels.extend(levels)
        return len(levels) // 2


def _finite(levels: Levels) -> Levels:
    """Rule 6."""
    kept = []
    for price, amount in levels:
        if math.isfinite(_number(price)):
            size = _number(amount)
            kept.append((price, amount if math.isfinite(size) and size > 0 else "0"))
    return kept


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class _Chain:
    """Rules 1 to 3 of one market. ``ids``: the last update of each connection in the chain; ``at``: the last one that is written."""

    __slots__ = ("at", "begun", "ids", "leader", "market", "part")

    def __init__(self, market: Market) -> None:
        self.market = market
        self.part: Part | None = None
        self.begun = False
        self.leader = ""
        self.at = 0
        self.ids: dict[str, int] = {}

    def end(self) -> None:
        """What comes next begins with a whole book."""
        self.begun = False
        self.ids.clear()

    def leave(self, s: str) -> None:
        """Rule 2: connection ``s`` has no proven book any more."""
        if self.ids.pop(s, None) is None:
            return
        counted = self.at > 0
        if not (any(last <= self.at for last in self.ids.values()) if counted else s != self.leader):
            self.end()

    def restart(self, s: str, last: int) -> None:
        """A whole book of ``s`` was written; other connections may number otherwise, and come in with their own snapshot."""
        self.ids = {s: last}
        self.begun, self.leader, self.at = True, s, last

    def holds(self, s: str) -> bool:
        """Whether another connection than ``s`` carries the chain."""
        return self.begun and any(other != s for other in self.ids)

    def continues(self, s: str, record: BookDelta) -> bool:
        """Whether this change of ``s`` is the next one; either way ``s`` is now at it."""
        mine = self.ids.get(s)
        if mine is None:
            return False
        if not record.last:
            return s == self.leader
        self.ids[s] = record.last
        if not mine <= self.at < record.last:
            return False
        self.at, self.leader = record.last, s
        return True


class Ticks:
    """The rows of all markets of an output, given part by part to ``finished``. It must be told of each line before ``sampler`` is: it
    reads the sampler's books as they stand before the line."""

    def __init__(self, sampler: Sampler, setup: TickSetup, finished: Callable[[Part], None]) -> None:
        self.sampler = sampler
        self.setup = setup
        self.finished = finished
        #: told when all parts of an hour are finished: the unix ns at which the next hour with data began
        self.turned: Callable[[int], None] = lambda hour: None
        self.rows = 0
        self._t = 0
        self._until = 0
        self._chains: dict[tuple[str, str], _Chain] = {}

    def begin(self, t: int, begun: int) -> None:
        """A run begins; nothing is known."""
        self._t = begun
        self._until = (begun // HOUR + 1) * HOUR
        self._chains = {}

    def advance(self, t: int) -> None:
        """Tape time is ``t`` now."""
        self._t = t
        if t >= self._until:
            self.end()
            self._until = (t // HOUR + 1) * HOUR
            self.turned(self._until - HOUR)

    def due(self) -> int:
        """Nothing changes by time alone before the next hour."""
        return self._until - 1

    def end(self) -> None:
        """Finish every part: the hour is over, or the run."""
        for chain in self._chains.values():
            self._finish(chain)
            chain.end()

    def record(self, venue: str, s: str, record: Record) -> None:
        """What a line of epoch ``s`` said."""
        kind = type(record)
        if kind is not BookDelta and kind is not BookSnapshot and kind is not BookLost:
            return
        key = (venue, record.symbol)  # type: ignore[union-attr]
        chain = self._chains.get(key)
        if chain is None:
            market = self.sampler.markets.get(key)
            if market is None:
                return
            chain = self._chains[key] = _Chain(market)
        if record.t > self._t:
            self._t = record.t
        if kind is BookDelta:
            self._delta(chain, s, record)  # type: ignore[arg-type]
        elif kind is BookSnapshot:
            self._snapshot(chain, s, record)  # type: ignore[arg-type]
        else:
            chain.leave(s)

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """An epoch is over."""
        for (of, _), chain in self._chains.items():
            if of == venue:
                chain.leave(s)

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """Nothing: an hour begins with what the sampler's checkpoint holds."""
        return {}

    # -- rows --------------------------------------------------------------------------------------------------------------

    def _delta(self, chain: _Chain, s: str, record: BookDelta) -> None:
        if not chain.begun:
            self._begin(chain)
        if chain.continues(s, record):
            self._add(chain, record.ts, (record.first, record.last), record.bids, record.asks)

    def _snapshot(self, chain: _Chain, s: str, record: BookSnapshot) -> None:
        if record.source in ("top", "checkpoint"):
            return
        if not chain.begun:
            self._begin(chain, without=s)
        if s not in chain.ids and chain.holds(s):
            chain.ids[s] = record.id
            return
        if record.id and record.id == chain.ids.get(s) and chain.holds(s):
            # Sent again, and nothing changed.
            return
        chain.restart(s, record.id)
        self._add(chain, record.ts, (record.id, record.id), record.bids, record.asks, True)

    def _begin(self, chain: _Chain, without: str = "") -> None:
        """Rule 3: the book that stands before this line, if any connection (but ``without``) has one."""
        sides = {s: side for s, side in chain.market.sides.items() if side.book is not None and s != without}
        if not sides:
            return
        leader = max(sides, key=lambda s: (sides[s].id, sides[s].t))
        side = sides[leader]
        assert side.book is not None
        chain.restart(leader, side.id)
        chain.ids = {s: other.id for s, other in sides.items()}
        bids, asks = side.book.top(BEST)
        self._add(chain, side.ts, (side.id, side.id), bids, asks, True)

    def _add(self, chain: _Chain, ts: int, ids: tuple[int, int], bids: Levels, asks: Levels, snapshot: bool = False) -> None:
        part = chain.part
        if part is not None and len(part) >= self.setup.part_rows and part.recv[-1] < self._t:
            self._finish(chain)
            part = None
        if part is None:
            part = chain.part = Part(chain.market.venue, chain.market.symbol, self.setup.group_rows)
        self.rows += part.add(self._t, ts, ids, bids, asks, snapshot)
        if self.rows > self.setup.all_rows:
            self._relieve()

    def _relieve(self) -> None:
        """Rule 5: the largest part ends, of those whose time can end."""
        open_parts = [chain for chain in self._chains.values() if chain.part is not None and chain.part.recv[-1:] != array("q", [self._t])]
        if open_parts:
            self._finish(max(open_parts, key=lambda chain: len(chain.part or ())))

    def _finish(self, chain: _Chain) -> None:
        part, chain.part = chain.part, None
        if part:
            self.rows -= len(part)
            self.finished(part)
