"""Two ways to the same tree: the second one serves what the first cannot reach, or does not have."""

from __future__ import annotations

import builtins
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypeVar

from tape_archive.format.errors import NotFound, StoreUnavailable, TapeError
from tape_archive.stores.store import Entry, Store

T = TypeVar("T")
log = logging.getLogger(__name__)
#: after it could not be reached, the first store is left alone so long
PAUSE_S = 10.0
#: when the first takes so long, the second is connected meanwhile: who waits for both waits for one
READY_S = 0.5


class Fallback:
    """Reads from ``first`` (a mount, say), else from ``second``; writes to ``second``."""

    def __init__(self, first: Store, second: Store) -> None:
        self.first, self.second = first, second
        self.url = second.url
        self._until = 0.0

    def _try(self, call: Callable[[Store], T]) -> T:
        """Raises NotFound only if neither has it."""
        if time.monotonic() >= self._until:
            try:
                with self._prepared():
                    return call(self.first)
            except StoreUnavailable as error:
                self._away(error)
            except NotFound:
                pass
        return call(self.second)

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[threading.Timer]:
        timer = threading.Timer(READY_S, self._connect)
        timer.daemon = True
        timer.start()
        try:
            yield timer
        finally:
            timer.cancel()

    def _connect(self) -> None:
        # Whoever asks it then is told what is wrong.
        with contextlib.suppress(TapeError):
            self.second.stat("")

    def _away(self, error: StoreUnavailable) -> None:
        self._until = time.monotonic() + PAUSE_S
        log.warning("%s; using %s meanwhile", error, self.second.url)

    def stat(self, path: str) -> Entry:
        """See Store."""
        return self._try(lambda store: store.stat(path))

    def stats(self, paths: Sequence[str]) -> builtins.list[Entry | None]:
        """See Store."""
        found: builtins.list[Entry | None] = [None] * len(paths)
        if time.monotonic() >= self._until:
            try:
                with self._prepared():
                    found = self.first.stats(paths)
            except StoreUnavailable as error:
                self._away(error)
        missing = [path for path, entry in zip(paths, found, strict=True) if entry is None]
        if not missing:
            return found
        others = iter(self.second.stats(missing))
        return [next(others) if entry is None else entry for entry in found]

    def list(self, folder: str = "") -> builtins.list[Entry]:
        """See Store."""
        return self._try(lambda store: store.list(folder))

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        return self._try(lambda store: store.read(path, offset, length))

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """See Store. What the first began, the second goes on with."""
        at = offset
        if time.monotonic() >= self._until:
            try:
                with self._prepared() as timer:
                    for chunk in self.first.chunks(path, at, size):
                        timer.cancel()
                        at += len(chunk)
                        yield chunk
                return
            except StoreUnavailable as error:
                self._away(error)
            except NotFound:
                pass
        yield from self.second.chunks(path, at, size)

    def put(self, path: str, source: BinaryIO) -> Entry:
        """See Store."""
        return self.second.put(path, source)

    def delete(self, path: str) -> None:
        """See Store."""
        self.second.delete(path)

    def close(self) -> None:
        """See Store."""
        self.first.close()
        self.second.close()
