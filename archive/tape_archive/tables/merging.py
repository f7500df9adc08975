"""Merging the parts of a folder as they grow in number: 8 or 32 become one, as many of those one again, and so
on; and those of a folder that is over become one.

It happens beside the inserts, in a thread of its own, a few rows of each part at a time: an insert never waits for it, and memory does not
depend on how large parts are. What was merged is deleted one merge later, so that a reader that has just listed a folder finds its files.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tape_archive.format.atomic import make_folder, write_atomic_by
from tape_archive.format.errors import TapeError
from tape_archive.tables import part_files, parts
from tape_archive.tables.batch import latest, schema_of
from tape_archive.tables.parts import Part
from tape_archive.tables.schema import Spec

log = logging.getLogger(__name__)
#: the values of a row's key columns
Key = tuple[Any, ...]
#: parts that are larger together are left as they are, bytes
MOST = 64 << 20
#: rows of each part that are in memory at a time
_PIECE = 512
#: with so many more parts in a folder an insert waits for the merge after all
_LATE = 256


@contextlib.contextmanager
def working(table: Path, *, wait: bool) -> Iterator[bool]:
    """Only one at a time merges or prunes a table; inserts and readers do not care. Gives whether it is one's turn."""
    make_folder(table)
    fd = os.open(table / "_work.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


class Merger:
    """The merges of one process."""

    def __init__(self) -> None:
        self._parts: dict[Path, int] = {}
        self._under_way: dict[Path, Future[None]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def added(self, spec: Spec, folder: Path, writer: str) -> None:
        """A part of a writer (its name as it stands in names) is new there. A merge that fails is tried again later: the rows are in."""
        count = self._parts.get(folder)
        count = self._parts[folder] = len(parts.parts_in(folder)) if count is None else count + 1
        running, fan = self._under_way.get(folder), parts.fan(spec)
        if running is not None and (running.done() or count >= _LATE):
            running.result()
            del self._under_way[folder]
            count, running = self._parts[folder], None
        if count >= fan and running is None:
            self._thread = self._thread or ThreadPoolExecutor(1, "tables-merge")
            self._parts[folder] = 0
            self._under_way[folder] = self._thread.submit(self._merge, spec, folder, writer)

    def settle(self) -> None:
        """Until what is under way is done."""
        for running in self._under_way.values():
            running.result()
        self._under_way.clear()

    def close(self) -> None:
        """Let go, after the last merge."""
        self.settle()
        if self._thread is not None:
            self._thread.shutdown()
        self._thread = None
        self._parts.clear()

    def _merge(self, spec: Spec, folder: Path, writer: str) -> None:
        try:
            with working(folder.parent, wait=False) as mine:
                if mine:
                    grown(spec, folder, writer)
                    before = [place for _, _, place in parts.folders(folder.parent, spec, None, None) if place < folder]
                    if before:
                        over(spec, before[-1], writer)
        except (TapeError, OSError, pa.ArrowException) as error:
            log.warning("parts of %s are merged later: %s", folder, error)
        finally:
            pa.default_memory_pool().release_unused()


def grown(spec: Spec, folder: Path, writer: str) -> None:
    """Merge the last parts of one size where they are enough, and what they then become enough of."""
    fan = parts.fan(spec)
    counting = _counting(folder, writer)
    while counting:
        level = parts.level(counting[-1], fan)
        run = [part for part in counting if parts.level(part, fan) == level]
        if len(run) < fan or run != counting[-len(run) :] or _bytes(run) > MOST:
            return
        counting[-len(run) :] = [_one_of(spec, folder, writer, run)]


def over(spec: Spec, folder: Path, writer: str) -> None:
    """Merge all parts of a folder whose time is over, where they are few enough bytes: who reads a month opens one file a day."""
    counting = _counting(folder, writer)
    if len(counting) > 1 and _bytes(counting) <= MOST:
        _one_of(spec, folder, writer, counting)


def _counting(folder: Path, writer: str) -> list[Part]:
    """The writer's parts; what was merged the last time is removed."""
    ledger = parts.ledger_of(folder.parent).get(writer, 0)
    mine = [part for part in parts.parts_in(folder) if part.writer == writer and part.last <= ledger]
    counting = parts.uncovered(mine)
    for part in set(mine) - set(counting):
        Path(part.path).unlink(missing_ok=True)
    return counting


def _bytes(run: Sequence[Part]) -> int:
    return sum(Path(part.path).stat().st_size for part in run)


def _one_of(spec: Spec, folder: Path, writer: str, run: Sequence[Part]) -> Part:
    path = folder / parts.name_of(writer, run[0].first, run[-1].last)
    write_atomic_by(path, lambda file: _write(spec, file, [part.path for part in run]))
    return Part(writer, run[0].first, run[-1].last, str(path))


def _write(spec: Spec, out: BinaryIO, files: Sequence[str]) -> None:
    with contextlib.ExitStack() as stack:
        # With pre_buffer, the default of late, Arrow has whole files in memory before their first row is read.
        sources = [Source(spec, stack.enter_context(pq.ParquetFile(file, pre_buffer=False))) for file in files]
        size = part_files.group_rows(sum(one.count for one in sources))
        schema = schema_of(spec, labels=True)
        with pq.ParquetWriter(out, schema, **part_files.settings(spec)) as writer:
            waiting: list[pa.Table] = []
            for rows in merged(spec, sources):
                waiting.append(rows)
                if sum(map(len, waiting)) >= size:
                    writer.write_table(pa.concat_tables(waiting).cast(schema), size)
                    waiting.clear()
            writer.write_table(pa.concat_tables([*waiting, schema_of(spec).empty_table()]).cast(schema), size)


class Source:
    """One part, read piece by piece; ``rows`` are those that were read and not yet taken."""

    def __init__(self, spec: Spec, file: pq.ParquetFile) -> None:
        self.count = file.metadata.num_rows
        self._key = spec.key
        self._schema = schema_of(spec)
        self._pieces = file.iter_batches(_PIECE, use_threads=False)
        self.ended = False
        self._keep(self._schema.empty_table())
        self.more()

    def more(self) -> None:
        """Read another piece."""
        piece = next(self._pieces, None)
        if piece is None:
            self.ended = True
        else:
            rows = part_files.shaped(pa.Table.from_batches([piece]), self._schema)
            self._keep(pa.concat_tables([self.rows, rows]).combine_chunks())

    def take(self, key: Key | None) -> pa.Table:
        """The rows before a key; None: all."""
        if key is None:
            cut = len(self.rows)
        elif self.first >= key:
            return self.rows.slice(0, 0)
        else:
            cut = bisect_left(range(len(self.rows)), key, key=self._key_at)
        taken = self.rows.slice(0, cut)
        self._keep(self.rows.slice(cut))
        return taken

    def _keep(self, rows: pa.Table) -> None:
        """``first`` and ``last``: the keys of the first and the last row that wait."""
        self.rows = rows
        self.first = self._key_at(0) if len(rows) else ()
        self.last = self._key_at(len(rows) - 1) if len(rows) else ()

    def _key_at(self, place: int) -> Key:
        return tuple(self.rows[name][place].as_py() for name in self._key)


def merged(spec: Spec, sources: Sequence[Source]) -> Iterator[pa.Table]:
    """The rows of all sources in the table's order, of each key the latest, some keys at a time."""
    while True:
        for one in sources:
            while not len(one.rows) and not one.ended:
                one.more()
        # Every source has read all of its rows before this key, so no other row of theirs is still to come.
        bound = min((one.last for one in sources if not one.ended), default=None)
        taken = [rows for one in sources if len(rows := one.take(bound))]
        if taken:
            yield latest(spec, pa.concat_tables(taken))
        if bound is None:
            return
        for one in sources:
            # All that are short of rows at once: then few rounds are needed.
            if not one.ended and (len(one.rows) < _PIECE // 2 or one.last == bound):
                one.more()
