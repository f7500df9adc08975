"""``market-record``: the whole market of a venue on tapes, as many connections as it needs, and tables made from the tapes.

The recording process writes tapes and looks at sequences, nothing else. The tables are written by processes of their own that follow the
tapes (``writer``), on another core: a database that is slow or down stops them, and never the recording.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tape_archive.format.errors import SettingsError
from tape_archive.format.lock import Lock
from tape_archive.format.tape import Tape
from tape_collectors.market.balance import connections
from tape_collectors.market.candles import lengths
from tape_collectors.market.replay import MakeFeed
from tape_collectors.market.shards import parse
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.fleet import Fleet
from tape_collectors.runtime.pool import Pool
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.settings import MarketSettings
from tape_collectors.venues import load
from tape_collectors.venues.binance import Binance
from tape_collectors.venues.binance.market import POLL, TYPES, Anchored, Polls
from tape_collectors.venues.binance.symbols import stream_name
from tape_collectors.venues.protocol import Group
from tape_collectors.whole_market.discovery import Discovery, Wanted
from tape_collectors.whole_market.processes import BackfillProcess, TableProcess, metrics, parts, status_of, worries
from tape_collectors.whole_market.seams import Seams
from tape_collectors.wiring import Process, addresses

log = logging.getLogger(__name__)

#: of the venue's weight a minute, so much is spent on polls; the rest is for snapshots and lists
POLL_SHARE = 0.5
#: of which polls get this part while books wait for their snapshots: a book without one is proven later, open interest is only older
POLL_WAITS = 0.1
#: why connections end that brought all that they should
_PLANNED = ("replaced", "stopped", "restarted", "not in sequence")


async def record(settings: MarketSettings) -> int:
    """Record until told to stop; gives the exit code."""
    with Lock(Path(settings.root) / "state" / f"{name_of(settings)}.lock"):
        return await _MarketRecorder(settings).run()


def name_of(settings: MarketSettings) -> str:
    """The process's name: of its status file, lock and cursors. Shards may share a root."""
    part, number = parse(settings.shard)
    return "market" if number == 1 else f"market-{part + 1}-of-{number}"


class Startup(msgspec.Struct):
    """What a recorder is about to do. ``snapshots_s``: how long the weight budget makes the books wait, s."""

    symbols: int
    streams: int
    connections: dict[str, int]
    weight: int
    snapshots_s: float


class _Keeper:
    """What a fleet needs of the process."""

    def __init__(self, process: Process, intake: TapeIntake, fetcher: Fetcher) -> None:
        self._process, self._intake, self._fetcher = process, intake, fetcher

    def pool(self, group: Group) -> Pool:
        # One quiet symbol of hundreds is no reason to close the others' connection.
        return self._process.pool(group, self._intake, self._fetcher, math.inf)

    def drop(self, pool: Pool) -> None:
        self._process.drop(pool, self._intake)


class _MarketRecorder:
    def __init__(self, settings: MarketSettings) -> None:
        self.settings = settings
        self.root = Path(settings.root)
        self.part = parse(settings.shard)
        venue = load(settings.venue)
        if not isinstance(venue, Binance) or "market" not in venue.sockets:
            raise SettingsError(f"market-record records binance_usdm, not {settings.venue}")
        self.venue = venue
        self.types = settings.types or tuple(TYPES)
        for kind in self.types:
            if kind not in TYPES:
                raise SettingsError(f"unknown type {kind!r} (known: {', '.join(TYPES)})")
        self.hosts, self.sockets = addresses(venue, settings.endpoints)
        #: channels by root
        self.channels: dict[str, list[str]] = {}
        lengths(settings.custom)
        custom = ["kline_1m"] * bool(settings.custom)
        for channel in dict.fromkeys((*(TYPES[kind] for kind in self.types), *custom)):
            self.channels.setdefault(POLL if channel == "openInterest" else venue.root_of(channel), []).append(channel)
        #: the tapes that are written, and which process makes tables of which
        self.tapes = [*(root for root in venue.sockets if root in self.channels), POLL]
        self.writers = parts(self.tapes, settings.workers)
        if settings.workers > 1 and settings.store.startswith("chdb:"):
            raise SettingsError("chdb:// is one process's: leave --workers 1, or choose another store")
        self.fleets: dict[str, Fleet] = {}
        self.polls: Polls | None = None
        self.fetcher: Fetcher

    async def run(self) -> int:
        """The process."""
        name, (part, number) = name_of(self.settings), self.part
        tapes = {
            root: Tape(self.root, self.venue.name, root if number == 1 else f"{root}-{part + 1}") for root in (*self.venue.sockets, POLL)
        }
        process = Process(name, self.settings, None, list(tapes.values()))
        self.fetcher = process.fetchers[self.venue.name] = Fetcher(self.hosts, self.venue.limits, tls=process.tls, shared=process.budgets)
        setup = {"tables": {"types": list(self.types), "custom": list(self.settings.custom), "shard": self.settings.shard}}
        intakes: dict[str, TapeIntake] = {}
        for root, tape in tapes.items():
            head = process.head(self.venue.name, tape.stream, setup)
            make = self.venue.anchored if root != POLL else self._polling
            intakes[root] = TapeIntake(process.recorder, self.venue.name, tape, make, head)
        process.recorder.start(asyncio.get_running_loop())
        for root in self.venue.sockets:
            self.fleets[root] = self._fleet(root, process, intakes[root])
        for root in self.tapes:
            self._seams(name, process, intakes[root], self.venue.anchored if root != POLL else self._polling)
        self._poll(process, intakes[POLL])
        wanted = Wanted(self.settings.symbols, self.part, self.settings.discovery_s)
        kept = process.state / f"instruments-{name}.json"
        discovery = Discovery(self.venue, wanted, list(intakes.values()), self.fetcher, self._carry, kept)
        process.supervisor.add("discovery", discovery.run)
        tables = self._tables(process)
        try:
            return await process.run()
        finally:
            if not all(await asyncio.gather(*(one.end() for one in tables))):
                log.warning("the tables do not have everything yet; the next start goes on, or: tape fill")

    def _seams(self, name: str, process: Process, intake: TapeIntake, make: MakeFeed) -> None:
        seams = Seams(intake, make, process.state / f"ends-{name}-{intake.tape.stream}.json")
        seams.begin(process.recorder.begun)
        process.on_second.append(seams.look)

    def _tables(self, process: Process) -> list[TableProcess]:
        settings = self.settings
        if settings.store == "none":
            return []
        shard = settings.shard.replace("/", "-of-")
        arguments = ["--root", str(self.root), "--venue", self.venue.name, "--types", ",".join(self.types), "--shard", settings.shard]
        arguments += ["--custom", ",".join(settings.custom)] if settings.custom else []
        arguments += ["--drain-seconds", str(settings.drain_s), "--log-level", settings.log_level, *(["--log-json"] * settings.log_json)]
        store = settings.store or f"parquet://{self.root}"
        embedded = store.startswith("chdb:")
        if embedded and settings.backfill_every_s > 0:
            # The embedded engine is one process's: what writes its tables fills them too.
            arguments += ["--backfill-seconds", str(settings.backfill_every_s), *self._endpoints()]
        tables = []
        for tapes in self.writers:
            tables.append(
                TableProcess([*arguments, "--tapes", ",".join(tapes)], store, status_of(process.state, shard, tapes), settings.drain_s)
            )
            process.supervisor.add(f"tables {tapes[0]}", tables[-1].run, lambda one=tables[-1]: one.ending)  # type: ignore[misc]
        process.health.more.append(lambda: metrics(tables, process.recorder.clock.now()))
        process.health.worries.append(lambda: worries(tables, process.recorder.clock.now()))
        if settings.backfill_every_s > 0 and not embedded:
            self._backfill(process, store)
        return tables

    def _endpoints(self) -> list[str]:
        return [word for name, url in self.settings.endpoints.items() for word in ("--endpoint", f"{name}={url}")]

    def _backfill(self, process: Process, store: str) -> None:
        arguments = ["--root", str(self.root), "--log-level", self.settings.log_level, *self._endpoints()]
        backfill = BackfillProcess(arguments, store, self.settings.backfill_every_s)
        process.supervisor.add("backfill", backfill.run)
        lost = 0

        def look() -> None:
            nonlocal lost
            now = sum(count for pool in process.pools for why, count in pool.reasons.items() if why not in _PLANNED)
            if now > lost:
                backfill.lost()
            lost = now

        process.on_second.append(look)

    def _fleet(self, root: str, process: Process, intake: TapeIntake) -> Fleet:
        venue = self.venue
        url = self.sockets.get(root, venue.sockets[root]) + venue.paths[root]
        model = Group(root, url, (), venue.lifetime_s, venue.sends_per_s, venue.silence_s)
        return Fleet(model, self.settings.streams, intake, _Keeper(process, intake, self.fetcher))

    def _polling(self, group: str) -> Polls:
        return Polls(self.settings.poll_s, self._poll_weight(books=0))

    def _poll(self, process: Process, intake: TapeIntake) -> None:
        """A group without a socket: its epoch is open as long as the process runs."""
        s = f"{POLL}-{process.recorder.clock.now() // 1_000_000 % 1_000_000_000}"
        intake.opened(s, Group(POLL, self.hosts["rest"], ()))
        polls = intake.feed(s)
        assert isinstance(polls, Polls)
        self.polls = polls

        def turn() -> None:
            polls.allow(self._poll_weight(books=self._unanchored(process)))
            for command in polls.tick(process.recorder.clock.now()):
                self.fetcher.fetch(intake, command)

        process.on_second.append(turn)
        process.health.more.append(lambda: [("tape_books_unproven", "books that wait for their snapshot", self._unanchored(process))])

    def _unanchored(self, process: Process) -> int:
        """Books that wait for their snapshot; one that two connections carry may count twice."""
        feeds = (feed for intake in process.recorder.intakes for feed in intake.replay.feeds.values())
        return sum(feed.unanchored() for feed in feeds if isinstance(feed, Anchored))

    def _poll_weight(self, books: int) -> int:
        """What polls may use a minute."""
        limits = self.venue.limits["rest"]
        a_minute = limits.weight * 60 / limits.interval_s * POLL_SHARE
        return int(a_minute * (POLL_WAITS if books else 1.0))

    async def _carry(self, symbols: Sequence[str]) -> None:
        """The symbols that trade are others now."""
        plan = self.startup(symbols)
        log.info("symbols", extra=msgspec.structs.asdict(plan))
        if self.polls is not None and POLL in self.channels:
            self.polls.want(0, [stream_name(symbol, "openInterest") for symbol in symbols])
        await asyncio.gather(*(fleet.carry(self.names(root, symbols)) for root, fleet in self.fleets.items()))
        log.info("connections", extra={root: len(fleet.pools) for root, fleet in self.fleets.items()})

    def names(self, root: str, symbols: Sequence[str]) -> list[str]:
        """The streams of a root, symbol by symbol: those of one are likely on one connection."""
        return [stream_name(symbol, channel) for symbol in symbols for channel in self.channels.get(root, ())]

    def startup(self, symbols: Sequence[str]) -> Startup:
        """The arithmetic: connections = ceil(streams / limit) for each root; books wait for their snapshots' weight."""
        streams = {root: len(symbols) * len(self.channels.get(root, ())) for root in self.venue.sockets}
        books = len(symbols) if "l2_book" in self.types else 0
        weight = books * self.venue.snapshot[2]
        number = {root: connections(count, self.settings.streams) for root, count in streams.items()}
        return Startup(len(symbols), sum(streams.values()), number, weight, round(self._wait_s(weight), 1))

    def _wait_s(self, weight: int) -> float:
        """How long the books wait: polls have their part, other programs of this host what they used in this interval."""
        budget, now = self.fetcher.hosts["rest"].budget, self.fetcher.hosts["rest"].now()
        interval = self.venue.limits["rest"].interval_s
        polls = self._poll_weight(books=1) * interval / 60 if POLL in self.channels else 0.0
        return budget.eta_s(weight, now, int(polls))
