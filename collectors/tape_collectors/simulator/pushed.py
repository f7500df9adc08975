"""A book as venues push it: the best levels of each side, whole at first, and then what has changed, counted by a number of its own."""

from __future__ import annotations

from tape_collectors.simulator.market import Instrument

Rows = list[list[str]]


class PushedBook:
    """One stream's view of an instrument, ``depth`` levels a side. A level that leaves the view is told as size 0."""

    def __init__(self, one: Instrument, depth: int, number: int = 1) -> None:
        self.one = one
        self.depth = depth
        self.number = number
        self.due = 0
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.step()

    def step(self) -> tuple[dict[int, int], dict[int, int]]:
        """What changed since the last step, price -> size; counted if anything did."""
        bids = {price: self.one.bids[price] for price in sorted(self.one.bids, reverse=True)[: self.depth]}
        asks = {price: self.one.asks[price] for price in sorted(self.one.asks)[: self.depth]}
        out = _changes(self.bids, bids), _changes(self.asks, asks)
        self.bids, self.asks = bids, asks
        if out[0] or out[1]:
            self.number += 1
        return out

    def whole(self) -> tuple[Rows, Rows]:
        """The book as of the last step, best first."""
        return self.text(self.bids), self.text(self.asks)

    def text(self, levels: dict[int, int]) -> Rows:
        """Levels on the wire."""
        return [[self.one.price_text(price), self.one.size_text(size) if size else "0"] for price, size in levels.items()]


def _changes(before: dict[int, int], after: dict[int, int]) -> dict[int, int]:
    gone = {price: 0 for price in before if price not in after}
    return gone | {price: size for price, size in after.items() if before.get(price) != size}
