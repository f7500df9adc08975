"""Candles of several lengths from one run of trades: the longer ones are made of the minutes, so they cannot contradict each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

MINUTE_MS = 60_000
#: the lengths that a whole-market recorder asks for, in ms; all of them begin at multiples of their length since 1970
INTERVALS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "30m": 30 * MINUTE_MS, "4h": 240 * MINUTE_MS, "1d": 1440 * MINUTE_MS}


@dataclass(slots=True)
class Candle:
    """Prices in ticks, ``volume`` and ``bought`` (by takers) in lots, ``quote`` and ``quote_bought`` in ticks times lots. ``first`` and
    ``last`` are trade ids, −1 without a trade."""

    start: int
    open: int
    high: int
    low: int
    close: int
    first: int = -1
    last: int = -1
    volume: int = 0
    quote: int = 0
    bought: int = 0
    quote_bought: int = 0
    trades: int = 0

    @property
    def ohlc(self) -> tuple[int, int, int, int]:
        """(open, high, low, close)."""
        return self.open, self.high, self.low, self.close

    def add(self, trade: int, price: int, size: int, taker_sells: bool) -> None:
        """One trade."""
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        if self.first < 0:
            self.first = trade
        self.last = trade
        amount = price * size
        self.volume += size
        self.quote += amount
        self.trades += 1
        if not taker_sells:
            self.bought += size
            self.quote_bought += amount

    def joined(self, later: Candle) -> Candle:
        """This one and the one after it as one."""
        return Candle(
            self.start,
            self.open,
            max(self.high, later.high),
            min(self.low, later.low),
            later.close,
            self.first if self.first >= 0 else later.first,
            later.last if later.last >= 0 else self.last,
            self.volume + later.volume,
            self.quote + later.quote,
            self.bought + later.bought,
            self.quote_bought + later.quote_bought,
            self.trades + later.trades,
        )


class Candles:
    """The running candles of one instrument. The first of each length holds what was traded since the instrument began."""

    def __init__(self, ms: int, price: int) -> None:
        self.minute = _empty(ms, MINUTE_MS, price)
        #: the closed minutes of each longer candle that runs
        self._before: dict[str, Candle | None] = {interval: None for interval in INTERVALS if interval != "1m"}

    def running(self, interval: str) -> Candle:
        """The candle of a length as it is now."""
        before = self._before.get(interval)
        if before is not None:
            return before.joined(self.minute)
        return replace(self.minute, start=self.minute.start - self.minute.start % INTERVALS[interval])

    def roll(self, ms: int) -> list[tuple[str, Candle]]:
        """The candles that ended at or before ``ms``, oldest first; minutes without a trade are candles too."""
        ended: list[tuple[str, Candle]] = []
        while (end := self.minute.start + MINUTE_MS) <= ms:
            ended.append(("1m", self.minute))
            for interval in self._before:
                whole = self.running(interval)
                if end % INTERVALS[interval]:
                    self._before[interval] = whole
                else:
                    ended.append((interval, whole))
                    self._before[interval] = None
            self.minute = _empty(end, MINUTE_MS, self.minute.close)
        return ended


def _empty(ms: int, length: int, price: int) -> Candle:
    return Candle(ms - ms % length, price, price, price, price)
