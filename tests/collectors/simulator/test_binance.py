"""Binance's wire, seen by an independent client: the sequence rules of the sheet hold, checked by plain code."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tape_collectors.simulator.market import Instrument
from tape_collectors.simulator.world import Simulator
from tests.collectors.simulator.support import apply, ask, get, quiet, receive, several, stream

SPOT, USDM = "binance_spot", "binance_usdm"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator([SPOT, USDM], keep=True, step_s=0.005) as simulator:
        yield simulator


def book_text(one: Instrument, update: int) -> tuple[dict[str, str], dict[str, str]]:
    bids, asks = one.at(update)
    text = lambda side: {one.price_text(price): one.size_text(size) for price, size in side.items()}  # noqa: E731
    return text(bids), text(asks)


@pytest.mark.parametrize("venue,socket,path,speed", [(SPOT, "spot", "/api/v3/depth", "@100ms"), (USDM, "public", "/fapi/v1/depth", "@0ms")])
async def test_depth_chains_joins_its_snapshot_and_is_the_true_book(sim: Simulator, venue: str, socket: str, path: str, speed: str) -> None:
    root = "/stream" if venue == SPOT else "/public/stream"
    url = f"{sim.endpoints[f'{venue}.{socket}']}{root}?streams=btcusdt@depth{speed}"
    async with stream(url) as client:
        frames = await several(client, 3)
        status, snapshot, _ = await get(sim.endpoints[f"{venue}.rest"] + path, symbol="BTCUSDT", limit=1000)
        frames += await several(client, 12 if venue == SPOT else 60)
    assert status == 200 and all(frame["stream"] == f"btcusdt@depth{speed}" for frame in frames)
    updates = [frame["data"] for frame in frames]
    last = snapshot["lastUpdateId"]
    assert last >= updates[0]["U"], "the snapshot is not older than the stream"
    for before, after in pairwise(updates):
        if venue == SPOT:
            assert after["U"] == before["u"] + 1 and "pu" not in after and "T" not in after
        else:
            assert after["pu"] == before["u"] < after["U"] <= after["u"]
    assert venue == SPOT or any(after["U"] > before["u"] + 1 for before, after in pairwise(updates)), "only pu chains the futures"
    kept = [one for one in updates if one["u"] > last] if venue == SPOT else [one for one in updates if one["u"] >= last]
    assert kept[0]["U"] <= last + 1 <= kept[0]["u"] or kept[0].get("pu") == last or kept[0]["U"] <= last <= kept[0]["u"]
    bids, asks = dict(map(tuple, snapshot["bids"])), dict(map(tuple, snapshot["asks"]))
    for update in kept:
        apply(bids, asks, update)
        assert (bids, asks) == book_text(sim.markets[venue].instruments["BTCUSDT"], update["u"])


async def test_futures_batch_for_each_connection_and_spot_for_all(sim: Simulator) -> None:
    async def batches(url: str) -> list[tuple[int, int]]:
        async with stream(url) as client:
            return [(one["data"]["U"], one["data"]["u"]) for one in await several(client, 8)]

    async def chained(url: str) -> list[tuple[int, int]]:
        async with stream(url) as client:
            updates = [one["data"] for one in await several(client, 8)]
        assert all(after["pu"] == before["u"] for before, after in pairwise(updates)), "pu chains each connection on its own"
        return [(one["U"], one["u"]) for one in updates]

    spot = f"{sim.endpoints['binance_spot.spot']}/stream?streams=btcusdt@depth@100ms"
    one, other = await asyncio.gather(batches(spot), batches(spot))
    assert one[0] in other or other[0] in one
    shared = [pair for pair in one if pair in other]
    assert len(shared) >= 6
    futures = f"{sim.endpoints['binance_usdm.public']}/public/stream?streams=btcusdt@depth@100ms"
    mine, others = await asyncio.gather(chained(futures), chained(futures))
    assert not set(mine) & set(others)
    assert max(mine[0][0], others[0][0]) < min(mine[-1][1], others[-1][1]), "both are told of the same changes, in batches of their own"


async def test_trades_count_by_one_and_aggregates_too(sim: Simulator) -> None:
    async with stream(f"{sim.endpoints['binance_spot.spot']}/stream?streams=ethusdt@trade/ethusdt@aggTrade") as client:
        frames = await several(client, 60)
    for channel, key in (("trade", "t"), ("aggTrade", "a")):
        ids = [frame["data"][key] for frame in frames if frame["stream"] == f"ethusdt@{channel}"]
        assert len(ids) > 20 and ids == list(range(ids[0], ids[0] + len(ids)))


#: the keys of each payload, in the order of real frames of 2026, else of the sheet
KEYS = {
    SPOT: {
        "trade": "e E s t p q T m M",
        "aggTrade": "e E s a p q f l T m M",
        "bookTicker": "u s b B a A",
        "depth@100ms": "e E s U u b a",
        "depth20@100ms": "lastUpdateId bids asks",
        "kline_1m": "e E s k",
        "miniTicker": "e E s c o h l v q",
    },
    USDM: {
        "trade": "e E T s t p q X m",
        "bookTicker": "e u s ps b B a A T E st",
        "depth": "e E T s ps U u pu b a st",
        "depth5@100ms": "e E T s ps U u pu b a st",
        "aggTrade": "e E a s p q nq f l T m st",
        "markPrice@1s": "e E s p i P r T st",
        "forceOrder": "e E o",
        "miniTicker": "e E s ps c o h l v q st",
    },
}
MARKET_ROOT = ("aggTrade", "markPrice@1s", "forceOrder", "miniTicker")


@pytest.mark.parametrize("venue,channel", [(venue, channel) for venue, channels in KEYS.items() for channel in channels])
async def test_each_stream_speaks_in_the_venues_shape(sim: Simulator, venue: str, channel: str) -> None:
    root = "/ws" if venue == SPOT else "/market/ws" if channel in MARKET_ROOT else "/public/ws"
    symbols = ("btcusdt", "ethusdt", "solusdt", "xrpusdt")
    url = sim.endpoints[f"{venue}.{'spot' if venue == SPOT else 'public'}"]
    async with stream(f"{url}{root}/" + "/".join(f"{symbol}@{channel}" for symbol in symbols)) as client:
        frame = await receive(client)
    assert list(frame) == KEYS[venue][channel].split()
    for key in ("p", "q", "b", "B", "v"):
        if key in frame and not isinstance(frame[key], list):
            assert isinstance(frame[key], str), "decimals are text"


async def test_a_wrong_or_legacy_root_acks_and_stays_silent(sim: Simulator) -> None:
    url = sim.endpoints["binance_usdm.public"]
    wrong = {"/market/ws": "btcusdt@bookTicker", "/public/ws": "btcusdt@aggTrade", "/ws": "btcusdt@depth", "/stream": "btcusdt@aggTrade"}
    for root, name in wrong.items():
        async with stream(url + root) as client:
            assert await ask(client, method="SUBSCRIBE", params=[name], id=1) == {"result": None, "id": 1}
            assert await quiet(client)


async def test_commands_and_their_errors(sim: Simulator) -> None:
    url = sim.endpoints["binance_usdm.public"] + "/public/ws"
    async with stream(url) as client:
        names = ["btcusdt@nothing", "xrpusdt@nothing"]
        assert await ask(client, method="SUBSCRIBE", params=names, id="abc") == {"result": None, "id": "abc"}
        assert await ask(client, method="LIST_SUBSCRIPTIONS", id=None) == {"result": names, "id": None}
        await ask(client, method="UNSUBSCRIBE", params=["xrpusdt@nothing"], id=2)
        assert (await ask(client, method="LIST_SUBSCRIPTIONS", id=3))["result"] == ["btcusdt@nothing"]
        assert (await ask(client, method="BOGUS", id=4))["code"] == 2
        assert (await ask(client, method="SUBSCRIBE", params=["a"], id="x" * 37))["code"] == 2
        assert (await ask(client, method="SET_PROPERTY", params=["nonsense", 1], id=5))["code"] == 0
        await client.send("{not json")
        assert (await receive(client))["code"] == 3


async def test_too_many_messages_a_second_or_streams_end_the_connection(sim: Simulator) -> None:
    for venue, root, most in (("binance_spot.spot", "/ws", 5), ("binance_usdm.public", "/public/ws", 10)):
        async with stream(sim.endpoints[venue] + root) as client:
            for number in range(most + 1):
                await client.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
            answers = 0
            with pytest.raises(ConnectionClosed):
                while True:
                    await receive(client)
                    answers += 1
            assert answers == most
    async with stream(sim.endpoints["binance_spot.spot"] + "/ws") as client:
        names = [f"s{number}@trade" for number in range(1025)]
        await client.send(json.dumps({"method": "SUBSCRIBE", "params": names[:1024], "id": 1}))
        assert (await receive(client))["result"] is None
        await client.send(json.dumps({"method": "SUBSCRIBE", "params": names[1024:], "id": 2}))
        with pytest.raises(ConnectionClosed):
            await receive(client)


async def test_weight_is_counted_then_refused_then_banned(sim: Simulator) -> None:
    url = sim.endpoints["binance_spot.rest"] + "/api/v3/depth"
    used = []
    for limit in (5, 500, 1000, 5000):
        status, _, headers = await get(url, symbol="BTCUSDT", limit=limit)
        assert status == 200
        used.append(int(headers["X-MBX-USED-WEIGHT-1M"]))
    assert used == [5, 30, 80, 330]
    statuses: Counter[int] = Counter()
    while not statuses[418]:
        status, body, headers = await get(url, symbol="BTCUSDT", limit=5000)
        statuses[status] += 1
        if status != 200:
            assert body["code"] == -1003 and int(headers["Retry-After"]) > 0
    assert statuses == {200: 22, 429: 3, 418: 1}, "6000 a minute; who goes on after 429 is banned"


async def test_rest_answers(sim: Simulator) -> None:
    spot, futures = sim.endpoints["binance_spot.rest"], sim.endpoints["binance_usdm.rest"]
    for url, path in ((spot, "/api/v3"), (futures, "/fapi/v1")):
        status, info, _ = await get(url + path + "/exchangeInfo")
        assert status == 200 and {row["symbol"] for row in info["symbols"]} == {"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"}
        assert all(row["status"] == "TRADING" for row in info["symbols"])
        assert isinstance((await get(url + path + "/time"))[1]["serverTime"], int)
        assert (await get(url + path + "/depth", symbol="NOPE"))[:2] == (400, {"code": -1121, "msg": "Invalid symbol."})
        assert (await get(url + path + "/depth", symbol="BTCUSDT", limit=99999))[0] == 400
    premium = (await get(futures + "/fapi/v1/premiumIndex", symbol="BTCUSDT"))[1]
    assert set(premium) >= {"symbol", "markPrice", "indexPrice", "lastFundingRate", "nextFundingTime", "time"}
    assert len((await get(futures + "/fapi/v1/premiumIndex"))[1]) == 4
    assert set((await get(futures + "/fapi/v1/openInterest", symbol="BTCUSDT"))[1]) == {"openInterest", "symbol", "time"}


async def test_a_missed_trade_can_be_asked_for_by_its_id(sim: Simulator) -> None:
    async with stream(f"{sim.endpoints['binance_spot.spot']}/ws/btcusdt@aggTrade") as client:
        seen = await several(client, 20)
    rows = (await get(sim.endpoints["binance_spot.rest"] + "/api/v3/aggTrades", symbol="BTCUSDT", fromId=seen[5]["a"], limit=5))[1]
    assert [{key: one[key] for key in "apqfl"} for one in seen[5:10]] == [{key: row[key] for key in "apqfl"} for row in rows]


async def test_the_journal_is_what_the_client_got(sim: Simulator) -> None:
    async with stream(f"{sim.endpoints['binance_spot.spot']}/stream?streams=btcusdt@trade/btcusdt@bookTicker") as client:
        got: list[Any] = await several(client, 40)
        number = sim.servers[SPOT].clients[0].number
    sent = [json.loads(one.text) for one in sim.journal.of(SPOT, number)]
    assert sent[: len(got)] == got
    assert sum(sim.journal.sent[SPOT, number, name] for name in ("btcusdt@trade", "btcusdt@bookTicker")) == len(sent)
