"""Polymarket's wire, seen by independent clients: plain HTTP and sockets, the official py-clob-client, and web3."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tape_collectors.simulator.chain import CTF, RESOLUTION
from tape_collectors.simulator.polymarket import Polymarket
from tape_collectors.simulator.windows import Window, span, ticks
from tape_collectors.simulator.world import Simulator
from tests.collectors.simulator.support import get, quiet, receive, stream, text

# web3 and py-clob-client (by py_ecc) set the recursion limit of the whole process to 100,000, at which deeply nested JSON overflows the stack of msgspec's
# C decoder instead of raising RecursionError: the limit of the other tests is kept.
_limit = sys.getrecursionlimit()
from py_clob_client.client import ClobClient  # noqa: E402
from py_clob_client.clob_types import BookParams  # noqa: E402
from web3 import HTTPProvider, Web3  # noqa: E402
from web3.middleware import ExtraDataToPOAMiddleware  # noqa: E402

sys.setrecursionlimit(_limit)

ET = ZoneInfo("America/New_York")
NOW = int(datetime(2026, 11, 20, 14, 7, 10, tzinfo=ET).timestamp())
START = NOW // 900 * 900
SLUG = f"btc-updown-15m-{START}"
KEYS = ("key", "secret", "phrase")


class Clock:
    """The venue's clock, set by the test."""

    def __init__(self) -> None:
        self.seconds = float(NOW)

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(["polymarket"], credentials=KEYS, step_s=0.005) as simulator:
        venue(simulator).now = Clock()
        yield simulator


def venue(sim: Simulator) -> Polymarket:
    server = sim.servers["polymarket"]
    assert isinstance(server, Polymarket)
    return server


def at(sim: Simulator, seconds: float) -> None:
    clock = venue(sim).now
    assert isinstance(clock, Clock)
    clock.seconds = seconds


async def event_of(sim: Simulator, slug: str) -> dict[str, Any]:
    status, body, _ = await get(f"{sim.endpoints['polymarket.gamma']}/events/slug/{slug}")
    assert status == 200
    found: dict[str, Any] = body
    return found


async def tokens_of(sim: Simulator, slug: str = SLUG) -> list[str]:
    found: list[str] = json.loads((await event_of(sim, slug))["markets"][0]["clobTokenIds"])
    return found


# -- discovery -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "slug,start,hours",
    [
        ("eth-updown-5m-1795200300", 1795200300, 1 / 12),
        ("btc-updown-4h-1763485200", 1763485200, 4),  # 12:00 EST: 3600 mod 14400
        ("btc-updown-4h-1780459200", 1780459200, 4),  # 00:00 EDT
        ("bitcoin-up-or-down-june-3-2026-3am-et", int(datetime(2026, 6, 3, 3, tzinfo=ET).timestamp()), 1),
        ("ethereum-up-or-down-november-20-2026-12pm-et", int(datetime(2026, 11, 20, 12, tzinfo=ET).timestamp()), 1),
        ("solana-up-or-down-on-november-21-2026", int(datetime(2026, 11, 20, 12, tzinfo=ET).timestamp()), 24),
        ("bitcoin-up-or-down-on-november-1-2026", int(datetime(2026, 10, 31, 12, tzinfo=ET).timestamp()), 25),  # the clocks go back
        ("btc-updown-30s-1795200330", 1795200330, 1 / 120),
    ],
)
def test_slugs_name_their_windows(slug: str, start: int, hours: float) -> None:
    found = span(slug)
    assert found is not None and found[1:] == (start, start + round(hours * 3600))


@pytest.mark.parametrize(
    "slug",
    [
        *("btc-updown-15m-1795200600", "btc-updown-5m-1795200301", "btc-updown-4h-1763481600", "pepe-updown-5m-1795200300"),
        *("bitcoin-up-or-down-june-31-2026-3am-et", "zcash-up-or-down-june-3-2026-3am-et", "btc-updown-0m-0", "nonsense"),
    ],
)
def test_no_window_off_the_grid(slug: str) -> None:
    assert span(slug) is None


async def test_gamma_knows_a_window_a_day_ahead_and_tells_strike_and_result_late(sim: Simulator) -> None:
    gamma, end = sim.endpoints["polymarket.gamma"], START + 900
    assert (await get(f"{gamma}/events/slug/btc-updown-15m-{START + 90 * 900}"))[0] == 200
    assert (await get(f"{gamma}/events/slug/btc-updown-15m-{START + 97 * 900}"))[0] == 404
    at(sim, START + 30)
    event = await event_of(sim, SLUG)
    market = event["markets"][0]
    assert "eventMetadata" not in event and market["closed"] is False and market["eventStartTime"] == event["startTime"]
    assert all(isinstance(market[key], str) for key in ("outcomes", "clobTokenIds", "outcomePrices"))
    assert json.loads(market["outcomes"]) == ["Up", "Down"] and market["startDate"] < market["eventStartTime"]
    at(sim, START + 61)
    strike = (await event_of(sim, SLUG))["eventMetadata"]["priceToBeat"]
    at(sim, end + 52)
    assert "finalPrice" not in (await event_of(sim, SLUG))["eventMetadata"]
    at(sim, end + 54)
    event = await event_of(sim, SLUG)
    final, market = event["eventMetadata"]["finalPrice"], event["markets"][0]
    assert json.loads(market["outcomePrices"]) == (["1", "0"] if final >= strike else ["0", "1"])
    assert market["closed"] and market["umaResolutionStatus"] == "resolved"
    at(sim, end + 61)
    assert (await event_of(sim, f"btc-updown-15m-{end}"))["eventMetadata"]["priceToBeat"] == final
    cid = market["conditionId"]
    assert (await get(f"{gamma}/markets", condition_ids=cid))[1] == [], "closed markets are silently left out"
    assert [row["slug"] for row in (await get(f"{gamma}/markets", condition_ids=cid, closed="true"))[1]] == [SLUG]
    assert (await get(f"{gamma}/events", slug=SLUG))[1][0]["slug"] == (await get(f"{gamma}/markets/slug/{SLUG}"))[1]["slug"] == SLUG
    assert (await get(f"{gamma}/events", slug="none"))[1] == []


async def test_gamma_pages_a_series(sim: Simulator) -> None:
    gamma = sim.endpoints["polymarket.gamma"]
    assert [row["id"] for row in (await get(f"{gamma}/series", slug="btc-up-or-down-15m"))[1]] == ["10192"]
    assert (await get(f"{gamma}/events/keyset", series_id=10192, offset=5))[0] == 422
    slugs, cursor = [], ""
    while True:
        body = (await get(f"{gamma}/events/keyset", series_id=10192, limit=40, after_cursor=cursor))[1]
        slugs += [event["slug"] for event in body["events"]]
        cursor = body.get("next_cursor")
        if not cursor:
            break
    assert slugs == [f"btc-updown-15m-{START + at * 900}" for at in range(96)]


async def test_hydration_lag(sim: Simulator) -> None:
    with sim.faults.on("no_tokens", stream=SLUG) as fault:
        assert (await event_of(sim, SLUG))["markets"][0]["clobTokenIds"] == "" and fault.count == 1
    assert len(await tokens_of(sim)) == 2


# -- the market channel --------------------------------------------------------------------------------------------------


def subscription(tokens: list[str], custom: bool = False) -> str:
    return json.dumps({"type": "market", "assets_ids": tokens, "custom_feature_enabled": custom})


def book_of(frame: dict[str, Any]) -> tuple[dict[int, str], dict[int, str]]:
    bids, asks = ([ticks(row["price"]) for row in frame[side]] for side in ("bids", "asks"))
    assert bids == sorted(bids) and asks == sorted(asks, reverse=True) and bids[-1] < asks[-1], "the best level is the last one"
    return tuple({ticks(row["price"]): row["size"] for row in frame[side]} for side in ("bids", "asks"))  # type: ignore[return-value]


async def test_books_then_changes_of_both_legs_add_up_to_the_books_after_trades(sim: Simulator) -> None:
    tokens = await tokens_of(sim)
    async with stream(sim.endpoints["polymarket.ws"] + "/ws/market") as client:
        await client.send(subscription(tokens))
        first = await receive(client)
        assert [book["asset_id"] for book in first] == tokens
        assert all(list(book)[-3:] == ["tick_size", "last_trade_price", "event_type"] for book in first)
        books = {book["asset_id"]: book_of(book) for book in first}
        checked, kinds = 0, set()
        while checked < 8:
            frame = await receive(client)
            kinds.add(frame["event_type"])
            if frame["event_type"] == "price_change":
                assert {leg["asset_id"] for leg in frame["price_changes"]} == set(tokens) and "asset_id" not in frame
                for leg in frame["price_changes"]:
                    side = books[leg["asset_id"]][0 if leg["side"] == "BUY" else 1]
                    if leg["size"] == "0":
                        del side[ticks(leg["price"])]
                    else:
                        side[ticks(leg["price"])] = leg["size"]
                for leg in frame["price_changes"]:
                    bids, asks = books[leg["asset_id"]]
                    assert (max(bids), min(asks)) == (ticks(leg["best_bid"]), ticks(leg["best_ask"]))
            elif frame["event_type"] == "book":
                assert book_of(frame) == books[frame["asset_id"]] and "tick_size" not in frame
                checked += 1
        assert kinds - {"tick_size_change"} == {"price_change", "last_trade_price", "book"}


async def test_custom_events_come_to_who_asked_and_the_result_is_announced(sim: Simulator) -> None:
    tokens = await tokens_of(sim)
    url = sim.endpoints["polymarket.ws"] + "/ws/market"
    async with stream(url) as client, stream(url) as plain:
        await client.send(subscription(tokens, custom=True))
        await plain.send(subscription(tokens))
        await receive(client), await receive(plain)
        while (await receive(client))["event_type"] != "best_bid_ask":
            pass
        await tokens_of(sim, f"eth-updown-15m-{START}")
        while (frame := await receive(client))["event_type"] != "new_market":
            pass
        assert frame["slug"] == f"eth-updown-15m-{START}" and len(frame["assets_ids"]) == 2
        at(sim, START + 900 + 54)
        while (frame := await receive(client))["event_type"] != "market_resolved":
            pass
        window = venue(sim).windows[SLUG]
        assert frame["winning_asset_id"] == tokens[0 if window.up_won else 1]
        kinds = set()
        while not plain.close_code:
            try:
                async with asyncio.timeout(0.3):
                    kinds.add(json.loads(await plain.recv())["event_type"])
            except TimeoutError:
                break
        assert kinds <= {"price_change", "last_trade_price", "book", "tick_size_change"}


async def test_ping_pong_late_subscribe_unsubscribe_and_nonsense(sim: Simulator) -> None:
    tokens = await tokens_of(sim)
    async with stream(sim.endpoints["polymarket.ws"] + "/ws/market") as client:
        await client.send("PING")
        assert await text(client) == "PONG"
        await client.send("nonsense")
        assert await text(client) == "INVALID OPERATION"
        await client.send(json.dumps({"assets_id": tokens}))  # the singular key: a silent connection
        assert await quiet(client)
        await client.send(json.dumps({"operation": "subscribe", "assets_ids": tokens[:1]}))
        assert [book["asset_id"] for book in await receive(client)] == tokens[:1]
        await client.send(json.dumps({"operation": "unsubscribe", "assets_ids": tokens[:1]}))
        await client.send("PING")
        while await text(client) != "PONG":
            pass
        assert await quiet(client)


async def test_more_than_five_hundred_assets_get_updates_but_no_snapshot(sim: Simulator) -> None:
    windows = [venue(sim).window(f"{coin}-updown-5m-{START + at * 300}") for coin in ("btc", "eth") for at in range(126)]
    tokens = [token for window in windows if window for token in (window.up, window.down)]
    assert len(tokens) > 500
    async with stream(sim.endpoints["polymarket.ws"] + "/ws/market") as client:
        await client.send(subscription(tokens))
        kinds = [frame["event_type"] for frame in [await receive(client) for _ in range(30)]]
    assert set(kinds) >= {"price_change"}


def test_the_tick_size_becomes_finer_near_an_edge_once() -> None:
    window = Window("s", "btc", NOW, NOW + 900, 1)
    window._fair = lambda now: 992 if now else 500  # type: ignore[method-assign]
    window.move(0)
    assert window.finer() is None
    window.move(1)
    assert window.finer() == ("0.01", "0.001") and window.finer() is None
    assert max(window.bids) < min(window.asks) and window.move(1) is not None and any(p % 10 for p in window.bids)


# -- the official clients ------------------------------------------------------------------------------------------------


async def test_py_clob_client_reads(sim: Simulator) -> None:
    tokens = await tokens_of(sim)
    client = ClobClient(sim.endpoints["polymarket.clob"])

    def read() -> None:
        assert client.get_ok() == "OK" and client.get_server_time() == NOW
        book = client.get_order_book(tokens[0])
        sent = book.hash
        assert client.get_order_book_hash(book) == sent, "the official formula"
        assert [one.asset_id for one in client.get_order_books([BookParams(token_id=token) for token in [*tokens, "404"]])] == tokens
        bid, ask = float(book.bids[-1].price), float(book.asks[-1].price)
        assert float(client.get_price(tokens[0], "BUY")["price"]) == bid and float(client.get_price(tokens[0], "SELL")["price"]) == ask
        assert float(client.get_midpoint(tokens[0])["mid"]) == pytest.approx((bid + ask) / 2)
        assert float(client.get_spread(tokens[0])["spread"]) == pytest.approx(ask - bid)
        assert float(client.get_tick_size(tokens[0])) == float(book.tick_size) and client.get_neg_risk(tokens[0]) is False
        assert float(client.get_last_trade_price(tokens[0])["price"]) > 0
        assert set(client.get_midpoints([BookParams(token_id=token) for token in tokens])) == set(tokens)
        assert client.get_prices([BookParams(token_id=tokens[0], side="BUY")]) == {tokens[0]: {"BUY": book.bids[-1].price}}
        assert len(client.get_last_trades_prices([BookParams(token_id=token) for token in tokens])) == 2
        market = client.get_market(book.market)
        assert [row["token_id"] for row in market["tokens"]] == tokens

    await asyncio.to_thread(read)
    clob = sim.endpoints["polymarket.clob"]
    cid = venue(sim).windows[SLUG].condition
    assert [(row["t"], row["o"]) for row in (await get(f"{clob}/clob-markets/{cid}"))[1]["t"]] == [(tokens[0], "Up"), (tokens[1], "Down")]
    at(sim, START + 900 + 54)
    assert (await get(f"{clob}/book", token_id=tokens[0]))[0] == 404, "no book after the resolution"
    winners = [row["winner"] for row in (await get(f"{clob}/markets/{cid}"))[1]["tokens"]]
    assert winners == ([True, False] if venue(sim).windows[SLUG].up_won else [False, True])


async def test_web3_reads_how_the_contract_settled(sim: Simulator) -> None:
    await tokens_of(sim)
    window = venue(sim).windows[SLUG]
    web3 = Web3(HTTPProvider(sim.endpoints["polymarket.rpc"]))
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    names = {"payoutDenominator": ["bytes32"], "payoutNumerators": ["bytes32", "uint256"]}
    abi = [
        {
            "type": "function",
            "name": name,
            "stateMutability": "view",
            "inputs": [{"name": "", "type": kind} for kind in kinds],
            "outputs": [{"name": "", "type": "uint256"}],
        }
        for name, kinds in names.items()
    ]
    contract = web3.eth.contract(address=Web3.to_checksum_address(CTF), abi=abi)
    condition = bytes.fromhex(window.condition[2:])

    def payouts() -> tuple[int, list[int]]:
        calls = contract.functions
        return calls.payoutDenominator(condition).call(), [calls.payoutNumerators(condition, index).call() for index in (0, 1)]

    def logs(first: int, last: int) -> list[Any]:
        wanted = {"address": contract.address, "topics": [RESOLUTION, window.condition], "fromBlock": first, "toBlock": last}
        return list(web3.eth.get_logs(wanted))  # type: ignore[arg-type]

    assert await asyncio.to_thread(lambda: web3.eth.chain_id) == 137
    assert await asyncio.to_thread(payouts) == (0, [0, 0])
    at(sim, START + 900 + 60)
    assert await asyncio.to_thread(payouts) == (1, [1, 0] if window.up_won else [0, 1])
    head = await asyncio.to_thread(lambda: web3.eth.block_number)
    (log,) = await asyncio.to_thread(logs, head - 100, head)
    block = await asyncio.to_thread(lambda: web3.eth.get_block(log["blockNumber"]))
    assert abs(block["timestamp"] - (window.end + 53)) <= 2
    assert await asyncio.to_thread(logs, head - 9000, log["blockNumber"] - 1) == []
    with pytest.raises(Exception, match="block range"):
        await asyncio.to_thread(logs, head - 20_000, head)


# -- reference prices ----------------------------------------------------------------------------------------------------


def rtds(topic: str, filters: str) -> str:
    return json.dumps({"action": "subscribe", "subscriptions": [{"topic": topic, "type": "update", "filters": filters}]})


async def test_rtds_and_its_traps(sim: Simulator) -> None:
    url = sim.endpoints["polymarket.rtds"]
    async with stream(url) as client:
        await client.send(rtds("crypto_prices_twap_sixty", '{"symbol":"btc/usd"}'))
        snapshot = await receive(client)
        assert snapshot["type"] == "subscribe" and 50 <= len(snapshot["payload"]["data"]) <= 60
        at(sim, NOW + 5)
        seconds = []
        for _ in range(3):
            frame = await receive(client)
            payload = frame["payload"]
            assert frame["topic"] == "crypto_prices_twap_sixty" and payload["window_s"] == 60 and payload["timestamp"] % 1000 == 0
            assert int(payload["full_accuracy_value"]) / 1e18 == pytest.approx(payload["value"])
            seconds.append(payload["timestamp"] // 1000)
        assert seconds == list(range(seconds[0], seconds[0] + 3)) and frame["timestamp"] >= payload["timestamp"] + 1000
    async with stream(url) as client:
        await client.send(rtds("crypto_prices_chainlink", '{"symbol": "btc/usd"}'))
        snapshot = await receive(client)
        assert snapshot["topic"] == "crypto_prices", "mislabelled, as the venue does"
        at(sim, NOW + 10)
        assert await quiet(client), "a blank in the filter: a snapshot and then nothing"
    async with stream(url) as client:
        await client.send(rtds("crypto_nonsense", ""))
        assert (await receive(client))["statusCode"] == 401
        await client.send("PING")
        assert await quiet(client)


async def test_the_strike_is_the_twap_tick_of_the_first_second(sim: Simulator) -> None:
    opens = START + 900
    async with stream(sim.endpoints["polymarket.rtds"]) as client:
        await client.send(rtds("crypto_prices_twap_sixty", '{"symbol":"btc/usd"}'))
        assert (await receive(client))["type"] == "subscribe"
        at(sim, opens + 3)
        while (frame := await receive(client))["payload"]["timestamp"] != opens * 1000:
            pass
    at(sim, opens + 61)
    assert (await event_of(sim, f"btc-updown-15m-{opens}"))["eventMetadata"]["priceToBeat"] == frame["payload"]["value"]


async def test_polybolt(sim: Simulator) -> None:
    auth = dict(zip(("apiKey", "secret", "passphrase"), KEYS, strict=True))
    async with stream(sim.endpoints["polymarket.polybolt"] + "/ws") as client:
        items = [
            {"channel": "price.crypto.twap", "filter": {"symbol": "btcusd", "window_seconds": 60}},
            {"channel": "price.crypto", "filter": {"symbol": "ethusd"}},
        ]
        subscribe = json.dumps({"op": "subscribe", "rid": "s1", "subscriptions": items})
        await client.send(subscribe)
        assert (await receive(client))["code"] == "auth_required"
        await receive(client)
        async with stream(sim.endpoints["polymarket.polybolt"] + "/ws") as other:
            await other.send(json.dumps({"op": "auth", "rid": "a1", "auth": auth | {"secret": "wrong"}}))
            assert (await receive(other))["code"] == "auth_invalid"
            await other.wait_closed()
            assert other.close_code == 4001
        await client.send(json.dumps({"op": "auth", "rid": "a1", "auth": auth}))
        assert await receive(client) == {"op": "authed", "rid": "a1"}
        await client.send(subscribe)
        frames = [await receive(client) for _ in range(4)]
        assert [frame.get("op") for frame in frames] == ["subscribed", None, "subscribed", None]
        assert all(frame["snapshot"] and len(frame["payload"]["data"]) == 120 and frame["seq"] == 1 for frame in frames[1::2])
        seqs: dict[str, list[int]] = {}
        for second in range(1, 5):
            at(sim, NOW + second)
            for _ in range(2):
                frame = await receive(client)
                seqs.setdefault(frame["channel"], []).append(frame["seq"])
                assert "." in frame["payload"]["full_accuracy_value"]
        assert seqs == {"price.crypto.twap": [2, 3, 4, 5], "price.crypto": [2, 3, 4, 5]}
