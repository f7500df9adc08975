"""What every venue and market must show over real frames: all accounted for, trades and books as a plain reading of the sheet has them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Quote, Record, Reset, Trade, Unknown
from tape_collectors.market.book import Book
from tape_collectors.venues import load
from tests.support import frames
from tests.support.captures import captures
from tests.support.frames import FRAMES, dictionaries

VENUES = list(FRAMES)
#: what stands in a frame of a channel, of any product of the venue
CHANNEL = {"binance": b'"stream"', "okx": b'"arg"', "bybit": b'"topic"', "gate": b'"channel"', "mexc": b"spot@public"}
#: what one contract is, of every contract that the captures name
CONTRACTS = {"okx_swap": "0.01", "gate_usdt": "0.0001"}
Plain = tuple[str, Decimal, Decimal, str]


def feed_of(venue: str) -> Any:
    """A feed that knows what every contract of the captures is."""
    feed = load(venue).feed("any")
    if venue in CONTRACTS:
        list(feed._contracts.told(known(venue)))
    return feed


@cache
def known(venue: str) -> tuple[tuple[str, str], ...]:
    names = {str(value) for frame in FRAMES[venue]() if len(frame) < 20_000 for value in instruments(frame)}
    return tuple((name, CONTRACTS[venue]) for name in sorted(names))


def instruments(frame: bytes) -> Iterator[object]:
    try:
        found = list(dictionaries(frame))
    except ValueError:
        return
    for one in found:
        yield from (one[key] for key in ("instId", "contract", "s") if isinstance(one.get(key), str))
        if isinstance(name := one.get("n"), str):
            yield name.partition("_")[2]


def decoded(venue: str, some: list[bytes]) -> list[tuple[bytes, list[Record]]]:
    """The records of each frame, on one connection."""
    feed = feed_of(venue)
    return [(frame, list(feed.receive(t, frame)[0])) for t, frame in enumerate(some, 1)]


@pytest.mark.captures
@pytest.mark.parametrize("venue", VENUES)
def test_every_frame_is_accounted_for(venue: str) -> None:
    """Each frame on a connection of its own (single frames do not follow each other); REST replies that lie among them have no channel."""
    word = CHANNEL[venue.partition("_")[0]]
    data = 0
    for t, frame in enumerate(FRAMES[venue](), 1):
        records = feed_of(venue).receive(t, frame)[0]
        assert not any(isinstance(record, Unknown) for record in records) or word not in frame, (frame[:200], records)
        data += any(isinstance(record, Trade | Quote | BookSnapshot | BookDelta) for record in records)
    assert data >= {"mexc": 8, "gate": 14}.get(venue.partition("_")[0], 15), "and data came of them"


# -- trades ---------------------------------------------------------------------------------------------------------------------------


def binance(frame: dict[str, Any]) -> Iterator[Plain]:
    event = frame.get("data", frame)
    if event.get("e") in ("trade", "aggTrade") and event.get("X", "MARKET") == "MARKET":
        number = event["t"] if event["e"] == "trade" else event["a"]
        yield str(number), Decimal(event["p"]), Decimal(event["q"]), "sell" if event["m"] else "buy"


def okx(frame: dict[str, Any]) -> Iterator[Plain]:
    if frame.get("arg", {}).get("channel") in ("trades", "trades-all"):
        for row in frame.get("data", ()):
            yield row["tradeId"], Decimal(row["px"]), Decimal(row["sz"]), row["side"]


def bybit(frame: dict[str, Any]) -> Iterator[Plain]:
    if frame.get("topic", "").startswith("publicTrade."):
        for row in frame["data"]:
            yield row["i"], Decimal(row["p"]), Decimal(row["v"]), row["S"].lower()


def gate_spot(frame: dict[str, Any]) -> Iterator[Plain]:
    if frame.get("channel") == "spot.trades" and frame.get("event") == "update":
        row = frame["result"]
        yield str(row.get("id_market") or row["id"]), Decimal(row["price"]), Decimal(row["amount"]), row["side"]


def gate_usdt(frame: dict[str, Any]) -> Iterator[Plain]:
    if frame.get("channel") == "futures.trades" and frame.get("event") == "update":
        for row in frame["result"]:
            size = Decimal(str(row["size"]))
            yield str(row["id"]), Decimal(str(row["price"])), abs(size), "buy" if size > 0 else "sell"


PLAIN: dict[str, Callable[[dict[str, Any]], Iterator[Plain]]] = {
    **{"binance_spot": binance, "binance_usdm": binance, "okx_spot": okx, "okx_swap": okx},
    **{"bybit_spot": bybit, "bybit_linear": bybit, "gate_spot": gate_spot, "gate_usdt": gate_usdt},
}


@pytest.mark.captures
@pytest.mark.parametrize("venue", PLAIN)
def test_trades_are_what_a_plain_reading_says(venue: str) -> None:
    """Ids, sides, prices and sizes. Sizes of contracts are in base coins."""
    unit = Decimal(CONTRACTS.get(venue, "1"))
    seen = 0
    for t, frame in enumerate(FRAMES[venue](), 1):
        try:
            value = json.loads(frame)
        except ValueError:
            continue
        wanted = [
            (number, price, size * unit, side) for number, price, size, side in PLAIN[venue](value if isinstance(value, dict) else {})
        ]
        got = [record for record in feed_of(venue).receive(t, frame)[0] if isinstance(record, Trade)]
        assert [(one.id, Decimal(one.price), Decimal(one.size), one.side) for one in got] == wanted, frame[:200]
        seen += len(wanted)
    assert seen >= 4


@pytest.mark.captures
def test_trades_of_mexc_are_what_a_wire_decoder_says() -> None:
    """The sheet's own decoder of twenty lines, which knows field numbers and no messages."""
    import runpy

    fields = runpy.run_path(str(captures().parent / "reference" / "mexc_vectors.py"))["fields"]
    seen = 0
    for t, frame in enumerate(FRAMES["mexc_spot"](), 1):
        if frame[:1] != b"\n":
            continue
        wanted = []
        for number, body in fields(frame):
            for inner, deal in fields(body) if number == 314 else ():
                if inner == 1:
                    row = dict(fields(deal))
                    wanted.append((row.get(5, b"").decode(), row[1].decode(), row[2].decode(), {1: "buy", 2: "sell"}[row[3]]))
        got = [record for record in load("mexc_spot").feed("spot").receive(t, frame)[0] if isinstance(record, Trade)]
        assert [(one.id, one.price, one.size, one.side) for one in got] == wanted
        seen += len(wanted)
    assert seen >= 4


# -- books ----------------------------------------------------------------------------------------------------------------------------


class Books:
    """Books made of records, as every consumer makes them."""

    def __init__(self) -> None:
        self.books: dict[tuple[str, str], Book] = {}

    def take(self, records: list[Record]) -> None:
        for record in records:
            assert not isinstance(record, Gap | Reset | BookLost | Unknown), record
            if isinstance(record, BookSnapshot) and record.source != "top":
                book = self.books[record.symbol, record.channel] = Book()
                book.replace(record.bids, record.asks)
            elif isinstance(record, BookDelta):
                self.books[record.symbol, record.channel].apply(record.bids, record.asks)


@pytest.mark.captures
@pytest.mark.parametrize("name", ["okx-v5-2022-05-13", "okcoin-v5-2023-05-27"])
def test_okx_books_have_the_checksums_that_the_venue_sent(name: str) -> None:
    """CRC32 of the best 25 levels in the venue's own texts, valid until 2026-06-23: the venue's own proof of every book."""
    books, checked = Books(), 0
    # Spot's feed leaves sizes as they are, as the checksum wants them.
    for frame, records in decoded("okx_spot", frames.received(f"okx/cryptofeed/{name}")):
        books.take(records)
        value = json.loads(frame)
        if value.get("arg", {}).get("channel") != "books" or "data" not in value:
            continue
        bids, asks = books.books[value["arg"]["instId"], "books"].top(25)
        words = [word for at in range(25) for side in (bids, asks) if at < len(side) for word in side[at]]
        crc = zlib.crc32(":".join(words).encode())
        assert (crc - (1 << 32) if crc >> 31 else crc) == value["data"][0]["checksum"], frame[:200]
        checked += 1
    assert checked >= (280 if name.startswith("okx") else 6)


def test_the_checksum_of_the_sheet() -> None:
    """Section 4.2 gives one worked out: this is how it is counted above."""
    assert zlib.crc32(b"3366.1:7:3366.8:9:3366:6:3368:8") - (1 << 32) == -1881014294


@pytest.mark.captures
def test_bybit_books_begin_with_the_levels_that_the_venue_quotes() -> None:
    """orderbook.1 is another topic of the same matching engine: at the same ``seq`` its levels are the book's best."""
    books, quoted, checked = Books(), {}, 0
    path = captures() / "bybit" / "fastmm-testnet-2026-09" / "raw_md_stream.jsonl"
    for frame, records in decoded("bybit_spot", frames.plain(path)):
        books.take(records)
        value = json.loads(frame)
        data, topic = value.get("data"), value.get("topic", "")
        if topic.startswith("orderbook.1."):
            quoted[data["seq"]] = data["b"][0], data["a"][0]
        elif topic.startswith("orderbook.50.") and data["seq"] in quoted:
            bids, asks = books.books["BTCUSDT", "orderbook.50"].top(1)
            assert ([*bids[0]], [*asks[0]]) == quoted[data["seq"]]
            checked += 1
    assert checked >= 5


@pytest.mark.captures
def test_gate_books_join_rest_and_are_a_plain_count_of_the_levels() -> None:
    feed, books, plain, checked = load("gate_spot").feed("spot"), Books(), {}, 0
    waiting: dict[str, list[Any]] = {}
    for t, (kind, url, data) in enumerate(frames.cryptofeed("gate/cryptofeed/spot-v4-2021-04-22"), 1):
        if kind == "recv":
            books.take(list(feed.receive(t, data)[0]))
            value = json.loads(data)
            if value.get("channel") == "spot.order_book_update" and value.get("event") == "update":
                waiting.setdefault(value["result"]["s"], []).append(value["result"])
        elif kind == "http" and "/spot/order_book?" in url:
            symbol = url.partition("currency_pair=")[2].partition("&")[0]
            books.take(list(feed.fetched(t, "GET /api/v4/spot/order_book?" + url.partition("?")[2], data)[0]))
            body = json.loads(data)
            plain.setdefault(symbol, (body["id"], *({Decimal(p): s for p, s in body[side]} for side in ("bids", "asks"))))
        else:
            continue
        for symbol, (begun, bids, asks) in plain.items() if t % 5 == 0 else ():
            for event in waiting.pop(symbol, ()):
                if event["u"] > begun:
                    for side, rows in ((bids, event["b"]), (asks, event["a"])):
                        side |= {Decimal(price): size for price, size in rows}
            live = books.books.get((symbol, "order_book_update.100ms"))
            if live is not None:
                ours = [{Decimal(price): Decimal(size) for price, size in side} for side in live.levels()]
                theirs = [{price: Decimal(size) for price, size in side.items() if Decimal(size)} for side in (bids, asks)]
                assert ours == theirs
                checked += 1
    assert checked > 50 and len(plain) >= 3


@pytest.mark.captures
@pytest.mark.parametrize("name", ["spot/btcusdt_20240808.gz", "usdm/ethusdt_20240808.gz"])
def test_binance_books_are_what_its_quotes_say(name: str) -> None:
    """At an update id that both tell, the book's best levels are the quote's (the whole captures: test_depth.py)."""
    venue = "binance_spot" if name.startswith("spot") else "binance_usdm"
    feed, book, best, checked = load(venue).feed("any"), None, {}, 0
    for t, frame in enumerate(frames.hftbacktest(name, 6000), 1):
        if frame.startswith(b'{"lastUpdateId"'):
            symbol = name.partition("/")[2].partition("_")[0].upper()
            records = feed.fetched(t, f"GET {load(venue).snapshot[0]}?symbol={symbol}&limit=1000", frame)[0]
        else:
            records = feed.receive(t, frame)[0]
        for record in records:
            assert not isinstance(record, Gap | Reset | BookLost | Unknown), record
            if isinstance(record, Quote):
                best[record.id] = (record.bid, record.bid_size), (record.ask, record.ask_size)
            elif isinstance(record, BookSnapshot):
                book = Book()
                book.replace(record.bids, record.asks)
            elif isinstance(record, BookDelta) and book is not None:
                book.apply(record.bids, record.asks)
                if record.last in best:
                    bids, asks = book.top(1)
                    assert [[*map(Decimal, one)] for one in (bids[0], asks[0])] == [[*map(Decimal, one)] for one in best[record.last]]
                    checked += 1
    assert checked >= 1
