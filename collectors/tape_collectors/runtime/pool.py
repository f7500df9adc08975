"""Keeps the connections of one group up, for ever.

Each of the ``sockets`` places has its own endless loop of epochs. An epoch that must end (the venue's lifetime, a notice) is replaced
make-before-break: the next one is open and in sequence before it closes. Delays begin anew only after data came.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Iterator, Sequence

from tape_archive.format.errors import LocalError, TapeError
from tape_collectors.runtime.backoff import delays, worth_retry
from tape_collectors.runtime.connection import Connection
from tape_collectors.runtime.intake import Fetching, Intake
from tape_collectors.runtime.watchdog import Watchdog
from tape_collectors.venues.protocol import Command, Fetch, Group, Reconnect, Send

log = logging.getLogger(__name__)

#: a replaced epoch may take so long to be in sequence; then it is given up and the old one goes on
READY_S = 60.0
#: after so many vain resubscriptions of one stream the whole connection is replaced
TRIES = 2


class Pool:
    """One group's sockets. ``run`` never returns; ``act`` carries out what feeds ask."""

    def __init__(
        self,
        group: Group,
        intake: Intake,
        fetcher: Fetching,
        *,
        sockets: int = 1,
        tls: ssl.SSLContext | None = None,
        chance: random.Random | None = None,
        first_s: float = 10.0,
        least_s: float = 10.0,
        cap_s: float = 60.0,
        epoch: int = 0,
    ) -> None:
        self.group = group
        self.open: dict[str, Connection] = {}
        self.reconnects = 0
        self.resubscribes = 0
        self.stopping = False
        self._intake = intake
        self._fetcher = fetcher
        self._sockets = sockets
        self._tls = tls if group.url.startswith("wss:") else None
        self._chance = chance or random.Random()
        self._first_s = first_s
        self._least_s = least_s
        self._cap_s = cap_s
        self._epoch = epoch
        self._dialing = asyncio.Lock()
        self._replace: dict[str, asyncio.Event] = {}
        self._dogs: dict[str, Watchdog] = {}
        self._vain: dict[tuple[str, str], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """All places, for ever."""
        async with asyncio.TaskGroup() as places:
            for number in range(self._sockets):
                places.create_task(self._place(), name=f"{self.group.name} place {number}")

    def stop(self) -> None:
        """Close every socket and open none again."""
        self.stopping = True
        for connection in list(self.open.values()):
            connection.close("stopped")

    async def stopped(self, seconds: float = 1.0) -> None:
        """After ``stop``: until every socket is gone, and its last frames are handed over."""
        until = time.monotonic() + seconds
        waiting = bool(self.open)
        while waiting:
            await asyncio.sleep(0.01)
            waiting = bool(self.open) and time.monotonic() < until

    # -- what feeds ask --------------------------------------------------------------------------------------------------

    def act(self, s: str, commands: Sequence[Command]) -> None:
        """Carry out commands of the feed of epoch ``s``."""
        connection = self.open.get(s)
        for command in commands:
            if type(command) is Send:
                if connection is not None:
                    connection.send(command.data)
            elif type(command) is Fetch:
                self._fetcher.fetch(self._intake, command)
            elif type(command) is Reconnect and connection is not None:
                log.warning("reconnect asked for", extra={"s": s, "why": command.why})
                if command.overlap:
                    self._replace[s].set()
                else:
                    connection.close(command.why)

    def tick(self, t: int) -> None:
        """Once a second: application pings and deadlines of the feeds, and the watchdog's verdicts."""
        for s in list(self.open):
            feed = self._intake.feed(s)
            if feed is None:
                continue
            if commands := feed.tick(t):
                self._intake.commands(s, commands)
            self._watch(s, t)

    def _watch(self, s: str, t: int) -> None:
        feed = self._intake.feed(s)
        if feed is None:
            return
        silent = self._dogs[s].judge(feed.streams.values(), t)
        if not silent:
            return
        for verdict in silent:
            fields = {"symbol": verdict.symbol, "channel": verdict.channel, "since_ns": verdict.since_ns}
            self._intake.mark(s, "silent", fields | {"expected_ns": verdict.expected_ns, "first": verdict.first})
            log.warning("stream is silent", extra={"s": s, "stream": verdict.name, "first": verdict.first})
            key = (s, verdict.name)
            self._vain[key] = self._vain.get(key, 0) + 1
        dense = sum(stream.dense for stream in feed.streams.values())
        if (dense > 1 and len(silent) == dense) or any(self._vain[s, verdict.name] > TRIES for verdict in silent):
            self.open[s].close("silent")
            return
        self.resubscribes += len(silent)
        self._intake.commands(s, feed.resubscribe(t, [verdict.name for verdict in silent]))

    # -- epochs ----------------------------------------------------------------------------------------------------------

    async def _place(self) -> None:
        waits = delays(cap_s=self._cap_s, chance=self._chance)
        current: Connection | None = None
        while not self.stopping:
            if current is None:
                current = await self._dial(waits)
                continue
            await self._live(current)
            if not current.gone:
                current = await self._overlap(current) or current
                continue
            if current.frames:
                waits = delays(cap_s=self._cap_s, chance=self._chance)
            current = None
            self.reconnects += 1
            if not self.stopping:
                await asyncio.sleep(next(waits))

    async def _dial(self, waits: Iterator[float]) -> Connection | None:
        """One attempt; on failure waits as long as the delays say, and gives None."""
        async with self._dialing:
            if self.stopping:
                return None
            self._epoch += 1
            s = f"{self.group.name}-{self._epoch}"
            connection = Connection(self.group, self._intake, s, self._tls)
            try:
                await connection.open()
            except BaseException as error:
                least = worth_retry(error)
                if least is None:
                    if isinstance(error, (TapeError, asyncio.CancelledError)):
                        raise
                    raise LocalError(f"connecting {self.group.url}: {error!r}") from error
                wait = max(least, next(waits))
                log.warning("cannot connect", extra={"s": s, "url": self.group.url, "why": repr(error)[:200], "wait_s": round(wait, 1)})
            else:
                self._begin(connection)
                return connection
        await asyncio.sleep(wait)
        return None

    def _begin(self, connection: Connection) -> None:
        s = connection.s
        self.open[s] = connection
        self._replace[s] = asyncio.Event()
        self._dogs[s] = Watchdog(first_s=self._first_s, least_s=self._least_s)
        self._intake.commands(s, self._intake.opened(s, self.group))
        log.info("connected", extra={"s": s, "url": self.group.url})
        task = asyncio.create_task(self._ended(connection), name=f"end of {s}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ended(self, connection: Connection) -> None:
        why, code = await connection.wait()
        s = connection.s
        self.open.pop(s, None)
        self._dogs.pop(s, None)
        self._replace[s].set()
        self._vain = {key: count for key, count in self._vain.items() if key[0] != s}
        self._intake.closed(s, why, code)
        log.info("disconnected", extra={"s": s, "why": why, "code": code})

    async def _live(self, connection: Connection) -> None:
        """Until the epoch is gone or should be replaced."""
        life = self.group.lifetime_s * self._chance.uniform(0.92, 0.97)
        left = life - (time.monotonic() - connection.opened_at) if life else None
        try:
            await asyncio.wait_for(self._replace[connection.s].wait(), left if left is None else max(0.0, left))
        except TimeoutError:
            log.info("planned replacement", extra={"s": connection.s})

    async def _overlap(self, old: Connection) -> Connection | None:
        """Make before break. Gives the new epoch, in sequence; or None if it did not come to that, and the old one goes on."""
        self._replace[old.s].clear()
        new = await self._dial(delays(cap_s=self._cap_s, chance=self._chance))
        if new is None:
            return None
        until = time.monotonic() + READY_S
        while not new.gone and not old.gone and time.monotonic() < until:
            feed = self._intake.feed(new.s)
            ready = getattr(feed, "ready", None)
            if new.frames and (ready is None or ready()):
                old.close("replaced")
                return new
            await asyncio.sleep(0.02)
        if old.gone or new.gone:
            return None if new.gone else new
        new.close("did not get in sequence")
        old.opened_at = time.monotonic() - self.group.lifetime_s * 0.9 if self.group.lifetime_s else old.opened_at
        return None
