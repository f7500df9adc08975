"""The book against a plain oracle: a dict of exact decimals, sorted anew for each answer."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format.records import Levels
from tape_collectors.market import book as module
from tape_collectors.market.book import Book, Side, is_zero


class Oracle:
    """One side: exact price -> (text, size text)."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.held: dict[Decimal, tuple[str, str]] = {}

    def apply(self, levels: Levels) -> None:
        for price, size in levels:
            self.held.pop(Decimal(price), None)
            if Decimal(size) > 0:
                self.held[Decimal(price)] = (price, size)

    def all(self) -> Levels:
        return [self.held[price] for price in sorted(self.held, key=lambda price: self.sign * price)]

    def notional(self, limit: float) -> float:
        inside = [(p, s) for p, s in self.all() if self.sign * float(p) <= self.sign * limit]
        return float(sum((Fraction(float(p) * float(s)) for p, s in inside), Fraction(0)))


def texts(chance: random.Random, number: int, forms: int) -> str:
    """A price in one of so many forms."""
    exact = Decimal(number) / 100
    return (f"{exact:.2f}", f"{exact.normalize():f}", f"{exact:.4f}", f"{exact:E}")[chance.randrange(forms)]


def history(seed: int, forms: int, width: int, steps: int) -> None:
    chance = random.Random(seed)
    sign = chance.choice((-1, 1))
    side, oracle = Side(sign), Oracle(sign)
    center = 50_000

    def some(count: int) -> Levels:
        sizes = ("0", "0.00000000", "0E-8", "1", "2.50", "0.001")
        return [(texts(chance, center + chance.randint(-width, width), forms), chance.choice(sizes)) for _ in range(count)]

    for _ in range(steps):
        if chance.random() < 0.02:
            center += chance.randint(-5 * width, 5 * width)
        if chance.random() < 0.02:
            levels = some(2 * width)
            side.replace(levels)
            oracle.held.clear()
        else:
            levels = some(chance.randint(0, 12))
            side.apply(levels)
        oracle.apply(levels)
        if chance.random() < 0.3:
            count = chance.choice((1, 1, 5, 300))
            assert side.top(count) == oracle.all()[:count], seed
        if chance.random() < 0.3:
            count = chance.choice((1, 5, 300))
            assert side.numbers(count) == [(float(price), float(size)) for price, size in oracle.all()[:count]], seed
        if chance.random() < 0.3:
            limit = (center + chance.randint(-width, width)) / 100
            assert side.notional(limit) == oracle.notional(limit), seed
    assert side.all() == oracle.all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), forms=st.sampled_from([1, 1, 3, 4]), width=st.sampled_from([3, 40, 600]))
def test_every_answer_is_the_oracles(seed: int, forms: int, width: int) -> None:
    history(seed, forms, width, 120)


def test_windows_that_grow_and_shrink_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_WINDOW", 4), ("_WIDEST", 24), ("_WAITING", 30), ("_GONE", 2)):
        monkeypatch.setattr(module, name, value)
    for seed in range(60):
        history(seed, 1 + seed % 3, 60, 150)


def test_one_price_in_two_texts_is_one_level() -> None:
    book = Book()
    book.replace([("84270.00", "1"), ("84269.50", "2")], [])
    book.apply([("84270", "3")], [])
    assert book.levels()[0] == [("84270", "3"), ("84269.50", "2")]
    book.apply([("84270.0", "0"), ("84269.5", "4")], [])
    assert book.levels()[0] == [("84269.5", "4")]
    book.replace([("100.1", "1"), ("100.10", "0")], [])
    assert book.levels()[0] == []


def test_the_last_of_two_texts_in_one_delta_counts() -> None:
    for levels, left in (([("10.00", "0"), ("10", "5")], [("10", "5")]), ([("10", "5"), ("10.00", "0")], [])):
        book = Book()
        book.replace([("10.00", "1")], [])
        book.apply(levels, [])
        assert book.levels()[0] == left


@pytest.mark.parametrize("uniform", [True, False])
def test_garbage_is_no_level_and_raises_nothing(uniform: bool) -> None:
    bad_sizes = ["", "x", "nan", "inf", "-1", "-0", "1e400", "é\u0000", "٣x", "1,2", "\ud800"]
    bad_prices = ["", "x", "nan", "inf", "-inf", "sNaN", "1e999999", "a.00", ".", "--1.00", "\ud800.00"]
    book = Book()
    book.replace([("9.00", "1")] if uniform else [("9.00", "1"), ("8", "1")], [("11.00", "1")])
    book.apply([("9.50", size) for size in bad_sizes], [(price, "1") for price in bad_prices])
    book.apply([("8.50", "0")], [])
    assert book.best() == ("9.00", "1", "11.00", "1")
    assert book.within(10.0, 2000.0) == (9.0 if uniform else 17.0, 11.0)
    assert len(book.levels()[0]) == (1 if uniform else 2) and len(book.levels()[1]) == 1


@pytest.mark.parametrize("size", ["0.000", "-1"])
def test_a_band_in_which_nothing_is_left_sums_to_zero(size: str) -> None:
    book = Book()
    book.replace([("9.00", "1"), ("8.00", "2")], [("11.00", "1")])
    assert book.within(10.0, 1500.0)[0] == 9.0
    book.apply([("9.00", size)], [])
    assert repr(book.within(10.0, 1500.0)[0]) == "0.0"


def test_zero_in_any_decimal_text() -> None:
    assert all(map(is_zero, ("0", "0.0", "0.00000000", "00", "0E-8", "-0", "0e5", "")))
    assert not any(map(is_zero, ("0.1", "1", "10", "1E-8", "x", "0.00000001")))


def test_no_answer_before_there_is_one() -> None:
    book = Book()
    assert book.best() is None and book.top(5) == ([], []) and book.within(1.0, 10.0) == (0.0, 0.0) and not book.crossed()
    book.apply([("1", "1")], [])
    assert book.best() is None
    book.apply([], [("1", "2")])
    assert book.best() == ("1", "1", "1", "2") and book.crossed()
    book.apply([], [("1", "0"), ("2", "1")])
    assert not book.crossed()


def pruned(asked: bool) -> Side:
    """A side that grows past its limit; ``asked``: by somebody who looks at it all the time."""
    chance, side = random.Random(3), Side(1)
    side.replace([(f"{n / 100:.2f}", "1") for n in range(100_000, 105_000)])
    for step in range(3000):
        side.apply([(f"{chance.randint(90_000, 130_000) / 100:.2f}", chance.choice(("1", "2", "0"))) for _ in range(12)])
        if asked and step % 7 == 0:
            side.top(20)
            side.notional(1000.0)
    return side


def test_pruning_depends_on_the_deltas_alone_and_keeps_the_best_exact() -> None:
    quiet, busy = pruned(False), pruned(True)
    assert quiet.all() == busy.all() and len(quiet.levels) < module.MOST + module.EVERY * 12
    chance, oracle = random.Random(3), Oracle(1)
    oracle.apply([(f"{n / 100:.2f}", "1") for n in range(100_000, 105_000)])
    for _ in range(3000):
        oracle.apply([(f"{chance.randint(90_000, 130_000) / 100:.2f}", chance.choice(("1", "2", "0"))) for _ in range(12)])
    assert len(oracle.held) > module.MOST, "the test must prune"
    assert len(quiet.all()) < len(oracle.held) and quiet.top(1000) == oracle.all()[:1000]


def test_a_window_is_not_sorted_anew_for_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a question once a second cheap: 600 seconds of a book of 5,000 levels, sorted as a whole a few times."""
    chance, side, sorts = random.Random(1), Side(-1), 0
    real = Side._sorted

    def counted(self: Side) -> list[tuple[float, str]]:
        nonlocal sorts
        sorts += 1
        return real(self)

    monkeypatch.setattr(Side, "_sorted", counted)
    side.replace([(f"{n / 100:.2f}", "1") for n in range(4_995_000, 5_000_000)])
    top = 5_000_000
    for _ in range(600):
        for _ in range(10):
            top += chance.randint(-20, 20)
            side.apply([(f"{(top - chance.randint(0, 400)) / 100:.2f}", chance.choice(("0", "1", "2"))) for _ in range(18)])
        side.top(21)
        side.notional(side.sign * -math.inf if False else top / 100 * 0.9999)
    assert sorts < 60


def test_sums_are_the_same_whatever_the_order() -> None:
    chance = random.Random(2)
    levels = [(f"{n / 100:.2f}", f"{chance.random():.8f}") for n in range(9_000, 10_000)]
    sums = set()
    for _ in range(5):
        chance.shuffle(levels)
        book = Book()
        book.replace(levels, [])
        sums.add(book.within(100.0, 1000.0)[0])
    assert len(sums) == 1
