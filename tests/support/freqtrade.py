"""The real freqtrade in an environment of its own, and a list of instruments for it: the one thing that it asks an exchange for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

#: what the layout was read from
VERSION = "2026.9"


def environment(folder: Path) -> Path:
    """A virtual environment with freqtrade; skips the test where it cannot be had. TAPE_FREQTRADE: one that is there already."""
    there = os.environ.get("TAPE_FREQTRADE")
    place = Path(there) if there else folder / "venv"
    if not there:
        venv.create(place, with_pip=True)
        command = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", f"freqtrade=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, env=_clean())
        if done.returncode:
            pytest.skip(f"pip cannot install freqtrade {VERSION}: {(done.stderr.strip() or 'no reason').splitlines()[-1]}")
    if sys.platform == "win32" or not (place / "bin" / "freqtrade").exists():
        pytest.skip(f"no freqtrade in {place}")
    return place


def python(place: Path, script: str, *words: str) -> str:
    """Run a script in freqtrade's environment; gives what it prints."""
    done = subprocess.run([str(place / "bin" / "python"), "-c", script, *words], capture_output=True, text=True, env=_clean())
    assert not done.returncode, done.stderr
    return done.stdout


async def run(place: Path, *words: str) -> str:
    """freqtrade's own command; gives all that it says."""
    pipe = asyncio.subprocess.PIPE
    made = await asyncio.create_subprocess_exec(
        str(place / "bin" / "freqtrade"), *words, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env={**_clean(), "COLUMNS": "250"}
    )
    said, _ = await made.communicate()
    assert not made.returncode, said.decode()
    return said.decode()


def configuration(root: str, pairs: list[str]) -> dict[str, Any]:
    """Futures of Binance, dry. ``root``: where the list of instruments is; the only address that freqtrade is told."""
    pricing = {"price_side": "same", "use_order_book": True}
    ccxt = {"urls": {"api": {"fapiPublic": f"{root}/fapi/v1"}}, "options": {"fetchMarkets": {"types": ["linear"]}}}
    return {
        "max_open_trades": len(pairs),
        "stake_currency": "USDT",
        "stake_amount": 300,
        "dry_run": True,
        "dry_run_wallet": 1000,
        "trading_mode": "futures",
        "margin_mode": "isolated",
        "exchange": {"name": "binance", "pair_whitelist": pairs, "pair_blacklist": [], "enable_ws": False, "ccxt_config": ccxt},
        "entry_pricing": pricing,
        "exit_pricing": pricing,
        "pairlists": [{"method": "StaticPairList"}],
    }


def instruments(ticks: Mapping[str, str]) -> str:
    """An answer to ``GET /fapi/v1/exchangeInfo``: base coin -> tick size."""
    rows = []
    for base, tick in ticks.items():
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ]
        names = {"symbol": f"{base}USDT", "pair": f"{base}USDT", "baseAsset": base, "quoteAsset": "USDT", "marginAsset": "USDT"}
        days = {"onboardDate": 1569398400000, "deliveryDate": 4133404800000}
        digits = {"pricePrecision": 2, "quantityPrecision": 3}
        rows.append({**names, **days, **digits, "contractType": "PERPETUAL", "status": "TRADING", "filters": filters})
    return json.dumps({"timezone": "UTC", "serverTime": 1, "symbols": rows})


def _clean() -> dict[str, str]:
    """Ours is not on its path."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS", "PYTHONASYNCIODEBUG")}
