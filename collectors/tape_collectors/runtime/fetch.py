"""REST under a weight budget a host. Every reply, also every failure, goes to the intake that asked, and so to the tape."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from itertools import count

import aiohttp

from tape_collectors.runtime.backoff import delays
from tape_collectors.runtime.budget import Budget
from tape_collectors.runtime.intake import Intake
from tape_collectors.venues.protocol import Fetch, Limits

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
LARGEST = 64 * 1024 * 1024
_AT_ONCE = 4


class Host:
    """One REST host: its address, budget and queue."""

    def __init__(self, root: str, limits: Limits) -> None:
        self.root = root
        self.budget = Budget(limits)
        self.queue: asyncio.PriorityQueue[tuple[float, int, int, Intake, Fetch]] = asyncio.PriorityQueue(maxsize=10_000)

    async def room(self, weight: int) -> None:
        """Wait until the budget has room for ``weight``, and take it."""
        wait = self.budget.wait(time.monotonic(), weight)
        while wait:
            await asyncio.sleep(wait)
            wait = self.budget.wait(time.monotonic(), weight)
        self.budget.take(time.monotonic(), weight)


class Fetcher:
    """Asks what feeds want. ``run`` never returns."""

    def __init__(
        self,
        hosts: Mapping[str, str],
        limits: Mapping[str, Limits],
        *,
        tls: ssl.SSLContext | None = None,
        chance: random.Random | None = None,
        timeout_s: float = TIMEOUT_S,
        cap_s: float = 60.0,
    ) -> None:
        self.hosts = {name: Host(root, limits.get(name, Limits(1_000_000, 10.0))) for name, root in hosts.items()}
        self.failures = 0
        self._tls = tls
        self._chance = chance or random.Random()
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._cap_s = cap_s
        self._number = count()
        self._session: aiohttp.ClientSession | None = None

    def fetch(self, intake: Intake, command: object) -> None:
        """Queue one request; it is due after its delay."""
        assert isinstance(command, Fetch)
        self._put(intake, command, 0, command.delay_s)

    def _put(self, intake: Intake, command: Fetch, attempt: int, delay_s: float) -> None:
        due = time.monotonic() + delay_s
        try:
            self.hosts[command.host].queue.put_nowait((due, next(self._number), attempt, intake, command))
        except asyncio.QueueFull:
            log.error("REST queue is full; the request is dropped and its feed will ask again", extra={"request": command.request})

    async def run(self) -> None:
        """Serve every host's queue, a few requests at a time."""
        async with (
            aiohttp.ClientSession(timeout=self._timeout, headers={"User-Agent": "tapeline"}) as self._session,
            asyncio.TaskGroup() as group,
        ):
            for name, host in self.hosts.items():
                for number in range(_AT_ONCE):
                    group.create_task(self._serve(host), name=f"fetch {name} {number}")

    async def ask(self, host: str, request: str) -> tuple[int, bytes]:
        """One request outside any feed (start-up checks): status and body. Status 0: no answer, the body says why."""
        if self._session is not None:
            return (await self._ask(self._session, self.hosts[host], request))[:2]
        async with aiohttp.ClientSession(timeout=self._timeout, headers={"User-Agent": "tapeline"}) as session:
            return (await self._ask(session, self.hosts[host], request))[:2]

    async def _serve(self, host: Host) -> None:
        assert self._session is not None
        while True:
            due, _, attempt, intake, command = await host.queue.get()
            if (early := due - time.monotonic()) > 0:
                # Not due yet: give the place to whoever is, and come back.
                await asyncio.sleep(min(early, 0.05))
                host.queue.put_nowait((due, next(self._number), attempt, intake, command))
                continue
            await host.room(command.weight)
            status, body, after_s = await self._ask(self._session, host, command.request)
            intake.reply(command.request, status, body)
            if status != 200:
                self._failed(host, intake, command, attempt, status, after_s)

    def _failed(self, host: Host, intake: Intake, command: Fetch, attempt: int, status: int, after_s: float) -> None:
        self.failures += 1
        if status in (429, 418):
            # 429 obeyed once is no ban; 418 is the ban that follows when it was not (sheet 2.4).
            host.budget.block(time.monotonic(), after_s or (120.0 if status == 418 else 10.0))
        elif status == 403:
            host.budget.block(time.monotonic(), after_s or 30.0)
        log.warning("REST failed", extra={"request": command.request[:120], "status": status, "attempt": attempt})
        if command.retries < 0 or attempt < command.retries:
            waits = delays(0.2, self._cap_s, self._chance)
            for _ in range(min(attempt, 10)):
                next(waits)
            self._put(intake, command, attempt + 1, max(after_s, next(waits)))

    async def _ask(self, session: aiohttp.ClientSession, host: Host, request: str) -> tuple[int, bytes, float]:
        method, _, rest = request.partition(" ")
        path, _, body = rest.partition(" ")
        headers = {"Content-Type": "application/json"} if body else None
        try:
            async with session.request(
                method, host.root + path, data=body.encode() or None, headers=headers, ssl=self._tls or True
            ) as answer:
                data = await answer.content.read(LARGEST)
                while not answer.content.at_eof():
                    data += await answer.content.read(LARGEST)
                used = answer.headers.get(host.budget.limits.used_header or "-", "")
                if used.isdigit():
                    host.budget.told(time.monotonic(), int(used))
                return answer.status, data, _retry_after(answer.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, f"{type(error).__name__}: {error}"[:300].encode(), 0.0


def _retry_after(text: str) -> float:
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else 0.0
    except ValueError:
        return 0.0
