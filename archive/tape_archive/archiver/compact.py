"""The parts of a day that is over become one file: the same rows in the same order, more strongly compressed.

    1. the rows of all parts are written, a row group at a time, to a temporary name      (killed before 3: nothing has changed)
    2. it is read back, and every row is compared with those of the parts, read anew
    3. rename, fsync: its name covers the names of the parts, so readers take it instead  (killed after: the next run goes on with 4)
    4. the parts that it covers are deleted

A part that a killed run left behind is compared with the rows that the file has of it before it is deleted. A day is left alone while a
recorder may still write it: until its cursor has passed the day, or, where there is no cursor, while it runs.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from tape_archive.archiver.days import Compacted, Day, size
from tape_archive.format import parquet
from tape_archive.format.atomic import failure, sweep, sync_folder
from tape_archive.format.errors import Corrupt, FormatError, NotFound
from tape_archive.format.ticks import PartFile, of_folder, part_name, uncovered

#: on these columns 9 and 12 save some thousandths more, 19 two to five percent, at a tenth of the speed (benchmarks/archive.py)
LEVEL = 7


class Compactor:
    """``run`` may be killed at any moment, and run again."""

    def __init__(self, root: Path, level: int = LEVEL, dry_run: bool = False) -> None:
        self.root, self.level, self.dry_run = root, level, dry_run

    def run(self, chosen: Sequence[Day], told: Callable[[Compacted], None]) -> None:
        """All of them; those where there is nothing to do are told with no parts and no bytes. Raises DiskFull, StoreError."""
        for day in chosen:
            done = Compacted(day.folder)
            try:
                self._day(self.root / day.folder, done)
            except (FormatError, NotFound) as error:
                done.why = str(error)
            told(done)

    def _day(self, folder: Path, done: Compacted) -> None:
        if not self.dry_run:
            sweep(folder)
        found = of_folder(folder)
        chosen = uncovered(found)
        self._finish(folder, chosen, [part for part in found if part not in chosen], done)
        if len(chosen) < 2:
            return
        if any(one.last >= other.first for one, other in pairwise(chosen)):
            raise Corrupt("its parts overlap: each tape time may stand in one of them only; make them again with tape rebuild")
        sizes = size(chosen)
        if self.dry_run:
            counter = _Counter()
            rows = parquet.merge(chosen, counter, self.level)  # type: ignore[arg-type]
            stored = counter.count
        else:
            rows, stored = self._merge(folder, chosen)
        done.parts, done.rows, done.bytes, done.stored = len(chosen), rows, done.bytes + sizes, stored

    def _merge(self, folder: Path, chosen: Sequence[PartFile]) -> tuple[int, int]:
        """Gives rows and bytes."""
        target = folder / part_name(chosen[0].first, chosen[-1].last)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                rows = parquet.merge(chosen, file, self.level)
                file.flush()
                os.fsync(file.fileno())
                stored = file.tell()
            if wrong := parquet.difference(parquet.rows([str(temporary)]), parquet.rows(part.path for part in chosen)):
                raise Corrupt(f"what was read back is not what the parts hold ({wrong}); nothing was deleted")
            if uncovered(of_folder(folder)) != chosen:
                raise Corrupt("its parts changed while it was compacted; the next run takes it")
            temporary.replace(target)
            sync_folder(folder)
            _delete(folder, chosen)
        except OSError as error:
            raise failure(target, error) from None
        finally:
            temporary.unlink(missing_ok=True)
        return rows, stored

    def _finish(self, folder: Path, chosen: Sequence[PartFile], left: Sequence[PartFile], done: Compacted) -> None:
        """Parts that a killed run did not come to delete."""
        for part in left:
            cover = next(one for one in chosen if one.first <= part.first and part.last <= one.last)
            if wrong := parquet.lacks(cover, part):
                raise Corrupt(f"{Path(part.path).name}: {Path(cover.path).name} should have its rows, but {wrong}; both stay")
        done.bytes = size(left)
        if left and not self.dry_run:
            try:
                _delete(folder, left)
            except OSError as error:
                raise failure(folder, error) from None


def _delete(folder: Path, some: Sequence[PartFile]) -> None:
    for part in some:
        Path(part.path).unlink(missing_ok=True)
    sync_folder(folder)


class _Counter(io.RawIOBase):
    """Counts what is written, and keeps nothing."""

    count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        written = memoryview(data).nbytes  # type: ignore[arg-type]
        self.count += written
        return written

    def tell(self) -> int:
        return self.count
