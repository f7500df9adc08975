"""Rows as PostgreSQL's COPY takes and gives them, a column at a time: in its binary format there (the server parses nothing; rows cost it
and us less than half of what CSV does), as CSV back. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pgpq import ArrowToPostgresBinaryEncoder
from pyarrow import csv

from tape_archive.tables.batch import schema_of
from tape_archive.tables.schema import Spec


def written(batch: pa.Table) -> bytes:
    """The rows for ``COPY … FROM … WITH (FORMAT binary)``."""
    fields: Any = batch.schema
    plain = pa.schema([field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in fields])
    encoder = ArrowToPostgresBinaryEncoder(plain)
    header = encoder.write_header()
    pieces = [encoder.write_batch(piece) for piece in batch.cast(plain).to_batches()]
    return b"".join([header, *pieces, encoder.finish()])


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
