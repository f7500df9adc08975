"""Rules 1 to 7 of ``market.harvest``, on lines given one by one."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from tape_archive.format.harvest import COLUMNS, KINDS, Kind
from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Levels, Notice, Record, Reset, Trade
from tape_archive.format.rotation import HOUR
from tape_collectors.market.features.ofi import flow
from tape_collectors.market.harvest import Harvest, HarvestPart
from tape_collectors.market.harvest_setup import HarvestSetup

SECOND, MS = 10**9, 10**6
T0 = 1_800_000_000 * SECOND
VENUE = "binance_usdm"
SETUP = HarvestSetup(symbols=("S",), interval_s=1)
NAMES = {kind: [name for name, _, _ in COLUMNS[kind]] for kind in KINDS}


class Tape:
    """Lines at times of our own, and the rows that come out."""

    def __init__(self, setup: HarvestSetup = SETUP, begun: int = T0) -> None:
        self.parts: list[HarvestPart] = []
        self.harvest = Harvest(setup, self.parts.append)
        self.harvest.begin(begun, begun)
        self.t = begun
        self.id = 1000
        self.book = 1

    def say(self, s: str, record: Record, t: int) -> None:
        self.t = t
        self.harvest.advance(t)
        self.harvest.record(VENUE, s, record)

    def trade(self, at_s: float, size: float = 1.0, side: str = "buy", id: int = 0, s: str = "market-1", price: str = "100.5") -> None:
        t = T0 + round(at_s * SECOND)
        self.id = id or self.id + 1
        self.say(s, Trade(t, t - 3 * MS, "S", "aggTrade", str(self.id), price, str(size), side, t - 2 * MS), t)

    def snapshot(
        self, at_s: float, id: int = 0, bids: Levels | None = None, asks: Levels | None = None, s: str = "public-1", source: str = "rest"
    ) -> None:
        t = T0 + round(at_s * SECOND)
        self.book = id or self.book
        bids = bids if bids is not None else [(str(100 - n), str(10 + n)) for n in range(7)]
        asks = asks if asks is not None else [(str(101 + n), str(8 + n)) for n in range(7)]
        self.say(s, BookSnapshot(t, t - 3 * MS, "S", "depth@100ms", self.book, bids, asks, source), t)

    def delta(self, at_s: float, bids: Levels = (), asks: Levels = (), s: str = "public-1", ids: tuple[int, int] | None = None) -> None:  # type: ignore[assignment]
        t = T0 + round(at_s * SECOND)
        first, last = ids or (self.book + 1, self.book + 2)
        previous, self.book = self.book, last
        self.say(s, BookDelta(t, t - 2 * MS, "S", "depth@100ms", first, last, list(bids), list(asks), previous), t)

    def close(self, at_s: float, s: str) -> None:
        t = T0 + round(at_s * SECOND)
        self.harvest.advance(t)
        self.harvest.closed(VENUE, t, s, "cut")

    def rows(self, kind: Kind) -> list[dict[str, Any]]:
        self.harvest.end()
        return [dict(zip(NAMES[kind], row, strict=True)) for part in self.parts if part.kind == kind for row in part.rows]

    def events(self) -> list[str]:
        return [row["event_type"] for row in self.rows("events")]


def busy(tape: Tape, seconds: float, begin: float = 0.0) -> None:
    """Trades and updates, ten of each a second."""
    if not tape.harvest.markets["S"].market.sides:
        tape.snapshot(begin + 0.01)
    for at in range(int(seconds * 10)):
        now = begin + 0.1 + at / 10
        tape.trade(now, 1.0 + at % 7, "buy" if at % 3 else "sell")
        tape.delta(now + 0.05, [("100", str(5 + at % 11))], [("101", str(5 + at % 5))])


# -- rule 1 ----------------------------------------------------------------------------------------------------------------------


def test_a_part_holds_one_rotation_and_names_it() -> None:
    tape = Tape()
    busy(tape, 130)
    tape.harvest.end()
    trades = [part for part in tape.parts if part.kind == "prices"]
    assert [part.first // (60 * SECOND) for part in trades] == [part.last // (60 * SECOND) for part in trades]
    assert len(trades) == 3 and all(one.last < other.first for one, other in zip(trades, trades[1:], strict=False))
    at = NAMES["prices"].index("recv_ns")
    assert all((part.first, part.last) == (part.rows[0][at], part.rows[-1][at]) for part in trades)


def test_rotations_count_from_the_hour_and_none_reaches_over_it() -> None:
    tape = Tape(HarvestSetup(symbols=("S",), rotate_s=3000))
    for at in (2990, 3010, 3590, 3610, 6590, 6610):
        tape.trade(at)
    tape.harvest.end()
    ends = [(part.first - T0) // SECOND for part in tape.parts if part.kind == "prices"]
    assert ends == [2990, 3010, 3610, 6610] and T0 % HOUR == 0


def test_what_is_frozen_when_an_hour_turns_goes_on_as_if_nothing_was() -> None:
    whole, first = Tape(), Tape()
    frozen: list[bytes] = []
    first.harvest.turned = lambda hour: frozen.append(pickle.dumps(first.harvest.freeze()))
    for tape in (whole, first):
        busy(tape, 19.8, begin=3580)
        tape.harvest.advance(T0 + 3600 * SECOND)
    second = Tape()
    second.harvest.thaw(T0 + 3600 * SECOND, pickle.loads(frozen[0]))
    second.id, second.book = whole.id, whole.book
    book = first.harvest.markets["S"].market.sides["public-1"].book
    assert book is not None
    bids, asks = book.levels()
    second.snapshot(3600.001, whole.book, bids, asks, source="checkpoint")
    for tape in (whole, second):
        tape.parts.clear()
        busy(tape, 30, begin=3600.0)
        tape.harvest.end()
    assert len(second.parts) > 4 and second.parts == whole.parts


# -- rule 2 ----------------------------------------------------------------------------------------------------------------------


def test_a_trade_is_a_price_and_a_step_of_cvd() -> None:
    tape = Tape()
    for size, side in ((1.5, "buy"), (2.0, "sell"), (0.5, "buy"), (3.0, "buy"), (1.0, "sell")):
        tape.trade(tape.id - 999, size, side)
    assert [row["delta"] for row in tape.rows("cvd")] == [1.5, -2.0, 0.5, 3.0, -1.0]
    assert [row["cvd"] for row in tape.rows("cvd")] == [1.5, -0.5, 0.0, 3.0, 2.0]
    price = tape.rows("prices")[0]
    assert (price["latency_ms"], price["ts_ms"] - price["event_ts_ms"], price["ts_ms"] - price["sent_ts_ms"]) == (2.0, 3, 2)
    assert price["recv_rate_tps"] is None and {row["why"] for row in tape.rows("cvd")} == {"warm-up"}
    assert all(row["z_cvd"] is None and row["scale"] is None and row["floor_used"] is None for row in tape.rows("cvd"))


def test_a_clock_that_is_behind_gives_a_negative_latency() -> None:
    tape = Tape()
    t = T0 + SECOND
    tape.say("market-1", Trade(t, t + 40 * MS, "S", "aggTrade", "1", "1", "1", "buy", t + 30 * MS), t)
    assert tape.rows("prices")[0]["latency_ms"] == -30.0


def test_an_update_is_the_flow_of_the_books_before_and_after_it() -> None:
    tape = Tape()
    tape.snapshot(0.5, bids=[("100.0", "10"), ("99", "20")], asks=[("100.5", "8"), ("101", "15")])
    quotes = [(100.0, 10.0, 100.5, 8.0)]
    for at, (bid, ask) in enumerate((([("100.0", "12")], []), ([("100.1", "5")], []), ([], [("100.4", "6")]), ([("100.1", "0")], []))):
        tape.delta(0.6 + at / 10, bid, ask)
    quotes += [(100.0, 12.0, 100.5, 8.0), (100.1, 5.0, 100.5, 8.0), (100.1, 5.0, 100.4, 6.0), (100.0, 12.0, 100.4, 6.0)]
    wanted = [flow(before, after) for before, after in zip(quotes, quotes[1:], strict=False)]
    rows = tape.rows("ofi")
    assert [row["ofi_value"] for row in rows] == wanted == [2.0, 5.0, -6.0, -5.0]
    assert [row["ofi_1"] for row in rows] == wanted
    assert [row["ofi_retreat"] for row in rows] == [2.0, 5.0, -6.0, -12.0]
    assert [row["ofi_3"] for row in rows] == [None] * 4, "ranks that the book does not have"
    books = tape.rows("book")
    assert [row["snapshot"] for row in books] == [True] + [False] * 4
    assert [row["prev_id"] for row in books[1:]] == [row["last_id"] for row in books[:-1]]
    assert (books[-1]["bid_price_1"], books[-1]["bid_qty_1"], books[-1]["bid_price_3"]) == (100.0, 12.0, None)


def test_fusion_takes_the_last_z_of_each_and_says_how_far_apart_they_are() -> None:
    tape = Tape()
    busy(tape, 20)
    flows, fused, trades = tape.rows("ofi"), tape.rows("fusion"), {row["recv_ns"]: row for row in tape.rows("cvd")}
    assert [row["recv_ns"] for row in fused] == [row["recv_ns"] for row in flows]
    last = fused[-1]
    assert last["ofi_z"] == flows[-1]["ofi_z"] and last["z_cvd"] == list(trades.values())[-1]["z_cvd"]
    assert last["lag_ms"] == pytest.approx(51.0) and last["score"] == pytest.approx(0.6 * last["ofi_z"] + 0.4 * last["z_cvd"])
    assert all(row["score"] is None for row in fused if row["ofi_z"] is None or row["z_cvd"] is None)
    assert sum(row["score"] is None for row in fused) >= 49


def test_each_trade_once_and_in_order_whoever_brings_it() -> None:
    tape = Tape()
    for id, s in ((10, "market-1"), (10, "market-2"), (11, "market-2"), (11, "market-1"), (9, "market-1")):
        tape.trade(id * 0.1, id=id, s=s)
    assert [row["agg_trade_id"] for row in tape.rows("prices")] == [10, 11]
    assert tape.harvest.markets["S"].trades.chain.doubles == 3


# -- rule 3 ----------------------------------------------------------------------------------------------------------------------


def test_another_proven_book_goes_on_without_a_gap() -> None:
    tape = Tape()
    tape.snapshot(0.1, 10)
    tape.delta(0.2, [("100", "11")], ids=(11, 20))
    tape.snapshot(0.3, 20, s="public-2", bids=[("100", "11"), ("99", "11")], asks=[("101", "8"), ("102", "9")])
    tape.delta(0.4, [("100", "12")], ids=(21, 30))
    tape.delta(0.45, [("100", "12")], ids=(18, 26), s="public-2")
    tape.close(0.5, "public-1")
    tape.delta(0.55, [("100", "13")], ids=(27, 29), s="public-2")
    tape.delta(0.6, [("100", "15")], ids=(30, 35), s="public-2")
    rows = tape.rows("ofi")
    assert [(row["last_id"], row["ofi_value"]) for row in rows] == [(20, 1.0), (30, 1.0), (35, 3.0)]
    assert [row["prev_id"] for row in tape.rows("book")] == [None, 10, 20, None], "another connection batches otherwise"
    assert tape.events() == ["begin", "book_back"]


def test_when_no_book_is_proven_nothing_is_differenced_across_it() -> None:
    tape = Tape()
    busy(tape, 30)
    tape.say("public-1", BookLost(tape.t, "S", "depth@100ms", "sequence"), T0 + 31 * SECOND)
    tape.delta(31.5, [("100", "50")])
    tape.snapshot(32.0, 5000)
    tape.delta(32.1, [("100", "11")])
    tape.delta(32.2, [("100", "12")])
    late = [row for row in tape.rows("ofi") if row["ts_ms"] > T0 // MS + 31_000]
    assert [row["ofi_value"] for row in late] == [1.0, 1.0], "of the new book, against the new book; what came between is no update"
    assert all(row["ofi_z"] is None and row["why"] == "warm-up" and row["interval_ofi"] is None for row in late)
    assert tape.events().count("book_lost") == 1 and tape.events()[-1] == "book_back"
    assert [row["snapshot"] for row in tape.rows("book")][-3:] == [True, False, False]


def test_what_waited_for_the_snapshot_has_no_latency() -> None:
    tape = Tape()
    tape.snapshot(0.1, 10)
    tape.delta(0.1, [("100", "11")], ids=(11, 20))
    tape.delta(0.2, [("100", "12")], ids=(21, 30))
    assert [row["latency_ms"] for row in tape.rows("book")] == [None, None, 2.0]


def test_a_crossed_book_has_no_flow() -> None:
    tape = Tape()
    tape.snapshot(0.1)
    tape.delta(0.2, [("101", "1")])
    tape.delta(0.3, [("101", "0")])
    tape.delta(0.4, [("100", "9")])
    assert [row["ofi_value"] for row in tape.rows("ofi")] == [None, None, -1.0]
    assert [row["why"] for row in tape.rows("ofi")] == ["value", "value", "warm-up"]


# -- rule 4 ----------------------------------------------------------------------------------------------------------------------


def test_missed_trades_make_nulls_and_an_event_and_a_gap_of_cvd() -> None:
    tape = Tape()
    busy(tape, 70)
    before = tape.rows("prices")[-1]
    assert before["recv_rate_tps"] == pytest.approx(10.0, abs=0.2)
    tape.trade(70.5, id=tape.id + 4)
    for at in range(60):
        tape.trade(70.6 + at / 20)
    flow, prices = tape.rows("cvd")[-61:], tape.rows("prices")[-61:]
    assert [row["why"] for row in flow] == ["warm-up"] * 49 + [None] * 12
    assert (prices[0]["missed"], flow[0]["gaps"], flow[-1]["gaps"]) == (3, 2, 2)
    assert all(row["recv_rate_tps"] is None for row in prices)
    event = next(row for row in tape.rows("events") if row["event_type"] == "trades_missed")
    assert json.loads(event["meta_json"]) == {"from_id": before["agg_trade_id"] + 1, "to_id": before["agg_trade_id"] + 3, "missed": 3}


def test_a_late_trade_is_an_event_and_no_row() -> None:
    tape = Tape()
    tape.trade(1, id=10)
    tape.trade(2, id=12)
    t = T0 + 3 * SECOND
    tape.say("market-2", Trade(t, t - 2 * SECOND, "S", "aggTrade", "11", "1", "1", "buy", t), t)
    assert [row["agg_trade_id"] for row in tape.rows("prices")] == [10, 12]
    event = tape.rows("events")[-1]
    assert event["event_type"] == "late_trade" and json.loads(event["meta_json"])["agg_trade_id"] == 11


def test_without_a_connection_for_trades_nobody_knows_the_rate() -> None:
    tape = Tape()
    busy(tape, 320)
    tape.close(320.2, "market-1")
    tape.delta(320.5, [("100", "3")])
    known, unknown = tape.rows("fusion")[-2:]
    assert known["regime"] == "active" and known["z_cvd"] is not None
    assert (unknown["regime"], unknown["z_cvd"], unknown["lag_ms"], unknown["score"]) == (None, None, None, None)
    assert unknown["session"] == known["session"]
    tape.trade(321)
    assert tape.rows("prices")[-1]["recv_rate_tps"] is None and tape.rows("prices")[-1]["missed"] == 0
    assert tape.rows("cvd")[-1]["z_cvd"] is not None, "no trade was missed"


def test_a_venue_that_begins_anew() -> None:
    tape = Tape()
    busy(tape, 10)
    tape.say("market-1", Reset(tape.t, "S", "aggTrade", "ids went back"), T0 + 11 * SECOND)
    tape.trade(11.0, id=5)
    assert tape.rows("prices")[-1]["agg_trade_id"] == 5 and tape.rows("cvd")[-1]["why"] == "warm-up"
    assert tape.events()[-1] == "reset"


# -- rules 5 and 6 -----------------------------------------------------------------------------------------------------------------


def test_an_interval_is_the_sum_of_its_updates() -> None:
    tape = Tape()
    busy(tape, 6)
    rows = tape.rows("ofi")
    for end in {row["interval_end_ms"] for row in rows} - {None}:
        inside = [row["ofi_value"] for row in rows if end - 1000 <= row["ts_ms"] < end]
        (told,) = {row["interval_ofi"] for row in rows if row["interval_end_ms"] == end}
        assert told == pytest.approx(sum(inside))
    assert rows[0]["interval_end_ms"] is None and rows[-1]["interval_end_ms"] is not None
    silent = len(rows)
    tape.delta(9.5, [("100", "5")])
    late = tape.rows("ofi")[silent]
    assert (late["interval_end_ms"], late["interval_ofi"], late["interval_norm"]) == (T0 // MS + 9000, 0.0, None), "an interval of silence"


def test_a_divergence_is_known_when_it_is_confirmed() -> None:
    tape = Tape()
    tape.snapshot(0.01, bids=[("99", "10")], asks=[("101", "10")])
    size = {"low": 1.0}
    for second in range(1, 260):
        phase = second % 60
        swing = -abs(phase - 30) / 10 + second / 100
        tape.trade(second, 1.0 + (0.0 if phase < 30 else 3.0), "buy" if phase < 30 else "sell")
        bid, ask = 99 + swing, 101 + swing
        tape.delta(
            second + 0.5,
            [(f"{tape_price:.4f}", "0") for tape_price in size.values() if tape_price > 1] + [(f"{bid:.4f}", "10")],
            [("101", "0")] if second == 1 else [],
        )
        tape.delta(second + 0.6, [], [(f"{ask:.4f}", "10")] + ([(f"{size['ask']:.4f}", "0")] if "ask" in size else []))
        size = {"low": bid, "ask": ask}
    found = [row for row in tape.rows("events") if row["event_type"] in ("bear_div", "bull_div", "hidden_bear", "hidden_bull")]
    assert found, tape.events()
    for row in found:
        assert row["event_ts_ms"] - row["pivot_ts_ms"] == pytest.approx(12_000, abs=200), "twelve samples, one a second"
        assert set(json.loads(row["meta_json"])) >= {"channel", "before_ts_ms", "prices", "indicators", "separation"}


# -- rule 7 ----------------------------------------------------------------------------------------------------------------------


def doubled(tape: Tape) -> list[dict[str, Any]]:
    return [json.loads(row["meta_json"]) for row in tape.rows("events") if row["event_type"] == "trades_doubled"]


def twice(tape: Tape, *numbers: int) -> None:
    """What the feed says of trades that a connection sends again."""
    for number in numbers:
        tape.say("market-1", Notice(tape.t, "duplicate", "", "S", "aggTrade", number), tape.t + 1)


def test_what_came_again_is_told_at_the_end_of_its_part() -> None:
    tape = Tape()
    for id, s in ((10, "market-1"), (11, "market-1"), (11, "market-2"), (12, "market-2")):
        tape.trade(id / 10, id=id, s=s)
    twice(tape, 10, 11)
    assert not [part for part in tape.parts if part.kind == "events"]
    tape.trade(70, id=13)
    twice(tape, 13)
    assert doubled(tape) == [{"count": 3, "sent_twice": 2, "ids": [10, 11]}, {"count": 1, "sent_twice": 1, "ids": [13]}]
    event = next(row for row in tape.rows("events") if row["event_type"] == "trades_doubled")
    assert T0 <= event["recv_ns"] < T0 + 60 * SECOND, "in the part that it is of"


def test_a_second_connection_is_no_venue_that_sends_twice() -> None:
    tape = Tape()
    for id in range(10, 14):
        for s in ("market-1", "market-2"):
            tape.trade(id / 10, id=id, s=s)
    tape.close(2, "market-1")
    tape.trade(1.3, id=13, s="market-1")
    assert doubled(tape) == [{"count": 5, "sent_twice": 0, "ids": []}], "a new connection may begin with what was there"


def test_an_event_names_a_hundred_ids() -> None:
    tape = Tape()
    for id in range(10, 200):
        tape.trade(1 + id / 100, id=id)
        twice(tape, id)
    (told,) = doubled(tape)
    assert (told["count"], told["sent_twice"], told["ids"]) == (190, 190, list(range(10, 110)))
    assert tape.harvest.markets["S"].trades.chain.doubles == 190, "dedup_hits_total"


def test_what_came_out_of_order_on_one_connection_is_no_double() -> None:
    tape = Tape()
    for id in (10, 13):
        tape.trade(id / 10, id=id)
    twice(tape, 11, 10)
    tape.say("market-1", Notice(tape.t, "duplicate", "", "S", "trade", 10), tape.t + 1)
    assert doubled(tape) == [{"count": 1, "sent_twice": 1, "ids": [10]}]


def test_other_markets_and_streams_are_not_ours() -> None:
    tape = Tape()
    tape.say("x-1", Trade(T0, T0, "OTHER", "aggTrade", "1", "1", "1", "buy"), T0 + 1)
    tape.say("x-1", Trade(T0, T0, "S", "trade", "1", "1", "1", "buy"), T0 + 2)
    tape.harvest.record("binance_spot", "x-1", Trade(T0, T0, "S", "aggTrade", "1", "1", "1", "buy"))
    tape.snapshot(1, source="top")
    assert not tape.rows("prices") and not tape.rows("book") and tape.events() == ["begin"]
