"""Keeps the connections of one group up, for ever.

Each of the ``sockets`` places has its own endless loop of epochs. An epoch that must end (the venue's lifetime, a notice) is replaced
make-before-break: the next one is open and in sequence before it closes, and the pool never has more than one such spare. Delays begin
anew only after an epoch that brought data and lasted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Iterator, Sequence

import msgspec

from tape_archive.format.errors import LocalError, TapeError
from tape_collectors.runtime.backoff import delays
from tape_collectors.runtime.connection import Connection
from tape_collectors.runtime.dial import Dial
from tape_collectors.runtime.intake import Fetching, Intake, Ready
from tape_collectors.runtime.retry import worth_retry
from tape_collectors.runtime.watchdog import Silent, Watchdog
from tape_collectors.venues.protocol import Command, Feed, Fetch, Group, Reconnect, Send

log = logging.getLogger(__name__)

#: a replaced epoch may take so long to be in sequence; then it is given up and the old one goes on
READY_S = 60.0
#: an epoch that lasted so long, and brought data, was healthy: the next delay is the shortest again
HEALTHY_S = 5.0
#: after so many vain resubscriptions of one stream the whole connection is replaced (where one stream is worth that)
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
        dial: Dial | None = None,
        chance: random.Random | None = None,
        first_s: float = 10.0,
        least_s: float = 10.0,
        cap_s: float = 60.0,
        ready_s: float = READY_S,
        healthy_s: float = HEALTHY_S,
        timeout_s: float = 15.0,
        epoch: int = 0,
        ipv4: bool = False,
        coalesce_ms: float = 0.0,
        tries: float = TRIES,
    ) -> None:
        self.group = group
        self.open: dict[str, Connection] = {}
        self.reconnects = 0
        #: how often a connection ended, by why; and how often none could be made
        self.reasons: dict[str, int] = {}
        self.resubscribes = 0
        #: streams that the watchdog found silent and that have not spoken since on any socket: name -> since when (ns)
        self.silent: dict[str, int] = {}
        self.failures = 0
        self.stopping = False
        self._intake = intake
        self._fetcher = fetcher
        self._sockets = sockets
        self._tls = tls if group.url.startswith("wss:") else None
        self._dial = dial or Dial()
        self._chance = chance or random.Random()
        self._first_s = first_s
        self._least_s = least_s
        self._cap_s = cap_s
        self._ready_s = ready_s
        self._healthy_s = healthy_s
        self._timeout_s = timeout_s
        self._epoch = epoch
        self._ipv4 = ipv4
        self._coalesce_ms = coalesce_ms
        self._tries = tries
        self._dialing = asyncio.Lock()
        self._spare = False
        self._over: dict[str, asyncio.Event] = {}
        self._dogs: dict[str, Watchdog] = {}
        self._vain: dict[tuple[str, str], tuple[int, int]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def venue(self) -> str:
        """Whose sockets these are."""
        return self._intake.venue

    async def run(self) -> None:
        """All places, for ever."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for number in range(self._sockets):
                    self._tasks.create_task(self._place(), name=f"{self.group.name} place {number}")
        finally:
            # Cancelled, or a part failed: no socket stays that nobody waits for, and no epoch without its end.
            for connection in list(self.open.values()):
                connection.abort("stopped" if self.stopping else "restarted")
                self._forget(connection, connection.reason, 1000)

    def stop(self) -> None:
        """Close every socket and open none again."""
        self.stopping = True
        for connection in list(self.open.values()):
            connection.close("stopped")

    async def stopped(self, seconds: float = 1.0) -> None:
        """After ``stop``: until every socket is gone, and its last frames are handed over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        waiting = bool(self.open)
        while waiting:
            await asyncio.sleep(0.01)
            waiting = bool(self.open) and loop.time() < until

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
                log.warning("reconnect asked for", extra={"venue": self.venue, "s": s, "why": command.why})
                if command.overlap:
                    self._over[s].set()
                else:
                    connection.close(command.why, "asked")

    def want(self, names: Sequence[str]) -> None:
        """Carry these streams from now on: on the sockets that are open, and on those to come."""
        self.group = msgspec.structs.replace(self.group, names=tuple(names))
        for s in list(self.open):
            feed = self._intake.feed(s)
            if feed is not None:
                t = self._intake.mark(s, "want", {"names": list(names)})
                self._intake.commands(s, feed.want(t, names)[1])

    def tick(self, t: int) -> None:
        """Once a second: application pings and deadlines of the feeds, and the watchdog's verdicts."""
        for s in list(self.open):
            feed = self._intake.feed(s)
            if feed is None:
                continue
            if commands := feed.tick(t):
                self._intake.commands(s, commands)
            self._watch(s, feed, t)
        self._recovered()

    def _recovered(self) -> None:
        feeds = [feed for s in self.open if (feed := self._intake.feed(s)) is not None]
        for name, since in list(self.silent.items()) if feeds else ():
            carried = [feed.streams[name] for feed in feeds if name in feed.streams]
            if not carried or any(stream.last_t > since for stream in carried):
                del self.silent[name]

    def _watch(self, s: str, feed: Feed, t: int) -> None:
        if s not in self.open:
            return
        dog = self._dogs[s]
        silent = dog.judge(feed.streams.values(), t)
        vain = False
        for verdict in silent:
            fields = {"symbol": verdict.symbol, "channel": verdict.channel, "since_ns": verdict.since_ns}
            self._intake.mark(s, "silent", fields | {"expected_ns": verdict.expected_ns, "first": verdict.first})
            self.silent[verdict.name] = verdict.since_ns
            vain |= self._tried(s, verdict, feed.streams[verdict.name].frames) > self._tries
        if silent:
            some = ",".join(verdict.name for verdict in silent[:3])
            told = {"venue": self.venue, "s": s, "streams": len(silent), "some": some, "first": silent[0].first}
            log.warning("streams are silent", extra=told)
        dense = sum(stream.dense for stream in feed.streams.values())
        if vain or dog.all_silent or (dense > 1 and len(silent) == dense):
            self.open[s].close("silent")
        elif silent:
            self.resubscribes += len(silent)
            self._intake.commands(s, feed.resubscribe(t, [verdict.name for verdict in silent]))

    def _tried(self, s: str, verdict: Silent, frames: int) -> int:
        """How often this stream was found silent in a row: a stream that spoke between is counted from one again."""
        count, before = self._vain.get((s, verdict.name), (0, frames))
        count = count + 1 if before == frames else 1
        self._vain[s, verdict.name] = count, frames
        return count

    # -- epochs ----------------------------------------------------------------------------------------------------------

    def _delays(self) -> Iterator[float]:
        return delays(cap_s=self._cap_s, chance=self._chance)

    async def _place(self) -> None:
        waits = self._delays()
        while not self.stopping:
            connection = await self._connect()
            if connection is None:
                await asyncio.sleep(max(self._failed_s, next(waits)))
                continue
            while not connection.gone and not self.stopping:
                await self._due(connection)
                if not connection.gone:
                    connection = await self._replaced(connection)
            if connection.frames and asyncio.get_running_loop().time() - connection.opened_at >= self._healthy_s:
                waits = self._delays()
            if not self.stopping:
                await asyncio.sleep(next(waits))

    _failed_s = 0.0

    async def _connect(self) -> Connection | None:
        """One attempt. None: it failed, and ``_failed_s`` is how long to wait at least."""
        async with self._dialing:
            await self._dial.turn(self.group.url)
            if self.stopping:
                return None
            self._epoch += 1
            s = f"{self.group.name}-{self._epoch}"
            connection = Connection(self.group, self._intake, s, self._tls, ipv4=self._ipv4, coalesce_ms=self._coalesce_ms)
            try:
                await connection.open(self._timeout_s, self._begin)
            except Exception as error:
                least = worth_retry(error)
                if least is None:
                    if isinstance(error, TapeError):
                        raise
                    raise LocalError(f"connecting {self.group.url}: {error!r}") from error
                self.failures += 1
                self._failed_s = least
                self._intake.mark("tape", "unconnected", {"group": self.group.name, "why": _told(error)})
                log.warning(
                    "cannot connect", extra={"venue": self.venue, "s": s, "url": self.group.url, "why": repr(error)[:200], "least_s": least}
                )
                return None
            return connection

    def _begin(self, connection: Connection) -> None:
        """The socket is up and has not given a frame yet."""
        assert self._tasks is not None
        if self.stopping:
            connection.abort("stopped")
            return
        s = connection.s
        self.open[s] = connection
        self._over[s] = asyncio.Event()
        self._dogs[s] = Watchdog(first_s=self._first_s, least_s=self._least_s)
        self._tasks.create_task(self._ended(connection), name=f"end of {s}")
        self._intake.commands(s, self._intake.opened(s, self.group))
        log.info("connected", extra={"venue": self.venue, "s": s, "url": self.group.url})

    async def _ended(self, connection: Connection) -> None:
        why, code = await connection.wait()
        self._forget(connection, why, code)

    def _forget(self, connection: Connection, why: str, code: int) -> None:
        s = connection.s
        self.open.pop(s, None)
        self._dogs.pop(s, None)
        self._over.pop(s).set()
        self._vain = {key: tried for key, tried in self._vain.items() if key[0] != s}
        if not self.stopping:
            self.reconnects += 1
            self.reasons[connection.reason] = self.reasons.get(connection.reason, 0) + 1
        self._intake.closed(s, why, code)
        log.info("disconnected", extra={"venue": self.venue, "s": s, "why": why, "code": code})

    async def _due(self, connection: Connection) -> None:
        """Until the epoch is gone or should be replaced."""
        over = self._over.get(connection.s)
        if over is None:
            return
        life = self.group.lifetime_s * self._chance.uniform(0.92, 0.97)
        left = connection.opened_at + life - asyncio.get_running_loop().time()
        try:
            await asyncio.wait_for(over.wait(), max(0.0, left) if life else None)
        except TimeoutError:
            log.info("planned replacement", extra={"venue": self.venue, "s": connection.s})
            over.set()

    async def _replaced(self, old: Connection) -> Connection:
        """Make before break: gives the new epoch, in sequence, with the old one closed. Until it comes to that the old one goes on."""
        if self._spare:
            await old.rest(1.0)
            return old
        self._spare = True
        waits = self._delays()
        try:
            while not old.gone and not self.stopping:
                new = await self._connect()
                if new is None:
                    await old.rest(max(self._failed_s, next(waits)))
                elif await self._in_sequence(old, new):
                    old.close("replaced")
                    return new
                else:
                    new.close("did not get in sequence", "not in sequence")
                    await old.rest(next(waits))
            return old
        finally:
            self._spare = False

    async def _in_sequence(self, old: Connection, new: Connection) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._ready_s
        while not new.gone and not old.gone and loop.time() < until:
            before, after = self._intake.feed(old.s), self._intake.feed(new.s)
            if after is not None and ready(before, after) and joined(before, after):
                return True
            await asyncio.sleep(0.02)
        if new.gone:
            return False
        # The old one died meanwhile: a new one that is not in sequence yet is better than none.
        return old.gone or ready(self._intake.feed(old.s), self._intake.feed(new.s))


def _told(error: BaseException) -> str:
    """An error in one short line."""
    return " ".join((str(error) or type(error).__name__).split())[:160]


def ready(old: Feed | None, new: Feed | None) -> bool:
    """Whether ``new`` proves all that ``old`` proves: its books, or else the first frame of every dense stream.

    A stream that never spoke on ``old`` either (a delisted symbol) does not hold up the others.
    """
    if new is None:
        return False
    if isinstance(new, Ready):
        if new.ready():
            return True
        if isinstance(old, Ready) and old.ready():
            return False
    spoke = {name for name, stream in old.streams.items() if stream.first_t} if old is not None else None
    return all(stream.first_t or not stream.dense or (spoke is not None and name not in spoke) for name, stream in new.streams.items())


def joined(old: Feed | None, new: Feed) -> bool:
    """Whether no event lies between the two: by the venue's counts, and where it has none, by its acks."""
    if old is None:
        return True
    streams = new.streams.values()
    if any(stream.acked_t for stream in streams) and not all(stream.acked_t or stream.first_t for stream in streams):
        return False
    pairs = ((old.streams.get(name), stream) for name, stream in new.streams.items())
    return all(one is None or not one.last_id or not other.first_id or other.first_id <= one.last_id + 1 for one, other in pairs)
