"""Candles of any length made from those of one minute. Pure.

A candle of length n minutes opens at a multiple of n minutes since the epoch (a day: 00:00 UTC; a week: Monday). It is given when its last
minute has closed, if every minute of it is there; one with a missing minute is never given: backfill makes it when the minute is back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.errors import SettingsError

MINUTE_NS = 60_000_000_000
_UNITS = {"m": 1, "h": 60, "d": 1440, "w": 10_080}
#: the epoch was a Thursday
_MONDAY = 4 * 1440


def minutes(text: str) -> int:
    """``45m`` -> 45, ``2h`` -> 120. Raises SettingsError."""
    match = re.fullmatch(r"([1-9]\d{0,4})([mhdw])", text)
    if match is None:
        raise SettingsError(f"candle length {text!r}: expected e.g. 3m, 45m, 2h or 3d")
    return int(match[1]) * _UNITS[match[2]]


def opening(open_ts: int, length: int) -> int:
    """The opening time (unix ns) of the candle of ``length`` minutes that a minute is in."""
    shift = _MONDAY if length % 10_080 == 0 else 0
    number = open_ts // MINUTE_NS - shift
    return (number - number % length + shift) * MINUTE_NS


class Bar(msgspec.Struct, array_like=True):
    """Values of one candle; times in unix ns, sizes in base and quote units as the minutes gave them. ``have`` minutes are in it."""

    open_ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    taker_volume: float
    taker_quote_volume: float
    have: int = 1


class Candles:
    """The candles of one length in the making, by symbol."""

    def __init__(self, interval: str) -> None:
        self.interval = interval
        self.length = minutes(interval)
        self.bars: dict[str, Bar] = {}

    def minute(self, symbol: str, one: Bar) -> Bar | None:
        """A minute that has closed, in order of time; gives the candle that it completes."""
        start = opening(one.open_ts, self.length)
        bar = self.bars.get(symbol)
        if bar is None or bar.open_ts != start:
            bar = self.bars[symbol] = msgspec.structs.replace(one, open_ts=start)
        else:
            bar.high, bar.low, bar.close = max(bar.high, one.high), min(bar.low, one.low), one.close
            bar.volume += one.volume
            bar.quote_volume += one.quote_volume
            bar.trades += one.trades
            bar.taker_volume += one.taker_volume
            bar.taker_quote_volume += one.taker_quote_volume
            bar.have += 1
        if one.open_ts != start + (self.length - 1) * MINUTE_NS:
            return None
        del self.bars[symbol]
        return bar if bar.have == self.length else None

    def state(self) -> dict[str, Bar]:
        """What ``restore`` needs."""
        return self.bars

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that was written as JSON."""
        self.bars = {symbol: msgspec.convert(bar, Bar) for symbol, bar in state.items()}


def lengths(texts: Sequence[str]) -> list[Candles]:
    """One for each interval. Raises SettingsError."""
    return [Candles(text) for text in dict.fromkeys(texts)]
