"""``backfill --run`` is killed while it runs, and run again: the end is the same, and nobody is asked twice for what is there."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

from tape_archive.format.lock import Lock
from tests.support.past import NOW, TABLES, Given, venue


def command(root: Path, address: str, *more: str) -> list[str]:
    line = [sys.executable, "-m", "tape_collectors.cli.backfill", "--root", str(root), "--until", str(NOW), "--tables", ",".join(TABLES)]
    return [*line, "--endpoint", f"binance_usdm.rest={address}", "--endpoint", f"binance_usdm.archive={address}", *more]


async def run(root: Path, address: str, *more: str) -> tuple[int, dict[str, object]]:
    child = await asyncio.create_subprocess_exec(
        *command(root, address, *more, "--json"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(child.communicate(), 120)
    assert b"Traceback" not in errors, errors.decode()
    return child.returncode or 0, json.loads(out) if out else {}


async def test_killed_and_run_again_it_ends_the_same(tmp_path: Path) -> None:
    async with venue(4) as server:
        assert server.api.past is not None
        given = Given(tmp_path, server.api.past.history)
        given.punch(random.Random(11), 60)
        archive, chance = server.api.past.archive, random.Random(2)
        kills = 0
        for _ in range(3):
            child = await asyncio.create_subprocess_exec(*command(tmp_path, server.rest, "--run"), stdout=asyncio.subprocess.DEVNULL)
            asked = len(server.api.meter.asked) + len(archive.served)
            enough = asked + chance.randint(2, 25)
            for _ in range(6000):
                if child.returncode is not None or len(server.api.meter.asked) + len(archive.served) >= enough:
                    break
                await asyncio.sleep(0.01)
            if child.returncode is None:
                os.kill(child.pid, signal.SIGKILL)
                kills += 1
            await child.wait()
        assert kills, "it must have been killed at work"
        code, made = await run(tmp_path, server.rest, "--run")
        left = given.left(made)
        assert code == (3 if left else 0)
        assert {table: given.have(table) for table in TABLES} == {table: given.wanted(table, left) for table in TABLES}
        assert all(one.why and given.excused(one, archive) for one in left)
        again, after = await run(tmp_path, server.rest, "--run")
        assert (again, after["requests"], after["left"]) == (code, 0, made["left"])
        checked, seen = await run(tmp_path, server.rest, "--check")
        assert checked == code and {one["status"] for one in given.raw(seen)} <= {"unfillable", "failed"}


async def test_another_backfill_here_is_told_and_waits_for_nothing(tmp_path: Path) -> None:
    async with venue(2) as server:
        assert server.api.past is not None
        Given(tmp_path, server.api.past.history, days=1).punch(random.Random(1), 5)
        with Lock(tmp_path / "state" / "backfill.binance_usdm.lock"):
            code, _ = await run(tmp_path, server.rest, "--run")
        assert code == 11 and not server.api.meter.asked
