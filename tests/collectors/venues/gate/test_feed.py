"""Frames: every real one accounted for, the sheet's examples read as it says, trades out of order, any broken frame survived."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache
from typing import Any

import pytest
import zstandard

from tape_archive.format.errors import SettingsError
from tape_archive.format.records import BookSnapshot, Gap, Notice, Quote, Record, Trade, Unknown
from tape_collectors.venues.gate import SPOT
from tape_collectors.venues.gate.feed import LATE_NS
from tape_collectors.venues.gate.symbols import name_of, wire_of
from tape_collectors.venues.protocol import Fetch, Mark, Reconnect, Send
from tests.support.captures import captures
from tests.support.mutate import mutations

FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))
SECOND = 10**9


@cache
def session() -> list[tuple[str, str, bytes]]:
    """(kind, url, payload) of the cryptofeed recording."""
    path = captures() / "gate" / "cryptofeed" / "spot-v4-2021-04-22" / "frames.ndjson.zst"
    with path.open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()
    return [(entry["kind"], entry["url"] or "", entry["raw"].encode()) for entry in map(json.loads, lines) if entry.get("raw")]


def frames() -> list[bytes]:
    root = captures() / "gate"
    out = [data for kind, _, data in session() if kind == "recv"]
    for path in (root / "live-frames-2026" / "frames.give.jsonl", root / "crypto-msg-parser-2021-2022" / "gate_test_frames.jsonl"):
        out += [json.loads(line)["raw"].encode() for line in path.read_bytes().splitlines()]
    return out + [path.read_bytes() for path in sorted((root / "xchange-stream").glob("*.json"))]


def sent(commands: Any) -> list[dict[str, Any]]:
    return [json.loads(command.data) for command in commands if isinstance(command, Send)]


@pytest.mark.captures
def test_every_captured_frame_is_accounted_for() -> None:
    """REST bodies lie among the single frames: they have no channel, and are what is unknown."""
    found = Counter[str]()
    for t, data in enumerate(frames(), 1):
        records, _ = SPOT.feed("spot").receive(t, data)
        strange = [record for record in records if isinstance(record, Unknown)]
        assert not strange or b'"channel"' not in data, (data[:200], strange)
        found.update(type(record).__name__ for record in records)
    assert found["Trade"] > 10 and found["Quote"] >= 1 and found["Notice"] > 5


@pytest.mark.captures
def test_the_session_of_2021_joins_its_rest_books_and_has_no_gap() -> None:
    feed, told = SPOT.feed("spot"), []
    for t, (kind, url, data) in enumerate(session(), 1):
        if kind == "recv":
            told += feed.receive(t, data)[0]
        elif kind == "http" and "/spot/order_book?" in url:
            told += feed.fetched(t, "GET /api/v4/spot/order_book?" + url.partition("?")[2], data)[0]
    books = [record for record in told if isinstance(record, BookSnapshot)]
    assert len(books) >= 3 and not [record for record in told if isinstance(record, Gap)]
    plain: dict[str, int] = {}
    for kind, _, data in session():
        if kind == "recv" and b"order_book_update" in data and (event := json.loads(data)).get("event") == "update":
            result = event["result"]
            assert plain.get(result["s"], result["U"] - 1) + 1 == result["U"], "by a plain count there is none either"
            plain[result["s"]] = result["u"]


def push(u: int, first: int = 0, **more: object) -> bytes:
    result = {"t": 1754006400261 + u, "s": "ob.BTC_USDT.400", "u": u} | ({"U": first} if first else {"full": True}) | more
    return json.dumps({"channel": "spot.obu", "result": result, "time_ms": 1754006400264, "event": "update"}).encode()


def test_examples_of_the_sheet() -> None:
    feed = SPOT.feed("spot")
    (book,) = feed.receive(
        1,
        b'{"channel":"spot.obu","result":{"t":1754006400261,"full":true,"s":"ob.BTC_USDT.400","u":25847113075,"b":[["115765.1","0.337839"]],'
        b'"a":[["115765.2","0.631155"]]},"time_ms":1754006400264,"event":"update"}',
    )[0]
    assert isinstance(book, BookSnapshot) and (book.id, book.symbol, book.channel) == (25847113075, "BTC_USDT", "obu.400")
    (quote,) = feed.receive(
        2,
        b'{"time":1,"channel":"spot.book_ticker","event":"update","result":{"t":1682689046131,"u":517377894,"s":"ETC_ETH","b":"0.010326",'
        b'"B":"0.001","a":"0.010366","A":"10"}}',
    )[0]
    assert quote == Quote(2, 1682689046131 * 10**6, "ETC_ETH", "book_ticker", 517377894, "0.010326", "0.001", "0.010366", "10")
    (trade,) = feed.receive(
        3,
        b'{"channel":"spot.trades","event":"update","result":{"id":309143071,"id_market":5736713,"create_time":1606292218,'
        b'"create_time_ms":"1606292218213.4578","side":"sell","currency_pair":"GT_USDT","amount":"16.47","price":"0.4705",'
        b'"range":"2390902-2390902","id_market":5736713}}',
    )[0]
    assert trade == Trade(3, 1606292218213457800, "GT_USDT", "trades", "5736713", "0.4705", "16.47", "sell")
    (notice,), (reconnect,) = feed.receive(4, b'{"type":"upgrade","msg":"The connection will soon be closed for a service upgrade."}')
    assert isinstance(notice, Notice) and isinstance(reconnect, Reconnect) and reconnect.overlap


def test_obu_leaves_out_empty_sides_and_still_counts_and_a_gap_subscribes_anew() -> None:
    feed = SPOT.feed("spot")
    feed.want(1, ["obu.400:BTC_USDT"])
    kinds = [
        type(record).__name__
        for t, data in enumerate([push(10), push(12, 11), push(13, 13, b=[["1", "1"]])], 1)
        for record in feed.receive(t, data)[0]
    ]
    assert kinds == ["BookSnapshot", "BookDelta", "BookDelta"]
    records, commands = feed.receive(5 * SECOND, push(20, 16))
    assert [type(record).__name__ for record in records] == ["Gap", "BookLost"]
    assert [(one["event"], one["payload"], one["time"]) for one in sent(commands)] == [
        ("unsubscribe", ["ob.BTC_USDT.400"], 5),
        ("subscribe", ["ob.BTC_USDT.400"], 5),
    ]


def test_an_update_book_is_joined_to_rest_or_begun_by_a_whole_push() -> None:
    def update(first: int, last: int, *, full: bool = False) -> bytes:
        result = {"t": last, "s": "A_B", "U": first, "u": last, "b": [["9", "1"]], "a": []} | ({"full": True} if full else {})
        return json.dumps({"channel": "spot.order_book_update", "event": "update", "result": result}).encode()

    feed = SPOT.feed("spot")
    feed.want(1, ["order_book_update.100ms:A_B"])
    (fetch,) = [command for command in feed.receive(2, update(10, 12))[1] if isinstance(command, Fetch)]
    assert "limit=100&with_id=true" in fetch.request
    without = json.dumps({"bids": [], "asks": []}).encode()
    assert isinstance(feed.fetched(3, fetch.request, without)[0][0], Notice), "a body without an id is of no use"
    body = json.dumps({"id": 11, "update": 5, "bids": [["9", "2"]], "asks": [["11", "1"]]}).encode()
    assert [type(record).__name__ for record in feed.fetched(4, fetch.request, body)[0]] == ["BookSnapshot", "BookDelta"]
    assert [type(record).__name__ for record in feed.receive(5, update(50, 60, full=True))[0]] == ["BookSnapshot"]
    assert [type(record).__name__ for record in feed.receive(6, update(61, 61))[0]] == ["BookDelta"]


def trades(*numbers: int) -> list[bytes]:
    rows = [
        {"id": 1, "id_market": number, "create_time_ms": "5.5", "side": "buy", "currency_pair": "A_B", "amount": "1", "price": "1"}
        for number in numbers
    ]
    return [json.dumps({"channel": "spot.trades", "event": "update", "result": row}).encode() for row in rows]


def test_trades_out_of_order_are_no_gap_unless_the_hole_stays() -> None:
    feed, told = SPOT.feed("spot"), list[Record]()
    for t, data in enumerate(trades(10, 12, 11, 13, 16, 13), 1):
        told += feed.receive(t * SECOND, data)[0]
    assert [type(record).__name__ for record in told] == ["Trade"] * 5 + ["Notice"]
    late = feed.receive(20 * SECOND, trades(17)[0])[0]
    assert isinstance(late[0], Gap) and (late[0].from_id, late[0].to_id) == (14, 15) and LATE_NS < 15 * SECOND
    assert feed.streams["trades:A_B"].last_id == 17


def test_acks_by_payload_by_id_or_in_order_and_refusals() -> None:
    feed = SPOT.feed("spot")
    asked = sent(feed.want(7 * SECOND, ["trades:A_B", "obu.400:A_B", "trades:C_D"])[1])
    assert [one["time"] for one in asked] == [7, 7, 7]
    ok = {"channel": "spot.trades", "event": "subscribe", "result": {"status": "success"}}
    feed.receive(8, json.dumps(ok | {"payload": ["C_D"]}).encode())
    assert (feed.streams["trades:C_D"].acked_t, feed.streams["trades:A_B"].acked_t) == (8, 0)
    feed.receive(9, json.dumps(ok).encode())
    assert feed.streams["trades:A_B"].acked_t == 9
    no = {"channel": "spot.obu", "event": "subscribe", "id": asked[1]["id"], "error": {"code": 2, "message": "unknown currency pair"}}
    _, commands = feed.receive(10, json.dumps(no).encode())
    assert [(mark.kind, mark.fields["symbol"]) for mark in commands if isinstance(mark, Mark)] == [("refused", "A_B")]


@pytest.mark.parametrize("name", ["obu.400:BTC_USDT", "order_book_update.20ms:BTC_USDT", "trades:BTC_USDT", "candlesticks.1m:BTC_USDT"])
def test_names_both_ways(name: str) -> None:
    assert name_of(*wire_of(name)) == name


@pytest.mark.parametrize("text", ["BTCUSDT", "btc-usdt", "BTC/USDT", "BTC_USDT", "BTC-USDT-PERP"])
def test_any_common_form_is_the_venues_name(text: str) -> None:
    assert SPOT.native(text) == "BTC_USDT"


@pytest.mark.parametrize("text", ["", "../..", "BTC", "B" * 200, "БТЦ_USDT"])
def test_what_cannot_be_a_market_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot be a Gate\.io market"):
        SPOT.native(text)


@pytest.mark.captures
def test_the_list_of_2021() -> None:
    body = next(data for kind, url, data in session() if kind == "http" and url.endswith("/spot/currency_pairs"))
    found = SPOT.instruments(body)
    assert found["BTC_USDT"].name == "BTC-USDT" and found["BTC_USDT"].tick.startswith("0.") and len(found) > 500
    with pytest.raises(SettingsError, match="did you mean 'BTC_USDT'"):
        SPOT.check(["BTCC_USDT"], body)


@pytest.mark.fuzz
@pytest.mark.captures
def test_fuzz() -> None:
    feed, some = SPOT.feed("spot"), frames()
    for t, data in enumerate(mutations(some, FUZZ), 1):
        records, _ = feed.receive(t, data) if t % 10 else feed.fetched(t, "GET /api/v4/spot/order_book?currency_pair=A_B&limit=100", data)
        assert all(not isinstance(record, Unknown) or len(record.why) < 300 for record in records)
        if t % 500 == 0:
            feed = SPOT.feed("spot")
