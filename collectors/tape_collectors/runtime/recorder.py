"""Stamp, append, decode: the order of work of one wake-up, and the promise that all else rests on.

Connections hand over frames as they are read. The first frame of a wake-up schedules ``flush`` for its end. ``flush`` makes one ``write``
for each tape, and only then decodes, in the order of the stamps. Tape time is one clock for all tapes of the process, so the live order
and the order in which a reader merges the tapes are the same.

Decoding has a time slice for each turn of the loop, and so has what consumers make when tape time passes (the rows of a tick): they do it
by pieces. What cannot be done at once waits in memory, up to ``LIMIT`` bytes; past that nothing is kept but the place on the tape, and
decoding goes on from the tape until it has caught up. Nothing is dropped and the tape never waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tape_archive.format.clock import TapeClock
from tape_archive.format.errors import TapeError
from tape_archive.format.records import Gap, Record, Unknown
from tape_archive.format.rotation import next_hour
from tape_collectors.runtime.catchup import Reply, entries
from tape_collectors.venues.protocol import NOTHING

if TYPE_CHECKING:
    from tape_archive.format.lines import Line
    from tape_collectors.runtime.tapes import TapeIntake

log = logging.getLogger(__name__)

LIMIT = 64 * 1024 * 1024
SLICE_S = 0.010
#: at the turn of an hour decoding has so long to finish, so that the next segment can begin with checkpoints
TURN_S = 1.0
SECOND = 1_000_000_000
#: after every time there is
NEVER = 1 << 63

#: (intake, t, s, frame, what else it is): a frame has None as its last, a reply its request, a mark its kind and fields.
Entry = tuple["TapeIntake", int, str, bytes, Any]


class Written(Protocol):
    """A tape that lines are appended to: ``waiting`` are the lines of this wake-up, of times ``first_t`` to ``last_t``."""

    waiting: list[bytes]
    first_t: int
    last_t: int

    def append(self, lines: list[bytes], first: int, t: int) -> None:
        """Whole lines, of times ``first`` to ``t``, by one write."""
        ...

    def sync(self) -> None:
        """To the disk; called in another thread."""
        ...


class Target(Written, Protocol):
    """A file of an intake that files frames in several. ``written_t``: the time of the last line that is in it."""

    written_t: int

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def intake(self) -> TapeIntake:
        """Whose frames it holds."""
        ...

    def holds(self, line: Line) -> bool:
        """Whether a line is a whole frame of the intake that is on no other tape."""
        ...


class Consumer(Protocol):
    """Derived data: told of every line in tape order, ``advance`` first.

    A line's time may go untold while nothing falls ``due`` by then; the time of the last such line is told before the next one.
    """

    def begin(self, t: int, begun: int) -> None:
        """A run begins; nothing is known."""
        ...

    def advance(self, t: int) -> bool:
        """Tape time is ``t`` now. False: a piece of what comes of it is done (some milliseconds), and there is more; it is told the same
        ``t`` again before anything else."""
        ...

    def due(self) -> int:
        """``advance`` has nothing to do for times up to this one (0: every line's time must be told)."""
        ...

    def record(self, venue: str, s: str, record: Record) -> None:
        """What a line of epoch ``s`` said."""
        ...

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """Epoch ``s`` is over."""
        ...

    def trouble(self, venue: str, t: int, where: str, why: str) -> None:
        """Something is wrong with the venue (see ``market.troubles``)."""
        ...

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """What a checkpoint must hold beside the feed's own state."""
        ...


class Recorder:
    """All tapes of one process."""

    def __init__(self, clock: TapeClock, consumer: Consumer | None = None) -> None:
        self.clock = clock
        self.consumer = consumer
        self.intakes: list[TapeIntake] = []
        self.targets: list[Target] = []
        self.boundary = 0
        self.begun = 0
        self.sealed: list[Path] = []
        self.frames = 0
        #: frames that no decoder could account for, by venue
        self.unknowns: dict[str, int] = {}
        #: lines that were decoded: every frame, reply and mark of this process
        self.decoded = 0
        self.gaps: dict[tuple[str, str], int] = {}
        self.write_s = 0.0
        self.writes = 0
        self.sync_s = 0.0
        self.syncs = 0
        self.batch: list[Entry] = []
        self._dirty: list[Written] = []
        self._pending: deque[Entry] = deque()
        self._pending_bytes = 0
        self._due = self._last = self._told = 0
        self._behind: Iterator[Entry] | None = None
        #: read from the tape, and not decoded yet: what comes of its time is not done
        self._held: tuple[Entry, ...] = ()
        self._scheduled = False
        self._decoding = False
        self.closed = False
        self.on_error: Callable[[TapeError], None] = _raise
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def behind(self) -> bool:
        """Whether decoding goes on from the tape, not from memory."""
        return self._behind is not None

    @property
    def unknown(self) -> int:
        """Frames that no decoder could account for."""
        return sum(self.unknowns.values())

    @property
    def queue_bytes(self) -> int:
        """Bytes of frames that are on the tape and wait in memory to be decoded."""
        return self._pending_bytes

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the run: head marks of every tape; from here on frames are taken."""
        self._loop = loop
        self.begun = self.clock.now()
        if self.consumer is not None:
            self.consumer.begin(self.begun, self.begun)
        self._turn()

    def add(self, entry: Entry) -> None:
        """Take one stamped thing to be decoded, once its line is written."""
        if self.closed:
            return
        self.batch.append(entry)
        self.wake()

    def file(self, target: Written, t: int, line: bytes) -> None:
        """A line for a tape; written at the end of this wake-up, before anything is decoded."""
        if self.closed:
            return
        if not target.waiting:
            target.first_t = t
            self._dirty.append(target)
            self.wake()
        target.waiting.append(line)
        target.last_t = t

    def wake(self) -> None:
        """See to it that ``flush`` is called at the end of this wake-up."""
        if not self._scheduled:
            self._scheduled = True
            assert self._loop is not None
            self._loop.call_soon(self.flush)

    def stamp(self) -> int:
        """The time of what was just read. In a new hour every tape first turns to its next segment."""
        t = self.clock.now()
        if t >= self.boundary and not self._decoding:
            self._turn()
            t = self.clock.now()
        return t

    def flush(self) -> None:
        """``work``, for the loop: an error of ours (a full disk) is given to ``on_error``, once, and ends the process."""
        try:
            self.work()
        except TapeError as error:
            self._scheduled = True
            self.on_error(error)

    def work(self, seconds: float = SLICE_S) -> None:
        """Append what this wake-up brought, one ``write`` a tape; then decode for one time slice."""
        self._scheduled = False
        self._write()
        if self.batch:
            batch, self.batch = self.batch, []
            if self._behind is None:
                self._pending.extend(batch)
                self._pending_bytes += sum([len(entry[3]) for entry in batch])
        self._decode(seconds)

    def _write(self) -> None:
        if not self._dirty:
            return
        begun = time.perf_counter()
        dirty, self._dirty = self._dirty, []
        for target in dirty:
            lines, target.waiting = target.waiting, []
            target.append(lines, target.first_t, target.last_t)
        self.write_s += time.perf_counter() - begun
        self.writes += 1

    def _drain(self, seconds: float) -> None:
        """Decode all that is there, and what comes of it, if it can be done in so many seconds; all lines are written in any case."""
        until = time.perf_counter() + seconds
        self.work(min(SLICE_S, seconds))
        while (self._pending or self._behind is not None or self.batch) and (left := until - time.perf_counter()) > 0:
            self.work(left)
        self._write()

    def tick(self) -> None:
        """Once a second: a clock mark on every tape that was silent, or while the clock is off; end the zstd frame."""
        offset = self.clock.check()
        now = self.stamp()
        for intake in self.intakes:
            if offset is not None or now - intake.last_t >= SECOND * 9 // 10:
                intake.mark("tape", "clock", {"offset_ns": offset or 0})
        self.flush()
        for intake in self.intakes:
            intake.roll()

    async def sync(self) -> None:
        """To the disk, without holding up the loop."""
        synced = [target.sync for target in (*self.intakes, *self.targets)]
        begun = time.perf_counter()
        await asyncio.gather(*(asyncio.to_thread(sync) for sync in synced))
        self.sync_s += time.perf_counter() - begun
        self.syncs += 1

    def close(self) -> None:
        """Write and decode all that is there, and seal every tape."""
        self._drain(float("inf"))
        for intake in self.intakes:
            intake.seal()
        # A socket that would not close may still bring something: there is no tape any more.
        self.closed = True

    def _decode(self, seconds: float) -> None:
        self._decoding = True
        # What a consumer was asked to do meanwhile may be due sooner than it said.
        self._due = 0
        try:
            if self._behind is not None:
                self._catch_up(seconds)
            else:
                self._from_memory(seconds)
        finally:
            self._decoding = False

    def _from_memory(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        pending, one = self._pending, self._one
        count = size = 0
        while pending:
            entry = pending.popleft()
            if one(entry):
                size += len(entry[3])
                count += 1
                if count & 15:
                    continue
            else:
                pending.appendleft(entry)
            if time.perf_counter() > until:
                break
        self.decoded += count
        self._pending_bytes -= size
        if pending:
            if self._pending_bytes > LIMIT:
                self._fall_behind()
            self._again()

    def _again(self) -> None:
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def _one(self, entry: Entry) -> bool:
        """Decode one thing. False: not yet, there is more to do for its time."""
        intake, t, s, data, what = entry
        if t > self._due and not self._advance(t):
            return False
        self._last = t
        if what is None:
            feed = intake.replay.feeds.get(s)
            output = feed.receive(t, data) if feed is not None else intake.replay.frame(t, s, data)
            if output is not NOTHING:
                intake.take(t, s, output)
        elif isinstance(what, Reply):
            intake.replied(t, what, data)
        else:
            intake.marked(t, s, what)
        return True

    def advance(self, t: int) -> None:
        """Tell the consumer of the time of a line that is not decoded, and let it do all that comes of it."""
        while not self._advance(t):
            pass

    def _advance(self, t: int) -> bool:
        """Tell the time of a line, and first that of the one before, if it was not told: silences are judged by it."""
        consumer = self.consumer
        if consumer is None:
            self._due = NEVER
            return True
        for each in (self._last, t):
            if each > self._told:
                if not consumer.advance(each):
                    return False
                self._told = each
        self._due = consumer.due()
        return True

    def _fall_behind(self) -> None:
        # Whatever waits is on the tape: keep the time of the first of it, and forget the rest.
        start = self._pending[0][1]
        self._pending.clear()
        self._pending_bytes = 0
        self._behind = entries(self, start)

    def _catch_up(self, seconds: float) -> None:
        assert self._behind is not None
        until = time.perf_counter() + seconds
        held, self._held = self._held, ()
        for count, entry in enumerate(chain(held, self._behind)):
            while not self._one(entry):
                if time.perf_counter() > until:
                    self._held = (entry,)
                    self._again()
                    return
            self.decoded += 1
            if not count & 15 and time.perf_counter() > until:
                self._again()
                return
        # The reader met the end of every tape, and nothing was appended since: one thread does both.
        self._behind = None

    def _turn(self) -> None:
        if self.boundary:
            self._drain(TURN_S)
        # A checkpoint is the state after every line before it: there is none while some are not decoded yet.
        checkpoint = not self._pending and self._behind is None and not self.batch
        self.boundary = next_hour(self.clock.now())
        # All heads are of one moment, however long the disk takes: a reader that starts there knows every book before the first tick.
        for intake, to in [(intake, intake.head(checkpoint)) for intake in self.intakes]:
            intake.turn(to)

    def count(self, venue: str, record: Record) -> None:
        """Gaps and unknown frames, for the metrics."""
        if isinstance(record, Gap):
            key = (venue, record.channel)
            self.gaps[key] = self.gaps.get(key, 0) + 1
        elif isinstance(record, Unknown):
            count = self.unknowns[venue] = self.unknowns.get(venue, 0) + 1
            if not count & (count - 1):
                # The first, the second, the fourth, …: a venue that changed its format would fill the log.
                log.warning("a frame that no decoder knows", extra={"venue": venue, "count": count, "why": record.why[:200]})


def _raise(error: TapeError) -> None:
    raise error
