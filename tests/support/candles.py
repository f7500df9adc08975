"""Tables of two perpetuals whose every value is a function of its time."""

from __future__ import annotations

import math
from typing import Any

from tape_archive.tables import Cursor, Tables, open_tables
from tape_archive.tables.schema import EXCHANGE, SPECS

SECOND = 1_000_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
#: 2026-11-15, a Sunday
BEGIN = 1_794_700_800 * SECOND
DAYS = 3
END = BEGIN + DAYS * DAY
SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP")
STEPS = {"5m": 5 * MINUTE, "4h": 4 * HOUR, "15m": 15 * MINUTE}
Candle = tuple[int, float, float, float, float, float]


def candles(seed: int, timeframe: str, begin: int = BEGIN, end: int = END) -> list[Candle]:
    """(opens at, open, high, low, close, volume)."""
    step = STEPS[timeframe]
    return [(at, *_prices(seed, at // step), round(1 + (at // step * 7919 + seed) % 1000 / 8, 3)) for at in range(begin, end, step)]


def _prices(seed: int, number: int) -> tuple[float, float, float, float]:
    first, last = (round(3000.0 + 40_000 * seed + 300 * math.sin(n / 7) + n * 31 % 11, 2) for n in (number, number + 1))
    return first, round(max(first, last) + 1.5, 2), round(min(first, last) - 2.25, 2), last


def mark(seed: int, at: int) -> float:
    """At whole seconds."""
    return round(3000.0 + 40_000 * seed + 20 * math.sin(at // SECOND / 900), 2)


def rate(number: int) -> float:
    """Of the settlement so many eight hours after BEGIN."""
    return 0.0001 * (number - 3)


class Given:
    """Tables, and what is in them."""

    def __init__(self, url: str) -> None:
        self.store: Tables = open_tables(url)
        self.store.create()
        self._batch = 0

    def put(self, table: str, symbol: str, columns: dict[str, list[Any]]) -> None:
        """Rows without what is the same for all."""
        count = len(columns["timestamp"])
        same = {"receipt_timestamp": columns["timestamp"], "exchange": [EXCHANGE] * count, "symbol": [symbol] * count}
        rest = {name: [None] * count for name in SPECS[table].names}
        self._batch += 1
        self.store.insert(table, {**rest, **same, **columns}, Cursor(f"w{self._batch}", 1))

    def candles(self, symbol: str, timeframe: str, rows: list[Candle]) -> None:
        table = "custom_candles" if timeframe == "15m" else f"candles_{timeframe}"
        more = {"interval": [timeframe] * len(rows)} if timeframe == "15m" else {}
        names = ("timestamp", "open", "high", "low", "close", "volume")
        self.put(table, symbol, more | {name: [row[number] for row in rows] for number, name in enumerate(names)})

    def all(self, *, end: int = END, every_s: int = 5) -> None:
        """Everything, whole."""
        for seed, symbol in enumerate(SYMBOLS):
            for timeframe in STEPS:
                self.candles(symbol, timeframe, candles(seed, timeframe, end=end))
            settled = range(BEGIN, end, 8 * HOUR)
            self.put("funding", symbol, {"timestamp": list(settled), "rate": [rate(n) for n in range(len(settled))]})
            self.marks(symbol, seed, BEGIN, end, every_s)

    def marks(self, symbol: str, seed: int, begin: int, end: int, every_s: int) -> None:
        at = list(range(begin, end, every_s * SECOND))
        prices = [mark(seed, time) for time in at]
        self.put("index", symbol, {"timestamp": at, "index_price": prices, "mark_price": prices})
