"""The simulated history of Binance USD-M: one past for all who ask, whatever they ask for."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_collectors.simulator.binance import Binance
from tape_collectors.simulator.binance_history import agg_rows, kline_rows
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.history import DAY, HOUR, INTERVALS, MINUTE, History, Listing
from tape_collectors.simulator.market import Market
from tape_collectors.simulator.world import Simulator
from tests.collectors.simulator.support import get, receive, stream

#: 2026-11-19, a Thursday, 05:07
NOW = 1_795_017_600_000 + 13 * HOUR + 7 * MINUTE + 31_000
LISTINGS = (
    Listing("BTCUSDT", 84000.0, onboard_ms=NOW // DAY * DAY - 400 * DAY),
    Listing("NEWUSDT", 3.5, 4, 0, onboard_ms=NOW // HOUR * HOUR - 5 * HOUR),
    Listing("OLDUSDT", 12.0, 3, 1, onboard_ms=NOW // DAY * DAY - 300 * DAY, delisted_ms=NOW // DAY * DAY - 10 * DAY),
)


def past(**options: Any) -> History:
    return History(LISTINGS, seed=4, **options)


@asynccontextmanager
async def venue(weight: int = 100_000) -> AsyncIterator[Binance]:
    """USD-M with a past only, at a time that stands still."""
    server = Binance(Faults(1), Market({"BTCUSDT": 84000.0}), futures=True, weight=weight)
    assert server.api.past is not None
    server.api.past.history = past()
    server.api.past.archive.history = server.api.past.history
    server.api.past.now_ms = lambda: NOW
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@given(first=st.integers(0, 20 * 1440), count=st.integers(1, 2000), interval=st.sampled_from(("1m", "5m", "30m", "4h")))
@settings(max_examples=25, deadline=None)
def test_any_range_is_the_same_range_whoever_asks(first: int, count: int, interval: str) -> None:
    every = INTERVALS[interval]
    begun = NOW - 25 * DAY + first * MINUTE
    some = past().bars("BTCUSDT", every, begun, begun + count * MINUTE, NOW)
    whole = past().bars("BTCUSDT", every, NOW - 26 * DAY, NOW, NOW)
    inside = (whole.ms >= begun) & (whole.ms <= begun + count * MINUTE)
    assert kline_rows(LISTINGS[0], some, every) == [
        row for row, here in zip(kline_rows(LISTINGS[0], whole, every), inside, strict=True) if here
    ]


def test_candles_are_what_the_trades_make() -> None:
    """Rebuilt one by one, without arrays."""
    history, begun = past(), NOW - 3 * DAY
    fills = history.fills("BTCUSDT", begun // HOUR * HOUR, begun // HOUR * HOUR + 6 * HOUR)
    bars = history.bars("BTCUSDT", MINUTE, begun // HOUR * HOUR, begun // HOUR * HOUR + 6 * HOUR - 1, NOW)
    minutes: dict[int, list[tuple[int, int, bool]]] = {}
    for ms, price, size, sells in zip(fills.ms.tolist(), fills.price.tolist(), fills.size.tolist(), fills.sells.tolist(), strict=True):
        minutes.setdefault(ms // MINUTE * MINUTE, []).append((price, size, sells))
    empty = 0
    for at, ms in enumerate(bars.ms.tolist()):
        rows = minutes.get(ms, [])
        prices = [price for price, _, _ in rows] or [int(bars.close[at])]
        assert (bars.open[at], bars.high[at], bars.low[at], bars.close[at]) == (prices[0], max(prices), min(prices), prices[-1])
        assert (bars.volume[at], bars.trades[at]) == (sum(size for _, size, _ in rows), len(rows))
        assert bars.quote[at] == sum(price * size for price, size, _ in rows)
        assert bars.taker[at] == sum(size for _, size, sells in rows if not sells)
        if not rows:
            empty += 1
            assert at == 0 or bars.open[at] == bars.close[at - 1]
    assert empty > 5 and len(bars.ms) == 360


def test_some_hours_are_missing_and_ids_skip_there() -> None:
    history, begun = past(), NOW - 200 * DAY
    bars = history.bars("BTCUSDT", MINUTE, begun, NOW - DAY, NOW)
    holes = np.flatnonzero(np.diff(bars.ms) > MINUTE)
    assert 5 < len(holes) < 30 and all(np.diff(bars.ms)[holes] % HOUR == MINUTE)
    hole = int(bars.ms[holes[0]])
    fills = history.fills("BTCUSDT", hole - HOUR, hole + 3 * HOUR)
    assert (np.diff(fills.id) > 1).sum() == 1 and not len(history.fills("BTCUSDT", hole + MINUTE, hole + HOUR))
    assert len(history.open_interest("BTCUSDT", 5 * MINUTE, hole + MINUTE, hole + HOUR)) == 0


async def test_klines_weigh_by_their_limit_and_end_with_the_running_one() -> None:
    async with venue() as server:
        url, used = server.rest + "/fapi/v1/klines", 0
        for limit, weight in ((99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10)):
            status, rows, headers = await get(url, symbol="BTCUSDT", interval="1m", limit=limit)
            used += weight
            assert (status, int(headers["X-MBX-USED-WEIGHT-1M"])) == (200, used)
            assert rows[-1][0] == NOW // MINUTE * MINUTE and rows[-1][6] > NOW and len(rows) <= limit
        begun = NOW // DAY * DAY - 2 * DAY
        rows = (await get(url, symbol="BTCUSDT", interval="5m", startTime=begun, endTime=begun + HOUR))[1]
        assert [row[0] for row in rows] == [begun + number * 5 * MINUTE for number in range(13)]
        assert (await get(url, symbol="BTCUSDT", interval="7m"))[0] == 400
        assert (await get(url, symbol="BTCUSDT", interval="1m", limit=1501))[1]["code"] == -1130
        listed = LISTINGS[1].onboard_ms
        assert (await get(url, symbol="NEWUSDT", interval="1m", startTime=listed - DAY, limit=3))[1][0][0] == listed
        assert (await get(url, symbol="OLDUSDT", interval="1m"))[1]["code"] == -1122
        info = {row["symbol"]: row for row in (await get(server.rest + "/fapi/v1/exchangeInfo"))[1]["symbols"]}
        assert info["NEWUSDT"]["onboardDate"] == listed and info["OLDUSDT"]["status"] == "SETTLING"


async def test_aggregate_trades_by_id_and_by_time_of_two_days() -> None:
    async with venue() as server:
        url = server.rest + "/fapi/v1/aggTrades"
        fills = past().fills("BTCUSDT", NOW - 47 * HOUR, NOW)
        assert (await get(url, symbol="BTCUSDT", fromId=int(fills.id[500]), limit=1000))[1] == agg_rows(
            LISTINGS[0], fills.part(slice(500, 1500))
        )
        rows = (await get(url, symbol="BTCUSDT", startTime=NOW - HOUR, endTime=NOW - 1, limit=1000))[1]
        assert rows == agg_rows(LISTINGS[0], past().fills("BTCUSDT", NOW - HOUR, NOW)) and rows
        assert (await get(url, symbol="BTCUSDT", startTime=NOW - 2 * HOUR, endTime=NOW))[0] == 400
        assert (await get(url, symbol="BTCUSDT", startTime=NOW - HOUR, fromId=5))[1]["code"] == -1128
        oldest = (await get(url, symbol="BTCUSDT", fromId=1, limit=1))[1][0]
        assert NOW - 48 * HOUR <= oldest["T"] < NOW - 47 * HOUR, "older ones are told no more"


async def test_funding_and_open_interest_have_limits_of_their_own() -> None:
    async with venue() as server:
        rows = (await get(server.rest + "/fapi/v1/fundingRate", symbol="BTCUSDT", startTime=NOW - 9 * DAY, limit=1000))[1]
        assert 22 <= len(rows) <= 54 and all(row["fundingTime"] % HOUR < 15 for row in rows)
        url = server.rest + "/futures/data/openInterestHist"
        rows = (await get(url, symbol="BTCUSDT", period="5m", startTime=NOW - DAY, limit=500))[1]
        assert len(rows) == 288 and rows[0]["timestamp"] % (5 * MINUTE) == 0
        assert (await get(url, symbol="BTCUSDT", period="5m", startTime=NOW - 31 * DAY))[0] == 400
        assert server.api.meter.used == 0
        assert server.api.past is not None
        server.api.past.interest_meter.limit = 3
        assert [(await get(url, symbol="BTCUSDT", period="5m"))[0] for _ in range(3)] == [200, 429, 429]


async def test_archives_have_two_headers_two_units_and_some_are_missing_or_wrong() -> None:
    async with venue() as server:
        assert server.api.past is not None
        archive, seen = server.api.past.archive, set()
        archive.faults = {"*-2026-11-02.zip": "checksum"}
        root = f"{server.rest}/data/futures/um/"
        for day in range(1, 18):
            path = f"daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-11-{day:02}.zip"
            body = archive.file(path)
            if body is None:
                assert (await get(root + path))[0] == 404
                seen.add("missing")
                continue
            status, text, _ = await get(root + path + ".CHECKSUM")
            digest, name = text.split()
            assert status == 200 and name == path.rpartition("/")[2]
            seen.add("right" if digest == hashlib.sha256(body).hexdigest() else "wrong")
            with zipfile.ZipFile(io.BytesIO(body)) as packed:
                rows = list(csv.reader(io.StringIO(packed.read(name.replace(".zip", ".csv")).decode())))
            seen.add("header" if rows[0][0] == "agg_trade_id" else "no header")
            unit = 1000 if int(rows[-1][5]) > 10**14 else 1
            seen.add(unit)
            assert int(rows[-1][5]) // unit // DAY * DAY == 1_793_491_200_000 + (day - 1) * DAY
        assert seen >= {"right", "wrong", "header", "no header", 1, 1000}
        assert archive.file("monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-10.zip") is not None
        assert archive.file("monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11.zip") is None
        assert archive.file("daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-18.zip") is None, "today's is not there yet"


@pytest.mark.parametrize("path", ["daily/klines/BTCUSDT/1m/../../x.zip", "daily/klines/ETHUSDT/1m/BTCUSDT-1m-2026-11-01.zip", "x"])
async def test_other_paths_are_not_there(path: str) -> None:
    async with venue() as server:
        assert (await get(f"{server.rest}/data/futures/um/{path}"))[0] == 404


async def test_what_was_lived_is_history() -> None:
    async with Simulator(["binance_usdm"], symbols=["BTCUSDT"], seed=5) as sim:
        async with stream(f"{sim.endpoints['binance_usdm.market']}/market/ws/btcusdt@aggTrade") as client:
            seen = [await receive(client) for _ in range(10)]
        url = sim.endpoints["binance_usdm.rest"] + "/fapi/v1/aggTrades"
        rows = (await get(url, symbol="BTCUSDT", fromId=seen[0]["a"], limit=10))[1]
        assert [{key: one[key] for key in "apqflTm"} for one in seen] == rows
        before = (await get(url, symbol="BTCUSDT", startTime=seen[0]["T"] - HOUR + 1, endTime=seen[0]["T"], limit=1000))[1]
        assert before[0]["T"] < seen[0]["T"] - HOUR // 2 and before[0]["a"] < seen[0]["a"]
        # Ids go on from the past to what was lived; hours that are missing skip theirs.
        assert all((after["a"] - row["a"] - 1) % 120 == 0 for row, after in itertools.pairwise(before))
