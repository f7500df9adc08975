"""Frames: every real one accounted for, any broken one survived."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter

import pytest

from tape_archive.format.errors import SettingsError
from tape_archive.format.records import Gap, Liquidation, Notice, Quote, Record, Trade, Unknown
from tape_collectors.venues.binance import SPOT, USDM
from tape_collectors.venues.protocol import Fetch, Reconnect, Send
from tests.support.captures import captures
from tests.support.mutate import mutations

FUZZ = int(os.environ.get("TAPE_FUZZ", "200000"))


def real_frames() -> list[bytes]:
    root = captures() / "binance"
    out: list[bytes] = []
    for path in (root / "hftbacktest-2024-08").glob("*/*.gz"):
        with gzip.open(path) as file:
            out += [line.split(b" ", 1)[1].rstrip() for _, line in zip(range(3000), file, strict=False)]
    out += (root / "fastmm-usdm-2026-09" / "raw_md_stream.testnet.head.jsonl").read_bytes().splitlines()
    for path in [*(root / "live-frames-2026").glob("*.jsonl"), *(root / "crypto-msg-parser-2021-2022").glob("*.jsonl")]:
        out += [json.loads(line)["raw"].encode() for line in path.read_bytes().splitlines()]
    return [frame for frame in out if frame]


@pytest.mark.captures
def test_every_captured_frame_is_accounted_for() -> None:
    kinds: Counter[str] = Counter()
    for frame in real_frames():
        feed = USDM.feed("any")
        for record in [*feed.receive(1, frame)[0]]:
            kinds[type(record).__name__] += 1
            if isinstance(record, Unknown):
                # REST bodies that lie among the frames: books and open interest, with no stream and no event type.
                assert frame.startswith((b'{"lastUpdateId"', b'{"symbol"', b'{"openInterest"')) and b'"e":' not in frame, frame[:300]
    assert kinds["Quote"] > 1000 and kinds["Trade"] > 100 and kinds["Liquidation"] >= 2


@pytest.mark.captures
@pytest.mark.parametrize("venue", [SPOT, USDM], ids=["spot", "usdm"])
def test_mutated_frames_never_raise_and_the_feed_goes_on(venue: object) -> None:
    frames = real_frames()
    feed = venue.feed("any")  # type: ignore[attr-defined]
    unknown = 0
    for number, frame in enumerate(mutations(frames, FUZZ, seed=5)):
        records, _ = feed.receive(number + 1, frame)
        unknown += any(isinstance(record, Unknown) for record in records)
        if number % 50 == 0:
            path = venue.snapshot[0]  # type: ignore[attr-defined]
            feed.fetched(number + 1, f"GET {path}?symbol=BTCUSDT&limit=5", frame)
    assert unknown > FUZZ // 10
    records, _ = feed.receive(
        FUZZ + 2, b'{"stream":"abcusdt@trade","data":{"e":"trade","E":5,"s":"ABCUSDT","t":7,"p":"1.5","q":"2","T":4,"m":true}}'
    )
    assert records == (Trade(FUZZ + 2, 4_000_000, "ABCUSDT", "trade", "7", "1.5", "2", "sell"),)


def only(output: tuple[object, object]) -> list[Record]:
    return list(output[0])  # type: ignore[call-overload, no-any-return]


def test_subscriptions_go_out_in_lists_and_only_what_changed() -> None:
    feed = SPOT.feed("spot")
    names = [f"s{number}usdt@trade" for number in range(150)]
    sent = [json.loads(command.data) for command in feed.want(1, names)[1] if isinstance(command, Send)]
    assert [message["method"] for message in sent] == ["SUBSCRIBE"] * 2 and [len(message["params"]) for message in sent] == [100, 50]
    feed.receive(2, b'{"result":null,"id":1}')
    assert feed.streams["s0usdt@trade"].acked_t == 2 and feed.streams["s149usdt@trade"].acked_t == 0
    sent = [json.loads(command.data) for command in feed.want(3, [*names[1:], "new@trade"])[1] if isinstance(command, Send)]
    assert [(message["method"], message["params"]) for message in sent] == [
        ("UNSUBSCRIBE", ["s0usdt@trade"]),
        ("SUBSCRIBE", ["new@trade"]),
    ]
    sent = [json.loads(command.data) for command in feed.resubscribe(4, ["s3usdt@trade"]) if isinstance(command, Send)]
    assert [message["params"] for message in sent] == [["s3usdt@trade"]] * 2


def test_a_snapshot_is_asked_once_and_again_later_if_it_is_too_old() -> None:
    feed = SPOT.feed("spot")
    depth = b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":%d,"u":%d,"b":[["1","2"]],"a":[["3","4"]]}}'
    (fetch,) = feed.receive(1, depth % (10, 12))[1]
    assert isinstance(fetch, Fetch) and fetch.request == "GET /api/v3/depth?symbol=BTCUSDT&limit=5000" and fetch.weight == 250
    assert feed.receive(2, depth % (13, 14))[1] == []
    old = b'{"lastUpdateId":5,"bids":[["1","1"]],"asks":[["2","1"]]}'
    (again,) = feed.fetched(3, fetch.request, old)[1]
    assert isinstance(again, Fetch) and again.delay_s > 0
    records = only(feed.fetched(4, fetch.request, old.replace(b"5", b"12", 1)))
    assert [type(record).__name__ for record in records] == ["BookSnapshot", "BookDelta"]


def test_a_snapshot_that_is_garbage_is_asked_again() -> None:
    feed = USDM.feed("public")
    feed.receive(1, b'{"stream":"a@depth","data":{"e":"depthUpdate","s":"A","U":1,"u":2,"pu":0,"b":[],"a":[]}}')
    for body in (b"<html>", b"", b'{"code":-1003}', b"[" * 5000):
        records, commands = feed.fetched(2, "GET /fapi/v1/depth?symbol=A&limit=1000", body)
        assert isinstance(records[0], Unknown) and isinstance(commands[0], Fetch)


def test_trade_ids_tell_holes_and_doubles() -> None:
    feed = SPOT.feed("spot")
    trade = b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"1","q":"1","T":1,"m":false,"M":true}}'
    assert [type(record) for record in only(feed.receive(1, trade % 5))] == [Trade]
    gap, record = only(feed.receive(2, trade % 9))
    assert isinstance(gap, Gap) and (gap.from_id, gap.to_id, gap.from_ns, gap.t) == (6, 8, 1, 2) and isinstance(record, Trade)
    assert [type(record) for record in only(feed.receive(3, trade % 9))] == [Notice]
    assert record.side == "buy"


def test_the_key_order_of_the_venue_does_not_matter() -> None:
    feed = USDM.feed("public")
    swapped = (
        b'{ "data": {"s":"BTCUSDT","A":"4","a":"3","B":"2","b":"1","u":7,"e":"bookTicker","T":9,"st":1}, "stream": "btcusdt@bookTicker"}'
    )
    (quote,) = only(feed.receive(1, swapped))
    assert isinstance(quote, Quote) and (quote.bid, quote.ask_size, quote.ts) == ("1", "4", 9_000_000)


def test_coin_margined_events_on_mixed_streams_are_foreign() -> None:
    feed = USDM.feed("market")
    frame = b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":1,"o":{"s":"BTCUSD_PERP","S":"SELL","q":"1","p":"2","st":%d}}}'
    assert [type(record) for record in only(feed.receive(1, frame % 2))] == [Notice]
    assert [type(record) for record in only(feed.receive(1, frame % 1))] == [Liquidation]


def test_shutdown_notice_asks_for_an_overlapping_reconnect() -> None:
    for frame in (b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}', b'{"e":"serverShutdown","E":1}'):
        assert SPOT.feed("spot").receive(1, frame)[1] == [Reconnect("serverShutdown", overlap=True)]


def test_futures_streams_go_to_their_own_roots() -> None:
    groups = {group.name: group for group in USDM.groups(["BTCUSDT"], ["aggTrade", "depth@100ms", "trade"], USDM.sockets)}
    assert groups["market"].names == ("btcusdt@aggTrade",) and groups["market"].url.endswith("/market/stream")
    assert groups["public"].names == ("btcusdt@depth@100ms", "btcusdt@trade")
    many = USDM.groups([f"S{n}USDT" for n in range(450)], ["depth"], USDM.sockets)
    assert [(group.name, len(group.names)) for group in many] == [("public", 200), ("public.2", 200), ("public.3", 50)]


@pytest.mark.parametrize(("channel", "hint"), [("depht@100ms", "depth"), ("trades", "trade"), ("bookticker", "bookTicker")])
def test_an_unknown_channel_names_the_nearest(channel: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=rf"unknown channel '{channel}'; did you mean '{hint}"):
        SPOT.groups(["BTCUSDT"], [channel], SPOT.sockets)


def test_a_checkpoint_goes_on_where_it_was_taken() -> None:
    first, second = SPOT.feed("spot"), SPOT.feed("spot")
    depth = (
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":%d,"u":%d,"b":[["1","%d"]],"a":[["3","4"]]}}'
    )
    first.receive(1, depth % (1, 5, 1))
    first.fetched(2, "GET /api/v3/depth?symbol=BTCUSDT&limit=5000", b'{"lastUpdateId":5,"bids":[["1","1"]],"asks":[["3","4"]]}')
    (state,) = first.checkpoint()
    levels = {"book": [2, 0, 5], "bids": [["1", "1"]], "asks": [["3", "4"]]}
    records = only(second.restore(3, json.loads(json.dumps({**state, **levels}))))
    assert [type(record).__name__ for record in records] == ["BookSnapshot"]
    for at, ids in enumerate([(6, 7, 2), (8, 9, 3), (12, 13, 4)]):
        assert only(first.receive(10 + at, depth % ids)) == only(second.receive(10 + at, depth % ids))


def test_without_books_the_sequence_is_still_checked() -> None:
    feed = USDM.feed("public", books=False)
    depth = b'{"stream":"a@depth@100ms","data":{"e":"depthUpdate","E":1,"T":1,"s":"A","U":%d,"u":%d,"pu":%d,"b":[["1","2"]],"a":[]}}'
    assert [len(only(feed.receive(t, depth % ids))) for t, ids in enumerate([(1, 5, 0), (6, 9, 5)])] == [0, 0]
    (gap,) = only(feed.receive(7, depth % (15, 16, 12)))
    assert isinstance(gap, Gap) and (gap.from_id, gap.to_id) == (10, 12)
