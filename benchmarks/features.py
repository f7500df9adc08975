"""``make bench-features``: CPU of the features for each trade and each book update, beside an empty loop over the same inputs and beside pandas, in
one run. Interleaved rounds; medians. Budget: 15 µs for a trade and for a book update, everything on."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from tape_collectors.market.features.cvd import CVD
from tape_collectors.market.features.divergence import Conflict, Divergence, DivergenceSetup
from tape_collectors.market.features.fusion import Fusion
from tape_collectors.market.features.ofi import BestOFI, IntegratedOFI, Ladder, LevelsOFI, RankDifference
from tape_collectors.market.features.regimes import Regimes
from tape_collectors.market.features.zscore import DeltaZ, LevelZ

BUDGET = 15.0
START = 1_700_006_400_000_000_000
INTERVAL = 10_000_000_000
WINDOW = 300


class Trade(NamedTuple):
    ts: int
    price: float
    size: float
    side: str
    id: int


class Book(NamedTuple):
    ts: int
    bids: Ladder
    asks: Ladder


def market(count: int, rate: float, seed: int = 5) -> tuple[list[Trade], list[Book]]:
    """Trades and books of 5 ranks, ``rate`` of each a second; the best price moves at one update in ten, as on a busy perpetual."""
    chance = random.Random(seed)
    trades, books, ts, tick = [], [], START, 600_000
    sizes = [chance.randint(1, 40_000) / 1000 for _ in range(10)]
    for number in range(count):
        ts += int(chance.expovariate(rate) * 1e9)
        if chance.random() < 0.1:
            tick += chance.choice((-1, 1))
        sizes[chance.randrange(10)] = chance.randint(1, 40_000) / 1000
        bids = tuple(((tick - at) / 10, sizes[at]) for at in range(5))
        asks = tuple(((tick + 1 + at) / 10, sizes[5 + at]) for at in range(5))
        books.append(Book(ts, bids, asks))
        buys = chance.random() < 0.5
        size = round(0.001 + 5 * chance.random() ** 3, 3)
        trades.append(Trade(ts + 1_000_000, asks[0][0] if buys else bids[0][0], size, "buy" if buys else "sell", number + 1))
    return trades, books


class TradeSide:
    """Everything that a trade moves."""

    def __init__(self) -> None:
        self.cvd, self.z, self.regimes = CVD("day"), DeltaZ(), Regimes()

    def run(self, trades: Sequence[Trade]) -> None:
        cvd, z, regimes = self.cvd.update, self.z.update, self.regimes
        for ts, price, size, side, number in trades:
            point = cvd(ts, price, size, side, None, number)
            z(ts, point.delta if point else None)
            regimes.update(ts, price)
            regimes.labels(ts)


class BookSide:
    """Everything that a book moves: OFI with all its variants, its z, the fusion with z of CVD, divergences and conflicts."""

    def __init__(self) -> None:
        self.best, self.retreat, self.levels, self.ranks = BestOFI(), BestOFI("current"), LevelsOFI(5), RankDifference()
        self.integrated, self.z = IntegratedOFI(), LevelZ(ddof=1)
        self.fusion, self.conflict = Fusion(), Conflict()
        self.divergences = [Divergence("ofi"), Divergence("cvd", DivergenceSetup(scored=False)), Divergence("fusion")]
        self.interval = 0

    def run(self, books: Sequence[Book], z_cvd: Sequence[float | None]) -> None:
        best, retreat, levels, ranks, z = self.best.update, self.retreat.update, self.levels.update, self.ranks.update, self.z.update
        fusion, conflict, divergences = self.fusion.update, self.conflict.update, [one.update for one in self.divergences]
        for (ts, bids, asks), other in zip(books, z_cvd, strict=True):
            if ts // INTERVAL != self.interval:
                self.interval = ts // INTERVAL
                self.best.take()
                self.integrated.update(self.levels.take().normalised)
            (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
            value = best(bid, bid_size, ask, ask_size)
            retreat(bid, bid_size, ask, ask_size)
            levels(bids, asks)
            ranks(bids, asks)
            z_ofi = z(ts, value).z
            point, mid = fusion(ts, z_ofi, other), (bid + ask) / 2
            conflict(ts, mid, z_ofi, other)
            for one, indicator in zip(divergences, (z_ofi, other, point.score), strict=True):
                one(ts, mid, indicator, point.consistency)


def floor(rows: Sequence[tuple[object, ...]]) -> None:
    """The same inputs, taken apart and nothing else."""
    for _, _, *_ in rows:
        pass


def parts(trades: list[Trade], books: list[Book], z_cvd: list[float | None]) -> dict[str, Callable[[], None]]:
    """Each class alone, on the values that it meets."""
    best = BestOFI()
    values = [best.update(*bids[0], *asks[0]) for _, bids, asks in books]
    level = LevelZ(ddof=1)
    zs = [level.update(book.ts, value).z for book, value in zip(books, values, strict=True)]

    def loop(call: Callable[..., object], rows: Sequence[tuple[object, ...]]) -> Callable[[], None]:
        def run() -> None:
            for row in rows:
                call(*row)

        return run

    def labelled(regimes: Regimes) -> Callable[[int, float], object]:
        def both(ts: int, price: float) -> object:
            regimes.update(ts, price)
            return regimes.labels(ts)

        return both

    prices = [(ts, price) for ts, price, *_ in trades]
    tops = [(*bids[0], *asks[0]) for _, bids, asks in books]
    ladders = [(bids, asks) for _, bids, asks in books]
    rows = [(book.ts, (book.bids[0][0] + book.asks[0][0]) / 2, one, other) for book, one, other in zip(books, zs, z_cvd, strict=True)]
    signed = [(ts, size if side == "buy" else -size) for ts, _, size, side, _ in trades]
    return {
        "trade: CVD": loop(CVD("day").update, [(ts, price, size, side, None, number) for ts, price, size, side, number in trades]),
        "trade: z of delta (hybrid)": loop(DeltaZ().update, signed),
        "trade: regimes, labels each time": loop(labelled(Regimes()), prices),
        "book: OFI, best level": loop(BestOFI().update, tops),
        "book: OFI, 5 ranks": loop(LevelsOFI(5).update, ladders),
        "book: rank difference": loop(RankDifference().update, ladders),
        "book: z of OFI": loop(LevelZ(ddof=1).update, [(book.ts, value) for book, value in zip(books, values, strict=True)]),
        "book: fusion": loop(Fusion().update, [(ts, one, other) for ts, _, one, other in rows]),
        "book: one divergence": loop(Divergence("ofi").update, [row[:3] for row in rows]),
        "book: conflicts": loop(Conflict().update, rows),
    }


def windows_of_pandas(trades: list[Trade], books: list[Book], count: int) -> tuple[float, float]:
    """The usual live way: the last 300 rows in pandas, computed anew for each event (fewer of our columns). µs for a trade, for a book."""
    frame = pd.DataFrame(
        {"price": [row.price for row in trades], "delta": [row.size if row.side == "buy" else -row.size for row in trades]}
    )
    quotes = pd.DataFrame([(*bids[0], *asks[0]) for _, bids, asks in books], columns=["pb", "qb", "pa", "qa"])

    def traded(end: int) -> None:
        here = frame["delta"].iloc[end - WINDOW : end]
        size = here.abs()
        mix = 0.2 * size.ewm(halflife=60, adjust=False).mean().iloc[-1] + 0.8 * size.ewm(halflife=600, adjust=False).mean().iloc[-1]
        here.iloc[-1] / max(mix, 1.8 * 1.4826 * (here - here.median()).abs().median())

    def quoted(end: int) -> None:
        value = vectorised(quotes.iloc[end - WINDOW : end])
        (value.iloc[-1] - value.iloc[:-1].mean()) / value.iloc[:-1].std()

    return tuple(spent(lambda one=one: [one(WINDOW + n) for n in range(count)], count) for one in (traded, quoted))  # type: ignore[misc,return-value]


def vectorised(frame: pd.DataFrame) -> pd.Series:
    """Best-level OFI of a whole table at once."""
    before = frame.shift(1)
    bids = (frame["pb"] >= before["pb"]) * frame["qb"] - (frame["pb"] <= before["pb"]) * before["qb"]
    return bids - (frame["pa"] <= before["pa"]) * frame["qa"] + (frame["pa"] >= before["pa"]) * before["qa"]


def whole_of_pandas(trades: list[Trade], books: list[Book]) -> None:
    """After the fact, the whole table at once: the level of CVD, its rolling z, best-level OFI and its rolling z."""
    delta = pd.Series([row.size if row.side == "buy" else -row.size for row in trades])
    value = vectorised(pd.DataFrame([(*bids[0], *asks[0]) for _, bids, asks in books], columns=["pb", "qb", "pa", "qa"]))
    for series in (delta.cumsum(), value):
        rolling = series.rolling(WINDOW)
        (series - rolling.mean().shift(1)) / rolling.std().shift(1)


def spent(call: Callable[[], object], count: int) -> float:
    """CPU, µs for each of ``count``."""
    begun = time.process_time()
    call()
    return (time.process_time() - begun) * 1e6 / count


def measure(count: int, rounds: int, rate: float) -> dict[str, list[float]]:
    trades, books = market(count, rate)
    z = DeltaZ()
    z_cvd = [z.update(ts, size if side == "buy" else -size).z for ts, _, size, side, _ in trades]
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        ways: dict[str, Callable[[], object]] = {
            "trade: floor": lambda: floor(trades),
            "trade: all": lambda: TradeSide().run(trades),
            "book: floor": lambda: floor(books),
            "book: all": lambda: BookSide().run(books, z_cvd),
            **parts(trades, books, z_cvd),
        }
        for name, way in ways.items():
            found.setdefault(name, []).append(spent(way, count))
        a_trade, a_book = windows_of_pandas(trades, books, 100)
        found.setdefault("trade: pandas, 300 rows anew (z of delta only)", []).append(a_trade)
        found.setdefault("book: pandas, 300 rows anew (best-level OFI and its z only)", []).append(a_book)
        found.setdefault("both: pandas, the whole table at once, afterwards (CVD, OFI, two z)", []).append(
            spent(lambda: whole_of_pandas(trades, books), count)
        )
    return found


def main() -> None:
    count, rounds = int(os.environ.get("BENCH_EVENTS", "60000")), int(os.environ.get("BENCH_ROUNDS", "3"))
    for rate in (50.0, 1.0):
        print(f"{count:,} trades and {count:,} books, {rate:g} of each a second of event time, {rounds} rounds; µs of CPU each")
        found = measure(count, rounds, rate)
        for name in sorted(found, key=lambda name: (name.split(":")[0], "all" not in name, "pandas" in name)):
            print(f"  {name:72} {statistics.median(found[name]):9.2f}   ({min(found[name]):.2f}–{max(found[name]):.2f})")
        for kind in ("trade", "book"):
            cost = statistics.median(found[f"{kind}: all"])
            times = statistics.median(next(rows for name, rows in found.items() if name.startswith(f"{kind}: pandas"))) / cost
            verdict = "within" if cost <= BUDGET else "ABOVE"
            print(f"  a {kind}: {cost:.2f} µs, {verdict} the budget of {BUDGET:g} µs; pandas live ÷ ours {times:.0f}")


if __name__ == "__main__":
    main()
