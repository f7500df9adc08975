"""One seeded market: correlated prices, books with depth, trades that consume the book.

Everything is a function of the seed and of the steps asked for. Prices and sizes are integers (ticks and lots) inside, decimal text
outside.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass, field

DEPTH = 200


@dataclass
class Change:
    """One update of a book: absolute sizes at prices, after update ``id``."""

    id: int
    ms: int
    bids: list[tuple[int, int]] = field(default_factory=list)
    asks: list[tuple[int, int]] = field(default_factory=list)
    best: bool = False


@dataclass(slots=True)
class Fill:
    """One trade."""

    id: int
    ms: int
    price: int
    size: int
    taker_sells: bool
    update: int
    forced: bool = False


class Instrument:
    """One book. ``tick`` and ``lot`` are decimals of price and size; update ids go up by 1 to ``stride`` (the futures' are not its own)."""

    def __init__(
        self,
        symbol: str,
        price: float,
        *,
        tick: int = 2,
        lot: int = 3,
        seed: int = 1,
        first_id: int = 5_000_000,
        keep: bool = False,
        stride: int = 1,
    ) -> None:
        if round(price * 10**tick) <= 2 * DEPTH:
            raise ValueError(f"{symbol}: a price of {price} leaves no room for {DEPTH} levels of 1e-{tick}")
        self.symbol = symbol
        self.stride = stride
        self.tick = tick
        self.lot = lot
        self.random = random.Random(f"{seed}/{symbol}")
        self.mid = round(price * 10**tick)
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.id = first_id
        self.trade_id = first_id // 7
        self.agg_id = first_id // 11
        self.changes: list[Change] = []
        self.fills: list[Fill] = []
        for level in range(1, DEPTH + 1):
            self.bids[self.mid - level] = self._size()
            self.asks[self.mid + level] = self._size()
        self.first = (self.id, dict(self.bids), dict(self.asks))
        self._history: list[Change] | None = [] if keep else None

    def at(self, update: int) -> tuple[dict[int, int], dict[int, int]]:
        """(bids, asks) as they were after an update, price → size. Needs ``keep``; raises KeyError for an update that never was."""
        first, bids, asks = self.first
        if self._history is None or not first <= update <= self.id:
            raise KeyError(update)
        bids, asks = dict(bids), dict(asks)
        for change in self._history[: bisect_right(self._history, update, key=lambda change: change.id)]:
            _apply(bids, change.bids)
            _apply(asks, change.asks)
        return bids, asks

    def _size(self) -> int:
        return self.random.randint(1, 5 * 10**self.lot)

    @property
    def open_interest(self) -> int:
        """Contracts that are open, in lots."""
        return self.trade_id % 10**9

    def premium(self) -> tuple[str, str, str, str]:
        """(mark price, index price, estimated settlement price, funding rate) of a perpetual."""
        bid, _, ask, _ = self.best()
        price = self.price_text((bid + ask) // 2)
        return price, price, price, "0.00010000"

    def price_text(self, price: int) -> str:
        """A price as the venue writes it."""
        return f"{price / 10**self.tick:.{self.tick}f}"

    def size_text(self, size: int) -> str:
        """A size as the venue writes it."""
        return f"{size / 10**self.lot:.{self.lot}f}"

    def best(self) -> tuple[int, int, int, int]:
        """(bid, bid size, ask, ask size)."""
        bid, ask = max(self.bids), min(self.asks)
        return bid, self.bids[bid], ask, self.asks[ask]

    def step(self, ms: int, push: float = 0.0) -> tuple[list[Change], list[Fill]]:
        """Some events at venue time ``ms``; ``push`` is the common part of the price's move (−1…1)."""
        changes: list[Change] = []
        fills: list[Fill] = []
        # Far from where it began the price is pulled back, so that a market that runs for days stays where it has room.
        push = max(-0.9, min(0.9, push - (self.best()[0] - self.mid) / (self.mid * 0.05)))
        for _ in range(self.random.choice((0, 1, 1, 2, 3))):
            chance = self.random.random()
            if chance < 0.3:
                self._trade(ms, push, changes, fills)
            elif chance < 0.3 + abs(push) / 2:
                self._lean(ms, push, changes)
            else:
                self._quote(ms, changes)
        self.changes, self.fills = changes, fills
        return changes, fills

    def requote(self, ms: int, count: int) -> Change:
        """``count`` resting orders of each side, never the best, get another size: the bulk of a busy book's updates."""
        sides = []
        for prices in (sorted(self.bids, reverse=True)[1:], sorted(self.asks)[1:]):
            sides.append([(price, self._size()) for price in self.random.sample(prices, min(count, len(prices)))])
        return self._change(ms, *sides)

    def _change(self, ms: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> Change:
        before = self.best()
        self.id += 1 if self.stride == 1 else self.random.randint(1, self.stride)
        _apply(self.bids, bids)
        _apply(self.asks, asks)
        change = Change(self.id, ms, bids, asks, best=self.best() != before)
        if self._history is not None:
            self._history.append(change)
        return change

    def _quote(self, ms: int, changes: list[Change]) -> None:
        bid, _, ask, _ = self.best()
        distance = min(DEPTH, int(self.random.expovariate(0.15)))
        size = 0 if self.random.random() < 0.4 else self._size()
        if self.random.random() < 0.5:
            price = min(bid + 1 - distance, ask - 1)
            if not (size == 0 and (price == bid and len(self.bids) < 20)):
                changes.append(self._change(ms, [(price, size)], []))
        else:
            price = max(ask - 1 + distance, bid + 1)
            if not (size == 0 and (price == ask and len(self.asks) < 20)):
                changes.append(self._change(ms, [], [(price, size)]))

    def _lean(self, ms: int, push: float, changes: list[Change]) -> None:
        """Makers follow the market: the best quote against the push is taken away and one in front of it comes closer."""
        bid, _, ask, _ = self.best()
        up = push > 0
        if len(self.asks if up else self.bids) > 20:
            changes.append(self._change(ms, [] if up else [(bid, 0)], [(ask, 0)] if up else []))
        bid, _, ask, _ = self.best()
        if ask - bid > 1:
            closer = (bid + 1 if up else ask - 1, self._size())
            changes.append(self._change(ms, [closer] if up else [], [] if up else [closer]))

    def _trade(self, ms: int, push: float, changes: list[Change], fills: list[Fill]) -> None:
        sells = self.random.random() > 0.5 + push / 2
        bid, bid_size, ask, ask_size = self.best()
        price, there = (bid, bid_size) if sells else (ask, ask_size)
        size = there if self.random.random() < 0.3 else self.random.randint(1, there)
        left = there - size
        book = self.bids if sells else self.asks
        if not left and len(book) < 20:
            left, size = 1, there - 1
            if not size:
                return
        changes.append(self._change(ms, [(price, left)] if sells else [], [] if sells else [(price, left)]))
        self.trade_id += 1
        self.agg_id += 1
        forced = self.random.random() < 0.02
        fills.append(Fill(self.trade_id, ms, price, size, sells, self.id, forced))


def _apply(book: dict[int, int], levels: list[tuple[int, int]]) -> None:
    for price, size in levels:
        if size:
            book[price] = size
        else:
            book.pop(price, None)


class Market:
    """Instruments that move together. ``keep``: every book that ever was can be asked back (a test's few seconds, not a day)."""

    def __init__(self, prices: dict[str, float], seed: int = 1, first_id: int = 5_000_000, keep: bool = False, stride: int = 1) -> None:
        self.seed = seed
        self.random = random.Random(f"{seed}/market")
        self.push = 0.0
        self.instruments = {
            symbol: Instrument(symbol, price, seed=seed, first_id=first_id, keep=keep, stride=stride) for symbol, price in prices.items()
        }

    def step(self, ms: int) -> dict[str, tuple[list[Change], list[Fill]]]:
        """One step of every instrument, under one common push that lasts for a second or two."""
        self.push = max(-0.8, min(0.8, self.push * 0.99 + self.random.uniform(-0.15, 0.15)))
        return {symbol: instrument.step(ms, self.push) for symbol, instrument in self.instruments.items()}
