"""Backfill against a venue with a past: after one run all that can be had is there, and a second run asks for nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from tape_archive.tables.schema import EXCHANGE
from tape_archive.tables.tables import Cursor, open_tables
from tape_collectors.backfill import session
from tape_collectors.backfill.run import Outcome
from tape_collectors.backfill.session import Session
from tape_collectors.settings import BackfillSettings
from tape_collectors.simulator.binance import Binance
from tape_collectors.simulator.faults import Fault
from tape_collectors.simulator.history import DAY, HOUR
from tape_collectors.simulator.meter import Meter
from tape_collectors.venues.protocol import Limits
from tests.support.past import MS, NOW, TABLES, Given, name_of, venue
from tests.support.postgres import Postgres


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


async def test_the_weight_of_no_window_is_more_than_the_venue_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a window of three seconds, of which the run needs several. The venue counts what arrives: a second of delay is allowed for."""
    monkeypatch.setattr(session, "USDM", structs.replace(session.USDM, limits={"rest": Limits(40, 3.0, "X-MBX-USED-WEIGHT-1M")}))
    async with venue(4) as server:
        server.api.meter = Meter(40, 2.0)
        assert server.api.past is not None
        given = Given(tmp_path, server.api.past.history)
        given.punch(random.Random(5), 60)
        outcome = await fill(tmp_path, server)
        assert outcome.weight > 80 and server.api.meter.most() <= 40 and not server.api.meter.refused
        begun, ended = server.api.meter.asked[0][0], server.api.meter.asked[-1][0]
        assert (ended - begun) / len(server.api.meter.asked) > 0.04, "requests are some 50 ms apart"
        assert {table: given.have(table) for table in TABLES} == {table: given.wanted(table, outcome.left) for table in TABLES}


async def test_a_venue_that_refuses_and_fails_is_asked_again(tmp_path: Path) -> None:
    async with venue(3) as server:
        assert server.api.past is not None
        given = Given(tmp_path, server.api.past.history)
        given.punch(random.Random(6), 25)
        server.faults.begin(Fault("rest_down", stream="*klines*", at=(0, 1, 3)))
        server.faults.begin(Fault("rest_429", stream="*fundingRate*", at=(0,), delay_s=1.0))
        server.faults.begin(empty := Fault("rest_empty", stream="*openInterestHist*"))
        outcome = await fill(tmp_path, server)
        failed = [one for one in outcome.left if one.status == "failed"]
        assert failed and {one.table for one in failed} <= {"open_interest", "funding"} and empty.count
        server.faults.active.clear()
        timed = await fill(tmp_path, server, scope="scheduled")
        assert timed.requests == 0 and timed.left == outcome.left, "not so soon"
        again = await fill(tmp_path, server)
        assert again.requests and not [
            one for one in again.left if one.table == "open_interest" and not given.excused(one, server.api.past.archive)
        ]
        assert {table: given.have(table) for table in TABLES} == {table: given.wanted(table, again.left) for table in TABLES}


def remember(given: Given, since: int) -> None:
    """The ledger of a recorder that began at a time (ms): what is younger was listed while it recorded."""
    store, rows = open_tables(given.url), []
    for native, one in given.history.listings.items():
        at = max(since, one.onboard_ms) * MS
        times = {"timestamp": at, "receipt_timestamp": at, "first_seen": at, "last_seen": at, "listed": one.onboard_ms * MS}
        status = "SETTLING" if one.delisted_ms else "TRADING"
        times["delisted"] = one.delisted_ms * MS or None  # type: ignore[assignment]
        kind = {"native": native, "status": status, "base": native.removesuffix("USDT"), "quote": "USDT", "multiplier": 1.0}
        rows.append({**times, "exchange": EXCHANGE, "symbol": name_of(native), **kind})
    store.insert("instruments", {name: [row[name] for row in rows] for name in rows[0]}, Cursor("ledger", 1))
    store.close()


@pytest.mark.parametrize("hours", [20, 70])
@pytest.mark.parametrize("first", [25, None])
async def test_trades_between_a_listing_and_the_first_row(tmp_path: Path, hours: int, first: int | None) -> None:
    """A symbol is listed while others are recorded, and some time passes until it is. ``first``: rows that are missing; None: all."""
    async with venue(3) as server:
        assert server.api.past is not None
        listings = server.api.past.history.listings
        listings["A1USDT"] = replace(listings["A1USDT"], onboard_ms=NOW - hours * HOUR)
        given = Given(tmp_path, server.api.past.history)
        given.cut("trades", "A1USDT", slice(0, first))
        remember(given, NOW - 6 * DAY)
        outcome = await fill(tmp_path, server, tables=("trades",))
        assert outcome.tables["trades"].filled >= (first or 100) and all(
            given.excused(one, server.api.past.archive) for one in outcome.left
        )
        assert given.have("trades") == given.wanted("trades", outcome.left)
        again = await fill(tmp_path, server, tables=("trades",))
        assert again.requests == 0 and again.left == outcome.left


async def test_the_last_trades_before_a_delisting(tmp_path: Path) -> None:
    async with venue(3, rate=900) as server:
        assert server.api.past is not None
        given = Given(tmp_path, server.api.past.history, days=3)
        last = given.rows["trades", "A2USDT"]["timestamp"][-6:]
        assert server.api.past.history.listings["A2USDT"].delisted_ms * MS - last[0] < 60_000 * MS
        given.cut("trades", "A2USDT", slice(-5, None))
        remember(given, NOW - 6 * DAY)
        outcome = await fill(tmp_path, server, tables=("trades",))
        assert outcome.tables["trades"].filled == 5 and not outcome.left
        assert given.have("trades") == given.wanted("trades", outcome.left)
        again = await fill(tmp_path, server, tables=("trades",))
        assert again.requests == 0 and not again.left


async def test_into_a_database(tmp_path: Path) -> None:
    server = Postgres()
    server.start()
    try:
        async with venue(3) as exchange:
            assert exchange.api.past is not None
            given = Given(tmp_path, exchange.api.past.history, days=3)
            given.url = server.url("backfill")
            given.punch(random.Random(9), 30)
            first = await fill(tmp_path, exchange, store=given.url, lookback="3d")
            assert {table: given.have(table) for table in TABLES} == {table: given.wanted(table, first.left) for table in TABLES}
            assert all(given.excused(one, exchange.api.past.archive) for one in first.left)
            again = await fill(tmp_path, exchange, store=given.url, lookback="3d")
            assert again.requests == 0 and again.left == first.left
    finally:
        server.stop()


@pytest.mark.long
async def test_five_hundred_random_holes_of_twenty_symbols(tmp_path: Path) -> None:
    await holes(tmp_path, 500, 20)
