"""Whatever a venue, a proxy or a disk makes of its frames: no decoder raises, stays bounded, and reads the next good frame."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from tape_archive.format.errors import VenueProtocolError
from tape_archive.format.records import Trade, Unknown
from tape_collectors.simulator.mexc import field
from tape_collectors.venues import load
from tape_collectors.venues.session import SECOND
from tests.support.frames import FRAMES
from tests.support.mutate import mutations, retyped

FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))
VENUES = [venue for venue in FRAMES if not venue.startswith("binance")]
#: REST requests whose replies the feed reads
REQUESTS = {
    "okx_spot": ("GET /api/v5/market/books?instId=BTC-USDT&sz=400",),
    "okx_swap": (
        "GET /api/v5/market/books?instId=BTC-USDT-SWAP&sz=400",
        "GET /api/v5/public/instruments?instType=SWAP&instId=BTC-USDT-SWAP",
    ),
    "bybit_spot": ("GET /v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=1000",),
    "bybit_linear": ("GET /v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=1000",),
    "gate_spot": ("GET /api/v4/spot/order_book?currency_pair=BTC_USDT&limit=100&with_id=true",),
    "gate_usdt": (
        "GET /api/v4/futures/usdt/order_book?contract=BTC_USDT&limit=100&with_id=true",
        "GET /api/v4/futures/usdt/contracts/BTC_USDT",
    ),
    "mexc_spot": ("GET /api/v3/depth?symbol=BTCUSDT&limit=5000",),
}
REPLIES = [
    b'{"code":"0","msg":"","data":[{"asks":[["41006.8","0.6","0","1"]],"bids":[["41006.3","0.3","0","2"]],"ts":"1629966436396","seqId":3}]}',
    b'{"code":"0","msg":"","data":[{"instId":"BTC-USDT-SWAP","instType":"SWAP","ctVal":"0.01","ctMult":"1","ctType":"linear","state":"live"}]}',
    b'{"retCode":0,"retMsg":"OK","result":{"s":"BTCUSDT","b":[["9","1"]],"a":[["11","1"]],"ts":1,"u":5,"seq":7,"cts":1}}',
    b'{"retCode":0,"retMsg":"OK","result":{"list":[{"symbol":"BTCUSDT","status":"Trading","baseCoin":"BTC","quoteCoin":"USDT"}]}}',
    b'{"id":6358826658,"current":1649769789574,"update":1649769789566,"asks":[["40486.86","0.1661"]],"bids":[["40486.85","0.0578"]]}',
    b'{"id":5,"current":1623898993.123,"update":1623898993.121,"asks":[{"p":"1.52","s":100}],"bids":[{"p":"1.17","s":"1.5"}]}',
    b'{"name":"BTC_USDT","type":"direct","quanto_multiplier":"0.0001","order_price_round":"0.1","order_size_min":1,"in_delisting":false}',
    b'[{"id":"BTC_USDT","base":"BTC","quote":"USDT","precision":1,"amount_precision":6,"trade_status":"tradable"}]',
    b'{"lastUpdateId":1112416,"bids":[["15.00000","49999.00000"]],"asks":[["14.0000","1.0000"]]}',
    b'{"symbols":[{"symbol":"BTCUSDT","status":"1","baseAsset":"BTC","quoteAsset":"USDT","quotePrecision":2}]}',
]
NEXT = 1_900_000_000_000
GOOD = {
    "okx_spot": b'{"arg":{"channel":"trades","instId":"ABC-USDT"},"data":[{"instId":"ABC-USDT","tradeId":"7","px":"1.5","sz":"2","side":"sell","ts":"4","count":"1"}]}',
    "okx_swap": b'{"arg":{"channel":"trades","instId":"ABC-USDT-SWAP"},"data":[{"instId":"ABC-USDT-SWAP","tradeId":"7","px":"1.5","sz":"2","side":"sell","ts":"4","count":"1"}]}',
    "bybit_spot": b'{"topic":"publicTrade.ABCUSDT","type":"snapshot","ts":4,"data":[{"T":4,"s":"ABCUSDT","S":"Sell","v":"2","p":"1.5","i":"7"}]}',
    "bybit_linear": b'{"topic":"publicTrade.ABCUSDT","type":"snapshot","ts":4,"data":[{"T":4,"s":"ABCUSDT","S":"Sell","v":"2","p":"1.5","i":"7"}]}',
    "gate_spot": b'{"channel":"spot.trades","event":"update","result":{"id":9,"id_market":7,"create_time_ms":"4","side":"sell","currency_pair":"ABC_USDT","amount":"2","price":"1.5"}}',
    "gate_usdt": b'{"channel":"futures.trades","event":"update","result":[{"id":7,"size":"-2","create_time_ms":4,"price":"1.5","contract":"ABC_USDT"}]}',
    "mexc_spot": field(1, "spot@public.aggre.deals.v3.api.pb@100ms@ABCUSDT")
    + field(3, "ABCUSDT")
    + field(314, field(1, field(1, "1.5") + field(2, "2") + field(3, 2) + field(4, 4) + field(5, "7"))),
}
KNOWN = {
    "okx_swap": (
        "GET /api/v5/public/instruments?instType=SWAP&instId=ABC-USDT-SWAP",
        b'{"code":"0","data":[{"instId":"ABC-USDT-SWAP","instType":"SWAP","ctVal":"1","ctMult":"1","ctType":"linear"}]}',
    ),
    "gate_usdt": ("GET /api/v4/futures/usdt/contracts/ABC_USDT", b'{"name":"ABC_USDT","quanto_multiplier":"1"}'),
}
NAMES = {"okx": "books:BTC-USDT", "bybit": "orderbook.50.BTCUSDT", "gate": "obu.400:BTC_USDT"}


def broken(venue: str, count: int, seed: int) -> Iterator[bytes]:
    """Frames with bytes wrong, and frames that are JSON still with values wrong."""
    frames = FRAMES[venue]()
    short = [frame for frame in frames if len(frame) < 1500 and frame.lstrip()[:1] == b"{"]
    return chain(mutations(frames, count * 3 // 5, seed), retyped(short, count * 2 // 5, seed + 1))


def run(venue: str, count: int, *, books: bool) -> None:
    one = load(venue)
    group = one.groups(["BTCUSDT"], [], {})[0]
    feed = one.feed(group.name, books=books)
    feed.want(1, group.names)
    chance, unknown = random.Random(3), 0
    for number, frame in enumerate(broken(venue, count, 5)):
        t = (number + 2) * SECOND // 50
        records, _ = feed.receive(t, frame)
        unknown += any(isinstance(record, Unknown) for record in records)
        assert all(not isinstance(record, Unknown) or len(record.why) < 300 for record in records)
        if number % 10 == 0:
            request = chance.choice(REQUESTS[venue])
            body = next(mutations(REPLIES, 1, number)) if number % 20 else chance.choice(REPLIES)
            feed.fetched(t, request, body)
            feed.anchored(t, request, body)
        if number % 500 == 0:
            feed.tick(t)
            feed.anchor("BTCUSDT")
            # What a checkpoint says is JSON, and another feed goes on from it.
            other = one.feed(group.name, books=books)
            for state in json.loads(json.dumps(feed.checkpoint())):
                other.restore(t, state)
    assert unknown > count // 50 and len(feed.streams) <= 4097
    t = count * SECOND
    if venue in KNOWN:
        feed.fetched(t, *KNOWN[venue])
    if len(feed._known) < 4096:
        good = [record for record in feed.receive(t, GOOD[venue])[0] if isinstance(record, Trade)]
        assert [(trade.id, trade.price, trade.size, trade.side) for trade in good] == [("7", "1.5", "2", "sell")]


@pytest.mark.fuzz
@pytest.mark.captures
@pytest.mark.parametrize("books", [True, False], ids=["books", "header"])
@pytest.mark.parametrize("venue", VENUES)
def test_broken_frames_never_raise_and_the_feed_goes_on(venue: str, books: bool) -> None:
    run(venue, FUZZ // 2, books=books)


@pytest.mark.long
@pytest.mark.captures
@pytest.mark.parametrize("venue", VENUES)
def test_two_hundred_thousand_broken_frames(venue: str) -> None:
    run(venue, 200_000, books=True)


@pytest.mark.parametrize("venue", list(FRAMES))
def test_broken_lists_of_instruments_are_the_venues_error(venue: str) -> None:
    one: Any = load(venue)
    for body in chain(mutations(REPLIES, 2000, 7), retyped(REPLIES, 2000, 8)):
        try:
            for instrument in one.instruments(body).values():
                assert isinstance(instrument.symbol, str)
        except VenueProtocolError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
