"""Tables as Parquet files under a root: no server, no other process. See ``parts`` for names and what counts.

Readers need no lock and may be anywhere: they read the cursors, then the folders. One process writes under a writer's name (a lock file
says so), and merges its small parts beside the inserts (``merging``).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tape_archive.format.atomic import failure, make_folder, sweep, sync_folder, write_atomic
from tape_archive.format.errors import Busy, DiskFull, StoreError, StoreFull, StoreUnavailable
from tape_archive.format.layout import element
from tape_archive.format.lock import Lock
from tape_archive.tables import part_files, parts
from tape_archive.tables.batch import Rows, conform, latest, schema_of
from tape_archive.tables.laws import Found, Gap, Ids, Law, Life
from tape_archive.tables.merging import Merger, working
from tape_archive.tables.schema import SPECS, VERSION, Spec, spec_of
from tape_archive.tables.search import columns_of, nanoseconds, seen_by_symbol, verdict
from tape_archive.tables.tables import Cursor, Proof, filters, proof_of, standing

log = logging.getLogger(__name__)
T = TypeVar("T")
_TRIES = 50


class ParquetTables:
    """See Tables. ``root``: the folder that holds ``market/``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"parquet://{root}"
        self._turn = threading.RLock()
        self._locks: dict[tuple[str, str], Lock] = {}
        self._known: dict[tuple[str, str], Cursor | None] = {}
        self._merger = Merger()

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
                self._merger.added(spec, folder, element(cursor.writer))
            return True

    def _put(self, spec: Spec, cursor: Cursor, name: str, piece: pa.Table) -> Path:
        folder = parts.table_folder(self.root, spec) / name
        path = folder / parts.part_name(cursor.writer, cursor.batch, cursor.batch)
        content = part_files.encode(spec, piece)
        try:
            write_atomic(path, content)
        except StoreError:
            # A clean-up may have removed the empty folder between making and using it.
            write_atomic(path, content)
        return folder

    def _move(self, spec: Spec, cursor: Cursor) -> None:
        write_atomic(parts.cursor_path(parts.table_folder(self.root, spec), cursor.writer), msgspec.json.encode(cursor))

    def settle(self) -> None:
        """Until the merges that are under way are done; nobody has to wait for them."""
        self._merger.settle()

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
        return part_files.names_in(rows, "symbol")

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
        for place in spans:
            self._look(spec, law, place, start, end, wanted, found)
        if isinstance(law, Ids):
            self._beside(spec, law, start, end, wanted, found)
        return verdict(law, symbols, found, start, end)

    def _beside(self, spec: Spec, law: Law, start: int, end: int, wanted: Mapping[str, list[str]], found: dict[str, list[Found]]) -> None:
        """The nearest rows before and after the span."""
        table = parts.table_folder(self.root, spec)
        for before in (True, False):
            spans = parts.folders(table, spec, None, start) if before else parts.folders(table, spec, end, None)
            lacking = set(found)
            for place in reversed(spans) if before else spans:
                if not lacking:
                    break
                more: dict[str, list[Found]] = {symbol: [] for symbol in lacking}
                self._look(spec, law, place, None if before else end, start if before else None, wanted, more)
                for symbol, (one,) in ((symbol, ones) for symbol, ones in more.items() if ones):
                    number, time = (one.high, one.high_time) if before else (one.low, one.low_time)
                    found[symbol].append(Found(number, number, time, time))
                    lacking.discard(symbol)

    def _look(
        self,
        spec: Spec,
        law: Law,
        place: parts.Place,
        start: int | None,
        end: int | None,
        wanted: Mapping[str, list[str]],
        found: dict[str, list[Found]],
    ) -> None:
        """What one folder has of each symbol within the span."""
        columns = ("symbol", *columns_of(spec, law))
        some = {**wanted, "symbol": sorted(found)} if len(found) < 100 else wanted
        rows: Any = self._again(lambda: self._rows_in(spec, [place], start, end, columns, some)).unify_dictionaries().combine_chunks()
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
        for word, one in zip(words, seen_by_symbol(spec, law, rows, edges), strict=True):
            if one is not None and word in found:
                found[word].append(one)

    def _scan(self, spec: Spec, start: int | None, end: int | None, columns: tuple[str, ...], wanted: Mapping[str, list[str]]) -> pa.Table:
        """Rows of the parts that count, as they lie. Raises FileNotFoundError if the parts changed meanwhile."""
        return self._rows_in(spec, parts.folders(parts.table_folder(self.root, spec), spec, start, end), start, end, columns, wanted)

    def _rows_in(
        self,
        spec: Spec,
        places: list[parts.Place],
        start: int | None,
        end: int | None,
        columns: tuple[str, ...],
        wanted: Mapping[str, list[str]],
    ) -> pa.Table:
        """The same of some folders."""
        ledger = parts.ledger_of(parts.table_folder(self.root, spec))
        files = [file for _, _, folder in places if folder.is_dir() for file in parts.counting(folder, ledger)]
        # Comparing the time of each row costs as much as reading it.
        start = None if start is None or all(low >= start for low, _, _ in places) else start
        end = None if end is None or all(high <= end for _, high, _ in places) else end
        return part_files.scan(files, spec, columns, wanted, start, end)

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
        with working(folder, wait=True):
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
            rows = part_files.whole(spec, path)
            kept = rows.filter(pa.array(nanoseconds(rows[spec.time]) >= before))
            if len(kept) == len(rows):
                continue
            removed += len(rows) - len(kept)
            if len(kept):
                write_atomic(Path(path), part_files.encode(spec, kept.cast(schema_of(spec, labels=True))))
            else:
                Path(path).unlink(missing_ok=True)
        return removed

    def close(self) -> None:
        """See Tables."""
        with self._turn:
            self._merger.close()
            for lock in self._locks.values():
                lock.__exit__(None, None, None)
            self._locks.clear()
            self._known.clear()


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
