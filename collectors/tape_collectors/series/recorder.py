"""``cex-record``: the tapes of several venues and one CSV series made from them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tape_archive.format import cursor
from tape_archive.format.errors import SettingsError, TapeError, VenueProtocolError
from tape_archive.format.tape import Tape
from tape_collectors.market.sampler import Sampler, Setup, TickSetup
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.recorder import Consumer
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.series import derive
from tape_collectors.series.anchors import Anchors
from tape_collectors.series.listings import Listings
from tape_collectors.settings import CexSettings
from tape_collectors.sinks.csv import committed
from tape_collectors.sinks.fanout import Fanout
from tape_collectors.sinks.series import Series
from tape_collectors.venues import canonical, load
from tape_collectors.venues.protocol import Group
from tape_collectors.wiring import Process, addresses, alone, trusted

if TYPE_CHECKING:
    from tape_collectors.series.ticks import TickOutput

log = logging.getLogger(__name__)


async def record(settings: CexSettings) -> int:
    """Record until told to stop; gives the exit code."""
    with alone(Path(settings.root), "cex", map(canonical, settings.venues)):
        recorder = _CexRecorder(settings)
        await recorder.check()
        return await recorder.run()


def carried(venues: Sequence[Any], channels: Sequence[str]) -> dict[str, list[str]]:
    """The channels of each venue; none: its default set. Raises SettingsError for a channel that no venue has."""
    out: dict[str, list[str]] = {venue.name: [] for venue in venues}
    for channel in channels:
        unknown: list[SettingsError] = []
        for venue in venues:
            try:
                if venue.carries(channel):
                    out[venue.name].append(channel)
            except SettingsError as error:
                unknown.append(error)
        if len(unknown) == len(venues):
            raise unknown[0]
    return out


def _tick_output(root: Path, sampler: Sampler, setup: TickSetup) -> TickOutput:
    # pyarrow and numpy are half of the time to start, after a crash too: only who writes ticks needs them.
    from tape_collectors.series.ticks import TickOutput

    return TickOutput(root, sampler, setup)


class _CexRecorder:
    def __init__(self, settings: CexSettings) -> None:
        self.settings = settings
        self._tailing: asyncio.Future[None] | None = None
        self.root = Path(settings.root)
        self.venues = [load(name) for name in dict.fromkeys(map(canonical, settings.venues))]
        if not self.venues:
            raise SettingsError("no venues; name some, e.g. --venues binance_spot")
        self.symbols = {venue.name: [venue.native(symbol) for symbol in settings.symbols] for venue in self.venues}
        self.plans: list[tuple[Any, dict[str, str], list[Group]]] = []
        channels = carried(self.venues, settings.channels)
        for venue in self.venues:
            hosts, sockets = addresses(venue, settings.endpoints)
            self.plans.append((venue, hosts, venue.groups(self.symbols[venue.name], channels[venue.name], sockets)))
        markets = tuple((venue.name, symbol) for venue in self.venues for symbol in self.symbols[venue.name])
        if settings.ticks and settings.tape_only:
            raise SettingsError("--ticks needs books, and --tape-only keeps none; give one of them")
        ticks = TickSetup() if settings.ticks else None
        self.setup = Setup(markets, settings.hz, settings.band_bps, settings.top, settings.out, settings.split_hours, ticks)
        self.series = None if settings.tape_only else Series(self.root, self.setup)
        self.ticks = _tick_output(self.root, self.series.sampler, ticks) if self.series is not None and ticks is not None else None
        self.anchors = (
            Anchors(self.series.sampler, settings.rest_every_s) if self.series is not None and settings.rest_every_s > 0 else None
        )
        self.tapes = [Tape(self.root, venue.name, group.name) for venue, _, groups in self.plans for group in groups]

    async def check(self) -> None:
        """Refuse symbols that a venue does not list. A venue that does not answer is recorded all the same, and holds up no other."""
        await asyncio.gather(*(self._check(venue, hosts) for venue, hosts, _ in self.plans))

    async def _check(self, venue: Any, hosts: dict[str, str]) -> None:
        status, body = await Fetcher(hosts, venue.limits, tls=trusted(self.settings), timeout_s=5.0).ask("rest", venue.info)
        why = f"status {status}: {body[:100].decode('utf-8', 'replace')}"
        if status == 200:
            try:
                venue.check(self.symbols[venue.name], body)
                return
            except VenueProtocolError as error:
                why = str(error)
        log.warning("cannot check the symbols", extra={"venue": venue.name, "why": why})

    async def run(self) -> int:
        """The process."""
        self._prepare_output()
        process = Process("cex", self.settings, self._consumer(), self.tapes)
        setup = msgspec.to_builtins(self.setup) if self.series is not None else {}
        tapes = iter(self.tapes)
        books = self.series is not None
        pairs: list[tuple[Group, TapeIntake, Fetcher]] = []
        for venue, hosts, groups in self.plans:
            fetcher = process.fetchers[venue.name] = Fetcher(hosts, venue.limits, tls=process.tls, shared=process.budgets)
            for group in groups:
                head = process.head(venue.name, group.name, setup)
                make = (lambda v: lambda name: v.feed(name, books=books))(venue)
                pairs.append((group, TapeIntake(process.recorder, venue.name, next(tapes), make, head), fetcher))
        if self.series is not None and process.earlier:
            self.series.held = True
            process.supervisor.add("tail", self._tail_part(process.earlier))
        if self.ticks is not None:
            self._begin_ticks(self.ticks, process)
        self._anchor(process)
        process.recorder.start(asyncio.get_running_loop())
        for group, intake, fetcher in pairs:
            process.pool(group, intake, fetcher)
        self._list(process)
        if self.series is not None:
            process.on_second.append(lambda: self._commit(process))
        try:
            return await process.run()
        finally:
            await self._end(process)

    async def _end(self, process: Process) -> None:
        expected = () if process.supervisor.error is None else (TapeError,)
        try:
            if self.ticks is not None:
                whole = process.supervisor.error is None and process.recorder.closed
                with contextlib.suppress(*expected):
                    await asyncio.to_thread(self.ticks.stop, whole)
        finally:
            if self.series is not None:
                await self._tail(process.earlier)
                with contextlib.suppress(*expected):
                    self._commit(process)
                    self.series.file.close()

    def _consumer(self) -> Consumer | None:
        # Ticks are told first: they read the sampler's books as they stand before a line.
        consumers = [one for one in (self.ticks, self.series, self.anchors) if one is not None]
        return Fanout(consumers) if len(consumers) > 1 else self.series

    def _begin_ticks(self, ticks: TickOutput, process: Process) -> None:
        def settle() -> None:
            for intake in process.recorder.intakes:
                intake.sync()

        async def remake() -> None:
            await asyncio.to_thread(ticks.remake)
            await asyncio.Event().wait()

        ticks.start(settle)
        if ticks.owing:
            process.supervisor.add("ticks tail", remake)

    def _anchor(self, process: Process) -> None:
        if self.anchors is None:
            return
        anchors = self.anchors
        for venue, _, _ in self.plans:
            intakes = [intake for intake in process.recorder.intakes if intake.venue == venue.name]
            anchors.add(venue.name, intakes, process.fetchers[venue.name], venue.limits)
        process.on_second.append(lambda: anchors.tick(process.recorder.clock.now()))

    def _list(self, process: Process) -> None:
        if self.settings.listing_every_s <= 0:
            return
        for venue, _, _ in self.plans:
            intake = next(intake for intake in process.recorder.intakes if intake.venue == venue.name)
            listings = Listings(venue, self.symbols[venue.name], intake, process.fetchers[venue.name], self.settings.listing_every_s)
            process.supervisor.add(f"listings {venue.name}", listings.run)

    def _commit(self, process: Process) -> None:
        assert self.series is not None
        self.series.commit(process.state / "cex.cursor", process.run_id, process.recorder.clock.now())

    def _prepare_output(self) -> None:
        """Fail now, with one line, rather than at the first row."""
        folder = (self.root / self.settings.out).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"cannot make {folder}: {error.strerror}; choose another --out") from None
        if not os.access(folder, os.W_OK):
            raise SettingsError(f"cannot write in {folder}; choose another --out or give this user the right to write there")

    # -- the tail of an earlier run -----------------------------------------------------------------------------------------

    def _tail_part(self, end: int) -> Any:
        async def part() -> None:
            await self._tail(end)
            await asyncio.Event().wait()

        return part

    async def _tail(self, end: int) -> None:
        """Until the tail is written, once: a thread cannot be cancelled, so whoever comes later waits for the one that is at work."""
        assert self.series is not None
        if not self.series.held:
            return
        if self._tailing is None or (self._tailing.done() and self._tailing.exception() is not None):
            self._tailing = asyncio.ensure_future(asyncio.to_thread(self._finish_tail, end))
        await asyncio.shield(self._tailing)
        self.series.release()

    def _finish_tail(self, end: int) -> None:
        """Write the rows that the earlier run did not come to, behind which the live ones go on."""
        assert self.series is not None
        after = self._cut(end)
        rows = 0
        for samples in derive.tail(self.root, self.setup, after, end):
            self.series.file.write(samples)
            rows += len(samples)
        log.info("the tail of the earlier run is complete", extra={"rows": rows})

    def _cut(self, end: int) -> int:
        """Cut what a crash tore; gives the last tick that is whole."""
        saved = cursor.load(self.root / "state" / "cex.cursor")
        base = self.root / self.settings.out
        files = sorted(base.parent.glob(f"{base.stem}*{base.suffix}"), reverse=True)
        for path in files:
            tick, size = committed(path, len(self.setup.markets), end)
            if size < path.stat().st_size:
                os.truncate(path, size)
            if tick:
                return tick
        return saved.t if saved is not None else 0
