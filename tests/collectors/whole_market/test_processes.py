"""Who writes which tables, and what is said when they do not."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from tape_archive.format.errors import SettingsError
from tape_collectors.whole_market.processes import BackfillProcess, TableProcess, metrics, parts, worries


def test_each_tape_has_one_writer() -> None:
    tapes = ["public", "market", "poll"]
    assert [parts(tapes, number) for number in (1, 2, 3)] == [
        [("public", "market", "poll")],
        [("public",), ("market", "poll")],
        [("public",), ("market",), ("poll",)],
    ]
    for number in (0, 4):
        with pytest.raises(SettingsError, match=f"workers {number}: expected 1 to 3.*--shard 1/2"):
            parts(tapes, number)


def test_tables_that_wait_or_are_behind_are_told(tmp_path: Path) -> None:
    writers = [TableProcess([], "", tmp_path / name, 1.0) for name in ("a", "b")]
    now = time.time_ns()

    def tell(name: str, *, at: int = now, t: int = now, why: str = "") -> None:
        tapes = {name: {"t": t, "rows": 3, "waiting": 2, "slow": 1}}
        (tmp_path / name).write_text(json.dumps({"at": at, "tapes": tapes, "failures": 1, "why": why}))

    assert list(worries(writers, now)) == [] == list(metrics(writers, now))
    tell("a")
    tell("b")
    assert list(worries(writers, now)) == []
    assert {name: value for name, _, value in metrics(writers, now)} == {
        "tape_tables_lag_seconds": 0.0,
        "tape_tables_rows": 6,
        "tape_tables_waiting_rows": 4,
        "tape_tables_slow_share": 2 / 6,
        "tape_tables_failures": 2,
    }
    tell("b", why="postgresql://x cannot be reached")
    assert list(worries(writers, now)) == ["the tables wait, the tape goes on: postgresql://x cannot be reached"]
    tell("b", t=now - 300 * 10**9)
    assert list(worries(writers, now)) == ["the tables are 300 s behind the tape"]
    tell("b", at=now - 300 * 10**9)
    assert list(worries(writers, now)) == ["a process that writes tables says nothing for 300 s"]
    # What an earlier run left says nothing of this one.
    for one in writers:
        one._begun = now / 1e9 + 1
    assert list(metrics(writers, now)) == []


async def test_a_store_that_no_setting_can_mean_ends_the_recorder_at_once(tmp_path: Path) -> None:
    writer = TableProcess(["--root", str(tmp_path)], "mongodb://x", tmp_path / "status", 1.0)
    with pytest.raises(SettingsError, match="the line above says why"):
        await writer.run()


class Backfills(BackfillProcess):
    """Tells what it would run."""

    LOST_S = 0.05

    def __init__(self, every_s: float) -> None:
        super().__init__([], "", every_s)
        self.scopes: list[str] = []
        self.news = asyncio.Event()

    async def _once(self, scope: str) -> int:
        self.scopes.append(scope)
        self.news.set()
        return 0

    async def next(self) -> None:
        await asyncio.wait_for(self.news.wait(), 20)
        self.news.clear()


async def test_backfill_comes_after_the_start_after_lost_connections_and_by_the_clock() -> None:
    one = Backfills(3600.0)
    running = asyncio.create_task(one.run())
    one.lost()
    await one.next()
    one.lost()
    one.lost()
    await one.next()
    assert one.scopes == ["network", "network"], "the turn after the start is still to come"
    running.cancel()
    other = Backfills(0.05)
    running = asyncio.create_task(other.run())
    for _ in range(3):
        await other.next()
    running.cancel()
    assert other.scopes[:3] == ["restart", "scheduled", "scheduled"]
