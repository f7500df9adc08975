"""Parts: the Parquet files of a table, and which of them count.

``market/table=<table>/date=<day, month or year>/part-<writer>-<first>-<last>.parquet`` has rows of the writer's batches ``first`` to
``last``. ``market/table=<table>/_cursor-<writer>.json`` is how far the writer has come. A part counts when its last batch is at or before
the cursor: so all files of a batch, and the cursor, move at the one moment when the cursor's file is replaced. A part that lies within
another one of its folder and writer is merged into it, and no longer counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tape_archive.format.errors import Corrupt
from tape_archive.format.layout import element
from tape_archive.tables.schema import Partition, Spec
from tape_archive.tables.tables import Cursor

_PART = re.compile(r"^part-(.+)-(\d{12})-(\d{12})\.parquet$")
_DATE: dict[Partition, str] = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y", "none": "all"}
_SECOND = 1_000_000_000
#: so many parts of a size become one; of lists of levels, of which a part is large, fewer: a merge has a piece of each in memory
_FAN, _FAN_OF_LISTS = 32, 8


#: the first time of a folder, the first behind it (unix ns), and the folder
Place = tuple[int, int, Path]


class Part(msgspec.Struct, frozen=True, order=True):
    """One file. ``writer`` as it stands in names."""

    writer: str
    first: int
    last: int
    path: str

    def within(self, other: Part) -> bool:
        """Whether the other one has its rows."""
        return self.writer == other.writer and other.first <= self.first and self.last <= other.last and self.path != other.path


def table_folder(root: Path, spec: Spec) -> Path:
    """Where a table lies."""
    return root / "market" / f"table={spec.name}"


def folder_name(partition: Partition, ns: int) -> str:
    """The folder of a time."""
    return "date=" + datetime.fromtimestamp(ns // _SECOND, UTC).strftime(_DATE[partition])


def span_of(partition: Partition, name: str) -> tuple[int, int] | None:
    """The first time of a folder, and the first behind it (unix ns); None if it is no folder of ours."""
    if partition == "none":
        return (0, (1 << 63) - 1) if name == "date=all" else None
    try:
        begin = datetime.strptime(name, f"date={_DATE[partition]}").replace(tzinfo=UTC)
    except ValueError:
        return None
    if partition == "day":
        return int(begin.timestamp()) * _SECOND, (int(begin.timestamp()) + 86_400) * _SECOND
    months = begin.month if partition == "month" else 12
    behind = datetime(begin.year + months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return int(begin.timestamp()) * _SECOND, int(behind.timestamp()) * _SECOND


def part_name(writer: str, first: int, last: int) -> str:
    """The name of a part."""
    return name_of(element(writer), first, last)


def name_of(writer: str, first: int, last: int) -> str:
    """The same; ``writer`` as it stands in names."""
    return f"part-{writer}-{first:012d}-{last:012d}.parquet"


def part_of(path: Path) -> Part | None:
    """What a name tells; None for another file."""
    match = _PART.match(path.name)
    return Part(match[1], int(match[2]), int(match[3]), str(path)) if match else None


def parts_in(folder: Path) -> list[Part]:
    """All parts of a folder, also those that do not count."""
    try:
        return sorted(part for part in map(part_of, folder.iterdir()) if part is not None)
    except FileNotFoundError:
        return []


def folders(table: Path, spec: Spec, start: int | None, end: int | None) -> list[Place]:
    """The folders that have times from ``start`` to ``end`` (unix ns), by time."""
    found = []
    for folder in table.glob("date=*"):
        span = span_of(spec.partition, folder.name)
        if span and (start is None or span[1] > start) and (end is None or span[0] < end):
            found.append((*span, folder))
    return sorted(found)


def uncovered(parts: Iterable[Part]) -> list[Part]:
    """Those that no other one has the rows of."""
    out: list[Part] = []
    for part in sorted(parts, key=lambda part: (part.writer, part.first, -part.last)):
        if not out or not part.within(out[-1]):
            out.append(part)
    return out


def cursor_path(table: Path, writer: str) -> Path:
    """The ledger of a writer."""
    return table / f"_cursor-{element(writer)}.json"


def cursor_of(path: Path) -> Cursor | None:
    """What a ledger says. Raises Corrupt."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cursor)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Corrupt(f"{path}: {error}; restore it from a copy: without it the parts of its writer do not count") from None


def cursors_in(table: Path) -> Iterator[Cursor]:
    """All ledgers of a table."""
    for path in table.glob("_cursor-*.json"):
        cursor = cursor_of(path)
        if cursor is not None:
            yield cursor


def ledger_of(table: Path) -> dict[str, int]:
    """The last batch of each writer, by the writer's name as it stands in names."""
    return {element(cursor.writer): cursor.batch for cursor in cursors_in(table)}


def fan(spec: Spec) -> int:
    """How many parts of a size become one."""
    return _FAN_OF_LISTS if any(column.kind == "floats" for column in spec.columns) else _FAN


def level(part: Part, fan: int) -> int:
    """0: a batch, or a few; 1: merged of as many batches as the fan says; 2: of as many of those."""
    count, found = part.last - part.first + 1, 0
    while count >= fan:
        count, found = count // fan, found + 1
    return found


def counting(folder: Path, ledger: Mapping[str, int]) -> list[str]:
    """The parts of a folder that count. Raises FileNotFoundError if they change while they are listed, or have outrun the ledger."""
    before = folder.stat().st_mtime_ns
    found = parts_in(folder)
    if folder.stat().st_mtime_ns != before:
        raise FileNotFoundError(folder)
    for part in found:
        if part.first <= ledger.get(part.writer, 0) < part.last:
            raise FileNotFoundError(part.path)
    return [part.path for part in uncovered(part for part in found if part.last <= ledger.get(part.writer, 0))]
