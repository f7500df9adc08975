"""The weight that a host allows in an interval, counted as the venue counts it. Pure: times are passed in."""

from __future__ import annotations

from collections import deque

from tape_collectors.venues.protocol import Limits

#: leave this share unused: other programs on this address count too
MARGIN = 0.9


class Budget:
    """A sliding window of used weight, corrected by what the venue says it has counted, and a time before which nothing may be asked."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.blocked_until = 0.0
        self._used: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> int:
        """Weight used in the interval that ends at ``now``."""
        while self._used and self._used[0][0] <= now - self.limits.interval_s:
            self._sum -= self._used.popleft()[1]
        return self._sum

    def wait(self, now: float, weight: int) -> float:
        """Seconds until ``weight`` may be used; 0: now."""
        if now < self.blocked_until:
            return self.blocked_until - now
        room = int(self.limits.weight * MARGIN) - self.used(now)
        if weight <= room or not self._used:
            return 0.0
        freed = room
        for at, some in self._used:
            freed += some
            if freed >= weight:
                return max(0.001, at + self.limits.interval_s - now)
        return self.limits.interval_s

    def take(self, now: float, weight: int) -> None:
        """Use weight."""
        self._used.append((now, weight))
        self._sum += weight

    def told(self, now: float, counted: int) -> None:
        """The venue's own count: if it is higher, others use this address too."""
        if counted > (known := self.used(now)):
            self.take(now, counted - known)

    def block(self, now: float, seconds: float) -> None:
        """429, 418, Retry-After: nothing until then."""
        self.blocked_until = max(self.blocked_until, now + seconds)

    def eta_s(self, weights: int) -> float:
        """How long ``weights`` in all will take from an idle start: the first interval's budget at once, then at its rate."""
        per_interval = max(1, int(self.limits.weight * MARGIN))
        return max(0, -(-weights // per_interval) - 1) * self.limits.interval_s
