"""How many errors an hour are borne before a pause. Pure: times are passed in."""

from __future__ import annotations

from collections import deque

HOUR_S = 3600.0


class ErrorBudget:
    """After more than ``most`` errors within an hour a cool-down of ``cooldown_s`` begins; the count begins anew behind it.

    ``most`` 0: no budget. Errors within a cool-down do not make it longer.
    """

    def __init__(self, most: int = 100, cooldown_s: float = 300.0) -> None:
        self.most = most
        self.cooldown_s = cooldown_s
        self.total = 0
        self.cooldowns = 0
        self._times: deque[float] = deque()
        self._until = float("-inf")

    def error(self, now: float) -> bool:
        """An error at ``now`` (monotonic, seconds); True if it begins a cool-down."""
        self.total += 1
        if self.most <= 0 or now < self._until:
            return False
        times = self._times
        times.append(now)
        while times[0] <= now - HOUR_S:
            times.popleft()
        if len(times) <= self.most:
            return False
        times.clear()
        self.cooldowns += 1
        self._until = now + self.cooldown_s
        return True

    def wait(self, now: float) -> float:
        """Seconds until the cool-down is over; 0: there is none."""
        return max(0.0, self._until - now)
