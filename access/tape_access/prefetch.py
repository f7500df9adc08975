"""Windows fetched before they are asked for, along the way that a strategy walks."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
#: a walk that goes on the same way is looked ahead so many times farther
_STRIDE = 4
#: a jump of more windows than this is no step of a walk
_STEP = 8


class Pool:
    """Daemon threads: what they do may be lost at exit. Made anew in a child process."""

    def __init__(self, threads: int, name: str) -> None:
        self._count, self._name = threads, name
        self._pid = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, work: Callable[[], None]) -> None:
        """Do it soon. What it raises is its own affair."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._queue, self._pid = queue.SimpleQueue(), os.getpid()
                    for number in range(self._count):
                        threading.Thread(target=self._run, args=(self._queue,), name=f"{self._name} {number}", daemon=True).start()
        self._queue.put(work)

    def map(self, call: Callable[[str], T], some: Sequence[str]) -> list[T]:
        """All of them at once; raises the first error."""
        done: queue.SimpleQueue[None] = queue.SimpleQueue()
        results: list[T | BaseException | None] = [None] * len(some)

        def one(at: int) -> None:
            try:
                results[at] = call(some[at])
            except BaseException as error:
                results[at] = error
            done.put(None)

        for at in range(1, len(some)):
            self.submit(lambda at=at: one(at))  # type: ignore[misc]
        if some:
            one(0)
        for _ in some:
            done.get()
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results  # type: ignore[return-value]

    @staticmethod
    def _run(work: queue.SimpleQueue[Callable[[], None]]) -> None:
        while True:
            work.get()()


class Prefetch:
    """``asked`` tells where a strategy is; ``fetch`` is called for the windows that it will want next.

    1. The first window of a walk: the ``count`` windows after it.
    2. A second step the same way (forwards or backwards, one or several windows at once): four times as many along it.
    3. A far jump begins a new walk; two in a row and nothing is fetched until two steps agree.
    4. Only of windows that exist: ``known`` gives those, sorted.
    """

    def __init__(self, count: int, fetch: Callable[[int], None], known: Callable[[], Sequence[int]], pool: Pool) -> None:
        self._count, self._fetch, self._known, self._pool = count, fetch, known, pool
        self._lock = threading.Lock()
        self._last: int | None = None
        self._step = 0
        self._jumps = 0
        self._under_way: set[int] = set()

    def asked(self, start: int) -> None:
        """This window was asked for; returns at once."""
        starts = self._known()
        with self._lock:
            wanted = [one for one in self._next(starts, start) if one not in self._under_way]
            self._under_way.update(wanted)
        for one in wanted:
            self._pool.submit(lambda one=one: self._one(one))  # type: ignore[misc]

    def _next(self, starts: Sequence[int], start: int) -> list[int]:
        import bisect

        at = bisect.bisect_left(starts, start)
        last, self._last = self._last, at
        step = 0 if last is None else at - last
        if step == 0 and last is not None:
            return []
        if abs(step) > _STEP:
            self._jumps, self._step = self._jumps + 1, 0
            step = 0
        elif step:
            self._jumps = 0
        walking = step != 0 and step == self._step
        self._step = step
        if self._jumps > 1:
            return []
        count = self._count * (_STRIDE if step and (walking or abs(step) == 1) else 1)
        ahead = range(at + (step or 1), at + (step or 1) * (count + 1), step or 1)
        return [starts[one] for one in ahead if 0 <= one < len(starts)]

    def _one(self, start: int) -> None:
        try:
            self._fetch(start)
        finally:
            with self._lock:
                self._under_way.discard(start)
