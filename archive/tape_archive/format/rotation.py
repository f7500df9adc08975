"""When a segment ends: by tape time, at whole UTC hours."""

from __future__ import annotations

HOUR = 3_600_000_000_000


def next_hour(t: int) -> int:
    """The first ns of the UTC hour after the one that holds ``t``."""
    return (t // HOUR + 1) * HOUR
