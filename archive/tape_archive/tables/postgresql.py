"""Tables in PostgreSQL (14 or later), plain or with TimescaleDB. Rows and cursor are one transaction.

A batch is copied straight into its table; only if rows of its keys are there already is it copied again, into a staging table, and merged
from there. Partitions are made as rows for them come, and dropped when they are too old, both without a lock that an insert would wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar

import asyncpg
import pyarrow as pa

from tape_archive.format.errors import (
    OutOfStep,
    SchemaDiffers,
    SettingsError,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreSlow,
    StoreUnavailable,
    TapeError,
)
from tape_archive.tables import copying, ddl, partitions
from tape_archive.tables.batch import Rows, conform
from tape_archive.tables.laws import Found, Gap, Grid, Hole, Ids, Law, Life
from tape_archive.tables.schema import LEDGER, SPECS, VERSION, Spec, spec_of
from tape_archive.tables.search import columns_of, nanoseconds, seen, verdict
from tape_archive.tables.tables import Cursor, Proof, Target, filters, proof_of, standing, target_of

T = TypeVar("T")
Connection = Any
_TYPES = {"time": "timestamptz", "label": "text", "text": "text", "float": "float8", "int": "int8", "bool": "bool", "floats": "_float8"}
_AWAY = ("08", "57P01", "57P02", "57P03", "53200", "53300", "53400", "25006")
_SLOW = ("57014", "55P03", "40001", "40P01")
_DENIED = ("28", "42501")
_DIFFERS = ("42P01", "42703", "42804", "42P10", "42P17", "42809")

#: what the driver raises on a connection that is no good any more; the second where the server died between two messages of one answer
_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError)


def quoted(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("\0", "\ufffd").replace("'", "''") + "'"


def failure(where: str, error: BaseException) -> TapeError:
    """The error of ours that tells what one of the driver's means."""
    state = str(getattr(error, "sqlstate", None) or "")
    text = " ".join(str(error).split())[:400] or type(error).__name__
    if state == "53100" or "No space left" in text:
        return StoreFull(f"{where}: no space left; free some there, no row is lost")
    if isinstance(error, TimeoutError) or state.startswith(_SLOW):
        return StoreSlow(f"{where} does not answer in time: {text}")
    if state.startswith(_AWAY) or isinstance(error, (OSError, *_BROKEN)) or "connection was closed" in text:
        return StoreUnavailable(f"{where} cannot be reached: {text}")
    if state.startswith(_DENIED):
        return StoreDenied(f"{where}: {text}")
    if state.startswith(_DIFFERS):
        return SchemaDiffers(f"{where}: {text}; run create, or choose another database or ?schema=")
    if state == "3D000":
        return StoreError(f"{where}: {text}; make it with createdb")
    return StoreError(f"{where}: {text}")


class PostgresTables:
    """See Tables. ``schema``: of the database, the search path if empty. Talks to the server in a thread of its own."""

    def __init__(self, url: str, options: Mapping[str, Any], *, schema: str = "", timeout_s: float = 60.0) -> None:
        self.url = url
        self.schema = schema
        self._options = options
        self._timeout_s = timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._begin = threading.Lock()
        self._connections: dict[str, Connection] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._partitions: dict[str, set[str]] = {}
        self._hyper = False

    @classmethod
    def of_url(cls, url: str) -> PostgresTables:
        """``postgresql://user:password@host:port/database?schema=&timeout=&host=``; ``host=`` may be the folder of a socket. Raises
        SettingsError."""
        target: Target = target_of(url)
        target.option("schema", "timeout", "host")
        timeout = target.options.get("timeout", "60")
        if not timeout.isdecimal() or int(timeout) < 1:
            raise SettingsError(f"{target.shown}: timeout={timeout} is no number of seconds")
        options = {
            "host": target.options.get("host") or target.host or "127.0.0.1",
            "port": target.port or 5432,
            "user": target.user or "postgres",
            "password": target.password,
            "database": target.path.strip("/") or "tapeline",
        }
        return cls(target.shown, options, schema=target.options.get("schema", ""), timeout_s=float(timeout))

    # -- talking ----------------------------------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._begin:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="postgresql", daemon=True)
                self._thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except (asyncpg.PostgresError, *_BROKEN, OSError, TimeoutError) as error:
            raise failure(self.url, error) from None

    @contextlib.asynccontextmanager
    async def _connection(self, use: str = "rows") -> AsyncIterator[Connection]:
        """One connection for rows and one for pruning, so that neither waits for the other. One that failed is given up."""
        async with self._turns.setdefault(use, asyncio.Lock()):
            connection = self._connections.pop(use, None)
            if connection is None or connection.is_closed():
                connection = await self._connect(use)
            try:
                yield connection
            except (*_BROKEN, OSError, TimeoutError):
                connection.terminate()
                raise
            finally:
                if not connection.is_closed():
                    self._connections[use] = connection

    async def _connect(self, use: str) -> Connection:
        settings = {"timezone": "UTC", "application_name": "tapeline", "statement_timeout": str(int(self._timeout_s * 1000))}
        if use == "prune":
            # Detaching waits for every reader of the table.
            settings["statement_timeout"] = "0"
        if self.schema:
            settings["search_path"] = '"' + self.schema.replace('"', '""') + '"'
        patience = None if use == "prune" else self._timeout_s + 5
        db = await asyncpg.connect(**self._options, timeout=5, command_timeout=patience, server_settings=settings)
        self._hyper = bool(await db.fetchval("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"))
        return db

    # -- writing ----------------------------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """See Tables."""
        self._run(self._create())

    async def _create(self) -> None:
        async with self._connection() as db:
            # Several processes may start at once.
            async with db.transaction():
                await db.execute("SELECT pg_advisory_xact_lock(hashtext('tapeline tables'))")
                if self.schema:
                    name = self.schema.replace('"', '""')
                    await db.execute(f'CREATE SCHEMA IF NOT EXISTS "{name}"')
                for statement in ddl.postgres(native=not self._hyper):
                    await db.execute(statement)
                if self._hyper:
                    made = {row[0] for row in await db.fetch("SELECT hypertable_name FROM timescaledb_information.hypertables")}
                    for spec in SPECS.values():
                        for statement in [] if spec.name in made else ddl.hypertables(spec):
                            await db.execute(statement)
            sql = "SELECT table_name, column_name, udt_name FROM information_schema.columns WHERE table_schema = current_schema()"
            found: dict[str, dict[str, str]] = {}
            for table, name, kind in await db.fetch(sql):
                found.setdefault(table, {})[name] = "text" if kind == "varchar" else kind
        for spec in SPECS.values():
            _compare(self.url, spec, found.get(spec.name, {}))

    def insert(self, table: str, rows: Rows, cursor: Cursor) -> bool:
        """See Tables."""
        spec = spec_of(table)
        batch = conform(spec, rows)
        return self._run(self._insert(spec, batch, cursor))

    async def _insert(self, spec: Spec, batch: pa.Table, cursor: Cursor) -> bool:
        async with self._connection() as db:
            await self._room(db, spec, batch)
            async with db.transaction():
                sql = f"SELECT batch, position FROM {LEDGER} WHERE writer = $1 AND table_name = $2 FOR UPDATE"
                row = await db.fetchrow(sql, cursor.writer, spec.name)
                known = Cursor(cursor.writer, row[0], row[1]) if row else None
                if not standing(known, cursor, spec.name):
                    return False
                if len(batch):
                    await self._copy(db, spec, batch)
                if known is None:
                    sql = f"INSERT INTO {LEDGER} (batch, position, writer, table_name) VALUES ($1, $2, $3, $4)"
                else:
                    sql = f"UPDATE {LEDGER} SET batch = $1, position = $2, updated = now() WHERE writer = $3 AND table_name = $4"
                try:
                    await db.execute(sql, cursor.batch, cursor.position, cursor.writer, spec.name)
                except asyncpg.UniqueViolationError:
                    raise OutOfStep(f"{spec.name}: another process writes as {cursor.writer!r}; give this one another name") from None
            return True

    async def _room(self, db: Connection, spec: Spec, batch: pa.Table) -> None:
        """The partitions that the batch needs."""
        if self._hyper or spec.partition == "none" or not len(batch):
            return
        known = self._partitions.setdefault(spec.name, set())
        for name in partitions.needed(spec, nanoseconds(batch[spec.time])):
            if name not in known:
                await partitions.make(db, spec, name)
                known.add(name)

    async def _copy(self, db: Connection, spec: Spec, batch: pa.Table) -> None:
        content = copying.written(batch)
        try:
            async with db.transaction():
                await db.copy_to_table(spec.name, source=io.BytesIO(content), format="binary", columns=spec.names)
            return
        except asyncpg.UniqueViolationError:
            pass
        except asyncpg.CheckViolationError:
            # A partition that we knew was pruned by another process.
            self._partitions.pop(spec.name, None)
            raise StoreSlow(f"{self.url}: a partition of {spec.name} was removed meanwhile; send the batch again") from None
        await db.execute(f'CREATE TEMP TABLE IF NOT EXISTS "staged_{spec.name}" (LIKE "{spec.name}") ON COMMIT DELETE ROWS')
        await db.copy_to_table(f"staged_{spec.name}", source=io.BytesIO(content), format="binary", columns=spec.names)
        names = ", ".join(f'"{name}"' for name in spec.names)
        new = ", ".join(f'"{name}" = excluded."{name}"' for name in spec.names if name not in spec.key)
        await db.execute(
            f'INSERT INTO "{spec.name}" AS old ({names}) SELECT {names} FROM "staged_{spec.name}" '
            f"ON CONFLICT ({', '.join(spec.key)}) DO UPDATE SET {new} WHERE excluded.{VERSION} > old.{VERSION}"
        )

    def cursors(self, writer: str) -> dict[str, Cursor]:
        """See Tables."""
        rows = self._run(self._fetch(f"SELECT table_name, batch, position FROM {LEDGER} WHERE writer = {quoted(writer)}"))
        return {table: Cursor(writer, batch, position) for table, batch, position in rows}

    async def _fetch(self, sql: str) -> list[Any]:
        async with self._connection() as db:
            return list(await db.fetch(sql))

    # -- reading ----------------------------------------------------------------------------------------------------------------------

    def _where(self, spec: Spec, start: int | None, end: int | None, wanted: Mapping[str, str]) -> str:
        terms = [f'"{name}" = {quoted(value)}' for name, value in wanted.items()]
        for bound, sign in ((start, ">="), (end, "<")):
            if bound is not None:
                terms.append(f"{spec.time} {sign} '{partitions.moment(bound)}'")
        return " AND ".join(terms) or "TRUE"

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
        names = ", ".join(f'"{spec.column(name).name}"' for name in chosen)
        sql = f'SELECT {names} FROM "{table}" WHERE {self._where(spec, start, end, wanted)} ORDER BY {", ".join(spec.key)}'
        return copying.parsed(spec, chosen, self._run(self._copied(sql)))

    async def _copied(self, sql: str) -> bytes:
        out = io.BytesIO()
        async with self._connection() as db:
            await db.copy_from_query(sql, output=out, format="csv")
        return out.getvalue()

    def symbols(self, table: str) -> list[str]:
        """See Tables. Steps from one symbol to the next in the index, so that it costs what there are symbols, not rows."""
        name = spec_of(table).name
        sql = (
            f'WITH RECURSIVE s AS ((SELECT symbol FROM "{name}" ORDER BY symbol LIMIT 1) UNION ALL '
            f'SELECT (SELECT t.symbol FROM "{name}" t WHERE t.symbol > s.symbol ORDER BY t.symbol LIMIT 1) FROM s '
            "WHERE s.symbol IS NOT NULL) "
            "SELECT symbol FROM s WHERE symbol IS NOT NULL"
        )
        return [row[0] for row in self._run(self._fetch(sql))]

    def count(self, table: str, symbol: str | None = None, start: int | None = None, end: int | None = None) -> int:
        """See Tables."""
        spec = spec_of(table)
        terms = self._where(spec, start, end, {} if symbol is None else {"symbol": symbol})
        return int(self._run(self._fetch(f'SELECT count(*) FROM "{table}" WHERE {terms}'))[0][0])

    def proof(self, table: str, start: int | None = None, end: int | None = None) -> Proof:
        """See Tables."""
        return proof_of(self, table, start, end)

    # -- what is missing --------------------------------------------------------------------------------------------------------------

    def missing(
        self, table: str, symbols: Mapping[str, Life], start: int, end: int, law: Law, where: Mapping[str, str] | None = None
    ) -> dict[str, list[Gap]]:
        """See Tables. The database compares each row with the one before; only the edges of holes are read."""
        spec = spec_of(table)
        found: dict[str, list[Found]] = {}
        for symbol in symbols:
            terms = self._where(spec, start, end, {**filters(where), "symbol": symbol})
            if isinstance(law, Grid | Ids):
                one = _edges(self._run(self._fetch(_lagging(spec, law, terms))))
            else:
                one = seen(spec, law, self.read(table, symbol, start, end, columns=columns_of(spec, law), where=filters(where)))
            found[symbol] = [one] if one else []
            if isinstance(law, Ids):
                for bounds, order in (((None, start), "DESC"), ((end, None), "ASC")):
                    terms = self._where(spec, bounds[0], bounds[1], {**filters(where), "symbol": symbol})
                    sql = (
                        f'SELECT "{law.column}", {_micro(spec)} FROM "{table}" WHERE {terms} '
                        f'ORDER BY {spec.time} {order}, "{law.column}" {order} LIMIT 1'
                    )
                    found[symbol] += [Found(number, number, time * 1000, time * 1000) for number, time in self._run(self._fetch(sql))]
        return verdict(law, symbols, found, start, end)

    # -- retention --------------------------------------------------------------------------------------------------------------------

    def prune(self, table: str, before: int) -> int:
        """See Tables. Whole partitions are detached, then dropped; of the one that is left, rows go some thousand at a time."""
        spec = spec_of(table)
        self._partitions.pop(table, None)
        return self._run(self._prune(spec, before))

    async def _prune(self, spec: Spec, before: int) -> int:
        async with self._connection("prune") as db:
            if self._hyper and spec.partition != "none":
                return await partitions.thin_hypertable(db, spec, before)
            removed = 0
            for name, (_, behind) in (await partitions.existing(db, spec)).items():
                if behind <= before:
                    removed += await partitions.drop(db, spec, name)
            for name, (begin, behind) in (await partitions.existing(db, spec)).items():
                if begin < before < behind:
                    removed += await partitions.thin(db, spec, name, before)
            return removed

    def close(self) -> None:
        """See Tables."""
        with self._begin:
            loop, self._loop = self._loop, None
            if loop is None or self._thread is None:
                return
            asyncio.run_coroutine_threadsafe(self._close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
            self._partitions.clear()

    async def _close(self) -> None:
        for connection in self._connections.values():
            try:
                await connection.close(timeout=5)
            except (asyncpg.PostgresError, *_BROKEN, OSError, TimeoutError):
                connection.terminate()
        self._connections.clear()
        self._turns.clear()


def _compare(url: str, spec: Spec, found: Mapping[str, str]) -> None:
    other = "name a schema of its own: ?schema=tapeline"
    for column in spec.columns:
        have, wanted = found.get(column.name), _TYPES[column.kind]
        if have is None:
            fix = f'ALTER TABLE "{spec.name}" ADD COLUMN "{column.name}" {wanted}'
            raise SchemaDiffers(f"{url}: table {spec.name} has no column {column.name}; {fix}, or {other}")
        if have != wanted:
            raise SchemaDiffers(f"{url}: {spec.name}.{column.name} is {have}, ours is {wanted}; {other}")


def _micro(spec: Spec) -> str:
    return f"(extract(epoch FROM {spec.time}) * 1000000)::bigint"


def _lagging(spec: Spec, law: Grid | Ids, terms: str) -> str:
    """Each number that has no neighbour before or behind it, with those next to it and their times."""
    if isinstance(law, Ids):
        inner = f'SELECT "{law.column}" AS n, min({_micro(spec)}) AS t FROM "{spec.name}" WHERE {terms} GROUP BY 1'
    else:
        step, since = law.step // 1000, f"({_micro(spec)} - {law.offset // 1000})"
        inner = (
            f'SELECT DISTINCT {since} / {step} AS n, 0 AS t FROM "{spec.name}" WHERE {terms} AND {since} % {step} <= {law.slack // 1000}'
        )
    return (
        f"SELECT p, pt, n, t FROM (SELECT n, t, lag(n) OVER w AS p, lag(t) OVER w AS pt, lead(n) OVER w AS q FROM ({inner}) AS a "
        "WINDOW w AS (ORDER BY n)) AS b WHERE p IS NULL OR n - p > 1 OR q IS NULL ORDER BY n"
    )


def _edges(rows: list[Any]) -> Found | None:
    if not rows:
        return None
    holes = [Hole(row[0] + 1, row[2], row[1] * 1000, row[3] * 1000) for row in rows if row[0] is not None and row[2] - row[0] > 1]
    return Found(rows[0][2], rows[-1][2], rows[0][3] * 1000, rows[-1][3] * 1000, holes)
