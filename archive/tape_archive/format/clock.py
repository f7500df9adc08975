"""The tape clock: the wall clock made strictly increasing, and what it does when somebody sets the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable

STEP = 100_000_000
_SLEW = 10


class TapeClock:
    """Unix ns that never go back and never repeat.

    Between two ``check`` calls time runs with the monotonic clock. ``check`` (once a second) compares with the wall clock: ahead by
    more than 100 ms, it follows at once; behind, it runs at nine tenths of the pace until both agree; small drift is followed silently.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, mono: Callable[[], int] = time.monotonic_ns, after: int = 0) -> None:
        self._wall = wall
        self._mono = mono
        self._last = after
        self._slow = False
        now = wall()
        self._mono0 = mono()
        self._anchor = max(now, after + 1)
        self.offset_ns = now - self._anchor
        if self.offset_ns < -STEP:
            self._slow = True

    def now(self) -> int:
        """The time of a thing that was read just now."""
        passed = self._mono() - self._mono0
        if self._slow:
            passed -= passed // _SLEW
        t = self._anchor + passed
        if t <= self._last:
            t = self._last + 1
        self._last = t
        return t

    def check(self) -> int | None:
        """Compare with the wall clock. Gives wall − tape in ns when that is, or just was, more than 100 ms; else None."""
        t = self.now()
        wall = self._wall()
        offset = wall - t
        self._mono0 = self._mono()
        if offset >= 0 or offset > -STEP:
            # Ahead, or so little behind that standing still for it costs nothing.
            self._anchor = max(wall, t)
            self._slow = False
        else:
            self._anchor = t
            self._slow = True
        self.offset_ns = min(offset, 0) if offset < 0 else 0
        return offset if abs(offset) > STEP else None
