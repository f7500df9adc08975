"""OFI and CVD Parquet: finished parts become files, whole or not at all. The file is a function of the part alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tape_archive.format.atomic import sweep, write_atomic
from tape_archive.format.harvest import COLUMNS, FOLDER, KINDS, Kind, part_path, schema
from tape_collectors.market.harvest import HarvestPart

SCHEMAS: Mapping[Kind, Any] = {kind: schema(kind) for kind in KINDS}
OPTIONS: Mapping[str, Any] = {"compression": "zstd", "compression_level": 3, "version": "2.6"}
#: the columns with a dictionary: a minute's numbers hardly repeat, and with dictionaries parts are a sixth larger and take longer
TEXT: Mapping[Kind, list[str]] = {kind: [name for name, kind_of, _ in COLUMNS[kind] if kind_of.startswith("text")] for kind in KINDS}


def table(part: HarvestPart) -> pa.Table:
    """The rows of a part."""
    fields = SCHEMAS[part.kind]
    columns = zip(*part.rows, strict=True)
    return pa.Table.from_arrays([pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)], schema=fields)


def encode(part: HarvestPart) -> bytes:
    """A Parquet file of a part."""
    out = pa.BufferOutputStream()
    pq.write_table(table(part), out, use_dictionary=TEXT[part.kind], **OPTIONS)  # type: ignore[arg-type]
    content: bytes = out.getvalue().to_pybytes()
    return content


def place(root: Path, part: HarvestPart) -> Path:
    """The path of a part."""
    return part_path(root, part.symbol, part.kind, part.first, part.last)


def write(root: Path, part: HarvestPart) -> Path:
    """Write a part, unless it is there already: a part of a name is always the same. Raises StoreError."""
    path = place(root, part)
    if not path.exists():
        write_atomic(path, encode(part))
    return path


def clean(root: Path) -> int:
    """Remove what a killed writer left unfinished; gives how many files."""
    return sum(sweep(Path(folder)) for folder, _, _ in os.walk(root / FOLDER))
