"""Parquet files of one folder read and written as one, a row group at a time: memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tape_archive.format.columns import GROUP_ROWS, MOST, PAGES, decimal, floats
from tape_archive.format.errors import Corrupt, FormatError, NotFound, StoreDenied, StoreUnavailable
from tape_archive.format.ticks import PartFile, part_of

#: in a file that was merged: the name's times and the rows of each part that it was made of, in order
PARTS = b"tapeline.parts"


class Unlike(FormatError):
    """Files of one folder whose columns cannot stand in one file: they stay as they are."""


@contextmanager
def opened(path: str) -> Iterator[pq.ParquetFile]:
    """A file to read. Raises NotFound, Corrupt, StoreDenied, StoreUnavailable; also for what is read within."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except FileNotFoundError:
        raise NotFound(f"{path} is not there") from None
    except PermissionError as error:
        raise StoreDenied(f"cannot read {path}: {error.strerror}") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise Corrupt(f"{path}: {' '.join(str(error).split())}") from None
    except OSError as error:
        # Arrow tells a damaged page by the same error as a disk that fails.
        kind = StoreUnavailable if error.errno else Corrupt
        raise kind(f"cannot read {path}: {' '.join(str(error).split())}") from None


def count(path: str) -> int:
    """Rows of a file, by its footer."""
    with opened(path) as file:
        return int(file.metadata.num_rows)


def made_of(path: str) -> list[tuple[int, int, int]]:
    """(first, last, rows) of each part that a merged file was made of; of another file itself. Raises Corrupt, NotFound."""
    part = part_of(path)
    with opened(path) as file:
        told, held = (file.metadata.metadata or {}).get(PARTS), int(file.metadata.num_rows)
    if part is None:
        return []
    if told is None:
        return [(part.first, part.last, held)]
    try:
        made = msgspec.json.decode(told, type=list[tuple[int, int, int]])
    except msgspec.DecodeError as error:
        raise Corrupt(f"{path}: {error}") from None
    if not made or (made[0][0], made[-1][1], sum(one[2] for one in made)) != (part.first, part.last, held):
        raise Corrupt(f"{path}: its name is not that of what it was made of; was it renamed?")
    return made


def rows(paths: Iterable[str], columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of files one behind the other, a row group at a time."""
    for path in paths:
        with opened(path) as file:
            for group in range(file.metadata.num_row_groups):
                yield file.read_row_group(group, columns=columns, use_threads=False)


def span(path: str, begin: int, many: int) -> Iterator[pa.Table]:
    """``many`` rows of a file from row ``begin`` on; only the row groups that hold them are read."""
    with opened(path) as file:
        at = 0
        for group in range(file.metadata.num_row_groups):
            held = file.metadata.row_group(group).num_rows
            first, last = max(begin - at, 0), min(begin + many - at, held)
            if first < last:
                yield file.read_row_group(group, use_threads=False).slice(first, last - first)
            at += held


# -- writing -------------------------------------------------------------------------------------------------------------------


def merge(parts: Sequence[PartFile], into: BinaryIO, level: int) -> int:
    """Write the rows of parts, in order, as one file with their encodings; gives how many. Raises Unlike, Corrupt, NotFound, OSError."""
    paths = [part.path for part in parts]
    schema = unified(paths)
    with opened(paths[0]) as file:
        options = _options(file, level)
    total = 0
    with pq.ParquetWriter(into, schema, **options) as writer:
        for group in _cut(rows(paths), schema):
            writer.write_table(group, row_group_size=GROUP_ROWS)
            total += len(group)
        told = [one for path in paths for one in made_of(path)]
        writer.add_key_value_metadata({PARTS.decode(): msgspec.json.encode(told).decode()})
    return total


def unified(paths: Sequence[str]) -> pa.Schema:
    """The schema that holds the rows of all files: the same columns; decimals of the largest scale, or float64 where 15 digits do not
    hold them. Raises Unlike."""
    schemas = []
    for path in paths:
        with opened(path) as file:
            schemas.append(file.schema_arrow)
    first: Any = schemas[0]
    if any(one.names != first.names or one.metadata != first.metadata for one in schemas):
        raise Unlike("its parts have different columns, or are of different versions")
    fields = []
    for at, field in enumerate(first):
        kinds = [schema.field(at).type for schema in schemas]
        if all(kind == kinds[0] for kind in kinds):
            fields.append(field)
            continue
        if not all(decimal(kind) or pa.types.is_floating(kind) for kind in kinds):
            raise Unlike(f"column {field.name!r} is {kinds[0]} in one part and another type in others")
        fields.append(field.with_type(_number(field.name, list(zip(paths, kinds, strict=True)))))
    return pa.schema(fields, metadata=first.metadata)


def _number(name: str, kinds: Sequence[tuple[str, Any]]) -> pa.DataType:
    if not all(decimal(kind) for _, kind in kinds):
        return pa.float64()
    scale: int = max(kind.scale for _, kind in kinds)
    for path, kind in kinds:
        most = MOST // 10 ** (scale - kind.scale)
        for table in rows([path], [name]) if kind.scale < scale else ():
            words = _words(table[name])
            if np.abs(words).max(initial=0) >= most:
                return pa.float64()
    return pa.decimal128(18, scale)


def _words(column: pa.ChunkedArray[Any]) -> Any:
    whole = pa.chunked_array([chunk.fill_null(0) if chunk.null_count else chunk for chunk in column.chunks], column.type)
    chunks: list[Any] = [*whole.chunks]
    parts = [np.frombuffer(chunk.buffers()[1] or b"", np.int64)[::2][chunk.offset :][: len(chunk)] for chunk in chunks]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _options(file: pq.ParquetFile, level: int) -> dict[str, Any]:
    """Dictionaries and encodings as this file has them."""
    group = file.metadata.row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    dictionaries = [one.path_in_schema for one in columns if "RLE_DICTIONARY" in one.encodings or "PLAIN_DICTIONARY" in one.encodings]
    known = ("BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")
    encodings = {one.path_in_schema: name for one in columns for name in known if name in one.encodings}
    encodings = {path: name for path, name in encodings.items() if path not in dictionaries}
    chosen = {"column_encoding": encodings} if encodings else {}
    return {"compression": "zstd", "compression_level": level, **PAGES, "use_dictionary": dictionaries or False, **chosen}


def _cut(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of GROUP_ROWS rows, the last one smaller."""
    held: list[pa.Table] = []
    waiting = 0
    for table in tables:
        held.append(_cast(table, schema))
        waiting += len(table)
        while waiting >= GROUP_ROWS:
            whole = pa.concat_tables(held)
            yield _plain(whole.slice(0, GROUP_ROWS))
            held, waiting = [whole.slice(GROUP_ROWS)], waiting - GROUP_ROWS
    if waiting:
        yield _plain(pa.concat_tables(held))


def _plain(table: pa.Table) -> pa.Table:
    # A chunk of its own dictionary would be written without one.
    return table.unify_dictionaries().combine_chunks()


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field, column in zip(schema, table.columns, strict=True):
        same = column.type == field.type
        columns.append(column if same else floats(column) if pa.types.is_floating(field.type) else column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


# -- comparing -----------------------------------------------------------------------------------------------------------------


def difference(one: Iterable[pa.Table], other: Iterable[pa.Table]) -> str:
    """Where the rows of two streams differ first; empty if they are the same in the same order. The first is the wider one: what is a
    decimal in the second may be one of a larger scale in the first, or a float64."""
    left, right = iter(one), iter(other)
    at, mine, theirs = 0, next(left, None), next(right, None)
    while mine is not None and theirs is not None:
        many = min(len(mine), len(theirs))
        if wrong := _differs(mine.slice(0, many), theirs.slice(0, many)):
            return f"column {wrong!r} differs in rows {at:,} to {at + many:,}"
        at += many
        mine = mine.slice(many) if len(mine) > many else next(left, None)
        theirs = theirs.slice(many) if len(theirs) > many else next(right, None)
    return "" if mine is theirs is None else f"there are {'more' if mine is not None else 'fewer'} rows than {at:,}"


def lacks(cover: PartFile, part: PartFile) -> str:
    """What a merged file lacks of a part whose times its name covers; empty if it has all its rows in their order."""
    begin = 0
    for at, (first, _, _) in enumerate(whole := made_of(cover.path)):
        if first == part.first:
            many = 0
            for _, last, here in whole[at:]:
                many += here
                if last == part.last:
                    return difference(span(cover.path, begin, many), rows([part.path]))
            break
        begin += whole[at][2]
    return "it was not made of it"


def _differs(mine: pa.Table, theirs: pa.Table) -> str:
    if mine.column_names != theirs.column_names:
        return next(iter(set(mine.column_names) ^ set(theirs.column_names)), "order")
    pairs = zip(mine.column_names, mine.columns, theirs.columns, strict=True)
    return next((name for name, left, right in pairs if not _equal(left, right)), "")


def _equal(left: pa.ChunkedArray[Any], right: pa.ChunkedArray[Any]) -> bool:
    if pa.types.is_dictionary(left.type) and pa.types.is_dictionary(right.type):
        left, right = left.cast(left.type.value_type), right.cast(right.type.value_type)
    if decimal(left.type) and decimal(right.type) and left.type != right.type:
        try:
            # Back to the scale that it came from: what this would lose is a difference.
            left = left.cast(right.type)
        except pa.ArrowInvalid:
            return False
    elif pa.types.is_floating(left.type):
        right = floats(right) if left.type != right.type else right
        return _bits(left) == _bits(right)
    return left.type == right.type and bool(left.equals(right))


def _bits(column: pa.ChunkedArray[Any]) -> tuple[bytes, bytes]:
    """Of floats: NaN is itself, and 0.0 is not -0.0."""
    nulls = column.is_null().to_numpy()
    return nulls.tobytes(), np.where(nulls, 0.0, column.to_numpy()).tobytes()
