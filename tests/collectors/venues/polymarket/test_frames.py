"""Every captured frame is accounted for; broken ones are survived; the book is as good as a feed without numbers can be."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format.records import (
    BookDelta,
    BookLost,
    BookSnapshot,
    Gap,
    Notice,
    Quote,
    Record,
    ReferencePrice,
    TickSize,
    Trade,
    Unknown,
)
from tape_collectors.market.book import Book
from tape_collectors.venues.polymarket import depth
from tape_collectors.venues.polymarket.depth import AssetBook
from tape_collectors.venues.polymarket.feed import ClobFeed
from tape_collectors.venues.polymarket.prices import PolyBoltFeed, RtdsFeed
from tape_collectors.venues.polymarket.windows import Windows
from tape_collectors.venues.protocol import Mark, Send
from tests.support.captures import captures
from tests.support.mutate import mutations

FUZZ = int(os.environ.get("TAPE_FUZZ", "200000"))
SAMPLES = "ligengxin96-polymarket-data-samples"


def root() -> Path:
    return captures() / "polymarket"


def clob_frames() -> list[bytes]:
    out: list[bytes] = []
    for name in ("market_frames_live.jsonl", "market_frames_doc_derived.jsonl"):
        out += (root() / "netqo-polymarket-scraper" / name).read_bytes().splitlines()
    for path in [
        *(root() / "nautilus_trader" / "ws_messages").glob("*.json"),
        *(root() / "nautilus_trader" / "rust_test_data").glob("ws_*.json"),
    ]:
        value = json.loads(path.read_bytes())
        out += [json.dumps(one, separators=(",", ":")).encode() for one in (value if isinstance(value, list) else [value])]
    return out


def rtds_frames() -> list[bytes]:
    out = (root() / "polyoxide-rtds-2026-09-05" / "rtds_frames.jsonl").read_bytes().splitlines()
    out += [
        json.dumps(json.loads(path.read_bytes())).encode() for path in (root() / "nautilus_trader" / "rust_test_data").glob("rtds_*.json")
    ]
    return out


def bolt_frames() -> list[bytes]:
    return (root() / "docs-examples" / "polybolt_doc_examples.jsonl").read_bytes().splitlines()


@pytest.mark.captures
def test_every_captured_frame_is_accounted_for() -> None:
    feeds: list[tuple[Any, list[bytes]]] = [
        (ClobFeed(), clob_frames()),
        (RtdsFeed(), rtds_frames()),
        (PolyBoltFeed(("k", "s", "p")), bolt_frames()),
    ]
    kinds: Counter[str] = Counter()
    for feed, frames in feeds:
        assert frames
        for frame in frames:
            for record in feed.receive(1, frame)[0]:
                assert not isinstance(record, Unknown), (record, frame[:300])
                kinds[type(record).__name__] += 1
    assert {"BookSnapshot", "Trade", "Quote", "TickSize", "Lifecycle", "ReferencePrice"} <= set(kinds)


@pytest.mark.captures
@pytest.mark.parametrize("name", ["clob", "rtds", "polybolt", "gamma"])
def test_mutated_frames_never_raise_and_the_feed_goes_on(name: str) -> None:
    with gzip.open(root() / SAMPLES / "BTC-5m-markets-2026-06-08.jsonl.gz") as file:
        row = json.loads(next(file))
    event = json.dumps({"slug": row["slug"], "markets": [row["raw"]], "eventMetadata": {"priceToBeat": 1.5}}).encode()
    windows = Windows([("btc", "5m")])
    windows.tick(row["start_sec"] * 10**9)
    feeds: dict[str, tuple[Any, list[bytes]]] = {
        "clob": (ClobFeed(), clob_frames()),
        "rtds": (RtdsFeed(), rtds_frames()),
        "polybolt": (PolyBoltFeed(("k", "s", "p")), bolt_frames()),
        "gamma": (None, [event, b'{"t":[{"t":"1","o":"Up"}]}']),
    }
    feed, frames = feeds[name]
    count = FUZZ if feed else FUZZ // 4
    for number, frame in enumerate(mutations(frames, count, seed=3)):
        if feed is not None:
            feed.receive(number + 1, frame)
        else:
            windows.fetched(number + 1, f"GET /events/slug/{row['slug']}", 200, frame)
            if number % 40 == 0:
                life = windows.lives[row["slug"]]
                if life.facts:
                    windows.fetched(number, f"GET /clob-markets/{life.facts.condition}", 200, frame)
    if feed is not None:
        assert feed.receive(count + 2, frames[0])[0] and not isinstance(feed.receive(count + 3, frames[0])[0][0], Unknown)


@pytest.mark.captures
def test_a_day_of_chainlink_ticks_keeps_its_exact_prices_and_its_holes() -> None:
    feed = RtdsFeed()
    with gzip.open(root() / SAMPLES / "BTCUSD-prices-2026-06-08.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    found: list[tuple[int, int]] = []
    prices = 0
    seconds = [int(row["feed_ts_ms"]) // 1000 for row in rows]
    for row in rows:
        payload = {
            "full_accuracy_value": row["full_accuracy_value"],
            "symbol": "btc/usd",
            "timestamp": int(row["feed_ts_ms"]),
            "value": float(row["value"]),
        }
        frame = {"payload": payload, "timestamp": int(row["server_ts_ms"]), "topic": "crypto_prices_chainlink", "type": "update"}
        for record in feed.receive(int(row["recv_ms"]) * 10**6, json.dumps(frame).encode())[0]:
            if isinstance(record, ReferencePrice):
                assert Decimal(record.price) == Decimal(row["full_accuracy_value"]).scaleb(-18)
                prices += 1
            elif isinstance(record, Gap):
                found.append((record.from_id, record.to_id))
            else:
                assert isinstance(record, Notice) and record.kind == "late"
    newest, holes = seconds[0], []
    for second in seconds[1:]:
        if second > newest + 1:
            holes.append((newest + 1, second - 1))
        newest = max(newest, second)
    assert len(rows) == 84_558 and prices > 84_000 and found == holes and len(holes) > 100


# -- the book ------------------------------------------------------------------------------------------------------------------------


def book_event(bids: dict[str, str], asks: dict[str, str], ts: int, name: str = "h") -> bytes:
    sides = {side: [{"price": p, "size": s} for p, s in levels.items()] for side, levels in (("bids", bids), ("asks", asks))}
    return json.dumps({"event_type": "book", "asset_id": "1", "market": "0x1", "timestamp": str(ts), "hash": name, **sides}).encode()


def change(price: str, size: str, side: str, ts: int, best: tuple[str, str] = ("", "")) -> bytes:
    leg = {"asset_id": "1", "price": price, "size": size, "side": side, "best_bid": best[0], "best_ask": best[1]}
    return json.dumps({"event_type": "price_change", "market": "0x1", "timestamp": str(ts), "price_changes": [leg]}).encode()


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_the_book_is_the_venues_or_loses_its_proof(seed: int) -> None:
    """What holds without sequence numbers: doubled and overtaken frames change nothing; a lost frame is repaired by the next ``book``, and a lost frame
    that shows in the best prices takes the proof away within three frames."""
    chance = random.Random(seed)
    feed, mine = ClobFeed(), Book()
    bids, asks = {"0.4": "5"}, {"0.6": "5"}
    proven = dropped = False
    frames: list[tuple[bytes, bool]] = [(book_event(bids, asks, 1000, "h0"), False)]
    states = [(dict(bids), dict(asks))]
    for step in range(1, 50):
        side, book = chance.choice([("BUY", bids), ("SELL", asks)])
        price = f"0.{chance.randint(1, 49) if side == 'BUY' else chance.randint(51, 99):02d}".rstrip("0")
        size = chance.choice(["0", "1", "2"])
        if size == "0" and (price not in book or len(book) == 1):
            size = "3"
        if size == "0":
            del book[price]
        else:
            book[price] = size
        best = (max(bids, key=float), min(asks, key=float))
        whole = chance.random() < 0.1
        frame = book_event(bids, asks, 1000 + step, f"h{step}") if whole else change(price, size, side, 1000 + step, best)
        frames.append((frame, whole))
        states.append((dict(bids), dict(asks)))
    for step, (frame, whole) in enumerate(frames):
        if step and not whole and chance.random() < 0.05:
            dropped = True
            continue
        copies = [frame] * (2 if chance.random() < 0.1 else 1)
        if step and chance.random() < 0.1:
            copies.append(frames[chance.randrange(step)][0])
        for copy in copies:
            for record in feed.receive(step + 1, copy)[0]:
                if isinstance(record, BookSnapshot):
                    mine.replace(record.bids, record.asks)
                    proven = True
                elif isinstance(record, BookDelta):
                    mine.apply(record.bids, record.asks)
                elif isinstance(record, BookLost):
                    proven = False
        if whole:
            dropped = False
        if proven and not dropped:
            got = tuple(dict(side) for side in mine.levels())
            assert got == states[step], f"seed {seed}, step {step}"


def records(*frames: bytes) -> list[Record]:
    feed = ClobFeed()
    return [record for t, frame in enumerate(frames, 1) for record in feed.receive(t, frame)[0]]


def names(*frames: bytes) -> list[str]:
    return [type(record).__name__ for record in records(*frames)]


START = book_event({"0.4": "5"}, {"0.6": "5"}, 1000)


def rule_1() -> None:
    assert names(START, book_event({"0.3": "1"}, {"0.7": "1"}, 1001, "i")) == ["BookSnapshot", "BookSnapshot"]


def rule_3() -> None:
    assert names(change("0.4", "1", "BUY", 1000)) == ["Notice"]


def rule_4() -> None:
    assert names(START, change("0.4", "1", "BUY", 999)) == ["BookSnapshot", "Notice"]
    assert names(START, change("0.4", "1", "BUY", 1005), change("0.4", "2", "BUY", 1003)) == ["BookSnapshot", "BookDelta", "Notice"]


def rule_5() -> None:
    assert names(START, START) == ["BookSnapshot", "Notice"]


def rule_6() -> None:
    tick = (
        b'{"event_type":"tick_size_change","asset_id":"1","market":"0x1","old_tick_size":"0.01","new_tick_size":"0.001","timestamp":"1001"}'
    )
    assert names(START, tick) == ["BookSnapshot", "TickSize", "BookLost"]


def rule_7() -> None:
    wrong = [change("0.2", "1", "BUY", 1001 + n, ("0.5", "0.6")) for n in range(3)]
    assert names(START, *wrong)[-1] == "BookLost"


def test_what_a_lost_book_asks_for() -> None:
    feed = ClobFeed()
    feed.want(1, ["1+2"])
    feed.receive(1, START)
    for n in range(3):
        output = feed.receive(2, change("0.2", "1", "BUY", 1001 + n, ("0.5", "0.6")))
    assert [type(command) for command in output[1]] == [Mark, Send, Send]


RULES: dict[str, tuple[Any, object, str, Any]] = {
    "1": (rule_1, AssetBook, "snapshot", lambda self, t, event: []),
    "3": (rule_3, AssetBook, "live", True),
    "4": (rule_4, depth, "milliseconds", lambda text: 0),
    "5": (rule_5, AssetBook, "seen", property(lambda self: ("", ""), lambda self, value: None)),
    "6": (rule_6, AssetBook, "lose", lambda self, t, why: []),
    "7": (rule_7, AssetBook, "agree", lambda self, t, leg: []),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_and_that_its_test_fails_without_it(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prove, owner, name, replacement = RULES[rule]
    prove()
    if rule == "3":
        monkeypatch.setattr(AssetBook, "leg", lambda self, t, ts, leg: [BookDelta(t, ts, self.asset, "price_change", 0, 0, [], [])])
    elif rule == "4":
        import tape_collectors.venues.polymarket.feed as feed

        monkeypatch.setattr(feed.wire, "milliseconds", lambda text: 5)
    else:
        monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(AssertionError):
        prove()


def test_sides_and_levels_are_the_venues() -> None:
    trade = b'{"market":"0x1","asset_id":"1","price":"0.585","size":"2.46","side":"SELL","timestamp":"1786728467101","event_type":"last_trade_price"}'
    (record,) = records(trade)
    assert isinstance(record, Trade) and record.side == "sell" and record.ts == 1786728467101 * 10**6
    (book,) = records(book_event({"0.001": "1", ".48": "2"}, {"0.99": "1", "0.490": "2"}, 5))
    assert isinstance(book, BookSnapshot) and book.bids[-1] == ("0.48", "2") and book.asks[-1] == ("0.49", "2")
    (quote,) = records(b'{"market":"0x1","asset_id":"1","best_bid":"0.5","best_ask":"0.6","timestamp":"5","event_type":"best_bid_ask"}')
    assert isinstance(quote, Quote) and (quote.bid, quote.ask) == ("0.5", "0.6")
    assert isinstance(
        records(b'{"event_type":"tick_size_change","asset_id":"1","old_tick_size":"0.01","new_tick_size":"0.001"}')[0], TickSize
    )


# -- sockets of prices -----------------------------------------------------------------------------------------------------------------


def test_rtds_sends_one_topic_a_frame_without_blanks_and_pings() -> None:
    feed = RtdsFeed()
    sent = feed.want(1, ["crypto_prices_twap_sixty/btc/usd", "crypto_prices_twap_sixty/eth/usd"])[1]
    bodies = [json.loads(command.data) for command in sent if isinstance(command, Send)]
    assert [len(body["subscriptions"]) for body in bodies] == [1, 1]
    assert bodies[0]["subscriptions"][0]["filters"] == '{"symbol":"btc/usd"}'
    assert feed.tick(4 * 10**9) == [] and [command.data for command in feed.tick(6 * 10**9) if isinstance(command, Send)] == ["PING"]
    assert len(feed.tick(700 * 10**9)) == 3


def test_polybolt_keeps_its_credentials_to_itself() -> None:
    secret = ("key-123", "secret-456", "pass-789")
    feed = PolyBoltFeed(secret)
    (auth,) = feed.opened(1)[1]
    assert isinstance(auth, Send) and "secret-456" in auth.data
    feed.want(1, ["price.crypto.twap/btcusd"])
    outputs = [
        feed.receive(2, frame) for frame in (b'{"op":"authed","rid":"a1"}', b'{"op":"error","code":"auth_invalid","rid":"a1"}', b"{garbage")
    ]
    assert any(isinstance(command, Send) and "window_seconds" in command.data for command in outputs[0][1])
    said = repr(outputs) + repr(feed) + repr(feed.streams) + repr(feed.checkpoint())
    assert not any(word in said for word in secret)


def test_polybolt_counts_its_frames() -> None:
    feed = PolyBoltFeed(("k", "s", "p"))
    frame = '{"v":1,"channel":"price.crypto","seq":%d,"ts":1,"payload":{"symbol":"btcusd","value":1.5,"full_accuracy_value":"1.50","timestamp":%d}}'
    feed.receive(1, (frame % (2, 1000)).encode())
    found = [r for r in feed.receive(2, (frame % (5, 2000)).encode())[0] if isinstance(r, Gap)]
    assert [(gap.from_id, gap.to_id) for gap in found] == [(3, 4)]
