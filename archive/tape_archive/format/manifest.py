"""``_manifest.jsonl``: what each sealed file of a folder is, with its sha256."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from pathlib import Path

import msgspec

from tape_archive.format.atomic import write_atomic
from tape_archive.format.errors import Corrupt, UnknownVersion
from tape_archive.format.lines import FORMAT

NAME = "_manifest.jsonl"
#: lines of replies and marks: `u` or `mark` stands where the frame would
_OTHER = re.compile(rb'\{"t":\d+,"s":"(?:[^"\\]|\\.)*","(?:u|mark)":').match


class Entry(msgspec.Struct, kw_only=True):
    """One sealed file. Times are tape time, unix ns; ``gaps`` counts gap marks.

    ``bytes`` and ``sha256`` are those of the file as it lies there; ``plain_bytes`` and ``plain_sha256`` those of what it holds, where
    the archiver compressed it (0 and empty: it is what it holds).
    """

    name: str
    bytes: int
    sha256: str
    lines: int
    frames: int
    first_ns: int
    last_ns: int
    gaps: int
    format: int = 1
    sealed: bool = True
    plain_bytes: int = 0
    plain_sha256: str = ""


def read(folder: Path) -> dict[str, Entry]:
    """The entries of a folder by name; the last one for a name wins. Raises Corrupt or UnknownVersion."""
    try:
        content = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return {}
    return parse(str(folder / NAME), content)


def parse(name: str, content: bytes) -> dict[str, Entry]:
    """The entries that a manifest holds. Raises Corrupt or UnknownVersion; ``name`` is for the message."""
    decode = msgspec.json.Decoder(Entry).decode
    try:
        entries = [decode(line) for line in content.split(b"\n") if line]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name}: {error}; restore it from a copy, or remove it: the tapes themselves are not touched") from None
    if newer := next((entry for entry in entries if entry.format > FORMAT), None):
        raise UnknownVersion(f"{name}: {newer.name} has format {newer.format}, this program reads up to {FORMAT}: upgrade tapeline")
    return {entry.name: entry for entry in entries}


def put(folder: Path, entry: Entry) -> None:
    """Add or replace one entry; safe for many processes at once."""
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = read(folder) | {entry.name: entry}
        write_atomic(folder / NAME, b"".join(msgspec.json.encode(one) + b"\n" for one in entries.values()))
    finally:
        os.close(lock)


def sha256(path: Path) -> str:
    """The digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path) -> Entry:
    """The entry of a tape file as it is now, by reading it whole. Raises Corrupt if its first or last line, a mark or a reply is none."""
    from tape_archive.format.lines import parse, time_of
    from tape_archive.format.read import read_lines

    lines = others = gaps = first = 0
    raw = b""
    for raw in read_lines(path):
        lines += 1
        if not first:
            first = time_of(raw)
        # A recorder that goes on meanwhile pays for every step here (an hour may have millions of lines): only what can be no plain
        # frame, by the keys that stand before it, is parsed.
        if _OTHER(raw):
            line = parse(raw)
            if line.mark is not None or line.request is not None:
                others += 1
                gaps += line.mark == "gap"
    frames, last = lines - others, time_of(raw) if raw else 0
    return Entry(
        name=path.name,
        bytes=path.stat().st_size,
        sha256=sha256(path),
        lines=lines,
        frames=frames,
        first_ns=first,
        last_ns=last,
        gaps=gaps,
    )
