"""Load is only worth its speed if it is a valid market: every chain is unbroken over the seams, and a snapshot joins anywhere."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from tape_collectors.simulator.load import Cycle, Load
from tests.collectors.simulator.support import apply, get, stream, text


async def frames_of(server: Load, url: str, count: int) -> list[dict[str, Any]]:
    async with stream(url) as client:
        return [json.loads(await text(client)) for _ in range(count)]


@pytest.mark.parametrize("futures", [False, True])
@pytest.mark.parametrize("rate", [0.0, 20_000.0])
async def test_chains_go_on_over_many_cycles(futures: bool, rate: float) -> None:
    cycle = Cycle(2, futures=futures, frames=300)
    server = Load(cycle, rate=rate)
    await server.start()
    try:
        root = "/public/stream" if futures else "/stream"
        names = [f"l000{number}usdt@{channel}" for number in (0, 1) for channel in ("trade", "bookTicker", f"depth{cycle.speed}")]
        got = await frames_of(server, f"{server.ws}{root}?streams={'/'.join(names)}", len(cycle.templates) * 5)
    finally:
        await server.stop()
    assert [one["stream"] for one in got[: len(cycle.templates)]] == [template.stream for template in cycle.templates]
    for name in names:
        events = [one["data"] for one in got if one["stream"] == name]
        assert len(events) > 50
        for before, after in pairwise(events):
            if name.endswith("trade"):
                assert after["t"] == before["t"] + 1
            elif name.endswith("bookTicker"):
                assert after["u"] > before["u"] and float(after["b"]) < float(after["a"])
            else:
                assert after["U"] == before["u"] + 1 and (not futures or after["pu"] == before["u"])
            assert after.get("E", 0) >= before.get("E", 0)


@pytest.mark.parametrize("futures", [False, True])
async def test_a_snapshot_joins_at_any_moment_and_the_book_stays_uncrossed(futures: bool) -> None:
    cycle = Cycle(1, futures=futures, frames=200)
    server = Load(cycle, rate=3000.0)
    await server.start()
    try:
        name, path = f"l0000usdt@depth{cycle.speed}", "/fapi/v1/depth" if futures else "/api/v3/depth"
        async with stream(f"{server.ws}{'/public' if futures else ''}/stream?streams={name}") as client:
            updates = [json.loads(await text(client))["data"] for _ in range(20)]
            snapshots = []
            for _ in range(6):
                snapshots.append((await get(server.rest + path, symbol="L0000USDT", limit=5000))[1])
                # What was sent before the snapshot, which may be much, and forty after it.
                while updates[-1]["u"] <= snapshots[-1]["lastUpdateId"]:
                    updates.append(json.loads(await text(client))["data"])
                updates += [json.loads(await text(client))["data"] for _ in range(40)]
    finally:
        await server.stop()
    finals = []
    for snapshot in snapshots:
        last = snapshot["lastUpdateId"]
        kept = [one for one in updates if one["u"] > last]
        assert updates[0]["U"] <= last and kept[0]["U"] == last + 1
        bids, asks = dict(map(tuple, snapshot["bids"])), dict(map(tuple, snapshot["asks"]))
        for update in kept:
            apply(bids, asks, update)
            assert max(map(float, bids)) < min(map(float, asks))
        finals.append((bids, asks))
    assert all(final == finals[0] for final in finals), "every snapshot leads to the same book"


async def test_a_client_gets_its_own_streams_and_the_count_is_kept() -> None:
    server = Load(Cycle(3, futures=False, frames=300), most=500)
    await server.start()
    try:
        async with stream(f"{server.ws}/stream") as client:
            await client.send(json.dumps({"method": "SUBSCRIBE", "params": ["l0001usdt@trade"], "id": 1}))
            assert json.loads(await text(client)) == {"result": None, "id": 1}
            got = [json.loads(await text(client)) for _ in range(500)]
            await server.done.wait()
        assert {one["stream"] for one in got} == {"l0001usdt@trade"} and server.frames >= 500
    finally:
        await server.stop()
