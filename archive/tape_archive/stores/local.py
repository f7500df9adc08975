"""A folder of this machine, or one that is mounted."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
import stat as modes
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tape_archive.format.atomic import failure, make_folder, sync_folder
from tape_archive.format.errors import NotFound, StoreDenied, StoreUnavailable, TapeError
from tape_archive.stores.store import CHUNK, Entry, hidden, inside, there


class LocalStore:
    """Files under a folder. Links inside it are followed as long as they stay inside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def stat(self, path: str) -> Entry:
        """See Store."""
        try:
            return _entry(inside(path), self._path(path).stat())
        except OSError as error:
            raise _failure(self.root / path, error) from None

    def stats(self, paths: Sequence[str]) -> builtins.list[Entry | None]:
        """See Store."""
        return [there(self.stat, path) for path in paths]

    def list(self, folder: str = "") -> list[Entry]:
        """See Store."""
        folder = inside(folder)
        found = []
        try:
            with os.scandir(self._path(folder)) as entries:
                for entry in entries:
                    if hidden(entry.name) or (entry.is_symlink() and not self._kept(Path(entry.path))):
                        continue
                    try:
                        found.append(_entry(f"{folder}/{entry.name}" if folder else entry.name, entry.stat()))
                    except FileNotFoundError:
                        continue
        except OSError as error:
            raise _failure(self.root / folder, error) from None
        return sorted(found, key=lambda entry: entry.path)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        try:
            with self._path(path).open("rb") as file:
                file.seek(offset)
                return file.read(-1 if length is None else length)
        except OSError as error:
            raise _failure(self.root / path, error) from None

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """See Store."""
        try:
            with self._path(path).open("rb") as file:
                file.seek(offset)
                while chunk := file.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise _failure(self.root / path, error) from None

    def put(self, path: str, source: BinaryIO) -> Entry:
        """See Store."""
        target = self._path(path)
        make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{threading.get_native_id()}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                shutil.copyfileobj(source, file, CHUNK)
                file.flush()
                os.fsync(file.fileno())
                entry = _entry(inside(path), os.fstat(file.fileno()))
            temporary.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise failure(target, error) from None
        finally:
            temporary.unlink(missing_ok=True)
        return entry

    def delete(self, path: str) -> None:
        """See Store."""
        target = self._path(path)
        try:
            target.unlink(missing_ok=True)
            if target.parent.is_dir():
                sync_folder(target.parent)
        except OSError as error:
            raise _failure(target, error) from None

    def close(self) -> None:
        """See Store: there is nothing to let go of."""

    def _path(self, path: str) -> Path:
        found = self.root / inside(path)
        if not self._kept(found):
            raise StoreDenied(f"{found} is a link that leads out of {self.root}; it is refused")
        return found

    def _kept(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.root.resolve())


def _entry(path: str, stat: os.stat_result) -> Entry:
    return Entry(path, stat.st_size, stat.st_mtime_ns, modes.S_ISDIR(stat.st_mode))


def _failure(path: Path, error: OSError) -> TapeError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"{path} is not there")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StoreDenied(f"cannot read {path}: {error.strerror}; ask its owner for the right to read it")
    return StoreUnavailable(f"cannot reach {path}: {error.strerror}")
