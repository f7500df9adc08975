"""An order book of price levels, kept as the venue's own decimal text.

1. Prices are compared as numbers: ``84270`` and ``84270.00`` are one level, under the text that came last. While all texts of a side have
   the same number of decimals, texts are equal exactly when the numbers are, and nothing is converted; from the first other text on,
   that side compares by ``Decimal``. Only texts that are new to the book are looked at.
2. Sizes are absolute. What is no finite number above zero removes the level; a price that is no finite number is no level. Nothing raises.
3. A removed level stays in the dict, with its zero, until there is a reason to look at it.
4. Answers come from a window of the best levels, sorted once, into which only new prices are sorted. So a question costs what its answer
   is long, and a book of 5,000 levels can be asked every second.
5. At every ``EVERY``-th delta a side of more than ``MOST`` levels is cut to its ``KEPT`` best, so that the cost does not climb with the
   hours. That depends on the deltas since the snapshot alone, not on who asked when. The best 1,000 levels stay exact until
   ``KEPT`` − 1,000 levels have gone from the top; what a venue's snapshot knew (1,000 or 5,000 levels) ends before that.
6. Sums are ``math.fsum``: exact whatever the order, so that live and rebuilt values are the same bytes.
"""

from __future__ import annotations

import math
import operator
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import islice

import msgspec

from tape_archive.format.records import Levels

MOST = 12_000
KEPT = 6_000
EVERY = 256
#: levels of the window when it is made; when it has grown so far it is made smaller; new prices that wait for a question
_WINDOW = 256
_WIDEST = 2048
_WAITING = 4096
#: so few new prices are put in one by one; more are sorted in together
_FEW = 16
#: levels that are gone before the best ones; more of them are taken out, since each question passes them
_GONE = 32
#: behind every text
_BEHIND = "\U0010ffff"
_decode = msgspec.json.Decoder(list[float]).decode
_PLAIN = re.compile(r"(?:0|[1-9][0-9]*)(?:\.([0-9]+))?").fullmatch


def is_zero(size: str) -> bool:
    """Whether a decimal text is zero: ``0``, ``0.00000000``, ``0E-8``."""
    return not size.strip("0.") or _is(size, 0.0)


def _is(text: str, number: float) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False


def _number(text: str) -> float:
    """The number of a text; not finite if it has none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def numbers(texts: Sequence[str]) -> list[float] | None:
    """The numbers of many texts in one step, the same floats as Python's own. None: one of them may be none, or below zero; ask each."""
    text = ",".join(texts)
    if "-" in text:
        return None
    try:
        found = _decode(f"[{text}]")
    except (msgspec.DecodeError, UnicodeError):
        return None
    return found if len(found) == len(texts) else None


def _exact(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and math.isfinite(float(value)) else None


class Side:
    """One side. ``sign`` is -1 for bids (the highest price is best), +1 for asks. Inside, prices are multiplied by it: less is better."""

    __slots__ = ("_applied", "_bound", "_new", "_point", "_texts", "_window", "levels", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        #: price text -> size text, in no order; a size that is no number above zero is no level
        self.levels: dict[str, str] = {}
        #: index of the point in every price text (0: none has one), while it is the same; then the text of each exact price (rule 1)
        self._point: int | None = None
        self._texts: dict[Decimal, str] | None = None
        #: (sign × price, text) of every level up to ``_bound``, sorted, and of some that are gone; the texts that are not sorted in yet
        self._window: list[tuple[float, str]] | None = None
        self._bound = 0.0
        self._new: list[str] = []
        self._applied = 0

    def apply(self, levels: Levels) -> None:
        """Absolute sizes at prices."""
        if not levels:
            return
        if self._texts is None:
            held = self.levels
            before = len(held)
            held.update(levels)
            if len(held) != before:
                self._arrived(levels, list(islice(reversed(held), len(held) - before)))
        else:
            self._put(levels)
        self._applied += 1
        if not self._applied % EVERY and len(self.levels) > MOST:
            self._prune()

    def replace(self, levels: Levels) -> None:
        """All levels anew."""
        self.levels, self._point, self._texts, self._window, self._new, self._applied = {}, None, None, None, [], 0
        if levels:
            self._point = _point(levels[0][0])
            if all(self._alike(price) for price, _ in levels):
                self.levels = dict(levels)
            else:
                self._texts = {}
                self._put(levels)

    def _alike(self, price: str) -> bool:
        """Whether a text is plain, with as many decimals as all the others."""
        at = self._point or 0
        if price[at : at + 1] == "." and (price[0] > "0" or (price[0] == "0" and len(price) + at == 1)):
            return True
        match = _PLAIN(price)
        return match is not None and _point(price) == at

    def _arrived(self, levels: Levels, new: list[str]) -> None:
        """Rule 1 for prices that the book has not seen."""
        if self._point is None:
            self._point = _point(new[-1])
        at = self._point
        end = at + 1
        for price in new:
            # The usual case of ``_alike``, without a call.
            if (price[at:end] != "." or price[0] <= "0") and not self._alike(price):
                break
        else:
            if self._window is not None:
                self._wait(new)
            return
        for price in new:
            del self.levels[price]
        self._texts = {value: price for price in self.levels if (value := _exact(price)) is not None}
        self._put(levels)

    def _put(self, levels: Levels) -> None:
        """Rule 1, the long way, in the order of ``levels``."""
        texts, held = self._texts, self.levels
        assert texts is not None
        new = []
        for price, size in levels:
            value = _exact(price)
            if value is None:
                continue
            old = texts.get(value)
            if old != price:
                if old is not None:
                    held.pop(old, None)
                texts[value] = price
                new.append(price)
            held[price] = size
        if self._window is not None:
            self._wait(new)

    def _wait(self, new: list[str]) -> None:
        self._new += new
        if len(self._new) > _WAITING:
            self._window, self._new = None, []

    def _prune(self) -> None:
        """Rule 5."""
        rows = self._sorted()
        self._keep(rows[:KEPT] if len(rows) > MOST else rows)
        self._window, self._new = None, []

    def _keep(self, rows: list[tuple[float, str]]) -> None:
        """Only these, so that any other price that comes is a new one."""
        if len(rows) != len(self.levels):
            self.levels = {price: self.levels[price] for _, price in rows}
            if self._texts is not None:
                self._texts = {Decimal(price): price for price in self.levels}

    def _forget(self) -> None:
        """Take the levels that are gone out of the window, and out of the book."""
        kept = [(value, price) for value, price, _ in self._levels()]
        for _, price in set(self._window or ()).difference(kept):
            self.levels.pop(price, None)
            if self._texts is not None and (value := _exact(price)) is not None and self._texts.get(value) == price:
                del self._texts[value]
        self._window = kept

    def _sorted(self) -> list[tuple[float, str]]:
        held, sign = self.levels, self.sign
        prices, sizes = numbers(list(held)), numbers(list(held.values()))
        if prices is not None and sizes is not None:
            found = zip(prices, sizes, held, strict=True)
            return sorted([(sign * value, price) for value, size, price in found if 0.0 < size < math.inf and value < math.inf])
        rows = [(sign * _number(price), price) for price, size in held.items() if 0.0 < _number(size) < math.inf]
        return sorted(row for row in rows if math.isfinite(row[0]))

    def _levels(self) -> Iterator[tuple[float, str, str]]:
        """The window's levels, best first: sign × price, price text, size text."""
        held = self.levels
        for value, price in self._window or ():
            size = held.get(price)
            if size is not None and 0.0 < _number(size) < math.inf:
                yield value, price, size

    def _arrange(self) -> None:
        """Sort the new prices into the window."""
        if self._new and self._window is not None:
            rows = [(self.sign * _number(price), price) for price in self._new]
            inside = [row for row in rows if row[0] <= self._bound and math.isfinite(row[0])]
            # A price that was thrown away and came again is there already.
            if len(inside) < _FEW:
                for row in inside:
                    at = bisect_left(self._window, row)
                    if at == len(self._window) or self._window[at] != row:
                        self._window.insert(at, row)
            else:
                self._window = list(dict.fromkeys(sorted(self._window + inside)))
            self._new = []
            if len(self._window) > _WIDEST:
                self._forget()
                if len(self._window) > _WIDEST // 2:
                    del self._window[_WIDEST // 4 :]
                    self._bound = self._window[-1][0]

    def _widen(self, least: int, limit: float) -> None:
        """Make the window anew: at least the ``least`` best levels and all up to ``limit``, with room to spare."""
        rows = self._sorted()
        self._keep(rows)
        count = max(_WINDOW, 2 * least)
        if len(rows) > count:
            self._bound = max(rows[count - 1][0], limit + (limit - rows[0][0]) / 4)
            while count < len(rows) and rows[count][0] <= self._bound:
                count += 1
            del rows[count:]
        else:
            self._bound = math.inf
        self._window, self._new = rows, []

    def top(self, count: int) -> Levels:
        """The best ``count`` levels, best first."""
        self._arrange()
        rows, gone, held = [], 0, self.levels
        for _, price in self._window or ():
            size = held.get(price)
            if size is not None and 0.0 < _number(size) < math.inf:
                rows.append((price, size))
                if len(rows) >= count:
                    break
            else:
                gone += 1
        if gone > _GONE:
            self._forget()
        if len(rows) < count and (self._window is None or self._bound < math.inf):
            self._widen(count, -math.inf)
            rows = [(price, size) for _, price, size in islice(self._levels(), count)]
        return rows

    def numbers(self, count: int) -> list[tuple[float, float]]:
        """``top`` as (price, size) in numbers: each is read once, for a caller that asks at every delta."""
        self._arrange()
        rows: list[tuple[float, float]] = []
        gone, held, sign = 0, self.levels, self.sign
        for value, price in self._window or ():
            number = _number(held.get(price, "0"))
            if 0.0 < number < math.inf:
                rows.append((sign * value, number))
                if len(rows) == count:
                    break
            else:
                gone += 1
        if gone > _GONE:
            self._forget()
        return rows if len(rows) == count else [(float(price), float(size)) for price, size in self.top(count)]

    def notional(self, limit: float) -> float:
        """The sum of price × size of all levels at ``limit`` or better."""
        self._arrange()
        worst = self.sign * limit
        if self._window is None or worst > self._bound:
            self._widen(1, worst)
        window = self._window or []
        rows = window[: bisect_left(window, (worst, _BEHIND))]
        held = self.levels
        sizes = numbers([held.get(price, "0") for _, price in rows])
        if sizes is None:
            return math.fsum(self._products(worst))
        # What is added turns a zero below zero into zero.
        return self.sign * math.fsum(map(operator.mul, [value for value, _ in rows], sizes)) + 0.0

    def _products(self, worst: float) -> Iterator[float]:
        held, sign = self.levels, self.sign
        for value, price in self._window or ():
            if value > worst:
                return
            if (size := held.get(price)) is not None and 0.0 < (number := _number(size)) < math.inf:
                yield sign * value * number

    def all(self) -> Levels:
        """Every level, best first."""
        return [(price, self.levels[price]) for _, price in self._sorted()]


def _point(price: str) -> int:
    """Where the point stands, from the end; 0 if there is none."""
    return price.find(".") - len(price) if "." in price else 0


class Book:
    """Both sides of one market."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(-1)
        self.asks = Side(1)

    def replace(self, bids: Levels, asks: Levels) -> None:
        """A snapshot."""
        self.bids.replace(bids)
        self.asks.replace(asks)

    def apply(self, bids: Levels, asks: Levels) -> None:
        """A delta."""
        self.bids.apply(bids)
        self.asks.apply(asks)

    def best(self) -> tuple[str, str, str, str] | None:
        """(bid, bid size, ask, ask size), or None if a side is empty."""
        bids, asks = self.bids.top(1), self.asks.top(1)
        return (*bids[0], *asks[0]) if bids and asks else None

    def top(self, count: int) -> tuple[Levels, Levels]:
        """The best ``count`` levels of each side, best first."""
        return self.bids.top(count), self.asks.top(count)

    def numbers(self, count: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """``top`` in numbers."""
        return self.bids.numbers(count), self.asks.numbers(count)

    def within(self, mid: float, bps: float) -> tuple[float, float]:
        """Sums of price·size of bids at or above ``mid·(1−bps/10⁴)`` and of asks at or below ``mid·(1+bps/10⁴)``."""
        return self.bids.notional(mid * (1 - bps / 10_000)), self.asks.notional(mid * (1 + bps / 10_000))

    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        best = self.best()
        return best is not None and float(best[0]) >= float(best[2])

    def levels(self) -> tuple[Levels, Levels]:
        """All levels, best first."""
        return self.bids.all(), self.asks.all()
