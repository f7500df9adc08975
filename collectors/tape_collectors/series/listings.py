"""Listings, delistings, and steps that change while recording: asked for every hour, each change a mark on the venue's tape.

The lists themselves are not kept: exchangeInfo is megabytes, and what matters of it is what changed of the instruments that are recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from tape_archive.format.errors import VenueProtocolError
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.venues.instruments import Instrument, changes
from tape_collectors.venues.protocol import Venue

log = logging.getLogger(__name__)


class Listings:
    """One venue's. The first look is a ``listing`` mark of each recorded symbol too: its name, status and steps then."""

    def __init__(self, venue: Venue, symbols: Sequence[str], intake: TapeIntake, fetcher: Fetcher, every_s: float) -> None:
        self.known: dict[str, Instrument] | None = None
        self._venue = venue
        self._symbols = symbols
        self._intake = intake
        self._fetcher = fetcher
        self._every_s = every_s

    async def run(self) -> None:
        """For ever."""
        while True:
            answered = await self._look()
            await asyncio.sleep(self._every_s if answered else min(60.0, self._every_s))

    async def _look(self) -> bool:
        status, body = await self._fetcher.ask("rest", self._venue.info)
        if status != 200:
            return False
        try:
            listed = self._venue.instruments(body)
        except VenueProtocolError as error:
            log.warning("cannot read the list of instruments", extra={"venue": self._venue.name, "why": str(error)[:200]})
            return False
        found = {symbol: listed[symbol] for symbol in self._symbols if symbol in listed}
        if self.known is None:
            for one in found.values():
                steps = {"name": one.name, "status": one.status, "tick": one.tick, "lot": one.lot, "contract": one.contract}
                self._intake.mark("tape", "listing", {"symbol": one.symbol, "what": "first", **steps})
        for change in changes(self.known or found, found, self._symbols):
            fields = {"symbol": change.symbol, "what": change.what, "before": change.before, "after": change.after}
            self._intake.mark("tape", "listing", fields)
            log.warning("the venue changed an instrument", extra={"venue": self._venue.name, **fields})
        self.known = found
        return True
