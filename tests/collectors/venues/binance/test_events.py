"""Streams that need no book: each rule, and that its test fails without it."""

from __future__ import annotations

from typing import Any

import pytest

from tape_archive.format.records import Candle, Funding, Gap, Lifecycle, Liquidation, Notice, Quote, Record, Reset, Ticker, Trade, Unknown
from tape_collectors.venues.binance import SPOT, USDM, events
from tape_collectors.venues.binance.events import Counted
from tape_collectors.venues.binance.wire import MS

TRADE = b'{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"T":%d,"s":"BTCUSDT","t":%d,"p":"1.5","q":"2","X":"%s","m":%s}}'
AGGREGATE = (
    b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":%d,"s":"BTCUSDT","a":%d,"p":"1","q":"2","f":1,"l":2,"T":3,"m":true,"st":%d}}'
)
FUTURES_QUOTE = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":%d,"E":%d,"T":%d,"s":"BTCUSDT","b":"1","B":"2","a":"3","A":"4","st":%d}}'
)
SPOT_QUOTE = b'{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"1","B":"2","a":"3","A":"4"}}'
DEPTH = b'{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":[],"a":[]}}'


def trade(number: int, *, time: int = 5, kind: bytes = b"MARKET", maker: bytes = b"true") -> bytes:
    return TRADE % (time, time, number, kind, maker)


def types(feed: Any, *frames: bytes) -> list[list[str]]:
    return [[type(record).__name__ for record in feed.receive(t, frame)[0]] for t, frame in enumerate(frames, 1)]


def one(feed: Any, frame: bytes) -> Record:
    (record,) = feed.receive(1, frame)[0]
    return record


def rule_1_holes() -> None:
    feed = USDM.feed("public")
    feed.receive(1, trade(5))
    (gap, behind), (mark,) = feed.receive(2, trade(9))
    assert isinstance(gap, Gap) and (gap.from_id, gap.to_id, gap.from_ns, gap.t, gap.channel) == (6, 8, 1, 2, "trade")
    assert isinstance(behind, Trade) and mark.kind == "gap" and mark.fields["from_id"] == 6
    assert types(USDM.feed("market"), AGGREGATE % (1, 7, 1), AGGREGATE % (1, 9, 1), AGGREGATE % (1, 10, 1)) == [
        ["Trade"],
        ["Gap", "Trade"],
        ["Trade"],
    ]


def rule_2_doubles() -> None:
    for feed in (SPOT.feed("spot"), USDM.feed("public")):
        assert types(feed, trade(5), trade(6), trade(6), trade(5), trade(7)) == [["Trade"], ["Trade"], ["Notice"], ["Notice"], ["Trade"]]
    assert types(USDM.feed("market"), AGGREGATE % (1, 7, 1), AGGREGATE % (1, 7, 1)) == [["Trade"], ["Notice"]]


def rule_3_began_anew() -> None:
    feed = USDM.feed("public")
    assert types(feed, trade(500, time=5), trade(1, time=9), trade(2, time=9)) == [["Trade"], ["Reset", "Trade"], ["Trade"]]
    assert feed.streams["btcusdt@trade"].first_id == 1
    feed = USDM.feed("public")
    assert types(feed, FUTURES_QUOTE % (500, 5, 5, 1), FUTURES_QUOTE % (3, 9, 9, 1), FUTURES_QUOTE % (4, 9, 9, 1)) == [
        ["Quote"],
        ["Reset", "Quote"],
        ["Quote"],
    ]


def rule_4_quotes() -> None:
    feed = SPOT.feed("spot")
    assert types(feed, SPOT_QUOTE % 5, SPOT_QUOTE % 9, SPOT_QUOTE % 9, SPOT_QUOTE % 7, SPOT_QUOTE % 10) == [
        ["Quote"],
        ["Quote"],
        ["Notice"],
        ["Notice"],
        ["Quote"],
    ]
    # On spot, quotes have no time: the depth stream of the symbol tells that the ids began anew.
    assert types(feed, DEPTH % (5, 90, 95), DEPTH % (6, 1, 2), SPOT_QUOTE % 2) == [[], ["Reset"], ["Quote"]]


def rule_5_off_book() -> None:
    feed = USDM.feed("public")
    assert types(feed, trade(5), trade(6, kind=b"INSURANCE_FUND"), trade(7), trade(9, kind=b"ADL"), trade(10)) == [
        *(["Trade"], ["Notice"], ["Trade"], ["Gap", "Notice"], ["Trade"]),
    ]


def rule_6_foreign() -> None:
    liquidation = (
        b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":1,%s"o":{"s":"BTCUSD_PERP","S":"SELL","q":"1","p":"2","st":%d}}}'
    )
    contract = b'{"stream":"!contractInfo","data":{"e":"contractInfo","E":1,"s":"IOTAUSDT","ct":"PERPETUAL","cs":"TRADING","st":%d}}'
    quotes = b'{"stream":"!bookTicker","data":%s}' % (FUTURES_QUOTE[FUTURES_QUOTE.index(b'"data":') + 7 : -1])
    marks = b'{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate","E":1,"s":"A","p":"1","st":%d}]}'
    for make, kind in (
        (lambda st: AGGREGATE % (1, 1, st), Trade),
        (lambda st: quotes % (1, 1, 1, st), Quote),
        (lambda st: liquidation % (b"", st), Liquidation),
        (lambda st: liquidation % (b'"st":%d,' % st, 1), Liquidation),
        (lambda st: contract % st, Lifecycle),
        (lambda st: marks % st, Funding),
    ):
        record = one(USDM.feed("any"), make(2))
        assert isinstance(record, Notice) and record.kind == "foreign"
        assert type(one(USDM.feed("any"), make(1))) is kind


#: rule -> (its test, how the rule is taken away)
OFF: dict[str, tuple[Any, list[tuple[object, str, Any]]]] = {
    "1": (rule_1_holes, [(events, "Gap", lambda *a: Notice(0, "no gap"))]),
    "2": (rule_2_doubles, [(Counted, "time", lambda self: 1)]),
    "3": (rule_3_began_anew, [(Counted, "time", lambda self: 0)]),
    "4": (rule_4_quotes, [(Counted, "time", lambda self: -1)]),
    "5": (rule_5_off_book, [(events.wire, "trade", lambda data, real=events.wire.trade: _market(real(data)))]),
    "6": (rule_6_foreign, [(events, "_COINM", 3)]),
}


def _market(event: Any) -> Any:
    event.X = "MARKET"
    return event


@pytest.mark.parametrize("rule", OFF)
def test_each_rule(rule: str) -> None:
    OFF[rule][0]()


@pytest.mark.parametrize("rule", OFF)
def test_without_the_rule_its_test_fails(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prove, patches = OFF[rule]
    for owner, name, replacement in patches:
        monkeypatch.setattr(owner, name, replacement)
    with pytest.raises((AssertionError, ValueError, TypeError)):
        prove()


def test_the_side_is_the_takers() -> None:
    for maker, side in ((b"true", "sell"), (b"false", "buy")):
        record = one(USDM.feed("public"), trade(1, maker=maker))
        assert isinstance(record, Trade) and record.side == side and record.ts == 5_000_000


def test_without_books_the_same_gaps_and_notices_and_no_trades() -> None:
    frames = [trade(5), trade(6), trade(9), trade(9), trade(2, time=99), trade(3, time=99), SPOT_QUOTE % 5, SPOT_QUOTE % 9, SPOT_QUOTE % 7]
    whole, header = SPOT.feed("spot"), SPOT.feed("spot", books=False)
    for t, frame in enumerate(frames, 1):
        expected = [record for record in whole.receive(t, frame)[0] if not isinstance(record, Trade | Quote)]
        assert list(header.receive(t, frame)[0]) == expected
    for name, stream in whole.streams.items():
        assert (stream.first_id, stream.last_id) == (header.streams[name].first_id, header.streams[name].last_id)


def test_block_trades_have_ids_of_their_own() -> None:
    block = b'{"stream":"bnbbtc@blockTrade","data":{"e":"blockTrade","E":1,"s":"BNBBTC","t":%d,"p":"0.052","q":"5838","T":2,"m":true}}'
    assert types(SPOT.feed("spot"), block % 582, block % 600, block % 600) == [["Trade"], ["Trade"], ["Notice"]]


def test_every_documented_stream_has_its_decoder() -> None:
    """The payloads of the protocol sheet, sections 2.2, 3.3 and appendix A."""
    kline = b'{"e":"kline","E":1,"s":"BNBBTC","k":{"t":1,"T":2,"s":"BNBBTC","i":"1m","f":100,"L":200,"o":"1","c":"2","h":"3","l":"0","v":"9","n":1,"x":false,"q":"1"}}'
    day = b'{"e":"24hrTicker","E":1,"s":"BNBBTC","p":"0.0015","P":"250.00","w":"0.0018","x":"0.0009","c":"0.0025","Q":"10","b":"0.0024","B":"10","a":"0.0026","A":"100","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}'
    mark = b'{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15","i":"11784.6","P":"11784.2","r":"0.0003","T":1562306400000,"st":1}'
    for venue, stream, payload, kind in (
        (SPOT, b"bnbbtc@miniTicker", b'{"e":"24hrMiniTicker","E":1,"s":"BNBBTC","c":"0.0025"}', Notice),
        (SPOT, b"!miniTicker@arr", b'[{"e":"24hrMiniTicker","E":1,"s":"BNBBTC","c":"0.0025"}]', Notice),
        (SPOT, b"bnbbtc@ticker", day, Ticker),
        (SPOT, b"!ticker@arr", b"[%s]" % day, Ticker),
        (USDM, b"!ticker@arr", b"[%s]" % day.replace(b'"E"', b'"st":2,"E"'), Notice),
        (SPOT, b"bnbbtc@ticker_1h", b'{"e":"1hTicker","E":1,"s":"BNBBTC"}', Notice),
        (SPOT, b"btcusdt@avgPrice", b'{"e":"avgPrice","E":1,"s":"BTCUSDT","i":"5m","w":"25776.86000000","T":2}', Notice),
        (SPOT, b"bazusd@referencePrice", b'{"e":"referencePrice","s":"BAZUSD","r":null,"t":1770313263917}', Notice),
        (SPOT, b"bnbbtc@kline_1m@+08:00", kline, Candle),
        (USDM, b"btcusdt@kline_1m", kline, Candle),
        (USDM, b"btcusdt@markPrice@1s", mark, Funding),
        (USDM, b"btcusdt@compositeIndex", b'{"e":"compositeIndex","E":1,"s":"DEFIUSDT"}', Notice),
        (USDM, b"btcusdt_perpetual@continuousKline_1m", b'{"e":"continuous_kline","E":1,"ps":"BTCUSDT"}', Notice),
        (USDM, b"!assetIndex@arr", b'[{"e":"assetIndexUpdate","E":1,"s":"ADAUSD"}]', Notice),
        (USDM, b"btcusdt@ticker", b'{"e":"somethingNew","E":1}', Unknown),
        (USDM, b"btcusdt@somethingNew", b'{"e":"trade","E":1}', Unknown),
        (USDM, b"btcusdt@ticker", b'{"e":"24hrTicker"', Unknown),
    ):
        assert type(one(venue.feed("any"), b'{"stream":"%s","data":%s}' % (stream, payload))) is kind, stream
    assert isinstance(one(USDM.feed("any"), b'{"stream":"a@b","data":' + mark + b"}"), Unknown)


def test_a_reset_is_marked() -> None:
    feed = USDM.feed("public")
    feed.receive(1, trade(500, time=5))
    (reset, _), (mark,) = feed.receive(2, trade(1, time=9))
    assert isinstance(reset, Reset) and mark.kind == "reset" and mark.fields["channel"] == "trade"


def test_the_first_id_is_known_also_when_it_is_one() -> None:
    for first in (1, 7):
        for feed, frame, name in ((SPOT.feed("spot"), trade(first), "trade"), (USDM.feed("market"), AGGREGATE % (1, first, 1), "aggTrade")):
            feed.receive(1, frame)
            assert feed.streams[f"btcusdt@{name}"].first_id == first


def test_what_a_row_has_beside_price_and_size() -> None:
    """Ids of an aggregate's fills, the settlement's estimate, what a forced order was filled at, the last trade of a day: sheet 3.3."""
    trade = b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":2,"a":9,"s":"BTCUSDT","p":"1","q":"2","f":100,"l":105,"T":1,"m":true,"st":1}}'
    assert one(USDM.feed("any"), trade) == Trade(1, 1 * MS, "BTCUSDT", "aggTrade", "9", "1", "2", "sell", 2 * MS, 100, 105)
    mark = b'{"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":2,"s":"BTCUSDT","p":"10","i":"11","P":"12","r":"0.1","T":3,"st":1}}'
    assert one(USDM.feed("any"), mark) == Funding(1, 2 * MS, "BTCUSDT", "markPrice@1s", "10", "11", "0.1", 3 * MS, "12")
    forced = (
        b'{"stream":"btcusdt@forceOrder","data":{"e":"forceOrder","E":2,"o":{"s":"BTCUSDT","S":"BUY","o":"LIMIT","f":"IOC","q":"0.014",'
        b'"p":"4793.91","ap":"4706.04","X":"FILLED","l":"0.010","z":"0.014","T":1}}}'
    )
    wanted = Liquidation(1, 1 * MS, "BTCUSDT", "forceOrder", "4793.91", "0.014", "buy", "4706.04", "0.014", "FILLED")
    assert one(USDM.feed("any"), forced) == wanted
    day = (
        b'{"stream":"btcusdt@ticker","data":{"e":"24hrTicker","E":2,"s":"BTCUSDT","p":"0","P":"0","w":"4","c":"5","Q":"1","o":"2","h":"6","l":"1",'
        b'"v":"7","q":"8","O":0,"C":2,"F":0,"L":18150,"n":18151}}'
    )
    told = one(USDM.feed("any"), day)
    assert isinstance(told, Ticker) and (told.trades, told.last_id) == (18151, 18150)
