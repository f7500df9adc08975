"""Several consumers of one recording, in order."""

from __future__ import annotations

from collections.abc import Sequence

from tape_archive.format.records import Record
from tape_collectors.runtime.recorder import Consumer


class Fanout:
    """Each is told everything, the first one first."""

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        self.consumers = tuple(consumers)
        self._records = [consumer.record for consumer in consumers]

    def begin(self, t: int, begun: int) -> None:
        """A run begins."""
        for consumer in self.consumers:
            consumer.begin(t, begun)

    def advance(self, t: int) -> bool:
        """Tape time is ``t`` now. The next one hears of it when the one before is done; those before hear it again with each piece."""
        return all(consumer.advance(t) for consumer in self.consumers)

    def due(self) -> int:
        """When the first of them has something to do."""
        return min(consumer.due() for consumer in self.consumers)

    def record(self, venue: str, s: str, record: Record) -> None:
        """What a line said."""
        for take in self._records:
            take(venue, s, record)

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """An epoch is over."""
        for consumer in self.consumers:
            consumer.closed(venue, t, s, why)

    def trouble(self, venue: str, t: int, where: str, why: str) -> None:
        """Something is wrong with the venue."""
        for consumer in self.consumers:
            consumer.trouble(venue, t, where, why)

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """What a checkpoint must hold for all of them."""
        out: dict[str, object] = {}
        for consumer in self.consumers:
            out |= consumer.state(venue, s, symbol)
        return out
