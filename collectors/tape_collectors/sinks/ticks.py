"""Tick Parquet: finished parts become files, whole or not at all.

The file is a function of the part alone; columns, encodings and decimals: tape_archive.format.columns. Updates stand in the order of the
tape; ``ts_recv`` never falls, so its statistics tell a reader which row groups a range of time needs. Within an update bids stand before
asks, and the prices of each side rise.
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
from tape_archive.format.columns import MOST, OPTIONS, TIME, tick_schema
from tape_archive.format.errors import Corrupt
from tape_archive.format.parquet import made_of
from tape_archive.format.ticks import FOLDER, cover, part_path
from tape_collectors.market.ticks import Part
from tape_collectors.sinks.parts import PartFiles

_SCALES = 16


def table(part: Part, *, sort: bool = True) -> pa.Table:
    """The rows of a part; without ``sort`` the levels of an update stand as the venue sent them."""
    updates = {name: np.frombuffer(getattr(part, name), np.int64) for name in ("recv", "event", "first_id", "last_id", "bids", "asks")}
    counts = updates["bids"] + updates["asks"]
    flags = np.frombuffer(part.snapshot, np.int8).astype(np.bool_)
    each = np.column_stack([updates["bids"], updates["asks"]]).ravel()
    sides: Any = pa.array(np.tile(np.array([0, 1], np.int8), len(counts)).repeat(each))
    event = updates["event"].repeat(counts)
    levels = np.frombuffer(part.levels, np.float64)
    prices, amounts = levels[::2], levels[1::2]
    if sort:
        prices, amounts = rising(prices, amounts, each)
    price, amount = decimals(prices), decimals(amounts)
    columns: list[Any] = [
        pa.array(event, mask=event == 0).cast(TIME),
        pa.array(updates["recv"].repeat(counts)).cast(TIME),
        pa.array(updates["first_id"].repeat(counts)),
        pa.array(updates["last_id"].repeat(counts)),
        pa.array(flags.repeat(counts)),
        pa.DictionaryArray.from_arrays(sides, pa.array(["bid", "ask"])),
        price,
        amount,
    ]
    return pa.Table.from_arrays(columns, schema=tick_schema(price.type, amount.type))


Floats = npt.NDArray[np.float64]


def rising(prices: Floats, amounts: Floats, each: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The levels sorted within each side of each update. ``each``: how many there are, bids and asks in turn. A price that an update has
    twice keeps its order: the later one counts."""
    side = np.arange(len(each)).repeat(each)
    if _rise(prices, side):
        return prices, amounts
    # One key that nearly stands in order already takes a quarter of the time of two; it may round two prices into one.
    with np.errstate(over="ignore", invalid="ignore"):
        least = prices.min()
        order = np.argsort(side * (prices.max() - least + 1.0) + (prices - least), kind="stable")
    if not _rise(prices[order], side):
        order = np.lexsort((prices, side))
    return prices[order], amounts[order]


def _rise(prices: Floats, side: npt.NDArray[np.int64]) -> bool:
    return bool(np.all((prices[1:] >= prices[:-1]) | (side[1:] > side[:-1])))


def decimals(values: Floats) -> Any:
    """The numbers as ``decimal128(18, scale)`` of the least scale that gives each back exactly; as float64 where 15 digits do not."""
    for scale in range(_SCALES):
        power = 10.0**scale
        whole = np.rint(values * power)
        if np.abs(whole).max(initial=0.0) >= MOST:
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
    """Write a part, unless it is there already, alone or in the file that the archiver made of its day: a part of a name is always the
    same. Raises StoreError; Corrupt where the day's file was made without it."""
    path = place(root, part)
    if path.exists():
        return path
    if (larger := cover(path)) is None:
        write_atomic(path, encode(table(part), part.group_rows))
    elif (part.recv[0], part.recv[-1], len(part)) not in made_of(larger.path):
        raise Corrupt(f"{larger.path} was made without {path.name}; remove it, and make its day again with tape rebuild --kind ticks")
    return path


def clean(root: Path) -> int:
    """Remove what a killed writer left unfinished; gives how many files."""
    return sum(sweep(Path(folder)) for folder, _, _ in os.walk(root / FOLDER))


class TickFiles(PartFiles[Part]):
    """Writes tick parts."""

    def __init__(self, root: Path, most_rows: int, settle: Callable[[], None] = lambda: None) -> None:
        super().__init__("ticks", lambda part: write(root, part), most_rows, settle)
