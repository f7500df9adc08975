"""Files that were fetched, kept on this machine: bounded in bytes, least recently used first out, shared by any number of processes.

    <folder>/YYYY-MM/<name>            the file, as a strategy reads it
    <folder>/YYYY-MM/.<name>.sum       its bytes and sha256, and when it was fetched
    <folder>/files/...                 series and ticks, as ``sync`` keeps them; they count, and are evicted like the others
    <folder>/.live/<name>              windows that still grow: whole lines so far; they count, and are evicted as well

Rules:

1. A file appears whole, by rename; nobody ever sees a part.
2. When a file was last used is its access time, which is set here and never left to the mount: the order survives restarts.
3. Nothing is given before its sha256 was compared with what was fetched: once a process, and again when the file changed meanwhile.
4. One process fetches a file, the others wait for it.
5. Room is made before a file is stored, under one lock: the bound holds at every moment. A file that somebody pins (a shared lock on it)
   is not evicted, nor is any below ``files`` while somebody reads there (``reading``).
6. What a process that was killed left in the making is removed by the next that stores.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import msgspec

from tape_archive.format.atomic import failure, sweep
from tape_archive.format.errors import DiskFull, SettingsError

MEGABYTE = 1024 * 1024
#: locks for fetching: names share them, so that no lock file has to be removed
_LANES = 256
LIVE, FILES = ".live", "files"
#: the access time need not be newer than this to tell what was used last
_USED_NS = 1_000_000_000


class Sum(msgspec.Struct, frozen=True):
    """What was stored: ``bytes`` and ``sha256`` of the file, ``fetched`` unix seconds, ``source`` where it came from."""

    bytes: int
    sha256: str
    fetched: float
    source: str = ""


class Cache:
    """``limit`` in bytes. Safe for threads and processes."""

    def __init__(self, folder: Path, limit: int) -> None:
        if limit <= 0:
            raise SettingsError(f"cache of {limit} bytes: expected more than nothing")
        self.folder = folder
        self.limit = limit
        self.hits = 0
        self.misses = 0
        self._checked: dict[str, tuple[int, int, int]] = {}
        self._used: dict[str, int] = {}
        self._pins = threading.local()
        self._swept = False
        self._paths: dict[str, Path] = {}
        self._under = f"{folder}/"

    # -- reading ---------------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Path | None:
        """A stored file, verified (rule 3) and marked as used; None if there is none. One that is damaged is removed."""
        if (path := self._paths.get(name)) is None:
            # Made once: they cost more than asking the file system.
            path = self._paths[name] = self.folder / name
        try:
            seen = os.stat(path)  # noqa: PTH116
        except OSError:
            return None
        identity = seen.st_size, seen.st_mtime_ns, seen.st_ino
        if self._checked.get(name) != identity:
            if not self._sound(path):
                return None
            self._checked[name] = identity
        now = time.time_ns()
        if now - self._used.get(name, 0) > _USED_NS:
            self._used[name] = now
            with contextlib.suppress(OSError):
                os.utime(path, ns=(now, seen.st_mtime_ns))
        return path

    def fetched(self, name: str) -> float:
        """When a stored file was fetched, unix seconds; 0.0 if nobody knows."""
        known = self._sum(self.folder / name)
        return known.fetched if known else 0.0

    def _sound(self, path: Path) -> bool:
        known = self._sum(path)
        try:
            with path.open("rb") as file:
                good = known is not None and hashlib.file_digest(file, "sha256").hexdigest() == known.sha256
        except OSError:
            return False
        if not good:
            _remove(path)
        return good

    def _sum(self, path: Path) -> Sum | None:
        try:
            return msgspec.json.decode(_beside(path).read_bytes(), type=Sum)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    # -- storing ---------------------------------------------------------------------------------------------------------

    def fill(self, name: str, fetch: Callable[[], bytes], source: str = "") -> Path:
        """The stored file; if it is not there, ``fetch`` gives its content and it is stored (rule 4). Raises what ``fetch`` raises, and
        DiskFull (with the content as ``.content``)."""
        with self.lane(name):
            if (path := self.get(name)) is not None:
                self.hits += 1
                return path
            self.misses += 1
            content = fetch()
            try:
                return self._store(name, content, source)
            except DiskFull as error:
                raise Homeless(str(error), content) from None

    def _store(self, name: str, content: bytes, source: str) -> Path:
        path = self.folder / name
        if len(content) > self.limit:
            raise DiskFull(f"{name} has {len(content):,} bytes, the cache may hold {self.limit:,}: give it more (cache_max_size_mb)")
        known = Sum(len(content), hashlib.sha256(content).hexdigest(), time.time(), source)
        with self._locked():
            self._make_room(len(content))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(_beside(path), msgspec.json.encode(known))
                _write(path, content)
            except OSError as error:
                with contextlib.suppress(OSError):
                    _remove(path)
                raise failure(path, error) from None
        with contextlib.suppress(OSError):
            seen = path.stat()
            self._checked[name] = seen.st_size, seen.st_mtime_ns, seen.st_ino
        return path

    def follow(self, path: Path, content: bytes) -> None:
        """What a window that still grows holds by now, instead of what it held before; as a whole. Raises ``Homeless``."""
        try:
            with self._locked():
                before = path.stat().st_size if path.exists() else 0
                self._make_room(len(content) - before, {path})
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _write(path, content)
                except OSError as error:
                    raise failure(path, error) from None
        except DiskFull as error:
            raise Homeless(str(error), content) from None

    def _make_room(self, need: int, keep: Collection[Path] = ()) -> None:
        """Rules 5 and 6; under the lock."""
        if not self._swept:
            self._swept = True
            self._sweep()
        files = sorted(self._files(), key=lambda one: one[0])
        total = sum(size for _, size, _ in files)
        if total + need <= self.limit:
            return
        with self._nobody_reads() as free:
            for _, size, path in files:
                if total + need <= self.limit:
                    return
                if path not in keep and (free or not self._is_copy(path)) and _evict(path):
                    total -= size
        if total + need > self.limit:
            raise DiskFull(f"the cache {self.folder} is full of files that are being read; give it more (cache_max_size_mb)")

    def room(self, need: int, keep: Collection[Path] = ()) -> None:
        """Make room for a file that somebody else stores below ``files``; those of ``keep`` stay. Raises DiskFull."""
        with self._locked():
            self._make_room(need, keep)

    def _is_copy(self, path: Path) -> bool:
        return path.is_relative_to(self.folder / FILES)

    def _sweep(self) -> None:
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            sweep(folder)

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """(last used, bytes, path) of what is stored."""
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            if (folder.name.startswith(".") and folder.name != LIVE) or not folder.is_dir():
                continue
            for path in folder.rglob("*"):
                if not path.name.startswith(".") or path.suffix == ".part":
                    with contextlib.suppress(OSError):
                        seen = path.stat()
                        if stat.S_ISREG(seen.st_mode):
                            yield seen.st_atime_ns, seen.st_size, path

    # -- pins ------------------------------------------------------------------------------------------------------------

    def holds(self, path: Path) -> bool:
        """Whether a file is one of the cache."""
        return str(path).startswith(self._under)

    def pin(self, path: Path) -> Pin | None:
        """Hold a file: while the pin lives it is not evicted. None if the file is gone."""
        try:
            pin = Pin(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            fcntl.flock(pin.fd, fcntl.LOCK_SH)
            pin.path, pin.inode = path, os.fstat(pin.fd).st_ino
            # It may have been evicted between the two calls.
            return pin if pin.holds(path) else None
        except OSError:
            return None

    def keep(self, path: Path) -> bool:
        """Pin what this thread was given last, instead of what it was given before: who gets a path has the time to open it."""
        last = getattr(self._pins, "last", None)
        if last is not None and last.path is path and last.holds(path):
            return True
        pin = self.pin(path)
        self._pins.last = pin
        return pin is not None

    # -- for people ------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, object]:
        """The brief's keys: cache_dir, file_count, total_size_mb, max_size_mb, usage_percent; and hits, misses of this process."""
        sizes = [size for _, size, _ in self._files()]
        return {
            "cache_dir": str(self.folder),
            "file_count": len(sizes),
            "total_size_mb": sum(sizes) / MEGABYTE,
            "max_size_mb": self.limit / MEGABYTE,
            "usage_percent": 100.0 * sum(sizes) / self.limit,
            "hits": self.hits,
            "misses": self.misses,
        }

    # -- locks -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self, name: str = "lock", how: int = fcntl.LOCK_EX) -> Iterator[bool]:
        """Gives whether the lock is held: always, unless ``how`` says not to wait."""
        try:
            folder = self.folder / ".locks"
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise failure(self.folder, error) from None
        try:
            held = True
            try:
                fcntl.flock(fd, how)
            except BlockingIOError:
                held = False
            yield held
        finally:
            os.close(fd)

    def lane(self, name: str) -> contextlib.AbstractContextManager[None]:
        """One at a time, of all processes, brings a file of this name."""
        return self._waited(f"{int(hashlib.sha256(name.encode()).hexdigest(), 16) % _LANES:02x}")

    def bringing(self) -> contextlib.AbstractContextManager[None]:
        """One at a time, of all processes, writes below ``files``."""
        return self._waited("bring")

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """While it lasts nothing below ``files`` is evicted."""
        return self._waited("read", fcntl.LOCK_SH)

    @contextlib.contextmanager
    def _waited(self, name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            # Where there is no room for a lock there is none for what it guards.
            with contextlib.suppress(DiskFull):
                held.enter_context(self._locked(name, how))
            yield

    def _nobody_reads(self) -> contextlib.AbstractContextManager[bool]:
        return self._locked("read", fcntl.LOCK_EX | fcntl.LOCK_NB)


class Pin:
    """A shared lock on a stored file; it ends with the object, the thread or the process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.path = Path()
        self.inode = 0

    def holds(self, path: Path) -> bool:
        """Whether the file of that name is still the one that is pinned."""
        try:
            return os.stat(path).st_ino == self.inode  # noqa: PTH116
        except OSError:
            return False

    def __del__(self) -> None:
        os.close(self.fd)


class Homeless(DiskFull):
    """Fetched, but there is no room to store it."""

    def __init__(self, message: str, content: bytes) -> None:
        super().__init__(message)
        self.content = content


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.sum")


def _remove(path: Path) -> None:
    for one in (path, _beside(path)):
        one.unlink(missing_ok=True)


def _evict(path: Path) -> bool:
    """Remove a file unless somebody pins it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno == errno.ENOENT
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _write(path: Path, content: bytes) -> None:
    """Whole, by rename. Not fsynced: after a power cut the sha256 tells, and it is fetched again."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
