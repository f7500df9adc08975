"""Partitions of a PostgreSQL table: made, dropped and thinned out without a lock that an insert would wait for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import asyncpg

from tape_archive.tables.laws import Ints
from tape_archive.tables.parts import folder_name, span_of
from tape_archive.tables.schema import Spec

_HOUR = 3600 * 1_000_000_000
#: blocks (8 KiB) that one step of thinning looks at: some ten thousand rows
_BLOCKS = 256


def moment(ns: int) -> str:
    """Unix ns as PostgreSQL reads it, to the microsecond, rounded up; far times are cut to 1970 and 2200."""
    micro = min(max(-(-ns // 1000), 0), 7_258_118_400_000_000)
    seconds, rest = divmod(micro, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest).isoformat()


def needed(spec: Spec, times: Ints) -> list[str]:
    """The partitions for these times (unix ns), as the ``date=`` names of folders."""
    found = []
    while len(times):
        name = folder_name(spec.partition, int(times.min()))
        span = span_of(spec.partition, name)
        found.append(name)
        times = times[times >= span[1]] if span else times[:0]
    return found


def table_of(spec: Spec, name: str) -> str:
    """``date=2026-01-10`` -> ``trades_p20260110``."""
    return f"{spec.name}_p{name.removeprefix('date=').replace('-', '')}"


async def existing(db: Any, spec: Spec, *, pending: bool = False) -> dict[str, tuple[int, int]]:
    """The partitions with their times, by name of folder; an unpartitioned table is one of its own. ``pending``: half detached ones."""
    if spec.partition == "none":
        return {} if pending else {"": (0, (1 << 63) - 1)}
    sql = (
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        f"WHERE i.inhparent = '\"{spec.name}\"'::regclass AND i.inhdetachpending = $1 ORDER BY 1"
    )
    found = {}
    for (table,) in await db.fetch(sql, pending):
        digits = table.rpartition("_p")[2]
        name = "date=" + "-".join(piece for piece in (digits[:4], digits[4:6], digits[6:8]) if piece)
        span = span_of(spec.partition, name)
        if span:
            found[name] = span
    return found


async def make(db: Any, spec: Spec, name: str) -> None:
    """One partition, unless it is there. Attaching one takes a lock that inserts and readers do not wait for; creating it in place would
    not."""
    if name in await existing(db, spec) or name in await existing(db, spec, pending=True):
        return
    span = span_of(spec.partition, name)
    assert span is not None
    table = table_of(spec, name)
    try:
        async with db.transaction():
            # What a clean-up that was killed left detached.
            await db.execute(f'DROP TABLE IF EXISTS "{table}"')
            await db.execute(f'CREATE TABLE "{table}" (LIKE "{spec.name}" INCLUDING ALL)')
            await db.execute(
                f"ALTER TABLE \"{spec.name}\" ATTACH PARTITION \"{table}\" FOR VALUES FROM ('{moment(span[0])}') TO ('{moment(span[1])}')"
            )
    except (asyncpg.DuplicateTableError, asyncpg.UniqueViolationError, asyncpg.InvalidObjectDefinitionError):
        if name not in await existing(db, spec):
            raise


async def drop(db: Any, spec: Spec, name: str) -> int:
    """Detach a partition, then drop it; gives how many rows it had."""
    table = table_of(spec, name)
    for stale in await existing(db, spec, pending=True):
        await db.execute(f'ALTER TABLE "{spec.name}" DETACH PARTITION "{table_of(spec, stale)}" FINALIZE')
        await db.execute(f'DROP TABLE "{table_of(spec, stale)}"')
    count = int(await db.fetchval(f'SELECT count(*) FROM "{table}"'))
    await db.execute(f'ALTER TABLE "{spec.name}" DETACH PARTITION "{table}" CONCURRENTLY')
    await db.execute(f'DROP TABLE "{table}"')
    return count


async def thin(db: Any, spec: Spec, name: str, before: int) -> int:
    """Delete the older rows of a partition, a stretch of blocks at a time, each a transaction."""
    table = table_of(spec, name) if name else spec.name
    blocks = int(await db.fetchval(f"SELECT pg_relation_size('\"{table}\"') / current_setting('block_size')::int"))
    removed = 0
    for block in range(0, blocks + 1, _BLOCKS):
        done = await db.execute(
            f"DELETE FROM \"{table}\" WHERE ctid >= '({block},0)' AND ctid < '({block + _BLOCKS},0)' AND {spec.time} < '{moment(before)}'"
        )
        removed += int(done.rpartition(" ")[2])
    if removed:
        # Cutting the file's end would need every insert to wait.
        await db.execute(f'VACUUM (TRUNCATE FALSE) "{table}"')
    return removed


async def thin_hypertable(db: Any, spec: Spec, before: int) -> int:
    """Drop the chunks that are too old; delete the older rows of the one that is left, an hour at a time."""
    rows = int(await db.fetchval(f"SELECT count(*) FROM \"{spec.name}\" WHERE {spec.time} < '{moment(before)}'"))
    await db.execute(f"SELECT drop_chunks('{spec.name}', older_than => '{moment(before)}'::timestamptz)")
    oldest = await db.fetchval(f'SELECT (extract(epoch FROM min({spec.time})) * 1000000)::bigint FROM "{spec.name}"')
    at = before if oldest is None else oldest * 1000
    while at < before:
        at = min(at + _HOUR, before)
        await db.execute(f"DELETE FROM \"{spec.name}\" WHERE {spec.time} < '{moment(at)}'")
    return rows
