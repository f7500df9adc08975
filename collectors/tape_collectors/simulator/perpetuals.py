"""Hundreds of perpetuals, a few busy and a long tail, cheap enough for tens of thousands of events a second.

Their books are ladders without holes, one tick wide at the top, so that the best price is known without a search; their texts are kept.
What an instrument does is a function of the seed and of the calls. Update ids are shared by all, so those of one symbol have holes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tape_collectors.simulator.candles import Candles
from tape_collectors.simulator.market import Change, Fill, Instrument, Market

#: levels of each side
DEPTH = 200
PERPETUAL, QUARTERLY = "PERPETUAL", "CURRENT_QUARTER"
TRADING, PENDING, SETTLING = "TRADING", "PENDING_TRADING", "SETTLING"
#: (symbol, price, decimals of the price, of the size), busiest first; one outside ASCII, as the venue has
_KNOWN = (
    ("BTCUSDT", 84000.0, 1, 3),
    ("ETHUSDT", 2680.0, 2, 3),
    ("SOLUSDT", 190.0, 3, 2),
    ("XRPUSDT", 1.52, 4, 1),
    ("1000PEPEUSDT", 0.0134, 7, 0),
    ("BTCUSDC", 84000.0, 1, 3),
    ("币安人生USDT", 0.1834, 5, 0),
)
_TEXTS = 1024


class Texts(dict[int, tuple[str, str]]):
    """A number of ``decimals`` → (as the venue writes it, without zeros at the end). What was asked is kept, up to a limit."""

    def __init__(self, decimals: int) -> None:
        super().__init__()
        self.decimals = decimals

    def __missing__(self, value: int) -> tuple[str, str]:
        if len(self) > _TEXTS:
            self.clear()
        found = self[value] = decimal(value, self.decimals)
        return found


def decimal(value: int, decimals: int) -> tuple[str, str]:
    """``value`` / 10^decimals: (with all decimals, without zeros at the end). Exact for any size."""
    if not decimals:
        return str(value), str(value)
    whole, part = divmod(value, 10**decimals)
    text = f"{whole}.{part:0{decimals}d}"
    return text, text.rstrip("0").rstrip(".")


@dataclass(slots=True)
class Batch:
    """What changed since the last frame of a diff-depth stream, absolute sizes. ``last``: the update that it goes on from."""

    last: int
    first: int = 0
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)


class Perpetual(Instrument):
    """One contract. ``weight``: its share of the market's events; ``churn``: the chance that its book changes in 100 ms of its own."""

    def __init__(
        self, market: Perpetuals, symbol: str, price: float, tick: int, lot: int, *, weight: float, contract: str, ms: int
    ) -> None:
        self.market = market
        self.symbol, self.tick, self.lot, self.contract = symbol, tick, lot, contract
        self.weight = weight
        self.churn = 0.5
        self.status = TRADING
        self.onboard_ms = ms
        self.random = market.random
        self.mid = max(round(price * 10**tick), 4 * DEPTH)
        self.bid = self.mid - 1
        # Orders are worth some thousands of dollars, so that a day's turnover stays exact in a float64.
        self.most: int = max(10, min(10**6, round(5_000 / price * 10**lot)))
        self.prices, self.sizes = Texts(tick), Texts(lot)
        self._palette: list[int] = [1 + int(self.random.random() * self.most) for _ in range(64)]
        self.bids = {self.bid - level: self._size() for level in range(DEPTH)}
        self.asks = {self.bid + 1 + level: self._size() for level in range(DEPTH)}
        self.id = market.update
        self.trade_id = self.trade_first = market.update // 7
        self.agg_id = market.update // 11
        self.first = (self.id, dict(self.bids), dict(self.asks))
        self.rate = self.random.gauss(0.0001, 0.0001)
        self._open_interest: int = self.most * self.random.randint(100, 5000)
        self.candles = Candles(ms, self.bid)
        #: since it began: high, low, volume and turnover (the first price is ``mid``)
        self.high = self.low = self.price = self.bid
        self.last_size = self.volume = self.turnover = 0
        self.batches: list[Batch] = []
        self.traded = False

    def _size(self) -> int:
        return self._palette[int(self.random.random() * 64)]

    def price_text(self, price: int) -> str:
        return self.prices[price][0]

    def size_text(self, size: int) -> str:
        return self.sizes[size][0]

    def best(self) -> tuple[int, int, int, int]:
        bid = self.bid
        return bid, self.bids[bid], bid + 1, self.asks[bid + 1]

    @property
    def open_interest(self) -> int:
        return self._open_interest

    def premium(self) -> tuple[str, str, str, str]:
        middle = (self.bid + 0.5) / 10**self.tick
        index = middle * (1 - self.rate)
        return f"{middle:.8f}", f"{index:.8f}", f"{(middle + index) / 2:.8f}", f"{self.rate:.8f}"

    def drift(self) -> None:
        """Funding and open interest go on a little."""
        self.rate = max(-0.02, min(0.02, self.rate + self.random.gauss(0, 1e-6)))
        self._open_interest = max(self.most, self._open_interest + int(self.random.gauss(0, self.most)))

    # -- the book ------------------------------------------------------------------------------------------------------------

    def _put(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        """Absolute sizes as one update; 0 takes a level away."""
        self.market.update += 1
        number = self.id = self.market.update
        for side, changed in ((self.bids, bids), (self.asks, asks)):
            for price, size in changed.items():
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
        for batch in self.batches:
            batch.first = batch.first or number
            batch.bids |= bids
            batch.asks |= asks

    def quote(self) -> None:
        """The size of a best quote changes."""
        if self.random.random() < 0.5:
            self._put({self.bid: self._size()}, {})
        else:
            self._put({}, {self.bid + 1: self._size()})

    def move(self, up: bool) -> None:
        """Both sides go a tick; the ladders keep their length."""
        bid = self.bid
        if up:
            self.bid = bid + 1
            self._put({bid + 1: self._size(), bid + 1 - DEPTH: 0}, {bid + 1: 0, bid + 1 + DEPTH: self._size()})
        else:
            self.bid = bid - 1
            self._put({bid: 0, bid - DEPTH: self._size()}, {bid: self._size(), bid + DEPTH: 0})

    def wander(self) -> None:
        """A tick up or down: with the market, and back from too far away."""
        away = (self.bid - self.mid) / self.mid
        self.move(self.random.random() < 0.5 + self.market.push * 0.3 - away * 5)

    def stir(self, count: int) -> None:
        """``count`` levels somewhere behind the best, mostly near, get another size."""
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        chance = self.random.random
        for number in range(count):
            away = 1 + int(chance() ** 3 * (DEPTH - 1))
            if number & 1:
                bids[self.bid - away] = self._size()
            else:
                asks[self.bid + 1 + away] = self._size()
        self._put(bids, asks)

    def trade(self, ms: int) -> Fill:
        """A taker takes some or all of the best quote."""
        chance = self.random.random
        sells = chance() < 0.5 - self.market.push * 0.3
        price = self.bid if sells else self.bid + 1
        there = self.bids[price] if sells else self.asks[price]
        size = there if chance() < 0.15 else 1 + int(chance() * (there - 1))
        self.trade_id += 1
        self.agg_id += 1
        if size == there:
            self.move(not sells)
        elif sells:
            self._put({price: there - size}, {})
        else:
            self._put({}, {price: there - size})
        self.candles.minute.add(self.trade_id, price, size, sells)
        self.high, self.low, self.price = max(self.high, price), min(self.low, price), price
        self.last_size = size
        self.volume += size
        self.turnover += price * size
        self.traded = True
        return Fill(self.trade_id, ms, price, size, sells, self.id, chance() < 0.004)


class Perpetuals(Market):
    """``count`` perpetuals and one quarterly contract. Weights fall as 1/(rank + 3): the busiest has some 5 % of 600."""

    instruments: dict[str, Perpetual]  # type: ignore[assignment]

    def __init__(self, count: int, *, seed: int = 1, first_id: int = 10**12, ms: int = 0) -> None:
        self.seed = seed
        self.random = random.Random(f"{seed}/perpetuals")
        self.push = 0.0
        self.update = first_id
        self.instruments = {}
        self._made = 0
        for _ in range(count):
            self.make(ms - 86_400_000 * self.random.randint(30, 2000), ms)
        one = self.instruments["BTCUSDT"]
        self._add(Perpetual(self, "BTCUSDT_261225", 84100.0, one.tick, one.lot, weight=0.01, contract=QUARTERLY, ms=ms))
        self.weigh()

    def make(self, onboard_ms: int, ms: int) -> Perpetual:
        """One more perpetual; ``weigh`` must follow."""
        rank, self._made = self._made, self._made + 1
        if rank < len(_KNOWN):
            symbol, price, tick, lot = _KNOWN[rank]
        else:
            price, tick, lot = self.random.choice(((0.0123, 6, 0), (0.45, 4, 0), (1.7, 4, 1), (12.5, 3, 1), (160.0, 2, 2)))
            symbol, price = f"P{rank:04d}USDT", price * self.random.uniform(0.5, 1.5)
        one = Perpetual(self, symbol, price, tick, lot, weight=1 / (rank + 3), contract=PERPETUAL, ms=ms)
        one.onboard_ms = onboard_ms
        return self._add(one)

    def _add(self, one: Perpetual) -> Perpetual:
        self.instruments[one.symbol] = one
        return one

    def weigh(self) -> None:
        """Listed symbols changed: who trades, and how much of it each has."""
        self.trading = [one for one in self.instruments.values() if one.status == TRADING]
        self._weights: list[float] = []
        total = 0.0
        for one in self.trading:
            one.churn = min(1.0, 0.15 + 20 * one.weight)
            total += one.weight
            self._weights.append(total)

    def picked(self, count: int) -> list[Perpetual]:
        """Who acts next, by weight."""
        return self.random.choices(self.trading, cum_weights=self._weights, k=count) if self.trading else []

    def step(self, ms: int) -> dict[str, tuple[list[Change], list[Fill]]]:
        """The common push goes on; the venue asks the instruments itself."""
        self.push = max(-0.8, min(0.8, self.push * 0.99 + self.random.uniform(-0.15, 0.15)))
        return {}
