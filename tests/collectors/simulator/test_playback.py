"""A recording goes out byte for byte, in order, and its REST snapshot is answered when its moment has come."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import sys
from pathlib import Path

import pytest

from tape_archive.format.errors import FormatError, SettingsError
from tape_collectors.simulator.playback import Playback, frames
from tape_collectors.simulator.world import Simulator
from tests.collectors.simulator.support import get, stream, text
from tests.support.captures import captures
from tests.support.recording import environment

NAMES = ("btcusdt@trade", "btcusdt@bookTicker")
BOOK = b'{"lastUpdateId":7,"bids":[["1.0","2"]],"asks":[]}'


def recording(folder: Path, count: int = 60) -> Path:
    """A small one in hftbacktest's layout; blanks and key order as no encoder of ours would write them."""
    path = folder / "btcusdt.gz"
    with gzip.open(path, "wb") as file:
        for number in range(count):
            ns = 1_700_000_000_000_000_000 + number * 10_000_000
            if number == count // 2:
                file.write(b"%d %s\n" % (ns, BOOK))
            name = NAMES[number % 2].encode()
            file.write(b'%d {"stream":"%s","data":{ "n" : %d, "e":"x"}}\n' % (ns, name, number))
    return path


def sha(payloads: list[bytes]) -> str:
    return hashlib.sha256(b"".join(payload + b"\n" for payload in payloads)).hexdigest()


async def test_byte_for_byte_in_order_with_digests(tmp_path: Path) -> None:
    path = recording(tmp_path)
    wanted = [payload for _, kind, payload in frames(path) if kind == "ws"]
    player = Playback("binance_spot", path, 20.0)
    async with Simulator(["binance_spot"], play=[player]) as sim:
        assert [row["symbol"] for row in (await get(sim.endpoints["binance_spot.rest"] + "/api/v3/exchangeInfo"))[1]["symbols"]] == [
            "BTCUSDT"
        ]
        async with stream(f"{sim.endpoints['binance_spot.spot']}/stream?streams={'/'.join(NAMES)}") as client:
            got = [(await text(client)).encode() for _ in wanted]
        await player.done.wait()
    assert got == wanted
    report = player.report()
    assert report["frames"] == len(wanted) and report["sha256"] == sha(wanted)
    for name in NAMES:
        own = [payload for payload in wanted if name.encode() in payload]
        assert report["streams"][name] == {"frames": len(own), "sha256": sha(own)}


async def test_the_snapshot_waits_for_its_moment_and_is_there_afterwards(tmp_path: Path) -> None:
    player = Playback("binance_spot", recording(tmp_path), 1.0)
    async with Simulator(["binance_spot"], play=[player]) as sim:
        url = sim.endpoints["binance_spot.rest"] + "/api/v3/depth"
        asking = asyncio.create_task(get(url, symbol="BTCUSDT"))
        async with stream(f"{sim.endpoints['binance_spot.spot']}/stream?streams={'/'.join(NAMES)}") as client:
            early = [json.loads(await text(client))["data"]["n"] for _ in range(20)]
            assert not asking.done()
            status, body, _ = await asking
            assert (status, body) == (200, json.loads(BOOK)) and early == list(range(20))
            await player.done.wait()
            assert (await get(url, symbol="BTCUSDT"))[1] == json.loads(BOOK)
            assert (await get(url, symbol="NOPE"))[0] == 400


async def test_whom_it_waits_for(tmp_path: Path) -> None:
    path = recording(tmp_path)
    everybody, first = Playback("binance_spot", path, 100.0), Playback("binance_usdm", path, 100.0, wait="first")
    async with Simulator(["binance_spot", "binance_usdm"], play=[everybody, first]) as sim:
        url = f"/stream?streams={NAMES[0]}"
        async with stream(sim.endpoints["binance_spot.spot"] + url), stream(sim.endpoints["binance_usdm.public"] + "/public" + url):
            await asyncio.wait_for(first.done.wait(), 5)
            assert not everybody.sent
            async with stream(f"{sim.endpoints['binance_spot.spot']}/stream?streams={NAMES[1]}"):
                await asyncio.wait_for(everybody.done.wait(), 5)
    silent = Playback("binance_spot", path, 1000.0, wait="no")
    async with Simulator(["binance_spot"], play=[silent]):
        await asyncio.wait_for(silent.done.wait(), 5)
    assert silent.report() | {"streams": 0} == everybody.report() | {"streams": 0}
    with pytest.raises(SettingsError, match="waits for"):
        Playback("binance_spot", path, wait="forever")


async def test_the_command_ends_with_the_playback_and_reports(tmp_path: Path) -> None:
    path = recording(tmp_path)
    options = ["--venues", "binance_spot", "--play", f"binance_spot={path}", "--speed", "50", "--wait", "no", "--exit-when-played"]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tape_archive", "simulate", *options, env=environment(), stdout=pipe, stderr=pipe
    )
    out, errors = await asyncio.wait_for(child.communicate(), 20)
    assert (child.returncode, errors) == (0, b"")
    assert json.loads(out.decode().splitlines()[-1])[0]["frames"] == 60


def test_what_cannot_be_played(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not there"):
        Playback("binance_spot", tmp_path / "none.gz")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SettingsError, match="not a recording"):
        Playback("binance_spot", tmp_path / "notes.txt")
    with gzip.open(tmp_path / "empty.gz", "wb"):
        pass
    with pytest.raises(FormatError, match="no frame"):
        Playback("binance_spot", tmp_path / "empty.gz")


@pytest.mark.captures
@pytest.mark.parametrize(
    "name,venue", [("spot-2021-04-05", "binance_spot"), ("spot-2021-10-11", "binance_spot"), ("usdm-2021-07-22", "binance_usdm")]
)
async def test_real_cryptofeed_captures_go_out_as_they_came(name: str, venue: str) -> None:
    path = captures() / "binance" / "cryptofeed" / name / "frames.ndjson.zst"
    wanted = [payload.decode() for _, kind, payload in frames(path) if kind == "ws"][:2000]
    player = Playback(venue, path, 10_000.0)
    infos = [payload for _, kind, payload in frames(path) if kind == "info"]
    async with Simulator([venue], play=[player]) as sim:
        root = "/stream" if venue == "binance_spot" else "/public/stream"
        async with stream(sim.endpoints[f"{venue}.{'spot' if venue == 'binance_spot' else 'public'}"] + root) as client:
            _, info, _ = await get(
                sim.endpoints[f"{venue}.rest"] + ("/api/v3" if venue == "binance_spot" else "/fapi/v1") + "/exchangeInfo"
            )
            assert info == json.loads(infos[0]) if infos else {row["symbol"] for row in info["symbols"]} == set(player.symbols)
            await client.send(json.dumps({"method": "SUBSCRIBE", "params": sorted(player.names), "id": 1}))
            assert json.loads(await text(client)) == {"result": None, "id": 1}
            got = [await text(client) for _ in wanted]
    assert got == wanted
