"""Reference prices: exact to the last digit, every missing second told, credentials kept."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from typing import Any

import pytest

from tape_archive.format.records import Gap, Notice, Record, ReferencePrice, Reset, Unknown
from tape_collectors.venues.polymarket import prices, wire
from tape_collectors.venues.polymarket.prices import PolyBoltFeed, RtdsFeed, Sources, after_close
from tape_collectors.venues.protocol import Command, Mark, Reconnect, Send
from tests.collectors.venues.polymarket.frames import SECOND, compact, real_bolts, real_prices
from tests.support.captures import captures
from tests.support.mutate import mutations, retyped

T = 1_788_600_400 * SECOND
FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))
SECRETS = ("key-1111", "secret-2222", "phrase-3333")
NAME = "crypto_prices_chainlink/btc/usd"


def tick(second: int, e18: str, topic: str = "crypto_prices_chainlink", symbol: str = "btc/usd", **more: Any) -> bytes:
    payload = {"full_accuracy_value": e18, "symbol": symbol, "timestamp": second * 1000, "value": 1.5} | more
    return compact({"connection_id": "c", "payload": payload, "timestamp": second * 1000 + 1400, "topic": topic, "type": "update"})


def snapshot(points: dict[int, float], topic: str = "crypto_prices", symbol: str = "btc/usd") -> bytes:
    data = [{"timestamp": second * 1000, "value": value} for second, value in points.items()]
    return compact({"payload": {"data": data, "symbol": symbol}, "timestamp": 1, "topic": topic, "type": "subscribe"})


def bolt(seq: int, second: int, price: str = "64126.00000000", channel: str = "price.crypto.twap", **more: Any) -> bytes:
    payload = {"symbol": "btcusd", "value": 1.0, "full_accuracy_value": price, "timestamp": second * 1000}
    return compact({"v": 1, "channel": channel, "seq": seq, "ts": second * 1000, "payload": payload} | more)


def values(records: Any) -> list[tuple[int, str]]:
    return [(record.ts // SECOND, record.price) for record in records if isinstance(record, ReferencePrice)]


def gaps(records: Any) -> list[tuple[int, int]]:
    return [(record.from_id, record.to_id) for record in records if isinstance(record, Gap)]


# -- RTDS --------------------------------------------------------------------------------------------------------------------------


def test_one_topic_a_frame_and_no_blank_in_the_filter() -> None:
    feed = RtdsFeed()
    feed.opened(T)
    commands = feed.want(T, ["crypto_prices_twap_sixty/btc/usd", "crypto_prices/btcusdt"])[1]
    assert [command.data for command in commands if isinstance(command, Send)] == [
        '{"action":"subscribe","subscriptions":[{"topic":"crypto_prices_twap_sixty","type":"update","filters":"{\\"symbol\\":\\"btc/usd\\"}"}]}',
        '{"action":"subscribe","subscriptions":[{"topic":"crypto_prices","type":"update","filters":"{\\"symbol\\":\\"btcusdt\\"}"}]}',
    ]
    said = {second: [c.data for c in feed.tick(T + second * SECOND) if isinstance(c, Send)] for second in range(1, 1300)}
    assert [second for second, texts in said.items() if "PING" in texts] == list(range(5, 1300, 5))
    assert [second for second, texts in said.items() if len(texts) == 3] == [600, 1200]
    assert len(feed.resubscribe(T, ["crypto_prices/btcusdt", "never/asked"])) == 1


@pytest.mark.captures
def test_every_real_frame_is_accounted_for() -> None:
    frames, feed = real_prices(captures()), RtdsFeed()
    assert len(frames) >= 11
    out = [record for _, frame in frames for record in feed.receive(T, frame)[0]]
    assert not any(isinstance(record, Unknown) for record in out)
    found = {(r.channel, r.symbol, r.window_s): r.price for r in out if isinstance(r, ReferencePrice) and r.ts >= 1788600388 * SECOND}
    assert found["crypto_prices_chainlink", "btc/usd", 0] == "79696.94817428796"
    assert found["crypto_prices_twap_sixty", "btc/usd", 60] == "79697.575317474428059648"
    assert found["crypto_prices_twap_thirty", "btc/usd", 30] == "79697.474565615044788224"
    assert found["crypto_prices", "btcusdt", 0] == "79697.73000000"
    assert [record.kind for record in out if isinstance(record, Notice)].count("error") == 1


def ticks() -> Iterator[tuple[int, str]]:
    path = captures() / "polymarket/ligengxin96-polymarket-data-samples/BTCUSD-prices-2026-06-08.csv.gz"
    with gzip.open(path, "rt") as rows:
        for row in csv.DictReader(rows):
            yield int(row["feed_ts_ms"]) // 1000, row["full_accuracy_value"]


@pytest.mark.captures
def test_a_real_day_of_chainlink_comes_back_to_the_digit_and_its_holes_are_the_gaps() -> None:
    """The CSV holds what the socket delivered on 2026-06-08; the frames around it are made here, in the shape of the real ones."""
    day, feed, out = list(ticks()), RtdsFeed(), []
    assert len(day) == 84_558
    for second, e18 in day:
        out += feed.receive(second * SECOND + 1_400_000_000, tick(second, e18))[0]
    assert not [record for record in out if not isinstance(record, ReferencePrice | Gap)]
    for (second, e18), (at, price) in zip(day, values(out), strict=True):
        assert second == at and int(Decimal(price).scaleb(18)) == int(e18) and not ("." in price and price.endswith("0"))
    there = {second for second, _ in day}
    missing = set(range(day[0][0], day[-1][0] + 1)) - there
    told = [second for first, last in gaps(out) for second in range(first, last + 1)]
    assert len(told) == len(set(told)) == len(missing) == 86_400 - 84_558 and set(told) == missing


@pytest.mark.captures
def test_strikes_of_real_windows_are_the_ticks_of_their_start() -> None:
    path = captures() / "polymarket/ligengxin96-polymarket-data-samples/BTC-5m-markets-2026-06-08.jsonl.gz"
    day = dict(ticks())
    with gzip.open(path) as file:
        rows = [json.loads(line) for line in file]
    agreed = [wire.decimal(row["strike_value"], -18) == wire.decimal(day[row["start_sec"]], -18) for row in rows if row["start_sec"] in day]
    assert len(agreed) >= 280 and all(agreed)
    assert sum(row["strike_value"] is None for row in rows) == 4


def rtds_1() -> None:
    feed = RtdsFeed()
    commands = feed.want(T, ["a/1", "b/2"])[1]
    assert (
        all(len(json.loads(c.data)["subscriptions"]) == 1 and " " not in c.data for c in commands if isinstance(c, Send))
        and len(commands) == 2
    )


def rtds_2() -> None:
    feed = RtdsFeed()
    feed.opened(T)
    assert [second for second in range(1, 12) if feed.tick(T + second * SECOND)] == [5, 10]


def rtds_3() -> None:
    feed, out = RtdsFeed(), []
    for frame in (tick(100, "1" + "0" * 18), snapshot({99: 7.5, 100: 8.5, 101: 9.5, 103: 6.5}), tick(104, "2" + "0" * 18)):
        out += feed.receive(T, frame)[0]
    assert values(out) == [(100, "1"), (99, "7.5"), (101, "9.5"), (103, "6.5"), (104, "2")]
    assert {record.channel for record in out if isinstance(record, ReferencePrice)} == {"crypto_prices_chainlink"}
    assert gaps(out) == [(102, 102)]


def rtds_4() -> None:
    feed = RtdsFeed()
    scaled = feed.receive(T, tick(100, "79697575317474428059648", "crypto_prices_twap_sixty"))[0]
    plain = feed.receive(T, tick(100, "79697.73000000", "crypto_prices", "btcusdt"))[0]
    whole = feed.receive(T, tick(101, "79697", "crypto_prices", "btcusdt"))[0]
    rounded = feed.receive(T, tick(101, "", "crypto_prices_twap_sixty", value=0.00001))[0]
    assert [values(one)[0][1] for one in (scaled, plain, whole, rounded)] == [
        "79697.575317474428059648",
        "79697.73000000",
        "79697",
        "0.00001",
    ]


def bolt_5() -> None:
    feed = PolyBoltFeed(SECRETS)
    first = feed.opened(T)[1]
    assert feed.want(T, ["price.crypto.twap/btcusd", "price.crypto/btcusd"])[1] == ()
    records, commands = feed.receive(T, b'{"op":"authed","rid":"a1"}')
    ask = next(json.loads(command.data) for command in commands if isinstance(command, Send))
    assert ask["subscriptions"] == [
        {"channel": "price.crypto.twap", "filter": {"symbol": "btcusd", "window_seconds": 60}},
        {"channel": "price.crypto", "filter": {"symbol": "btcusd", "provider": "chainlink"}},
    ]
    assert values(feed.receive(T, bolt(1, 100, "64126.00000000"))[0]) == [(100, "64126.00000000")]
    echoed = feed.receive(T, compact({"op": "error", "code": f"bad {SECRETS[1]}", "channel": SECRETS[0]}))
    wrong = feed.receive(T, bolt(2, 101, SECRETS[2]))
    said = repr((records, [c for c in commands if isinstance(c, Mark)], echoed, wrong, feed, feed.checkpoint(), feed.streams))
    assert not any(secret in said for secret in SECRETS) and isinstance(wrong[0][0], Unknown)
    assert [json.loads(c.data)["auth"] for c in first if isinstance(c, Send)] == [
        dict(zip(("apiKey", "secret", "passphrase"), SECRETS, strict=True))
    ]


def bolt_6() -> None:
    feed, out = PolyBoltFeed(SECRETS), []
    feed.opened(T)
    for frame in (
        bolt(2, 100),
        bolt(3, 101),
        bolt(6, 102, dropped=2),
        bolt(1, 103, channel="price.crypto"),
        bolt(7, 103, dropped=4),
        bolt(1, 104),
    ):
        out += [r for r in feed.receive(T, frame)[0] if isinstance(r, Gap | Reset)]
    assert gaps(out) == [(1, 1), (4, 5), (0, 0)] and feed.dropped == 6
    assert [type(record) for record in out][-1] is Reset
    assert not gaps(PolyBoltFeed(SECRETS).receive(T, bolt(77, 100))[0]), "a reader may start in mid-tape"


def both_7() -> None:
    one = "1" + "0" * 18
    feed, out = RtdsFeed(), []
    for second, price in [(100, one), (103, one), (101, one), (103, one), (103, "2" + "0" * 18), (104, one)]:
        out += feed.receive(T, tick(second, price))[0]
    assert values(out) == [(100, "1"), (103, "1"), (101, "1"), (103, "2"), (104, "1")]
    assert gaps(out) == [(101, 102)] and [r.kind for r in out if isinstance(r, Notice)] == ["duplicate"]


Series = prices._Series
RULES: list[tuple[Any, Any, str, Any]] = [
    (rtds_1, RtdsFeed, "_subscription", lambda self, name: Send('{"subscriptions": [{"topic": "a"}, {"topic": "b"}]}')),
    (rtds_2, prices, "_PING_NS", 20 * SECOND),
    (
        rtds_3,
        RtdsFeed,
        "_ticks",
        lambda self, t, topic, payload: [] if payload.data else self._prices(t, "btc/usd", topic, payload, scaled=True, window_s=0),
    ),
    (rtds_4, prices, "exact", lambda value, full, *, scaled: full or "1"),
    (bolt_5, PolyBoltFeed, "_hidden", lambda self, text: text),
    (bolt_6, PolyBoltFeed, "_sequence", lambda self, t, channel, frame: []),
    (both_7, Series, "_price", lambda self, record, *, known: [record]),
]


@pytest.mark.parametrize(("rule", "where", "name", "broken"), RULES, ids=[row[0].__name__ for row in RULES])
def test_each_rule_is_kept_and_its_absence_seen(rule: Any, where: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError):
        rule()


def test_a_dead_topic_still_sends_a_snapshot_and_is_not_called_alive() -> None:
    feed = RtdsFeed()
    feed.want(T, [NAME])
    feed.receive(T, snapshot({99: 1.5}))
    assert feed.streams[NAME].frames == 0
    feed.receive(T, tick(100, "1"))
    assert feed.streams[NAME].frames == 1


@pytest.mark.captures
def test_a_refused_topic_is_a_mark() -> None:
    frame = next(frame for _, frame in real_prices(captures()) if b"statusCode" in frame)
    commands = RtdsFeed().receive(T, frame)[1]
    assert [(c.kind, c.fields["status"]) for c in commands if isinstance(c, Mark)] == [("source", "refused")]


def test_gaps_are_marks_too() -> None:
    feed = RtdsFeed()
    feed.receive(T, tick(100, "1"))
    records, commands = feed.receive(T + SECOND, tick(105, "1"))
    assert gaps(records) == [(101, 104)]
    assert [(c.kind, c.fields["from_id"], c.fields["to_id"], c.fields["from_ns"]) for c in commands if isinstance(c, Mark)] == [
        ("gap", 101, 104, T)
    ]


def test_memory_of_seconds_is_bounded() -> None:
    feed = RtdsFeed()
    for second in range(10_000):
        feed.receive(T, tick(1 + second, "1"))
    assert all(len(seen) <= 2 * prices.REMEMBERED_S for seen in feed._seen.values())


# -- PolyBolt ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.captures
def test_the_documented_frames() -> None:
    feed, out, commands = PolyBoltFeed(SECRETS), [], list[Command]()
    for frame in real_bolts(captures()):
        records, more = feed.receive(T, frame)
        out += records
        commands += more
    assert not any(isinstance(record, Unknown | Gap) and getattr(record, "channel", "") != "price.crypto" for record in out)
    assert values(out) == [(1788972880, "64123.50000000"), (1788972881, "64125.10000000"), (1788973001, "64126.00000000")]
    assert gaps(out) == [(1788972882, 1788973000)]
    assert ("source", "auth_required") in [(c.kind, c.fields["why"]) for c in commands if isinstance(c, Mark)]
    twap = feed.receive(T, bolt(1, 100))[0]
    assert [(r.window_s, r.source) for r in twap if isinstance(r, ReferencePrice)] == [(60, "polybolt")]


def test_expired_credentials_ask_for_a_new_connection() -> None:
    commands = PolyBoltFeed(SECRETS).receive(T, b'{"op":"error","code":"auth_expired"}')[1]
    assert [type(command) for command in commands] == [Mark, Reconnect]


@pytest.mark.fuzz
@pytest.mark.parametrize("make", [RtdsFeed, lambda: PolyBoltFeed(SECRETS)], ids=["rtds", "polybolt"])
@pytest.mark.captures
def test_fuzz(make: Any) -> None:
    frames = [frame for _, frame in real_prices(captures())] + real_bolts(captures()) + [bolt(9, 100, dropped=1), tick(5, "1" * 22)]
    feed, seen = make(), set[type[Record]]()
    feed.opened(T)
    for number, frame in enumerate(chain(mutations(frames, FUZZ, seed=5), retyped(frames, FUZZ // 4, seed=5))):
        records, _ = feed.receive(T + number, frame)
        assert records, frame
        for record in records:
            seen.add(type(record))
            if isinstance(record, ReferencePrice):
                Decimal(record.price)
                assert record.ts > 0 and "e" not in record.price.lower()
    assert {Unknown, ReferencePrice, Notice} <= seen


# -- which source ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "again"), [(4001, False), (4002, True), (4003, True), (4008, False), (1006, True), (0, True)])
def test_close_codes(code: int, again: bool) -> None:
    close = after_close(code)
    assert close.again is again and close.least_s <= close.most_s <= 30 and close.why
    assert ("POLY_API_KEY" in close.why) == (code == 4001)


def test_each_decision_is_a_mark() -> None:
    sources = Sources(credentials=True)
    said = [sources.chosen(), sources.failed("auth_invalid"), sources.failed("silent"), sources.failed("again")]
    fields = [[(c.fields["channel"], c.fields["status"]) for c in commands if isinstance(c, Mark)] for commands in said]
    assert fields == [
        [("polybolt", "tried")],
        [("polybolt", "refused"), ("rtds", "tried")],
        [("rtds", "refused"), ("reference", "absent")],
        [],
    ]
    assert sources.name == "" and Sources(credentials=False).name == "rtds"
