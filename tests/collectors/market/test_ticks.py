"""The rules of ``market.ticks``, by number."""

from __future__ import annotations

import pytest

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Levels, Record
from tape_archive.format.rotation import HOUR
from tape_collectors.market import ticks
from tape_collectors.market.sampler import Sampler, Setup, TickSetup
from tape_collectors.market.ticks import Part, Ticks

BTC = ("binance_spot", "BTCUSDT")
T0 = 100 * HOUR
Seen = tuple[int, int, int, bool, Levels]


class Line:
    """A recording: ticks told of each line, then the sampler, as in the live process. Times in ns after ``T0``."""

    def __init__(self, setup: TickSetup | None = None, markets: tuple[tuple[str, str], ...] = (BTC,)) -> None:
        self.setup = setup or TickSetup()
        self.sampler = Sampler(Setup(markets))
        self.parts: list[Part] = []
        self.ticks = Ticks(self.sampler, self.setup, self.parts.append)
        self.sampler.start(T0, T0)
        self.ticks.begin(T0, T0)

    def say(self, t: int, s: str, *records: Record, venue: str = BTC[0]) -> None:
        self.ticks.advance(T0 + t)
        for record in records:
            self.ticks.record(venue, s, record)
            self.sampler.record(venue, s, record)

    def close(self, t: int, s: str) -> None:
        self.ticks.advance(T0 + t)
        self.ticks.closed(BTC[0], T0 + t, s, "gone")
        self.sampler.closed(BTC[0], T0 + t, s, "gone")

    def rows(self) -> list[Seen]:
        """(t, first id, last id, snapshot, levels) of every update, once all is over."""
        self.ticks.end()
        return [row for part in self.parts for row in updates(part)]

    def ids(self) -> list[int | str]:
        """The last id of every update; of a whole book, as text."""
        return [f"book {last}" if snapshot else last for _, _, last, snapshot, _ in self.rows()]


def updates(part: Part) -> list[Seen]:
    out: list[Seen] = []
    at = 0
    for row in range(len(part.recv)):
        count = part.bids[row] + part.asks[row]
        levels = [(repr(part.levels[2 * one]), repr(part.levels[2 * one + 1])) for one in range(at, at + count)]
        out.append((part.recv[row] - T0, part.first_id[row], part.last_id[row], bool(part.snapshot[row]), levels))
        at += count
    assert 2 * at == 2 * len(part) == len(part.levels)
    return out


def book(last: int, t: int = 0, source: str = "rest", bids: Levels | None = None, symbol: str = BTC[1]) -> BookSnapshot:
    return BookSnapshot(T0 + t, 0, symbol, "depth", last, bids or [("10", "1"), ("9", "2")], [("11", "3")], source)


def delta(last: int, t: int = 0, first: int = 0, price: str = "10", symbol: str = BTC[1]) -> BookDelta:
    return BookDelta(T0 + t, 77, symbol, "depth", first or last, last, [(price, str(last))], [])


def lost(t: int = 0) -> BookLost:
    return BookLost(T0 + t, BTC[1], "depth", "gap")


def test_a_book_and_its_changes() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-1", delta(103, first=101))
    assert line.rows() == [
        (1, 100, 100, True, [("10.0", "1.0"), ("9.0", "2.0"), ("11.0", "3.0")]),
        (2, 101, 103, False, [("10.0", "103.0")]),
    ]
    part = line.parts[0]
    assert (list(part.event), list(part.bids), list(part.asks)) == ([0, 77], [2, 1], [1, 0])


def test_changes_without_a_book_are_no_rows() -> None:
    line = Line()
    line.say(1, "a-1", delta(5))
    line.say(2, "a-1", lost())
    line.say(3, "a-1", delta(6))
    assert line.ids() == []


def test_rule_1_each_update_once_whichever_connection_brings_it() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-2", book(100))
    for t, s, last in (
        (3, "a-1", 101),
        (4, "a-2", 101),
        (5, "a-2", 102),
        (6, "a-2", 103),
        (7, "a-1", 102),
        (8, "a-1", 103),
        (9, "a-1", 104),
    ):
        line.say(t, s, delta(last))
    assert line.ids() == ["book 100", 101, 102, 103, 104]
    assert [row[0] for row in line.rows()] == [1, 3, 5, 6, 9]


def test_rule_1_a_connection_that_joins_ahead_does_not_skip() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-2", book(105))
    line.say(3, "a-2", delta(106))
    line.say(4, "a-1", delta(105, first=101))
    line.say(5, "a-1", delta(106))
    line.say(6, "a-2", delta(107))
    assert line.ids() == ["book 100", 105, 106, 107]


def test_rule_2_a_chain_that_breaks_begins_with_a_book() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-1", delta(101))
    line.say(3, "a-1", lost(3))
    line.say(4, "a-1", delta(105))
    line.say(5, "a-1", book(110, 5))
    line.say(6, "a-1", delta(111))
    assert line.ids() == ["book 100", 101, "book 110", 111]


def test_rule_2_another_connection_in_step_goes_on_without_a_book() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-2", book(99))
    line.say(3, "a-1", delta(101))
    line.close(4, "a-1")
    line.say(5, "a-2", delta(100))
    line.say(6, "a-2", delta(101))
    line.say(7, "a-2", delta(102))
    assert line.ids() == ["book 100", 101, 102]


def test_rule_2_another_connection_that_is_ahead_gives_its_book() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-2", book(200, bids=[("8", "5")]))
    line.say(3, "a-2", delta(201, price="8"))
    line.close(4, "a-1")
    line.say(5, "a-2", delta(202, price="7"))
    assert line.ids() == ["book 100", "book 201", 202]
    assert line.rows()[1][4] == [("8.0", "201.0"), ("11.0", "3.0")]


def test_rule_2_a_venue_that_begins_anew() -> None:
    """Both connections get ids that begin at 1; what the slower one still says in the old numbering is no row."""
    line = Line()
    line.say(1, "a-1", book(1000, source="ws"))
    line.say(2, "a-2", book(1000, source="ws"))
    line.say(3, "a-1", book(1, source="ws"))
    line.say(4, "a-2", delta(1001))
    line.say(5, "a-1", delta(2))
    line.say(6, "a-2", book(1, source="ws"))
    line.say(7, "a-2", delta(2))
    line.say(8, "a-2", delta(3))
    assert line.ids() == ["book 1000", "book 1", 2, 3]


def test_rule_2_a_book_that_is_sent_again_by_one_of_two() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-2", book(100))
    line.say(3, "a-1", book(100))
    line.say(4, "a-2", delta(101))
    assert line.ids() == ["book 100", 101]


def test_a_venue_without_ids_is_read_from_one_connection() -> None:
    line = Line()
    line.say(1, "a-1", book(0))
    line.say(2, "a-2", book(0))
    line.say(3, "a-1", delta(0, price="9"))
    line.say(4, "a-2", delta(0, price="9"))
    line.close(5, "a-1")
    line.say(6, "a-2", delta(0, price="8"))
    assert line.ids() == ["book 0", 0, "book 0", 0]


def test_only_books_of_deltas_and_known_markets() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-1", book(101, source="top"), delta(7, symbol="OTHER"))
    line.say(3, "a-1", delta(101))
    assert line.ids() == ["book 100", 101]


def test_rule_3_an_hour_begins_with_the_book_before_its_first_change(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(ticks, "BEST", 2)
    line = Line()
    turned: list[int] = []
    line.ticks.turned = turned.append
    line.say(1, "a-1", book(100, bids=[("8", "1"), ("10", "1"), ("9", "2")]))
    line.say(2, "a-1", delta(101))
    line.say(HOUR, "tape")
    assert len(line.parts) == 1 and turned == [T0 + HOUR]
    line.say(HOUR + 5, "a-1", delta(102))
    assert line.ids() == ["book 100", 101, "book 101", 102]
    assert line.rows()[2] == (HOUR + 5, 101, 101, True, [("10.0", "101.0"), ("9.0", "2.0"), ("11.0", "3.0")])
    assert [part.recv[0] - T0 for part in line.parts] == [1, HOUR + 5]


def test_rule_3_the_hour_from_its_checkpoint_is_the_same() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.say(2, "a-2", book(103))
    line.say(3, "a-1", delta(101))
    again = Line()
    again.ticks.begin(T0 + HOUR, T0)
    for s in ("a-1", "a-2"):
        state = line.sampler.markets[BTC].state(s)
        t, ts, last = state["book"]  # type: ignore[misc]
        again.say(HOUR, s, BookSnapshot(t, ts, BTC[1], "depth", last, state["bids"], state["asks"], "checkpoint"))  # type: ignore[arg-type]
    for one in (line, again):
        one.say(HOUR + 4, "a-1", delta(103, first=102))
        one.say(HOUR + 5, "a-1", delta(104))
        one.say(HOUR + 6, "a-2", delta(104))
        one.close(HOUR + 7, "a-2")
        one.say(HOUR + 8, "a-1", delta(105))
    assert again.rows() == [row for row in line.rows() if row[0] > HOUR] and again.ids() == ["book 103", 104, 105]


def test_rule_4_a_change_that_waited_has_the_time_of_its_snapshot() -> None:
    line = Line()
    line.say(9, "a-1", book(100, 9), delta(101, t=3), delta(102, t=4))
    assert [row[0] for row in line.rows()] == [9, 9, 9]


def test_rule_5_parts_end_by_their_rows_and_never_within_a_time() -> None:
    line = Line(TickSetup(part_rows=4))
    line.say(1, "a-1", book(100), delta(101), delta(102))
    for t in range(2, 8):
        line.say(t, "a-1", delta(101 + t))
    line.ticks.end()
    assert [len(part) for part in line.parts] == [5, 4, 2]
    assert [(part.recv[0] - T0, part.recv[-1] - T0) for part in line.parts] == [(1, 1), (2, 5), (6, 7)]


def test_rule_5_the_largest_part_ends_when_all_together_are_too_large() -> None:
    eth = ("binance_spot", "ETHUSDT")
    line = Line(TickSetup(all_rows=8), (BTC, eth))
    line.say(1, "a-1", book(100))
    line.say(2, "a-1", book(500, symbol="ETHUSDT"))
    for t, last in ((3, 101), (4, 102)):
        line.say(t, "a-1", delta(last))
    assert not line.parts and line.ticks.rows == 8
    line.say(5, "a-1", delta(501, symbol="ETHUSDT"))
    assert [(part.symbol, len(part)) for part in line.parts] == [("BTCUSDT", 5)] and line.ticks.rows == 4
    line.say(6, "a-1", delta(103))
    assert line.ids() == ["book 100", 101, 102, 103, "book 500", 501]


def test_rule_6_what_is_no_number() -> None:
    line = Line()
    line.say(1, "a-1", book(100, bids=[("nan", "1"), ("10", "-2"), ("x", "1"), ("9", "inf"), ("8", "y"), ("7", "1")]))
    line.say(2, "a-1", BookDelta(T0, 0, BTC[1], "depth", 101, 101, [("inf", "1")], []))
    line.say(3, "a-1", BookDelta(T0, 0, BTC[1], "depth", 102, 102, [], []))
    assert line.rows() == [(1, 100, 100, True, [("10.0", "0.0"), ("9.0", "0.0"), ("8.0", "0.0"), ("7.0", "1.0"), ("11.0", "3.0")])]


def test_rule_6_a_size_below_zero_alone() -> None:
    line = Line()
    line.say(1, "a-1", book(100, bids=[("10", "-2")]))
    assert line.rows()[0][4] == [("10.0", "0.0"), ("11.0", "3.0")]


@pytest.mark.parametrize(
    "text", ["7", "0.1", " 5", "1_0", "+5", ".5", "5.", "00.5", "1e5", "0.30000000000000004", "9007199254740993", "1.0e-320"]
)
def test_rule_6_a_number_is_what_python_reads(text: str) -> None:
    line = Line()
    line.say(1, "a-1", book(100, bids=[("3", "1"), (text, text), ("4", "1")]))
    assert line.rows()[0][4] == [("3.0", "1.0"), (repr(float(text)), repr(float(text))), ("4.0", "1.0"), ("11.0", "3.0")]


@pytest.mark.parametrize("text", ["5,6", "5],[6", "", " ", "null", '"5"', "1e999", "NaN"])
def test_rule_6_a_text_is_no_more_than_one_number(text: str) -> None:
    line = Line()
    line.say(1, "a-1", book(100, bids=[("3", "1"), (text, "2"), ("4", text), ("5", "1")]))
    assert line.rows()[0][4] == [("3.0", "1.0"), ("4.0", "0.0"), ("5.0", "1.0"), ("11.0", "3.0")]


def test_rule_4_the_records_tell_the_time_of_a_line() -> None:
    line = Line()
    line.say(1, "a-1", book(100, 1))
    assert line.ticks.due() == T0 // HOUR * HOUR + HOUR - 1
    line.ticks.record(BTC[0], "a-1", delta(101, 7))
    line.ticks.record(BTC[0], "a-1", delta(102, 5))
    assert [row[0] for row in line.rows()] == [1, 7, 7]


def test_a_run_that_begins_anew_knows_nothing() -> None:
    line = Line()
    line.say(1, "a-1", book(100))
    line.ticks.end()
    line.sampler.start(T0 + 5, T0 + 5)
    line.ticks.begin(T0 + 5, T0 + 5)
    line.say(6, "a-9", delta(101))
    assert line.ids() == ["book 100"]
