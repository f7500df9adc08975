"""The trades of one market as one chain by their ids, and what they add up to.

Rules (each has its test in tests/collectors/market/test_trade_chain.py):

1. A trade is taken once, in the order of its ids: one at or below the last is a double. It is ``late`` if its id was missing (another
   connection brings what one had missed): its row would stand in the wrong place, so it has none, and is told as an event.
2. A hole in the ids means that trades were missed: CVD counts a gap.
3. An id that went back while the venue's own time went on is a reset: the venue began anew.
4. A run goes on with the CVD of the one before (``Carry``, which stands on the tape). If the first id follows on the last, nothing was
   missed; else it is a gap like any other. With a new day CVD begins anew for both.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import msgspec

from tape_archive.format.records import Trade
from tape_collectors.market.features.cvd import CVD


class Carry(msgspec.Struct, frozen=True):
    """Where the chain of a market stood: CVD in base and quote since ``anchor`` (unix ns), and its last trade's id and time."""

    cvd: float
    cvd_quote: float
    anchor: int
    gaps: int
    last_id: int
    last_ts: int


class Taken(msgspec.Struct, gc=False):
    """One trade in its place. ``missed``: ids that never came before it."""

    price: float
    size: float
    id: int
    ts: int
    missed: int
    delta: float | None
    delta_quote: float | None
    cvd: float
    cvd_quote: float
    anchor: int
    gaps: int
    reset: bool = False


class TradeChain:
    """``remembered``: how many missing ids are remembered, so that a late trade is told from a double."""

    __slots__ = ("_carry", "_contiguous", "_cvd", "_missing", "_remembered", "doubles", "last")

    def __init__(self, remembered: int = 8192, carry: Carry | None = None) -> None:
        self._cvd = CVD("day")
        self._carry = carry
        self._contiguous = False
        self._missing: OrderedDict[int, None] = OrderedDict()
        self._remembered = remembered
        #: where the chain stands
        self.last = carry
        self.doubles = 0

    def take(self, record: Trade) -> Taken | Literal["double", "late"] | None:
        """The trade in its place, or why it has none; None for one that is no trade (not finite)."""
        number, last = int(record.id), self.last
        missed, reset = 0, False
        if last is not None:
            if number <= last.last_id:
                if record.ts <= last.last_ts:
                    return self.again(number)
                reset = True
                self._missing.clear()
                self._cvd.gap(record.ts)
            elif number > last.last_id + 1:
                missed = number - last.last_id - 1
                self._miss(last.last_id + 1, number)
                self._cvd.gap(record.ts)
        if self._cvd.anchor is None:
            self._contiguous = last is not None and not missed and not reset
        price, size = float(record.price), float(record.size)
        point = self._cvd.update(record.ts, price, size, record.side)
        if point is None:
            return None
        cvd, quote, gaps = point.cvd, point.cvd_quote, point.gaps
        carry = self._carry
        if carry is not None:
            if carry.anchor == point.anchor:
                cvd, quote = carry.cvd + cvd, carry.cvd_quote + quote
                # The class counts a beginning in mid-day as a gap (and with it the hole before the first trade).
                gaps += carry.gaps - self._contiguous
            else:
                self._carry = None
        self.last = Carry(cvd, quote, point.anchor, gaps, number, record.ts)
        return Taken(price, size, number, record.ts, missed, point.delta, point.delta_quote, cvd, quote, point.anchor, gaps, reset)

    def again(self, number: int) -> Literal["double", "late"]:
        """Rule 1, for an id at or below the last."""
        if number in self._missing:
            del self._missing[number]
            return "late"
        self.doubles += 1
        return "double"

    def _miss(self, first: int, end: int) -> None:
        missing = self._missing
        for number in range(max(first, end - self._remembered), end):
            missing[number] = None
        while len(missing) > self._remembered:
            missing.popitem(last=False)
