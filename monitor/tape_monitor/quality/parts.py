"""Columns of an OFI and CVD output, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tape_archive.format import harvest
from tape_archive.format.harvest import Kind
from tape_archive.format.layout import element, name_of
from tape_archive.format.ticks import PartFile, part_of

#: column -> values. Integers that are not known are -1, doubles NaN, texts "".
Columns = dict[str, NDArray[Any]]
_TYPES = {"int64": np.int64, "double": np.float64, "bool": np.bool_, "string": np.object_, "text": np.object_}
_UNKNOWN: dict[str, Any] = {"int64": -1, "bool": False, "string": "", "text": ""}


class Files(msgspec.Struct):
    """What lies under the folder. ``unreadable``: (path, why). ``strangers``: files that are no parts; temporary ones among them are what a
    killed writer left."""

    parts: int = 0
    rows: int = 0
    bytes: int = 0
    unreadable: list[tuple[str, str]] = []
    strangers: list[str] = []


class Output:
    """``base``: the folder with ``date=…``. Each part that is read is counted in ``files``."""

    def __init__(self, base: Path, read: Callable[[int], None] = lambda rows: None) -> None:
        self.base = base
        self.files = Files()
        self._seen: set[str] = set()
        self._read = read

    def symbols(self) -> list[str]:
        """The symbols that have a folder."""
        found = set()
        for path in self.base.glob("date=????-??-??/symbol=*"):
            try:
                found.add(name_of(path.name.removeprefix("symbol=")))
            except ValueError:
                # Somebody else's folder: no name of ours.
                continue
        return sorted(found)

    def parts(self, symbol: str, kind: Kind) -> list[PartFile]:
        """The parts of one kind, by time."""
        pattern = f"date=????-??-??/symbol={element(symbol)}/kind={kind}/part-*.parquet"
        return sorted(part for part in map(part_of, map(str, self.base.glob(pattern))) if part is not None)

    def columns(self, symbol: str, kind: Kind, names: list[str], start: int = 0, end: int = 2**63 - 1) -> Columns:
        """The columns of the rows with tape time in [start, end), unix ns, in the order of the parts. ``recv_ns`` is always there."""
        names = [*dict.fromkeys(["recv_ns", *names])]
        chosen = [part for part in self.parts(symbol, kind) if part.last >= start and part.first < end]
        with ThreadPoolExecutor(4) as pool:
            tables = [table for table in pool.map(lambda part: self._part(part, names), chosen) if table is not None]
        types = {name: kind_of for name, kind_of, _ in harvest.COLUMNS[kind]}
        columns = {name: _array([table.column(name) for table in tables], types[name]) for name in names}
        inside = (columns["recv_ns"] >= start) & (columns["recv_ns"] < end)
        return columns if inside.all() else {name: values[inside] for name, values in columns.items()}

    def rows(self, symbol: str, kind: Kind, start: int, end: int) -> list[dict[str, Any]]:
        """Whole rows with tape time in [start, end), unix ns. Parts that cannot be read are left out."""
        out: list[dict[str, Any]] = []
        for part in self.parts(symbol, kind):
            if part.last >= start and part.first < end:
                table = self._part(part, harvest.names(kind))
                out += [] if table is None else [row for row in table.to_pylist() if start <= row["recv_ns"] < end]
        return out

    def span(self) -> tuple[int, int] | None:
        """Tape times of the first and the last row of any kind, by the names of the parts."""
        parts = [part for symbol in self.symbols() for kind in harvest.KINDS for part in self.parts(symbol, kind)]
        return (min(part.first for part in parts), max(part.last for part in parts)) if parts else None

    def look(self) -> None:
        """Notice files that are no parts."""
        for path in sorted(self.base.rglob("*")):
            if path.is_file() and part_of(str(path)) is None:
                self.files.strangers.append(str(path.relative_to(self.base)))

    def _part(self, part: PartFile, names: list[str]) -> pa.Table | None:
        try:
            with pq.ParquetFile(part.path) as file:
                table = file.read(columns=names)
                rows = file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            if part.path not in self._seen:
                self.files.unreadable.append((str(Path(part.path).relative_to(self.base)), " ".join(str(error).split())[:200]))
                self._seen.add(part.path)
            return None
        if missing := [name for name in names if name not in table.column_names]:
            self.files.unreadable.append((str(Path(part.path).relative_to(self.base)), f"no column {', '.join(missing)}"))
            return None
        if part.path not in self._seen:
            self._seen.add(part.path)
            self.files.parts += 1
            self.files.rows += rows
            self.files.bytes += Path(part.path).stat().st_size
            self._read(rows)
        return table


def _array(chunks: list[Any], kind_of: str) -> NDArray[Any]:
    """One array of a column of several parts."""
    plain = kind_of.rstrip("?")
    arrays = [_plain(chunk, plain) for chunked in chunks for chunk in chunked.chunks]
    return np.concatenate(arrays) if arrays else np.empty(0, _TYPES[plain])


def _plain(chunk: Any, plain: str) -> NDArray[Any]:
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if plain in _UNKNOWN and chunk.null_count:
        chunk = chunk.fill_null(_UNKNOWN[plain])
    values: NDArray[Any] = chunk.to_numpy(zero_copy_only=False)
    return values.astype(_TYPES[plain], copy=False)
