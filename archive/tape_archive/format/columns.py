"""How Parquet of ours is written: the columns of ticks, encodings, and numbers that are decimals.

The file is a function of its rows alone: encoding, compression and row groups are fixed here, and were chosen by ``benchmarks/storage.py``
(figures: docs/explanation/storage.md). Prices and amounts are decimals (integers with one scale a column and file): smaller than float64 by
a third, and exactly the venue's digits. The scale is the least that holds every value of the file. A column that 15 digits do not hold is
float64 in that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

#: every float64 is exact for so many digits
MOST = 10**15
#: of a row group
GROUP_ROWS = 1 << 18
TIME = pa.timestamp("ns", tz="UTC")
SIDE = pa.dictionary(pa.int8(), pa.string())

#: a page a row group: what BYTE_STREAM_SPLIT gains grows with the page
PAGES: Mapping[str, Any] = {"version": "2.6", "data_page_size": 8 << 20, "max_rows_per_page": 1 << 20, "store_decimal_as_integer": True}
OPTIONS: Mapping[str, Any] = {
    "compression": "zstd",
    "compression_level": 6,
    **PAGES,
    "use_dictionary": ["side"],
    "column_encoding": {"price": "BYTE_STREAM_SPLIT", "amount": "BYTE_STREAM_SPLIT"},
}


def tick_schema(price: pa.DataType, amount: pa.DataType) -> pa.Schema:
    """One row a level of an update; amount 0 removes the level; ``U`` and ``u`` are the venue's first and last update id (0: it counts
    none). ``ts_event`` is null where the venue sends no time."""
    columns = [("ts_event", TIME), ("ts_recv", TIME), ("U", pa.int64()), ("u", pa.int64()), ("snapshot", pa.bool_()), ("side", SIDE)]
    columns += [("price", price), ("amount", amount)]
    return pa.schema([pa.field(name, kind, nullable=name == "ts_event") for name, kind in columns], metadata={"tapeline.format": "ticks 1"})


def decimal(kind: Any) -> bool:
    """Whether it is one of our decimals: on INT64."""
    return bool(pa.types.is_decimal128(kind)) and kind.precision <= 18


def floats(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Decimals as the float64 that is nearest: an integer below 2**53 divided by a power of ten is rounded once."""
    kind: Any = column.type
    if not decimal(kind):
        return column.cast(pa.float64())
    chunks = []
    for chunk in column.chunks:
        values: Any = chunk.buffers()[1] or b""
        words = np.frombuffer(values, np.int64)[::2][chunk.offset : chunk.offset + len(chunk)]
        chunks.append(pa.array(words / 10.0**kind.scale, mask=chunk.is_null().to_numpy(zero_copy_only=False) if chunk.null_count else None))
    return pa.chunked_array(chunks, pa.float64())
