"""Which instruments there are: asked every few minutes, each change a ``listing`` mark on the tape, and the connections follow.

The first look of a run marks every instrument with its name, status and steps, on each tape: whoever reads one knows what its symbols mean,
and the ledger of instruments can be made from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

import msgspec

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.market.shards import mine
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.venues.instruments import Instrument, changes

log = logging.getLogger(__name__)

#: an answer that fails is asked for again so soon
_AGAIN_S = 5.0


def chosen(listed: Mapping[str, Instrument], wanted: Sequence[str], quote: str = "USDT") -> dict[str, Instrument]:
    """The perpetuals settled in ``quote`` that the names or patterns mean (``all``, ``BTCUSDT``, ``BTC-USDT-PERP``, ``*DOGE*``), by the
    venue's names."""
    kind = f"-{quote}-PERP"
    perpetuals = {symbol: one for symbol, one in listed.items() if one.name.endswith(kind)}
    if any(pattern.lower() == "all" for pattern in wanted):
        return perpetuals
    patterns = [pattern.upper() for pattern in wanted]
    return {
        symbol: one
        for symbol, one in perpetuals.items()
        if any(fnmatchcase(symbol, pattern) or fnmatchcase(one.name.upper(), pattern) for pattern in patterns)
    }


class Lister(Protocol):
    """The part of a venue that this needs."""

    @property
    def name(self) -> str:
        """The venue's."""
        ...

    @property
    def info(self) -> str:
        """The request that lists the instruments."""
        ...

    def instruments(self, info: bytes) -> Mapping[str, Instrument]:
        """What the reply lists. Raises VenueProtocolError."""
        ...


class Wanted(msgspec.Struct, frozen=True):
    """``symbols``: names or patterns; ``part``: (which, of how many) shards; ``every_s``: how often to look."""

    symbols: Sequence[str]
    part: tuple[int, int]
    every_s: float


class Discovery:
    """The instruments of one venue. ``changed`` is told the symbols that trade, whenever they are others."""

    def __init__(
        self,
        venue: Lister,
        wanted: Wanted,
        intakes: Sequence[TapeIntake],
        fetcher: Fetcher,
        changed: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        self.known: dict[str, Instrument] = {}
        self.trading: list[str] = []
        self.looked = 0
        self._venue = venue
        self._wanted = wanted
        self._intakes = intakes
        self._fetcher = fetcher
        self._changed = changed

    async def run(self) -> None:
        """For ever. Raises SettingsError if the first list has none of the wanted symbols."""
        every = self._wanted.every_s
        while True:
            answered = await self._look()
            await asyncio.sleep(every if answered else min(_AGAIN_S, every))

    async def _look(self) -> bool:
        status, body = await self._fetcher.ask("rest", self._venue.info)
        if status != 200:
            log.warning("cannot list the instruments", extra={"status": status, "why": body[:200].decode("utf-8", "replace")})
            return False
        try:
            listed = chosen(self._venue.instruments(body), self._wanted.symbols)
        except VenueProtocolError as error:
            log.warning("cannot read the list of instruments", extra={"why": str(error)[:200]})
            return False
        found = {symbol: listed[symbol] for symbol in mine(listed, *self._wanted.part)}
        if not found and not self.looked:
            raise SettingsError(f"{self._venue.name} lists no perpetual that is {', '.join(self._wanted.symbols)[:100]}; try --symbols all")
        self._mark(found)
        self.known = found
        self.looked += 1
        trading = [symbol for symbol, one in found.items() if one.trading]
        if trading != self.trading:
            self.trading = trading
            await self._changed(trading)
        return True

    def _mark(self, found: Mapping[str, Instrument]) -> None:
        if not self.looked:
            for one in found.values():
                self._told(one, "first")
            return
        for change in changes(self.known, found, dict.fromkeys((*self.known, *found))):
            one = found.get(change.symbol) or self.known[change.symbol]
            self._told(one, change.what, before=change.before, after=change.after)
            log.warning("the venue changed an instrument", extra={"symbol": change.symbol, "what": change.what, "after": change.after})

    def _told(self, one: Instrument, what: str, **more: str) -> None:
        steps = {"name": one.name, "status": one.status, "tick": one.tick, "lot": one.lot, "contract": one.contract}
        for intake in self._intakes:
            intake.mark("tape", "listing", {"symbol": one.symbol, "what": what, **steps, **more})
