"""Feeds of the whole market: sequences anchored without keeping books, every delta given to a reader, open interest asked in turn."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.records import BookDelta, BookSnapshot, Gap, Notice, OpenInterest, Record, Reset, Unknown
from tape_collectors.venues.binance import USDM
from tape_collectors.venues.binance.market import Anchored, Polls
from tape_collectors.venues.protocol import Command, Fetch

SECOND = 10**9


def depth(u: int, pu: int, E: int = 0, symbol: str = "btcusdt") -> bytes:
    name = symbol.upper().encode()
    return (
        b'{"stream":"%s@depth@100ms","data":{"e":"depthUpdate","E":%d,"T":1,"s":"%s","U":%d,"u":%d,"pu":%d,"b":[["1.50","2"]],"a":[]}}'
        % (*(symbol.encode(), E or u, name, pu + 1, u, pu),)
    )


def snapshot(number: int) -> bytes:
    return b'{"lastUpdateId":%d,"E":1,"T":1,"bids":[["1.50","2"]],"asks":[["1.60","1"]]}' % number


def fetches(commands: Sequence[Command]) -> list[Fetch]:
    return [one for one in commands if isinstance(one, Fetch)]


ASK = "GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000"


def anchored() -> Anchored:
    feed = USDM.anchored("public")
    assert isinstance(feed, Anchored)
    feed.want(1, ["btcusdt@depth@100ms"])
    return feed


def test_each_book_is_anchored_once_and_again_after_each_gap() -> None:
    feed = anchored()
    records, commands = feed.receive(2, depth(110, 100))
    assert not records and [one.request for one in fetches(commands)] == [ASK] and fetches(commands)[0].weight == 20
    assert feed.receive(3, depth(120, 110)) == ((), ()), "asked once"
    assert feed.unanchored() == 1
    assert feed.fetched(4, ASK, snapshot(115)) == ((), ()) and feed.unanchored() == 0
    assert not fetches(feed.receive(5, depth(130, 120))[1])
    records, commands = feed.receive(6, depth(150, 140))
    assert [type(one) for one in records] == [Gap] and fetches(commands)[0].request == ASK and feed.unanchored() == 1


def test_a_snapshot_from_before_the_stream_is_asked_again_later() -> None:
    feed = anchored()
    feed.receive(2, depth(110, 100))
    records, commands = feed.fetched(3, ASK, snapshot(99))
    assert isinstance(records[0], Notice) and fetches(commands)[0].delay_s > 0
    assert feed.fetched(4, ASK, snapshot(100)) == ((), ()), "the first event follows it"
    assert feed.unanchored() == 0
    feed = anchored()
    feed.receive(2, depth(110, 100))
    assert feed.fetched(3, ASK, snapshot(5000)) == ((), ()), "the stream comes to it"


def test_an_unreadable_snapshot_and_one_that_never_comes() -> None:
    feed = anchored()
    feed.receive(2, depth(110, 100))
    records, commands = feed.fetched(3, ASK, b"<html>")
    assert isinstance(records[0], Unknown) and fetches(commands)
    assert feed.tick(4) == [] and fetches(feed.tick(3600 * SECOND))


def test_another_feed_s_snapshot_serves() -> None:
    one, other = anchored(), anchored()
    for feed in (one, other):
        feed.receive(2, depth(110, 100))
        feed.fetched(3, ASK, snapshot(112))
    assert one.unanchored() == other.unanchored() == 0


@given(st.lists(st.sampled_from(["next", "hole", "twice", "late"]), min_size=1, max_size=40))
def test_whole_gives_every_new_delta_and_names_every_hole(steps: list[str]) -> None:
    feed = USDM.whole("public")
    at, sent, holes = 100, [], 0
    records: list[Record] = []
    feed.receive(1, depth(100, 90, E=100))
    for step in steps:
        before = at
        if step in ("twice", "late"):
            records += feed.receive(2, depth(at if step == "twice" else at - 5, at - 10, E=at - (step == "late")))[0]
            continue
        if step == "hole":
            before += 7
            holes += 1
        at = before + 10
        sent.append((before, at))
        records += feed.receive(2, depth(at, before, E=at))[0]
    deltas = [one for one in records if isinstance(one, BookDelta)]
    assert [(one.previous, one.last) for one in deltas] == sent
    assert sum(isinstance(one, Gap) for one in records) == holes
    assert sum(isinstance(one, Notice) for one in records) == steps.count("twice") + steps.count("late")


def test_whole_begins_anywhere_and_knows_a_new_beginning() -> None:
    feed = USDM.whole("public")
    (delta,) = feed.receive(2, depth(110, 100))[0]
    assert isinstance(delta, BookDelta) and (delta.first, delta.last, delta.previous) == (101, 110, 100)
    records = feed.receive(3, depth(50, 40, E=1000))[0]
    assert [type(one) for one in records] == [Reset, BookDelta]
    (book,) = feed.fetched(4, ASK, snapshot(60))[0]
    assert isinstance(book, BookSnapshot) and book.id == 60
    assert feed.fetched(4, "GET /fapi/v1/openInterest?symbol=BTCUSDT", b"{}") == ((), ())


def test_open_interest_is_asked_evenly_within_the_weight() -> None:
    polls = Polls(every_s=5.0, weight=1200)
    names = [f"s{at}usdt@openInterest" for at in range(600)]
    polls.want(0, names)
    assert polls.period_ns() == 30 * SECOND, "600 symbols at 20 a second"
    asked: list[str] = []
    for second in range(1, 61):
        some = fetches(polls.tick(second * SECOND))
        assert len(some) <= 22
        for one in some:
            symbol = one.request.partition("=")[2]
            asked.append(symbol)
            body = msgspec.json.encode({"symbol": symbol, "openInterest": "10659.509", "time": second * 1000})
            (record,) = polls.fetched(second * SECOND, one.request, body)[0]
            assert isinstance(record, OpenInterest) and (record.symbol, record.size) == (symbol, "10659.509")
    assert len(asked) in range(1190, 1222) and set(asked) == {name.partition("@")[0].upper() for name in names}


def test_few_symbols_are_asked_every_five_seconds_and_an_unanswered_one_not_again_at_once() -> None:
    polls = Polls()
    polls.want(0, ["btcusdt@openInterest"])
    asked = [len(fetches(polls.tick(second * SECOND))) for second in range(0, 70)]
    assert sum(asked) == 2, "given up after a minute"
    polls.fetched(70 * SECOND, "GET /fapi/v1/openInterest?symbol=BTCUSDT", b'{"openInterest":"1","symbol":"BTCUSDT","time":1}')
    assert sum(len(fetches(polls.tick(second * SECOND))) for second in range(71, 76)) == 1
    # After a pause (a suspended machine) there is no burst.
    assert len(fetches(polls.tick(10_000 * SECOND))) <= 1
    polls.want(10_001 * SECOND, [])
    assert polls.tick(10_010 * SECOND) == []
