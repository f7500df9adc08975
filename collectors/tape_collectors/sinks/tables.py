"""Rows of the market into a table store: batches with their cursor, the tape time up to which the table has everything of one tape."""

from __future__ import annotations

from collections.abc import Sequence

from tape_archive.tables.schema import EXCHANGE, spec_of
from tape_archive.tables.tables import Cursor, Tables
from tape_collectors.market.rows import COLUMNS, Row

#: a row waits up to a second for its frame of the tape, and then for its batch: within three seconds it is to be in the store
PARQUET_S = 1.0
PARQUET_ROWS = 20_000
SAVE_S = 10.0


class TableSink:
    """One tape's way into the store. ``writer``: its name there; two processes never share one."""

    def __init__(self, tables: Tables, writer: str) -> None:
        self.tables = tables
        self.writer = writer
        self._files = tables.url.startswith("parquet")
        self._cursors: dict[str, Cursor] | None = None

    def cursor(self, table: str) -> int:
        """The tape time (ns) up to which the table has all rows; 0: it has none. Raises StoreError."""
        found = self._known().get(table)
        return int(found.position or 0) if found else 0

    def insert(self, table: str, rows: Sequence[Row], t: int) -> None:
        """Rows up to tape time ``t``: all of them or none, and never twice. Raises StoreError."""
        known = self._known()
        before = known.get(table)
        cursor = Cursor(self.writer, before.batch + 1 if before else 1, str(t))
        columns = dict(zip(COLUMNS[table], zip(*rows, strict=True), strict=True))
        self.tables.insert(table, {**columns, "exchange": [EXCHANGE] * len(rows)}, cursor)
        known[table] = cursor

    def limits(self, table: str) -> tuple[int, float]:
        """A batch is due with so many rows, or after so many seconds."""
        spec = spec_of(table)
        if not self._files:
            return spec.batch_rows, spec.batch_s
        return PARQUET_ROWS, PARQUET_S

    @property
    def save_s(self) -> float:
        """The state is worth saving, with all that is pending, so often: as often that what is done twice after a crash is little."""
        return SAVE_S

    def _known(self) -> dict[str, Cursor]:
        if self._cursors is None:
            self.tables.create()
            self._cursors = dict(self.tables.cursors(self.writer))
        return self._cursors
