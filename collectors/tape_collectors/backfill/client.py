"""Asks the venue for its past: every answer is on the tape before anything decodes it.

The tape is the stream ``backfill`` of the venue, in the folder of all others. A file of the public archive is not put into a line: it is
kept as it is, below ``public_archive/``, and a mark ``archive`` on the tape tells its path, size and sha256.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from tape_archive.format.atomic import write_atomic
from tape_archive.format.clock import TapeClock
from tape_archive.format.lines import mark_line, reply_line
from tape_archive.format.lock import Lock
from tape_archive.format.tape import Tape, register
from tape_collectors.runtime.backoff import delays
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.venues.protocol import Command, Feed, Fetch, Group

log = logging.getLogger(__name__)

STREAM = "backfill"
FOLDER = "public_archive"
#: an answer that says no, and will say it again
_FINAL = frozenset((400, 401, 404, 410))
_HOUR = 3600 * 10**9


class Answered(Exception):
    """The venue answered, and the answer is no. ``status`` as HTTP has it, ``body`` what it said."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body


class NoAnswer(Exception):
    """Nothing usable came, however often it was asked."""


class Client:
    """``async with Client(...) as client: t, data = await client.get(fetch)``. ``requests`` counts what was sent."""

    def __init__(self, root: Path, venue: str, fetcher: Fetcher, *, retries: int = 6, version: str = "0") -> None:
        self.root = root
        self.venue = venue
        self.fetcher = fetcher
        self.requests = 0
        self._retries = retries
        self._version = version
        self._tape = Tape(root, venue, STREAM)
        self._waiting: dict[str, asyncio.Future[tuple[int, int, bytes]]] = {}
        self._hour = -1
        self._run = secrets.token_hex(8)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Client]:
        """While it may be asked. Raises Busy if another process backfills here."""
        lock = self.root / "state" / f"{STREAM}.{self.venue}.lock"
        with Lock(lock, "backfill is at work here already", "wait until it has ended: it fills the same gaps"):
            self._clock = TapeClock(after=self._tape.last_t())
            serving = asyncio.create_task(self.fetcher.run(), name="fetch")
            try:
                yield self
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                self._close()

    async def get(self, fetch: Fetch) -> tuple[int, bytes]:
        """The time and the body of the answer; failures are asked again, later and later. Raises Answered, NoAnswer."""
        waits = delays(0.2, 30.0)
        attempt = 0
        while True:
            t, status, data = await self._once(fetch)
            if status == 200:
                return t, data
            if status in _FINAL:
                raise Answered(status, data)
            # 429 and 418 are waited out in the budget, and are no failure of this request.
            attempt += status not in (418, 429)
            if attempt > self._retries:
                raise NoAnswer(f"HTTP {status}" if status else data.decode("utf-8", "replace")[:200])
            await asyncio.sleep(next(waits))

    async def _once(self, fetch: Fetch) -> tuple[int, int, bytes]:
        waiting = self._waiting.get(fetch.request)
        if waiting is None:
            waiting = self._waiting[fetch.request] = asyncio.get_running_loop().create_future()
            self.requests += 1
            self.fetcher.fetch(self, fetch)
        return await waiting

    def sync(self) -> None:
        """The tape onto the disk; may run in another thread."""
        self._tape.sync()

    # -- files -----------------------------------------------------------------------------------------------------------

    def place(self, path: str) -> Path:
        """Where a file of the archive is kept."""
        return self.root / FOLDER / self.venue / path.lstrip("/")

    def keep(self, path: str, data: bytes) -> None:
        """Keep a file that was verified, and tell the tape."""
        write_atomic(self.place(path), data)
        self.mark("rest", "archive", {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})

    # -- what the fetcher calls ------------------------------------------------------------------------------------------

    def reply(self, request: str, status: int, data: bytes) -> None:
        """One answer, or its failure: onto the tape, then to whoever waits for it."""
        t = self._stamp()
        if not (status == 200 and request.endswith(".zip")):
            self._tape.append(reply_line(t, request, data, status), 1)
        waiting = self._waiting.pop(request, None)
        if waiting is not None and not waiting.done():
            waiting.set_result((t, status, data))

    def opened(self, s: str, group: Group) -> Sequence[Command]:
        """There is no socket."""
        return ()

    def frame(self, s: str, data: bytes) -> None:
        """There is no socket."""

    def closed(self, s: str, why: str, code: int) -> None:
        """There is no socket."""

    def feed(self, s: str) -> Feed | None:
        """There is no feed."""
        return None

    def commands(self, s: str, commands: Sequence[Command]) -> None:
        """There is no feed."""

    def mark(self, s: str, kind: str, fields: Mapping[str, object]) -> int:
        """A mark."""
        t = self._stamp()
        self._tape.append(mark_line(t, s, kind, fields), 1)
        return t

    # -- the tape --------------------------------------------------------------------------------------------------------

    def _stamp(self) -> int:
        """The time of the line that comes next; a new hour begins a new segment before it."""
        t = self._clock.now()
        if t // _HOUR != self._hour:
            fields = {"format": 1, "venue": self.venue, "stream": STREAM, "host": socket.gethostname(), "pid": os.getpid()}
            fields |= {"run": self._run, "version": self._version}
            begun = self._clock.now()
            sealed = self._tape.turn(begun, [mark_line(begun, "tape", "tape", fields)], t)
            self._hour = t // _HOUR
            if sealed is not None:
                register(sealed)
            t = self._clock.now()
        return t

    def _close(self) -> None:
        if self._tape.file is not None:
            self._tape.sync()
            sealed = self._tape.seal(self._clock.now())
            if sealed is not None:
                register(sealed)
