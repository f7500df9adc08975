"""A store that one process has is filled by the process that writes it, while it writes."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from tape_archive.tables.schema import EXCHANGE
from tape_archive.tables.tables import Cursor, open_tables
from tape_collectors.backfill.session import Session
from tape_collectors.settings import BackfillSettings
from tape_collectors.whole_market import fills
from tests.support.past import NOW, TABLES, Given, venue
from tests.support.recording import environment


async def work(folder: Path) -> None:
    """In a process of its own: a process has one chDB folder."""
    async with venue(2) as server:
        assert server.api.past is not None
        given = Given(folder, server.api.past.history, days=2)
        given.url = f"chdb://{folder}/chdb"
        given.punch(random.Random(4), 20)
        endpoints = {"binance_usdm.rest": server.rest, "binance_usdm.archive": server.rest}
        one = fills.Fills(str(folder), given.url, 3600.0, endpoints)
        one._settings |= {"until": str(NOW), "tables": TABLES, "lookback": "2d"}
        writer, number = open_tables(given.url), 0
        filling = asyncio.create_task(asyncio.to_thread(one.fill, "restart"))
        while not filling.done():
            number += 1
            row = {"timestamp": [number * 10**9], "receipt_timestamp": [1], "exchange": [EXCHANGE], "symbol": ["X-USDT-PERP"]}
            await asyncio.to_thread(writer.insert, "index", row | {"index_price": [1.0]}, Cursor("writer", number))
        whole = await filling
        assert number > 0 and writer.count("index", "X-USDT-PERP") == number
        writer.close()
        with Session(BackfillSettings(scope="restart", **one._settings)) as session:  # type: ignore[arg-type]
            look = session.look()
        left = [*look.left, *look.refused]
        assert whole == (not left) and not look.plan.pieces
        for table in ("candles_1m", "candles_5m", "trades", "funding"):
            assert given.have(table) == given.wanted(table, left), table


def test_the_writer_of_an_embedded_store_fills_it(tmp_path: Path) -> None:
    code = "import asyncio, pathlib, sys; from tests.collectors.whole_market.test_fills import work; asyncio.run(work(pathlib.Path(sys.argv[1])))"
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment(), capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
