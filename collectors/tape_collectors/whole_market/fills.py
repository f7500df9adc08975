"""Backfill within the process that writes the tables: for an embedded store, which no other process may open meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping

from tape_archive.format.errors import TapeError
from tape_collectors.backfill.session import Session
from tape_collectors.settings import BackfillSettings
from tape_collectors.whole_market.processes import BackfillProcess

log = logging.getLogger(__name__)


class Fills:
    """In a thread of its own: soon after the start, for what the time without a recorder left, then every ``every_s`` seconds."""

    def __init__(self, root: str, store: str, every_s: float, endpoints: Mapping[str, str]) -> None:
        self.every_s = every_s
        self.runs = 0
        self._settings = {"root": root, "store": store, "endpoints": dict(endpoints)}

    def start(self) -> None:
        """Begin, and go on as long as the process."""
        threading.Thread(target=self._run, name="backfill", daemon=True).start()

    def fill(self, scope: str) -> bool:
        """Once; gives whether nothing is missing any more. Raises TapeError."""

        async def work() -> bool:
            with Session(BackfillSettings(scope=scope, **self._settings)) as session:  # type: ignore[arg-type]
                return (await session.fill()).whole

        return asyncio.run(work())

    def _run(self) -> None:
        wait, scope = min(BackfillProcess.FIRST_S, self.every_s), "restart"
        while True:
            time.sleep(wait)
            try:
                log.info("backfill", extra={"scope": scope, "whole": self.fill(scope)})
            except TapeError as error:
                log.warning("backfill failed; it is tried again at its next turn", extra={"scope": scope, "why": str(error)})
            self.runs += 1
            wait, scope = self.every_s, "scheduled"
