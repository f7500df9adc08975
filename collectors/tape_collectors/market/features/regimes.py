"""In what kind of market a row stands: session, activity, volatility, and the two last together.

Rules (each has its test in tests/collectors/features/test_regimes.py):

1. Sessions by UTC hour of event time: Tokyo [0, 8), London [8, 16), NewYork [16, 24).
2. The rate is trades over the last ``window_s`` seconds, the one that runs included, divided by ``window_s``. ``active`` from
   ``active_tps`` on, else ``quiet``.
3. Volatility is √Σr² over the same seconds, r the log return of a second's last trade on that of the last second that had one.
4. It is ``H`` above the ``split`` quantile of the values that came before it, one a ``every_s`` seconds, a day of them at most; else ``L``.
   Buckets low, mid, high: at the 1/3 and 2/3 quantiles of the same. No value is in its own baseline.
5. Until the window has been watched whole, rate, regime and volatility are None; until ``least`` values came before, what compares them is.
6. ``reset`` (a gap in the data) forgets the window, not the values of rule 4: what a usual day is like has not changed.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import msgspec

from tape_collectors.market.features.rolling import Median
from tape_collectors.market.features.zscore import SECOND_NS

HOUR_S = 3600
Session = Literal["Tokyo", "London", "NewYork"]
Regime = Literal["active", "quiet"]
Bucket = Literal["low", "mid", "high"]
_SESSIONS: tuple[Session, ...] = ("Tokyo", "London", "NewYork")


def session(ts: int) -> Session:
    """Rule 1; ``ts`` in unix ns."""
    return _SESSIONS[ts // (8 * HOUR_S * SECOND_NS) % 3]


class RegimeSetup(msgspec.Struct, frozen=True):
    """Of ``Regimes``; window, rate and split are the brief's."""

    window_s: int = 300
    active_tps: float = 2.0
    split: float = 0.5
    every_s: int = 60
    history: int = 1440
    least: int = 30


class Labels(msgspec.Struct, gc=False):
    """``tps`` trades/s; ``volatility`` a log return over the window; ``scenario``: A_H, A_L, Q_H or Q_L (active or quiet, high or low)."""

    session: Session
    tps: float | None = None
    regime: Regime | None = None
    volatility: float | None = None
    bucket: Bucket | None = None
    scenario: str | None = None


class Regimes:
    """Labels of a market, from its trades.

    tps = N / window; volatility = √Σ ln(p_s / p_s′)²; scenario 2×2 of both, by rules 2 to 4. Counts are by whole seconds of event time, so
    that memory does not grow with trading; a late trade counts in the second that runs.

    Source: the origin of the brief, as its documents mean it (its code kept 300 trades, so that no 300 s could have more than 1 a second,
    and compared volatility with a value of its own sample).
    """

    __slots__ = ("_begun", "_buckets", "_count", "_counted", "_history", "_last", "_price", "_returns", "_second", "_squares", "setup")

    def __init__(self, setup: RegimeSetup | None = None) -> None:
        self.setup = setup or RegimeSetup()
        self._history = Median(self.setup.history)
        self.reset()

    def reset(self) -> None:
        """Rule 6."""
        #: (second, trades) of the seconds that are over and had trades, and their squared returns
        self._buckets: deque[tuple[int, int]] = deque()
        self._returns: deque[float] = deque()
        self._counted = 0
        self._squares: float | None = 0.0
        self._second: int | None = None
        self._begun: int | None = None
        self._count = 0
        self._last: float | None = None
        self._price: float | None = None

    def update(self, ts: int, price: float) -> None:
        """One trade at event time ``ts`` (unix ns). A price that is no finite number above zero counts as a trade, and moves nothing."""
        self._advance(ts // SECOND_NS)
        self._count += 1
        if 0.0 < price < math.inf:
            self._price = price

    def labels(self, ts: int) -> Labels:
        """The labels at event time ``ts``, which may be later than the last trade."""
        setup = self.setup
        self._advance(ts // SECOND_NS)
        out = Labels(session(ts))
        assert self._begun is not None and self._second is not None
        if self._second - self._begun < setup.window_s:
            return out
        out.tps = (self._counted + self._count) / setup.window_s
        out.regime = "active" if out.tps >= setup.active_tps else "quiet"
        out.volatility = self._volatility()
        if len(self._history) >= setup.least:
            low, high, split = (self._history.quantile(share) or 0.0 for share in (1 / 3, 2 / 3, setup.split))
            out.bucket = "low" if out.volatility <= low else "mid" if out.volatility <= high else "high"
            out.scenario = f"{'A' if out.regime == 'active' else 'Q'}_{'H' if out.volatility > split else 'L'}"
        return out

    def _advance(self, second: int) -> None:
        """The seconds before ``second`` are over; what rule 4 keeps of them is kept."""
        if self._second is None or self._begun is None:
            self._second = self._begun = second
        if second <= self._second:
            return
        if self._count:
            self._close()
        every, window = self.setup.every_s, self.setup.window_s
        at = -(-self._second // every) * every
        while at < second:
            self._drop(at)
            if at - self._begun >= window:
                self._history.push(self._volatility())
            at += every
        self._second = second
        self._drop(second)

    def _close(self) -> None:
        """The second that ran is over."""
        assert self._second is not None
        self._buckets.append((self._second, self._count))
        self._returns.append(self._running())
        self._counted += self._count
        self._count, self._squares = 0, None
        if self._price is not None:
            self._last, self._price = self._price, None

    def _running(self) -> float:
        """The squared return of the second that runs, so far."""
        return math.log(self._price / self._last) ** 2 if self._price is not None and self._last is not None else 0.0

    def _drop(self, second: int) -> None:
        """Forget what is out of the window that ends with ``second``."""
        oldest = second - self.setup.window_s
        while self._buckets and self._buckets[0][0] <= oldest:
            self._counted -= self._buckets.popleft()[1]
            self._returns.popleft()
            self._squares = None

    def _volatility(self) -> float:
        if self._squares is None:
            self._squares = math.fsum(self._returns)
        return math.sqrt(self._squares + self._running())
