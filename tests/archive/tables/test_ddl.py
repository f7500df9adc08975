"""The SQL in config/sql is that of the schema, and databases take it; the brief's own queries work on what it makes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tape_archive.format.errors import SchemaDiffers
from tape_archive.tables import Cursor, Tables, ddl, open_tables
from tape_archive.tables.clickhouse import ClickHouseTables
from tape_archive.tables.schema import INTERVALS, SPECS
from tests.support.postgres import Postgres
from tests.support.rows import MIDNIGHT, SECOND, rows

FOLDER = Path(__file__).parents[3] / "config" / "sql"
#: the brief's figures: rows and seconds of a batch, days kept
BRIEF = {
    "trades": (1000, 1, 7),
    "l2_book": (500, 2, 3),
    "ticker": (50, 10, 1),
    "candles_1m": (100, 5, 30),
    "candles_5m": (100, 5, 90),
    "candles_30m": (100, 5, 180),
    "candles_4h": (100, 5, 365),
    "candles_1d": (100, 5, None),
    "funding": (50, 10, 90),
    "liquidations": (50, 10, 30),
    "open_interest": (50, 10, 90),
    "index": (50, 10, 90),
}


def statements(name: str) -> list[str]:
    text = "\n".join(line for line in (FOLDER / name).read_text().splitlines() if not line.startswith("--"))
    return [one.strip() for one in text.split(";\n") if one.strip().strip(";")]


def test_the_files_are_the_schema() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.sql")} == dict(ddl.files())


def test_the_brief() -> None:
    assert {name: (SPECS[name].batch_rows, SPECS[name].batch_s, SPECS[name].retention_days) for name in BRIEF} == BRIEF
    assert {"custom_candles", "book_ticker", "instruments", "gap_detection_log"} == set(SPECS) - set(BRIEF)
    for spec in SPECS.values():
        assert spec.key[:3] == ("symbol", spec.time, "exchange") and set(spec.key) <= set(spec.names)
        assert not any(spec.column(name).null or spec.column(name).kind in ("float", "floats") for name in spec.key)


def test_the_page_of_the_tables() -> None:
    page = (FOLDER.parents[1] / "docs" / "reference" / "tables.md").read_text()
    for spec in SPECS.values():
        kept = "for ever" if spec.retention_days is None else f"{spec.retention_days} days"
        assert f"| `{spec.name}` | {spec.meaning} | {', '.join(spec.key)} |" in page
        assert f"| {spec.batch_rows} / {spec.batch_s:g} s | {kept} |" in page
        assert all(f"`{name}`" in page for name in spec.names)


@pytest.fixture
def embedded(chdb_folder: Path) -> ClickHouseTables:
    return ClickHouseTables.of_url(f"chdb://{chdb_folder}?database=ddl")


def test_clickhouse_takes_its_file(embedded: ClickHouseTables) -> None:
    with embedded._client() as client:
        client.command("DROP DATABASE IF EXISTS ddl")
        client.command("CREATE DATABASE ddl")
        client.command("USE ddl")
        for statement in statements("clickhouse.sql"):
            client.command(statement)
    # What the file makes is what the store expects; and what was made twice is made once.
    embedded.create()
    tables = embedded._rows("SELECT name FROM system.tables WHERE database = 'ddl'")
    assert {name for (name,) in tables} == {*SPECS, "tape_cursors", "candles"}
    sql = "SELECT create_table_query FROM system.tables WHERE database = 'ddl' AND name = 'trades'"
    assert "toIntervalDay(7)" in embedded._rows(sql)[0][0]
    embedded.close()


def test_clickhouse_parses_the_file_for_a_cluster(embedded: ClickHouseTables) -> None:
    """It needs Keeper and a cluster to run; here the engine's own parser reads each statement."""
    with embedded._client() as client:
        for statement in statements("clickhouse_cluster.sql"):
            assert "CreateQuery" in str(client.command(f"EXPLAIN AST {statement}"))
        with pytest.raises(Exception, match="Syntax error"):
            client.command("EXPLAIN AST CREATE TABLE x (a Int64) ENGINE = ReplicatedMergeTree(")
    assert len(statements("clickhouse_cluster.sql")) == 2 * (len(SPECS) + 1) + 1
    embedded.close()


def candles(store: Tables) -> None:
    now = MIDNIGHT
    for number, interval in enumerate(INTERVALS):
        store.insert(f"candles_{interval}", rows(SPECS["candles_1m"], 20, start=now), Cursor("w", 1, str(number)))
    store.insert("custom_candles", rows(SPECS["custom_candles"], 20, start=now) | {"interval": ["3m"] * 20}, Cursor("w", 1))


def test_the_queries_of_the_clickhouse_users(chdb_folder: Path) -> None:
    embedded = ClickHouseTables.of_url(f"chdb://{chdb_folder}?database=brief")
    embedded.create()
    candles(embedded)
    with embedded._client() as client:
        client.command("USE brief")
        latest = client.query("""
            SELECT * FROM candles
            WHERE symbol = 'BTC-USDT-PERP' AND interval = '1m'
            ORDER BY timestamp DESC
            LIMIT 10""")
        assert len(latest.result_rows) == 7 and {"open", "close", "volume", "interval"} <= set(latest.column_names)
        counts = client.query("""
            SELECT symbol, interval, COUNT(*) as records, MIN(timestamp) as earliest, MAX(timestamp) as latest
            FROM candles GROUP BY symbol, interval ORDER BY symbol, records DESC""")
        assert len(counts.result_rows) == 3 * 6 and {row[1] for row in counts.result_rows} == {*INTERVALS, "3m"}
        client.query("SELECT * FROM trades WHERE symbol = 'BTC-USDT-PERP' ORDER BY timestamp DESC LIMIT 10")
        client.query(
            "SELECT symbol, interval, gap_type, priority, status, detection_time FROM gap_detection_log ORDER BY detection_time DESC LIMIT 10"
        )
        client.query(
            "SELECT gap_type, status, COUNT(*) as count, SUM(records_filled) as total_filled FROM gap_detection_log GROUP BY gap_type, status ORDER BY gap_type"
        )
    embedded.close()


def run(server: Postgres, schema: str, *queries: str) -> list[list[Any]]:
    async def work() -> list[list[Any]]:
        db = await asyncpg.connect(server.url().partition("?")[0], server_settings={"search_path": schema})
        try:
            return [list(await db.fetch(query)) for query in queries]
        finally:
            await db.close()

    return asyncio.run(work())


def test_postgresql_takes_its_file(postgres: Postgres) -> None:
    run(postgres, "public", "CREATE SCHEMA by_file")
    run(postgres, "by_file", *statements("postgresql.sql"))
    store = open_tables(postgres.url("by_file"))
    store.create()
    assert store.insert("trades", rows(SPECS["trades"], 10), Cursor("w", 1)) and store.count("trades") == 10
    store.close()


def test_freqtrades_query(postgres: Postgres) -> None:
    """As the brief has it, to the letter, on rows of the last days."""
    store = open_tables(postgres.url("freqtrade"))
    store.create()
    now = int(run(postgres, "public", "SELECT extract(epoch FROM now())::bigint")[0][0][0]) * SECOND
    store.insert("candles_5m", rows(SPECS["candles_5m"], 400, start=now - 400 * 6 * 3600 * SECOND, step=6 * 3600 * SECOND), Cursor("v", 1))
    candles(store)
    query = """
SELECT * FROM candles_5m
WHERE symbol = 'BTC-USDT-PERP'
  AND timestamp > NOW() - INTERVAL '30 days'
ORDER BY timestamp DESC;
"""
    found, plan, view = run(
        postgres,
        "freqtrade",
        query,
        f"EXPLAIN (ANALYZE, COSTS OFF) {query}",
        "SELECT symbol, interval, count(*) FROM candles GROUP BY 1, 2",
    )
    times = [row["timestamp"] for row in found]
    assert (
        times == sorted(times, reverse=True)
        and 39 <= len(times) <= 41
        and {"open", "high", "low", "close", "volume"} <= set(found[0].keys())
    )
    text = "\n".join(row[0] for row in plan)
    assert "Index" in text and int(text.partition("Subplans Removed: ")[2].split()[0]) >= 60, "days that are too old are not looked at"
    assert {row["interval"] for row in view} == {*INTERVALS, "3m"}
    store.close()


def test_a_table_that_is_not_ours_is_named(postgres: Postgres, embedded: ClickHouseTables) -> None:
    run(postgres, "public", "CREATE SCHEMA other", "CREATE TABLE other.trades (id serial, timestamp timestamptz, price numeric)")
    store = open_tables(postgres.url("other"))
    with pytest.raises(SchemaDiffers, match="trades"):
        store.create()
    store.close()
    run(postgres, "public", "CREATE SCHEMA older")
    store = open_tables(postgres.url("older"))
    store.create()
    run(postgres, "older", "ALTER TABLE ticker DROP COLUMN trades")
    with pytest.raises(SchemaDiffers, match='ALTER TABLE "ticker" ADD COLUMN "trades" int8'):
        store.create()
    run(postgres, "older", 'ALTER TABLE "ticker" ADD COLUMN "trades" int8', "ALTER TABLE funding ALTER COLUMN rate TYPE real")
    with pytest.raises(SchemaDiffers, match=r"funding\.rate is float4, ours is float8"):
        store.create()
    store.close()
    with embedded._client() as client:
        client.command("CREATE DATABASE IF NOT EXISTS ddl")
        client.command(
            "CREATE OR REPLACE TABLE ddl.ticker (timestamp DateTime, symbol String, price Float64) ENGINE = MergeTree ORDER BY symbol"
        )
    with pytest.raises(SchemaDiffers, match=r"ticker\.timestamp is DateTime, ours is DateTime64"):
        embedded.create()
    with embedded._client() as client:
        client.command("DROP DATABASE ddl")
    embedded.close()
