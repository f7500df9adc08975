"""Cumulative volume delta: what takers bought less what they sold, since a stated anchor.

Rules (each has its test in tests/collectors/features/test_cvd.py):

1. The taker's side gives the sign. Without one (Lee & Ready 1991): above the mid, if it is given, bought, below sold; at the mid, or
   without it, by the tick: a price above the trade before bought, below sold, equal as the trade before. A trade of which even that tells
   nothing has delta None, is not in the sum, and is counted (``unsided``).
2. The level counts from the anchor: the first trade of the run, 00:00 UTC of the day, or the session's beginning (00:00, 08:00, 16:00
   UTC), by event time. A trade at the anchor's own time is after it. An anchor never goes back: a late trade counts where it arrives.
3. ``gaps`` counts how often since the anchor trades were missed. A run that begins after its anchor has missed what was before: 1. With
   ``gaps`` above 0 the level is only as good as that. After a gap nothing is known of the trade before (rule 1).
4. Where ids are consecutive numbers, give them: one that was seen is a duplicate and no trade; one that is skipped is a gap.
5. A price or size that is not finite, or a size below 0, is no trade, and is counted (``bad``).
6. The sums are compensated: a level is the exact sum of its deltas to the last digit or one beside it.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from tape_collectors.market.features.rolling import Sum

HOUR_NS = 3_600_000_000_000
Anchor = Literal["run", "day", "session"]
_PERIODS: dict[Anchor, int] = {"run": 0, "day": 24 * HOUR_NS, "session": 8 * HOUR_NS}


class CvdPoint(msgspec.Struct, gc=False):
    """One trade. ``delta``, ``cvd`` in base currency, ``delta_quote``, ``cvd_quote`` in quote currency. ``inferred``: the side is by
    rule 1. ``anchor``: the time from which the level counts, unix ns."""

    ts: int
    delta: float | None
    delta_quote: float | None
    cvd: float
    cvd_quote: float
    anchor: int
    gaps: int
    inferred: bool


class CVD:
    """CVD in base and quote currency.

    δ = +size if the taker bought, -size if it sold; cvd = Σδ since the anchor; in quote currency price·δ. Binance's ``m`` (the buyer is the
    maker) true is a sale. Aggregates of futures leave out insurance fund and ADL trades, by the venue's own rule.

    Source: common use; side rules of Lee & Ready, Inferring Trade Direction from Intraday Data, J. Finance 46(2), 1991.
    """

    __slots__ = ("_base", "_id", "_lost", "_period", "_price", "_quote", "_sign", "anchor", "bad", "duplicates", "gaps", "unsided")

    def __init__(self, anchor: Anchor = "day") -> None:
        self._period = _PERIODS[anchor]
        self._base, self._quote = Sum(), Sum()
        self._price: float | None = None
        self._sign = 0.0
        self._id = 0
        self._lost = -1
        self.anchor: int | None = None
        self.gaps = self.unsided = self.bad = self.duplicates = 0

    def update(self, ts: int, price: float, size: float, side: str = "", mid: float | None = None, id: int = 0) -> CvdPoint | None:
        """One trade at event time ``ts`` (unix ns); ``side`` ``buy``, ``sell`` or unknown. None by rules 4 and 5."""
        if id:
            if id <= self._id:
                self.duplicates += 1
                return None
            if self._id and id > self._id + 1:
                self.gap(ts)
            self._id = id
        if not (math.isfinite(price) and 0.0 <= size < math.inf):
            self.bad += 1
            return None
        anchor = self.anchor
        if anchor is None or (self._period and ts >= anchor + self._period):
            anchor = self._anchored(ts)
        sign = 1.0 if side == "buy" else -1.0 if side == "sell" else self._inferred(price, mid)
        self._price = price
        if sign:
            self._sign = sign
            delta = sign * size
            quote = price * delta
            return CvdPoint(ts, delta, quote, self._base.add(delta), self._quote.add(quote), anchor, self.gaps, side not in ("buy", "sell"))
        self.unsided += 1
        return CvdPoint(ts, None, None, self._base.add(0.0), self._quote.add(0.0), anchor, self.gaps, True)

    def gap(self, ts: int) -> None:
        """Trades up to ``ts`` were missed. Where ids are given they tell, and no call is needed."""
        self.gaps += 1
        self._lost = ts
        self._price, self._sign = None, 0.0

    def _anchored(self, ts: int) -> int:
        """Rules 2 and 3, at the first trade of a period."""
        first = self.anchor is None
        self.anchor = anchor = ts // self._period * self._period if self._period else ts
        self.gaps = int(self._lost >= anchor or (first and ts > anchor))
        self._base, self._quote = Sum(), Sum()
        return anchor

    def _inferred(self, price: float, mid: float | None) -> float:
        """Rule 1 without a side: 1, -1, or 0 if nothing tells."""
        against = mid if mid is not None and math.isfinite(mid) and price != mid else self._price
        if against is None or price == against:
            return self._sign
        return 1.0 if price > against else -1.0
