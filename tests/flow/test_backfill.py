"""Backfill against a venue with a past: after one run all that can be had is there, and a second run asks for nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tape_collectors.backfill.run import Outcome
from tape_collectors.backfill.session import Session
from tape_collectors.settings import BackfillSettings
from tape_collectors.simulator.binance import Binance
from tests.support.past import NOW, TABLES, Given, venue


def settings(root: Path, server: Binance, **more: object) -> BackfillSettings:
    endpoints = {"binance_usdm.rest": server.rest, "binance_usdm.archive": server.rest}
    values: dict[str, object] = {"tables": TABLES, "until": str(NOW), "lookback": "7d", "endpoints": endpoints, **more}
    return BackfillSettings(root=str(root), **values)  # type: ignore[arg-type]


async def fill(root: Path, server: Binance, **more: object) -> Outcome:
    with Session(settings(root, server, **more)) as session:
        return await session.fill()


async def holes(tmp_path: Path, count: int, instruments: int) -> None:
    async with venue(instruments) as server:
        assert server.api.past is not None
        given = Given(tmp_path, server.api.past.history)
        given.punch(random.Random(3), count)
        archive = server.api.past.archive
        archive.faults = {"*A[35]USDT-aggTrades-2026-11-1[2-6].zip": "checksum", "*A4USDT-aggTrades-2026-11-15.zip": "torn"}
        first = await fill(tmp_path, server)
        assert {table: given.have(table) for table in TABLES} == {table: given.wanted(table, first.left) for table in TABLES}
        assert all(one.why and given.excused(one, archive) for one in first.left)
        assert any(one.why.startswith("wrong checksum") for one in first.left) and any("no such row" in one.why for one in first.left)
        assert server.api.meter.most() <= 2400 and not server.api.meter.refused and first.requests
        again = await fill(tmp_path, server)
        assert again.requests == 0 and again.left == first.left


async def test_random_holes_are_filled_and_not_asked_for_again(tmp_path: Path) -> None:
    await holes(tmp_path, 60, 6)


@pytest.mark.long
async def test_five_hundred_random_holes_of_twenty_symbols(tmp_path: Path) -> None:
    await holes(tmp_path, 500, 20)
