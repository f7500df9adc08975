"""One writer for each tape: ``state/<name>.lock``, held with flock for the life of the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from tape_archive.format.atomic import failure, make_folder
from tape_archive.format.errors import Busy


class Lock:
    """Raises Busy, naming the pid, if another process holds it. ``busy``: what that means, and ``fix``: what to do."""

    def __init__(self, path: Path, busy: str = "already recording here", fix: str = "stop it first, or choose another --root") -> None:
        self.path = path
        self._busy = busy
        self._fix = fix
        self._fd = -1

    def __enter__(self) -> Lock:
        make_folder(self.path.parent)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise failure(self.path, error) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            self._fd = -1
            raise Busy(f"{self._busy}: process {pid} holds {self.path}; {self._fix}") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def held(path: Path) -> bool:
    """Whether a process holds this lock now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise failure(path, error) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
