"""A writer of tables as a process of its own: ``python -m tests.support.table_writer <url> <rows> <seed> [<kill at>]``.

Its input are so many rows of three tables; the position of a cursor is how many of them are used. Where batches end depends on the seed, so after
a crash other batches follow. With ``kill at`` it kills itself (SIGKILL) at that call or return of the stores' code, counted after ``create``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from typing import Any

import pyarrow as pa

from tape_archive.tables import Cursor, Tables, open_tables
from tape_archive.tables.batch import conform, latest, schema_of
from tape_archive.tables.schema import SPECS
from tests.support.rows import DAY, MIDNIGHT, rows

TABLES = ("trades", "candles_5m", "l2_book")
_WATCHED = ("tape_archive.tables", "tape_archive.format.atomic", "asyncpg.connection", "clickhouse_connect.driver.client")


def source(table: str, count: int) -> dict[str, list[Any]]:
    """The input: three days, whatever the count."""
    return rows(SPECS[table], count, start=MIDNIGHT - DAY, step=3 * DAY // count)


def wanted(table: str, count: int, used: int) -> pa.Table:
    """The rows of the first ``used`` of the input."""
    spec = SPECS[table]
    cut = {name: values[:used] for name, values in source(table, count).items()}
    return latest(spec, conform(spec, cut).cast(schema_of(spec)))


def write(store: Tables, count: int, seed: int) -> None:
    """Go on from the cursors to the end of the input; every other batch is sent twice."""
    chance = random.Random(seed)
    known = store.cursors("w")
    cursors = {table: known.get(table, Cursor("w", 0, "0")) for table in TABLES}
    inputs = {table: source(table, count) for table in TABLES}
    while open_ones := [table for table in TABLES if int(cursors[table].position) < count]:
        table = chance.choice(open_ones)
        used = int(cursors[table].position)
        until = min(count, used + chance.randint(1, count // 6))
        batch = {name: values[used:until] for name, values in inputs[table].items()}
        cursors[table] = Cursor("w", cursors[table].batch + 1, str(until))
        assert store.insert(table, batch, cursors[table])
        if chance.random() < 0.5:
            assert not store.insert(table, batch, cursors[table])


def _deadly(at: int) -> Any:
    left = [at]

    def profile(frame: Any, event: str, _: Any) -> None:
        if str(frame.f_globals.get("__name__", "")).startswith(_WATCHED):
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return profile


if __name__ == "__main__":
    tables = open_tables(sys.argv[1])
    tables.create()
    if len(sys.argv) > 4:
        # Also in the thread that a store may start: so it is closed, and starts it anew.
        tables.close()
        threading.setprofile(_deadly(int(sys.argv[4])))
        sys.setprofile(_deadly(int(sys.argv[4])))
    write(tables, int(sys.argv[2]), int(sys.argv[3]))
    sys.setprofile(None)
    tables.close()
