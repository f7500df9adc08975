"""Where windows lie, and how one gets to them: hot files, then the cache, then the archive, here or on another machine."""

from __future__ import annotations

import bisect
import functools
import os
import stat as modes
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tape_access.cache import Cache
from tape_access.catalog import Stored
from tape_access.prefetch import Prefetch
from tape_access.remote import Remote, decompressed
from tape_archive.format.errors import NotFound, SettingsError, StoreDenied, StoreUnavailable
from tape_archive.format.layout import element, name_of
from tape_archive.format.layout import windows as window_files

if TYPE_CHECKING:
    from tape_collectors.venues.polymarket.symbols import Window as Named

#: a folder that changed so lately may change again without its time telling
_FRESH_NS = 2_000_000_000
Kind = tuple[str, str]


class Window(msgspec.Struct, frozen=True, order=True):
    """One recorded window. ``start`` and ``end`` in epoch seconds; ``path`` where it lies: a path here, or a URL."""

    start: int
    end: int
    coin: str
    timeframe: str
    slug: str
    path: str


class Places:
    """``root`` None: nothing is read on this machine itself (it is a mount, which is read as ``remote``)."""

    def __init__(self, root: Path | None, hot: str, cache: Cache, remote: Remote | None, prefetch: int) -> None:
        self.root, self.hot, self.cache, self.remote = root, hot, cache, remote
        self._lock = threading.Lock()
        self._files: dict[str, Path] = {}
        self._seen: tuple[tuple[str, int], ...] = ()
        self._version = 0
        self._listed: tuple[tuple[int, int], set[str]] = ((-1, -1), set())
        self._starts: dict[Kind, list[int]] = {}
        self._names: dict[str, Named | None] = {}
        self._prefetch: dict[Kind, Prefetch] = {}
        self._count = prefetch

    # -- which windows there are -----------------------------------------------------------------------------------------

    def windows(self, fresh: bool = True) -> list[Window]:
        """All of them, by start. Raises NotFound where no window ever was recorded, StoreDenied, StoreUnavailable."""
        far = self._look(fresh)
        paths = {slug: f"{self._url()}/{one.path}" for slug, one in far.items()} | {slug: str(path) for slug, path in self._files.items()}
        named = ((self._parsed(slug), path) for slug, path in paths.items())
        return sorted(Window(one.start, one.end, one.coin, one.timeframe, one.slug, path) for one, path in named if one is not None)

    def starts(self, kind: Kind, fresh: bool = True) -> list[int]:
        """Of one coin and time frame, rising."""
        far = self._look(fresh)
        version = self._version, self.remote.catalog.version if self.remote else 0
        with self._lock:
            if self._listed[0] != version:
                there = far.keys() | self._files.keys()
                self._sort(there - self._listed[1], self._listed[1] - there)
                self._listed = version, there
            return self._starts.get(kind, [])

    def _sort(self, new: set[str], gone: set[str]) -> None:
        """Only what changed, into new lists: somebody may be walking along the old ones."""
        changed: dict[Kind, tuple[set[int], set[int]]] = {}
        for some, which in ((new, 0), (gone, 1)):
            for slug in some:
                if (one := self._parsed(slug)) is not None:
                    changed.setdefault((one.coin, one.timeframe), (set(), set()))[which].add(one.start)
        for kind, (more, less) in changed.items():
            kept = [start for start in self._starts.get(kind, []) if start not in less] if less else self._starts.get(kind, [])
            # Two sorted runs: sort() merges them.
            self._starts[kind] = sorted([*kept, *sorted(more)])

    def _look(self, fresh: bool) -> dict[str, Stored]:
        there = self._here()
        if self.remote is not None:
            return self.remote.windows() if fresh else self.remote.catalog.windows
        if not there:
            assert self.root is not None
            raise NotFound(
                f"no window is recorded: {self.root.absolute()} has neither {self.hot} nor real_archive; is it the --root of poly-record? "
                "Where that is on another machine: set VPS_HOST and VPS_USER, or TAPE_REMOTE"
            )
        return {}

    def slugs(self) -> set[str]:
        """What is recorded, windows and other files of the hot folder, by the names of their files."""
        far = self._look(True)
        return {slug for slug in (*far, *self._files) if self._parsed(slug) is not None}

    def holds(self, slug: str) -> bool:
        """Whether a window is recorded. Nothing is fetched."""
        far = self._look(True)
        return (slug in far or slug in self._files) and self._parsed(slug) is not None

    def size(self, slug: str) -> tuple[int, float] | None:
        """Bytes of a window's plain content and unix seconds of its end, where that is known without fetching it."""
        window = self._parsed(slug)
        if slug in self._files or self.remote is None or window is None:
            return None
        known = self._look(True).get(slug)
        if known is None or not known.sealed:
            return None
        plain = known.plain_bytes or (known.bytes if known.name.endswith(".jsonl") else 0)
        return (plain, float(window.end)) if plain else None

    def _parsed(self, slug: str) -> Named | None:
        """What a slug names; None for files that are no windows. Slugs are read once: there may be a hundred thousand."""
        from tape_collectors.venues.polymarket.symbols import parse

        if slug not in self._names:
            try:
                self._names[slug] = parse(slug)
            except SettingsError:
                self._names[slug] = None
        return self._names[slug]

    def _url(self) -> str:
        return self.remote.store.url if self.remote else ""

    def _here(self) -> bool:
        """Look at the folders of this machine; gives whether any is there. Unchanged ones are not listed again."""
        if self.root is None:
            return False
        hot, cold = self.root / self.hot, self.root / "real_archive"
        folders = [hot, *sorted(path for path in (cold.iterdir() if reachable(cold) else ()) if path.is_dir())]
        seen = tuple((str(path), path.stat().st_mtime_ns) for path in folders if reachable(path))
        now = time.time_ns()
        with self._lock:
            if seen != self._seen or any(now - at < _FRESH_NS for _, at in seen):
                files = {name_of(path.name.partition(".jsonl")[0]): path for path in window_files(self.root, self.hot)}
                if files != self._files:
                    self._files, self._version = files, self._version + 1
                self._seen = seen
        return bool(seen) or cold.is_dir()

    # -- one window ------------------------------------------------------------------------------------------------------

    def file(self, slug: str, start: int, *, plain: bool) -> Path:
        """The window's file on this machine. ``plain``: as JSONL whatever it was compressed with. Raises NotFound, StoreUnavailable,
        Corrupt, ``cache.Homeless``."""
        name, month = _names(slug, start)
        # Strings: making paths is half of what a window costs that is at hand.
        if self.root is not None and _is_file(hot := f"{self.root}/{self.hot}/{name}"):
            return Path(hot)
        if plain and (cached := self.cache.get(f"{month}/{name}")) is not None:
            self.cache.hits += 1
            return cached
        for ending in ("", ".zst", ".gz") if self.root is not None else ():
            assert self.root is not None
            cold = self.root / "real_archive" / month / (name + ending)
            if _is_file(str(cold)):
                return self._opened(f"{month}/{name}", cold) if plain and ending else cold
        if self.remote is None:
            raise NotFound(f"{slug} is not recorded under {self.root}")
        return self.remote.path(slug, month)

    def _opened(self, name: str, cold: Path) -> Path:
        try:
            return self.cache.fill(name, lambda: decompressed(cold.name, cold.read_bytes()), str(cold))
        except PermissionError as error:
            raise StoreDenied(f"cannot read {cold}: {error.strerror}; ask its owner for the right to read it") from None

    @property
    def names(self) -> str:
        """Where was looked, for people."""
        here = [str(self.root / self.hot)] if self.root is not None else []
        return " or ".join([*here, *([self.remote.store.url] if self.remote else [])])

    def near(self, kind: Kind, start: int) -> int | None:
        """The recorded start that is nearest to one that is not recorded."""
        known = self.starts(kind)
        if not known:
            return None
        at = bisect.bisect_left(known, start)
        return min(known[max(0, at - 1) : at + 1], key=lambda one: abs(one - start))

    # -- ahead -----------------------------------------------------------------------------------------------------------

    def walked(self, kind: Kind, start: int) -> None:
        """A strategy asked for this window: fetch what it will want next."""
        if self.remote is None or self._count <= 0:
            return
        one = self._prefetch.get(kind)
        if one is None:
            one = self._prefetch[kind] = Prefetch(
                self._count, lambda at: self._bring(kind, at), lambda: self._known(kind), self.remote.pool
            )
        one.asked(start)

    def soon(self, kind: Kind, start: int) -> None:
        """Bring one window, in the background."""
        if self.remote is not None:
            self.remote.pool.submit(lambda: self._bring(kind, start))

    def _known(self, kind: Kind) -> Sequence[int]:
        try:
            return self.starts(kind, fresh=False)
        except (NotFound, StoreUnavailable, StoreDenied):
            return ()

    def _bring(self, kind: Kind, start: int) -> None:
        from tape_archive.format.errors import TapeError
        from tape_collectors.venues.polymarket.symbols import at

        try:
            self.file(at(*kind, start).slug, start, plain=True)
        except TapeError:
            # Who asks for it later is told.
            return


def reachable(folder: Path) -> bool:
    """Whether a folder is there. Raises StoreDenied or StoreUnavailable where nobody can tell: a mount that is gone is no empty folder."""
    try:
        with os.scandir(folder):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise StoreDenied(f"cannot read {folder}: {error.strerror}; ask its owner for the right to read it") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot reach {folder}: {error.strerror}; is it mounted?") from None


def _is_file(path: str) -> bool:
    try:
        return modes.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise StoreDenied(f"cannot read {Path(path).parent}: {error.strerror}; ask its owner for the right to read it") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot reach {Path(path).parent}: {error.strerror}; is it mounted?") from None


@functools.lru_cache(4096)
def _names(slug: str, start: int) -> tuple[str, str]:
    """The file of a window, and the month of its start (UTC)."""
    return f"{element(slug)}.jsonl", f"{datetime.fromtimestamp(start, UTC):%Y-%m}"
