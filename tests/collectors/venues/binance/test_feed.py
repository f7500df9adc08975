"""Frames: every real one accounted for, any broken one survived."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from itertools import chain
from typing import Any

import pytest

from tape_archive.format.records import BookSnapshot, Gap, Liquidation, Notice, Quote, Record, Trade, Unknown
from tape_collectors.venues.binance import SPOT, USDM
from tape_collectors.venues.binance.feed import ASK_AGAIN_NS
from tape_collectors.venues.protocol import NOTHING, Fetch, Mark, Reconnect, Send
from tests.support.captures import captures
from tests.support.mutate import mutations, retyped

FUZZ = int(os.environ.get("TAPE_FUZZ", "200000"))


def parsed() -> list[tuple[str, bytes]]:
    """(kind, frame) of crypto-msg-parser: several products of Binance."""
    path = captures() / "binance" / "crypto-msg-parser-2021-2022" / "binance_test_frames.jsonl"
    return [(entry["kind"], entry["raw"].encode()) for entry in map(json.loads, path.read_bytes().splitlines())]


def mocks() -> list[tuple[str, str, bytes]]:
    """(path, query, body) of gocryptotrader's REST replies."""
    path = captures() / "binance" / "gocryptotrader-http-mock" / "market_data_rest.jsonl"
    return [(entry["kind"], entry["query"], entry["raw"].encode()) for entry in map(json.loads, path.read_bytes().splitlines())]


def usdm_frames() -> list[bytes]:
    root = captures() / "binance"
    out = [frame for frame in (root / "fastmm-usdm-2026-09" / "raw_md_stream.testnet.head.jsonl").read_bytes().splitlines() if frame]
    for path in (root / "live-frames-2026").glob("*.jsonl"):
        out += [json.loads(line)["raw"].encode() for line in path.read_bytes().splitlines()]
    return out + recorded("usdm/ethusdt_20240808.gz")


def recorded(name: str) -> list[bytes]:
    with gzip.open(captures() / "binance" / "hftbacktest-2024-08" / name) as file:
        return [line.split(b" ", 1)[1].rstrip() for _, line in zip(range(3000), file, strict=False)]


def count(feed: object, frames: list[bytes]) -> Counter[str]:
    return Counter(type(record).__name__ for t, frame in enumerate(frames) for record in feed.receive(t + 1, frame)[0])  # type: ignore[attr-defined]


@pytest.mark.captures
def test_every_captured_frame_is_accounted_for() -> None:
    """Each on a feed of its own product; the only frames without a stream are the REST replies that lie among them."""
    for venue, frames in ((USDM, usdm_frames()), (SPOT, recorded("spot/btcusdt_20240808.gz"))):
        websocket = [frame for frame in frames if not frame.startswith(b'{"lastUpdateId"')]
        kinds = count(venue.feed("any"), websocket)
        assert len(frames) - len(websocket) <= 1 and not kinds["Unknown"] and kinds["Quote"] > 1000 and kinds["Trade"] > 100
    assert count(USDM.feed("any"), usdm_frames())["Liquidation"] == 2


#: what each kind of crypto-msg-parser's frames is, and what it gives on the feed that fits it
WEBSOCKET = {
    "trade": "Trade",
    "funding_rate": "Funding",
    "l2_event": "",
    "l2_topk": "BookSnapshot",
    "bbo": "Quote",
    "ticker": "Ticker",
    "candlestick": "Candle",
}


@pytest.mark.captures
def test_frames_of_all_products_are_what_they_are() -> None:
    """COIN-M and options are foreign products: COIN-M of 2021 is told by its symbols alone and decodes as futures do; options say so."""
    seen = Counter[str]()
    for kind, frame in parsed():
        what, _, product = kind.partition("::")
        feed = SPOT.feed("any") if product.startswith("spot") else USDM.feed("any")
        records = [type(record).__name__ for record in feed.receive(1, frame)[0]]
        if product == "option":
            assert records == ["Notice"]
        elif what in WEBSOCKET:
            assert set(records) == ({WEBSOCKET[what]} if WEBSOCKET[what] else set()), kind
        else:
            # REST bodies: no stream brings them.
            assert what in ("l2_snapshot", "open_interest") and records == ["Unknown"], kind
        seen[what] += 1
        if "inverse" in product and what == "trade":
            marked = frame.replace(b'"e":"aggTrade"', b'"st":2,"e":"aggTrade"')
            assert [record.kind for record in feed.receive(2, marked)[0]] == ["foreign"]
    assert set(seen) == {*WEBSOCKET, "l2_snapshot", "open_interest"}


@pytest.mark.captures
def test_recorded_rest_replies_join_or_are_told() -> None:
    """Depth replies of spot and futures join a stream that continues them; any other body is one Unknown and one more request."""
    depth = 0
    for kind, query, body in mocks():
        for venue in (SPOT, USDM):
            feed = venue.feed("any")
            path = venue.snapshot[0]
            event = b'{"stream":"xusdt@depth","data":{"e":"depthUpdate","E":1,"s":"XUSDT","U":1,"u":2,"pu":0,"b":[],"a":[]}}'
            (fetch,) = feed.receive(1, event)[1]
            records, commands = feed.fetched(2, fetch.request, body)
            if kind.endswith("/depth"):
                depth += kind == f"GET {path}"
                assert [type(record).__name__ for record in records] == ["BookSnapshot"] and not commands, (kind, query)
            else:
                assert [type(record).__name__ for record in records] == ["Unknown"] and len(commands) == 1, (kind, query)
    assert depth >= 1


@pytest.mark.fuzz
@pytest.mark.captures
@pytest.mark.parametrize("books", [True, False], ids=["books", "header"])
@pytest.mark.parametrize("venue", [SPOT, USDM], ids=["spot", "usdm"])
def test_mutated_frames_never_raise_and_the_feed_goes_on(venue: Any, books: bool) -> None:
    frames = [*usdm_frames(), *recorded("spot/btcusdt_20240808.gz"), *(frame for _, frame in parsed())]
    frames += [b'{"result":null,"id":1}', b'{"error":{"code":2,"msg":"x"},"id":1}', b'{"stream":"!serverShutdown","data":{"E":1}}']
    feed = venue.feed("any", books=books)
    feed.want(1, ["btcusdt@depth@100ms"])
    unknown = 0
    every = FUZZ // 4
    for number, frame in enumerate(chain(mutations(frames, every * 4 // 5, seed=5), retyped(short(frames), every // 5, seed=6))):
        records, _ = feed.receive(number + 2, frame)
        unknown += any(isinstance(record, Unknown) for record in records)
        if number % 20 == 0:
            feed.fetched(number + 2, f"GET {venue.snapshot[0]}?symbol=BTCUSDT&limit=5", frame)
        if number % 5000 == 0:
            feed.tick(number + 2)
            json.dumps(feed.checkpoint())
    assert unknown > every // 20 and len(feed.streams) <= 4097
    more = b'{"stream":"abcusdt@trade","data":{"e":"trade","E":5,"s":"ABCUSDT","t":7,"p":"1.5","q":"2","T":4,"m":true}}'
    expected = [Trade(FUZZ + 2, 4_000_000, "ABCUSDT", "trade", "7", "1.5", "2", "sell")] if books else []
    if len(feed._known) < 4096:
        assert only(feed.receive(FUZZ + 2, more)) == expected
    # A stream that got poison ids comes back by the venue's own time: the last milliseconds that can be one.
    depth = b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":879609302220%d,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[["1","2"]],"a":[]}}'
    feed.receive(FUZZ + 3, depth % (1, 6, 9, 5))
    feed.receive(FUZZ + 4, depth % (2, 10, 12, 9))
    if books:
        feed.fetched(FUZZ + 5, f"GET {venue.snapshot[0]}?symbol=BTCUSDT&limit=5", b'{"lastUpdateId":12,"bids":[],"asks":[]}')
        assert [type(record).__name__ for record in only(feed.receive(FUZZ + 6, depth % (3, 13, 15, 12)))] == ["BookDelta"]


def short(frames: list[bytes]) -> list[bytes]:
    """Frames that are cheap to take apart as JSON."""
    return [frame for frame in frames if len(frame) < 600][::7]


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


DEPTH = b'{"stream":"%s@depth%s","data":{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[["1","2"]],"a":[]}}'


def test_a_header_without_pu_behind_u_is_decoded_not_guessed() -> None:
    """Keys may move: on the futures U and u alone would be a false gap."""
    frame = b'{"stream":"a@depth","data":{"e":"depthUpdate","pu":%d,"E":1,"s":"A","U":%d,"u":%d,"x":1,"b":[["1","2"]],"a":[]}}'
    feed = USDM.feed("public", books=False)
    assert [only(feed.receive(t, frame % ids)) for t, ids in enumerate([(0, 1, 5), (5, 8, 9), (9, 20, 21)])] == [[], [], []]
    assert [type(record) for record in only(feed.receive(4, frame % (30, 31, 32)))] == [Gap]


def test_a_stream_left_and_wanted_again_is_counted_and_keeps_its_sequence() -> None:
    feed = SPOT.feed("spot")
    name = "btcusdt@trade"
    trade = b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"1","q":"1","T":1,"m":false}}'
    feed.want(1, [name])
    feed.receive(2, trade % 5)
    feed.want(3, [])
    feed.receive(4, trade % 6)
    assert name not in feed.streams
    feed.want(5, [name])
    assert feed.streams[name].frames == 0
    assert [type(record) for record in only(feed.receive(6, trade % 9))] == [Gap, Trade]
    assert feed.streams[name].frames == 1 and feed.streams[name].first_t == 6


def test_two_speeds_of_one_book_are_two_sequences_and_one_request() -> None:
    feed = SPOT.feed("spot")
    asked = []
    for speed, ids in ((b"", (1, 9)), (b"@100ms", (1, 3)), (b"@100ms", (4, 9)), (b"", (10, 20)), (b"@100ms", (10, 12))):
        records, commands = feed.receive(1, DEPTH % (b"btcusdt", speed, 1, *ids, 0))
        assert not list(records)
        asked += commands
    assert len(asked) == 1
    records, _ = feed.fetched(2, asked[0].request, b'{"lastUpdateId":9,"bids":[],"asks":[]}')
    assert [(type(record).__name__, record.channel) for record in records] == [
        *(("BookSnapshot", "depth"), ("BookDelta", "depth"), ("BookSnapshot", "depth@100ms"), ("BookDelta", "depth@100ms")),
    ]


def test_a_partial_book_is_not_the_base_of_deltas() -> None:
    for stream, payload in (
        (SPOT, b'{"lastUpdateId":160,"bids":[["1","10"]],"asks":[["2","100"]]}'),
        (USDM, b'{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":150,"u":160,"pu":149,"b":[["1","10"]],"a":[["2","100"]],"st":1}'),
    ):
        (book,) = only(stream.feed("any").receive(1, b'{"stream":"btcusdt@depth5@100ms","data":%s}' % payload))
        assert isinstance(book, BookSnapshot) and (book.source, book.id, book.bids, book.asks) == (
            "top",
            160,
            [("1", "10")],
            [("2", "100")],
        )


def test_the_book_with_rpi_orders_is_checked_and_never_joined() -> None:
    feed = USDM.feed("public")
    frame = (
        b'{"stream":"btcusdt@rpiDepth@500ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[["1","2"]],"a":[]}}'
    )
    assert [feed.receive(t, frame % ids) for t, ids in enumerate([(1, 5, 0), (8, 9, 5)])] == [NOTHING] * 2
    (gap,), commands = feed.receive(3, frame % (20, 21, 15))
    assert isinstance(gap, Gap) and (gap.from_id, gap.to_id) == (10, 15) and not [c for c in commands if isinstance(c, Fetch)]
    assert feed.fetched(4, "GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000", b'{"lastUpdateId":21,"bids":[],"asks":[]}') is NOTHING


def test_a_request_that_never_came_back_is_repeated_and_no_other() -> None:
    feed = SPOT.feed("spot")
    feed.receive(1, DEPTH % (b"btcusdt", b"", 1, 1, 5, 0))
    assert feed.tick(2) == [] and feed.tick(ASK_AGAIN_NS) == []
    (fetch,) = feed.tick(ASK_AGAIN_NS + 2)
    assert isinstance(fetch, Fetch) and feed.tick(ASK_AGAIN_NS + 3) == []
    feed.fetched(ASK_AGAIN_NS + 4, fetch.request, b'{"lastUpdateId":5,"bids":[],"asks":[]}')
    assert feed.tick(10 * ASK_AGAIN_NS) == []


def test_pauses_between_vain_snapshots_grow() -> None:
    feed = SPOT.feed("spot")
    (fetch,) = feed.receive(1, DEPTH % (b"btcusdt", b"", 1, 10, 12, 0))[1]
    delays = []
    for t in range(2, 12):
        (fetch,) = feed.fetched(t, fetch.request, b'{"lastUpdateId":5,"bids":[],"asks":[]}')[1]
        delays.append(fetch.delay_s)
    assert delays[0] > 0 and delays == sorted(delays) and delays[-1] == 8.0


def test_an_error_names_its_streams_and_they_are_not_acked() -> None:
    feed = SPOT.feed("spot")
    feed.want(1, ["btcusdt@trade", "ethusdt@trade"])
    for reply in (b'{"code":2,"msg":"Invalid request","id":1}', b'{"error":{"code":2,"msg":"Invalid request"},"id":1}'):
        (notice,) = only(feed.receive(2, reply))
        assert isinstance(notice, Notice) and notice.kind == "error" and "Invalid request" in notice.detail
    assert not feed.streams["btcusdt@trade"].acked_t
    feed.want(3, [])
    feed.want(4, ["btcusdt@trade"])
    for reply in (b'{"result":null,"id":true}', b'{"result":null,"id":"3"}', b'{"result":null,"id":99}'):
        feed.receive(5, reply)
    assert not feed.streams["btcusdt@trade"].acked_t
    feed.receive(6, b'{"result":null,"id":3}')
    assert feed.streams["btcusdt@trade"].acked_t == 6


def test_a_wrapper_with_more_keys_is_read_as_a_whole() -> None:
    frame = (
        b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","a":7,"p":"1","q":"2","T":3,"m":true},"extra":{"a":1}}'
    )
    assert [type(record) for record in only(USDM.feed("market").receive(1, frame))] == [Trade]


def test_raw_frames_and_symbols_beyond_ascii() -> None:
    feed = SPOT.feed("spot")
    trade = '{"e":"trade","E":1,"s":"币安人生USDT","t":5,"p":"1","q":"1","T":1,"m":false}'
    (record,) = only(feed.receive(1, trade.encode()))
    assert isinstance(record, Trade) and record.symbol == "币安人生USDT"
    wrapped = '{"stream":"币安人生usdt@trade","data":' + trade.replace('"t":5', '"t":6') + "}"
    assert [type(record) for record in only(feed.receive(2, wrapped.encode()))] == [Trade]
    assert [type(record) for record in only(feed.receive(3, b"[%s]" % trade.replace('"t":5', '"t":7').encode()))] == [Trade]


def test_commands_of_a_list_frame_are_not_lost() -> None:
    raw = b'[{"e":"depthUpdate","E":1,"s":"A","U":1,"u":2,"b":[],"a":[]}]'
    assert [type(command) for command in SPOT.feed("spot").receive(1, raw)[1]] == [Fetch]


def test_names_are_bounded_and_wanted_ones_never_refused() -> None:
    feed = SPOT.feed("spot")
    for number in range(5000):
        feed.receive(1, b'{"stream":"s%d@ticker","data":{"e":"24hrTicker"}}' % number)
    assert len(feed.streams) == 4096
    feed.want(2, ["btcusdt@trade"])
    assert "btcusdt@trade" in feed.streams


def test_what_waits_for_a_snapshot_is_marked_lost_and_told() -> None:
    feed = USDM.feed("public")
    feed.receive(1, DEPTH % (b"btcusdt", b"", 1, 1, 5, 0))
    feed.fetched(2, "GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000", b'{"lastUpdateId":5,"bids":[],"asks":[]}')
    records, commands = feed.receive(3, DEPTH % (b"btcusdt", b"", 2, 20, 22, 15))
    assert [type(record).__name__ for record in records] == ["Gap", "BookLost"]
    gap, lost, fetch = commands
    assert gap == Mark("gap", {"symbol": "BTCUSDT", "channel": "depth", "from_ns": 1, "from_id": 6, "to_id": 15, "why": "sequence"})
    assert isinstance(lost, Mark) and lost.kind == "lost" and isinstance(fetch, Fetch) and fetch.weight == 20


def test_a_checkpoint_of_an_earlier_version_is_taken() -> None:
    feed = SPOT.feed("spot")
    state = {"last": 10, "last_t": 2, "live": True, "joining": 0, "channel": "depth@100ms"}
    mark = {
        "symbol": "BTCUSDT",
        "ids": {"btcusdt@trade": [1, 7, 1, 2]},
        "state": state,
        "book": [3, 0, 10],
        "bids": [["7", "1"]],
        "asks": [["8", "1"]],
    }
    (book,) = only(feed.restore(3, mark))
    assert isinstance(book, BookSnapshot) and book.source == "checkpoint"
    assert [type(record).__name__ for record in only(feed.receive(4, DEPTH % (b"btcusdt", b"@100ms", 5, 11, 12, 0)))] == ["BookDelta"]


def test_a_checkpoint_holds_every_depth_stream_of_a_symbol() -> None:
    feed, other = USDM.feed("public"), USDM.feed("public")
    rpi = b'{"stream":"btcusdt@rpiDepth@500ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[],"a":[]}}'
    feed.receive(1, rpi % (1, 5, 0))
    assert "state" not in feed.checkpoint()[0]
    feed.receive(2, DEPTH % (b"btcusdt", b"", 1, 1, 5, 0))
    (mark,) = json.loads(json.dumps(feed.checkpoint()))
    assert mark["state"]["channel"] == "depth" and [state["channel"] for state in mark["others"]] == ["rpiDepth@500ms"]
    assert only(other.restore(3, mark)) == []
    for frame in (rpi % (20, 21, 15), DEPTH % (b"btcusdt", b"", 2, 6, 9, 5)):
        assert only(other.receive(4, frame)) == only(feed.receive(4, frame))
    body = b'{"lastUpdateId":5,"bids":[],"asks":[]}'
    request = "GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    records = only(other.fetched(5, request, body))
    assert records == only(feed.fetched(5, request, body)) and [type(record).__name__ for record in records] == [
        "BookSnapshot",
        "BookDelta",
        "BookDelta",
    ]
