"""Batches of rows: brought into a table's form, in its order, each key once; and the proof that two sets of rows are equal. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tape_archive.format.errors import LocalError
from tape_archive.tables.schema import VERSION, Column, Spec

#: what a batch may be: a table, or its columns
Rows = pa.Table | Mapping[str, Sequence[Any]]
TIME = pa.timestamp("us", tz="UTC")
_LABEL = pa.dictionary(pa.int32(), pa.string())
_PLAIN: Mapping[str, Any] = {
    "time": TIME,
    "label": pa.string(),
    "text": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "floats": pa.list_(pa.float64()),
}
#: 1970 to 2200, us: what every database and pandas can hold
_EARLIEST, _LATEST = 0, 7_258_118_400_000_000


def schema_of(spec: Spec, *, labels: bool = False) -> pa.Schema:
    """The Arrow schema of a table. ``labels``: texts that repeat as dictionaries, as batches have them."""
    fields = [
        pa.field(column.name, _LABEL if labels and column.kind == "label" else _PLAIN[column.kind], nullable=column.null)
        for column in spec.columns
    ]
    return pa.schema(fields, metadata={"tapeline.table": spec.name})


def conform(spec: Spec, rows: Rows) -> pa.Table:
    """The rows as the table has them: its columns and types (labels as dictionaries), sorted by key, of each key the latest.

    Times may be timestamps (UTC if they name no zone), ``datetime`` objects or integers (unix ns); they are cut to the microsecond. A zero
    byte in a text, which PostgreSQL cannot hold, becomes U+FFFD. Raises LocalError for a batch that is not of this table: nothing is
    guessed.
    """
    given = set(rows.column_names if isinstance(rows, pa.Table) else rows)
    if unknown := sorted(given - set(spec.names)):
        raise LocalError(f"table {spec.name} has no column {unknown[0]!r}; it has {', '.join(spec.names)}")
    length = len(rows) if isinstance(rows, pa.Table) else max((len(values) for values in rows.values()), default=0)
    columns = []
    for column in spec.columns:
        if column.name not in given and not column.null:
            raise LocalError(f"{spec.name}: a batch without {column.name}")
        values = rows[column.name] if column.name in given else pa.nulls(length)
        try:
            columns.append(_cast(column, values))
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            raise LocalError(f"{spec.name}.{column.name}: {error}") from None
    try:
        table = pa.Table.from_arrays(columns, schema=schema_of(spec, labels=True))
    except pa.ArrowException as error:
        raise LocalError(f"{spec.name}: {error}") from None
    return _ordered(spec, table)


def _cast(column: Column, values: Any) -> Any:
    if not isinstance(values, (pa.Array, pa.ChunkedArray)):
        values = _array(column, values)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if column.kind == "time":
        values = _times(values)
    elif column.kind in ("label", "text"):
        values = _text(values, _LABEL if column.kind == "label" else pa.string())
    else:
        values = values.cast(_PLAIN[column.kind])
    if values.null_count and not column.null:
        raise ValueError(f"{values.null_count} of {len(values)} rows have none")
    if column.kind == "floats" and values.flatten().null_count:
        raise ValueError("a list with a null in it")
    return values


def _array(column: Column, values: Any) -> Any:
    if column.kind == "time":
        try:
            return pa.array(values, pa.int64())
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array(values, TIME)
    if column.kind == "label" and not hasattr(values, "dtype"):
        return pa.array(values, pa.string())
    return pa.array(values, _PLAIN[column.kind])


def _times(values: Any) -> Any:
    if pa.types.is_integer(values.type):
        lowest: Any = pc.min(values).as_py()
        if lowest is not None and lowest < _EARLIEST:
            raise ValueError("a time before 1970")
        values = pc.divide(values.cast(pa.int64()), 1000).cast(TIME) if values.null_count < len(values) else pa.nulls(len(values), TIME)
    elif pa.types.is_timestamp(values.type) and values.type.tz is None:
        values = values.cast(pa.timestamp("us"), safe=False).cast(TIME)
    else:
        values = values.cast(TIME, safe=False)
    if len(values) > values.null_count:
        ends: Any = pc.min_max(values.cast(pa.int64())).as_py()
        if ends["min"] < _EARLIEST or ends["max"] >= _LATEST:
            raise ValueError("a time outside 1970 to 2200")
    return values


def _text(values: Any, kind: Any) -> Any:
    if pa.types.is_dictionary(values.type):
        words = values.dictionary.cast(pa.string())
        if not _zeros(words):
            return pa.DictionaryArray.from_arrays(values.indices.cast(pa.int32()), words) if kind is _LABEL else values.cast(pa.string())
        values = values.cast(pa.string())
    values = values.cast(pa.string())
    if _zeros(values):
        values = pc.replace_substring(values, "\0", "\ufffd")
    return values.dictionary_encode() if kind is _LABEL else values


def _zeros(words: Any) -> bool:
    return bool(pc.any(pc.match_substring(words, "\0")).as_py())


def _rank(values: Any) -> npt.NDArray[np.int64]:
    """Whole numbers that sort as a key column does: texts by their UTF-8 bytes."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_string(values.type):
        values = values.dictionary_encode()
    if pa.types.is_dictionary(values.type):
        words = values.dictionary.to_pylist()
        ranks = np.zeros(len(words) + 1, np.int64)
        order = {word: place for place, word in enumerate(sorted(set(words)))}
        ranks[:-1] = [order[word] for word in words]
        return np.asarray(ranks[values.indices.to_numpy(zero_copy_only=False)], np.int64)
    return np.asarray(values.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _ordered(spec: Spec, table: pa.Table) -> pa.Table:
    if len(table) < 2:
        return table
    keys = [_rank(table[name]) for name in (*spec.key, VERSION)]
    order: npt.NDArray[np.intp] | None = None
    if not _rising(keys):
        # Rows mostly come in the order of time: then one stable sort by symbol is enough.
        # NumPy sorts numbers of 16 bits by radix, five times as fast.
        few = keys[0].min() >= 0 and keys[0].max() < 1 << 16
        order = np.argsort(keys[0].astype(np.uint16) if few else keys[0], kind="stable")
        if not _rising(sorted_keys := [key[order] for key in keys]):
            order = np.lexsort(keys[::-1])
            sorted_keys = [key[order] for key in keys]
        keys = sorted_keys
    same = np.logical_and.reduce([key[1:] == key[:-1] for key in keys[:-1]])
    if same.any():
        kept = np.append(~same, True)
        order = np.flatnonzero(kept) if order is None else order[kept]
    chosen: Any = order
    return table if order is None else table.take(chosen)


def _rising(keys: Sequence[npt.NDArray[np.int64]]) -> bool:
    """Whether the rows stand in the order of their keys."""
    tied = np.ones(max(len(keys[0]) - 1, 0), np.bool_)
    for key in keys:
        less, more = key[1:] < key[:-1], key[1:] > key[:-1]
        if np.any(tied & less):
            return False
        tied &= ~more
    return True


def latest(spec: Spec, table: pa.Table) -> pa.Table:
    """Rows of several batches in the table's order, of each key the latest; texts as plain strings."""
    return _ordered(spec, table).cast(pa.schema([schema_of(spec).field(name) for name in table.column_names]))


def digest(table: pa.Table) -> str:
    """sha256 over the rows in their order; equal exactly when all values are (a NaN equals a NaN; -0.0 does not equal 0.0)."""
    sha = hashlib.sha256()
    for name in table.column_names:
        values = table[name].combine_chunks()
        sha.update(f"{name}:{len(values)}:".encode())
        _hash(sha, values)
    return sha.hexdigest()


def _hash(sha: Any, values: Any) -> None:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    sha.update(np.packbits(np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)).tobytes())
    if pa.types.is_list(values.type):
        sha.update(np.asarray(pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False), np.int64).tobytes())
        _hash(sha, values.flatten())
    elif pa.types.is_string(values.type):
        sha.update(np.asarray(pc.fill_null(pc.binary_length(values), -1).to_numpy(zero_copy_only=False), np.int64).tobytes())
        sha.update("".join(one for one in values.to_pylist() if one is not None).encode())
    elif pa.types.is_floating(values.type):
        numbers = np.asarray(pc.fill_null(values, 0.0).to_numpy(zero_copy_only=False), np.float64)
        sha.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())
    else:
        whole = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
        sha.update(np.asarray(pc.fill_null(whole.cast(pa.int64()), 0).to_numpy(zero_copy_only=False), np.int64).tobytes())
