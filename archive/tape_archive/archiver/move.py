"""One file to its cold place: compress, write whole, read back, compare, enter in the manifest; only then is the hot copy deleted.

1. the compressed copy appears by rename        (killed before: nothing has changed)
2. it is read back: its sha256 and that of its content are compared
3. the manifest of its folder names it          (killed before: the next run finds the copy, and checks it again)
4. the hot manifest forgets the hot file, and it is deleted    (killed before: both are there and the same; the next run goes on)
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from tape_archive.archiver.plan import Move
from tape_archive.format import manifest
from tape_archive.format.atomic import failure, sync_folder, write_atomic
from tape_archive.format.compression import Compression, plain
from tape_archive.format.errors import Corrupt, NotFound, TapeError
from tape_archive.stores import LocalStore, Store

CHUNK = 1 << 20
#: files between two writes of a manifest
BATCH = 64
_IN_MEMORY = 32 << 20

_UNSEALED = manifest.Entry(name="", bytes=0, sha256="", lines=0, frames=0, first_ns=0, last_ns=0, gaps=0, sealed=False)


class Sizes(msgspec.Struct):
    """Of one file: as it was and as it is stored."""

    plain_bytes: int = 0
    plain_sha256: str = ""
    bytes: int = 0
    sha256: str = ""


class Moved(msgspec.Struct):
    """``why`` is empty for what was moved, and says what else happened."""

    name: str
    folder: str
    bytes: int
    stored: int
    why: str = ""


class Mover:
    """Hot windows of ``hot`` to ``folder`` of a store."""

    def __init__(self, hot: Path, target: Store, folder: str, compression: Compression, dry_run: bool = False) -> None:
        self.hot, self.target, self.folder = hot, target, folder
        self.compression = compression
        self.dry_run = dry_run

    def move(self, moves: Sequence[Move], told: Callable[[Moved], None]) -> None:
        """All of them, month by month. Raises StoreError, DiskFull: what was moved until then is told and complete."""
        for month in sorted({one.folder for one in moves}):
            some = [one for one in moves if one.folder == month]
            for at in range(0, len(some), BATCH):
                for moved in self._batch(month, some[at : at + BATCH]):
                    told(moved)

    def _batch(self, month: str, some: Sequence[Move]) -> list[Moved]:
        folder = f"{self.folder}/{month}" if self.folder else month
        hot = manifest.read(self.hot)
        cold = read_manifest(self.target, folder)
        done, copied, problem = [], {}, None
        for one in some:
            try:
                moved, entry = self._copy(folder, one, hot.get(one.name), cold)
            except TapeError as error:
                # What is copied by now is entered and deleted first.
                problem = error
                break
            done.append(moved)
            if entry is not None:
                copied[one.name] = entry
        if not self.dry_run and copied:
            cold |= {entry.name: entry for entry in copied.values()}
            write_manifest(self.target, folder, cold)
            forget(self.hot, list(copied))
        if problem is not None:
            raise problem
        return done

    def _copy(
        self, folder: str, one: Move, known: manifest.Entry | None, cold: dict[str, manifest.Entry]
    ) -> tuple[Moved, manifest.Entry | None]:
        source = self.hot / one.name
        name = one.name + self.compression.ending
        moved = Moved(one.name, folder, one.bytes, 0)
        before = _stamp(source)
        with staging(self.target) as file:
            sizes = recode(_pieces(source), self.compression, None if self.dry_run else file)
            moved.stored = sizes.bytes
            if known is not None and known.sha256 != sizes.plain_sha256:
                moved.why = "damaged: it is not what it was when it was sealed; it stays (see tape verify)"
                return moved, None
            slug = one.name.partition(".jsonl")[0]
            other = next((entry for entry in cold.values() if entry.name.partition(".jsonl")[0] == slug), None)
            if other is not None and (other.plain_sha256 or other.sha256) != sizes.plain_sha256:
                moved.why = f"another recording of it is archived as {other.name}; both stay"
                return moved, None
            if self.dry_run:
                return moved, None
            if other is not None and self._holds(f"{folder}/{other.name}", other, sizes):
                name, sizes = other.name, msgspec.structs.replace(sizes, bytes=other.bytes, sha256=other.sha256)
            elif other is not None and other.name != name:
                moved.why = f"its copy {other.name} in the archive is damaged: remove that one, then it is archived anew"
                return moved, None
            else:
                file.seek(0)
                self.target.put(f"{folder}/{name}", file)
                verify(self.target, f"{folder}/{name}", sizes)
        if _stamp(source) != before:
            moved.why = "it was written to while it was archived; it stays"
            return moved, None
        entry = known or other or _UNSEALED
        return moved, msgspec.structs.replace(entry, name=name, **msgspec.structs.asdict(sizes))

    def _holds(self, path: str, entry: manifest.Entry, sizes: Sizes) -> bool:
        """Whether an earlier run put it there already, whole."""
        wanted = msgspec.structs.replace(sizes, bytes=entry.bytes, sha256=entry.sha256)
        try:
            verify(self.target, path, wanted)
        except (Corrupt, NotFound):
            return False
        return True


def staging(target: Store) -> BinaryIO:
    """A nameless file for what is to be put into a store: in memory while it is small, then on the disk that it goes to."""
    folder = None
    if isinstance(target, LocalStore):
        folder = next(str(one) for one in (target.root, *target.root.absolute().parents) if one.is_dir())
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=folder)  # type: ignore[return-value]


def recode(pieces: Iterator[bytes], compression: Compression, into: BinaryIO | None) -> Sizes:
    """Compress plain pieces into a file (None: only measure)."""
    plain_sum, stored_sum, sizes = hashlib.sha256(), hashlib.sha256(), Sizes()

    def counted() -> Iterator[bytes]:
        for piece in pieces:
            plain_sum.update(piece)
            sizes.plain_bytes += len(piece)
            yield piece

    try:
        for packed in compression.pieces(counted()):
            stored_sum.update(packed)
            sizes.bytes += len(packed)
            if into is not None:
                into.write(packed)
    except OSError as error:
        raise failure(Path("what waits to be stored"), error) from None
    sizes.plain_sha256, sizes.sha256 = plain_sum.hexdigest(), stored_sum.hexdigest()
    return sizes


def verify(store: Store, path: str, wanted: Sizes, name: str = "") -> None:
    """Read a stored file back. Raises Corrupt if its bytes or its content are not what was written, NotFound. ``name``: the name that tells
    the compression, if that of the path does not."""
    stored_sum, plain_sum = hashlib.sha256(), hashlib.sha256()

    def counted() -> Iterator[bytes]:
        for piece in store.chunks(path):
            stored_sum.update(piece)
            yield piece

    for piece in plain(name or path, counted()):
        plain_sum.update(piece)
    if (stored_sum.hexdigest(), plain_sum.hexdigest()) != (wanted.sha256, wanted.plain_sha256):
        raise Corrupt(f"{store.url}/{path}: what was read back is not what was written; nothing was deleted")


def read_manifest(store: Store, folder: str) -> dict[str, manifest.Entry]:
    """Of a folder of a store; empty where there is none."""
    try:
        return manifest.parse(f"{store.url}/{folder}/{manifest.NAME}", store.read(f"{folder}/{manifest.NAME}"))
    except NotFound:
        return {}


def write_manifest(store: Store, folder: str, entries: dict[str, manifest.Entry]) -> None:
    """Replace it as a whole."""
    with tempfile.SpooledTemporaryFile(max_size=1 << 24) as file:
        file.write(b"".join(msgspec.json.encode(entries[name]) + b"\n" for name in sorted(entries)))
        file.seek(0)
        store.put(f"{folder}/{manifest.NAME}", file)  # type: ignore[arg-type]


def forget(folder: Path, names: Sequence[str]) -> None:
    """Delete files and their entries; the entries first, so that no manifest names what is not there."""
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = manifest.read(folder)
        if entries.keys() & set(names):
            left = [entry for name, entry in entries.items() if name not in names]
            write_atomic(folder / manifest.NAME, b"".join(msgspec.json.encode(one) + b"\n" for one in left))
        for name in names:
            (folder / name).unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise failure(folder, error) from None
    finally:
        os.close(lock)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise failure(path, error) from None
    return found.st_size, found.st_mtime_ns


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
    except OSError as error:
        raise failure(path, error) from None
