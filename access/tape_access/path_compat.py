"""Old scripts that open ``real/<window>.jsonl``, on hot and cold windows alike. Two lines at their beginning:

    from data_path_compat import auto_patch
    auto_patch()

Only relative paths under ``real/`` change their meaning; a folder ``real`` of the user is neither renamed nor hidden: what it holds comes
first. Windows of the root (``DataAccessor``) appear there as ``real/<slug>.jsonl``, plain whatever they were compressed with, and for
reading only. ``unpatch_all`` restores every function as it was.
"""

from __future__ import annotations

import builtins
import errno
import fnmatch
import functools
import glob
import io
import os
import re
import stat as modes
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tape_archive.format.errors import NotFound

if TYPE_CHECKING:
    from tape_access.accessor import DataAccessor

FOLDER = "real"
_MAGIC = re.compile(r"[*?[]")


class _Patches:
    """What is patched, by (module or class, name), and how it was."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.before: dict[tuple[Any, str], Any] = {}
        self.accessor: DataAccessor | None = None

    def put(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        with self.lock:
            if (owner, name) not in self.before:
                # As the class has it: a function of a class is another object each time it is asked for.
                self.before[owner, name] = original = vars(owner)[name]
                setattr(owner, name, functools.wraps(original)(make(original)))

    def undo(self) -> None:
        with self.lock:
            for (owner, name), original in self.before.items():
                setattr(owner, name, original)
            self.before.clear()
            self.accessor = None

    def data(self) -> DataAccessor:
        from tape_access.accessor import DataAccessor

        with self.lock:
            if self.accessor is None:
                self.accessor = DataAccessor()
            return self.accessor


_patches = _Patches()
#: inside of our own calls everything means what it always did
_inside = threading.local()


class _Plain:
    """While it lasts, this thread's calls are not patched."""

    def __enter__(self) -> None:
        _inside.depth = getattr(_inside, "depth", 0) + 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _inside.depth -= 1


def name_under(path: Any) -> str | None:
    """The name below ``real/`` that a path means (empty: the folder itself); None for every other path."""
    if getattr(_inside, "depth", 0) or isinstance(path, int) or path is None:
        return None
    try:
        text = os.fsdecode(path)
    except TypeError:
        return None
    if not text.startswith((FOLDER, "./")):
        return None
    parts = [part for part in text.replace(os.sep, "/").split("/") if part not in ("", ".")]
    if not parts or parts[0] != FOLDER or len(parts) > 2 or ".." in parts:
        return None
    return parts[1] if len(parts) == 2 else ""


def _own(name: str) -> bool:
    """Whether the user's own folder has it."""
    with _Plain():
        return os.path.lexists(os.path.join(FOLDER, name))  # noqa: PTH118


def _names() -> list[str]:
    """The windows, as file names."""
    with _Plain():
        try:
            return sorted(f"{slug}.jsonl" for slug in _patches.data().places.slugs())
        except NotFound:
            return []


def _there(name: str) -> bool:
    """Whether a window of that name is recorded. Nothing is fetched for it."""
    with _Plain():
        try:
            return name.endswith(".jsonl") and _patches.data().places.holds(name.removesuffix(".jsonl"))
        except NotFound:
            return False


def resolve(path: Any) -> Path | None:
    """The file of this machine that a path under ``real/`` means; None where it means what it says. Raises FileNotFoundError for a window
    that is not recorded, and what the accessor raises."""
    name = name_under(path)
    if not name or _own(name):
        return None
    if not _there(name):
        raise FileNotFoundError(errno.ENOENT, "no such window is recorded", os.fsdecode(path))
    with _Plain():
        return _patches.data().get_window_jsonl(name.removesuffix(".jsonl"))


# -- what is put in place of the functions -----------------------------------------------------------------------------------------


def _opening(original: Any) -> Any:
    def opened(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        found = name_under(file)
        writes = bool(found) and any(one in mode for one in "wax+")
        if found and writes and not _own(found):
            if _own("") and not _there(found):
                return original(file, mode, *args, **more)
            raise PermissionError(errno.EROFS, "windows are for reading only; write elsewhere than under real/", os.fsdecode(file))
        place = resolve(file)
        if place is None:
            return original(file, mode, *args, **more)
        with _Plain():
            return original(place, mode, *args, **more)

    return opened


def _stating(original: Any) -> Any:
    def stated(path: Any, *args: Any, **more: Any) -> Any:
        name = name_under(path) if more.get("dir_fd") is None else None
        if name is None or _own(name):
            return original(path, *args, **more)
        if not name:
            return _stat(modes.S_IFDIR | 0o555, 0, 0.0)
        if not _there(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path))
        with _Plain():
            known = _patches.data().places.size(name.removesuffix(".jsonl"))
            if known is not None:
                return _stat(modes.S_IFREG | 0o444, *known)
            return original(_patches.data().get_window_jsonl(name.removesuffix(".jsonl")))

    return stated


def _accessing(original: Any) -> Any:
    def may(path: Any, mode: int, **more: Any) -> Any:
        name = name_under(path) if more.get("dir_fd") is None else None
        if name is None or _own(name):
            return original(path, mode, **more)
        wanted = mode & ~(os.R_OK | (0 if name else os.X_OK))
        return wanted == os.F_OK and (not name or _there(name))

    return may


def _stat(mode: int, size: int, time: float) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, os.getuid(), os.getgid(), size, int(time), int(time), int(time)))


def _listing(original: Any) -> Any:
    def listed(path: Any = ".") -> Any:
        if name_under(path) != "":
            return original(path)
        own = original(path) if _own("") else []
        return [*own, *(name for name in _names() if name not in own)]

    return listed


class _Entry:
    """What ``os.scandir`` gives of a window."""

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self.path = f"{folder.rstrip('/')}/{name}"

    def __fspath__(self) -> str:
        return self.path

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return False

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return True

    def is_symlink(self) -> bool:
        return False

    def inode(self) -> int:
        return 0

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(self.path)  # noqa: PTH116


class _Entries:
    """Its iterator."""

    def __init__(self, entries: list[Any]) -> None:
        self._left = iter(entries)

    def __iter__(self) -> _Entries:
        return self

    def __next__(self) -> Any:
        return next(self._left)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._left = iter(())


def _scanning(original: Any) -> Any:
    def scanned(path: Any = ".") -> Any:
        if name_under(path) != "":
            return original(path)
        own: list[Any] = []
        if _own(""):
            with original(path) as entries:
                own = list(entries)
        names = {entry.name for entry in own}
        return _Entries([*own, *(_Entry(os.fsdecode(path), name) for name in _names() if name not in names)])

    return scanned


def _path_glob(original: Any) -> Any:
    def globbed(self: Path, pattern: str, *args: Any, **more: Any) -> Iterator[Path]:
        if name_under(self) != "" or "/" in pattern:
            return original(self, pattern, *args, **more)  # type: ignore[no-any-return]
        own = os.listdir(self) if _own("") else []  # noqa: PTH208
        return (self / name for name in dict.fromkeys([*fnmatch.filter(own, pattern), *matching(_names(), pattern)]))

    return globbed


def _globbing(original: Any) -> Any:
    def globbed(pathname: Any, *args: Any, **more: Any) -> Any:
        name = name_under(pathname)
        if not name or more.get("root_dir") or more.get("dir_fd"):
            return original(pathname, *args, **more)
        with _Plain():
            own = list(original(pathname, *args, **more))
        text = os.fsdecode(pathname)
        base = text[: len(text) - len(name)]
        found = [base + one for one in matching(_names(), name)]
        whole = [*own, *(one for one in found if one not in own)]
        return iter(whole) if original is _originals.get("iglob") else whole

    return globbed


_originals = {"iglob": glob.iglob}


def matching(names: list[str], pattern: str) -> list[str]:
    """The names that a pattern means. Files once were named ``<slug>_<start>_<date>_<time>.jsonl``: a pattern for these means
    ``<slug>.jsonl``."""
    if not _MAGIC.search(pattern):
        return [name for name in names if name == pattern]
    older = re.sub(r"_[^/]*\.jsonl$", ".jsonl", pattern)
    return [name for name in names if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, older)]


# -- what scripts call ---------------------------------------------------------------------------------------------------------------


def patch_glob(accessor: DataAccessor | None = None) -> None:
    """``glob``, ``os.listdir``, ``os.scandir`` and ``Path.glob`` see the windows under ``real/``."""
    _use(accessor)
    for name in ("glob", "iglob"):
        _patches.put(glob, name, _globbing)
    _patches.put(os, "listdir", _listing)
    _patches.put(os, "scandir", _scanning)
    _patches.put(Path, "glob", _path_glob)


def patch_open(accessor: DataAccessor | None = None) -> None:
    """``open``, ``os.stat`` and ``os.access`` read the windows under ``real/``: so do ``os.path.exists`` and its kind, ``Path`` and
    ``pandas.read_json``, which use these."""
    _use(accessor)
    _patches.put(builtins, "open", _opening)
    _patches.put(io, "open", _opening)
    _patches.put(os, "stat", _stating)
    _patches.put(os, "lstat", _stating)
    _patches.put(os, "access", _accessing)


def auto_patch(accessor: DataAccessor | None = None) -> None:
    """Both. ``accessor``: what is read; by default ``DataAccessor()``, made when it is first needed. Calling it again changes nothing but
    the accessor."""
    patch_open(accessor)
    patch_glob(accessor)


def unpatch_all() -> None:
    """Everything is as it was."""
    _patches.undo()


def _use(accessor: DataAccessor | None) -> None:
    if accessor is not None:
        _patches.accessor = accessor
