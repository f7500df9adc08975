"""Inputs of the feature tests: a seeded market, and the stream of the golden vector."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import strategies as st

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND

Quote = tuple[float, float, float, float]
Ladder = list[tuple[float, float]]
Book = tuple[Ladder, Ladder]


class Trade(NamedTuple):
    ts: int
    price: float
    size: float
    side: str


def golden(count: int) -> Iterator[Trade]:
    """The linear congruential stream of the golden vector; times in ns here, in ms there."""
    state, ts = 12345, 1_700_000_000_000
    for number in range(count):
        draws = []
        for _ in range(3):
            state = (1103515245 * state + 12345) % 2**31
            draws.append(state / 2**31)
        ts += int(50 + 900 * draws[2]) + (6000 if number == 200 else 0) + (4500 if number == 260 else 0)
        yield Trade(ts * 1_000_000, 100.0, round(0.001 + 5 * draws[0] ** 3, 3), "sell" if draws[1] < 0.5 else "buy")


def trades(count: int, seed: int = 1) -> list[Trade]:
    """Irregular times, ticks of 0.1, discrete sizes, bursts in one millisecond."""
    chance = random.Random(seed)
    ts, tick, out = START, 10_000, []
    for _ in range(count):
        ts += chance.choice((0, 0, 3, 40, 250, 900, 2500)) * 1_000_000
        tick += chance.choice((-2, -1, 0, 0, 0, 1, 2))
        out.append(Trade(ts, tick / 10, chance.randint(0, 400) / 100, chance.choice(("buy", "sell"))))
    return out


def books(count: int, levels: int = 5, seed: int = 1) -> list[Book]:
    """Books of whole ticks; best prices move now and then, a side is seldom short."""
    chance = random.Random(seed)
    bid, spread, out = 1000, 1, []
    for _ in range(count):
        bid += chance.choice((-1, 0, 0, 0, 0, 0, 1))
        spread = max(1, spread + chance.choice((-1, 0, 0, 0, 1)))
        here = levels - chance.choice((0, 0, 0, 0, 0, 0, 0, 1))
        bids = [(float(bid - at), chance.randint(1, 40) / 4) for at in range(here)]
        asks = [(float(bid + spread + at), chance.randint(1, 40) / 4) for at in range(levels)]
        out.append((bids, asks))
    return out


#: sizes that are whole quarters add up exactly in floats, in any order
sizes = st.integers(1, 400).map(lambda n: n / 4)
prices = st.integers(90, 110).map(float)


_gaps = st.integers(1, 3)


def quotes(least: int = 2, most: int = 30) -> st.SearchStrategy[list[Quote]]:
    """Quotes that are neither empty nor crossed."""
    rows = st.tuples(prices, sizes, _gaps, sizes)
    return st.lists(rows.map(lambda row: (row[0], row[1], row[0] + row[2], row[3])), min_size=least, max_size=most)


def ladders(levels: int = 3, least: int = 2, most: int = 15) -> st.SearchStrategy[list[Book]]:
    """Books of ``levels`` ranks, prices rising away from the middle in steps that may differ."""

    def book(row: tuple[float, int, tuple[tuple[int, float, int, float], ...]]) -> Book:
        bid, ask = row[0], row[0] + row[1]
        bids, asks = [], []
        for down, bid_size, up, ask_size in row[2]:
            bids.append((bid, bid_size))
            asks.append((ask, ask_size))
            bid, ask = bid - down, ask + up
        return bids, asks

    ranks = st.tuples(*[st.tuples(_gaps, sizes, _gaps, sizes)] * levels)
    return st.lists(st.tuples(prices, _gaps, ranks).map(book), min_size=least, max_size=most)
