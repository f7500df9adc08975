"""``ofi-record``: trades and full-depth books of Binance USD-M on the tape, and OFI, CVD and their fusion made from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tape_archive.format import harvest as layout
from tape_archive.format.errors import SettingsError, TapeError
from tape_archive.format.tape import Tape
from tape_archive.human import duration
from tape_archive.service import log_to_file
from tape_collectors.harvest import derive
from tape_collectors.harvest import output as outputs
from tape_collectors.harvest.metrics import metrics
from tape_collectors.harvest.report import CRITERIA, Reports
from tape_collectors.market.harvest_setup import VENUE, HarvestSetup
from tape_collectors.runtime.error_budget import ErrorBudget
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.settings import HarvestSettings
from tape_collectors.venues import load
from tape_collectors.wiring import Process, addresses, alone, trusted

log = logging.getLogger(__name__)
TRADES = "aggTrade"


class Result(msgspec.Struct):
    """How a run ended. ``begun``: its first tape time, unix ns."""

    code: int
    run: str
    begun: int
    reconnects: int
    doubles: int
    errors: int


async def record(settings: HarvestSettings) -> Result:
    """Record until told to stop, or for ``run_hours``."""
    root = Path(settings.root)
    run_log = root / layout.RUN_LOGS / f"harvest_{datetime.now(UTC):%Y%m%d_%H%M}.log"
    with alone(root, "ofi", (VENUE,)), log_to_file(run_log):
        recorder = _HarvestRecorder(settings)
        await recorder.check()
        return await recorder.run()


class _HarvestRecorder:
    def __init__(self, settings: HarvestSettings) -> None:
        self.settings = settings
        self.root = Path(settings.root)
        self.venue: Any = load(VENUE)
        self.symbols = [self.venue.native(symbol) for symbol in settings.symbols]
        self.hosts, sockets = addresses(self.venue, settings.endpoints)
        groups = self.venue.groups(self.symbols, (TRADES, settings.depth), sockets)
        paced = {"ping_s": settings.wss_ping_interval, "silence_s": settings.heartbeat_timeout}
        self.groups = [msgspec.structs.replace(group, **paced) for group in groups]
        self.tapes = [Tape(self.root, VENUE, group.name) for group in self.groups]
        self.budget = ErrorBudget(settings.max_errors_per_hour, settings.error_cooldown_sec)

    async def check(self) -> None:
        """Refuse symbols that the venue does not list; a venue that does not answer is recorded all the same."""
        fetcher = Fetcher(self.hosts, self.venue.limits, tls=trusted(self.settings), timeout_s=5.0)
        status, body = await fetcher.ask("rest", self.venue.info)
        why = f"status {status}: {body[:100].decode('utf-8', 'replace')}"
        if status == 200:
            try:
                self.venue.check(self.symbols, body)
                return
            except SettingsError:
                raise
            except TapeError as error:
                why = str(error)
        log.warning("cannot check the symbols", extra={"venue": VENUE, "why": why})

    async def run(self) -> Result:
        """The process."""
        settings = self.settings
        seconds = settings.run_s or settings.run_hours * 3600
        process = Process("ofi", msgspec.structs.replace(settings, run_s=seconds), None, self.tapes, self.budget)
        output = self._output(process)
        described = {derive.KEY: msgspec.to_builtins(output.harvest.setup)}
        fetcher = process.fetchers[VENUE] = Fetcher(self.hosts, self.venue.limits, tls=process.tls, shared=process.budgets)
        intakes = []
        for group, tape in zip(self.groups, self.tapes, strict=True):
            head = process.head(VENUE, group.name, described)
            intakes.append(TapeIntake(process.recorder, VENUE, tape, self.venue.feed, head))
        self._begin(process, output)
        process.recorder.start(asyncio.get_running_loop())
        for group, intake in zip(self.groups, intakes, strict=True):
            process.pool(group, intake, fetcher)
        reports = Reports(self.root, settings.report_hours, {name: getattr(settings, name) for name in CRITERIA}, seconds / 3600)
        process.supervisor.add("reports", reports.run)
        process.metrics.append(lambda: metrics(output, process))
        log.info(
            "recording",
            extra={"symbols": ",".join(self.symbols), "root": str(self.root), "for": duration(round(seconds * 1e9)) if seconds else "ever"},
        )
        try:
            code = await process.run()
        finally:
            await self._end(process, output)
        if process.supervisor.over:
            # A process that was told to stop has five seconds; a report may take minutes.
            await reports.last()
        doubles = sum(market.trades.chain.doubles for market in output.harvest.markets.values())
        reconnects = sum(pool.reconnects for pool in process.pools)
        return Result(code, process.run_id, process.recorder.begun, reconnects, doubles, output.errors)

    def _output(self, process: Process) -> outputs.HarvestOutput:
        settings = self.settings
        setup = HarvestSetup(
            symbols=tuple(self.symbols),
            venue=VENUE,
            depth=settings.depth,
            trades=TRADES,
            rotate_s=settings.parquet_rotate_sec,
            z_mode=settings.z_mode,  # type: ignore[arg-type]
            scale_mode=settings.scale_mode,  # type: ignore[arg-type]
            mad_multiplier=settings.mad_multiplier,
            fast_weight=settings.scale_fast_weight,
            half_life_s=settings.half_life_sec,
            limit=settings.winsor_limit,
            remembered=settings.dedup_lru,
        )
        setup = msgspec.structs.replace(setup, carry=outputs.carried(self.root, setup))
        output = outputs.HarvestOutput(self.root, setup, process.run_id, self.budget)
        process.recorder.consumer = output
        return output

    def _begin(self, process: Process, output: outputs.HarvestOutput) -> None:
        def settle() -> None:
            for intake in process.recorder.intakes:
                intake.sync()

        async def remake() -> None:
            await asyncio.to_thread(output.remake)
            await asyncio.Event().wait()

        output.start(settle)
        if output.owing:
            process.supervisor.add("parts of earlier runs", remake)

    async def _end(self, process: Process, output: outputs.HarvestOutput) -> None:
        expected = () if process.supervisor.error is None else (TapeError,)
        whole = process.supervisor.error is None and process.recorder.closed
        with contextlib.suppress(*expected):
            await asyncio.to_thread(output.stop, whole)
