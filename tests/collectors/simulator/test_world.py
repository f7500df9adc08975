"""The simulator as a process: endpoints in the recorders' form, faults and load from the command line, a clean end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from tape_archive.format.errors import SettingsError
from tape_collectors.simulator.world import Simulator
from tests.collectors.simulator.support import get, receive, several, stream
from tests.support.recording import environment

NAMES = {
    *("binance_spot.rest", "binance_spot.spot", "binance_usdm.rest", "binance_usdm.archive", "binance_usdm.public", "binance_usdm.market"),
    *(
        "polymarket.gamma",
        "polymarket.clob",
        "polymarket.data",
        "polymarket.rpc",
        "polymarket.ws",
        "polymarket.rtds",
        "polymarket.polybolt",
    ),
}


async def start(*options: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "tape_archive", "simulate", *options]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=environment(), stdout=pipe, stderr=pipe)


async def test_the_command_prints_endpoints_and_ends_on_sigterm(tmp_path: Path) -> None:
    ports = tmp_path / "ports.json"
    child = await start("--port-file", str(ports))
    assert child.stdout is not None
    lines = [(await asyncio.wait_for(child.stdout.readline(), 20)).decode().strip() for _ in NAMES]
    endpoints = dict(line.split("=", 1) for line in lines)
    assert set(endpoints) == NAMES and json.loads(ports.read_text()) == endpoints
    assert all(url.split("://")[1].startswith("127.0.0.1:") for url in endpoints.values())
    assert (await get(endpoints["polymarket.clob"] + "/ok"))[0] == 200
    async with stream(endpoints["binance_spot.spot"] + "/ws/btcusdt@bookTicker") as client:
        await receive(client)
        child.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(child.communicate(), 10)
    assert child.returncode == 0 and errors == b""


@pytest.mark.parametrize("options", [("--fault", "bang@1s"), ("--load", "okx=3"), ("--play", "nowhere"), ("--venues", "kraken")])
async def test_what_cannot_be_is_one_line(options: tuple[str, ...]) -> None:
    child = await start(*options)
    _, errors = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode not in (0, None) and errors.count(b"\n") == 1 and b"Traceback" not in errors


async def test_load_takes_the_place_of_the_market() -> None:
    async with Simulator(["binance_spot"], load={"binance_spot": 5}, rate=2000.0) as sim:
        async with stream(sim.endpoints["binance_spot.spot"] + "/stream?streams=l0004usdt@bookTicker") as client:
            frames = await several(client, 20)
        assert {frame["data"]["s"] for frame in frames} == {"L0004USDT"}
        info = (await get(sim.endpoints["binance_spot.rest"] + "/api/v3/exchangeInfo"))[1]
        assert len(info["symbols"]) == 5


async def test_venues_are_named() -> None:
    with pytest.raises(SettingsError, match="no venue 'kraken'"):
        Simulator(["kraken"])
