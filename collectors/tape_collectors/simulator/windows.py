"""Polymarket's up/down windows as the simulator lives them: names, tokens, books, strike, result. Written without the recorder's rules."""

from __future__ import annotations

import hashlib
import math
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
        return (coin, start, start + length) if coin in COINS else None
    if (match := _HOURLY.match(slug)) and match[1] in LONG:
        hour = int(match[5]) % 12 + (12 if match[6] == "pm" else 0)
        at = _day(match[2], match[3], match[4], hour)
        return (LONG[match[1]], at, at + 3600) if at else None
    if (match := _DAILY.match(slug)) and match[1] in LONG:
        end = _day(match[2], match[3], match[4], 12)
        day_before = datetime.fromtimestamp(end, _ET) - timedelta(days=1)
        return (LONG[match[1]], int(day_before.timestamp()), end) if end else None
    return None


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

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed}/{self.slug}")
        self.condition = "0x" + hashlib.sha256(self.slug.encode()).hexdigest()
        self.up = _digits(self.slug + "/up")
        self.down = _digits(self.slug + "/down")
        for level in range(1, 30):
            self.bids[500 - level * 10] = self.random.randint(100, 90_000)
            self.asks[500 + level * 10] = self.random.randint(100, 90_000)

    @property
    def strike(self) -> float:
        """The price to beat."""
        return twap(self.coin, self.start, self.seed)

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
        fair = self._fair(now)
        changes: dict[tuple[int, str], int] = {}
        for side, book in (("BUY", self.bids), ("SELL", self.asks)):
            for p in [p for p in book if (p > fair - 5 if side == "BUY" else p < fair + 5)]:
                changes[p, side] = 0
        for _ in range(self.random.choice((0, 1, 2))):
            distance = 10 + 10 * int(self.random.expovariate(0.5))
            side = self.random.choice(("BUY", "SELL"))
            p = (fair // 10 * 10 - distance) if side == "BUY" else (fair // 10 * 10 + 10 + distance)
            if 10 <= p <= 990:
                changes[p, side] = self.random.choice((0, 1, 1)) * self.random.randint(100, 90_000)
        out = []
        for (p, side), amount in changes.items():
            book = self.bids if side == "BUY" else self.asks
            if amount == 0 and (p not in book or len(book) <= 2):
                continue
            if amount:
                book[p] = amount
            else:
                del book[p]
            out.append((p, amount, side))
        return out

    def _fair(self, now: float) -> int:
        if now < self.start:
            return 500
        lead = (price(self.coin, int(now), self.seed) - self.strike) / self.strike * 2000
        return max(40, min(960, round(500 + 450 * math.tanh(lead))))


def text(price: int) -> str:
    """Thousandths as Polymarket writes a price: no trailing zeros."""
    return f"{price / 1000:.3f}".rstrip("0").rstrip(".")


def size(hundredths: int) -> str:
    """Hundredths as a size."""
    return f"{hundredths / 100:.2f}".rstrip("0").rstrip(".")


def iso(second: int) -> str:
    """ISO-8601 UTC."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
