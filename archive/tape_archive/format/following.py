"""Following a tape over its segments, while it is recorded: what a process that makes something of a tape needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tape_archive.format.layout import Segment, segments
from tape_archive.format.lines import time_of
from tape_archive.format.read import Follower, Position


class TapeFollower:
    """The lines of one tape, segment after segment, each once.

    ``after``: only lines later than this tape time (ns). ``places``: where to begin, by segment (its path relative to the root), as
    ``place`` gave it; without, the first segment that may have such lines.
    """

    def __init__(self, root: Path, venue: str, stream: str, after: int = 0, places: Mapping[str, Position] | None = None) -> None:
        self.root = root
        self.venue = venue
        self.stream = stream
        self.t = after
        self._follower: Follower | None = None
        self._segment: Segment | None = None
        self._places = places or {}

    def poll(self) -> list[bytes]:
        """New whole lines, a part of them if there are very many; none if there are none yet. Raises Corrupt."""
        while True:
            lines = self._follower.poll() if self._follower is not None else []
            if not lines and not (lines := self._turn()):
                return []
            if time_of(lines[0]) <= self.t:
                lines = [line for line in lines if time_of(line) > self.t]
            if lines:
                self.t = time_of(lines[-1])
                return lines

    def place(self) -> dict[str, Position]:
        """Where a follower that begins after ``t`` may start reading."""
        if self._follower is None or self._segment is None:
            return dict(self._places)
        return {str(self._segment.file.relative_to(self.root)): self._follower.place}

    def _turn(self) -> list[bytes]:
        """To the next segment, once nothing more can come of this one. Gives its first lines."""
        following = self._next()
        if following is None:
            return []
        # What was written before the next segment began is read first.
        if self._follower is not None and (lines := self._follower.poll()):
            return lines
        self._segment = following
        self._follower = Follower(following.file, self._places.get(str(following.file.relative_to(self.root))))
        return self._follower.poll() or self._turn()

    def _next(self) -> Segment | None:
        found = segments(self.root, self.venue, self.stream)
        if self._segment is not None:
            return next((one for one in found if one > self._segment), None)
        if self._places:
            return next((one for one in found if str(one.file.relative_to(self.root)) in self._places), None) or self._first(found)
        return self._first(found)

    def _first(self, found: list[Segment]) -> Segment | None:
        """The last segment that begins before the time asked for; the first one if none does."""
        before = [one for one in found if one.hour <= self.t]
        hour = before[-1].hour if before else 0
        return next((one for one in found if one.hour >= hour), None)
