"""Polymarket's up/down windows as the simulator lives them: names, tokens, books, strike, result. Written without the recorder's rules."""

from __future__ import annotations

import hashlib
import math
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

COINS = ("btc", "eth", "sol", "xrp", "doge", "bnb", "hype", "zec")
BASE = {"btc": 84000.0, "eth": 2680.0, "sol": 190.0, "xrp": 1.5, "doge": 0.2, "bnb": 900.0, "hype": 40.0, "zec": 500.0}
LONG = {"bitcoin": "btc", "ethereum": "eth", "solana": "sol", "xrp": "xrp", "dogecoin": "doge", "bnb": "bnb", "hype": "hype"}
_ET = ZoneInfo("America/New_York")
_EPOCH = re.compile(r"^([a-z]+)-updown-(\d+)(m|h|s)-(\d+)$")
_HOURLY = re.compile(r"^([a-z]+)-up-or-down-([a-z]+)-(\d+)-(\d{4})-(\d+)(am|pm)-et$")
_DAILY = re.compile(r"^([a-z]+)-up-or-down-on-([a-z]+)-(\d+)-(\d{4})$")


def price(coin: str, second: int, seed: int = 1) -> float:
    """The coin's spot price at a second: a function of the seed, so any second can be asked for."""
    phase = (seed % 97) + COINS.index(coin)
    slow = math.sin(second / 211 + phase) * 0.002 + math.sin(second / 47 + phase * 2) * 0.0006
    noise = int.from_bytes(hashlib.blake2b(f"{seed}/{coin}/{second}".encode(), digest_size=4).digest(), "big") / 2**32 - 0.5
    return round(BASE[coin] * (1 + slow + noise * 0.0002), 8)


def twap(coin: str, second: int, seed: int = 1) -> float:
    """The mean of the last 60 seconds."""
    return round(sum(price(coin, second - back, seed) for back in range(60)) / 60, 8)


def span(slug: str) -> tuple[str, int, int] | None:
    """(coin, start, end in epoch seconds) that a slug names; None if it names no window."""
    if match := _EPOCH.match(slug):
        coin, count, unit, start = match[1], int(match[2]), match[3], int(match[4])
        length = count * {"s": 1, "m": 60, "h": 3600}[unit]
        return (coin, start, start + length) if coin in COINS and length and _on_grid(start, length) else None
    if (match := _HOURLY.match(slug)) and match[1] in LONG:
        hour = int(match[5]) % 12 + (12 if match[6] == "pm" else 0)
        at = _day(match[2], match[3], match[4], hour)
        return (LONG[match[1]], at, at + 3600) if at else None
    if (match := _DAILY.match(slug)) and match[1] in LONG:
        end = _day(match[2], match[3], match[4], 12)
        day_before = datetime.fromtimestamp(end, _ET) - timedelta(days=1)
        return (LONG[match[1]], int(day_before.timestamp()), end) if end else None
    return None


def _on_grid(start: int, length: int) -> bool:
    """Up to an hour the grid is UTC's; 4 h windows are blocks of New York's day (sheet 1.1)."""
    if length < 4 * 3600:
        return start % length == 0
    at = datetime.fromtimestamp(start, _ET)
    return (at.hour * 3600 + at.minute * 60 + at.second) % length == 0


def _day(month: str, day: str, year: str, hour: int) -> int:
    try:
        at = datetime.strptime(f"{month} {day} {year} {hour}", "%B %d %Y %H").replace(tzinfo=_ET)
    except ValueError:
        return 0
    return int(at.timestamp())


def _digits(text: str) -> str:
    return str(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big"))


@dataclass
class Window:
    """One market. Prices of the Up token in thousandths; the Down token is its complement."""

    slug: str
    coin: str
    start: int
    end: int
    seed: int
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    last_trade: int = 500
    tick: int = 10
    closes: float | None = None

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed}/{self.slug}")
        self.condition = "0x" + hashlib.sha256(self.slug.encode()).hexdigest()
        self.up = _digits(self.slug + "/up")
        self.down = _digits(self.slug + "/down")
        for level in range(1, 30):
            self.bids[500 - level * 10] = self._size()
            self.asks[500 + level * 10] = self._size()

    @property
    def strike(self) -> float:
        """The price to beat."""
        return twap(self.coin, self.start, self.seed)

    @property
    def known_strike(self) -> float | None:
        """The price to beat as Gamma tells it; None where it never did."""
        return self.strike

    def market(self, closed: bool) -> dict[str, Any] | None:
        """A recorded Gamma object; None: it is to be made."""
        return None

    @property
    def final(self) -> float:
        """The closing price."""
        return twap(self.coin, self.end, self.seed)

    @property
    def up_won(self) -> bool:
        """A tie is Up."""
        return self.final >= self.strike

    def levels(self, token: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """(bids ascending, asks descending) as text: the best level is the last one."""
        bids, asks = self.bids, self.asks
        if token == self.down:
            bids, asks = {1000 - p: s for p, s in self.asks.items()}, {1000 - p: s for p, s in self.bids.items()}
        return (
            [(text(p), size(s)) for p, s in sorted(bids.items())],
            [(text(p), size(s)) for p, s in sorted(asks.items(), reverse=True)],
        )

    def move(self, now: float) -> list[tuple[int, int, str]]:
        """Some book changes (price, size, "BUY" or "SELL") of the Up token, towards what the coin's price says."""
        step = self.tick
        bid = max(step, min(1000 - 3 * step, self._fair(now) // step * step - step))
        ask = bid + 2 * step
        changes: dict[tuple[int, str], int] = {(p, "BUY"): 0 for p in self.bids if p > bid}
        changes |= {(p, "SELL"): 0 for p in self.asks if p < ask}
        changes |= {(bid, "BUY"): self._size()} if bid not in self.bids else {}
        changes |= {(ask, "SELL"): self._size()} if ask not in self.asks else {}
        for _ in range(self.random.choice((0, 1, 2))):
            away = step * (1 + int(self.random.expovariate(0.4)))
            side, p = self.random.choice((("BUY", bid - away), ("SELL", ask + away)))
            if step <= p <= 1000 - step:
                changes[p, side] = self.random.choice((0, 1, 1)) * self._size()
        out = [
            (p, amount, side) for (p, side), amount in changes.items() if (self.bids if side == "BUY" else self.asks).get(p, 0) != amount
        ]
        for change in out:
            self._set(change)
        return out

    def trade(self) -> tuple[tuple[int, int, str], int]:
        """A taker takes from the best level: (the level as it is then, what was taken). A side is never emptied."""
        side, price = self.random.choice((("BUY", max(self.bids)), ("SELL", min(self.asks))))
        there = (self.bids if side == "BUY" else self.asks)[price]
        taken = self.random.randint(1, max(1, there - 1))
        change = (price, max(1, there - taken), side)
        self._set(change)
        self.last_trade = price
        return change, taken

    def finer(self) -> tuple[str, str] | None:
        """(old, new) tick size, once, when the price comes near an edge: above 0.96 or below 0.04 (sheet 2.6)."""
        if self.tick == 1 or (min(self.asks) >= 40 and max(self.bids) <= 960):
            return None
        old, self.tick = self.tick, 1
        return text(old), text(self.tick)

    def _set(self, change: tuple[int, int, str]) -> None:
        price, amount, side = change
        book = self.bids if side == "BUY" else self.asks
        if amount:
            book[price] = amount
        else:
            del book[price]

    def _size(self) -> int:
        return self.random.randint(100, 90_000)

    def _fair(self, now: float) -> int:
        if now < self.start:
            return 500
        lead = (price(self.coin, int(now), self.seed) - self.strike) / self.strike * 2000
        return round(500 + 495 * math.tanh(lead))


def text(price: int) -> str:
    """Thousandths as Polymarket writes a price: no trailing zeros."""
    return f"{price / 1000:.3f}".rstrip("0").rstrip(".")


def ticks(price: str) -> int:
    """A price as thousandths."""
    return round(float(price) * 1000)


def size(hundredths: int) -> str:
    """Hundredths as a size."""
    return f"{hundredths / 100:.2f}".rstrip("0").rstrip(".")


def iso(second: int) -> str:
    """ISO-8601 UTC."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
