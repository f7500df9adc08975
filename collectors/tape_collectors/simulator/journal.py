"""What the simulator sent, to be asked back: tests count losses against it, not against what a client thinks it got."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from tape_collectors.simulator.faults import Frame


@dataclass(frozen=True)
class Sent:
    """One frame of a stream that was due for a connection. ``out`` is what went out for it: nothing, the frame, two frames, garbage…"""

    venue: str
    connection: int
    stream: str
    text: str
    out: tuple[Frame, ...]

    @property
    def lost(self) -> bool:
        """Whether the client never got it as it was."""
        return self.text not in self.out


class Journal:
    """Counts always; whole frames with ``keep`` (a test's few seconds, not a day). Frames that a fault delays count as sent when due."""

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep
        self.due: Counter[tuple[str, int, str]] = Counter()
        self.sent: Counter[tuple[str, int, str]] = Counter()
        self.frames: list[Sent] = []
        self._digests: dict[tuple[str, int, str], hashlib._Hash] = {}

    def add(self, venue: str, connection: int, stream: str, text: str, out: tuple[Frame, ...]) -> None:
        """One frame that was due, and what went out for it."""
        key = (venue, connection, stream)
        self.due[key] += 1
        self.sent[key] += len(out)
        if self.keep:
            self.frames.append(Sent(venue, connection, stream, text, out))
            digest = self._digests.setdefault(key, hashlib.sha256())
            for frame in out:
                digest.update((frame.encode() if isinstance(frame, str) else frame) + b"\n")

    def of(self, venue: str, connection: int | None = None, stream: str | None = None) -> list[Sent]:
        """The kept frames of a venue, in order, of one connection and one stream if given."""
        return [one for one in self.frames if one.venue == venue and connection in (None, one.connection) and stream in (None, one.stream)]

    def digest(self, venue: str, connection: int, stream: str) -> str:
        """sha256 over the kept frames that went out, each ended by a line break."""
        found = self._digests.get((venue, connection, stream))
        return (found or hashlib.sha256()).hexdigest()

    def total(self, venue: str, stream: str | None = None) -> int:
        """Frames that went out, over all connections."""
        return sum(count for (one, _, name), count in self.sent.items() if one == venue and stream in (None, name))
