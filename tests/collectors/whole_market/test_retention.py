"""Rows older than their table keeps them go, younger ones stay; every day at three."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tape_archive.tables.schema import EXCHANGE
from tape_archive.tables.tables import Cursor, open_tables
from tape_collectors.whole_market.retention import DAY_S, Retention, next_turn

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "at,turn",
    [
        ("2026-01-10T02:59:59", "2026-01-10T03:00:00"),
        ("2026-01-10T03:00:00", "2026-01-11T03:00:00"),
        ("2026-01-10T23:00:00", "2026-01-11T03:00:00"),
    ],
)
def test_the_next_turn(at: str, turn: str) -> None:
    def seconds(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert next_turn(seconds(at)) == seconds(turn)


def test_old_rows_go_and_young_ones_stay(tmp_path: Path) -> None:
    tables = open_tables(f"parquet://{tmp_path}")
    tables.create()
    for number, days in enumerate((0, 6, 8, 20), 1):
        at = int((NOW - days * DAY_S) * 1e9)
        columns = {"timestamp": [at], "receipt_timestamp": [at], "exchange": [EXCHANGE], "symbol": ["BTC-USDT-PERP"]}
        trade = {"side": ["buy"], "amount": [1.0], "price": [1.0], "trade_id": [number]}
        tables.insert("trades", columns | trade, Cursor("w", number, str(number)))
        candle = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
        tables.insert("candles_1d", columns | candle, Cursor("w", number, str(number)))
    done = Retention(tables, lambda: NOW).clean()
    assert set(done) == {"trades"} and tables.count("trades") == 2 and tables.count("candles_1d") == 4
    assert Retention(tables, lambda: NOW).clean() == {}
    tables.close()
