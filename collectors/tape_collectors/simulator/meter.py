"""How a venue counts what is asked: so much weight in a window; over it 429, and who goes on is banned with 418."""

from __future__ import annotations

import time
from collections import deque

_PATIENCE = 3


class Meter:
    """``asked`` keeps (monotonic time, weight) of all that was asked, ``refused`` how often the answer was no."""

    def __init__(self, limit: int, window_s: float = 60.0, ban_s: float = 120.0) -> None:
        self.limit = limit
        self.window_s = window_s
        self.ban_s = ban_s
        self.asked: deque[tuple[float, int]] = deque(maxlen=200_000)
        self.refused = 0
        self.used = 0
        self._weights: deque[tuple[float, int]] = deque()
        self._warned = 0
        self._banned_until = 0.0

    def count(self, weight: int) -> tuple[int, float]:
        """(status, seconds to wait) for a request of this weight: 200 and 0, or 429 or 418."""
        now = time.monotonic()
        while self._weights and self._weights[0][0] <= now - self.window_s:
            self._weights.popleft()
        self.asked.append((now, weight))
        self.used = sum(some for _, some in self._weights) + weight
        if now < self._banned_until:
            self.refused += 1
            return 418, self._banned_until - now
        if self.used > self.limit:
            self.refused += 1
            self._warned += 1
            if self._warned > _PATIENCE:
                self._banned_until, self._warned = now + self.ban_s, 0
                return 418, self.ban_s
            return 429, self._weights[0][0] + self.window_s - now if self._weights else self.window_s
        self._warned = 0
        self._weights.append((now, weight))
        return 200, 0.0

    def most(self) -> int:
        """The most weight that was asked for in any window."""
        most = used = 0
        window: deque[tuple[float, int]] = deque()
        for at, weight in self.asked:
            window.append((at, weight))
            used += weight
            while window[0][0] <= at - self.window_s:
                used -= window.popleft()[1]
            most = max(most, used)
        return most
