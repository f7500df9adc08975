"""USDT perpetuals of Gate.io: the sheet's examples read as it says, contracts turned into coins, frames that wait for what one is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_archive.format.records import (
    BookDelta,
    BookLost,
    BookSnapshot,
    Candle,
    Funding,
    Gap,
    Liquidation,
    Notice,
    OpenInterest,
    Quote,
    Trade,
)
from tape_collectors.venues.gate import SPOT, USDT
from tape_collectors.venues.gate.futures import FuturesFeed
from tape_collectors.venues.protocol import Fetch, Send

ASK = "GET /api/v4/futures/usdt/contracts/BTC_USDT"
CONTRACT = {"name": "BTC_USDT", "quanto_multiplier": "0.0001", "order_price_round": "0.1", "order_size_min": 1, "status": "trading"}


def feed() -> FuturesFeed:
    made = FuturesFeed()
    made.fetched(1, ASK, json.dumps(CONTRACT).encode())
    return made


def frame(channel: str, result: Any, **more: Any) -> bytes:
    return json.dumps({"channel": f"futures.{channel}", "event": "update", "time_ms": 7, "result": result, **more}).encode()


def test_examples_of_the_sheet_in_base_coins() -> None:
    one = feed()
    (trade,) = one.receive(
        2,
        frame(
            "trades",
            [
                {
                    "size": "-108",
                    "id": 27753479,
                    "create_time": 1545136464,
                    "create_time_ms": 1545136464123,
                    "price": "96.4",
                    "contract": "BTC_USDT",
                }
            ],
        ),
    )[0]
    assert trade == Trade(2, 1545136464123 * 10**6, "BTC_USDT", "trades", "27753479", "96.4", "0.0108", "sell")
    (quote,) = one.receive(
        3,
        frame(
            "book_ticker", {"t": 1615366379123, "u": 2517661076, "s": "BTC_USDT", "b": "54696.6", "B": "37000", "a": "54696.7", "A": 47061}
        ),
    )[0]
    assert quote == Quote(3, 1615366379123 * 10**6, "BTC_USDT", "book_ticker", 2517661076, "54696.6", "3.7", "54696.7", "4.7061")
    (bar,) = one.receive(
        4,
        frame(
            "candlesticks",
            [
                {
                    "t": 1545129300,
                    "v": "27525555",
                    "c": "95.4",
                    "h": "96.9",
                    "l": "89.5",
                    "o": "94.3",
                    "n": "1m_BTC_USDT",
                    "a": "314732.87412",
                    "w": True,
                }
            ],
        ),
    )[0]
    assert isinstance(bar, Candle) and (bar.open_ts, bar.volume, bar.closed) == (1545129300 * 10**9, "2752.5555", True)
    assert (bar.open, bar.high, bar.low, bar.close) == ("94.3", "96.9", "89.5", "95.4")
    # The price is a JSON number in this channel alone: digit for digit.
    (forced,) = one.receive(
        5, frame("public_liquidates", [{"price": 215.1, "size": "-124", "time_ms": 1541486601123, "contract": "BTC_USDT"}])
    )[0]
    assert forced == Liquidation(5, 1541486601123 * 10**6, "BTC_USDT", "public_liquidates", "215.1", "0.0124", "sell")
    told = one.receive(
        6,
        frame(
            "tickers",
            [{"contract": "BTC_USDT", "last": "9", "mark_price": "10", "index_price": "11", "funding_rate": "0.0001", "total_size": "32"}],
        ),
    )[0]
    assert told == [
        Funding(6, 7 * 10**6, "BTC_USDT", "tickers", "10", "11", "0.0001", 0),
        OpenInterest(6, 7 * 10**6, "BTC_USDT", "tickers", "0.0032"),
    ]
    same = frame(
        "tickers", [{"contract": "BTC_USDT", "mark_price": "10", "index_price": "11", "funding_rate": "0.0001", "total_size": "32"}]
    )
    assert [type(record) for record in one.receive(7, same)[0]] == [Notice], "what did not change is not told again"


def test_a_book_of_changes_is_objects_and_joins_rest_of_its_own_depth_with_times_in_seconds() -> None:
    one = feed()
    one.want(1, ["order_book_update.20ms:BTC_USDT"])
    update = {
        "t": 1615366381417,
        "s": "BTC_USDT",
        "U": 2517661101,
        "u": 2517661113,
        "b": [{"p": "54672.1", "s": "0"}],
        "a": [{"p": "54742", "s": "95"}],
        "l": "20",
    }
    (fetch,) = [command for command in one.receive(2, frame("order_book_update", update))[1] if isinstance(command, Fetch)]
    assert fetch.request == "GET /api/v4/futures/usdt/order_book?contract=BTC_USDT&limit=20&with_id=true"
    body = {
        "id": 2517661105,
        "current": 1615366381.418,
        "update": 1615366381.416,
        "asks": [{"p": "54743", "s": 7}],
        "bids": [{"p": "54672.1", "s": "1.5"}],
    }
    snapshot, delta = one.fetched(3, fetch.request, json.dumps(body).encode())[0]
    assert isinstance(snapshot, BookSnapshot) and (snapshot.ts, snapshot.id) == (1615366381416 * 10**6, 2517661105)
    assert (snapshot.bids, snapshot.asks) == ([("54672.1", "0.00015")], [("54743", "0.0007")])
    assert isinstance(delta, BookDelta) and (delta.first, delta.last, delta.bids, delta.asks) == (
        2517661101,
        2517661113,
        [("54672.1", "0")],
        [("54742", "0.0095")],
    )
    # Real jumps occur (ccxt#16396): a gap, and another book.
    records, commands = one.receive(4, frame("order_book_update", {**update, "U": 2517661120, "u": 2517661121}))
    assert [type(record) for record in records] == [Gap, BookLost] and any(isinstance(command, Fetch) for command in commands)


def test_frames_wait_for_what_a_contract_is_and_are_read_in_order_also_from_a_checkpoint() -> None:
    made = FuturesFeed()
    made.want(1, ["obu.400:BTC_USDT"])
    whole = {"t": 5, "full": True, "s": "ob.BTC_USDT.400", "u": 10, "b": [["9", "20000"]], "a": [["11", "0.5"]]}
    records, commands = made.receive(2, frame("obu", whole))
    assert not records and [command.request for command in commands if isinstance(command, Fetch)] == [ASK]
    assert made.receive(3, frame("obu", {"t": 6, "s": "ob.BTC_USDT.400", "U": 11, "u": 12, "b": [["9", "30000"]]})) == ((), ())
    other = FuturesFeed()
    for state in json.loads(json.dumps(made.checkpoint())):
        other.restore(4, state)
    for one in (made, other):
        snapshot, delta = one.fetched(9, ASK, json.dumps(CONTRACT).encode())[0]
        assert isinstance(snapshot, BookSnapshot) and (snapshot.t, snapshot.bids, snapshot.asks) == (2, [("9", "2")], [("11", "0.00005")])
        assert isinstance(delta, BookDelta) and (delta.t, delta.first, delta.last, delta.bids) == (3, 11, 12, [("9", "3")])


def test_doubled_and_internal_trades_are_no_trades() -> None:
    one, row = feed(), {"size": 3, "id": 5, "create_time_ms": 1, "price": "9", "contract": "BTC_USDT"}
    told = [one.receive(t, frame("trades", [row | more]))[0] for t, more in enumerate(({}, {}, {"id": 6, "is_internal": True}), 2)]
    assert [[getattr(record, "kind", type(record).__name__) for record in some] for some in told] == [
        ["Trade"],
        ["duplicate"],
        ["off_book"],
    ]


def test_subscriptions_name_contract_speed_and_depth() -> None:
    names = ["obu.400:BTC_USDT", "order_book_update.20ms:BTC_USDT", "candlesticks.1m:BTC_USDT", "public_liquidates:BTC_USDT"]
    asked = [json.loads(command.data) for command in FuturesFeed().want(9 * 10**9, names)[1] if isinstance(command, Send)]
    assert [(one["channel"], one["payload"], one["time"]) for one in asked] == [
        ("futures.obu", ["ob.BTC_USDT.400"], 9),
        ("futures.order_book_update", ["BTC_USDT", "20ms", "20"], 9),
        ("futures.candlesticks", ["1m", "BTC_USDT"], 9),
        ("futures.public_liquidates", ["BTC_USDT"], 9),
    ]


def test_every_connection_and_request_asks_for_decimals() -> None:
    (group,) = USDT.groups(["BTC-USDT-PERP"], [], {})
    assert group.headers == USDT.limits["rest"].headers == (("X-Gate-Size-Decimal", "1"),)
    assert group.url == "wss://fx-ws.gateio.ws/v4/ws/usdt" and not SPOT.groups(["BTC_USDT"], [], {})[0].headers


def test_contracts_are_listed_with_what_one_is() -> None:
    listed = USDT.instruments(json.dumps([CONTRACT, CONTRACT | {"name": "OLD_USDT", "in_delisting": True}]).encode())
    assert listed["BTC_USDT"].name == "BTC-USDT-PERP" and listed["BTC_USDT"].contract == "0.0001" and listed["BTC_USDT"].trading
    assert (listed["OLD_USDT"].status, listed["OLD_USDT"].trading) == ("delisting", False)
    with pytest.raises(SettingsError, match="did you mean 'BTC_USDT'"):
        USDT.check(["BTCC_USDT"], json.dumps([CONTRACT]).encode())
    with pytest.raises(VenueProtocolError):
        USDT.instruments(b'[{"name":"X","quanto_multiplier":"1e999999"}]')
    assert not SPOT.carries("public_liquidates") and USDT.carries("public_liquidates")
