"""Which days of derived Parquet are over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from tape_archive.archiver.plan import DAY
from tape_archive.format import cursor
from tape_archive.format.lock import held
from tape_archive.format.ticks import FOLDER, PartFile, day_of, part_of

SECOND = 1_000_000_000


class Tree(msgspec.Struct, frozen=True):
    """Folders of parts that one recorder writes, ``date=`` somewhere in their paths. ``state/<cursor>.cursor`` holds the tape time before
    which all its parts are there, ``state/<lock>.lock`` is held while it runs."""

    folder: str
    cursor: str
    lock: str
    recorder: str


TREES = (
    Tree(FOLDER, "ticks", "cex", "cex-record --ticks"),
    Tree("ofi_cvd", "ofi", "ofi", "ofi-record"),
    Tree("market", "market", "market", "market-record"),
)


class Day(msgspec.Struct):
    """One folder of parts, from the root. ``end``: unix ns of the end of its day."""

    folder: str
    end: int
    tree: Tree


class Compacted(msgspec.Struct):
    """``parts``: how many files became one (0: only what a killed run left was deleted). ``why`` says why it stays, if it does."""

    folder: str
    parts: int = 0
    rows: int = 0
    bytes: int = 0
    stored: int = 0
    why: str = ""


class Reach(msgspec.Struct):
    """How far a recorder has come. ``cursor``: tape time in ns before which all is written; None where there is no cursor."""

    cursor: int | None = None
    recording: bool = False


def days(root: Path, only: str = "") -> Iterator[Day]:
    """The folders that hold parts, by name; of one tree, or of all."""
    for tree in (tree for tree in TREES if only in ("", tree.folder)):
        for name, folders, files in os.walk(root / tree.folder):
            folders.sort()
            relative = os.path.relpath(name, root)
            span = next((day for day in map(day_of, Path(relative).parts) if day is not None), None)
            parts = [part for part in map(part_of, files) if part is not None]
            if span is not None and parts:
                yield Day(relative, max(span[1], *(part.last for part in parts)) + 1, tree)


def reach(root: Path, tree: Tree) -> Reach:
    """Raises Corrupt for a damaged cursor."""
    saved = cursor.load(root / "state" / f"{tree.cursor}.cursor")
    return Reach(saved.t if saved is not None else None, held(root / "state" / f"{tree.lock}.lock"))


def stays(day: Day, now: float, age: float, reached: Reach, unsealed: bool = False) -> str | None:
    """Why a day is not compacted: "" if it is, None if it is merely too young. ``now`` in unix seconds, ``age`` in days."""
    if day.end > (now - age * DAY) * SECOND:
        return None
    why = unfinished(day, reached)
    if not why or (unsealed and not reached.recording):
        return ""
    return why if reached.recording else f"{why}; the next {day.tree.recorder} does, or --unsealed takes it as it is"


def unfinished(day: Day, reached: Reach) -> str:
    """Why a recorder may still write a day; "" if none can."""
    name = day.tree.recorder.split()[0]
    if reached.cursor is None:
        return f"not over: {name} is running and no state/{day.tree.cursor}.cursor tells how far it is" if reached.recording else ""
    if reached.cursor >= day.end:
        return ""
    if reached.recording:
        return f"not over: {name} is still making it (state/{day.tree.cursor}.cursor)"
    return f"not over: state/{day.tree.cursor}.cursor has not passed it"


def size(parts: Iterable[PartFile]) -> int:
    """Bytes of parts."""
    return sum(Path(part.path).stat().st_size for part in parts)
