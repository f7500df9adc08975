"""Frames: every real one accounted for, the sheet's examples read as it says, any broken one survived."""

from __future__ import annotations

import json
import os
from collections import Counter

import msgspec
import pytest

from tape_archive.format.records import BookLost, Funding, Gap, Liquidation, Notice, Quote, Record, Trade, Unknown
from tape_collectors.venues.bybit import LINEAR, SPOT
from tape_collectors.venues.bybit.feed import PING_NS, BybitFeed
from tape_collectors.venues.protocol import Command, Mark, Send
from tape_collectors.venues.session import REFUSED_NS
from tests.support.captures import captures
from tests.support.mutate import mutations

FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))


def frames() -> list[bytes]:
    root = captures() / "bybit"
    out = [line for line in (root / "fastmm-testnet-2026-09" / "raw_md_stream.jsonl").read_bytes().splitlines() if line]
    out += [line.split(b"\t", 1)[1] for line in (root / "fastmm-linear-tickers-2026-09" / "BTCUSDT.give.tsv").read_bytes().splitlines()]
    out += (root / "gocryptotrader-ws" / "wsTicker.jsonl").read_bytes().splitlines()
    return out + [json.loads(line)["raw"].encode() for line in (root / "live-frames-2026" / "frames.give.jsonl").read_bytes().splitlines()]


def sent(commands: object) -> list[dict[str, object]]:
    return [json.loads(command.data) for command in commands if isinstance(command, Send)]  # type: ignore[attr-defined]


@pytest.mark.captures
def test_every_captured_frame_is_accounted_for() -> None:
    feed = LINEAR.feed("public")
    records = [record for t, data in enumerate(frames(), 1) for record in feed.receive(t, data)[0]]
    found = Counter(type(record).__name__ for record in records)
    assert not found["Unknown"], [record for record in records if isinstance(record, Unknown)]
    assert (
        found["Trade"] >= 3 and found["Quote"] >= 10 and found["BookSnapshot"] >= 3 and found["BookDelta"] >= 10 and found["Funding"] >= 2
    )
    assert found["Liquidation"] == 1


@pytest.mark.captures
def test_gaps_of_the_recorded_session_are_those_of_a_plain_count() -> None:
    """The testnet session has none; a delta taken out of it is found with its number."""
    session = (captures() / "bybit" / "fastmm-testnet-2026-09" / "raw_md_stream.jsonl").read_bytes().splitlines()

    def plain(lines: list[bytes]) -> list[tuple[int, int]]:
        out, last = [], 0
        for line in map(json.loads, lines):
            if line.get("topic", "").startswith("orderbook.50"):
                u = line["data"]["u"]
                if line["type"] == "delta" and last and u != last + 1:
                    out.append((last + 1, u - 1))
                last = u
        return out

    def ours(lines: list[bytes]) -> list[tuple[int, int]]:
        feed = SPOT.feed("public")
        found = [record for t, data in enumerate(lines, 1) for record in feed.receive(t, data)[0]]
        return [(gap.from_id, gap.to_id) for gap in found if isinstance(gap, Gap)]

    assert ours(session) == plain(session) == []
    deltas = [number for number, line in enumerate(session) if b'"orderbook.50' in line and b'"delta"' in line]
    cut = [line for number, line in enumerate(session) if number != deltas[5]]
    assert ours(cut) == plain(cut) and len(ours(cut)) == 1


def test_examples_of_the_sheet() -> None:
    feed = LINEAR.feed("public")
    (trade,) = feed.receive(
        1,
        b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001",'
        b'"p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"seq":1783284617}]}',
    )[0]
    assert trade == Trade(
        1, 1672304486865 * 10**6, "BTCUSDT", "publicTrade", "20f43950-d8dd-5b31-9112-a178eb6023af", "16578.50", "0.001", "buy"
    )
    (forced,) = feed.receive(
        2,
        b'{"topic":"allLiquidation.STRKUSDT","type":"snapshot","ts":1791091285551,"data":[{"T":1791091285156,"s":"STRKUSDT","S":"Buy",'
        b'"v":"2084.9","p":"0.05165"}]}',
    )[0]
    assert isinstance(forced, Liquidation) and forced.side == "sell", "a long that is liquidated is a forced sell"
    (quote,) = feed.receive(
        3,
        b'{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1790409768609,"data":{"s":"BTCUSDT","b":[["84017.5","1.777"]],'
        b'"a":[["84017.6","2.725"]],"u":97687715,"seq":816281667578},"cts":1790409768607}',
    )[0]
    assert quote == Quote(3, 1790409768607 * 10**6, "BTCUSDT", "orderbook.1", 0, "84017.5", "1.777", "84017.6", "2.725")
    for text in (
        b'{"success":true,"ret_msg":"pong","conn_id":"0970","op":"ping"}',
        b'{"req_id":"","success":true,"ret_msg":"pong","op":"pong"}',
    ):
        assert [record.kind for record in feed.receive(4, text)[0] if isinstance(record, Notice)] == ["pong"]


def test_tickers_keep_what_did_not_change() -> None:
    feed = LINEAR.feed("public")
    whole = {"symbol": "S", "markPrice": "10", "indexPrice": "11", "fundingRate": "0.1", "nextFundingTime": "1673280000000"}
    told: list[Record] = []
    for t, (kind, data) in enumerate(
        (("snapshot", whole), ("delta", {"symbol": "S", "bid1Price": "9"}), ("delta", {"symbol": "S", "markPrice": "12"})), 1
    ):
        told += feed.receive(t, msgspec.json.encode({"topic": "tickers.S", "type": kind, "data": data, "ts": 5}))[0]
    fundings = [record for record in told if isinstance(record, Funding)]
    assert [(record.mark, record.index, record.rate) for record in fundings] == [("10", "11", "0.1"), ("12", "11", "0.1")]
    assert fundings[1].next_ts == 1673280000000 * 10**6


def test_doubled_trades_and_quotes_are_told_once() -> None:
    feed = SPOT.feed("public")
    row = {
        "i": "2100000000188691524",
        "T": 5,
        "p": "77140.5",
        "v": "0.00389",
        "S": "Sell",
        "seq": 1,
        "s": "BTCUSDT",
        "BT": False,
        "RPI": False,
    }
    frame = msgspec.json.encode({"topic": "publicTrade.BTCUSDT", "ts": 5, "type": "snapshot", "data": [row]})
    assert [type(record) for t in (1, 2) for record in feed.receive(t, frame)[0]] == [Trade, Notice]


def want(feed: BybitFeed, *names: str) -> list[Command]:
    return list(feed.want(1, names)[1])


def test_ten_topics_a_request_and_one_that_is_refused_silences_no_other() -> None:
    feed = SPOT.feed("public")
    asked = sent(want(feed, *(f"publicTrade.S{number}USDT" for number in range(23))))
    assert [len(message["args"]) for message in asked] == [10, 10, 3]  # type: ignore[arg-type]
    refused = {"success": False, "ret_msg": "Invalid topic", "req_id": asked[2]["req_id"], "op": "subscribe"}
    singles = sent(feed.receive(2, msgspec.json.encode(refused))[1])
    assert [message["args"] for message in singles] == [[f"publicTrade.S{number}USDT"] for number in (20, 21, 22)]
    _, commands = feed.receive(3, msgspec.json.encode(refused | {"req_id": singles[0]["req_id"]}))
    assert [(mark.kind, mark.fields["symbol"]) for mark in commands if isinstance(mark, Mark)] == [("refused", "S20USDT")]
    assert feed.receive(4, msgspec.json.encode(refused | {"success": True, "req_id": singles[1]["req_id"]}))[0][0] == Notice(
        4, "ack", str(singles[1]["req_id"])
    )
    assert feed.streams["publicTrade.S21USDT"].acked_t == 4
    assert not [message for message in sent(feed.tick(REFUSED_NS)) if message["op"] == "subscribe"]
    assert [message["args"] for message in sent(feed.tick(REFUSED_NS + 4)) if message["op"] == "subscribe"] == [["publicTrade.S20USDT"]]


def test_a_lost_book_is_subscribed_anew_and_no_other_stream_is() -> None:
    feed = LINEAR.feed("public")
    want(feed, "orderbook.50.A", "publicTrade.A")

    def book(kind: str, u: int) -> bytes:
        return msgspec.json.encode(
            {"topic": "orderbook.50.A", "type": kind, "ts": 1, "data": {"s": "A", "b": [], "a": [], "u": u}, "cts": 1}
        )

    feed.receive(1, book("snapshot", 10))
    records, commands = feed.receive(2, book("delta", 13))
    assert [type(record) for record in records] == [Gap, BookLost]
    assert [(message["op"], message["args"]) for message in sent(commands)] == [
        ("unsubscribe", ["orderbook.50.A"]),
        ("subscribe", ["orderbook.50.A"]),
    ]
    assert [command.kind for command in commands if isinstance(command, Mark)] == ["gap", "lost"]


def test_pings_every_twenty_seconds() -> None:
    feed = SPOT.feed("public")
    pings = [t for t in range(1, 70) if any(message["op"] == "ping" for message in sent(feed.tick(t * 10**9)))]
    assert pings == [20, 40, 60] and PING_NS == 20 * 10**9


@pytest.mark.fuzz
@pytest.mark.captures
def test_fuzz() -> None:
    feed = LINEAR.feed("public")
    for t, data in enumerate(mutations(frames(), FUZZ), 1):
        records, _ = feed.receive(t, data)
        assert all(not isinstance(record, Unknown) or len(record.why) < 300 for record in records)
        if t % 500 == 0:
            feed = LINEAR.feed("public")


def test_a_book_whose_snapshot_never_came_is_subscribed_anew() -> None:
    """The stream speaks, so the watchdog has nothing to say; without the whole book its changes prove nothing."""
    feed = SPOT.feed("public")
    feed.want(1, ["orderbook.200.BTCUSDT"])

    def delta(u: int) -> bytes:
        book = {"s": "BTCUSDT", "b": [["9", "1"]], "a": [], "u": u}
        return msgspec.json.encode({"topic": "orderbook.200.BTCUSDT", "type": "delta", "ts": u, "data": book, "cts": u})

    told = [sent(feed.receive(t * 10**9, delta(t))[1]) for t in range(5, 8)]
    assert [[one["op"] for one in some] for some in told] == [["unsubscribe", "subscribe"], [], []], "asked once"
    assert [one["op"] for one in sent(feed.tick(11 * 10**9))] == ["unsubscribe", "subscribe"], "and again if none comes"


@pytest.mark.captures
def test_a_refusal_that_names_a_topic_and_no_request() -> None:
    """As captured on the spot testnet in 2026-09: no req_id."""
    (refusal,) = [frame for frame in frames() if b"Invalid symbol" in frame]
    assert b"req_id" not in refusal
    feed = SPOT.feed("public")
    feed.want(1, [*(f"publicTrade.S{number}" for number in range(10)), "orderbook.50.NOSUCHSYM", "orderbook.50.BTCUSDT"])
    commands = feed.receive(2, refusal)[1]
    assert [one["args"] for one in sent(commands)] == [["orderbook.50.NOSUCHSYM"], ["orderbook.50.BTCUSDT"]], "one by one"
    (mark,) = [command for command in feed.receive(3, refusal)[1] if isinstance(command, Mark)]
    assert mark.fields["symbol"] == "NOSUCHSYM" and mark.fields["channel"] == "orderbook.50"
