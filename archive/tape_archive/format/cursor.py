"""Cursors: how far a derived output has used the tape, committed together with the sizes of its files."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tape_archive.format.atomic import write_atomic
from tape_archive.format.errors import Corrupt
from tape_archive.format.read import Position


class Cursor(msgspec.Struct):
    """``tapes``: position in each tape file; ``outputs``: committed bytes of each file. Paths are relative to the root."""

    run: str = ""
    t: int = 0
    tapes: dict[str, Position] = msgspec.field(default_factory=dict)
    outputs: dict[str, int] = msgspec.field(default_factory=dict)
    format: int = 1


def load(path: Path) -> Cursor | None:
    """The cursor, or None where there is none yet. Raises Corrupt."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cursor)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Corrupt(f"{path}: {error}; remove it to begin anew from the tape") from None


def save(path: Path, cursor: Cursor) -> None:
    """Replace the cursor."""
    write_atomic(path, msgspec.json.encode(cursor), durable=False)
