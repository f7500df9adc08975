"""Windows of a store on another machine, brought into the cache: verified, whole, and only once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tape_access.cache import LIVE, Cache
from tape_access.catalog import Catalog, Stored
from tape_access.prefetch import Pool
from tape_archive import human
from tape_archive.format.compression import plain
from tape_archive.format.errors import Corrupt, NotFound, StoreUnavailable
from tape_archive.stores import Store

T = TypeVar("T")
log = logging.getLogger(__name__)
#: how old a listing may be before it is looked at again
LOOK_S = 5.0
#: after a failure the remote side is left alone so long: what is not cached fails at once
_PAUSE_S = 5.0
#: of a window that grows so much is compared each time: what follows it belongs to it
_SEEN = 4096
#: a compressed file may not grow without end
_MOST = 4 << 30


class Remote:
    """``path`` gives a window's file on this machine. Safe for threads; other processes may share the cache."""

    def __init__(self, store: Store, cache: Cache, mirror: Path, hot: str = "real_hot") -> None:
        self.store = store
        self.cache = cache
        self.pool = Pool(8, "tape fetch")
        # Of its own: who fetches may have to ask what there is.
        self.catalog = Catalog(store, mirror, Pool(8, "tape ask"), hot)
        self._lock = threading.RLock()
        self._live = cache.folder / LIVE
        self._lived: dict[str, float] = {}
        self._down: tuple[float, StoreUnavailable] | None = None
        self._said = 0.0

    # -- which windows there are -----------------------------------------------------------------------------------------

    def windows(self, age_s: float = LOOK_S) -> dict[str, Stored]:
        """What there is, by slug, at most so old. When the remote side cannot be reached: as it was seen last, with a warning that says how
        old that is. Raises StoreUnavailable if it never was seen, StoreDenied, NotFound."""
        with self._lock:
            if time.time() - self.catalog.at > age_s:
                try:
                    self.ask(self.catalog.refresh)
                except StoreUnavailable as error:
                    if not self.catalog.at:
                        raise
                    self._offline(error)
            return self.catalog.windows

    def find(self, slug: str) -> Stored:
        """One window. Raises NotFound (reachable, and not there); StoreUnavailable where nobody can tell."""
        found = self.catalog.windows.get(slug) if self.catalog.at else None
        if found is not None and (found.sealed or time.time() - self.catalog.at < LOOK_S):
            return found
        with self._lock:
            if time.time() - self.catalog.at > 1.0:
                try:
                    self.ask(self.catalog.refresh)
                except StoreUnavailable:
                    if found is None:
                        raise
            found = self.catalog.windows.get(slug)
        if found is None:
            raise NotFound(f"{slug} is not recorded in {self.store.url}")
        return found

    # -- one window ------------------------------------------------------------------------------------------------------

    def path(self, slug: str, month: str) -> Path:
        """The window's file in the cache: sealed ones are fetched once, what still grows is followed. Raises as ``find``, and Corrupt,
        ``cache.Homeless`` where there is no room for it."""
        name = f"{month}/{slug}.jsonl"
        if (cached := self.cache.get(name)) is not None:
            self.cache.hits += 1
            return cached
        found = self.find(slug)
        if not found.sealed and found.folder.startswith(self.catalog.hot):
            return self._follow(found, name)
        return self.cache.fill(name, lambda: self._fetch(slug), self.store.url)

    def _fetch(self, slug: str) -> bytes:
        """The content of a sealed window. What is wrong is asked for once more: it may just have been moved or written anew."""
        try:
            return self._content(self.find(slug))
        except (NotFound, Corrupt) as first:
            with self._lock:
                self.ask(self.catalog.refresh)
            found = self.catalog.windows.get(slug)
            if found is None:
                raise NotFound(f"{slug} is gone from {self.store.url}") from first
            return self._content(found)

    def _content(self, found: Stored) -> bytes:
        raw = self._live_copy(found) or self.ask(lambda: self._bytes(found))
        if found.sha256 and (len(raw) != found.bytes or hashlib.sha256(raw).hexdigest() != found.sha256):
            raise Corrupt(
                f"{self.store.url}/{found.path}: {len(raw):,} bytes came, the manifest says {found.bytes:,} with another sha256; "
                "verify the archive there (tape verify)"
            )
        content = decompressed(found.name, raw)
        if found.plain_sha256 and hashlib.sha256(content).hexdigest() != found.plain_sha256:
            raise Corrupt(f"{self.store.url}/{found.path} does not hold what the manifest says")
        return content

    def _bytes(self, found: Stored) -> bytes:
        size = found.bytes if found.sealed else None
        parts, seen = [], 0
        for chunk in self.store.chunks(found.path, size=size):
            parts.append(chunk)
            seen += len(chunk)
            if size is not None and seen > size:
                break
        return b"".join(parts)

    # -- windows that grow -----------------------------------------------------------------------------------------------

    def _follow(self, found: Stored, name: str) -> Path:
        """A copy of the whole lines so far; only what is new is fetched, at most once a second. It is replaced as a whole, by one process
        at a time: nobody reads half a line, and two that follow the same window do not both append. Raises ``cache.Homeless``."""
        path = self._live / found.name
        if self._looked(path):
            return path
        with self.cache.lane(name):
            if self._looked(path):
                return path
            kept = _content_of(path)
            try:
                content = self.ask(lambda: self._grown(found.path, kept))
            except StoreUnavailable as error:
                if not kept:
                    raise
                self._offline(error)
                return path
            if content != kept or not path.exists():
                self.cache.follow(path, content)
            else:
                # Used now: what is not used is evicted first.
                with contextlib.suppress(OSError):
                    os.utime(path)
            self._lived[found.name] = time.monotonic()
        return path

    def _looked(self, path: Path) -> bool:
        return time.monotonic() - self._lived.get(path.name, -1e9) < 1.0 and path.exists()

    def _grown(self, path: str, kept: bytes) -> bytes:
        """The whole lines of a file of which these were seen. If it is another file by now: all of its lines."""
        seen = kept[-_SEEN:]
        new = self.store.read(path, len(kept) - len(seen))
        if not new.startswith(seen):
            kept, seen, new = b"", b"", self.store.read(path)
        return kept + new[len(seen) : new.rfind(b"\n") + 1]

    def _live_copy(self, found: Stored) -> bytes | None:
        """What was followed, if it turned out to be the whole file."""
        path = self._live / found.name
        with contextlib.suppress(OSError):
            if path.stat().st_size <= found.bytes:
                content = path.read_bytes()
                path.unlink(missing_ok=True)
                if hashlib.sha256(content).hexdigest() == found.sha256:
                    return content
        return None

    # -- the remote side -------------------------------------------------------------------------------------------------

    def ask(self, call: Callable[[], T]) -> T:
        """Ask the store; after it could not be reached, fail at once for a while."""
        if self._down is not None and time.monotonic() < self._down[0]:
            raise self._down[1]
        try:
            answer = call()
        except StoreUnavailable as error:
            self._down = time.monotonic() + _PAUSE_S, error
            raise
        self._down = None
        return answer

    def _offline(self, error: StoreUnavailable) -> None:
        """Say, once in a while, how old is what is served."""
        now = time.monotonic()
        if now - self._said > 60.0 or not self._said:
            self._said = now
            age = human.duration(round((time.time() - self.catalog.at) * 1e9))
            log.warning("offline: serving what is on this machine; the list of windows is %s old (%s)", age, error)


def _content_of(path: Path) -> bytes:
    """Empty where there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def decompressed(name: str, raw: bytes) -> bytes:
    """The content of a file by its name. Raises Corrupt."""
    parts, seen = [], 0
    for part in plain(name, [raw]):
        parts.append(part)
        seen += len(part)
        if seen > _MOST:
            raise Corrupt(f"{name} holds more than {human.size(_MOST)}")
    return b"".join(parts)
