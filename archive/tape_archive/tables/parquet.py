"""Tables as Parquet files under a root: no server, no other process. See ``parts`` for names and what counts.

Readers need no lock and may be anywhere: they read the cursors, then the folders. One process writes under a writer's name (a lock file
says so). The writer merges its small parts as they grow in number (32 become one, and 32 of those); what was merged is deleted one merge
later, so that a reader that has just listed a folder finds its files.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from tape_archive.format.atomic import failure, make_folder, sweep, sync_folder, write_atomic
from tape_archive.format.errors import Busy, Corrupt, DiskFull, StoreError, StoreFull, StoreUnavailable, TapeError
from tape_archive.format.layout import element
from tape_archive.format.lock import Lock
from tape_archive.tables import parts
from tape_archive.tables.batch import Rows, conform, latest, schema_of
from tape_archive.tables.laws import Found, Gap, Ids, Law, Life
from tape_archive.tables.parts import Part
from tape_archive.tables.schema import SPECS, VERSION, Spec, spec_of
from tape_archive.tables.search import columns_of, nanoseconds, seen, verdict
from tape_archive.tables.tables import Cursor, Proof, filters, proof_of, standing

log = logging.getLogger(__name__)
T = TypeVar("T")
#: parts that are larger together are left as they are, bytes
MOST = 64 << 20
_TRIES = 50

#: chosen by benchmarks/tables.py
OPTIONS: Mapping[str, Any] = {"compression": "zstd", "compression_level": 1, "version": "2.6", "row_group_size": 1 << 17}
#: lists of levels become a fifth smaller by it, and cost no more; other rows a twentieth, and cost half as much again
LISTS: Mapping[str, Any] = {**OPTIONS, "compression_level": 3}


def encode(spec: Spec, rows: pa.Table, options: Mapping[str, Any] | None = None) -> bytes:
    """A Parquet file of rows in the table's order."""
    options = options or (LISTS if any(column.kind == "floats" for column in spec.columns) else OPTIONS)
    labels = [column.name for column in spec.columns if column.kind == "label"]
    deltas = [column.name for column in spec.columns if column.kind in ("time", "int") and not column.null]
    out = pa.BufferOutputStream()
    encoding = {**dict.fromkeys(deltas, "DELTA_BINARY_PACKED"), **options.get("column_encoding", {})}
    pq.write_table(rows, out, **{**options, "use_dictionary": labels, "column_encoding": encoding})
    content: bytes = out.getvalue().to_pybytes()
    return content


class ParquetTables:
    """See Tables. ``root``: the folder that holds ``market/``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"parquet://{root}"
        self._turn = threading.RLock()
        self._locks: dict[tuple[str, str], Lock] = {}
        self._known: dict[tuple[str, str], Cursor | None] = {}
        self._small: dict[Path, int] = {}

    # -- writing ----------------------------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """See Tables."""
        for spec in SPECS.values():
            make_folder(parts.table_folder(self.root, spec))

    def insert(self, table: str, rows: Rows, cursor: Cursor) -> bool:
        """See Tables."""
        spec = spec_of(table)
        batch = conform(spec, rows)
        with self._turn:
            if not standing(self._cursor(spec, cursor.writer), cursor, table):
                return False
            key = cursor.writer, table
            # Until the cursor is written nobody can say how far it went: then the next batch sweeps first.
            del self._known[key]
            try:
                touched = [self._put(spec, cursor, name, piece) for name, piece in _split(spec, batch)]
                self._move(spec, cursor)
            except DiskFull as error:
                raise StoreFull(str(error)) from None
            self._known[key] = cursor
            for folder in touched:
                self._grow(spec, folder, cursor.writer)
            return True

    def _put(self, spec: Spec, cursor: Cursor, name: str, piece: pa.Table) -> Path:
        folder = parts.table_folder(self.root, spec) / name
        path = folder / parts.part_name(cursor.writer, cursor.batch, cursor.batch)
        content = encode(spec, piece)
        try:
            write_atomic(path, content)
        except StoreError:
            # A clean-up may have removed the empty folder between making and using it.
            write_atomic(path, content)
        return folder

    def _move(self, spec: Spec, cursor: Cursor) -> None:
        write_atomic(parts.cursor_path(parts.table_folder(self.root, spec), cursor.writer), msgspec.json.encode(cursor))

    def _cursor(self, spec: Spec, writer: str) -> Cursor | None:
        """The cursor of a writer that is about to write: what a crash left behind it is removed."""
        key = writer, spec.name
        if key in self._known:
            return self._known[key]
        table = parts.table_folder(self.root, spec)
        if key not in self._locks:
            lock = Lock(table / f"_lock-{element(writer)}")
            try:
                lock.__enter__()
            except Busy:
                raise Busy(f"another process writes as {writer!r} to {table}; stop it first, or give this one another name") from None
            self._locks[key] = lock
        known = parts.cursor_of(parts.cursor_path(table, writer))
        have = known.batch if known else 0
        sweep(table)
        for _, _, folder in parts.folders(table, spec, None, None):
            for part in parts.parts_in(folder):
                if part.writer == element(writer) and part.last > have:
                    Path(part.path).unlink(missing_ok=True)
            sweep(folder)
        self._known[key] = known
        return known

    # -- merging ----------------------------------------------------------------------------------------------------------------------

    def _grow(self, spec: Spec, folder: Path, writer: str) -> None:
        """Count a new part; merge when there are many. A merge that fails is tried again later: the rows are in."""
        count = self._small.get(folder)
        count = len(parts.parts_in(folder)) if count is None else count + 1
        self._small[folder] = count
        if count < parts.FAN:
            return
        with self._working(spec, wait=False) as held:
            if held:
                try:
                    self._merge(spec, folder, element(writer))
                except (TapeError, OSError, pa.ArrowException) as error:
                    log.warning("parts of %s are merged later: %s", folder, error)
                self._small[folder] = 0

    def _merge(self, spec: Spec, folder: Path, writer: str) -> None:
        mine = [part for part in parts.parts_in(folder) if part.writer == writer]
        counting = parts.uncovered(mine)
        for part in set(mine) - set(counting):
            Path(part.path).unlink(missing_ok=True)
        while True:
            level = parts.level(counting[-1])
            run = [part for part in counting if parts.level(part) == level]
            if (
                level > 1
                or len(run) < parts.FAN
                or run != counting[-len(run) :]
                or sum(Path(part.path).stat().st_size for part in run) > MOST
            ):
                return
            rows = latest(spec, pa.concat_tables([_whole(spec, part) for part in run]))
            path = folder / f"part-{writer}-{run[0].first:012d}-{run[-1].last:012d}.parquet"
            write_atomic(path, encode(spec, rows.cast(schema_of(spec, labels=True))))
            counting[-len(run) :] = [Part(writer, run[0].first, run[-1].last, str(path))]

    @contextlib.contextmanager
    def _working(self, spec: Spec, *, wait: bool) -> Iterator[bool]:
        """Only one process at a time merges or prunes a table; inserts and readers do not care."""
        table = parts.table_folder(self.root, spec)
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

    # -- reading ----------------------------------------------------------------------------------------------------------------------

    def cursors(self, writer: str) -> dict[str, Cursor]:
        """See Tables."""
        found = {spec.name: parts.cursor_of(parts.cursor_path(parts.table_folder(self.root, spec), writer)) for spec in SPECS.values()}
        return {name: cursor for name, cursor in found.items() if cursor is not None}

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
        needed = tuple(name for name in spec.names if name in {*chosen, *spec.key, VERSION})
        wanted = dict(where or {}) | ({} if symbol is None else {"symbol": symbol})
        rows = self._again(lambda: self._scan(spec, start, end, needed, {name: [value] for name, value in wanted.items()}))
        return latest(spec, rows).select(list(chosen))

    def symbols(self, table: str) -> list[str]:
        """See Tables."""
        spec = spec_of(table)
        rows = self._again(lambda: self._scan(spec, None, None, ("symbol",), {}))
        names: Any = pc.unique(rows["symbol"]).cast(pa.string()).to_pylist()
        return sorted(names)

    def count(self, table: str, symbol: str | None = None, start: int | None = None, end: int | None = None) -> int:
        """See Tables."""
        return len(self.read(table, symbol, start, end, columns=spec_of(table).key))

    def proof(self, table: str, start: int | None = None, end: int | None = None) -> Proof:
        """See Tables."""
        return proof_of(self, table, start, end)

    def missing(
        self, table: str, symbols: Mapping[str, Life], start: int, end: int, law: Law, where: Mapping[str, str] | None = None
    ) -> dict[str, list[Gap]]:
        """See Tables. One folder after another, so memory is that of a folder."""
        spec = spec_of(table)
        found: dict[str, list[Found]] = {symbol: [] for symbol in symbols}
        wanted = {name: [value] for name, value in filters(where).items()}
        spans = parts.folders(parts.table_folder(self.root, spec), spec, start, end)
        for low, high, _ in spans:
            self._look(spec, law, max(low, start), min(high, end), wanted, found)
        if isinstance(law, Ids):
            self._beside(spec, law, start, end, wanted, found)
        return verdict(law, symbols, found, start, end)

    def _beside(self, spec: Spec, law: Law, start: int, end: int, wanted: Mapping[str, list[str]], found: dict[str, list[Found]]) -> None:
        """The nearest rows before and after the span."""
        table = parts.table_folder(self.root, spec)
        for before in (True, False):
            spans = parts.folders(table, spec, None, start) if before else parts.folders(table, spec, end, None)
            lacking = set(found)
            for low, high, _ in reversed(spans) if before else spans:
                if not lacking:
                    break
                more: dict[str, list[Found]] = {symbol: [] for symbol in lacking}
                self._look(spec, law, low if before else max(low, end), min(high, start) if before else high, wanted, more)
                for symbol, (one,) in ((symbol, ones) for symbol, ones in more.items() if ones):
                    number, time = (one.high, one.high_time) if before else (one.low, one.low_time)
                    found[symbol].append(Found(number, number, time, time))
                    lacking.discard(symbol)

    def _look(self, spec: Spec, law: Law, start: int, end: int, wanted: Mapping[str, list[str]], found: dict[str, list[Found]]) -> None:
        """What one folder has of each symbol."""
        if start >= end:
            return
        columns = ("symbol", *columns_of(spec, law))
        some = {**wanted, "symbol": sorted(found)} if len(found) < 100 else wanted
        rows: Any = self._again(lambda: self._scan(spec, start, end, columns, some)).unify_dictionaries().combine_chunks()
        if not len(rows):
            return
        labels: Any = rows["symbol"].combine_chunks()
        labels = labels.chunk(0) if isinstance(labels, pa.ChunkedArray) else labels
        codes = labels.indices.to_numpy()
        if np.any(codes[1:] < codes[:-1]):
            order = np.argsort(codes, kind="stable")
            rows, codes = rows.take(order), codes[order]
        words = labels.dictionary.to_pylist()
        edges = np.searchsorted(codes, np.arange(len(words) + 1))
        for number, word in enumerate(words):
            if word in found and edges[number] < edges[number + 1]:
                one = seen(spec, law, rows.slice(edges[number], edges[number + 1] - edges[number]))
                found[word].extend([one] if one else [])

    def _scan(self, spec: Spec, start: int | None, end: int | None, columns: tuple[str, ...], wanted: Mapping[str, list[str]]) -> pa.Table:
        """Rows of the parts that count, as they lie. Raises FileNotFoundError if the parts changed meanwhile."""
        table = parts.table_folder(self.root, spec)
        ledger = parts.ledger_of(table)
        files = []
        for _, _, folder in parts.folders(table, spec, start, end):
            files += parts.counting(folder, ledger)
        labels = [column.name for column in spec.columns if column.kind == "label"]
        schema = schema_of(spec, labels=True)
        if not files:
            return pa.schema([schema.field(name) for name in columns]).empty_table()
        form = ds.ParquetFileFormat(dictionary_columns=set(labels))
        condition: Any = ds.field(columns[0]).is_valid()
        for name, values in wanted.items():
            condition &= ds.field(name).isin(values) if len(values) > 1 else ds.field(name) == values[0]
        for bound, after in ((start, True), (end, False)):
            if bound is not None:
                # Times in tables are whole microseconds.
                edge = pa.scalar(-(-bound // 1000), schema.field(spec.time).type)
                condition &= ds.field(spec.time) >= edge if after else ds.field(spec.time) < edge
        try:
            return ds.dataset(files, schema=schema, format=form).to_table(columns=list(columns), filter=condition)
        except pa.ArrowInvalid as error:
            raise Corrupt(f"{table}: {error}; restore the part from a copy") from None

    def _again(self, call: Callable[[], T]) -> T:
        """Parts that are merged or pruned while they are listed are listed again."""
        for _ in range(_TRIES):
            try:
                return call()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise failure(self.root, error) from None
        raise StoreUnavailable(f"{self.root}: parts change faster than they can be read; try again")

    # -- retention --------------------------------------------------------------------------------------------------------------------

    def prune(self, table: str, before: int) -> int:
        """See Tables."""
        spec = spec_of(table)
        folder = parts.table_folder(self.root, spec)
        if not folder.is_dir():
            return 0
        removed = 0
        with self._working(spec, wait=True):
            for _, high, place in parts.folders(folder, spec, None, before):
                covered = parts.parts_in(place)
                for part in set(covered) - set(parts.uncovered(covered)):
                    Path(part.path).unlink(missing_ok=True)
                removed += self._drop(place) if high <= before else self._thin(spec, place, before)
        return removed

    def _drop(self, folder: Path) -> int:
        """Remove a folder."""
        found = self._again(lambda: parts.counting(folder, parts.ledger_of(folder.parent)))
        removed = 0
        for path in found:
            # A damaged part goes like any other.
            with contextlib.suppress(pa.ArrowInvalid):
                removed += pq.read_metadata(path).num_rows
        for part in parts.parts_in(folder):
            Path(part.path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
            sync_folder(folder.parent)
        return removed

    def _thin(self, spec: Spec, folder: Path, before: int) -> int:
        """Write the parts of a folder again without its older rows."""
        removed = 0
        for path in self._again(lambda: parts.counting(folder, parts.ledger_of(folder.parent))):
            rows = _whole(spec, Part("", 0, 0, path))
            kept = rows.filter(pa.array(nanoseconds(rows[spec.time]) >= before))
            if len(kept) == len(rows):
                continue
            removed += len(rows) - len(kept)
            if len(kept):
                write_atomic(Path(path), encode(spec, kept.cast(schema_of(spec, labels=True))))
            else:
                Path(path).unlink(missing_ok=True)
        return removed

    def close(self) -> None:
        """See Tables."""
        with self._turn:
            for lock in self._locks.values():
                lock.__exit__(None, None, None)
            self._locks.clear()
            self._known.clear()
            self._small.clear()


def _split(spec: Spec, batch: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The batch by folders."""
    if not len(batch):
        return
    times = nanoseconds(batch[spec.time])
    low, high = int(times.min()), int(times.max())
    while True:
        name = parts.folder_name(spec.partition, low)
        span = parts.span_of(spec.partition, name)
        behind = span[1] if span else high + 1
        if high < behind and low == int(times.min()):
            yield name, batch
            return
        yield name, batch.filter(pa.array((times >= low) & (times < behind)))
        later = times[times >= behind]
        if not len(later):
            return
        low = int(later.min())


def _whole(spec: Spec, part: Part) -> pa.Table:
    try:
        return pq.read_table(part.path, schema=schema_of(spec))
    except pa.ArrowInvalid as error:
        raise Corrupt(f"{part.path}: {error}; restore it from a copy") from None
