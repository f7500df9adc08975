"""Tables in ClickHouse: embedded (chDB), a server, or a cluster; one client for all of them.

ClickHouse has no transaction over two tables, so the rows go in first and the cursor after them. A crash between the two leaves rows
without their cursor; the batch comes again, and rows of one key become one (ReplacingMergeTree, read with FINAL). Block deduplication is
switched off: it would drop, silently, rows that were pruned and come again. docs/adr/0008 has the whole story.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError, ProgrammingError

from tape_archive.format.atomic import make_folder
from tape_archive.format.errors import (
    Busy,
    SchemaDiffers,
    SettingsError,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreSlow,
    StoreUnavailable,
    TapeError,
)
from tape_archive.tables import ddl
from tape_archive.tables.batch import Rows, conform, schema_of
from tape_archive.tables.clickhouse_query import Search, quoted, terms_of
from tape_archive.tables.laws import Gap, Law, Life
from tape_archive.tables.parts import span_of
from tape_archive.tables.schema import LEDGER, SPECS, Spec, spec_of
from tape_archive.tables.tables import Cursor, Proof, Target, filters, proof_of, standing, target_of

_DENIED = {192, 193, 194, 497, 516}
_DIFFERS = {8, 10, 16, 36, 47, 53, 60, 70, 81}
_SLOW = {159, 160, 202, 209, 241, 252, 319}
_AWAY = {3, 198, 210, 225, 242, 279, 425, 999}
_INSERT: Mapping[str, Any] = {
    "insert_deduplicate": 0,
    "async_insert": 0,
    "max_partitions_per_insert_block": 0,
    "distributed_foreground_insert": 1,
}
_READ: Mapping[str, Any] = {"do_not_merge_across_partitions_select_final": 1}
_DATES = {"day": "%Y%m%d", "month": "%Y%m", "year": "%Y"}


def failure(where: str, error: Exception) -> TapeError:
    """The error of ours that tells what one of the client's means."""
    code = getattr(error, "code", None)
    text = " ".join(str(error).split())[:400]
    if code == 243 or "No space left" in text or "NOT_ENOUGH_SPACE" in text:
        return StoreFull(f"{where}: no space left; free some there, no row is lost")
    if code in _DENIED:
        return StoreDenied(f"{where}: {text}")
    if code in _DIFFERS:
        return SchemaDiffers(f"{where}: {text}; run create, or choose another database")
    if code in _SLOW or "timed out" in text.lower():
        return StoreSlow(f"{where}: {text}")
    if code in _AWAY or isinstance(error, OperationalError):
        return StoreUnavailable(f"{where} cannot be reached: {text}")
    return StoreError(f"{where}: {text}")


class ClickHouseTables:
    """See Tables. ``cluster``: the name of the cluster whose replicated tables are meant. ``ttl``: whether the server removes old rows
    itself."""

    def __init__(self, url: str, database: str, options: Mapping[str, Any], *, cluster: str = "", ttl: bool = True) -> None:
        self.url = url
        self.database = database
        self.cluster = cluster
        self.ttl = ttl
        self._options = options
        self._clients: dict[str, Client] = {}
        self._turns = {"rows": threading.RLock(), "prune": threading.RLock()}
        self._known: dict[tuple[str, str], Cursor | None] = {}

    @classmethod
    def of_url(cls, url: str) -> ClickHouseTables:
        """``chdb://<folder>?database=&threads=&ttl=`` or ``clickhouse[s]://user:password@host:port/database?cluster=&timeout=&ttl=``.
        Raises SettingsError, or ModuleNotFoundError where chDB is not installed."""
        if url.startswith("chdb://"):
            return cls._embedded(url)
        target = target_of(url)
        target.option("cluster", "timeout", "ttl")
        secure = target.scheme == "clickhouses"
        options = {
            "interface": "https" if secure else "http",
            "host": target.host or "127.0.0.1",
            "port": target.port or (8443 if secure else 8123),
            "username": target.user or "default",
            "password": target.password or "",
            "connect_timeout": 5,
            "send_receive_timeout": _number(target, "timeout", 60),
            "autogenerate_session_id": False,
        }
        database = target.path.strip("/") or "tapeline"
        return cls(target.shown, database, options, cluster=target.options.get("cluster", ""), ttl=bool(_number(target, "ttl", 1)))

    @classmethod
    def _embedded(cls, url: str) -> ClickHouseTables:
        import chdb  # noqa: F401

        place, _, query = url.removeprefix("chdb://").partition("?")
        target = target_of(f"chdb://x/?{query}")
        target.option("database", "threads", "ttl")
        if not place:
            raise SettingsError(f"{url}: name the folder, chdb:///var/lib/tapeline/chdb")
        options = {"interface": "chdb", "path": str(Path(place).expanduser()), "settings": {"max_threads": _number(target, "threads", 0)}}
        return cls(f"chdb://{place}", target.options.get("database", "tapeline"), options, ttl=bool(_number(target, "ttl", 0)))

    # -- talking ----------------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _client(self, use: str = "rows") -> Iterator[Client]:
        """One connection for rows and one for pruning, so that neither waits for the other. Raises our errors."""
        with self._turns[use]:
            try:
                if use not in self._clients:
                    if folder := self._options.get("path"):
                        make_folder(Path(str(folder)))
                    self._clients[use] = get_client(**self._options)
                yield self._clients[use]
            except ProgrammingError as error:
                if "already initialized" in str(error):
                    raise StoreError(f"{self.url}: this process has another chDB folder open, and may have one only") from None
                if "Unable to open" in str(error):
                    raise Busy(f"{self.url} cannot be opened: another process has it; stop that one, or choose another folder") from None
                raise failure(self.url, error) from None
            except ClickHouseError as error:
                raise failure(self.url, error) from None
            except OSError as error:
                raise StoreUnavailable(f"{self.url} cannot be reached: {error}") from None

    def _name(self, table: str, *, local: bool = False) -> str:
        return f"`{self.database}`.`{table}{'_local' if local and self.cluster else ''}`"

    def _arrow(self, sql: str) -> Any:
        with self._client() as client:
            return client.query_arrow(sql, settings=dict(_READ), use_strings=True)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self._client() as client:
            return [tuple(row) for row in client.query(sql, settings=dict(_READ)).result_rows]

    # -- writing ----------------------------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """See Tables."""
        where = f" ON CLUSTER '{self.cluster}'" if self.cluster else ""
        with self._client() as client:
            client.command(f"CREATE DATABASE IF NOT EXISTS `{self.database}`{where}")
            client.command(f"USE `{self.database}`") if "path" in self._options else setattr(client, "database", self.database)
            for statement in ddl.clickhouse(ttl=self.ttl, cluster=self.cluster):
                client.command(statement)
        self._check()

    def _check(self) -> None:
        found: dict[str, dict[str, str]] = {}
        for table, name, kind in self._rows(f"SELECT table, name, type FROM system.columns WHERE database = {quoted(self.database)}"):
            found.setdefault(table, {})[name] = kind
        for spec in SPECS.values():
            for column in spec.columns:
                have, wanted = found.get(spec.name, {}).get(column.name), ddl.clickhouse_type(column)
                if have is None:
                    fix = f"ALTER TABLE {self._name(spec.name)} ADD COLUMN `{column.name}` {wanted}"
                    raise SchemaDiffers(f"{self.url}: table {spec.name} has no column {column.name}; {fix}")
                if have != wanted:
                    raise SchemaDiffers(f"{self.url}: {spec.name}.{column.name} is {have}, ours is {wanted}; choose another database")

    def insert(self, table: str, rows: Rows, cursor: Cursor) -> bool:
        """See Tables."""
        spec = spec_of(table)
        batch = conform(spec, rows)
        with self._client() as client:
            key = cursor.writer, table
            if key not in self._known:
                self._known[key] = self.cursors(cursor.writer).get(table)
            if not standing(self._known[key], cursor, table):
                return False
            del self._known[key]
            if len(batch):
                client.insert_arrow(spec.name, batch, database=self.database, settings=dict(_INSERT))
            client.insert(
                LEDGER,
                [[cursor.writer, table, cursor.batch, cursor.position]],
                ["writer", "table_name", "batch", "position"],
                database=self.database,
                settings=dict(_INSERT),
            )
            self._known[key] = cursor
            return True

    def cursors(self, writer: str) -> dict[str, Cursor]:
        """See Tables."""
        sql = (
            f"SELECT table_name, max(batch), argMax(position, batch) FROM {self._name(LEDGER)} "
            f"WHERE writer = {quoted(writer)} GROUP BY table_name"
        )
        return {table: Cursor(writer, batch, position) for table, batch, position in self._rows(sql)}

    # -- reading ----------------------------------------------------------------------------------------------------------------------

    def read(
        self,
        table: str,
        symbol: str | None = None,
        start: int | None = None,
        end: int | None = None,
        *,
        columns: tuple[str, ...] | None = None,
        where: Mapping[str, str] | None = None,
    ) -> pa.Table:
        """See Tables."""
        spec = spec_of(table)
        chosen = columns or spec.names
        wanted = dict(where or {}) | ({} if symbol is None else {"symbol": symbol})
        names = ", ".join(f"`{spec.column(name).name}`" for name in chosen)
        sql = f"SELECT {names} FROM {self._name(table)} FINAL WHERE {terms_of(spec, start, end, wanted)} ORDER BY {', '.join(spec.key)}"
        schema = schema_of(spec)
        got = self._arrow(sql)
        if not got.num_columns:
            return pa.schema([schema.field(name) for name in chosen]).empty_table()
        rows: pa.Table = got.cast(pa.schema([schema.field(name) for name in chosen]))
        return rows

    def symbols(self, table: str) -> list[str]:
        """See Tables."""
        spec = spec_of(table)
        return [row[0] for row in self._rows(f"SELECT DISTINCT symbol FROM {self._name(spec.name)} FINAL ORDER BY symbol")]

    def count(self, table: str, symbol: str | None = None, start: int | None = None, end: int | None = None) -> int:
        """See Tables."""
        spec = spec_of(table)
        wanted = {} if symbol is None else {"symbol": symbol}
        return int(self._rows(f"SELECT count() FROM {self._name(table)} FINAL WHERE {terms_of(spec, start, end, wanted)}")[0][0])

    def proof(self, table: str, start: int | None = None, end: int | None = None) -> Proof:
        """See Tables."""
        return proof_of(self, table, start, end)

    # -- what is missing --------------------------------------------------------------------------------------------------------------

    def missing(
        self, table: str, symbols: Mapping[str, Life], start: int, end: int, law: Law, where: Mapping[str, str] | None = None
    ) -> dict[str, list[Gap]]:
        """See Tables. The database finds the holes."""
        search = Search(self._rows, self._arrow, partial(self.read, table), self._name(table), spec_of(table))
        return search.missing(symbols, start, end, law, filters(where))

    # -- retention --------------------------------------------------------------------------------------------------------------------

    def prune(self, table: str, before: int) -> int:
        """See Tables. Whole partitions are dropped; of the one that is left, rows are masked and go with the next merge."""
        spec = spec_of(table)
        where = f" ON CLUSTER '{self.cluster}'" if self.cluster else ""
        name, terms = self._name(table, local=True), terms_of(spec, None, before, {})
        old = self.count(table, None, None, before)
        if not old:
            return 0
        partitions = self._rows(
            f"SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = {quoted(self.database)} "
            f"AND table = {quoted(table + ('_local' if self.cluster else ''))}"
        )
        with self._client("prune") as client:
            for (partition,) in partitions:
                behind = _end_of(spec, partition)
                if behind is not None and behind <= before:
                    client.command(f"ALTER TABLE {name}{where} DROP PARTITION ID {quoted(partition)}")
            client.command(f"DELETE FROM {name}{where} WHERE {terms}", settings={"lightweight_deletes_sync": 2})
        return old

    def close(self) -> None:
        """See Tables."""
        with self._turns["rows"], self._turns["prune"]:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
            self._known.clear()


def _number(target: Target, name: str, default: int) -> int:
    text = target.options.get(name, str(default))
    if not text.isdecimal():
        raise SettingsError(f"{target.shown}: {name}={text} is no whole number")
    return int(text)


def _end_of(spec: Spec, partition: str) -> int | None:
    """The first time behind a partition, unix ns; None where it has no end."""
    if spec.merged == "none":
        return None
    try:
        at = datetime.strptime(partition, _DATES[spec.merged]).replace(tzinfo=UTC)
    except ValueError:
        return None
    span = span_of(spec.merged, "date=" + at.strftime({"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}[spec.merged]))
    return span[1] if span else None
