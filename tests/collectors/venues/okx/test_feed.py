"""Frames: every real one accounted for, the sheet's examples read as it says, contracts turned into coins, any broken frame survived."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache
from typing import Any

import pytest
import zstandard

from tape_archive.format.errors import SettingsError
from tape_archive.format.records import BookLost, BookSnapshot, Funding, Gap, Liquidation, Notice, Quote, Record, Trade, Unknown
from tape_collectors.venues.okx import SPOT, SWAP
from tape_collectors.venues.okx.feed import BUDGET, HOUR_NS, OkxFeed
from tape_collectors.venues.okx.symbols import check_channel
from tape_collectors.venues.protocol import Command, Fetch, Mark, Reconnect, Send
from tests.support.captures import captures
from tests.support.mutate import mutations

FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))
SECOND = 10**9
INFO = "GET /api/v5/public/instruments?instType=SWAP&instId=BTC-USDT-SWAP"


@cache
def session(name: str) -> list[tuple[str, bytes]]:
    """(kind, payload) of a cryptofeed recording."""
    path = captures() / "okx" / "cryptofeed" / name / "frames.ndjson.zst"
    with path.open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()
    return [(entry["kind"], entry["raw"].encode()) for entry in map(json.loads, lines) if entry.get("raw")]


def frames() -> list[bytes]:
    root = captures() / "okx"
    out = [line.split(b"\t", 1)[1] for line in (root / "fastmm-2026-09" / "raw_perp_stream.jsonl").read_bytes().splitlines()]
    out += (root / "gocryptotrader-ws" / "wsAllTrades.jsonl").read_bytes().splitlines()
    for path in (root / "live-frames-2026" / "frames.give.jsonl", root / "crypto-msg-parser-2021-2022" / "okx_test_frames.jsonl"):
        out += [json.loads(line)["raw"].encode() for line in path.read_bytes().splitlines()]
    for name in ("okx-v5-2022-05-13", "okcoin-v5-2023-05-27"):
        out += [data for kind, data in session(name) if kind == "recv"]
    return out


def sent(commands: Any) -> list[dict[str, Any]]:
    return [json.loads(command.data) for command in commands if isinstance(command, Send) and command.data != "ping"]


def info(symbol: str = "BTC-USDT-SWAP", value: str = "0.01") -> bytes:
    row = {
        "instId": symbol,
        "instType": "SWAP",
        "ctVal": value,
        "ctMult": "1",
        "ctType": "linear",
        "state": "live",
        "tickSz": "0.1",
        "lotSz": "0.01",
    }
    return json.dumps({"code": "0", "msg": "", "data": [row]}).encode()


@pytest.mark.captures
def test_every_captured_frame_is_accounted_for() -> None:
    found = Counter[str]()
    for t, data in enumerate(frames(), 1):
        # Each recording is a connection of its own, and spot and derivatives lie together: sizes are left as they are.
        records, _ = SPOT.feed("public").receive(t, data)
        assert not [record for record in records if isinstance(record, Unknown)], data[:200]
        found.update(type(record).__name__ for record in records)
    assert found["Trade"] > 70 and found["BookSnapshot"] > 10 and found["Funding"] > 5 and found["Candle"] > 4 and found["Quote"] > 4


@pytest.mark.captures
def test_sessions_of_2022_and_2023_have_no_gap_of_their_own() -> None:
    for name in ("okx-v5-2022-05-13", "okcoin-v5-2023-05-27"):
        feed = SPOT.feed("public")
        records = [record for t, (kind, data) in enumerate(session(name), 1) if kind == "recv" for record in feed.receive(t, data)[0]]
        assert not [record for record in records if isinstance(record, Gap | BookLost | Unknown)]


def test_examples_of_the_sheet() -> None:
    feed = SWAP.feed("public")
    feed.fetched(1, INFO, info())
    (snapshot,) = feed.receive(
        2,
        b'{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"snapshot","data":[{"bids":[["83725.8","7.69","0","5"]],'
        b'"asks":[["83725.9","1712.41","0","92"]],"ts":"1791369351001","seqId":344430848984,"prevSeqId":-1}]}',
    )[0]
    assert isinstance(snapshot, BookSnapshot) and (snapshot.bids, snapshot.asks) == ([("83725.8", "0.0769")], [("83725.9", "17.1241")])
    (trade,) = feed.receive(
        3,
        b'{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","tradeId":"2978601964","px":"83725.9",'
        b'"sz":"5","side":"buy","ts":"1791369350776","count":"1","source":"0","seqId":344430848209}]}',
    )[0]
    assert trade == Trade(3, 1791369350776 * 10**6, "BTC-USDT-SWAP", "trades", "2978601964", "83725.9", "0.05", "buy")
    (quote,) = feed.receive(
        4,
        b'{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"data":[{"asks":[["111.06","55154","0","2"]],"bids":[["111.05","57745","0","2"]],'
        b'"ts":"1670324386802","seqId":363996337}]}',
    )[0]
    assert isinstance(quote, Quote) and (quote.id, quote.bid_size) == (363996337, "577.45")
    forced = feed.receive(
        5,
        b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"80000","posSide":"short",'
        b'"side":"buy","sz":"42","ts":"1791369351375"}],"instFamily":"BTC-USDT","instId":"BTC-USDT-SWAP","instType":"SWAP","uly":"BTC-USDT"}]}',
    )[0]
    assert [(one.side, one.size) for one in forced if isinstance(one, Liquidation)] == [("buy", "0.42")]
    refused, commands = feed.receive(6, b'{"event":"error","msg":"Subscribe failed","code":"60018","connId":"5e1f2fe5","id":"ob1"}')
    assert isinstance(refused[0], Notice) and isinstance(commands[0], Mark) and commands[0].kind == "refused"
    (notice,), (reconnect,) = feed.receive(7, b'{"event":"notice","code":"64008","msg":"The connection will soon be closed"}')
    assert isinstance(notice, Notice) and isinstance(reconnect, Reconnect) and reconnect.overlap


def trades(*fills: tuple[int, int], channel: str = "trades") -> bytes:
    rows = [
        {
            "instId": "A-B",
            "tradeId": str(number),
            "px": "1",
            "sz": "1",
            "side": "buy",
            "ts": "1",
            **({"count": str(count)} if count else {}),
        }
        for number, count in fills
    ]
    return json.dumps({"arg": {"channel": channel, "instId": "A-B"}, "data": rows}).encode()


def test_aggregated_trades_step_by_their_count() -> None:
    feed = SPOT.feed("public")
    told = [
        record
        for t, frame in enumerate([trades((10, 1)), trades((13, 3)), trades((20, 2)), trades((20, 2))], 1)
        for record in feed.receive(t, frame)[0]
    ]
    assert [type(record).__name__ for record in told] == ["Trade", "Trade", "Gap", "Trade", "Notice"]
    gap = told[2]
    assert isinstance(gap, Gap) and (gap.from_id, gap.to_id) == (14, 18)
    old = SPOT.feed("public")
    assert not [record for t in (1, 2) for record in old.receive(t, trades((10 * t, 0)))[0] if isinstance(record, Gap)], (
        "no count, no proof"
    )


def test_frames_wait_for_what_a_contract_is_and_are_read_in_order() -> None:
    feed = SWAP.feed("public")

    def book(action: str, previous: int, seq: int) -> bytes:
        data = {"bids": [["9", "5", "0", "1"]], "asks": [["11", "7", "0", "1"]], "ts": "5", "seqId": seq, "prevSeqId": previous}
        return json.dumps({"arg": {"channel": "books", "instId": "BTC-USDT-SWAP"}, "action": action, "data": [data]}).encode()

    records, commands = feed.receive(1, book("snapshot", -1, 10))
    assert not records and [command.request for command in commands if isinstance(command, Fetch)] == [INFO]
    assert feed.receive(2, book("update", 10, 12)) == ((), ())
    assert feed.fetched(3, INFO, b'{"code":"50011","msg":"Too many requests","data":[]}')[0][0].__class__ is Unknown
    told = list(feed.fetched(4, INFO, info())[0])
    assert [(type(record).__name__, record.t) for record in told] == [("BookSnapshot", 1), ("BookDelta", 2)]
    assert [type(record).__name__ for record in feed.receive(5, book("update", 12, 13))[0]] == ["BookDelta"]


def test_mark_index_and_rate_come_together() -> None:
    feed = SWAP.feed("public")
    told: list[Record] = []
    for t, (channel, row) in enumerate(
        (
            ("index-tickers", {"instId": "BTC-USDT", "idxPx": "10", "ts": "1"}),
            ("funding-rate", {"instId": "BTC-USDT-SWAP", "fundingRate": "0.1", "fundingTime": "1000", "ts": "2"}),
            ("mark-price", {"instId": "BTC-USDT-SWAP", "markPx": "11", "ts": "3"}),
        ),
        1,
    ):
        told += feed.receive(t, json.dumps({"arg": {"channel": channel, "instId": row["instId"]}, "data": [row]}).encode())[0]
    assert told[-1] == Funding(3, 3_000_000, "BTC-USDT-SWAP", "mark-price", "11", "10", "0.1", 1_000_000_000)


def want(feed: OkxFeed, *names: str) -> list[Command]:
    return list(feed.want(1, names)[1])


def test_subscriptions_by_arguments_and_liquidations_by_product() -> None:
    asked = sent(want(SWAP.feed("public"), "books:BTC-USDT-SWAP", "liquidation-orders:SWAP"))
    assert asked[0]["args"] == [{"channel": "books", "instId": "BTC-USDT-SWAP"}, {"channel": "liquidation-orders", "instType": "SWAP"}]
    assert "-" not in asked[0]["id"]


def test_near_the_budget_of_subscriptions_the_connection_is_replaced() -> None:
    feed = SPOT.feed("public")
    want(feed, "books:A-B")
    spent = 0
    while not isinstance((first := feed.resubscribe(2, ["books:A-B"]))[0], Reconnect):
        spent += len(first)
    assert 400 < spent <= BUDGET < 480
    feed.tick(HOUR_NS + 10)
    assert isinstance(feed.resubscribe(HOUR_NS + 11, ["books:A-B"])[0], Send), "an hour later there is room again"


def test_a_book_that_is_not_pushed_is_asked_by_rest() -> None:
    feed = SPOT.feed("public")
    want(feed, "books:A-B")

    def update(previous: int, seq: int) -> bytes:
        data = {"bids": [["9", "5", "0", "1"]], "asks": [], "ts": "5", "seqId": seq, "prevSeqId": previous}
        return json.dumps({"arg": {"channel": "books", "instId": "A-B"}, "action": "update", "data": [data]}).encode()

    feed.receive(1, update(10, 12))
    feed.receive(2, update(12, 15))
    assert not [command for command in feed.tick(SECOND) if isinstance(command, Fetch)]
    (fetch,) = [command for command in feed.tick(7 * SECOND) if isinstance(command, Fetch)]
    body = {"code": "0", "msg": "", "data": [{"bids": [["9", "4", "0", "1"]], "asks": [["11", "1", "0", "1"]], "ts": "5", "seqId": 13}]}
    assert [type(record).__name__ for record in feed.fetched(8, fetch.request, json.dumps(body).encode())[0]] == [
        "BookSnapshot",
        "BookDelta",
    ]
    assert [type(record).__name__ for record in feed.receive(9, update(15, 16))[0]] == ["BookDelta"]


def test_ping_when_it_is_quiet() -> None:
    feed = SPOT.feed("public")
    assert [command.data for command in feed.tick(16 * SECOND) if isinstance(command, Send)] == ["ping"]
    assert not feed.tick(17 * SECOND)
    feed.receive(30 * SECOND, b"pong")
    assert not feed.tick(40 * SECOND)


@pytest.mark.parametrize("text", ["BTCUSDT", "btc-usdt", "BTC/USDT", "BTC-USDT-PERP", "BTC-USDT-SWAP", "btc_usdt"])
def test_any_common_form_is_the_venues_name(text: str) -> None:
    assert (SPOT.native(text), SWAP.native(text)) == ("BTC-USDT", "BTC-USDT-SWAP")


@pytest.mark.parametrize("text", ["", "../..", "BTC", "B" * 200, "БТЦ-USDT"])
def test_what_cannot_be_a_symbol_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="cannot be an OKX symbol"):
        SPOT.native(text)


def test_groups_and_channels() -> None:
    groups = SWAP.groups([f"S{number}-USDT" for number in range(30)], [*SWAP.default, "trades-all", "candle1m"], {"public": "wss://here"})
    assert [group.name for group in groups] == ["public", "public.2", "business", "business.2"]
    assert groups[0].url == "wss://here/ws/v5/public" and groups[2].url == "wss://ws.okx.com/ws/v5/business"
    assert (
        sum(name.startswith("books:") for name in groups[0].names) == 25
        and sum("liquidation" in name for group in groups for name in group.names) == 1
    )
    with pytest.raises(SettingsError, match="did you mean 'trades'"):
        check_channel("trade")
    assert not SPOT.carries("mark-price")


@pytest.mark.fuzz
@pytest.mark.captures
def test_fuzz() -> None:
    feed, some = SWAP.feed("public"), frames()
    feed.fetched(1, INFO, info())
    for t, data in enumerate(mutations(some, FUZZ), 1):
        records, _ = feed.receive(t, data) if t % 10 else feed.fetched(t, INFO, data)
        assert all(not isinstance(record, Unknown) or len(record.why) < 300 for record in records)
        if t % 500 == 0:
            feed = SWAP.feed("public")
            feed.fetched(1, INFO, info())
