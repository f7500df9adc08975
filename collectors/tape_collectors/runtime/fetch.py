"""REST under a weight budget a host. Every reply, also every failure, goes to the intake that asked, and so to the tape."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path

import aiohttp
import msgspec

from tape_archive.format.errors import LocalError
from tape_collectors.runtime.backoff import delays
from tape_collectors.runtime.budget import Budget, Budgets, SharedBudget
from tape_collectors.runtime.intake import Intake
from tape_collectors.venues.protocol import Fetch, Limits

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
#: a larger body is a failure
LARGEST = 64 * 1024 * 1024
#: requests that wait, for each host
QUEUE = 10_000
_AT_ONCE = 4
#: how long a host is left alone if it does not say so itself
_BLOCK_S = {429: 10.0, 418: 120.0, 403: 30.0, 451: 300.0}
_LONGEST_S = 600.0


class Job(msgspec.Struct, frozen=True, order=False):
    """One request on its way: ``attempt`` counts from 0."""

    intake: Intake
    fetch: Fetch
    attempt: int


class Host:
    """One REST host: its address, budget and queue. First attempts go before repeated ones, otherwise in the order of asking."""

    def __init__(self, root: str, limits: Limits, shared: Budgets | None = None, counted: str = "rest") -> None:
        self.root = root
        self.budget = SharedBudget(limits, shared.file(root, counted)) if shared else Budget(limits)
        self.refusals = 0
        self.asking = 0
        # A file that processes share is in wall time; alone, the monotonic clock cannot be set.
        self.now = time.time if shared else time.monotonic
        self._number = count()
        self._ready: list[tuple[bool, int, Job]] = []
        self._later: list[tuple[float, int, Job]] = []
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._later) + self.asking

    def put(self, job: Job, delay_s: float) -> bool:
        """Queue a job, due after its delay; False: the queue is full."""
        if len(self._ready) + len(self._later) >= QUEUE:
            return False
        if delay_s > 0:
            heapq.heappush(self._later, (asyncio.get_running_loop().time() + delay_s, next(self._number), job))
        else:
            heapq.heappush(self._ready, (job.attempt > 0, next(self._number), job))
        self._news.set()
        return True

    async def due(self) -> Job:
        """The next job whose time has come."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            while self._later and self._later[0][0] <= now:
                _, number, job = heapq.heappop(self._later)
                heapq.heappush(self._ready, (job.attempt > 0, number, job))
            if self._ready:
                return heapq.heappop(self._ready)[2]
            self._news.clear()
            timer = loop.call_at(self._later[0][0], self._news.set) if self._later else None
            try:
                await self._news.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def room(self, weight: int) -> None:
        """Wait until the budget has room for ``weight``, and take it."""
        wait = self.budget.reserve(self.now(), weight)
        while wait:
            # Looked at again each second: another process may have been told something new.
            await asyncio.sleep(min(wait, 1.0))
            wait = self.budget.reserve(self.now(), weight)

    def eta_s(self) -> float:
        """How long what waits here will take at least."""
        weights = sum(job.fetch.weight for _, _, job in (*self._ready, *self._later))
        return max(self.budget.eta_s(weights), self.budget.blocked_until - self.now() if weights else 0.0)

    def refused(self, status: int, after_s: float) -> float:
        """Leave the host alone: as long as it says, else twice as long each time. Gives the seconds if that is news, else 0."""
        now = self.now()
        seconds = after_s or min(_LONGEST_S, _BLOCK_S.get(status, 30.0) * 2 ** min(self.refusals, 10))
        news = now + seconds > self.budget.blocked_until + 1.0
        if news:
            self.refusals += 1
        self.budget.block(now, seconds)
        return seconds if news else 0.0


class Fetcher:
    """Asks what feeds want. ``run`` never returns. ``shared``: where all processes of this machine share each host's budget; a folder is
    for every host.

    Hosts of one address are counted apart, each by its own limits, and asked at least ``gap_s`` apart together. ``at_once``: so many
    requests of one host may be on their way.
    """

    def __init__(
        self,
        hosts: Mapping[str, str],
        limits: Mapping[str, Limits],
        *,
        tls: ssl.SSLContext | None = None,
        chance: random.Random | None = None,
        timeout_s: float = TIMEOUT_S,
        cap_s: float = 60.0,
        shared: Budgets | Path | None = None,
        gap_s: float = 0.0,
        at_once: int = _AT_ONCE,
    ) -> None:
        self.hosts: dict[str, Host] = {}
        shared = Budgets(shared, shared) if isinstance(shared, Path) else shared
        for name, root in hosts.items():
            counted = name if root in {host.root for host in self.hosts.values()} else "rest"
            self.hosts[name] = Host(root, limits.get(name, Limits(1_000_000, 10.0)), shared, counted)
        self._gap_s = gap_s
        self._at_once = at_once
        #: when each address may be asked again
        self._next: dict[str, float] = {}
        self.failures = 0
        self._tls = tls
        self._chance = chance or random.Random()
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._cap_s = cap_s
        self._session: aiohttp.ClientSession | None = None

    def fetch(self, intake: Intake, command: object) -> None:
        """Queue one request; it is due after its delay."""
        if not isinstance(command, Fetch) or command.host not in self.hosts:
            raise LocalError(f"no such request: {command!r} (hosts: {', '.join(self.hosts)})")
        self._put(Job(intake, command, 0), command.delay_s)

    def eta_s(self) -> float:
        """How long all that waits will take at least, by the venues' budgets."""
        return max((host.eta_s() for host in self.hosts.values()), default=0.0)

    def _put(self, job: Job, delay_s: float) -> None:
        if not self.hosts[job.fetch.host].put(job, delay_s):
            self.failures += 1
            log.error("REST queue is full; the request is dropped", extra={"request": job.fetch.request[:120]})
            job.intake.reply(job.fetch.request, 0, b"the queue is full")

    async def run(self) -> None:
        """Serve every host's queue, a few requests at a time."""
        async with (
            aiohttp.ClientSession(timeout=self._timeout, headers={"User-Agent": "tapeline"}) as self._session,
            asyncio.TaskGroup() as group,
        ):
            for name, host in self.hosts.items():
                group.create_task(self._serve(host, group), name=f"fetch {name}")

    async def ask(self, host: str, request: str) -> tuple[int, bytes]:
        """One request outside any feed (start-up checks): status and body. Status 0: no answer, the body says why."""
        if self._session is not None and not self._session.closed:
            return (await self._ask(self._session, self.hosts[host], request))[:2]
        async with aiohttp.ClientSession(timeout=self._timeout, headers={"User-Agent": "tapeline"}) as session:
            return (await self._ask(session, self.hosts[host], request))[:2]

    async def _serve(self, host: Host, group: asyncio.TaskGroup) -> None:
        places = asyncio.Semaphore(self._at_once)
        while True:
            await places.acquire()
            job = await host.due()
            try:
                await host.room(job.fetch.weight)
                await self._apart(host.root)
            except asyncio.CancelledError:
                host.put(job, 0.0)
                raise
            group.create_task(self._do(host, job, places), name=f"fetch {job.fetch.request[:40]}")

    async def _apart(self, root: str) -> None:
        """Wait until the address may be asked again."""
        if self._gap_s:
            now = asyncio.get_running_loop().time()
            due = max(now, self._next.get(root, 0.0))
            self._next[root] = due + self._gap_s
            await asyncio.sleep(due - now)

    async def _do(self, host: Host, job: Job, places: asyncio.Semaphore) -> None:
        assert self._session is not None
        host.asking += 1
        try:
            status, body, after_s = await self._ask(self._session, host, job.fetch.request)
        except asyncio.CancelledError:
            # This part is restarted, or the process ends: the request is not forgotten.
            host.put(job, 0.0)
            raise
        finally:
            host.asking -= 1
            places.release()
        job.intake.reply(job.fetch.request, status, body)
        if status == 200:
            host.refusals = 0
        else:
            self._failed(host, job, status, after_s)

    def _failed(self, host: Host, job: Job, status: int, after_s: float) -> None:
        self.failures += 1
        request = job.fetch.request
        if status in _BLOCK_S or after_s:
            # 429 obeyed once is no ban; 418 is the ban that follows when it was not (sheet 2.4).
            if seconds := host.refused(status, after_s):
                log.error("host is left alone", extra={"host": host.root, "status": status, "seconds": round(seconds, 1)})
        else:
            # What is not there, and is not asked for again here, is news for who asked, not for people.
            level = logging.INFO if status == 404 and not job.fetch.retries else logging.WARNING
            log.log(level, "REST failed", extra={"host": host.root, "request": request[:120], "status": status, "attempt": job.attempt})
        if job.fetch.retries < 0 or job.attempt < job.fetch.retries:
            waits = delays(0.2, self._cap_s, self._chance)
            for _ in range(min(job.attempt, 10)):
                next(waits)
            self._put(Job(job.intake, job.fetch, job.attempt + 1), next(waits))

    async def _ask(self, session: aiohttp.ClientSession, host: Host, request: str) -> tuple[int, bytes, float]:
        method, _, rest = request.partition(" ")
        path, _, body = rest.partition(" ")
        headers = dict(host.budget.limits.headers) | ({"Content-Type": "application/json"} if body else {})
        try:
            async with session.request(
                method, host.root + path, data=body.encode() or None, headers=headers, ssl=self._tls or True
            ) as answer:
                data = await answer.content.read(LARGEST)
                while not answer.content.at_eof():
                    data += await answer.content.read(LARGEST)
                    if len(data) > LARGEST:
                        return 0, f"a body of more than {LARGEST} bytes".encode(), 0.0
                used = answer.headers.get(host.budget.limits.used_header or "-", "")
                if used.isdigit():
                    host.budget.told(host.now(), int(used))
                return _status(answer, data), data, _retry_after(answer.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, f"{type(error).__name__}: {error}"[:300].encode(), 0.0


def _status(answer: aiohttp.ClientResponse, data: bytes) -> int:
    # A page for people where data should be: a proxy or a firewall answered, not the venue, and it counts as refused.
    return 403 if answer.status == 200 and answer.content_type == "text/html" and data.lstrip()[:1] == b"<" else answer.status


def _retry_after(text: str) -> float:
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else 0.0
    except ValueError:
        return 0.0
