"""Where reference prices come from: PolyBolt with credentials, else RTDS, else nowhere. Each step is a ``source`` mark."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tape_archive.format.records import ReferencePrice
from tape_collectors.runtime.pool import Pool
from tape_collectors.venues.polymarket.prices import Sources, after_close
from tape_collectors.venues.protocol import Mark
from tape_collectors.windows.tapes import PriceIntake

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
#: both sources send a price of each coin every second
SILENT_S = 60


class PriceSource:
    """Opens the pool of the source in use, and gives it up for the next when the venue refuses it or it stays silent.

    The last source is never given up: that it is silent is said, and so is the first price after that.
    """

    def __init__(self, sources: Sources, intake: PriceIntake, open_pool: Callable[[str], Pool]) -> None:
        self.sources = sources
        self.pool: Pool | None = None
        self._intake = intake
        self._open_pool = open_pool
        self._since = 0
        self._silent = False
        intake.ended, intake.priced, intake.refused = self._ended, self._priced, self._refused

    def begin(self, t: int) -> None:
        """Use the first source there is."""
        for command in self.sources.chosen():
            self._mark(command)
        self._open(t)

    def tick(self, t: int) -> None:
        """Once a second: is it silent?"""
        if self._silent or not self._since or t - self._since < SILENT_S * SECOND:
            return
        why = f"no price for {SILENT_S} s"
        if self.sources.last:
            self._silent = True
            why += "; strike and result come from Gamma"
            self._mark(Mark("source", {"channel": self.sources.name, "status": "silent", "why": why}))
        else:
            self._next(t, why)

    def _open(self, t: int) -> None:
        self._since = t
        self.pool = self._open_pool(self.sources.name)

    def _next(self, t: int, why: str) -> None:
        before, self.pool = self.pool, None
        for command in self.sources.failed(why):
            self._mark(command)
        if self.sources.name:
            self._open(t)
        if before is not None:
            before.stop()

    def _ended(self, s: str, t: int, code: int) -> None:
        close = after_close(code)
        if not close.again:
            self._refused(s, t, f"closed with {code}: {close.why}")

    def _refused(self, s: str, t: int, why: str) -> None:
        if self.pool is not None and not self.sources.last and s.rpartition("-")[0] == self.pool.group.name:
            self._next(t, why)

    def _priced(self, record: ReferencePrice) -> None:
        self._since = record.t
        if self._silent:
            self._silent = False
            self._mark(Mark("source", {"channel": self.sources.name, "status": "used", "why": "prices come again"}))

    def _mark(self, command: object) -> None:
        if isinstance(command, Mark):
            self._intake.mark("tape", command.kind, command.fields)
            log.warning("reference prices", extra={key: str(value) for key, value in command.fields.items()})
