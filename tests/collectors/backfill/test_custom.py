"""Custom candles whose minutes came later are made of them, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tape_archive.tables.schema import EXCHANGE
from tape_archive.tables.tables import Cursor, Tables, open_tables
from tape_collectors.backfill import custom
from tape_collectors.backfill.scan import Known
from tape_collectors.backfill.session import Session
from tape_collectors.settings import BackfillSettings
from tape_collectors.simulator.history import DAY, MINUTE
from tests.support.past import MS, NOW, name_of, source, venue

VALUES = custom._VALUES
Row = dict[str, Any]


def wanted(minutes: dict[int, Row], length: int, start: int, end: int) -> dict[int, Row]:
    """By hand: each stretch of so many minutes (ms) that is whole."""
    step, found = length * MINUTE, {}
    for at in range(-(-start // step) * step, end - step + 1, step):
        some = [minutes.get(minute) for minute in range(at, at + step, MINUTE)]
        if all(some):
            rows = [row for row in some if row]
            sums = {key: sum(row[key] for row in rows) for key in VALUES[4:]}
            found[at] = {"open": rows[0]["open"], "close": rows[-1]["close"], **sums} | {
                "high": max(row["high"] for row in rows),
                "low": min(row["low"] for row in rows),
            }
    return found


def put(store: Tables, table: str, symbol: str, rows: dict[int, Row], number: int, **more: object) -> None:
    count = len(rows)
    columns: dict[str, list[Any]] = {key: [row[key] for row in rows.values()] for key in VALUES}
    columns |= {"timestamp": [at * MS for at in rows], "receipt_timestamp": [NOW * MS] * count}
    columns |= {"exchange": [EXCHANGE] * count, "symbol": [symbol] * count, **{key: [value] * count for key, value in more.items()}}
    store.insert(table, columns, Cursor("test", number))


def read(store: Tables, symbol: str, interval: str) -> dict[int, Row]:
    rows = store.read("custom_candles", symbol, where={"interval": interval}).to_pylist()
    return {round(row["timestamp"].timestamp() * 1000): {key: row[key] for key in VALUES} for row in rows}


async def test_a_hole_of_minutes_is_filled_and_the_candles_that_it_was_in(tmp_path: Path) -> None:
    start = NOW // DAY * DAY - DAY
    async with venue(2) as server:
        assert server.api.past is not None
        minutes: dict[str, dict[int, Row]] = {}
        store = open_tables(f"parquet://{tmp_path}")
        store.create()
        for number, native in enumerate(("BTCUSDT", "A1USDT")):
            columns = source(server.api.past.history, "candles_1m", native, start, NOW)
            every = {at // MS: {key: columns[key][n] for key in VALUES} for n, at in enumerate(columns["timestamp"])}
            minutes[name_of(native)] = every
            hole = range(start + 100 * MINUTE, start + 161 * MINUTE, MINUTE)
            kept = {at: row for at, row in every.items() if at not in hole}
            put(store, "candles_1m", name_of(native), kept, number + 1)
            for at, (interval, length) in enumerate((("3m", 3), ("45m", 45))):
                put(store, "custom_candles", name_of(native), wanted(kept, length, start, NOW), 2 * number + at + 1, interval=interval)
        known = {name: Known(name.replace("-", "").removesuffix("PERP"), 1) for name in minutes}
        seen = custom.missing(store, known, start * MS, NOW * MS)
        assert seen.total.missing > 40 and seen.total.filled == 0 and {one.why for one in seen.left} == {custom._WHY}
        store.close()
        endpoints = {"binance_usdm.rest": server.rest, "binance_usdm.archive": server.rest}
        given = BackfillSettings(
            root=str(tmp_path), tables=("custom_candles",), until=str(NOW), lookback=f"{(NOW - start) // MINUTE}m", endpoints=endpoints
        )
        with Session(given) as session:
            assert session.look().made.missing == seen.total.missing
            outcome = await session.fill()
            assert outcome.whole and outcome.tables["custom_candles"].filled == seen.total.missing, outcome
            for name, every in minutes.items():
                for interval, length in (("3m", 3), ("45m", 45)):
                    found, by_hand = read(session.store, name, interval), wanted(every, length, start, NOW)
                    assert list(found) == list(by_hand)
                    assert all(found[at] == pytest.approx(by_hand[at]) for at in found)
            assert not session.look().made.gaps and (await session.fill()).requests == 0


def test_before_a_listing_and_after_a_delisting_none_is_missing(tmp_path: Path) -> None:
    """A candle of 45 minutes is whole from the first one that was traded all the time."""
    start = NOW // DAY * DAY
    row = dict.fromkeys(VALUES, 1.0) | {"trades": 1}
    with_life = Known("XUSDT", (start + 10 * MINUTE) * MS, (start + 200 * MINUTE) * MS)
    store = open_tables(f"parquet://{tmp_path}")
    store.create()
    every = {at: row for at in range(start + 10 * MINUTE, start + 200 * MINUTE, MINUTE)}
    put(store, "candles_1m", "X-USDT-PERP", every, 1)
    put(store, "custom_candles", "X-USDT-PERP", {start + 45 * MINUTE: row}, 1, interval="45m")
    made = custom.missing(store, {"X-USDT-PERP": with_life}, (start - DAY) * MS, (start + DAY) * MS)
    store.close()
    assert [at // MS - start for at in made.rows["timestamp"]] == [90 * MINUTE, 135 * MINUTE] and not made.left
