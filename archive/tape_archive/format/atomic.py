"""Whole files: temporary name in the same folder, write, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tape_archive.format.errors import DiskFull, StoreDenied, StoreError, TapeError

_TEMPORARY = re.compile(r"^\..+\.(\d+)\.tmp$")


def failure(path: Path, error: OSError) -> TapeError:
    """The error of ours that tells what an OSError means for a file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"{path}: {error.strerror}; free some space, nothing written before is lost")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreDenied(f"cannot write {path}: {error.strerror}; choose another folder or give this user the right to write there")
    return StoreError(f"{path}: {error.strerror}")


def make_folder(path: Path) -> None:
    """The folder and its parents, each lasting in the one above it."""
    try:
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in made:
            sync_folder(folder.parent)
    except OSError as error:
        told = failure(path, error)
        if type(told) is StoreError:
            raise StoreError(f"cannot make the folder {path}: {error.strerror}; choose another one") from None
        raise told from None


def sync_folder(path: Path) -> None:
    """Make names in a folder last."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file as a whole: a reader sees the old or the new. Raises DiskFull or another StoreError."""
    write_atomic_by(path, lambda file: file.write(content), durable=durable)


def write_atomic_by(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """The same for content that is too large to be in memory; what ``write`` itself raises passes, and leaves no file."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise failure(path, error) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> int:
    """Remove temporary files of processes that live no more; gives how many."""
    removed = 0
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        match = _TEMPORARY.match(path.name)
        if match and not Path(f"/proc/{match[1]}").exists() and not _alive(int(match[1])):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
