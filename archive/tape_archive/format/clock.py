"""The tape clock: the wall clock made strictly increasing, and what it does when somebody sets the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable

STEP = 100_000_000
_SLEW = 10


class TapeClock:
    """Unix ns that never go back and never repeat.

    Between two ``check`` calls time runs with the monotonic clock. ``check`` (once a second) compares with the wall clock: ahead by
    any amount, it follows at once; behind, it runs at nine tenths of the pace until both agree, and not a ns longer.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, mono: Callable[[], int] = time.monotonic_ns, after: int = 0) -> None:
        self._wall = wall
        self._mono = mono
        self._last = after
        now = wall()
        self._mono0 = mono()
        self._anchor = max(now, after + 1)
        self.offset_ns = now - self._anchor
        #: how far the wall clock is behind the anchor: what slow running must make up for
        self._owed = -self.offset_ns

    def now(self) -> int:
        """The time of a thing that was read just now."""
        passed = self._mono() - self._mono0
        if self._owed:
            passed -= min(passed // _SLEW, self._owed)
        t = self._anchor + passed
        if t <= self._last:
            t = self._last + 1
        self._last = t
        return t

    def check(self) -> int | None:
        """Compare with the wall clock. Gives wall − tape in ns when that is, or just was, more than 100 ms; else None."""
        t = self.now()
        wall = self._wall()
        self._mono0 = self._mono()
        offset = wall - t
        self._anchor = max(wall, t)
        self._owed = self._anchor - wall
        self.offset_ns = -self._owed
        return offset if abs(offset) > STEP else None
