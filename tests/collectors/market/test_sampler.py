"""The rules of ``market.sampler``, one by one. Times are seconds of tape time; the grid is one second."""

from __future__ import annotations

import math

import pytest

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Quote, Record
from tape_collectors.market.sampler import SECOND, Sample, Sampler, Setup

KEY = ("v", "S")


def at(seconds: float) -> int:
    return round(seconds * SECOND)


def snapshot(t: float, id: int = 1, bid: str = "99", ask: str = "101", size: str = "1") -> BookSnapshot:
    return BookSnapshot(at(t), at(t), "S", "depth", id, [(bid, size)], [(ask, size)])


def delta(t: float, id: int, bids: list[tuple[str, str]], ts: float = 0.0) -> BookDelta:
    return BookDelta(at(t), at(ts or t), "S", "depth", id, id, bids, [])


def quote(t: float, id: int, bid: str, ts: float = 0.0) -> Quote:
    return Quote(at(t), at(ts or t), "S", "bbo", id, bid, "2", "101", "2")


class Tape:
    """A sampler that is told lines in order."""

    def __init__(self, begun: float = 100.0) -> None:
        self.sampler = Sampler(Setup((KEY,)))
        self.sampler.start(at(begun), at(begun))
        self.samples: list[Sample] = []

    def line(self, t: float, *records: Record, s: str = "c-1") -> Tape:
        for (sample,) in self.sampler.advance(at(t)):
            self.samples.append(sample)
        for record in records:
            self.sampler.record("v", s, record)
        return self

    def upto(self, t: float) -> list[Sample]:
        """A clock mark a second, as a recorder in silence writes it."""
        last = self.sampler.next_tick / SECOND
        while last < t:
            last += 0.9
            self.line(min(last, t))
        return self.samples


def test_rule_1_a_row_reflects_every_line_up_to_its_tick_and_none_later() -> None:
    tape = (
        Tape()
        .line(100.2, snapshot(100.2))
        .line(101.0, delta(101.0, 2, [("99.5", "1")]))
        .line(101.000000001, delta(101.1, 3, [("99.7", "1")]))
    )
    assert [(sample.tick, sample.best_bid, sample.number) for sample in tape.samples] == [(at(101), "99.5", 1)]
    assert tape.upto(102.1)[-1].best_bid == "99.7"


def test_rule_1_a_line_at_the_tick_itself_makes_no_row_yet() -> None:
    assert Tape().line(100.5, snapshot(100.5)).line(101.0).samples == []


def test_rule_2_the_quote_is_newer_than_a_batch_of_the_book() -> None:
    tape = Tape().line(100.2, snapshot(100.2, 10)).line(100.5, quote(100.5, 12, "99.9"))
    assert (tape.upto(101.1)[-1].best_bid, tape.samples[-1].sequence) == ("99.9", 12)


@pytest.mark.parametrize("counted", [True, False])
def test_rule_2_a_quote_that_stopped_is_left_at_the_second_tick(counted: bool) -> None:
    id = 12 if counted else 0
    tape = Tape().line(100.2, snapshot(100.2, 10)).line(100.5, quote(100.5, id, "99.9")).line(100.8, delta(100.8, 20, [("99.2", "1")]))
    assert tape.upto(101.1)[-1].best_bid == "99.9", "the book may only be in the middle of a batch"
    assert tape.upto(102.1)[-1].best_bid == "99.2"
    tape.line(102.3, quote(102.3, 30 if counted else 0, "99.4"))
    assert tape.upto(103.1)[-1].best_bid == "99.4", "quotes came again"


def test_rule_3_no_proven_book_no_cells_but_a_reason() -> None:
    tape = Tape()
    assert [sample.err for sample in tape.upto(101.1)] == ["BookNotProven: no book yet"]
    tape.line(101.2, snapshot(101.2)).line(101.5, BookLost(at(101.5), "S", "depth", "gap in the depth stream"))
    last = tape.upto(102.1)[-1]
    assert (last.err, last.best_bid, last.coverage) == ("BookNotProven: gap in the depth stream", "", pytest.approx(0.3))
    tape.line(102.2, snapshot(102.2))
    tape.sampler.closed("v", at(102.4), "c-1", "stopped")
    assert tape.upto(103.1)[-1].err == "BookNotProven: disconnected: stopped"


def test_rule_3_one_of_two_connections_is_enough_and_the_newer_book_counts() -> None:
    tape = Tape().line(100.2, snapshot(100.2, 5)).line(100.3, snapshot(100.3, 7, bid="98"), s="c-2")
    assert tape.upto(101.1)[-1].best_bid == "98"
    tape.sampler.closed("v", at(101.5), "c-2", "cut")
    last = tape.upto(102.1)[-1]
    assert (last.err, last.best_bid, last.coverage) == ("", "99", 1.0)


def test_rule_4_a_silence_of_the_whole_tape_is_not_proven() -> None:
    tape = Tape().line(100.2, snapshot(100.2)).line(110.5)
    assert [bool(sample.err) for sample in tape.samples] == [False] * 3 + [True] * 7
    assert tape.samples[-1].err.startswith("TapeSilent") and tape.samples[-1].coverage == 0.0
    assert not tape.upto(111.6)[-1].err


def test_rule_5_sums_do_not_depend_on_order() -> None:
    levels = [(f"{99 - number / 1000:.3f}", f"{0.1 + number / 7:.9f}") for number in range(90)]
    sums = set()
    for some in (levels, levels[::-1], levels[40:] + levels[:40]):
        book = BookSnapshot(at(100.2), 0, "S", "depth", 1, some, [("99.01", "1")])
        sums.add(Tape().line(100.2, book).upto(101.1)[-1].bid_notional)
    mid = (99 + 99.01) / 2
    inside = [float(price) * float(size) for price, size in levels if float(price) >= mid * (1 - 10 / 10_000)]
    assert sums == {math.fsum(inside)} and len(inside) > 3


def test_an_empty_side_is_said() -> None:
    tape = Tape().line(100.2, snapshot(100.2)).line(100.4, delta(100.4, 2, [("99", "0")]))
    assert tape.upto(101.1)[-1].err.startswith("BookEmpty")


def test_the_books_of_a_connection_that_is_over_are_let_go_of_one_with_each_sample() -> None:
    gone: list[str] = []

    class Price(str):
        def __del__(self) -> None:
            gone.append(str(self))

    sampler = Sampler(Setup(tuple(("v", symbol) for symbol in "ABC")))
    sampler.start(at(100), at(100))
    for symbol in "ABC":
        sampler.record("v", "c-1", BookSnapshot(at(100.1), at(100.1), symbol, "depth", 1, [(Price("99"), "1")], [("101", "1")]))
    sampler.closed("v", at(100.2), "c-1", "gone")
    assert gone == []
    samples = sampler.tick(at(101.1))
    assert "disconnected" in next(samples).err
    assert [next(samples, None) is None for _ in range(3)] == [False, False, True]
    assert len(gone) == 3
