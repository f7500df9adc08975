"""What lies under a root, table by table, as retention wants to know it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tape_archive.archiver import days
from tape_archive.archiver.plan import DAY, epoch
from tape_archive.archiver.tapes import held
from tape_archive.format import cursor, manifest
from tape_archive.format.errors import TapeError
from tape_archive.format.layout import segments
from tape_archive.format.ticks import day_of, of_folder

SECOND = 1_000_000_000
HOUR = 3600
_MONTH = re.compile(r"^\d{4}-\d\d$")
_DATED = re.compile(r"^(.+)_(\d{8})(?:_(\d\d))?\.csv$")


class Item(msgspec.Struct):
    """One file. ``path`` from the root; ``part``: what of its table; ``series``: what it is one of, the newest of which always stays;
    ``end``: unix seconds of the end of its content; ``copies``: where a copy of its content may lie in the archive; ``needed``: why it
    must stay whatever its age; ``sealed``: whether its folder's manifest says so (None: files of this table have no seal)."""

    path: str
    table: str
    part: str
    series: str
    end: float
    bytes: int
    copies: tuple[str, ...]
    needed: str = ""
    sealed: bool | None = None


def items(root: Path, table: str) -> Iterator[Item]:
    """The files of a table."""
    if table == "raw":
        yield from _tapes(root)
    elif table == "windows":
        yield from _windows(root)
    elif table == "logs":
        yield from _logs(root)
    else:
        yield from _parts(root, table)


def _tapes(root: Path) -> Iterator[Item]:
    names, since = held(root)
    known: dict[Path, dict[str, manifest.Entry]] = {}
    for one in segments(root):
        folder = one.file.parent
        if folder not in known:
            known[folder] = manifest.read(folder)
        entry = known[folder].get(one.file.name)
        path, end = str(one.file.relative_to(root)), one.hour // SECOND + HOUR
        # A recorder that makes again what it owes may begin some hours before its cursor.
        needed = "a cursor in state still needs it" if path in names or (end + DAY) * SECOND > since else ""
        series = f"raw/{one.venue}/{one.stream}"
        yield Item(path, "raw", one.venue, series, end, _size(one.file), (path,), needed, entry is not None and entry.sealed)


def _windows(root: Path) -> Iterator[Item]:
    """Cold ones: hot windows are the archiver's."""
    for folder in sorted(path for path in (root / "real_archive").glob("*") if _MONTH.match(path.name)):
        known = manifest.read(folder)
        for path in sorted(folder.glob("*.jsonl*")):
            start = epoch(path.name)
            if path.name.startswith(("_", ".")) or not start:
                continue
            slug = path.name.partition(".jsonl")[0]
            coin, entry = slug.partition("-")[0], known.get(path.name)
            name = str(path.relative_to(root))
            stem = name.partition(".jsonl")[0]
            copies = tuple(f"{stem}.jsonl{ending}" for ending in ("", ".zst", ".gz"))
            series = f"windows/{slug.rpartition('-')[0]}"
            yield Item(name, "windows", coin, series, start, _size(path), copies, sealed=entry is not None and entry.sealed)


def _logs(root: Path) -> Iterator[Item]:
    """Dated files of series. One whose size a cursor holds is still appended to."""
    written: set[str] = set()
    for path in (root / "state").glob("*.cursor"):
        try:
            saved = cursor.load(path)
        except TapeError:
            continue
        written |= set(saved.outputs) if saved is not None else set()
    for path in sorted((root / "logs").glob("*.csv")):
        match = _DATED.match(path.name)
        if match is None:
            continue
        name = str(path.relative_to(root))
        end = datetime.strptime(match[2], "%Y%m%d").replace(tzinfo=UTC).timestamp() + DAY
        needed = "a cursor in state still needs it" if written & {name, path.name, str(path)} else ""
        yield Item(name, "logs", match[1], f"logs/{match[1]}", end, _size(path), (name,), needed)


def _parts(root: Path, table: str) -> Iterator[Item]:
    reached = {tree: days.reach(root, tree) for tree in days.TREES}
    for day in days.days(root, table):
        keys = dict(one.split("=", 1) for one in Path(day.folder).parts if "=" in one)
        part = next((keys[key] for key in ("table", "kind", "exchange") if key in keys), "")
        series = "/".join(one for one in Path(day.folder).parts if day_of(one) is None)
        needed = days.unfinished(day, reached[day.tree])
        for one in of_folder(root / day.folder):
            name = f"{day.folder}/{one.path.rpartition('/')[2]}"
            # The whole of the newest day stays.
            yield Item(name, table, part, series, (day.end - 1) // SECOND, _size(Path(one.path)), (name,), needed)


def _size(path: Path) -> int:
    return path.stat().st_size
