"""Stores around stores: one that tries again, one that does not go faster than it may."""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypeVar

from tape_archive.format.errors import StoreUnavailable
from tape_archive.stores.store import Entry, Store

T = TypeVar("T")


class Retrying:
    """Asks again, after each of ``pauses`` (seconds), what failed because the store could not be reached."""

    def __init__(self, store: Store, pauses: Sequence[float] = (0.5, 2.0, 8.0), sleep: Callable[[float], None] = time.sleep) -> None:
        self.store = store
        self.url = store.url
        self._pauses, self._sleep = pauses, sleep

    def _try(self, call: Callable[[], T]) -> T:
        for pause in self._pauses:
            try:
                return call()
            except StoreUnavailable:
                self._sleep(pause)
        return call()

    def stat(self, path: str) -> Entry:
        """See Store."""
        return self._try(lambda: self.store.stat(path))

    def stats(self, paths: Sequence[str]) -> builtins.list[Entry | None]:
        """See Store."""
        return self._try(lambda: self.store.stats(paths))

    def list(self, folder: str = "") -> list[Entry]:
        """See Store."""
        return self._try(lambda: self.store.list(folder))

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        return self._try(lambda: self.store.read(path, offset, length))

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """See Store. Goes on from where it stood; every chunk that came earns all tries anew."""
        at, pauses = offset, iter(self._pauses)
        while True:
            try:
                for chunk in self.store.chunks(path, at, size):
                    at, pauses = at + len(chunk), iter(self._pauses)
                    yield chunk
                return
            except StoreUnavailable:
                pause = next(pauses, None)
                if pause is None:
                    raise
                self._sleep(pause)

    def put(self, path: str, source: BinaryIO) -> Entry:
        """See Store."""
        start = source.tell()

        def write() -> Entry:
            source.seek(start)
            return self.store.put(path, source)

        return self._try(write)

    def delete(self, path: str) -> None:
        """See Store."""
        self._try(lambda: self.store.delete(path))

    def close(self) -> None:
        """See Store."""
        self.store.close()


class Limited:
    """At most ``calls`` a second and ``bytes_per_s`` of content (0: no limit), over all threads."""

    def __init__(
        self,
        store: Store,
        *,
        calls: float = 0.0,
        bytes_per_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store = store
        self.url = store.url
        self._calls, self._rate = calls, bytes_per_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free = 0.0

    def _pay(self, content: int, calls: int = 0) -> None:
        cost = (calls / self._calls if self._calls else 0.0) + (content / self._rate if self._rate else 0.0)
        with self._lock:
            now = self._clock()
            begin = max(now, self._free)
            self._free = begin + cost
        if begin > now:
            self._sleep(begin - now)

    def stat(self, path: str) -> Entry:
        """See Store."""
        self._pay(0, 1)
        return self.store.stat(path)

    def stats(self, paths: Sequence[str]) -> builtins.list[Entry | None]:
        """See Store."""
        self._pay(0, len(paths))
        return self.store.stats(paths)

    def list(self, folder: str = "") -> list[Entry]:
        """See Store."""
        self._pay(0, 1)
        return self.store.list(folder)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        self._pay(0, 1)
        content = self.store.read(path, offset, length)
        self._pay(len(content))
        return content

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """See Store."""
        self._pay(0, 1)
        for chunk in self.store.chunks(path, offset, size):
            self._pay(len(chunk))
            yield chunk

    def put(self, path: str, source: BinaryIO) -> Entry:
        """See Store."""
        entry = self.store.put(path, source)
        self._pay(entry.bytes, 1)
        return entry

    def delete(self, path: str) -> None:
        """See Store."""
        self._pay(0, 1)
        self.store.delete(path)

    def close(self) -> None:
        """See Store."""
        self.store.close()
