"""Frames: real protobuf ones, refusals with code 0, thirty streams a connection, any broken frame survived."""

from __future__ import annotations

import json
import os
import runpy
from collections import Counter
from typing import Any

import pytest

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_archive.format.lines import frame_line, parse
from tape_archive.format.records import BookSnapshot, Candle, Notice, Quote, Record, Trade, Unknown
from tape_collectors.simulator.mexc import field
from tape_collectors.venues.mexc import SPOT, STREAMS
from tape_collectors.venues.mexc.symbols import name_of, stream_of
from tape_collectors.venues.protocol import Command, Fetch, Mark, Send
from tape_collectors.venues.session import REFUSED_NS
from tests.support.captures import captures
from tests.support.mutate import mutations

FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))
DEPTH, DEALS, BEST = (name_of(f"aggre.{kind}@100ms", "BTCUSDT") for kind in ("depth", "deals", "bookTicker"))


def vectors() -> dict[str, bytes]:
    path = captures().parent / "reference" / "mexc_vectors.py"
    if not path.exists():
        pytest.skip(f"no vectors at {path}")
    found = runpy.run_path(str(path))
    return {name: bytes.fromhex(text) for name, text in found.items() if name.startswith(("REAL_", "SYNTH_"))}


def frames() -> list[bytes]:
    root = captures() / "mexc"
    out = [
        bytes.fromhex(json.loads(line)["data"])
        for line in (root / "live-hex-2026" / "spot_protobuf_frames.give.jsonl").read_bytes().splitlines()
    ]
    return out + list(vectors().values())


def foreign() -> list[bytes]:
    root = captures() / "mexc"
    paths = (root / "live-hex-2026" / "futures_json_frames.give.jsonl", root / "crypto-msg-parser-2021-2022" / "mexc_test_frames.jsonl")
    return [json.loads(line)["raw"].encode() for path in paths for line in path.read_bytes().splitlines()]


def sent(commands: Any) -> list[dict[str, Any]]:
    return [json.loads(command.data) for command in commands if isinstance(command, Send)]


@pytest.mark.captures
def test_every_captured_frame_is_accounted_for() -> None:
    found = Counter[str]()
    for t, data in enumerate([*frames(), *foreign()], 1):
        records, _ = SPOT.feed("spot").receive(t, data)
        # Of the JSON service that ended, some frames have no channel in the place of today's.
        assert not [record for record in records if isinstance(record, Unknown)] or data[:1] != b"\n", data[:100]
        found.update(type(record).__name__ for record in records)
    assert found["Quote"] >= 3 and found["Trade"] >= 5 and found["Candle"] >= 2 and found["BookSnapshot"] >= 2


@pytest.mark.captures
def test_the_vectors_say_what_the_sheet_says() -> None:
    feed, known = SPOT.feed("spot"), vectors()
    (quote,) = feed.receive(1, known["REAL_BOOKTICKER_10MS"])[0]
    ts = 1790145447239 * 10**6
    assert quote == Quote(1, ts, "BTCUSDT", "aggre.bookTicker@10ms", 0, "86503.92", "14.91335308", "86503.93", "0.004965")
    trades = feed.receive(2, known["REAL_DEALS_100MS"])[0]
    assert [(one.price, one.size, one.side, one.id) for one in trades if isinstance(one, Trade)] == [
        ("84270", "0.00099829", "sell", "731901896985399296X0_731901896985399297X0"),
        ("84270", "0.00019169", "buy", "731901896985399298X0_731901896985399299X0"),
    ]
    (top,) = feed.receive(3, known["REAL_LIMIT5"])[0]
    assert isinstance(top, BookSnapshot) and (top.source, top.id, len(top.bids), len(top.asks)) == ("top", 82164155643, 5, 5)
    (bar,) = feed.receive(4, known["REAL_KLINE_MIN1"])[0]
    assert isinstance(bar, Candle) and (bar.open, bar.close, bar.high, bar.low) == ("84300.14", "84270", "84300.15", "84270")
    records, commands = feed.receive(5, known["SYNTH_DEPTH"])
    assert not records and [command.request for command in commands if isinstance(command, Fetch)] == [
        "GET /api/v3/depth?symbol=BTCUSDT&limit=5000"
    ]
    body = json.dumps({"lastUpdateId": 10589632360, "bids": [["92877.58", "1"]], "asks": [["92878.20", "1"]]}).encode()
    told = feed.fetched(6, "GET /api/v3/depth?symbol=BTCUSDT&limit=5000", body)[0]
    assert [type(record).__name__ for record in told] == ["BookSnapshot", "BookDelta"]


@pytest.mark.captures
def test_binary_frames_stand_on_the_tape_and_come_back() -> None:
    for data in frames():
        line = parse(frame_line(5, "spot-1", data).rstrip(b"\n"))
        assert line.data == data and b'"b":' in frame_line(5, "spot-1", data)


def wrapped(name: str, body: bytes, ms: int = 5) -> bytes:
    return field(1, name) + field(3, "BTCUSDT") + field(6, ms) + body


def depth(first: int, last: int) -> bytes:
    return wrapped(DEPTH, field(313, field(2, field(1, "9") + field(2, "1")) + field(4, str(first)) + field(5, str(last))), last)


def test_versions_are_followed_to_the_end() -> None:
    feed = SPOT.feed("spot")
    feed.receive(1, depth(10, 12))
    body = json.dumps({"lastUpdateId": 12, "bids": [["9", "1"]], "asks": [["11", "1"]]}).encode()
    feed.fetched(2, "GET /api/v3/depth?symbol=BTCUSDT&limit=5000", body)
    kinds = [
        [type(record).__name__ for record in feed.receive(t, data)[0]]
        for t, data in enumerate([depth(13, 15), depth(16, 16), depth(18, 19)], 3)
    ]
    assert kinds == [["BookDelta"], ["BookDelta"], ["Gap", "BookLost"]]


def test_a_wrapper_without_a_body_and_a_doubled_deal() -> None:
    feed = SPOT.feed("spot")
    assert [record.kind for record in feed.receive(1, wrapped(BEST, b""))[0] if isinstance(record, Notice)] == ["empty"]
    deal = field(1, field(1, "9") + field(2, "1") + field(3, 1) + field(4, 7) + field(5, "aX0_bX0"))
    told = [type(record) for t in (2, 3) for record in feed.receive(t, wrapped(DEALS, field(314, deal)))[0]]
    assert told == [Trade, Notice]


def want(feed: Any, *names: str) -> list[Command]:
    return list(feed.want(1, names)[1])


def answer(text: str) -> bytes:
    return json.dumps({"id": 0, "code": 0, "msg": text}, ensure_ascii=False).encode()


def test_a_refusal_has_code_0_and_refuses_only_what_it_names() -> None:
    feed = SPOT.feed("spot")
    (asked,) = sent(want(feed, DEPTH, DEALS, BEST))
    assert asked == {"method": "SUBSCRIPTION", "params": [DEPTH, DEALS, BEST]}
    feed.receive(2, answer(f"{DEPTH},{BEST}"))
    _, commands = feed.receive(3, answer(f"Not Subscribed successfully! [{DEALS}].  Reason\uff1a Blocked! "))
    assert [(mark.fields["symbol"], mark.fields["channel"]) for mark in commands if isinstance(mark, Mark)] == [
        ("BTCUSDT", "aggre.deals@100ms")
    ]
    assert [feed.streams[name].acked_t for name in (DEPTH, DEALS, BEST)] == [2, 0, 2]
    again = [one["params"] for one in sent(feed.tick(REFUSED_NS + 10)) if one["method"] == "SUBSCRIPTION"]
    assert again == [[DEALS]]


def test_thirty_streams_on_a_connection() -> None:
    groups = SPOT.groups([f"S{number}USDT" for number in range(25)], [], {})
    assert [len(group.names) for group in groups] == [30, 30, 15] and [group.name for group in groups] == ["spot", "spot.2", "spot.3"]
    assert all(len(group.names) <= STREAMS for group in SPOT.groups(["BTCUSDT"], [f"kline@{bar}" for bar in ("Min1", "Min5")], {}))


@pytest.mark.parametrize("channel", ["aggre.depth@10ms", "limit.depth@20", "kline@Min1"])
def test_names_both_ways(channel: str) -> None:
    assert stream_of(name_of(channel, "BTCUSDT")) == ("BTCUSDT", channel)


def test_names_and_lists() -> None:
    assert {SPOT.native(text) for text in ("BTCUSDT", "btc-usdt", "BTC/USDT", "BTC_USDT")} == {"BTCUSDT"}
    with pytest.raises(SettingsError, match="cannot be a MEXC symbol"):
        SPOT.native("../x")
    with pytest.raises(SettingsError, match="did you mean"):
        SPOT.carries("aggre.depths@100ms")
    row = {
        "symbol": "BTCUSDT",
        "status": "1",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "quotePrecision": 2,
        "baseSizePrecision": "0.000001",
    }
    info = json.dumps({"symbols": [row]}).encode()
    assert SPOT.instruments(info)["BTCUSDT"].name == "BTC-USDT"
    with pytest.raises(SettingsError, match="did you mean 'BTCUSDT'"):
        SPOT.check(["BTCUSD"], info)
    with pytest.raises(VenueProtocolError):
        SPOT.instruments(b"<html>")


def test_pings_and_pongs() -> None:
    feed, told = SPOT.feed("spot"), list[Record]()
    assert sum(bool(sent(feed.tick(t * 10**9))) for t in range(1, 70)) == 3
    told += feed.receive(1, answer("PONG"))[0]
    assert told == [Notice(1, "pong")]


@pytest.mark.fuzz
@pytest.mark.captures
def test_fuzz() -> None:
    feed, some = SPOT.feed("spot"), [*frames(), *foreign()]
    for t, data in enumerate(mutations(some, FUZZ), 1):
        records, _ = feed.receive(t, data) if t % 10 else feed.fetched(t, "GET /api/v3/depth?symbol=BTCUSDT&limit=5000", data)
        assert all(not isinstance(record, Unknown) or len(record.why) < 300 for record in records)
        if t % 500 == 0:
            feed = SPOT.feed("spot")
