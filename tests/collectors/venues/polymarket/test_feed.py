"""The market channel's connection: what it sends, what it makes of real and of broken frames."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import chain
from typing import Any

import msgspec
import pytest

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Lifecycle, Notice, Quote, Record, TickSize, Trade, Unknown
from tape_collectors.venues.polymarket import feed as module
from tape_collectors.venues.polymarket.feed import BOOK_S, ClobFeed
from tape_collectors.venues.protocol import Command, Mark, Reconnect, Send
from tests.collectors.venues.polymarket.frames import DOWN, MARKET, OTHER, SECOND, UP, book, change, compact, leg, real, trade
from tests.support.captures import captures
from tests.support.mutate import mutations, retyped

T = 1_786_728_432 * SECOND
FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))


def sent(commands: Any) -> list[Any]:
    return [json.loads(one.data) if one.data != "PING" else "PING" for one in commands if isinstance(one, Send)]


def opened(*names: str, t: int = T) -> tuple[ClobFeed, list[Command]]:
    feed = ClobFeed()
    assert feed.opened(t) == ((), ())
    return feed, [*feed.want(t, names)[1]]


# -- what is sent ----------------------------------------------------------------------------------------------------------------


def test_one_window_a_frame_and_only_the_first_has_a_type() -> None:
    feed, commands = opened("1+2", "3+4")
    assert sent(commands) == [
        {"type": "market", "assets_ids": ["1", "2"], "custom_feature_enabled": True},
        {"operation": "subscribe", "assets_ids": ["3", "4"], "custom_feature_enabled": True},
    ]
    assert sent(feed.want(T, ["3+4", "5+6"])[1]) == [
        {"operation": "unsubscribe", "assets_ids": ["1", "2"]},
        {"operation": "subscribe", "assets_ids": ["5", "6"], "custom_feature_enabled": True},
    ]
    assert feed.want(T, ["5+6", "3+4"]) == ((), [])
    assert set(feed.streams) == {"3", "4", "5", "6"}


def test_a_ping_every_ten_seconds() -> None:
    feed, _ = opened()
    told = [second for second in range(1, 41) if "PING" in sent(feed.tick(T + second * SECOND))]
    assert told == [10, 20, 30, 40]
    assert feed.receive(T, b"PONG") == ([Notice(T, "pong")], ())


def test_an_asset_without_a_book_is_asked_for_alone() -> None:
    feed, _ = opened("1+2", "3+4", "5+6")
    feed.receive(T + 1, compact([book(token, 1000, {}, {}) for token in "12345"]))
    asked = {second: sent(feed.tick(T + second * SECOND)) for second in range(1, 120)}
    again = {second: rows for second, rows in asked.items() if any(row != "PING" for row in rows)}
    for rows in again.values():
        assert [row["assets_ids"] for row in rows if row != "PING"] == [["6"], ["6"]]
    # One asset that never speaks costs the others nothing: it is asked ever more slowly, and the connection stays.
    assert list(again)[:3] == [BOOK_S, 2 * BOOK_S, 3 * BOOK_S] and len(again) <= 5
    assert not feed.ready() and not feed.streams["6"].dense
    feed.receive(T, compact(book("6", 1000, {}, {})))
    assert feed.ready() and not sent(feed.tick(T + 500 * SECOND))[1:]


def test_a_connection_without_books_is_given_up() -> None:
    feed, _ = opened("1+2")
    feed.receive(T, compact(change(1000, leg("1", "0.4", "1", "BUY"))))
    commands = [command for second in range(1, 30) for command in feed.tick(T + second * SECOND)]
    assert next(command.why for command in commands if isinstance(command, Reconnect)) == "no book for 2 of 2 assets"
    assert len([row for row in sent(commands) if row != "PING"]) == 2 * module.TRIES


def test_a_lost_book_is_asked_for_only_if_none_comes_by_itself() -> None:
    tick = {"market": MARKET, "asset_id": UP, "old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": "1001"}
    waits = set()
    for start in (T, T + 1_500_000_000_000 // 700, T + 777_777):
        feed, _ = opened(f"{UP}+{DOWN}", t=start)
        feed.receive(T, compact([book(UP, 1000, {}, {}), book(DOWN, 1000, {}, {})]))
        records, commands = feed.receive(T, compact(tick | {"event_type": "tick_size_change"}))
        assert [type(record) for record in records] == [TickSize, BookLost]
        assert [(command.kind, command.key) for command in commands if isinstance(command, Mark)] == [("lost", UP)] and not sent(commands)
        first = next(ms for ms in range(0, 30_000, 50) if any(row != "PING" for row in sent(feed.tick(T + ms * 1_000_000))))
        assert first >= BOOK_S * 1000
        waits.add(first)
        healed, _ = opened(f"{UP}+{DOWN}", t=start)
        healed.receive(T, compact([book(UP, 1000, {}, {}), book(DOWN, 1000, {}, {})]))
        healed.receive(T, compact(tick | {"event_type": "tick_size_change"}))
        healed.receive(T, compact(book(UP, 1002, {}, {})))
        assert not [row for second in range(60) for row in sent(healed.tick(T + second * SECOND)) if row != "PING"]
    assert len(waits) > 1


def test_tick_and_resubscribe_never_change_records() -> None:
    frames = [compact(frame) for frame in (book(UP, 1000, {"0.4": "1"}, {"0.6": "1"}), change(1001, leg(UP, "0.41", "5", "BUY")))]
    live, _ = opened(f"{UP}+{DOWN}")
    reader = ClobFeed()
    for number, frame in enumerate(frames * 2):
        live.tick(T + number * 7 * SECOND)
        live.resubscribe(T, [UP])
        assert live.receive(T + number, frame)[0] == reader.receive(T + number, frame)[0]


def test_what_comes_after_an_unsubscribe_makes_no_stream() -> None:
    feed, _ = opened(f"{UP}+{DOWN}")
    feed.want(T, [])
    for ms in range(1000, 1050):
        feed.receive(T, compact(change(ms, leg(UP, "0.4", str(ms), "BUY"))))
    assert feed.streams == {} and feed.ready()
    feed.want(T, ["1+2"])
    feed.want(T, ["3+4"])
    assert set(feed.books) <= {"3", "4"}


# -- what is read ----------------------------------------------------------------------------------------------------------------


@pytest.mark.captures
def test_every_real_frame_is_accounted_for() -> None:
    counts: Counter[str] = Counter()
    for name, frame in real(captures()):
        records = ClobFeed().receive(T, frame)[0]
        assert records and not any(isinstance(record, Unknown) for record in records), name
        counts.update(type(record).__name__ for record in records)
    assert (
        counts["BookSnapshot"] >= 5
        and counts["Trade"] >= 4
        and counts["TickSize"] >= 4
        and counts["Quote"] >= 2
        and counts["Lifecycle"] >= 3
    )


@pytest.mark.captures
def test_the_live_frames_of_august_2026_mean_what_they_say() -> None:
    frames = {json.loads(frame)["event_type"]: frame for name, frame in real(captures()) if name == "market_frames_live.jsonl"}
    snapshot = ClobFeed().receive(T, frames["book"])[0][0]
    assert isinstance(snapshot, BookSnapshot)
    assert (snapshot.ts, snapshot.bids[0], snapshot.asks[0]) == (1786728432337 * 10**6, ("0.004", "100"), ("0.009", "25"))
    one = ClobFeed().receive(T, frames["last_trade_price"])[0][0]
    assert isinstance(one, Trade) and (one.price, one.size, one.side, one.id[:6]) == ("0.585", "2.46", "sell", "0x6c83")
    quote = ClobFeed().receive(T, frames["best_bid_ask"])[0][0]
    assert isinstance(quote, Quote) and (quote.bid, quote.ask, quote.id) == ("0.585", "0.587", 0)
    feed, change_frame = ClobFeed(), json.loads(frames["price_change"])
    for one_leg in change_frame["price_changes"]:
        feed.receive(T, compact(book(one_leg["asset_id"], 1, {}, {})))
    deltas = [record for record in feed.receive(T, frames["price_change"])[0] if isinstance(record, BookDelta)]
    assert [(d.bids, d.asks, d.first, d.last) for d in deltas] == [([("0.06", "374.34")], [], 0, 0), ([], [("0.94", "0")], 0, 0)]


@pytest.mark.parametrize(
    "shape",
    [
        {"asset_id": UP, "price": "0.514", "side": "SELL", "size": "7", "hash": "x"},
        {"asset_id": UP, "changes": [{"price": ".514", "side": "SELL", "size": "7"}], "hash": "x"},
        {"price_changes": [{"asset_id": UP, "price": "0.5140", "side": "SELL", "size": "7", "hash": "x"}]},
    ],
    ids=["2024", "2025", "now"],
)
def test_the_three_shapes_of_price_change(shape: dict[str, Any]) -> None:
    feed = ClobFeed()
    feed.receive(T, compact(book(UP, 1000, {}, {})))
    records = feed.receive(T, compact(shape | {"event_type": "price_change", "market": MARKET, "timestamp": "1001"}))[0]
    assert [(d.asks, d.ts) for d in records if isinstance(d, BookDelta)] == [([("0.514", "7")], 1001 * 10**6)]


def test_events_of_an_array_keep_their_order_and_their_assets() -> None:
    frame = compact([book(UP, 1000, {}, {}), trade(UP, 1001), book(DOWN, 1000, {}, {}, market=OTHER), {"event_type": "new_thing"}])
    records = ClobFeed().receive(T, frame)[0]
    assert [(type(r).__name__, getattr(r, "symbol", "")) for r in records] == [
        *(("BookSnapshot", UP), ("Trade", UP), ("BookSnapshot", DOWN), ("Unknown", "")),
    ]


def test_a_resolution_names_the_winner() -> None:
    event = {"event_type": "market_resolved", "market": MARKET, "winning_outcome": "Up", "timestamp": "1001", "assets_ids": [UP, DOWN]}
    assert ClobFeed().receive(T, compact(event)) == ([Lifecycle(T, 1001 * 10**6, MARKET, "market_resolved", "resolved", "Up")], [])


@pytest.mark.parametrize(
    "bad",
    [
        *(b"INVALID", b"{", b"[{]", b'{"event_type":"\xff"}', b"<html>", b"5", b"null", b'{"event_type":5}', b"[" * 100_000),
        compact(book(UP, 1, {"0.4": "1"}, {}) | {"bids": [{"price": "nan", "size": "1"}]}),
        compact(change(1, leg(UP, "1e5", "1", "BUY"))),
        compact(change(1, leg(UP, "0.4", "-1", "BUY"))),
        compact(trade(UP, 1, side="MAYBE")),
        compact({"event_type": "price_change", "market": MARKET}),
        compact({"event_type": "book", "market": MARKET, "bids": [], "asks": []}),
    ],
)
def test_what_no_one_can_read_is_unknown(bad: bytes) -> None:
    feed = ClobFeed()
    records, commands = feed.receive(T, bad)
    assert [type(record) for record in records] == [Unknown] and not commands
    assert len(records[0].why) < 200 and "\n" not in records[0].why  # type: ignore[union-attr]


def test_a_broken_frame_is_not_half_believed() -> None:
    feed = ClobFeed()
    feed.receive(T, compact(book(UP, 1000, {"0.4": "1"}, {})))
    bad = change(1001, leg(UP, "0.41", "5", "BUY"), leg(UP, "0.42", "x", "BUY"))
    assert isinstance(feed.receive(T, compact(bad))[0][0], Unknown)
    assert feed.books[UP].book.levels()[0] == [("0.4", "1")]


@pytest.mark.fuzz
@pytest.mark.captures
def test_fuzz() -> None:
    """Whatever comes: records, never an exception, and every record can be written and read again."""
    frames = [frame for _, frame in real(captures())] + [compact([book(UP, 1000, {"0.4": "1"}, {"0.6": "2"}), trade(UP, 1001)])]
    feed, known = ClobFeed(), {Unknown: 0}
    for number, frame in enumerate(chain(mutations(frames, FUZZ, seed=7), retyped(frames, FUZZ // 4, seed=7))):
        records, _ = feed.receive(T + number, frame)
        assert records
        for record in records:
            check(record)
            known[type(record)] = known.get(type(record), 0) + 1
        if number % 500 == 0:
            feed = ClobFeed()
    assert known[Unknown] and known.get(BookSnapshot) and known.get(Trade)


def check(record: Record) -> None:
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
    if isinstance(record, BookSnapshot | BookDelta):
        for price, size in [*record.bids, *record.asks]:
            assert float(price) >= 0 and float(size) >= 0 and not price.startswith(".")
    if isinstance(record, Notice):
        assert len(record.detail) < 300
