"""Settings -> tapes, feeds, connections, sinks, supervisor: the only place that knows all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client.core import Metric

from tape_archive.format.atomic import make_folder, sweep, write_atomic
from tape_archive.format.clock import TapeClock
from tape_archive.format.errors import SettingsError, TapeError
from tape_archive.format.layout import element, segments
from tape_archive.format.lock import Lock
from tape_archive.format.tape import Tape, register
from tape_collectors.runtime.budget import budgets
from tape_collectors.runtime.dial import Dial
from tape_collectors.runtime.error_budget import ErrorBudget
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.health import Health, serve
from tape_collectors.runtime.pool import TRIES, Pool
from tape_collectors.runtime.recorder import Consumer, Recorder
from tape_collectors.runtime.supervisor import Supervisor
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.settings import Common
from tape_collectors.venues.protocol import Group

log = logging.getLogger(__name__)


def program() -> str:
    """The installed version."""
    try:
        return version("tapeline")
    except PackageNotFoundError:
        return "0"


def addresses(venue: Any, endpoints: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(REST roots, websocket roots) of a venue, with the settings' own addresses in place. Raises SettingsError for an unknown name."""
    prefix = f"{venue.name}."
    given = {name.removeprefix(prefix): url for name, url in endpoints.items() if name.startswith(prefix)}
    for name in given:
        if name not in venue.hosts and name not in venue.sockets:
            known = ", ".join(prefix + key for key in (*venue.hosts, *venue.sockets))
            raise SettingsError(f"unknown endpoint {prefix}{name} (known: {known})")
    return {**venue.hosts, **{k: v for k, v in given.items() if k in venue.hosts}}, {
        **venue.sockets,
        **{k: v for k, v in given.items() if k in venue.sockets},
    }


def trusted(settings: Common) -> ssl.SSLContext:
    """Whose certificates are believed: the system's authorities, or the settings' own. Raises SettingsError."""
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise SettingsError(f"cannot read the certificates in {settings.ca_file}: {error.strerror or error}") from None


@contextmanager
def alone(root: Path, name: str, venues: Iterable[str]) -> Iterator[None]:
    """Nobody else writes these tapes: one recorder of a name and one of a venue under a root. Raises Busy."""
    with ExitStack() as locks:
        for each in dict.fromkeys((name, *venues)):
            locks.enter_context(Lock(root / "state" / f"{element(each)}.lock"))
        yield


class Process:
    """What every recorder has: one clock, one recorder, one supervisor, its state files, health, and a clean end."""

    def __init__(
        self, name: str, settings: Common, consumer: Consumer | None, tapes: Sequence[Tape], budget: ErrorBudget | None = None
    ) -> None:
        self.name = name
        self.settings = settings
        self.root = Path(settings.root)
        self.state = self.root / "state"
        make_folder(self.state)
        sweep(self.state)
        self.budgets = budgets(self.state, settings.budgets)
        self.run_id = secrets.token_hex(8)
        self.earlier = max((tape.last_t() for tape in tapes), default=0)
        self.recorder = Recorder(TapeClock(after=self.earlier), consumer)
        self.supervisor = Supervisor(stall_s=settings.stall_s, run_s=settings.run_s, budget=budget)
        self.recorder.on_error = self.supervisor.fail
        self.pools: list[Pool] = []
        self.fetchers: dict[str, Fetcher] = {}
        self.tls = trusted(settings)
        self.health = Health(self.recorder, self.pools, self.fetchers, self.root, self.run_id)
        self.dial = Dial()
        self.on_second: list[Callable[[], None]] = []
        #: metrics of the output
        self.metrics: list[Callable[[], Iterable[Metric]]] = []

    def head(self, venue: str, stream: str, setup: object) -> Callable[[], Mapping[str, object]]:
        """The fields of a tape's head mark."""
        fields = {"format": 1, "venue": venue, "stream": stream, "host": socket.gethostname(), "pid": os.getpid()}
        return lambda: {**fields, "run": self.run_id, "version": program(), "setup": setup}

    def pool(self, group: Group, intake: TapeIntake, fetcher: Fetcher, tries: float = TRIES) -> Pool:
        """A pool whose commands reach it, run by the supervisor."""
        settings = self.settings
        pool = Pool(
            group,
            intake,
            fetcher,
            sockets=settings.sockets,
            tls=self.tls,
            dial=self.dial,
            ipv4=settings.ipv4,
            coalesce_ms=settings.coalesce_ms,
            epoch=_epochs(intake),
            first_s=settings.first_frame_s,
            least_s=settings.silence_s,
            tries=tries,
        )
        if not isinstance(intake.act, _Dispatch):
            intake.act = _Dispatch()
        intake.act.pools[group.name] = pool
        self.pools.append(pool)
        self.supervisor.add(f"pool {group.name}", pool.run, lambda: pool.stopping)
        return pool

    def drop(self, pool: Pool, intake: TapeIntake) -> None:
        """A pool that was stopped is forgotten."""
        self.pools.remove(pool)
        if isinstance(intake.act, _Dispatch):
            intake.act.pools.pop(pool.group.name, None)

    async def run(self) -> int:
        """Record until told to stop; then write, decode and seal all that is there."""
        recorder, supervisor = self.recorder, self.supervisor
        runner: web.AppRunner | None = None
        try:
            # From here on connections are made, whatever becomes of the rest: they end in order below.
            if self.settings.metrics_port >= 0:
                runner, port = await serve(self.health, self.settings.metrics_host, self.settings.metrics_port, self.metrics)
                log.info("health and metrics", extra={"url": f"http://{self.settings.metrics_host}:{port}"})
                self.port = port
            for venue, fetcher in self.fetchers.items():
                supervisor.add(f"fetch {venue}", fetcher.run)
            supervisor.every("tick", 0.9 * min(1.0, self.settings.fsync_s), self._tick)
            supervisor.watch(
                lambda: sum(stream.frames for i in recorder.intakes for f in i.replay.feeds.values() for stream in f.streams.values())
            )
            return await supervisor.run()
        finally:
            for pool in self.pools:
                pool.stop()
            await asyncio.gather(*(pool.stopped() for pool in self.pools))
            await supervisor.end()
            with contextlib.suppress(*(() if supervisor.error is None else (TapeError,))):
                # After a full disk none of this can be written either; what was written before is whole.
                recorder.close()
                await self._register()
                self._status()
            if runner is not None:
                await runner.cleanup()

    port = 0

    async def _tick(self) -> None:
        recorder = self.recorder
        recorder.tick()
        t = recorder.clock.now()
        if not recorder.behind:
            for pool in self.pools:
                pool.tick(t)
        for job in self.on_second:
            job()
        await recorder.sync()
        self._status()
        await self._register()

    async def _register(self) -> None:
        sealed, self.recorder.sealed = self.recorder.sealed, []
        for path in sealed:
            await asyncio.to_thread(register, path)

    def _status(self) -> None:
        status = msgspec.structs.asdict(self.health.status()) | {"port": self.port, "pid": os.getpid()}
        write_atomic(self.state / f"{element(self.name)}.status.json", msgspec.json.encode(status), durable=False)


class _Dispatch:
    """One tape may carry several groups: a command goes to the pool whose group its epoch belongs to."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}

    def __call__(self, s: str, commands: Any) -> None:
        if (pool := self.pools.get(s.rpartition("-")[0])) is not None:
            pool.act(s, commands)


def _epochs(intake: TapeIntake) -> int:
    # Epoch names never repeat on a tape: a run counts on from the millisecond it began in, and connects less often than that.
    return int(intake.recorder.clock.now() // 1_000_000) % 1_000_000_000


def earlier_segments(root: Path) -> bool:
    """Whether anything was recorded here before."""
    return bool(segments(root))
