"""poly-record against the given day: real Gamma markets and real Chainlink ticks, served on the wire, at ten times their pace.

The recorder is the real one; only its wall clock is the day's. The books are simulated, since no bulk capture of the market channel exists.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import os
import signal
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tape_access import DataAccessor
from tape_archive.format.clock import TapeClock
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_collectors import wiring
from tape_collectors.settings import PolySettings
from tape_collectors.simulator.polymarket import Polymarket
from tape_collectors.simulator.world import Simulator
from tape_collectors.windows.recorder import record
from tests.support.captures import captures

SPEED = 10
SAMPLES = "ligengxin96-polymarket-data-samples"


def given() -> tuple[list[dict[str, Any]], dict[int, str]]:
    folder = captures() / "polymarket" / SAMPLES
    with gzip.open(folder / "BTC-5m-markets-2026-06-08.jsonl.gz") as file:
        rows = [json.loads(line) for line in file]
    with gzip.open(folder / "BTCUSD-prices-2026-06-08.csv.gz", "rt") as prices:
        ticks = {int(row["feed_ts_ms"]) // 1000: row["full_accuracy_value"] for row in csv.DictReader(prices)}
    return rows, ticks


@pytest.mark.captures
async def test_windows_of_the_day_are_found_filed_and_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, ticks = given()
    first = rows[40]
    begun, start = time.monotonic_ns(), (first["start_sec"] - 130) * 10**9

    def wall() -> int:
        return start + (time.monotonic_ns() - begun) * SPEED

    def mono() -> int:
        return time.monotonic_ns() * SPEED

    monkeypatch.setattr(wiring, "TapeClock", lambda after: TapeClock(wall, mono, after))
    async with Simulator(["polymarket"], resolve_s=20) as simulator:
        venue = simulator.servers["polymarket"]
        assert isinstance(venue, Polymarket)
        venue.now = lambda: wall() / 1e9
        venue.adopt(rows, ticks)
        settings = PolySettings(
            root=str(tmp_path), coins=("btc",), timeframes=("5m",), endpoints=simulator.endpoints, metrics_port=-1, stall_s=0, first_frame_s=600,
            silence_s=600, result_after_s=15, check_every_s=0,
        )  # fmt: skip
        task = asyncio.create_task(record(settings))
        sealed: set[str] = set()
        while len(sealed) < 2 and wall() / 1e9 < first["end_sec"] + 700:
            await asyncio.sleep(0.2)
            assert not task.done(), task
            sealed = {path.name for path in (tmp_path / "real_hot").glob("btc*.jsonl") if b'"mark":"seal"' in path.read_bytes()[-200:]}
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0
    known = {row["slug"]: row for row in rows}
    found = {window.slug: window for window in DataAccessor(tmp_path).windows()}
    assert len(sealed) >= 2 and set(found) <= set(known)
    for name in sealed:
        slug = name.removesuffix(".jsonl")
        check(DataAccessor(tmp_path), slug, known[slug], ticks, whole=known[slug]["start_sec"] >= first["start_sec"])
    once(tmp_path)


def check(data: DataAccessor, slug: str, row: dict[str, Any], ticks: dict[int, str], whole: bool) -> None:
    """One settled window against what the day recorded of it."""
    window = data.read_window(slug)
    assert [str(token) for token in window.market["tokens"]] == row["token_ids"]
    assert window.result == ("Up" if row["outcome_prices"] == ["1", "0"] else "Down")
    if row["strike_value"]:
        assert window.strike == pytest.approx(int(row["strike_value"]) / 1e18)
    opened = window.marks[0].t / 1e9
    if whole:
        assert row["start_sec"] - opened >= 60, "filed and subscribed at least a minute before it opened"
    prices = window.prices
    got = {int(at.timestamp()): price for at, price in zip(prices["ts_event"], prices["price"], strict=True)}
    inside = [second for second in ticks if max(opened + 30, row["start_sec"]) <= second <= row["end_sec"]]
    assert len(set(inside) - set(got)) <= len(inside) * 0.02
    assert all(
        Decimal(ticks[second]).scaleb(-18) == pytest.approx(Decimal(str(got[second])), rel=Decimal("1e-12"))
        for second in inside
        if second in got
    )
    assert len(window.books) > 50
    missing = {second for gap in window.gaps for second in range(gap["from_id"], gap["to_id"] + 1)}
    assert not missing & set(ticks), "what is called missing is missing in the day's own record"


def once(root: Path) -> None:
    """No frame of the market channel is filed in two windows, and none twice in one."""
    seen: dict[bytes, str] = {}
    for path in sorted((root / "real_hot").glob("btc*.jsonl")):
        for line in map(parse, read_lines(path)):
            if line.s.startswith("clob") and line.data and b'"price_change"' in line.data:
                assert seen.setdefault(line.data, "") == "", "filed twice"
                seen[line.data] = path.name
