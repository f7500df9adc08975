"""Copies of files of a store on this machine, brought up to date: what is equal is skipped, what has grown is appended to, what was cut off
goes on where it stopped.

A file that was brought before is equal when its size and time there are those of then, and its size here too. One that nobody brought is
equal when sizes and its first, middle and last 64 KiB agree (``checksum``: the sha256 of all of it). Files that are appended to (CSV,
JSONL) get whole lines only, after their last 64 KiB were compared; if these differ the file is fetched anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tape_archive.format.atomic import failure, make_folder, write_atomic
from tape_archive.format.errors import StoreUnavailable
from tape_archive.stores import Entry, Store

log = logging.getLogger(__name__)
STATE = ".sync.json"
_BLOCK = 65_536
_LINES = (".csv", ".jsonl")


class Synced(msgspec.Struct):
    """One file. ``how``: same, new, grown, anew (it was another file), resumed. ``fetched``: bytes that travelled for it."""

    path: str
    bytes: int
    fetched: int
    how: str


class _Known(msgspec.Struct):
    """Of each path: size and time there when it was brought, and size here. ``parts``: of which file a part is."""

    files: dict[str, tuple[int, int, int]] = {}
    parts: dict[str, tuple[int, int]] = {}


def find(store: Store, folder: str, wanted: Callable[[Entry], bool] = lambda entry: True) -> list[Entry]:
    """The files below a folder. ``wanted`` is asked for folders too. Names that begin with a dot are those of tools (ours as well); names
    that are no text, or steer a terminal, are left out with a warning. Raises NotFound."""
    found = []
    for entry in store.list(folder):
        if entry.name.startswith(".") or not wanted(entry):
            continue
        if not entry.name.isprintable() or "\\" in entry.name:
            log.warning("%s: %s is left out: no recorder names a file so", store.url, ascii(entry.path))
            continue
        found += find(store, entry.path, wanted) if entry.folder else [entry]
    return found


class Sync:
    """``here`` mirrors the store's paths. Safe to kill; one process at a time."""

    def __init__(self, store: Store, here: Path, *, checksum: bool = False, moved: Callable[[int], None] = lambda count: None) -> None:
        self.store, self.here = store, here
        self._checksum = checksum
        self._moved = moved
        self._fetched = 0
        try:
            self._known = msgspec.json.decode((here / STATE).read_bytes(), type=_Known)
        except (OSError, msgspec.DecodeError):
            self._known = _Known()

    def bring(self, entry: Entry) -> Synced:
        """One file. Raises StoreUnavailable (what came until then is kept), DiskFull, NotFound."""
        self._fetched = 0
        path = self.here / entry.path
        make_folder(path.parent)
        try:
            how = self._how(entry, path)
        except OSError as error:
            raise failure(path, error) from None
        self._known.files[entry.path] = entry.bytes, entry.mtime_ns, path.stat().st_size
        if how != "same":
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
            self.save()
        return Synced(entry.path, entry.bytes, self._fetched, how)

    def save(self) -> None:
        """Remember what is here."""
        write_atomic(self.here / STATE, msgspec.json.encode(self._known), durable=False)

    def would(self, entry: Entry) -> str:
        """What ``bring`` would do, by sizes and times alone."""
        path = self.here / entry.path
        size = path.stat().st_size if path.exists() else -1
        if self._known.files.get(entry.path) == (entry.bytes, entry.mtime_ns, size):
            return "same"
        return (
            "new"
            if size < 0
            else "grown"
            if entry.path.endswith(_LINES) and size < entry.bytes
            else "same"
            if size == entry.bytes
            else "anew"
        )

    # -- one file --------------------------------------------------------------------------------------------------------

    def _how(self, entry: Entry, path: Path) -> str:
        size = path.stat().st_size if path.exists() else -1
        if size >= 0 and self._known.files.get(entry.path) == (entry.bytes, entry.mtime_ns, size):
            return "same"
        if size == entry.bytes and self._equal(entry, path):
            return "same"
        if 0 < size < entry.bytes and entry.path.endswith(_LINES) and self._begins(entry, path, size):
            self._append(entry, path, size)
            return "grown"
        resumed = self._whole(entry, path)
        return "resumed" if resumed else "new" if size < 0 else "anew"

    def _equal(self, entry: Entry, path: Path) -> bool:
        spans = (
            [(0, entry.bytes)] if self._checksum else [(at, _BLOCK) for at in {0, max(0, entry.bytes // 2), max(0, entry.bytes - _BLOCK)}]
        )
        return all(self._same_span(entry, path, at, count) for at, count in spans)

    def _begins(self, entry: Entry, path: Path, size: int) -> bool:
        """Whether the file there begins with what is here."""
        at = max(0, size - _BLOCK)
        return self._same_span(entry, path, at, size - at)

    def _same_span(self, entry: Entry, path: Path, at: int, count: int) -> bool:
        if self._checksum and count > _BLOCK:
            theirs = hashlib.sha256()
            for chunk in self._chunks(entry, at):
                theirs.update(chunk)
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == theirs.digest()
        content = self.store.read(entry.path, at, count)
        self._count(len(content))
        with path.open("rb") as file:
            file.seek(at)
            return file.read(count) == content

    def _append(self, entry: Entry, path: Path, size: int) -> None:
        """New whole lines; a reader never sees half of one."""
        tail = bytearray()
        with path.open("ab") as file:
            for chunk in self._chunks(entry, size):
                tail += chunk
                if (end := tail.rfind(b"\n") + 1) > 0:
                    file.write(tail[:end])
                    file.flush()
                    del tail[:end]

    def _whole(self, entry: Entry, path: Path) -> bool:
        """Into a part beside it, by which a later run goes on; gives whether this one did."""
        part = path.with_name(f".{path.name}.part")
        identity = entry.bytes, entry.mtime_ns
        size = part.stat().st_size if part.exists() else 0
        goes_on = 0 < size <= entry.bytes and self._known.parts.get(entry.path) == identity and self._begins(entry, part, size)
        self._known.parts[entry.path] = identity
        self.save()
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in self._chunks(entry, size if goes_on else 0):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if path.suffix in _LINES:
            _cut(part)
        part.replace(path)
        del self._known.parts[entry.path]
        return goes_on

    def _chunks(self, entry: Entry, at: int) -> Iterator[bytes]:
        """Up to the size that was listed: what is written meanwhile comes next time."""
        left = entry.bytes - at
        for chunk in self.store.chunks(entry.path, at, entry.bytes):
            self._count(min(len(chunk), left))
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return
        if left > 0:
            raise StoreUnavailable(f"{self.store.url}/{entry.path} became shorter while it was read; try again")

    def _count(self, count: int) -> None:
        self._fetched += count
        self._moved(count)


def _cut(path: Path) -> None:
    """End at the last whole line."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        at = size
        while at > 0:
            begin = max(0, at - _BLOCK)
            file.seek(begin)
            end = file.read(at - begin).rfind(b"\n")
            if end >= 0:
                file.truncate(begin + end + 1)
                return
            at = begin
        with contextlib.suppress(OSError):
            file.truncate(0)
