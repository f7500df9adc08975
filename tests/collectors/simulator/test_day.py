"""The real day of 2026-06-08, lived again: Gamma tells what was known when, RTDS brings the recorded ticks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tape_archive.format.errors import FormatError, SettingsError
from tape_collectors.simulator.day import PolymarketDay
from tape_collectors.simulator.world import Simulator
from tests.collectors.simulator.support import get, quiet, receive, stream
from tests.support.captures import captures

pytestmark = pytest.mark.captures
FOLDER = Path("polymarket/ligengxin96-polymarket-data-samples")


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def files() -> tuple[Path, Path]:
    folder = captures() / FOLDER
    return folder / "BTC-5m-markets-2026-06-08.jsonl.gz", folder / "BTCUSD-prices-2026-06-08.csv.gz"


@pytest.fixture
async def lived(files: tuple[Path, Path]) -> AsyncIterator[tuple[Simulator, PolymarketDay, Clock]]:
    clock = Clock()
    day = PolymarketDay(*files, speed=10.0, monotonic=clock)
    async with Simulator(["polymarket"], play=[day], step_s=0.005) as sim:
        yield sim, day, clock


async def event(sim: Simulator, slug: str) -> dict[str, Any]:
    found: dict[str, Any] = (await get(f"{sim.endpoints['polymarket.gamma']}/events/slug/{slug}"))[1]
    return found


async def test_every_market_tells_only_what_was_known(lived: tuple[Simulator, PolymarketDay, Clock]) -> None:
    sim, day, clock = lived
    assert len(day.windows) == 292 and day.now() == day.windows[0].start - 60
    clock.seconds = 6.0
    assert day.now() == day.windows[0].start, "ten times the pace"
    for window in day.windows[3:290:40]:
        clock.seconds += (window.start + 61 - day.now()) / 10
        market = (await event(sim, window.slug))["markets"][0]
        assert not market["closed"] and json.loads(market["outcomePrices"]) == ["0.5", "0.5"] and "closedTime" not in market
        assert json.loads(market["clobTokenIds"]) == [window.up, window.down] and market["conditionId"] == window.condition
        strike = (await event(sim, window.slug)).get("eventMetadata", {}).get("priceToBeat")
        assert strike == window.known_strike
        assert window.closes is not None and window.closes > window.end
        clock.seconds += (window.closes + 1 - day.now()) / 10
        body = await event(sim, window.slug)
        assert body["markets"][0] == window.raw and body["closed"]
        assert json.loads(window.raw["outcomePrices"]) == (["1", "0"] if window.up_won else ["0", "1"])


async def test_the_ticks_are_the_recorded_ones_and_settle_the_markets(lived: tuple[Simulator, PolymarketDay, Clock]) -> None:
    sim, day, clock = lived
    checked = right = 0
    for window in day.windows:
        if window.known_strike is not None and window.end in day.ticks:
            checked += 1
            right += (int(day.ticks[window.end]) >= round(window.known_strike * 10**18) - 10**6) == window.up_won
    assert checked > 200 and right == checked
    clock.seconds = 60.0
    async with stream(sim.endpoints["polymarket.rtds"]) as client:
        item = {"topic": "crypto_prices_chainlink", "type": "update", "filters": '{"symbol":"btc/usd"}'}
        await client.send(json.dumps({"action": "subscribe", "subscriptions": [item]}))
        assert (await receive(client))["type"] == "subscribe"
        await _drain(client)
        came, due = [], []
        for second in range(int(day.now()), int(day.now()) + 25):
            clock.seconds = (second + 1.5 - day.at) / 10
            if second in day.ticks:  # the real feed has gaps, and they stay gaps
                payload = (await receive(client))["payload"]
                came.append((payload["timestamp"] // 1000, payload["full_accuracy_value"]))
                due.append((second, day.ticks[second]))
        assert came == due and len(due) > 15


async def _drain(client: ClientConnection) -> None:
    """What the seconds before brought."""
    while not await quiet(client, 0.1):
        pass


def test_what_is_not_a_day(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsError, match="not there"):
        PolymarketDay(tmp_path / "none", files[1])
    with pytest.raises(FormatError, match="not a list of prices"):
        PolymarketDay(files[0], files[0])
    with pytest.raises(FormatError, match="not a list of markets"):
        PolymarketDay(files[1], files[1])
