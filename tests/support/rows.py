"""Rows for every table: ordinary ones, and what is hard to store."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from tape_archive.tables.schema import EXCHANGE, Column, Spec

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
#: 2026-01-10T00:00:00Z
MIDNIGHT = 1_768_003_200 * SECOND
SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP", "1000PEPE-USDT-PERP")
#: what a venue might call an instrument one day
HOSTILE = (
    "",
    " ",
    "../../etc/passwd",
    "a'; DROP TABLE trades; --",
    'quote"quote',
    "back\\slash\\N",
    "\\N",
    "\\.",
    "line\n\\.\nline",
    "comma,semicolon;tab\t",
    "\r\n",
    "NULL",
    "币安人生-USDT-PERP",
    "\u202eright-to-left",
    "%s{}$1?",
    "emoji🚀",
    "x" * 3000,
)
FLOATS = (
    0.0,
    -0.0,
    1e-308,
    5e-324,
    1.7976931348623157e308,
    -1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
    0.1,
    1 / 3,
    123456789.12345678,
)
INTS = (0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1)


def rows(
    spec: Spec, count: int, *, start: int = MIDNIGHT, step: int = SECOND, symbols: Sequence[str] = SYMBOLS, seed: int = 1
) -> dict[str, list[Any]]:
    """So many rows; each has a key of its own. Times rise by ``step`` from ``start``."""
    chance = random.Random(f"{spec.name}{seed}")
    return {column.name: [_value(column, n, start + n * step, symbols, chance) for n in range(count)] for column in spec.columns}


def _value(column: Column, n: int, time: int, symbols: Sequence[str], chance: random.Random) -> Any:
    if column.name == "exchange":
        return EXCHANGE
    if column.name == "symbol":
        return symbols[n % len(symbols)]
    if column.null and chance.random() < 0.3:
        return None
    if column.kind == "time":
        return time + (5_000_000 if column.name == "receipt_timestamp" else 0)
    if column.kind == "int":
        return n
    if column.kind == "float":
        return round(chance.uniform(0, 1000), 3)
    if column.kind == "floats":
        return [round(chance.uniform(0, 1000), 2) for _ in range(chance.randrange(5))]
    if column.kind == "bool":
        return chance.random() < 0.5
    return chance.choice(("buy", "sell", "3m", "a 'b'"))


def hard(spec: Spec) -> dict[str, list[Any]]:
    """Rows with every hostile name and every extreme number in every column that takes it."""
    count = max(len(HOSTILE), len(FLOATS), len(INTS))
    found = rows(spec, count)
    for column in spec.columns:
        if column.kind in ("label", "text") and column.name != "exchange":
            found[column.name] = [HOSTILE[n % len(HOSTILE)] for n in range(count)]
        elif column.kind == "float":
            found[column.name] = [FLOATS[n % len(FLOATS)] for n in range(count)]
        elif column.kind == "floats":
            found[column.name] = [list(FLOATS[: n % (len(FLOATS) + 1)]) for n in range(count)]
        elif column.kind == "int":
            found[column.name] = [INTS[n % len(INTS)] for n in range(count)]
    return found
