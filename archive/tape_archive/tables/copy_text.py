"""Rows as the CSV of PostgreSQL's COPY, and back: made and read by Arrow, a column at a time. Pure."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from tape_archive.tables.batch import schema_of
from tape_archive.tables.schema import Spec

_LISTS = pa.list_(pa.string())


def written(batch: pa.Table) -> bytes:
    """The rows as CSV: no header, null is nothing, an empty text is ``""``."""
    columns: list[Any] = []
    for name in batch.column_names:
        values: Any = batch[name]
        if pa.types.is_dictionary(values.type):
            values = values.cast(pa.string())
        elif pa.types.is_list(values.type):
            whole = values.combine_chunks()
            inside: Any = pc.binary_join(whole.cast(_LISTS), ",")
            values = pc.binary_join_element_wise("{", inside, "}", "")
        columns.append(values)
    out = io.BytesIO()
    csv.write_csv(pa.Table.from_arrays(columns, names=batch.column_names), out, csv.WriteOptions(include_header=False))
    return out.getvalue()


def parsed(spec: Spec, names: tuple[str, ...], text: bytes) -> pa.Table:
    """What COPY gave for these columns."""
    schema = pa.schema([schema_of(spec).field(name) for name in names])
    if not text:
        return schema.empty_table()
    kinds = {field.name: pa.string() if pa.types.is_list(field.type) else field.type for field in schema}
    source: Any = pa.BufferReader(text)
    table = csv.read_csv(
        source,
        read_options=csv.ReadOptions(column_names=list(names), block_size=max(1 << 20, min(len(text) + 1, 1 << 26))),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=kinds,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    columns = [_lists(table[field.name]) if pa.types.is_list(field.type) else table[field.name] for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _lists(values: Any) -> Any:
    """``{1,2}`` as a list."""
    whole = values.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    bare: Any = pc.utf8_slice_codeunits(whole, 1, -1)
    items: Any = pc.split_pattern(bare, ",")
    lengths = np.where(np.asarray(pc.equal(bare, pa.scalar("")).to_numpy(zero_copy_only=False)), 0, pc.list_value_length(items).to_numpy())
    flat: Any = items.flatten()
    full: Any = pc.not_equal(flat, pa.scalar(""))
    numbers = flat.filter(full).cast(pa.float64())
    offsets: Any = pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, numbers)
