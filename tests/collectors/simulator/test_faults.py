"""Each fault, on the wire, against an independent client; the journal says what was due, the client what came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage, InvalidStatus

from tape_archive.format.errors import SettingsError
from tape_collectors.simulator.faults import Faults, parse
from tape_collectors.simulator.world import Simulator
from tests.collectors.simulator.support import get, quiet, receive, several, stream, text

SPOT = "binance_spot"
TRADES = "btcusdt@trade"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator([SPOT], keep=True, step_s=0.005) as simulator:
        yield simulator


def url(sim: Simulator, *names: str) -> str:
    return f"{sim.endpoints['binance_spot.spot']}/stream?streams={'/'.join(names)}"


async def ids(sim: Simulator, count: int) -> tuple[list[int], int]:
    """Trade ids that came, and the connection's number."""
    async with stream(url(sim, TRADES)) as client:
        got = [one["data"]["t"] for one in await several(client, count)]
        return got, sim.servers[SPOT].clients[-1].number


async def test_drop_loses_exactly_what_the_journal_says(sim: Simulator) -> None:
    with sim.faults.on("drop", stream=TRADES, p=0.3) as fault:
        got, number = await ids(sim, 50)
        kept = sim.journal.of(SPOT, number, TRADES)
    due = [json.loads(one.text)["data"]["t"] for one in kept]
    assert due == list(range(due[0], due[0] + len(due)))
    arrived = [json.loads(one.text)["data"]["t"] for one in kept if not one.lost]
    assert arrived[:50] == got and 0 < fault.count == sum(one.lost for one in kept)


async def test_drop_at_given_indexes(sim: Simulator) -> None:
    with sim.faults.on("drop", stream=TRADES, at=(2, 5)) as fault:
        got, _ = await ids(sim, 8)
    assert [one - got[0] for one in got] == [0, 1, 3, 4, 6, 7, 8, 9] and fault.count == 2


async def test_duplicate_reorder_and_delay(sim: Simulator) -> None:
    with sim.faults.on("duplicate", stream=TRADES, at=(1,)):
        got, _ = await ids(sim, 4)
    assert [one - got[0] for one in got] == [0, 1, 1, 2]
    with sim.faults.on("reorder", stream=TRADES, at=(1,)):
        got, _ = await ids(sim, 5)
    assert [one - got[0] for one in got] == [0, 2, 1, 3, 4]
    with sim.faults.on("delay", stream=TRADES, at=(1,), delay_s=0.3):
        got, _ = await ids(sim, 30)
    assert sorted(got) == list(range(got[0], got[0] + 30)) and got[1] == got[0] + 2


def test_a_held_frame_comes_after_the_next_of_its_own_stream_even_when_the_fault_is_over() -> None:
    faults = Faults()
    with faults.on("reorder", stream="depth"):
        assert faults.frames("v", 1, "depth", "d1") == []
        assert faults.frames("v", 1, "trade", "t1") == [(0.0, "t1")]
    assert faults.frames("v", 1, "depth", "d2") == [(0.0, "d2"), (0.0, "d1")]


async def test_garbage_and_truncated_frames(sim: Simulator) -> None:
    with sim.faults.on("truncate", stream=TRADES, at=(1,)):
        async with stream(url(sim, TRADES)) as client:
            first, second, third = [await text(client) for _ in range(3)]
    json.loads(first), json.loads(third)
    assert len(second) < len(first)
    with pytest.raises(json.JSONDecodeError):
        json.loads(second)
    with sim.faults.on("garbage", stream=TRADES, at=(0,)) as fault:
        async with stream(url(sim, TRADES)) as client:
            try:
                raw = await client.recv(decode=False)
            except ConnectionClosedError:  # the three bytes need not be UTF-8
                raw = b""
    number = sim.journal.frames[-1].connection
    broken = next(one for one in sim.journal.of(SPOT, number, TRADES) if one.lost)
    assert fault.count == 1 and raw in (b"", broken.out[0]) and broken.out[0] != broken.text.encode()


async def test_silence_of_one_stream_leaves_the_link_and_the_others_alive(sim: Simulator) -> None:
    async with stream(url(sim, TRADES, "btcusdt@bookTicker")) as client:
        await several(client, 4)
        with sim.faults.on("silence", venue=SPOT, stream="*@trade") as fault:
            await asyncio.wait_for(await client.ping(), 5)
            frames = await several(client, 60)
            assert fault.count > 0
        assert {frame["stream"] for frame in frames[-30:]} == {"btcusdt@bookTicker"}
        while (await receive(client))["stream"] != TRADES:
            pass


async def test_half_open_is_silent_for_good_and_does_not_close(sim: Simulator) -> None:
    async with stream(url(sim, TRADES)) as client:
        await several(client, 2)
        with sim.faults.on("half_open"):
            await asyncio.sleep(0)
            while not await quiet(client):
                pass
            waiter = await client.ping()
        assert await quiet(client) and not waiter.done() and client.close_code is None
        assert (await ids(sim, 3))[0], "a new socket lives"


async def test_disconnect_is_a_reset_and_close_is_a_close(sim: Simulator) -> None:
    reader, writer = await asyncio.open_connection(*_address(sim))
    lines = ["GET /ws/btcusdt@trade HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]
    writer.write("\r\n".join(lines).encode())
    await reader.readuntil(b'"e":"trade"')
    sim.once(parse("disconnect@0s").fault)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    for planned, code in (("close@0s", 1001), ("close(code=1013)@0s", 1013)):
        async with stream(url(sim, TRADES)) as client:
            await receive(client)
            sim.once(parse(planned).fault)
            with pytest.raises(ConnectionClosed):
                while True:
                    await receive(client)
            assert client.close_code == code


async def test_shutdown_is_announced(sim: Simulator) -> None:
    async with stream(url(sim, TRADES)) as client, stream(f"{sim.endpoints['binance_spot.spot']}/ws/btcusdt@trade") as raw:
        await receive(client), await receive(raw)
        sim.once(parse("shutdown@0s").fault)
        while (frame := await receive(client))["stream"] != "!serverShutdown":
            pass
        assert frame["data"]["e"] == "serverShutdown" and isinstance(frame["data"]["E"], int)
        while (await receive(raw))["e"] != "serverShutdown":
            pass


async def test_a_reader_that_does_not_read_is_closed(sim: Simulator) -> None:
    server = sim.servers[SPOT]
    async with stream(url(sim, TRADES)) as client:
        await receive(client)
        client.transport.pause_reading()
        server.slow_bytes, server.slow_code = 200_000, 1013
        for _ in range(300):
            for connected in server.clients:
                server.write(connected, "x" * 100_000)
        assert server.clients[0].closing
        client.transport.resume_reading()
        with pytest.raises(ConnectionClosed):
            while True:
                await client.recv()
        assert client.close_code == 1013


async def test_refused_and_unreachable(sim: Simulator) -> None:
    with sim.faults.on("refuse") as fault, pytest.raises(InvalidStatus):
        async with stream(url(sim, TRADES)):
            pass
    assert fault.count == 1
    with sim.faults.on("unreachable"):
        with pytest.raises((OSError, InvalidMessage)):
            async with stream(url(sim, TRADES)):
                pass
        with pytest.raises(aiohttp.ClientError):
            await get(sim.endpoints["binance_spot.rest"] + "/api/v3/time")
    assert (await get(sim.endpoints["binance_spot.rest"] + "/api/v3/time"))[0] == 200


@pytest.mark.parametrize("kind,status", [("rest_429", 429), ("rest_418", 418), ("rest_html", 403), ("rest_down", 500), ("rest_empty", 200)])
async def test_rest_faults(sim: Simulator, kind: str, status: int) -> None:
    path = sim.endpoints["binance_spot.rest"] + "/api/v3/depth"
    with sim.faults.on(kind, stream="/api/v3/depth", delay_s=7) as fault:
        got, body, headers = await get(path, symbol="BTCUSDT")
        assert got == status and fault.count == 1
        if kind in ("rest_429", "rest_418"):
            assert headers["Retry-After"] == "7" and body["code"] == -1003
        else:
            assert isinstance(body, str)
        assert (await get(sim.endpoints["binance_spot.rest"] + "/api/v3/time"))[0] == 200
    assert "bids" in (await get(path, symbol="BTCUSDT"))[1]


async def test_a_stale_snapshot_is_older_than_the_stream(sim: Simulator) -> None:
    path = sim.endpoints["binance_spot.rest"] + "/api/v3/depth"
    async with stream(url(sim, "btcusdt@depth@100ms")) as client:
        first = (await receive(client))["data"]["U"]
        with sim.faults.on("stale_snapshot", stream="BTCUSDT"):
            assert (await get(path, symbol="BTCUSDT"))[1]["lastUpdateId"] < first
        assert (await get(path, symbol="BTCUSDT"))[1]["lastUpdateId"] >= first


async def test_a_schedule_does_the_same() -> None:
    planned = [parse("silence(binance_spot,trade)@0s+1s"), parse("disconnect@0.5s")]
    async with Simulator([SPOT], planned=planned, step_s=0.005) as sim, stream(url(sim, TRADES)) as client:
        with pytest.raises(ConnectionClosed):
            await receive(client)
        assert planned[1].fault.count == 1 and planned[0].fault.count > 0


@pytest.mark.parametrize("spec", ["bang@1s", "drop", "drop(p=x)@1s", "drop(colour=red)@1s", "drop(a,b,c)@1s", "drop@-1s"])
def test_a_bad_spec_is_named(spec: str) -> None:
    with pytest.raises(SettingsError, match="--fault"):
        parse(spec)


def test_a_spec_in_both_forms() -> None:
    long, short = parse("silence(venue=binance_spot,stream=*depth*)@30s+10s"), parse("silence(binance_spot, depth)@30s+10s")
    assert long == short and (long.at_s, long.for_s, long.fault.stream) == (30.0, 10.0, "*depth*")
    with pytest.raises(SettingsError, match="no fault 'bang'"), Faults().on("bang"):
        pass


def _address(sim: Simulator) -> tuple[str, int]:
    host, _, port = sim.endpoints["binance_spot.spot"].removeprefix("ws://").partition(":")
    return host, int(port)
