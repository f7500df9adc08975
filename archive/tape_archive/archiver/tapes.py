"""Raw tapes that are old enough: packed more strongly where they lie, or moved to another store.

A sealed segment is a zstd frame a second, so that it can be followed; packed it is a frame for every 8 MiB, the same bytes inside, under
the same name: every reader finds and reads it as before. Packing in place:

    1. the packed file is written beside it (``<name>.packed``) and read back
    2. the manifest learns what the segment holds (``plain_sha256``)
    3. the packed file replaces the segment by rename
    4. the manifest learns the new size and sha256

Killed before 3, the file beside it tells that the work is not done; before 4, the sum of the content tells that the file is right.
A segment that a consumer may still read (its cursor) is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import asdict, replace

from tape_archive.archiver.move import CHUNK, Moved, Sizes, forget, read_manifest, recode, staging, verify, write_manifest
from tape_archive.archiver.plan import DAY
from tape_archive.format import cursor, manifest
from tape_archive.format.atomic import sweep, sync_folder
from tape_archive.format.compression import Compression, plain
from tape_archive.format.errors import Corrupt, TapeError
from tape_archive.format.layout import Segment, segments
from tape_archive.stores import LocalStore, Store

HOUR = 3600
SECOND = 1_000_000_000
#: why a segment is not packed that is
PACKED = "packed already"


def old(root: Path, now: float, days: float, *, leaving: bool = False) -> list[Segment]:
    """Sealed segments whose hour ended so many days ago. Those that a consumer still reads are left out: a cursor names them, or, where
    they are to leave this root (``leaving``), stands before their end."""
    names, since = held(root)
    known: dict[Path, dict[str, manifest.Entry]] = {}
    found = []
    for segment in segments(root):
        end = segment.hour // SECOND + HOUR
        if end > now - days * DAY or str(segment.file.relative_to(root)) in names or (leaving and end * SECOND > since):
            continue
        folder = segment.file.parent
        if folder not in known:
            known[folder] = manifest.read(folder)
        entry = known[folder].get(segment.file.name)
        if entry is not None and entry.sealed and segment.file.suffix == ".zst":
            found.append(segment)
    return found


def held(root: Path) -> tuple[set[str], int]:
    """What cursors tell: the tapes that are read on from a byte offset, and the tape time from which on tapes are still needed."""
    names: set[str] = set()
    since = 1 << 63
    for path in (root / "state").glob("*.cursor"):
        try:
            saved = cursor.load(path)
        except TapeError:
            continue
        if saved is not None:
            names |= set(saved.tapes)
            since = min(since, saved.t) if saved.t else since
    return names, since


class Packer:
    """``target`` None: in place."""

    def __init__(self, root: Path, target: Store | None, compression: Compression, dry_run: bool = False) -> None:
        self.root, self.target = root, target
        self.compression = Compression("zstd", compression.level if compression.kind == "zstd" else 0)
        self.dry_run = dry_run
        self._local = LocalStore(root)

    def pack(self, found: Sequence[Segment], told: Callable[[Moved], None]) -> None:
        """All of them. Raises StoreError, DiskFull."""
        for folder in sorted({segment.file.parent for segment in found}) if not self.dry_run else ():
            sweep(folder)
        for segment in found:
            told(self._one(segment))

    def _one(self, segment: Segment) -> Moved:
        path = segment.file
        folder = str(path.parent.relative_to(self.root))
        entry = manifest.read(path.parent)[path.name]
        size = path.stat().st_size
        moved = Moved(f"{folder}/{path.name}", folder, size, size)
        if self.target is None and entry.plain_sha256 and entry.bytes == size and not _aside(path).exists():
            moved.why = PACKED
            return moved
        with staging(self.target or self._local) as file:
            before = hashlib.sha256()
            try:
                sizes = recode(_content(path, before), self.compression, None if self.dry_run else file)
            except Corrupt:
                sizes = Sizes(bytes=size)
            moved.stored = sizes.bytes
            whole = entry.plain_sha256 == sizes.plain_sha256 if entry.plain_sha256 else entry.sha256 == before.hexdigest()
            if not whole:
                moved.why = "damaged: it is not what it was when it was sealed; it stays (see tape verify)"
            elif not self.dry_run:
                file.seek(0)
                self._replace(path, entry, sizes, file) if self.target is None else self._send(self.target, path, entry, sizes, file)
        return moved

    def _replace(self, path: Path, entry: manifest.Entry, sizes: Sizes, file: BinaryIO) -> None:
        aside, name = _aside(path), str(_aside(path).relative_to(self.root))
        self._local.put(name, file)
        try:
            verify(self._local, name, sizes, path.name)
        except Corrupt:
            self._local.delete(name)
            raise
        manifest.put(path.parent, replace(entry, plain_bytes=sizes.plain_bytes, plain_sha256=sizes.plain_sha256))
        aside.replace(path)
        sync_folder(path.parent)
        manifest.put(path.parent, replace(entry, **asdict(sizes)))

    def _send(self, target: Store, path: Path, entry: manifest.Entry, sizes: Sizes, file: BinaryIO) -> None:
        folder = str(path.parent.relative_to(self.root))
        target.put(f"{folder}/{path.name}", file)
        verify(target, f"{folder}/{path.name}", sizes)
        write_manifest(target, folder, read_manifest(target, folder) | {path.name: replace(entry, **asdict(sizes))})
        forget(path.parent, [path.name])


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.packed")


def _content(path: Path, before: hashlib._Hash) -> Iterator[bytes]:
    def stored() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                before.update(piece)
                yield piece

    return plain(path.name, stored())
