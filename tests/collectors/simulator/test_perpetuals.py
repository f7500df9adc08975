"""Hundreds of perpetuals, seen by an independent client: every stream has the venue's shape and rules, and the ledger says what was sent."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tape_archive.format.errors import SettingsError
from tape_collectors.simulator import binance_events, perpetual_events
from tape_collectors.simulator.ledger import number
from tape_collectors.simulator.outlets import framed
from tape_collectors.simulator.perpetual_listing import Planned, parse
from tape_collectors.simulator.perpetual_server import Clock
from tape_collectors.simulator.perpetuals import Perpetual
from tape_collectors.simulator.world import Simulator
from tests.collectors.simulator.support import PATIENCE_S, apply, ask, get, quiet, receive, several, stream
from tests.collectors.simulator.test_world import start
from tests.support.ledger import Listener, by_stream, counted, told
from tests.support.servers import until as happens

MARKET = ("aggTrade", "kline_1m", "kline_5m", "kline_30m", "kline_4h", "kline_1d", "ticker", "markPrice@1s", "forceOrder")
PUBLIC = ("depth@100ms", "bookTicker")
#: 2026-11-20T23:58:30Z: at 60 times the pace every candle closes within two seconds
EVENING_MS = 1_795_219_110_000


def world(count: int = 12, rate: float = 3000.0, speed: float = 1.0, at_ms: int | None = None, **more: Any) -> Simulator:
    return Simulator(["binance_usdm"], perpetuals=count, rate=rate, clock=Clock(speed, at_ms), **more)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with world() as simulator:
        yield simulator


async def post(sim: Simulator, path: str, **query: Any) -> Any:
    async with aiohttp.ClientSession() as session, session.post(sim.endpoints["binance_usdm.rest"] + path, params=query) as reply:
        return await reply.json()


async def look(sim: Simulator, path: str, **query: Any) -> Any:
    return (await get(sim.endpoints["binance_usdm.rest"] + path, **query))[1]


async def until(sim: Simulator, what: str, value: int, *, least: bool = False) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (found := (await look(sim, "/control/status"))[what]) != value and not (least and found > value):
            pass


async def trading(sim: Simulator) -> list[str]:
    rows = (await look(sim, "/fapi/v1/exchangeInfo"))["symbols"]
    return [row["symbol"] for row in rows if row["contractType"] == "PERPETUAL" and row["status"] == "TRADING"]


@asynccontextmanager
async def listening(sim: Simulator, *names: list[str]) -> AsyncIterator[list[Listener]]:
    """One connection for each list of streams, all subscribed when the block begins."""
    async with AsyncExitStack() as stack:
        listeners: list[Listener] = []
        for some in names:
            market = not some[0].partition("@")[2].startswith(("depth", "bookTicker"))
            socket = await stack.enter_async_context(
                stream(f"{sim.endpoints['binance_usdm.public']}/{'market' if market else 'public'}/stream")
            )
            await socket.send(json.dumps({"method": "SUBSCRIBE", "params": some, "id": 1}))
            listeners.append(Listener(socket))
            stack.callback(listeners[-1].task.cancel)
        await until(sim, "streams", sum(map(len, names)))
        yield listeners


def names(symbols: list[str], channels: tuple[str, ...]) -> list[str]:
    return [f"{symbol.lower()}@{channel}" for symbol in symbols for channel in channels]


async def test_what_came_is_what_the_ledger_says_for_every_stream_by_count_and_hash() -> None:
    # Ten minutes earlier: a busy machine takes seconds, which are minutes here, until all is subscribed.
    async with world(speed=60, at_ms=EVENING_MS - 600_000) as sim:
        symbols = await trading(sim)
        wanted = [names(symbols[:6], MARKET), names(symbols[6:], MARKET), names(symbols, PUBLIC)]
        async with listening(sim, *wanted) as listeners:
            since = (await post(sim, "/control/ledger/reset"))["since_ms"]
            days = lambda: {name for name, event in listeners[0].got + listeners[1].got if name.endswith("1d") and event["k"]["x"]}  # noqa: E731
            for listener in listeners[:2]:
                await listener.wait(lambda listener=listener: sum(n.endswith("1d") and e["k"]["x"] for n, e in listener.got) == 6)
                # A busy machine takes the evening in a few long steps: what is sent once a second may not have come yet.
                heard = lambda listener=listener: {n.partition("@")[2] for n, e in listener.got if e["E"] >= since}  # noqa: E731
                await listener.wait(lambda heard=heard: heard() >= {*MARKET} - {"forceOrder"})
            before = (await post(sim, "/control/ledger/stop"))["until_ms"]
            ledger = await look(sim, "/control/ledger")
            for listener in listeners:
                await listener.wait(lambda listener=listener: listener.got[-1][1]["E"] >= before)
        got = counted([row for listener in listeners for row in listener.got], since, before)
        assert got == by_stream(ledger)
        assert {channel for channel, _ in got} >= {*MARKET, *PUBLIC, "kline_1m:open"} - {"forceOrder"} and len(days()) == 12
        assert (ledger["since_ms"], ledger["until_ms"]) == (since, before)
        assert not any("unsent" in row for row in ledger["rows"] if row["symbol"] in symbols)
        lost = dict(got)
        lost.pop(("aggTrade", symbols[0]))
        assert lost != by_stream(ledger)


async def test_the_ledger_does_not_count_what_nobody_was_sent(sim: Simulator) -> None:
    async with listening(sim, names(["BTCUSDT"], ("aggTrade",))) as (listener,):
        with sim.faults.on("drop", stream="*aggTrade"):
            since = (await post(sim, "/control/ledger/reset"))["since_ms"]
            begun = (await look(sim, "/control/status"))["frames"]
            await until(sim, "frames", begun + 20, least=True)
            (row,) = (await look(sim, "/control/ledger", stream="aggTrade", symbol="BTCUSDT"))["rows"] or [{"count": 0}]
            assert row["count"] == 0
        await listener.wait(lambda: sum(event["E"] >= since for _, event in listener.got) > 5)
        await post(sim, "/control/ledger/stop")
        sent = {row["symbol"]: row for row in (await look(sim, "/control/ledger", stream="aggTrade"))["rows"]}
        found = sent["BTCUSDT"]
        await listener.wait(lambda: listener.got[-1][1]["a"] > found["last"])
    ids = [event["a"] for _, event in listener.got if event["E"] >= since and event["a"] <= found["last"]]
    assert (found["count"], found["first"], found["last"]) == (len(ids), ids[0], ids[-1])
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    dropped = found["unsent"]
    assert found["count"] + dropped["count"] == found["last"] - dropped["first"] + 1, "what was sent and what was not are all there were"
    assert sent["ETHUSDT"]["count"] == 0 and sent["ETHUSDT"]["unsent"]["count"] > 0


async def test_candles_are_the_trades_and_the_long_ones_are_the_short_ones() -> None:
    async with world(3, speed=120, at_ms=EVENING_MS) as sim:
        symbols = await trading(sim)
        async with listening(sim, names(symbols, ("aggTrade", "kline_1m", "kline_5m", "kline_30m"))) as (listener,):
            await listener.wait(lambda: sum(name.endswith("kline_5m") and event["k"]["x"] for name, event in listener.got) >= 6)
    got = listener.got
    checked = 0
    for symbol in symbols:
        trades = [event for name, event in got if name == f"{symbol.lower()}@aggTrade"]
        closed = defaultdict(list)
        for name, event in got:
            if "kline" in name and event["s"] == symbol:
                k = event["k"]
                assert event["E"] >= k["T"] + 1 if k["x"] else k["t"] <= event["E"] <= k["T"]
                if k["x"]:
                    closed[k["i"]].append(k)
        for candle in closed["1m"][1:]:
            inside = [one for one in trades if candle["t"] <= one["T"] <= candle["T"]]
            assert candle["n"] == len(inside)
            assert number(candle["v"]) == number(sum(map(int, (float(one["q"]) * 1000 + 0.5 for one in inside))) / 1000)
            if inside:
                checked += 1
                prices = [float(one["p"]) for one in inside]
                assert (float(candle["h"]), float(candle["l"]), float(candle["c"])) >= (max(prices), 0.0, prices[-1])
                assert float(candle["l"]) <= min(prices) and (candle["f"], candle["L"]) == (inside[0]["f"], inside[-1]["l"])
        assert [one["t"] for one in closed["1m"]] == [closed["1m"][0]["t"] + 60_000 * n for n in range(len(closed["1m"]))]
        for long in closed["5m"][1:]:
            parts = [one for one in closed["1m"] if long["t"] <= one["t"] < long["t"] + 300_000]
            assert len(parts) == 5 and (long["o"], long["c"]) == (parts[0]["o"], parts[-1]["c"])
            assert long["n"] == sum(one["n"] for one in parts) and float(long["h"]) == max(float(one["h"]) for one in parts)
            assert abs(float(long["q"]) - sum(float(one["q"]) for one in parts)) < 1e-4 * float(long["q"] or 1) + 1e-9
    assert checked >= 6


async def test_books_chain_join_their_snapshot_and_agree_with_the_quotes(sim: Simulator) -> None:
    async with listening(sim, names(["ETHUSDT"], PUBLIC)) as (listener,):
        await listener.wait(lambda: sum("depth" in name for name, _ in listener.got) >= 3)
        snapshot = await look(sim, "/fapi/v1/depth", symbol="ETHUSDT", limit=1000)
        await listener.wait(lambda: listener.got[-1][1]["u"] > snapshot["lastUpdateId"] + 3000)
    updates = [event for name, event in listener.got if "depth" in name]
    quotes = [event for name, event in listener.got if "bookTicker" in name]
    for before, after in pairwise(updates):
        assert after["pu"] == before["u"] < after["U"] <= after["u"]
    assert any(after["U"] > before["u"] + 1 for before, after in pairwise(updates)), "ids are shared by all symbols"
    kept = [one for one in updates if one["u"] >= snapshot["lastUpdateId"]]
    assert kept[0]["U"] <= snapshot["lastUpdateId"] or kept[0]["pu"] <= snapshot["lastUpdateId"]
    bids, asks = dict(map(tuple, snapshot["bids"])), dict(map(tuple, snapshot["asks"]))
    compared = 0
    for update in kept:
        apply(bids, asks, update)
        bid, ask_ = max(bids, key=float), min(asks, key=float)
        assert float(bid) < float(ask_) and len(bids) == len(asks) == 200
        if earlier := [quote for quote in quotes if quote["u"] <= update["u"]]:
            compared, quote = compared + 1, earlier[-1]
            assert (quote["b"], quote["B"], quote["a"], quote["A"]) == (bid, bids[bid], ask_, asks[ask_])
    assert compared


async def test_payloads_have_the_keys_of_the_other_writer(sim: Simulator) -> None:
    """``binance_events`` was held against the sheet; what both write has the same keys in the same order."""
    one = sim.markets["binance_usdm"].instruments["SOLUSDT"]
    assert isinstance(one, Perpetual)
    fill = one.trade(EVENING_MS)
    ours = (
        perpetual_events.agg_trade(one, fill),
        perpetual_events.book_ticker(one, EVENING_MS),
        perpetual_events.mark_price(one, EVENING_MS),
    )
    day = binance_events.Day()
    day.add(one, EVENING_MS, [fill])
    others = {
        "aggTrade": binance_events.agg_trade(one, fill, futures=True),
        "bookTicker": binance_events.ticker(one, EVENING_MS, one.id, futures=True),
        "markPrice@1s": binance_events.mark(one, EVENING_MS),
        "kline_1m": binance_events.kline(one, day, EVENING_MS, closed=False),
        "forceOrder": binance_events.force_order(one, fill, EVENING_MS),
    }
    assert [json.loads(text) for text, _, _ in ours] == [others[name] for name in ("aggTrade", "bookTicker", "markPrice@1s")]
    text, number_, ledger = perpetual_events.force_order(one, fill)
    forced: Any = json.loads(text)
    assert list(forced) == list(others["forceOrder"]) and list(forced["o"]) == list(others["forceOrder"]["o"])  # type: ignore[call-overload]
    assert counted([("solusdt@forceOrder", forced)], 0, 2 * EVENING_MS)["forceOrder", "SOLUSDT"]["first"] == number_ == EVENING_MS
    assert ledger == told("solusdt@forceOrder", forced)[3]
    sheet = "e E s p P w c Q o h l v q O C F L n st"
    depth = "e E T s ps U u pu b a st"
    symbols = await trading(sim)
    for channel in (*MARKET, *PUBLIC):
        if channel == "forceOrder":
            continue
        async with listening(sim, names(symbols, (channel,))) as (listener,):
            await listener.wait(lambda listener=listener: listener.got)
        event = listener.got[0][1]
        if channel == "ticker" or channel.startswith("depth"):
            assert list(event) == (sheet if channel == "ticker" else depth).split()
            continue
        other = others["kline_1m" if channel.startswith("kline") else channel]
        assert list(event) == list(other)
        if "k" in event:
            assert list(event["k"]) == list(other["k"])  # type: ignore[call-overload]
            assert event["k"]["i"] == channel[6:]


async def test_listed_and_delisted_while_it_runs(sim: Simulator) -> None:
    before = await trading(sim)
    async with listening(sim, ["!contractInfo"], names(before, ("bookTicker",))) as (info, quotes):
        fresh = (await post(sim, "/control/list", count=4))["symbols"]
        assert set(await trading(sim)) == {*before, *fresh} and len(fresh) == 4
        await info.wait(lambda: len(info.got) == 5)
        told_of = [event for _, event in info.got]
        assert [event["s"] for event in told_of if event["st"] == 1] == fresh and told_of[-1]["st"] == 2, "COIN-M on the same stream"
        assert {(event["ct"], event["cs"]) for event in told_of} == {("PERPETUAL", "TRADING")}
        async with stream(sim.endpoints["binance_usdm.public"] + "/public/stream") as socket:
            assert await ask(socket, method="SUBSCRIBE", params=[f"{fresh[0].lower()}@bookTicker"], id=1) == {"result": None, "id": 1}
            assert (await receive(socket))["data"]["s"] == fresh[0]
            gone = (await post(sim, "/control/delist", symbol=fresh[0]))["symbols"]
            assert gone == fresh[:1]
            await info.wait(lambda: len(info.got) == 6)
            assert info.got[-1][1]["cs"] == "SETTLING" and fresh[0] not in await trading(sim)
        more = (await post(sim, "/control/delist", count=3, gone=1))["symbols"]
        rows = (await look(sim, "/fapi/v1/exchangeInfo"))["symbols"]
        assert len(more) == 3 and not {row["symbol"] for row in rows} & set(more)
        assert next(row["status"] for row in rows if row["symbol"] == fresh[0]) == "SETTLING"
        left = set(before) - set(more)
        assert (await look(sim, "/control/status"))["speaking"] == len(left)
        quotes.got.clear()
        await quotes.wait(lambda: {event["s"] for _, event in quotes.got} >= left)
        assert {event["s"] for _, event in quotes.got} == left, "who was delisted is silent, the others speak"
    async with stream(sim.endpoints["binance_usdm.public"] + "/public/stream") as socket:
        assert await ask(socket, method="SUBSCRIBE", params=[f"{gone[0].lower()}@bookTicker"], id=2) == {"result": None, "id": 2}
        assert await quiet(socket)


async def test_an_announced_perpetual_is_silent_until_it_is_traded(sim: Simulator) -> None:
    (symbol,) = (await post(sim, "/control/list", count=1, pending=1))["symbols"]
    rows = {row["symbol"]: row for row in (await look(sim, "/fapi/v1/exchangeInfo"))["symbols"]}
    assert rows[symbol]["status"] == "PENDING_TRADING" and rows[symbol]["onboardDate"] > rows["BTCUSDT"]["onboardDate"]
    async with stream(f"{sim.endpoints['binance_usdm.public']}/public/stream?streams={symbol.lower()}@bookTicker") as socket:
        assert await quiet(socket)
        await post(sim, "/control/list", symbol=symbol)
        assert (await receive(socket))["data"]["s"] == symbol


async def test_three_connections_are_cut_and_the_others_go_on(sim: Simulator) -> None:
    parts = [names([symbol], ("bookTicker",)) for symbol in (await trading(sim))[:6]]
    async with listening(sim, *parts) as listeners:
        assert await post(sim, "/control/cut", count=3) == {"connections": 3}
        await until(sim, "connections", 3)
        await until(sim, "streams", 3)
        await happens(lambda: sum(listener.task.done() for listener in listeners) == 3)
        for listener in listeners:
            if listener.task.done():
                with pytest.raises(ConnectionClosed):
                    listener.task.result()
            else:
                seen = len(listener.got)
                await listener.wait(lambda listener=listener, seen=seen: len(listener.got) > seen)
        assert await post(sim, "/control/cut", count=9, kind="close", code=1008) == {"connections": 3}
        await until(sim, "connections", 0)


async def test_a_plan_and_a_short_life() -> None:
    async with world(plan=[parse("list 2@0s"), parse("delist 1@0.1s")], life_s=1.0) as sim:
        async with stream(sim.endpoints["binance_usdm.public"] + "/public/stream?streams=btcusdt@bookTicker") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await receive(socket)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        await until(sim, "trading", 12 + 1 + 2 - 1)


@pytest.mark.parametrize("kind", ["duplicate", "garbage", "truncate", "silence", "half_open"])
async def test_frame_faults_hit_one_stream_and_no_other(sim: Simulator, kind: str) -> None:
    url = sim.endpoints["binance_usdm.public"] + "/public/stream?streams="
    async with stream(url + "btcusdt@bookTicker") as bad, stream(url + "ethusdt@bookTicker") as good:
        await several(bad, 2)
        with sim.faults.on(kind, stream="btcusdt*") as fault:
            await several(good, 30)
            assert fault.count > 0
        frames = await several(good, 5)
        assert all(before["data"]["u"] < after["data"]["u"] for before, after in pairwise(frames))


async def test_open_interest_is_answered_by_the_venues_clock_and_counted() -> None:
    async with world(speed=1000, at_ms=EVENING_MS) as sim:
        since = (await post(sim, "/control/ledger/reset"))["since_ms"]
        rows = [await look(sim, "/fapi/v1/openInterest", symbol=symbol) for symbol in await trading(sim)]
        before = (await post(sim, "/control/ledger/stop"))["until_ms"]
        ledger = by_stream(await look(sim, "/control/ledger", stream="openInterest"))
        premium = await look(sim, "/fapi/v1/premiumIndex", symbol="BTCUSDT")
    assert all(since <= row["time"] < before for row in rows) and premium["time"] >= before
    assert ledger == counted([("openInterest", row) for row in rows], since, before) and len(ledger) == 12


async def test_missed_trades_are_told_again_as_they_were(sim: Simulator) -> None:
    async with listening(sim, names(["XRPUSDT"], ("aggTrade",))) as (listener,):
        await listener.wait(lambda: len(listener.got) > 30)
    seen = [event for _, event in listener.got]
    rows = await look(sim, "/fapi/v1/aggTrades", symbol="XRPUSDT", fromId=seen[5]["a"], limit=10)
    assert [[row[name] for name in "apqflTm"] for row in rows] == [[event[name] for name in "apqflTm"] for event in seen[5:15]]


async def test_a_symbol_outside_ascii_is_heard_by_its_name_in_the_url(sim: Simulator) -> None:
    (symbol,) = (symbol for symbol in await trading(sim) if not symbol.isascii())
    async with stream(f"{sim.endpoints['binance_usdm.public']}/public/stream?streams={quote(symbol.lower())}@bookTicker") as socket:
        frame = await receive(socket)
    assert (frame["stream"], frame["data"]["s"]) == (f"{symbol.lower()}@bookTicker", symbol)


async def test_orders_that_cannot_be_are_refused_in_words(sim: Simulator) -> None:
    assert "count='x'" in (await post(sim, "/control/list", count="x"))["error"]
    assert "no symbol" in (await post(sim, "/control/delist", symbol="NOPE"))["error"]
    assert "kind=" in (await post(sim, "/control/cut", kind="saw"))["error"]


def test_plans() -> None:
    assert parse("list 40@30s") == Planned("list", 40, 30.0) and parse("delist=15 @ 1.5s") == Planned("delist", 15, 1.5)
    for text in ("list@3s", "list 0@3s", "sing 3@3s", "cut 3@3", ""):
        with pytest.raises(SettingsError, match="--plan"):
            parse(text)


@pytest.mark.parametrize(
    "options,words",
    [
        (("--perpetuals", "5001"), b"from 1 to 5000"),
        (("--perpetuals", "5", "--venues", "binance_spot"), b"in --venues"),
        (("--perpetuals", "5", "--load", "binance_usdm=3"), b"no --load"),
        (("--perpetuals", "5", "--speed", "-1"), b"--speed -1"),
        (("--perpetuals", "5", "--plan", "list"), b"--plan 'list'"),
        (("--plan", "list 3@0s"), b"needs --perpetuals"),
    ],
)
async def test_what_cannot_be_is_one_line(options: tuple[str, ...], words: bytes) -> None:
    child = await start(*options)
    _, errors = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 2 and errors.count(b"\n") == 1 and words in errors and b"Traceback" not in errors


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_are_rfc_6455(size: int) -> None:
    assert framed("x" * size) == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)


async def test_the_command_serves_them() -> None:
    child = await start("--perpetuals", "20", "--rate", "500", "--speed", "60", "--at", "1795219110", "--plan", "list 3@0s", "--json")
    try:
        assert child.stdout is not None
        async with asyncio.timeout(20):
            endpoints = json.loads(await child.stdout.readline())
        assert set(endpoints) >= {"binance_usdm.rest", "binance_usdm.public", "binance_usdm.market"}
        assert {name.partition(".")[0] for name in endpoints} == {"binance_usdm"}
        async with stream(endpoints["binance_usdm.market"] + "/market/stream?streams=btcusdt@kline_1m") as socket:
            while not (event := (await receive(socket))["data"])["k"]["x"]:
                pass
            assert event["k"]["T"] < event["E"] and event["E"] > EVENING_MS
        assert (await get(endpoints["binance_usdm.rest"] + "/control/status"))[1]["trading"] == 24
        child.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(child.communicate(), 10)
        assert child.returncode == 0 and errors == b""
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
