"""The main job on real input: real captures, played on the venue's own wire, are recorded, sampled, proven complete and made again.

Ties in time: the recorder stamps each frame with a different ``t`` (tape time is strictly increasing), also those that were read in one
wake-up; the row of tick ``T`` reflects exactly the lines with ``t <= T``.
"""

from __future__ import annotations

import asyncio
import filecmp
import json
from pathlib import Path

import pytest

from tape_access import coverage
from tape_collectors.series import derive
from tape_collectors.simulator.playback import Playback, frames
from tape_collectors.simulator.world import Simulator
from tests.support.captures import captures
from tests.support.recording import record_cex, rows, tape

FILES = {
    "binance_spot": ("spot/btcusdt_20240808.gz", "BTCUSDT", "trade,depth@100ms,bookTicker"),
    "binance_usdm": ("usdm/ethusdt_20240808.gz", "ETHUSDT", "trade,depth@0ms,bookTicker"),
}


async def play(root: Path, venue: str, speed: float, most: int = 0) -> Playback:
    """Record one capture, with the real recorder, from the real wire."""
    name, symbol, channels = FILES[venue]
    path = captures() / "binance" / "hftbacktest-2024-08" / name
    playback = Playback(venue, path, speed, most)
    async with Simulator([venue], play=[playback], symbols=[symbol]) as simulator:
        ended = asyncio.Event()

        async def watch() -> None:
            await playback.done.wait()
            await asyncio.sleep(1.2)
            ended.set()

        task = asyncio.create_task(watch())
        settings = {"venues": (venue,), "symbols": (symbol,), "channels": tuple(channels.split(","))}
        assert await record_cex(root, simulator.endpoints, ended, **settings) == 0
        await task
    return playback


def check(root: Path, venue: str, playback: Playback) -> None:
    name, symbol, _ = FILES[venue]
    path = captures() / "binance" / "hftbacktest-2024-08" / name
    sent = [payload for number, (_, kind, payload) in enumerate(frames(path)) if kind == "ws"][: sum(playback.sent.values())]
    lines = tape(root, venue)
    received = [line for line in lines if line.data is not None and line.request is None and line.data.startswith(b'{"stream"')]
    assert [line.data for line in received] == sent, "the tape holds the same payload bytes in the same order"
    assert all(one.t < other.t for one, other in zip(lines, lines[1:], strict=False))

    tickers = [(line.t, json.loads(line.data)["data"]) for line in received if b"@bookTicker" in (line.data or b"")[:60]]
    checked = at = 0
    for row in rows(root / "logs" / "cex.csv"):
        if row["err"]:
            assert "not" in row["err"].lower() and not row["best_bid"]
            continue
        tick = round(float(row["t_sample_unix"]) * 1e6) * 1000
        while at + 1 < len(tickers) and tickers[at + 1][0] <= tick:
            at += 1
        quote = tickers[at][1]
        assert (row["best_bid"], row["best_ask"]) == (quote["b"], quote["a"])
        assert (row["bid_qty_l1"], row["ask_qty_l1"]) == (quote["B"], quote["A"])
        checked += 1
    assert checked >= 3

    found = {row.channel.partition("@")[0]: row for row in coverage.of_root(root) if row.symbol == symbol}
    assert set(found) == {"depth", "trade", "bookTicker"}
    assert all(row.complete and row.frames == playback.sent[f"{symbol.lower()}@{row.channel}"] for row in found.values())

    derive.write(root, root / "again")
    assert filecmp.cmp(root / "logs" / "cex.csv", root / "again" / "logs" / "cex.csv", shallow=False)


@pytest.mark.captures
@pytest.mark.parametrize("venue", FILES)
async def test_the_whole_capture_at_twenty_times_its_pace(tmp_path: Path, venue: str) -> None:
    check(tmp_path, venue, await play(tmp_path, venue, 20.0))


@pytest.mark.captures
@pytest.mark.parametrize("venue", FILES)
async def test_its_first_seconds_at_its_own_pace(tmp_path: Path, venue: str) -> None:
    check(tmp_path, venue, await play(tmp_path, venue, 1.0, most=1500))


@pytest.mark.long
@pytest.mark.captures
@pytest.mark.parametrize("venue", FILES)
async def test_the_whole_capture_at_its_own_pace(tmp_path: Path, venue: str) -> None:
    check(tmp_path, venue, await play(tmp_path, venue, 1.0))
