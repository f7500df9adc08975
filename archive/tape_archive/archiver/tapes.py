"""Raw tapes that are old enough: packed more strongly where they lie, or moved to another store.

A sealed segment is a zstd frame a second, so that it can be followed; packed it is one frame with a long window, the same bytes inside,
under the same name. Packing in place:

    1. the manifest learns what the segment holds (``plain_sha256``)
    2. the packed file replaces the segment by rename, after it was read back
    3. the manifest learns the new size and sha256      (killed before: the next run sees the sum of the content, and mends the entry)

A segment that a consumer's cursor still points into is left alone.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from tape_archive.archiver.move import CHUNK, Moved, Sizes, read_manifest, recode, verify, write_manifest
from tape_archive.archiver.plan import DAY
from tape_archive.format import cursor, manifest
from tape_archive.format.compression import Compression, plain
from tape_archive.format.errors import Corrupt, TapeError
from tape_archive.format.layout import Segment, segments
from tape_archive.stores import LocalStore, Store

HOUR = 3600


def old(root: Path, now: float, days: float) -> list[Segment]:
    """Sealed segments whose hour ended so many days ago, that no cursor points into."""
    held = _held(root)
    known: dict[Path, dict[str, manifest.Entry]] = {}
    found = []
    for segment in segments(root):
        if segment.hour // 1_000_000_000 + HOUR > now - days * DAY or str(segment.file.relative_to(root)) in held:
            continue
        folder = segment.file.parent
        if folder not in known:
            known[folder] = manifest.read(folder)
        entry = known[folder].get(segment.file.name)
        if entry is not None and entry.sealed:
            found.append(segment)
    return found


def _held(root: Path) -> set[str]:
    """What cursors name: their tapes are read on from a byte offset."""
    held: set[str] = set()
    for path in (root / "state").glob("*.cursor"):
        try:
            saved = cursor.load(path)
        except TapeError:
            continue
        held |= set(saved.tapes) if saved else set()
    return held


class Packer:
    """``target`` None: in place."""

    def __init__(self, root: Path, target: Store | None, compression: Compression, dry_run: bool = False) -> None:
        self.root, self.target = root, target
        self.compression = Compression("zstd", compression.level if compression.kind == "zstd" else 0)
        self.dry_run = dry_run
        self._local = LocalStore(root)

    def pack(self, found: Sequence[Segment], told: Callable[[Moved], None]) -> None:
        """All of them. Raises StoreError, DiskFull."""
        for segment in found:
            told(self._one(segment))

    def _one(self, segment: Segment) -> Moved:
        path = segment.file
        folder = str(path.parent.relative_to(self.root))
        entry = manifest.read(path.parent)[path.name]
        size = path.stat().st_size
        moved = Moved(f"{folder}/{path.name}", folder, size, size)
        if self.target is None and entry.plain_sha256 and entry.bytes == size:
            moved.why = "packed already"
            return moved
        with tempfile.TemporaryFile() as file:
            before = hashlib.sha256()
            sizes = recode(_content(path, before), self.compression, None if self.dry_run else file)
            moved.stored = sizes.bytes
            whole = entry.plain_sha256 == sizes.plain_sha256 if entry.plain_sha256 else entry.sha256 == before.hexdigest()
            if not whole:
                moved.why = "damaged: it is not what it was when it was sealed; it stays (see tape verify)"
                return moved
            if not self.dry_run:
                self._put(path, f"{folder}/{path.name}", entry, sizes, file)
        return moved

    def _put(self, path: Path, name: str, entry: manifest.Entry, sizes: Sizes, file: object) -> None:
        new = msgspec.structs.replace(entry, **msgspec.structs.asdict(sizes))
        file.seek(0)  # type: ignore[attr-defined]
        if self.target is None:
            manifest.put(path.parent, msgspec.structs.replace(entry, plain_bytes=sizes.plain_bytes, plain_sha256=sizes.plain_sha256))
            aside = f"{name}.packed"
            self._local.put(aside, file)  # type: ignore[arg-type]
            try:
                verify(self._local, aside, sizes, name)
            except Corrupt:
                self._local.delete(aside)
                raise
            (self.root / aside).replace(path)
            manifest.put(path.parent, new)
            return
        self.target.put(name, file)  # type: ignore[arg-type]
        verify(self.target, name, sizes)
        folder = name.rpartition("/")[0]
        write_manifest(self.target, folder, read_manifest(self.target, folder) | {new.name: new})
        from tape_archive.archiver.move import forget

        forget(path.parent, [path.name])


def _content(path: Path, before: hashlib._Hash) -> Iterator[bytes]:
    def stored() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                before.update(piece)
                yield piece

    return plain(path.name, stored())
