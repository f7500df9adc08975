"""Tick Parquet: finished parts become files, whole or not at all.

The file is a function of the part alone: encoding, compression and row groups are fixed here, and were chosen by ``benchmarks/storage.py``
(figures: docs/explanation/storage.md). Updates stand in the order of the tape; ``ts_recv`` never falls, so its statistics tell a reader
which row groups a range of time needs. Within an update bids stand before asks, and the prices of each side rise.

Prices and amounts are decimals (integers with one scale a column and part): smaller than float64 by a third, and exactly the venue's
digits. The scale is the least that holds every value of the part. A column that 15 digits do not hold is float64 in that part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tape_archive.format.atomic import sweep, write_atomic
from tape_archive.format.ticks import FOLDER, part_path
from tape_collectors.market.ticks import Part
from tape_collectors.sinks.parts import PartFiles

_TIME = pa.timestamp("ns", tz="UTC")
_SIDE = pa.dictionary(pa.int8(), pa.string())
#: every float64 is exact for so many digits
_MOST = 10**15
_SCALES = 16

#: a page a row group: what BYTE_STREAM_SPLIT gains grows with the page
OPTIONS: Mapping[str, Any] = {
    "compression": "zstd",
    "compression_level": 6,
    "version": "2.6",
    "data_page_size": 8 << 20,
    "max_rows_per_page": 1 << 20,
    "store_decimal_as_integer": True,
    "use_dictionary": ["side"],
    "column_encoding": {"price": "BYTE_STREAM_SPLIT", "amount": "BYTE_STREAM_SPLIT"},
}


def schema(price: pa.DataType, amount: pa.DataType) -> pa.Schema:
    """One row a level of an update; amount 0 removes the level; ``U`` and ``u`` are the venue's first and last update id (0: it counts
    none). ``ts_event`` is null where the venue sends no time."""
    columns = [("ts_event", _TIME), ("ts_recv", _TIME), ("U", pa.int64()), ("u", pa.int64()), ("snapshot", pa.bool_()), ("side", _SIDE)]
    columns += [("price", price), ("amount", amount)]
    return pa.schema([pa.field(name, kind, nullable=name == "ts_event") for name, kind in columns], metadata={"tapeline.format": "ticks 1"})


def table(part: Part, *, sort: bool = True) -> pa.Table:
    """The rows of a part; without ``sort`` the levels of an update stand as the venue sent them."""
    updates = {name: np.frombuffer(getattr(part, name), np.int64) for name in ("recv", "event", "first_id", "last_id", "bids", "asks")}
    counts = updates["bids"] + updates["asks"]
    flags = np.frombuffer(part.snapshot, np.int8).astype(np.bool_)
    each = np.column_stack([updates["bids"], updates["asks"]]).ravel()
    sides: Any = pa.array(np.tile(np.array([0, 1], np.int8), len(counts)).repeat(each))
    event = updates["event"].repeat(counts)
    prices, amounts = np.frombuffer(part.prices, np.float64), np.frombuffer(part.amounts, np.float64)
    if sort:
        prices, amounts = rising(prices, amounts, each)
    price, amount = decimals(prices), decimals(amounts)
    columns: list[Any] = [
        pa.array(event, mask=event == 0).cast(_TIME),
        pa.array(updates["recv"].repeat(counts)).cast(_TIME),
        pa.array(updates["first_id"].repeat(counts)),
        pa.array(updates["last_id"].repeat(counts)),
        pa.array(flags.repeat(counts)),
        pa.DictionaryArray.from_arrays(sides, pa.array(["bid", "ask"])),
        price,
        amount,
    ]
    return pa.Table.from_arrays(columns, schema=schema(price.type, amount.type))


Floats = npt.NDArray[np.float64]


def rising(prices: Floats, amounts: Floats, each: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The levels sorted within each side of each update. ``each``: how many there are, bids and asks in turn. A price that an update has
    twice keeps its order: the later one counts."""
    side = np.arange(len(each)).repeat(each)
    if np.all((np.diff(prices) >= 0) | (np.diff(side) > 0)):
        return prices, amounts
    order = np.lexsort((prices, side))
    return prices[order], amounts[order]


def decimals(values: Floats) -> Any:
    """The numbers as ``decimal128(18, scale)`` of the least scale that gives each back exactly; as float64 where 15 digits do not."""
    for scale in range(_SCALES):
        power = 10.0**scale
        whole = np.rint(values * power)
        if np.abs(whole).max(initial=0.0) >= _MOST:
            break
        if np.array_equal(whole / power, values):
            words = np.zeros((len(values), 2), np.int64)
            words[:, 0] = whole
            words[:, 1] = -(whole < 0).astype(np.int64)
            return pa.Array.from_buffers(pa.decimal128(18, scale), len(values), [None, pa.py_buffer(words.tobytes())])
    return pa.array(values)


def encode(rows: pa.Table, group_rows: int, options: Mapping[str, Any] = OPTIONS) -> bytes:
    """A Parquet file of these rows."""
    out = pa.BufferOutputStream()
    pq.write_table(rows, out, row_group_size=group_rows, **options)
    content: bytes = out.getvalue().to_pybytes()
    return content


def place(root: Path, part: Part) -> Path:
    """The path of a part."""
    return part_path(root, part.venue, part.symbol, part.recv[0], part.recv[-1])


def write(root: Path, part: Part) -> Path:
    """Write a part, unless it is there already: a part of a name is always the same. Raises StoreError."""
    path = place(root, part)
    if not path.exists():
        write_atomic(path, encode(table(part), part.group_rows))
    return path


def clean(root: Path) -> int:
    """Remove what a killed writer left unfinished; gives how many files."""
    return sum(sweep(Path(folder)) for folder, _, _ in os.walk(root / FOLDER))


class TickFiles(PartFiles[Part]):
    """Writes tick parts."""

    def __init__(self, root: Path, most_rows: int, settle: Callable[[], None] = lambda: None) -> None:
        super().__init__("ticks", lambda part: write(root, part), most_rows, settle)
