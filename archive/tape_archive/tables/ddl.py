"""SQL that makes the tables, from the schema. The files in ``config/sql`` are this module's text: ``python -m tape_archive.tables.ddl
config/sql``.

A statement a line of the lists; names of databases are left to the connection.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tape_archive.tables.schema import INTERVALS, LEDGER, SPECS, VERSION, Column, Partition, Spec

# -- ClickHouse ----------------------------------------------------------------------------------------------------------------------

_CLICKHOUSE: Mapping[str, str] = {
    "time": "DateTime64(6, 'UTC')",
    "label": "LowCardinality(String)",
    "text": "String",
    "float": "Float64",
    "int": "Int64",
    "bool": "Bool",
    "floats": "Array(Float64)",
}
#: chosen by benchmarks/tables.py
CODECS: Mapping[str, str] = {
    "time": "CODEC(Delta, ZSTD(1))",
    "int": "CODEC(Delta, ZSTD(1))",
    "float": "CODEC(ZSTD(3))",
    "floats": "CODEC(ZSTD(3))",
    "text": "CODEC(ZSTD(1))",
}
_MERGED: Mapping[Partition, str] = {"day": "toYYYYMMDD({})", "month": "toYYYYMM({})", "year": "toYear({})", "none": "tuple()"}
_CLUSTER_PATH = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}', "


def clickhouse_type(column: Column) -> str:
    """The type of a column."""
    plain = _CLICKHOUSE[column.kind]
    if not column.null:
        return plain
    return "LowCardinality(Nullable(String))" if column.kind == "label" else f"Nullable({plain})"


def clickhouse_table(spec: Spec, *, ttl: bool = True, cluster: str = "", codecs: Mapping[str, str] = CODECS) -> str:
    """One table. With ``cluster`` it is the replicated one of each shard, ``<table>_local``. ``ttl``: the server removes what is too old, a
    part at a time, should nobody else do it."""
    columns = [f"    `{column.name}` {clickhouse_type(column)} {codecs.get(column.kind, '')}".rstrip() for column in spec.columns]
    expires = f"\nTTL toDateTime({spec.time}) + INTERVAL {spec.retention_days} DAY DELETE" if ttl and spec.retention_days else ""
    # A cursor must never be on the disk before its rows are.
    settings = "fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1"
    name, where, engine = _place(spec.name, cluster)
    return (
        f"CREATE TABLE IF NOT EXISTS {name}{where} (\n"
        + ",\n".join(columns)
        + f"\n)\nENGINE = {engine}{VERSION})\nPARTITION BY {_MERGED[spec.merged].format(spec.time)}\n"
        + f"ORDER BY ({', '.join(spec.key)}){expires}\nSETTINGS {settings}"
    )


def _place(name: str, cluster: str) -> tuple[str, str, str]:
    if cluster:
        return f"`{name}_local`", f" ON CLUSTER '{cluster}'", f"ReplicatedReplacingMergeTree({_CLUSTER_PATH}"
    return f"`{name}`", "", "ReplacingMergeTree("


def _clickhouse_ledger(cluster: str) -> str:
    name, where, engine = _place(LEDGER, cluster)
    return (
        f"CREATE TABLE IF NOT EXISTS {name}{where} (\n    `writer` String,\n    `table_name` LowCardinality(String),\n    `batch` Int64,\n"
        f"    `position` String,\n    `updated` DateTime64(6, 'UTC') DEFAULT now64(6)\n)\nENGINE = {engine}batch)\n"
        "ORDER BY (writer, table_name)"
    )


def clickhouse(*, ttl: bool = True, cluster: str = "") -> list[str]:
    """All tables and views. With ``cluster``, on all its machines: a replicated table a shard, and a Distributed table over them."""
    made = [clickhouse_table(spec, ttl=ttl, cluster=cluster) for spec in SPECS.values()]
    made.append(_clickhouse_ledger(cluster))
    if cluster:
        # Rows of a symbol are on one shard, so that those of one key meet.
        keys = {**dict.fromkeys(SPECS, "symbol"), LEDGER: "writer"}
        made += [
            f"CREATE TABLE IF NOT EXISTS `{name}` ON CLUSTER '{cluster}' AS `{name}_local`\n"
            f"ENGINE = Distributed('{cluster}', currentDatabase(), '{name}_local', cityHash64({key}))"
            for name, key in keys.items()
        ]
    return [*made, _candles("CREATE VIEW IF NOT EXISTS `candles`" + (f" ON CLUSTER '{cluster}'" if cluster else ""), " FINAL")]


def _candles(create: str, after: str) -> str:
    """One view over all candles, with their interval."""
    names = [name for name in SPECS["candles_1m"].names if name != "symbol"]
    rest = ", ".join(f"{name}" for name in names)
    each = [f"SELECT symbol, '{interval}' AS interval, {rest} FROM candles_{interval}{after}" for interval in INTERVALS]
    each.append(f"SELECT symbol, interval, {rest} FROM custom_candles{after}")
    return f"{create} AS\n" + "\nUNION ALL\n".join(each)


# -- PostgreSQL ----------------------------------------------------------------------------------------------------------------------

#: texts compare by their bytes, as in every other store
_POSTGRES: Mapping[str, str] = {
    "time": "timestamptz",
    "label": 'text COLLATE "C"',
    "text": 'text COLLATE "C"',
    "float": "double precision",
    "int": "bigint",
    "bool": "boolean",
    "floats": "double precision[]",
}


def postgres_table(spec: Spec, *, native: bool = True) -> str:
    """One table, partitioned by time where ``native``; partitions are made as rows for them come."""
    columns = [f'    "{column.name}" {_POSTGRES[column.kind]}{"" if column.null else " NOT NULL"}' for column in spec.columns]
    columns.append(f"    PRIMARY KEY ({', '.join(spec.key)})")
    behind = f" PARTITION BY RANGE ({spec.time})" if native and spec.partition != "none" else ""
    return f'CREATE TABLE IF NOT EXISTS "{spec.name}" (\n' + ",\n".join(columns) + f"\n){behind}"


def postgres_ledger() -> str:
    """The ledger."""
    return (
        f'CREATE TABLE IF NOT EXISTS {LEDGER} (\n    writer text COLLATE "C" NOT NULL,\n    table_name text COLLATE "C" NOT NULL,\n'
        "    batch bigint NOT NULL,\n    position text NOT NULL,\n    updated timestamptz NOT NULL DEFAULT now(),\n"
        "    PRIMARY KEY (writer, table_name)\n)"
    )


def postgres(*, native: bool = True) -> list[str]:
    """All tables and views."""
    made = [postgres_table(spec, native=native) for spec in SPECS.values()]
    return [*made, postgres_ledger(), _candles("CREATE OR REPLACE VIEW candles", "")]


def hypertables(spec: Spec) -> list[str]:
    """What makes a table a hypertable that compresses itself and drops what is too old."""
    if spec.partition == "none":
        return []
    chunk = {"day": "1 day", "month": "30 days", "year": "365 days"}[spec.partition]
    behind = [name for name in spec.key if name not in ("symbol", "exchange")]
    made = [
        f"SELECT create_hypertable('{spec.name}', '{spec.time}', chunk_time_interval => INTERVAL '{chunk}', if_not_exists => TRUE)",
        f"ALTER TABLE \"{spec.name}\" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', "
        f"timescaledb.compress_orderby = '{', '.join(behind)}')",
        f"SELECT add_compression_policy('{spec.name}', INTERVAL '{chunk}', if_not_exists => TRUE)",
    ]
    if spec.retention_days:
        made.append(f"SELECT add_retention_policy('{spec.name}', INTERVAL '{spec.retention_days} days', if_not_exists => TRUE)")
    return made


def timescale() -> list[str]:
    """All tables as hypertables."""
    return [
        "CREATE EXTENSION IF NOT EXISTS timescaledb",
        *postgres(native=False),
        *(statement for spec in SPECS.values() for statement in hypertables(spec)),
    ]


# -- files ---------------------------------------------------------------------------------------------------------------------------


def files() -> Iterator[tuple[str, str]]:
    """The names and texts of ``config/sql``."""
    for name, statements, about in (
        ("clickhouse", clickhouse(), "ClickHouse, one server. tape_archive.tables makes the same by itself."),
        ("clickhouse_cluster", clickhouse(cluster="{cluster}"), "ClickHouse, a cluster: the macros cluster, shard and replica are set."),
        ("postgresql", postgres(), "PostgreSQL 14 or later. Partitions are made as rows for them come."),
        ("timescaledb", timescale(), "PostgreSQL with TimescaleDB 2.11 or later."),
    ):
        head = f"-- {about}\n-- Generated from archive/tape_archive/tables/schema.py: python -m tape_archive.tables.ddl config/sql\n\n"
        yield f"{name}.sql", head + "\n\n".join(f"{statement};" for statement in statements) + "\n"


if __name__ == "__main__":
    for name, text in files():
        (Path(sys.argv[1]) / name).write_text(text)
