"""The command: what it refuses, what it shows, what it leaves alone."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

import pytest

from tape_archive.tables.tables import open_tables
from tests.support.past import NOW, Given, venue


async def run(*options: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tape_collectors.cli.backfill", *options), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, out.decode(), errors.decode()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--scope", "sometimes"), 2, "restart, network, manual"),
        (("--lookback", "3x"), 2, "write 1m, 45m, 4h or 1d"),
        (("--until", "soon"), 2, "is no time"),
        (("--tables", "l2_book", "--symbols", "BTCUSDT"), 2, "cannot be filled"),
        (("--symbols", "BTCEUR"), 2, "no perpetual in USDT"),
        (("--store", "mongodb://x"), 2, "no table store of kind"),
        (("--endpoint", "binance_usdm.rst=http://127.0.0.1:1", "--run", "--symbols", "BTCUSDT"), 2, "unknown endpoint"),
        ((), 1, "has no rows of"),
    ],
)
async def test_what_cannot_be_is_one_line(tmp_path: Path, options: tuple[str, ...], code: int, said: str) -> None:
    found, out, errors = await run("--root", str(tmp_path), *options)
    assert (found, out) == (code, "") and errors.count("\n") == 1 and said in errors, errors


async def test_check_asks_nobody_and_dry_run_names_each_request(tmp_path: Path) -> None:
    async with venue(2) as server:
        assert server.api.past is not None
        Given(tmp_path, server.api.past.history, days=1).punch(random.Random(1), 6)
        options = ("--root", str(tmp_path), "--until", str(NOW), "--lookback", "1d", "--endpoint", f"binance_usdm.rest={server.rest}")
        code, out, errors = await run(*options, "--symbols", "BTC*")
        assert (code, errors) == (3, "") and "candles_1m" in out and "To fill it:" in out and "/fapi/v1" not in out
        code, out, errors = await run(*options, "--dry-run")
        assert (code, errors) == (3, "") and out.count("GET /fapi/v1/klines") >= 2
        code, out, _ = await run(*options, "--json")
        made = json.loads(out)
        assert len(made["steps"]) == made["requests"] + made["files"] > 0 and not made["complete"]
        assert not server.api.meter.asked and not (tmp_path / "raw").exists()
        code, out, errors = await run(*options, "--run", "--endpoint", f"binance_usdm.archive={server.rest}")
        assert "Traceback" not in errors and "filled" in out and (tmp_path / "raw" / "binance_usdm" / "backfill").is_dir()


async def test_a_symbol_that_is_named_is_filled_from_nothing(tmp_path: Path) -> None:
    """Of its trades of two days REST gives a thousand at a time, so an answer must be followed by the next."""
    async with venue(3, rate=250) as server:
        assert server.api.past is not None
        server.api.past.archive.faults = {"*": ""}
        options = ("--root", str(tmp_path), "--until", str(NOW), "--lookback", "5d", "--endpoint", f"binance_usdm.rest={server.rest}")
        options += ("--endpoint", f"binance_usdm.archive={server.rest}", "--tables", "candles_1m,trades,funding")
        code, _, errors = await run(*options, "--symbols", "A1USDT", "--run")
        assert code in (0, 3) and "Traceback" not in errors, errors
        history, store = server.api.past.history, open_tables(f"parquet://{tmp_path}")
        begun = history.listings["A1USDT"].onboard_ms
        assert store.count("candles_1m", "A1-USDT-PERP") == len(history.bars("A1USDT", 60_000, begun, NOW - 60_000, NOW).ms)
        assert store.count("funding", "A1-USDT-PERP") == len(history.funding("A1USDT", begun, NOW))
        assert store.count("trades", "A1-USDT-PERP") == len(history.fills("A1USDT", begun, NOW))
        store.close()
        asked = len(server.api.meter.asked)
        await run(*options, "--symbols", "A1USDT", "--run")
        assert len(server.api.meter.asked) == asked
