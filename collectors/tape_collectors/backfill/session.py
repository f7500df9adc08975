"""Settings -> store, client, instruments: what ``backfill`` does, from the search to the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from tape_archive.format.errors import NotFound, RemoteError, SettingsError
from tape_archive.human import parse_time
from tape_archive.tables.laws import interval_ns
from tape_archive.tables.tables import Tables, open_tables
from tape_collectors.backfill import custom
from tape_collectors.backfill.client import Answered, Client, NoAnswer
from tape_collectors.backfill.holes import Hole
from tape_collectors.backfill.ledger import learned, native, remembered
from tape_collectors.backfill.memory import SCOPES, Memory
from tape_collectors.backfill.plan import SPACING_S, Plan, plan
from tape_collectors.backfill.run import Batches, Left, Outcome, Run, Show, Total, silent
from tape_collectors.backfill.scan import FILLABLE, Known, Scan, lives
from tape_collectors.runtime.budget import budgets
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.settings import BackfillSettings
from tape_collectors.venues.binance import USDM
from tape_collectors.venues.binance.history import LIMITS
from tape_collectors.wiring import addresses, program, trusted

#: how far back is looked, by why
LOOKBACK = {"restart": "2d", "network": "6h", "manual": "7d", "scheduled": "7d"}
#: of a file of the archive
_TIMEOUT_S = 300.0


class Look(msgspec.Struct):
    """What was found missing: ``holes`` that the ``plan`` would ask for, the parts of them that it refuses, and what was left before.
    ``strangers``: instruments that lack rows and whose listing nobody knows yet. ``made``: custom candles that are missing."""

    plan: Plan
    holes: list[Hole]
    left: list[Left]
    refused: list[Left]
    strangers: int
    start: int
    end: int
    made: Total


class Session:
    """``with Session(settings) as session``: ``look`` asks nobody, ``fill`` does."""

    def __init__(self, settings: BackfillSettings) -> None:
        if settings.scope not in SCOPES:
            raise SettingsError(f"scope {settings.scope!r}: expected {', '.join(SCOPES)}")
        if settings.venue != USDM.name:
            raise SettingsError(f"venue {settings.venue!r}: only {USDM.name} can be backfilled")
        self.settings = settings
        self.end = parse_time(settings.until) if settings.until else time.time_ns()
        self.start = self.end - interval_ns(settings.lookback or LOOKBACK[settings.scope])
        self.root = Path(settings.root)
        self.store: Tables = open_tables(settings.store or f"parquet://{self.root}")

    def __enter__(self) -> Session:
        self.store.create()
        fresh = [name for name, one in remembered(self.store).items() if one.fresh and self.start <= (one.listed or 0) < self.end]
        self.scan = Scan(self.store, self._tables(), self._names(), self.start, self.end, fresh)
        if not self.scan.all_symbols():
            raise NotFound(f"{self.store.url} has no rows of {', '.join(self.scan.tables)}; name what to fill: --symbols BTCUSDT")
        return self

    def __exit__(self, *error: object) -> None:
        self.store.close()

    def look(self) -> Look:
        """Search and plan, without a request: listings are those that the ledger knows."""
        known = self._known()
        memory = self._memory(known)
        holes, left = memory.open(self.scan.holes(known))
        made = plan(holes, self.end, lives(known))
        names = memory.names
        told = [Left.of(hole, names[hole.symbol], status, memory.why(hole)) for hole, status in left if status != "asked"]
        refused = [Left.of(one.hole, names[one.hole.symbol], "failed" if one.later else "unfillable", one.why) for one in made.refused]
        candles = self._custom(known).total
        return Look(made, holes, told, refused, len(self._strangers(known)), self.start, self.end, candles)

    async def fill(self, show: Show = silent) -> Outcome:
        """Fill what is missing. Raises RemoteError if the venue does not even list its instruments."""
        hosts, _ = addresses(USDM, self.settings.endpoints)
        roots = {"rest": hosts["rest"], **dict.fromkeys(LIMITS, hosts["rest"]), "archive": hosts["archive"]}
        fetcher = Fetcher(
            roots,
            {**USDM.limits, **LIMITS},
            tls=trusted(self.settings),
            timeout_s=_TIMEOUT_S,
            shared=budgets(self._state(), self.settings.budgets),
            gap_s=SPACING_S,
            at_once=12,
        )
        async with Client(self.root, USDM.name, fetcher, version=program()).open() as client:
            known = await self._learned(client)
            outcome = await Run(self.scan, client, self._memory(known), known, self.end, show).fill()
            await self._make(known, outcome)
            return outcome

    def _tables(self) -> tuple[str, ...]:
        """Those that the venue is asked for: custom candles are made of minutes."""
        asked = dict.fromkeys(custom.MINUTES if table == custom.TABLE else table for table in self.settings.tables)
        return tuple(asked) or FILLABLE

    def _custom(self, known: Mapping[str, Known]) -> custom.Made:
        if self.settings.tables and custom.TABLE not in self.settings.tables:
            return custom.Made(Total(), {}, [])
        return custom.missing(self.store, known, self.start, self.end)

    async def _make(self, known: Mapping[str, Known], outcome: Outcome) -> None:
        """Custom candles, of the minutes that are there now."""
        made = await asyncio.to_thread(self._custom, known)
        if made.rows:
            batches = Batches(self.store)
            batches.put(custom.TABLE, made.rows)
            await batches.flush()
        if made.total.gaps:
            outcome.tables[custom.TABLE] = made.total
            outcome.left += made.left

    async def _learned(self, client: Client) -> dict[str, Known]:
        known = self._known()
        if strangers := self._strangers(known):
            try:
                known |= await learned(client, Batches(self.store), strangers)
            except (Answered, NoAnswer) as error:
                raise RemoteError(f"{USDM.name} does not list its instruments: {error}") from None
        return known

    def _strangers(self, known: Mapping[str, Known]) -> list[str]:
        """Instruments that the ledger does not know. Nobody needs to know when one was listed that lacks nothing."""
        there = remembered(self.store)
        unknown = {name: one for name, one in known.items() if name not in there}
        lacking = {hole.symbol for hole in self.scan.holes(unknown)}
        return [name for name, one in unknown.items() if one.native in lacking]

    def _known(self) -> dict[str, Known]:
        there = remembered(self.store)
        return {name: there.get(name) or Known(native(name)) for name in self.scan.all_symbols()}

    def _memory(self, known: Mapping[str, Known]) -> Memory:
        memory = Memory(self.store, self.end, self.settings.scope)
        memory.names = {one.native: name for name, one in known.items()}
        return memory

    def _names(self) -> list[str] | None:
        """The tables' names of the symbols that the settings name; patterns mean those that are there."""
        wanted = self.settings.symbols
        if not wanted or any(one.lower() == "all" for one in wanted):
            return None
        found: dict[str, None] = {}
        there: list[str] | None = None
        for one in wanted:
            if "*" not in one and "?" not in one:
                found[named(one)] = None
                continue
            there = there or sorted({name for table in self.settings.tables or FILLABLE for name in self.store.symbols(table)})
            pattern = one.upper()
            found |= dict.fromkeys(name for name in there if fnmatchcase(name, pattern) or fnmatchcase(native(name), pattern))
        return list(found)

    def _state(self) -> Path:
        folder = self.root / "state"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def named(symbol: str) -> str:
    """``BTCUSDT``, ``BTC-USDT`` or ``BTC-USDT-PERP`` as the tables have it. Raises SettingsError."""
    text = USDM.native(symbol)
    if not text.endswith("USDT") or text == "USDT":
        raise SettingsError(f"{symbol!r} is no perpetual in USDT; write BTCUSDT or BTC-USDT-PERP")
    return f"{text.removesuffix('USDT')}-USDT-PERP"
