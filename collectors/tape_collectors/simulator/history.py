"""What a venue knows of the past: trades, candles, funding and open interest of any time, without having lived through it.

Everything is a function of the seed, the symbol and the time: two servers of one seed give the same past, and any range can be asked for.
Times are unix ms, prices ticks, sizes lots. Candles are made of the trades. Some hours are missing, as after a maintenance: there the venue
has no trades, no candles, no funding and no open interest, and the trades' ids skip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
INTERVALS = {
    **{f"{count}m": count * MINUTE for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": count * HOUR for count in (1, 2, 4, 6, 8, 12)},
    "1d": DAY,
}
_MISSING = (400, 2000)
#: ms and share of the price of the waves that the price is made of
_WAVES = ((7 * DAY, 0.05), (DAY, 0.02), (6 * HOUR, 0.01), (HOUR, 0.004), (5 * MINUTE, 0.001))
_FAR = np.int64(2**62)


@dataclass(frozen=True)
class Listing:
    """An instrument and its time: traded from ``onboard_ms`` until ``delisted_ms`` (0: still). Steps as decimals of price and size."""

    symbol: str
    price: float
    tick: int = 2
    lot: int = 3
    onboard_ms: int = 0
    delisted_ms: int = 0

    def price_text(self, price: int) -> str:
        """A price as the venue writes it."""
        return f"{price / 10**self.tick:.{self.tick}f}"

    def size_text(self, size: int) -> str:
        """A size as the venue writes it."""
        return f"{size / 10**self.lot:.{self.lot}f}"

    def quote_text(self, amount: int) -> str:
        """Price times size as the venue writes it."""
        whole, part = divmod(amount, 10 ** (self.tick + self.lot))
        # All decimals, as on the stream: a candle is the same by either way.
        return f"{whole}.{part:0{self.tick + self.lot}d}"


@dataclass(frozen=True)
class Fills:
    """Aggregate trades, ascending."""

    id: Ints
    ms: Ints
    price: Ints
    size: Ints
    sells: Mask

    def part(self, which: Mask | slice) -> Fills:
        """Some of them."""
        return Fills(self.id[which], self.ms[which], self.price[which], self.size[which], self.sells[which])

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class Bars:
    """Candles on a grid; where ``there`` is false the venue has none. ``quote`` is price times size, ``taker`` what takers bought."""

    ms: Ints
    there: Mask
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote: Ints
    trades: Ints
    taker: Ints
    taker_quote: Ints


def key(*parts: object) -> int:
    """A number for some names, the same on every machine."""
    return int.from_bytes(hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "little")


def mix(number: int, index: Ints) -> NDArray[np.uint64]:
    """Random bits for each index (splitmix64)."""
    with np.errstate(over="ignore"):
        z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(number)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def share(number: int, index: Ints) -> NDArray[np.float64]:
    """Uniform in [0, 1) for each index."""
    return (mix(number, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


class History:
    """The past of some instruments. ``trades_per_hour``: as many in every hour, spread unevenly, so that some minutes have none.
    ``outages``: one hour in so many is missing, for one symbol and for all of them."""

    def __init__(
        self, listings: Iterable[Listing], *, seed: int = 1, trades_per_hour: int = 120, outages: tuple[int, int] = _MISSING
    ) -> None:
        self.listings = {one.symbol: one for one in listings}
        self.seed = seed
        self.rate = trades_per_hour
        self.outages = outages
        self._begun = int(_FAR)
        #: what is added to the ids of a symbol
        self._shift: dict[str, int] = {}
        self._lived: dict[tuple[str, int], tuple[int, ...]] = {}
        self._day = lru_cache(maxsize=256)(self._minutes)
        self._coarse = lru_cache(maxsize=8192)(self._aggregated)

    def lives_from(self, ms: int, last_ids: Mapping[str, int]) -> None:
        """From this time on there are no trades but those of a market that lives, and no candles but ``lived`` ones. ``last_ids``: of each
        symbol the id before the market's first trade, at which the past ends."""
        self._begun = ms
        for symbol, last in last_ids.items():
            before = self.fills(symbol, ms - DAY // 2, ms).id
            self._shift[symbol] = last - int(before[-1]) if len(before) else 0

    def lived(self, symbol: str, ms: int, values: tuple[int, ...]) -> None:
        """A minute that a market lived: open, high, low, close, volume, quote volume, trades, what takers bought in base and in quote."""
        self._lived[symbol, ms] = values
        if (ms + MINUTE) % DAY == 0:
            self._day.cache_clear()
            self._coarse.cache_clear()

    # -- what the venue is -----------------------------------------------------------------------------------------------

    def funding_ms(self, symbol: str) -> int:
        """Every eight hours, of some symbols every four."""
        return 4 * HOUR if key(self.seed, symbol, "funding") % 4 == 0 else 8 * HOUR

    def open_at(self, symbol: str, hours: Ints) -> Mask:
        """Whether the venue has something of these hours (numbers since 1970) at all."""
        one, all_of_them = self.outages
        mine = mix(key(self.seed, symbol, "outage"), hours) % np.uint64(one) == 0
        return np.asarray(~(mine | (mix(key(self.seed, "outage"), hours) % np.uint64(all_of_them) == 0)))

    def listed(self, symbol: str, ms: Ints) -> Mask:
        """Whether these times lie between its listing and its end."""
        one = self.listings[symbol]
        return np.asarray((ms >= one.onboard_ms) & (ms < (one.delisted_ms or _FAR)))

    def price(self, symbol: str, ms: Ints) -> Ints:
        """The price in ticks."""
        one = self.listings[symbol]
        moved = np.zeros(len(ms))
        for period, amount in _WAVES:
            at, number = ms // period, key(self.seed, symbol, "wave", period)
            before, after = share(number, at), share(number, at + 1)
            bend = (1 - np.cos(np.pi * (ms % period) / period)) / 2
            moved += amount * (2 * (before + (after - before) * bend) - 1)
        return np.asarray(np.maximum(1, np.round(one.price * 10**one.tick * np.exp(moved))), dtype=np.int64)

    # -- trades ----------------------------------------------------------------------------------------------------------

    def fills(self, symbol: str, first_ms: int, until_ms: int) -> Fills:
        """The trades of a time."""
        hours = np.arange(first_ms // HOUR, -(-until_ms // HOUR), dtype=np.int64)
        some = self._hours(symbol, hours)
        return some.part(np.asarray((some.ms >= first_ms) & (some.ms < until_ms)))

    def fills_from(self, symbol: str, first_id: int, count: int, until_ms: int) -> Fills:
        """The first ``count`` trades whose id is at least this one, before a time."""
        lowest = self.listings[symbol].onboard_ms // HOUR * self.rate
        found, hour = self._hours(symbol, np.zeros(0, dtype=np.int64)), max(first_id - self._shift.get(symbol, 0), lowest) // self.rate
        while len(found) < count and hour * HOUR < until_ms:
            ahead = max(2, 2 * (count - len(found)) // self.rate)
            some = self._hours(symbol, np.arange(hour, hour + ahead, dtype=np.int64))
            some = some.part(np.asarray((some.id >= first_id) & (some.ms < until_ms)))
            found = Fills(*(np.concatenate((getattr(found, name), getattr(some, name))) for name in ("id", "ms", "price", "size", "sells")))
            hour += ahead
        return found.part(slice(count))

    def _hours(self, symbol: str, hours: Ints) -> Fills:
        one = self.listings[symbol]
        hours = hours[self.open_at(symbol, hours)]
        ids = (hours[:, None] * self.rate + np.arange(self.rate, dtype=np.int64)).ravel()
        within = np.sort(share(key(self.seed, symbol, "when"), ids).reshape(-1, self.rate), axis=1) * HOUR
        ms = (hours[:, None] * HOUR + within.astype(np.int64)).ravel()
        bits = mix(key(self.seed, symbol, "what"), ids)
        sells = (bits & np.uint64(1)).astype(bool)
        size = 1 + ((bits >> np.uint64(1)) % np.uint64(5 * 10**one.lot)).astype(np.int64)
        some = Fills(ids + self._shift.get(symbol, 0), ms, self.price(symbol, ms) + ~sells, size, sells)
        return some.part(self.listed(symbol, ms) & (ms < self._begun))

    # -- candles ---------------------------------------------------------------------------------------------------------

    def bars(self, symbol: str, every_ms: int, first_ms: int, last_ms: int, now_ms: int) -> Bars:
        """Candles that open in ``first_ms..last_ms``, and not after now; the running one is told as far as it has come."""
        last_ms = min(last_ms, now_ms)
        parts = []
        for day in range(first_ms // DAY, last_ms // DAY + 1):
            running = (day + 1) * DAY > now_ms
            parts.append(self._aggregated(symbol, every_ms, day, now_ms) if running else self._coarse(symbol, every_ms, day))
        if not parts:
            parts = [_none()]
        joined = Bars(*(np.concatenate([getattr(part, name) for part in parts]) for name in Bars.__dataclass_fields__))
        return _some(joined, np.asarray(joined.there & (joined.ms >= first_ms) & (joined.ms <= last_ms)))

    def _aggregated(self, symbol: str, every_ms: int, day: int, now_ms: int = 0) -> Bars:
        minutes = self._minutes(symbol, day, now_ms) if now_ms else self._day(symbol, day)
        shape = (-1, every_ms // MINUTE)
        there = minutes.there.reshape(shape)
        row = np.arange(len(there))
        first = np.argmax(there, axis=1)
        last = there.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
        summed = [
            np.where(there, getattr(minutes, name).reshape(shape), 0).sum(axis=1)
            for name in ("volume", "quote", "trades", "taker", "taker_quote")
        ]
        return Bars(
            minutes.ms.reshape(shape)[:, 0],
            np.asarray(there.any(axis=1)),
            minutes.open.reshape(shape)[row, first],
            np.where(there, minutes.high.reshape(shape), 0).max(axis=1),
            np.where(there, minutes.low.reshape(shape), _FAR).min(axis=1),
            minutes.close.reshape(shape)[row, last],
            *summed,
        )

    def _minutes(self, symbol: str, day: int, now_ms: int = 0) -> Bars:
        begun = day * DAY
        ms = begun + np.arange(0, DAY, MINUTE, dtype=np.int64)
        hours = np.arange(day * 24, day * 24 + 24, dtype=np.int64)
        there = np.asarray(self.listed(symbol, ms) & np.repeat(self.open_at(symbol, hours), 60))
        some = self.fills(symbol, begun, min(begun + DAY, now_ms) if now_ms else begun + DAY)
        at = (some.ms - begun) // MINUTE
        trades = np.bincount(at, minlength=len(ms)).astype(np.int64)
        filled = trades > 0
        starts = np.concatenate(([0], np.cumsum(trades)[:-1]))[filled]
        # A minute without trades stands where the last trade left it.
        before = np.maximum.accumulate(np.where(filled, np.arange(len(ms)), -1))
        close = np.zeros(len(ms), dtype=np.int64)
        close[filled] = some.price[starts + trades[filled] - 1]
        begin = self.price(symbol, np.array([begun], dtype=np.int64))[0]
        close = np.where(before < 0, begin, close[before])
        opened, high, low = close.copy(), close.copy(), close.copy()
        totals = [np.zeros(len(ms), dtype=np.int64) for _ in range(4)]
        if len(some):
            opened[filled] = some.price[starts]
            high[filled] = np.maximum.reduceat(some.price, starts)
            low[filled] = np.minimum.reduceat(some.price, starts)
            bought = np.where(some.sells, 0, some.size)
            for total, values in zip(totals, (some.size, some.size * some.price, bought, bought * some.price), strict=True):
                total[filled] = np.add.reduceat(values, starts)
        volume, quote, taker, taker_quote = totals
        return self._with_lived(symbol, Bars(ms, there, opened, high, low, close, volume, quote, trades, taker, taker_quote))

    def _with_lived(self, symbol: str, bars: Bars) -> Bars:
        there = bars.there & (bars.ms < self._begun // MINUTE * MINUTE)
        columns = (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.quote, bars.trades, bars.taker, bars.taker_quote)
        for at in np.flatnonzero(bars.there & ~there):
            if values := self._lived.get((symbol, int(bars.ms[at]))):
                there[at] = True
                for column, value in zip(columns, values, strict=True):
                    column[at] = value
        return Bars(bars.ms, there, *columns)

    # -- funding and open interest ---------------------------------------------------------------------------------------

    def funding(self, symbol: str, first_ms: int, last_ms: int) -> list[tuple[int, str, str]]:
        """(time, rate, mark price) of each settlement in ``first_ms..last_ms``. It comes some ms after its hour."""
        every = self.funding_ms(symbol)
        grid = np.arange(-(-(first_ms - 20) // every) * every, last_ms + 1, every, dtype=np.int64)
        grid = grid[self.listed(symbol, grid) & self.open_at(symbol, grid // HOUR)]
        bits = mix(key(self.seed, symbol, "rate"), grid)
        times = grid + (bits % np.uint64(15)).astype(np.int64)
        rates = ((bits >> np.uint64(8)) % np.uint64(40_000)).astype(np.int64) - 15_000
        one, mark = self.listings[symbol], self.price(symbol, grid)
        rows = zip(times.tolist(), rates.tolist(), mark.tolist(), strict=True)
        return [(ms, f"{rate / 10**8:.8f}", f"{price / 10**one.tick:.8f}") for ms, rate, price in rows if first_ms <= ms <= last_ms]

    def open_interest(self, symbol: str, every_ms: int, first_ms: int, last_ms: int) -> list[tuple[int, str, str]]:
        """(time, open interest, its value) on the grid of a period."""
        grid = np.arange(-(-first_ms // every_ms) * every_ms, last_ms + 1, every_ms, dtype=np.int64)
        grid = grid[self.listed(symbol, grid) & self.open_at(symbol, grid // HOUR)]
        one = self.listings[symbol]
        size = (10**one.lot * (50_000 + 10_000 * share(key(self.seed, symbol, "interest"), grid // (5 * MINUTE)))).astype(np.int64)
        rows = zip(grid.tolist(), size.tolist(), self.price(symbol, grid).tolist(), strict=True)
        return [(ms, one.size_text(lots), f"{lots * price / 10 ** (one.tick + one.lot):.8f}") for ms, lots, price in rows]


def _some(bars: Bars, which: Mask) -> Bars:
    return Bars(*(getattr(bars, name)[which] for name in Bars.__dataclass_fields__))


def _none() -> Bars:
    empty = np.zeros(0, dtype=np.int64)
    return Bars(empty, empty.astype(bool), *[empty] * 9)
