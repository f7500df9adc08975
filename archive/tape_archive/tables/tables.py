"""The interface of table stores, and ``open_tables`` by URL.

**Batches.** A writer (a name: one process, one shard) numbers the batches of each table 1, 2, 3, … and gives each a ``position``: how far
its input is used when the batch is in, in words of its own. Rows and cursor move together: after any crash ``cursors`` tells the last
batch that is in, whole; the writer goes on behind its position. The same batch sent again changes nothing. A batch that was not
acknowledged is sent again as it was, or the cursors are asked for first; another batch under a number that is in raises ``OutOfStep``.

**Errors.** ``StoreUnavailable`` (down) and ``StoreSlow`` are worth a retry, and so is ``StoreFull`` once somebody has freed space there;
``StoreDenied``, ``SchemaDiffers`` and ``OutOfStep`` are not; ``LocalError`` is a batch that is not of its table.

**Threads.** All calls block. They may come from any thread, and take turns.

Times are unix ns; spans run from ``start`` to ``end`` (exclusive); None is open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pyarrow as pa

from tape_archive.format.errors import OutOfStep, SettingsError
from tape_archive.tables.batch import Rows, digest
from tape_archive.tables.laws import Gap, Law, Life
from tape_archive.tables.schema import EXCHANGE


class Cursor(msgspec.Struct, frozen=True):
    """How far a writer has come in one table. ``batch``: the number of the last batch that is in, from 1; ``position``: opaque to
    stores."""

    writer: str
    batch: int
    position: str = ""


class Proof(msgspec.Struct, frozen=True):
    """How many rows, and the sha256 over all of them: the same in every store that has the same rows."""

    rows: int
    sha256: str


class Tables(Protocol):
    """What every table store does. ``where``: further equal-conditions on label columns (``{"interval": "3m"}``, ``{"exchange": …}``)."""

    #: for people: says where, holds no secret
    url: str

    def create(self) -> None:
        """Make what is missing of tables and views. Raises SchemaDiffers if a table is there that is not ours."""

    def insert(self, table: str, rows: Rows, cursor: Cursor) -> bool:
        """Put a batch in, lasting when this returns. False: it was in already. An empty batch only moves the cursor."""

    def cursors(self, writer: str) -> dict[str, Cursor]:
        """The last batch that is in, by table."""

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
        """The rows in the order of the table's key, each key once."""

    def symbols(self, table: str) -> list[str]:
        """The symbols that have rows, sorted."""

    def count(self, table: str, symbol: str | None = None, start: int | None = None, end: int | None = None) -> int:
        """How many rows ``read`` gives."""

    def proof(self, table: str, start: int | None = None, end: int | None = None) -> Proof:
        """Count and hash of the rows."""

    def missing(
        self, table: str, symbols: Mapping[str, Life], start: int, end: int, law: Law, where: Mapping[str, str] | None = None
    ) -> dict[str, list[Gap]]:
        """What each symbol lacks by the law, to the row; symbols that lack nothing have an empty list. ``where`` names the exchange and,
        for custom candles, the interval; the exchange is BINANCE_FUTURES if it does not say."""

    def prune(self, table: str, before: int) -> int:
        """Remove the rows whose time is before that; gives how many. In small steps: an insert never waits for long."""

    def close(self) -> None:
        """Let go of connections, files and locks."""


def standing(known: Cursor | None, new: Cursor, table: str) -> bool:
    """Whether a batch is to be written (its number is the next one) or is in already. Raises OutOfStep."""
    have = known.batch if known else 0
    if new.batch == have + 1:
        return True
    if known and new.batch == have and new.position != known.position:
        raise OutOfStep(f"{table}: batch {have} of {new.writer} is in with another position; ask for the cursors and go on from there")
    if 0 < new.batch <= have:
        return False
    raise OutOfStep(f"{table}: batch {new.batch} of {new.writer} does not follow batch {have}; ask for the cursors and go on from there")


def proof_of(tables: Tables, table: str, start: int | None, end: int | None) -> Proof:
    """The proof, symbol by symbol, so that no table is ever in memory whole."""
    sha, count = hashlib.sha256(), 0
    for symbol in tables.symbols(table):
        rows = tables.read(table, symbol, start, end)
        if len(rows):
            count += len(rows)
            sha.update(f"{symbol}\n{digest(rows)}\n".encode())
    return Proof(count, sha.hexdigest())


def filters(where: Mapping[str, str] | None) -> dict[str, str]:
    """The conditions of a search: of one exchange always."""
    return {"exchange": EXCHANGE, **(where or {})}


class Target(msgspec.Struct, frozen=True):
    """A URL in its parts; ``options`` are its query."""

    scheme: str
    host: str
    port: int | None
    user: str | None
    password: str | None
    path: str
    options: Mapping[str, str]

    @property
    def shown(self) -> str:
        """For people, without the password."""
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{user}{self.host}{port}{self.path}"

    def option(self, *known: str) -> None:
        """Raises SettingsError for an option that is not known."""
        for name in self.options:
            if name not in known:
                raise SettingsError(f"{self.shown}: no option {name!r}; there are {', '.join(known) or 'none'}")


def target_of(url: str) -> Target:
    """The parts of a URL. Raises SettingsError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"{url}: {error}") from None
    user, password = (None if one is None else unquote(one) for one in (parts.username, parts.password))
    return Target(parts.scheme, parts.hostname or "", port, user, password, unquote(parts.path), dict(parse_qsl(parts.query)))


def open_tables(url: str) -> Tables:
    """The table store of a URL: ``parquet://<folder>`` (or a plain folder), ``chdb://<folder>``,
    ``clickhouse://user:password@host:port/database``, ``postgresql://user:password@host:port/database``.

    Raises SettingsError for a URL that no store understands, or for a package that is missing. Nothing is connected before the first use.
    """
    scheme = url.partition("://")[0] if "://" in url else "parquet"
    if scheme in ("parquet", "file"):
        from tape_archive.tables.parquet import ParquetTables

        folder = url.removeprefix(f"{scheme}://")
        if not folder:
            raise SettingsError(f"{url}: name the folder, parquet://data or parquet:///var/lib/tapeline")
        return ParquetTables(Path(folder).expanduser())
    try:
        if scheme in ("chdb", "clickhouse", "clickhouses"):
            from tape_archive.tables.clickhouse import ClickHouseTables

            return ClickHouseTables.of_url(url)
        if scheme in ("postgresql", "postgres"):
            from tape_archive.tables.postgresql import PostgresTables

            return PostgresTables.of_url(url)
    except ModuleNotFoundError as error:
        extra = {"chdb": "chdb", "clickhouse": "clickhouse", "clickhouses": "clickhouse"}.get(scheme, "postgres")
        raise SettingsError(f"{scheme}:// needs the package {error.name!r}: pip install 'tapeline[{extra}]'") from None
    raise SettingsError(f"no table store of kind {scheme!r}; use parquet://, chdb://, clickhouse:// or postgresql://")
