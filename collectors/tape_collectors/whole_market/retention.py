"""Rows that are older than their table keeps them are removed: at the start, and every day at 03:00 UTC."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tape_archive.format.errors import TapeError
from tape_archive.tables.schema import SPECS
from tape_archive.tables.tables import Tables

log = logging.getLogger(__name__)

DAY_S = 86_400
#: the brief's hour; UTC
HOUR_S = 3 * 3600
#: a store that is away is asked again so soon
_AGAIN_S = 600.0


def next_turn(now: float) -> float:
    """The next 03:00 UTC after ``now``, both unix seconds."""
    today = now - now % DAY_S + HOUR_S
    return today if today > now else today + DAY_S


class Retention:
    """In a thread of its own: a store takes turns, and removes in small steps, so that no insert waits for long."""

    def __init__(self, tables: Tables, clock: Callable[[], float] = time.time) -> None:
        self.tables = tables
        self.removed: dict[str, int] = {}
        self._clock = clock

    def start(self) -> None:
        """Begin, and go on as long as the process."""
        threading.Thread(target=self._run, name="retention", daemon=True).start()

    def clean(self) -> dict[str, int]:
        """Remove what is too old now; gives how much, by table. Raises StoreError."""
        now, done = int(self._clock() * 1e9), {}
        for name, spec in SPECS.items():
            edge = spec.expired(now)
            if edge is not None and (count := self.tables.prune(name, edge)):
                done[name] = count
        return done

    def _run(self) -> None:
        while True:
            wait = _AGAIN_S
            try:
                if done := self.clean():
                    log.info("rows past their time are removed", extra=done)
                wait = next_turn(self._clock()) - self._clock()
            except TapeError as error:
                log.warning("rows past their time stay for now", extra={"why": str(error)})
            time.sleep(max(1.0, wait))
