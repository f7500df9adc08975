"""Finished parts become files in a thread of their own, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

P = TypeVar("P", bound=Sized)
#: a part takes longer; more would hold up whoever reads sockets
PATIENCE_S = 0.002


class PartFiles(Generic[P]):
    """``put`` writes a part. ``settle`` puts the tapes on the disk first: no part is ever ahead of its tape."""

    def __init__(self, name: str, put: Callable[[P], object], most_rows: int, settle: Callable[[], None] = lambda: None) -> None:
        self.most_rows = most_rows
        self.settle = settle
        self.files = 0
        self.rows = 0
        self._put = put
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        self._rows = 0
        self._failed = False
        self._thread = ThreadPoolExecutor(1, name)

    def take(self, part: P) -> None:
        """Write it soon. Never waits: before more is made, ask for ``room``. Raises what an earlier write raised."""
        self._do(len(part), lambda: self._write(part))

    def room(self) -> bool:
        """Whether more may be made: at most ``most_rows`` rows wait to be written. Waits a little for it, never for a whole part."""
        if self._rows <= self.most_rows:
            return True
        wait([self._waiting[0][1]], PATIENCE_S)
        self._reap()
        return self._rows <= self.most_rows

    def then(self, job: Callable[[], None]) -> None:
        """Do this when all parts taken so far are on the disk."""
        self._do(0, job)

    def close(self) -> None:
        """Wait until all is written."""
        try:
            wait([done for _, done in self._waiting])
            self._reap()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _do(self, rows: int, job: Callable[[], None]) -> None:
        self._reap()
        self._rows += rows
        self._waiting.append((rows, self._thread.submit(self._run, job)))

    def _run(self, job: Callable[[], None]) -> None:
        # What follows a part that could not be written must not be done: a cursor would be ahead of it.
        if self._failed:
            return
        try:
            job()
        except BaseException:
            self._failed = True
            raise

    def _reap(self) -> None:
        while self._waiting and self._waiting[0][1].done():
            rows, done = self._waiting.popleft()
            self._rows -= rows
            done.result()

    def _write(self, part: P) -> None:
        self.settle()
        self._put(part)
        self.files += 1
        self.rows += len(part)
