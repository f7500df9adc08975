"""What is inside of a part: Parquet, its rows in the table's order, in row groups small enough that one symbol is read alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from tape_archive.format.errors import Corrupt
from tape_archive.tables.batch import schema_of
from tape_archive.tables.schema import Spec

#: chosen by benchmarks/tables.py
OPTIONS: Mapping[str, Any] = {"compression": "zstd", "compression_level": 1, "version": "2.6"}
#: lists of levels become a fifth smaller by it, and cost no more; other rows a twentieth, and cost half as much again
LISTS: Mapping[str, Any] = {**OPTIONS, "compression_level": 3}
#: a part has so many row groups, but none smaller or larger than that: who wants one symbol of 600 reads two groups of 64 (chosen by
#: benchmarks/query.py; files are 3 % larger than with groups of 131,072 rows)
_GROUPS, _SMALLEST, _LARGEST = 64, 4096, 1 << 17
#: fewer files are read one after another: threads cost more than they bring
_FEW = 4


def group_rows(rows: int) -> int:
    """How many rows a row group of a part has."""
    return min(_LARGEST, max(_SMALLEST, rows // _GROUPS))


def settings(spec: Spec, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """How the rows of a table are written."""
    options = options or (LISTS if any(column.kind == "floats" for column in spec.columns) else OPTIONS)
    labels = [column.name for column in spec.columns if column.kind == "label"]
    deltas = [column.name for column in spec.columns if column.kind in ("time", "int") and not column.null]
    encoding = {**dict.fromkeys(deltas, "DELTA_BINARY_PACKED"), **options.get("column_encoding", {})}
    return {**options, "use_dictionary": labels, "column_encoding": encoding}


def encode(spec: Spec, rows: pa.Table, options: Mapping[str, Any] | None = None) -> bytes:
    """A Parquet file of rows in the table's order."""
    out = pa.BufferOutputStream()
    pq.write_table(rows, out, **{"row_group_size": group_rows(len(rows)), **settings(spec, options)})
    content: bytes = out.getvalue().to_pybytes()
    return content


def whole(spec: Spec, path: str) -> pa.Table:
    """All rows of a part. Raises Corrupt, FileNotFoundError."""
    try:
        return pq.read_table(path, schema=schema_of(spec))
    except pa.ArrowInvalid as error:
        raise Corrupt(f"{path}: {error}; restore it from a copy") from None


def scan(
    files: Sequence[str], spec: Spec, columns: Sequence[str], wanted: Mapping[str, Sequence[str]], start: int | None, end: int | None
) -> pa.Table:
    """Rows of some parts as they lie: those with one of the ``wanted`` values in each such column, and times (unix ns) from ``start`` to
    ``end``. Raises Corrupt; FileNotFoundError if a part is no longer there."""
    schema = schema_of(spec, labels=True)
    chosen = pa.schema([schema.field(name) for name in columns])
    if not files:
        return chosen.empty_table()
    condition: Any = None
    for name, values in wanted.items():
        condition = _and(condition, ds.field(name).isin(list(values)) if len(values) > 1 else ds.field(name) == values[0])
    for bound, after in ((start, True), (end, False)):
        if bound is not None:
            # Times in tables are whole microseconds.
            edge = pa.scalar(-(-bound // 1000), schema.field(spec.time).type)
            condition = _and(condition, ds.field(spec.time) >= edge if after else ds.field(spec.time) < edge)
    try:
        if len(wanted.get("symbol", ())) == 1:
            return _of_symbol(files, schema, chosen, {*columns, *wanted, spec.time}, wanted["symbol"][0], condition)
        labels = {column.name for column in spec.columns if column.kind == "label"}
        form = ds.ParquetFileFormat(dictionary_columns=labels)
        return ds.dataset(list(files), schema=schema, format=form).to_table(columns=list(columns), filter=condition)
    except pa.ArrowInvalid as error:
        raise Corrupt(f"{Path(files[0]).parent.parent}: {error}; restore the part from a copy") from None


def _and(one: Any, other: Any) -> Any:
    return other if one is None else one & other


def _of_symbol(files: Sequence[str], schema: pa.Schema, chosen: pa.Schema, needed: set[str], symbol: str, condition: Any) -> pa.Table:
    """Arrow's datasets read and filter every row group here: they do not use statistics of a column that is a dictionary."""

    def read(path: str) -> pa.Table:
        with pq.ParquetFile(path) as file:
            groups = _groups(file.metadata, symbol)
            if not groups:
                return read_as.empty_table()
            rows = file.read_row_groups(groups, columns=sorted(needed.intersection(file.schema_arrow.names)), use_threads=False)
        rows = shaped(rows, read_as)
        return rows.filter(pc.equal(rows["symbol"].cast(pa.string()), pa.scalar(symbol)))

    read_as = pa.schema([field for field in schema if field.name in needed])
    if len(files) < _FEW:
        found = [read(path) for path in files]
    else:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            found = list(pool.map(read, files))
    # A filter that is an expression costs a millisecond, however few rows there are: once for all files.
    return shaped(pa.concat_tables(found).filter(condition), chosen)


def shaped(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema; those that a file has not (it is older than they are) are null."""
    there = set(rows.column_names)
    columns = [rows[field.name].cast(field.type) if field.name in there else pa.nulls(len(rows), field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _groups(about: pq.FileMetaData, symbol: str) -> list[int]:
    """The row groups that may have a symbol: rows are sorted by it."""
    place = next((at for at in range(about.num_columns) if about.schema.column(at).path == "symbol"), None)
    if place is None:
        return list(range(about.num_row_groups))

    def ends(number: int) -> tuple[str, str] | None:
        told = about.row_group(number).column(place).statistics
        return (str(told.min), str(told.max)) if told is not None and told.has_min_max else None

    low, high = 0, about.num_row_groups
    while low < high:
        middle = (low + high) // 2
        span = ends(middle)
        if span is not None and span[1] < symbol:
            low = middle + 1
        else:
            high = middle
    out = []
    for number in range(low, about.num_row_groups):
        span = ends(number)
        if span is not None and span[0] > symbol:
            break
        out.append(number)
    return out


def names_in(rows: pa.Table, column: str) -> list[str]:
    """The texts of a column, each once, sorted."""
    found: Any = pc.unique(rows[column]).cast(pa.string()).to_pylist()
    return sorted(found)
