"""Which instruments there are: asked every few minutes, each change a ``listing`` mark on the tape, and the connections follow.

The first look of a run marks every instrument with its name, status and steps, on each tape: whoever reads one knows what its symbols mean,
and the ledger of instruments can be made from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import msgspec

from tape_archive.format.atomic import write_atomic
from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.market.shards import mine
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.venues.instruments import Instrument, changes, renamed

log = logging.getLogger(__name__)

#: an answer that fails is asked for again so soon
_AGAIN_S = 5.0
#: so many may vanish from one look to the next, or a tenth of all; more are believed when the list says so so many times more
_FEW = 15
_TWICE = 2


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
    """The instruments of one venue. ``changed`` is told the symbols that trade, whenever they are others. ``kept``: a file in which the
    list outlives the process, so that what was delisted or renamed meanwhile is told too."""

    def __init__(
        self,
        venue: Lister,
        wanted: Wanted,
        intakes: Sequence[TapeIntake],
        fetcher: Fetcher,
        changed: Callable[[list[str]], Awaitable[None]],
        kept: Path | None = None,
    ) -> None:
        self.known: dict[str, Instrument] = {}
        self.trading: list[str] = []
        self.looked = 0
        self._venue = venue
        self._wanted = wanted
        self._intakes = intakes
        self._fetcher = fetcher
        self._changed = changed
        self._kept = kept
        self._doubts = 0

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
            whole = chosen(self._venue.instruments(body), ("all",))
        except VenueProtocolError as error:
            log.warning("cannot read the list of instruments", extra={"why": str(error)[:200]})
            return False
        found = {symbol: whole[symbol] for symbol in mine(chosen(whole, self._wanted.symbols), *self._wanted.part)}
        if not self.looked:
            self._begin(whole, found)
        elif self._doubtful(whole):
            return False
        self._mark(whole, found)
        self.known = found
        self.looked += 1
        self._keep()
        trading = [symbol for symbol, one in found.items() if one.trading]
        if trading != self.trading:
            self.trading = trading
            await self._changed(trading)
        return True

    def _begin(self, whole: Mapping[str, Instrument], found: Mapping[str, Instrument]) -> None:
        names = {name for symbol, one in whole.items() for name in (symbol, one.name)}
        if not found:
            raise SettingsError(f"{self._venue.name} lists no perpetual that is {', '.join(self._wanted.symbols)[:100]}; try --symbols all")
        for pattern in self._wanted.symbols:
            if pattern.lower() != "all" and not chosen(whole, (pattern,)):
                near = get_close_matches(pattern.upper(), names, n=1)
                log.warning("no such perpetual is listed", extra={"symbol": pattern, "nearest": near[0] if near else ""})
        if self._kept is not None and self._kept.exists():
            try:
                self.known = msgspec.json.decode(self._kept.read_bytes(), type=dict[str, Instrument])
            except msgspec.DecodeError as error:
                log.warning("the list of the last run cannot be read", extra={"file": str(self._kept), "why": str(error)})

    def _doubtful(self, whole: Mapping[str, Instrument]) -> bool:
        """A list that lacks many of those that trade is believed when it is told again; an empty one never."""
        lost = [symbol for symbol in self.trading if symbol not in whole]
        if whole and (len(lost) <= max(_FEW, len(self.trading) // 10) or self._doubts >= _TWICE):
            self._doubts = 0
            return False
        self._doubts += 1
        log.warning("the list of instruments lacks many; it is asked for again", extra={"lost": len(lost), "listed": len(whole)})
        return True

    def _keep(self) -> None:
        if self._kept is not None:
            write_atomic(self._kept, msgspec.json.encode(self.known), durable=False)

    def _mark(self, whole: Mapping[str, Instrument], found: Mapping[str, Instrument]) -> None:
        first = not self.looked
        # Those that this run no longer wants are not gone.
        left = {symbol: one for symbol, one in self.known.items() if symbol in found or symbol not in whole}
        for one in found.values() if first else ():
            self._told(one, "first", **self._before(whole, one))
        for change in changes(left, found, dict.fromkeys((*left, *found))):
            if first and change.what != "gone":
                continue
            one = found.get(change.symbol) or self.known[change.symbol]
            more = {"before": change.before, "after": change.after}
            more |= {"previous": change.before} if change.what == "name" else {}
            more |= self._before(whole, one) if change.what == "listed" else {}
            self._told(one, change.what, **more)
            log.warning("the venue changed an instrument", extra={"symbol": change.symbol, "what": change.what, "after": change.after})
        for intake in self._intakes:
            intake.mark("tape", "listings", {"listed": len(whole), "recorded": len(found)})

    def _before(self, whole: Mapping[str, Instrument], one: Instrument) -> dict[str, str]:
        """What a perpetual that we did not know was called before."""
        was = self.known.get(one.symbol)
        if was is not None:
            return {"previous": was.name} if was.name != one.name else {}
        name = renamed(self.known, whole, one)
        return {"previous": name} if name else {}

    def _told(self, one: Instrument, what: str, **more: str) -> None:
        steps: dict[str, object] = {"name": one.name, "status": one.status, "tick": one.tick, "lot": one.lot, "contract": one.contract}
        steps |= {"coin": one.coin, "multiplier": one.multiplier, "since": one.since, "until": one.until, "ended": one.ended}
        for intake in self._intakes:
            intake.mark("tape", "listing", {"symbol": one.symbol, "what": what, **steps, **more})
