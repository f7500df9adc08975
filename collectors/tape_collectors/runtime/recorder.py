"""Stamp, append, decode: the order of work of one wake-up, and the promise that all else rests on.

Connections hand over frames as they are read. The first frame of a wake-up schedules ``flush`` for its end. ``flush`` makes one ``write``
for each tape, and only then decodes, in the order of the stamps. Tape time is one clock for all tapes of the process, so the live order
and the order in which a reader merges the tapes are the same.

Decoding has a time slice for each turn of the loop. What it cannot do at once waits in memory, up to ``LIMIT`` bytes; past that nothing is
kept but the place on the tape, and decoding goes on from the tape until it has caught up. Nothing is dropped and the tape never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from tape_archive.format.clock import TapeClock
from tape_archive.format.lines import Line, frame_line, mark_line, reply_line
from tape_archive.format.records import Gap, Record, Unknown
from tape_archive.format.rotation import next_hour
from tape_archive.format.tape import Tape

from tape_collectors.market.replay import MakeFeed, Replay
from tape_collectors.venues.protocol import Command, Feed, Group, Mark, Output

LIMIT = 64 * 1024 * 1024
SLICE_S = 0.010
SECOND = 1_000_000_000

#: (intake, t, s, frame, what else it is): a frame has None as its last, a reply its request, a mark its kind and fields.
Entry = tuple["TapeIntake", int, str, bytes, Any]


class Consumer(Protocol):
    """Derived data: told of every line in tape order, ``advance`` first."""

    def advance(self, t: int) -> None: ...
    def record(self, venue: str, s: str, record: Record) -> None: ...
    def closed(self, venue: str, t: int, s: str, why: str) -> None: ...


class Reply(msgspec.Struct, frozen=True):
    """What a reply line has beside its body."""

    request: str
    status: int


class Recorder:
    """All tapes of one process."""

    def __init__(self, clock: TapeClock, consumer: Consumer | None = None) -> None:
        self.clock = clock
        self.consumer = consumer
        self.intakes: list[TapeIntake] = []
        self.boundary = 0
        self.unknown = 0
        self.gaps: dict[tuple[str, str], int] = {}
        self.write_s = 0.0
        self.writes = 0
        self._batch: list[Entry] = []
        self._pending: deque[Entry] = deque()
        self._pending_bytes = 0
        self._behind: Iterator[Entry] | None = None
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def behind(self) -> bool:
        """Whether decoding goes on from the tape, not from memory."""
        return self._behind is not None

    @property
    def queue_bytes(self) -> int:
        """Bytes of frames that are on the tape and wait in memory to be decoded."""
        return self._pending_bytes

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the run: head marks of every tape; from here on frames are taken."""
        self._loop = loop
        self._turn()

    def add(self, entry: Entry) -> None:
        """Take one stamped thing; it is written at the end of this wake-up."""
        self._batch.append(entry)
        if not self._scheduled:
            self._scheduled = True
            assert self._loop is not None
            self._loop.call_soon(self.flush)

    def stamp(self) -> int:
        """The time of what was just read. In a new hour every tape first turns to its next segment."""
        t = self.clock.now()
        if t >= self.boundary:
            self._turn()
            t = self.clock.now()
        return t

    def flush(self) -> None:
        """Append what this wake-up brought, one ``write`` a tape; then decode for one time slice."""
        self._scheduled = False
        batch, self._batch = self._batch, []
        if batch:
            begun = time.perf_counter()
            self._append(batch)
            self.write_s += time.perf_counter() - begun
            self.writes += 1
            if self._behind is None:
                self._pending.extend(batch)
                self._pending_bytes += sum(len(entry[3]) for entry in batch)
        self._decode(SLICE_S)

    def tick(self) -> None:
        """Once a second: a clock mark on every tape that was silent, or while the clock is off; end the zstd frame."""
        offset = self.clock.check()
        now = self.stamp()
        for intake in self.intakes:
            if offset is not None or now - intake.last_t >= SECOND * 9 // 10:
                intake.mark("tape", "clock", {"offset_ns": offset or 0})
        self.flush()
        for intake in self.intakes:
            intake.tape.roll()

    async def sync(self) -> None:
        """To the disk, without holding up the loop."""
        await asyncio.gather(*(asyncio.to_thread(intake.tape.sync) for intake in self.intakes))

    def close(self) -> None:
        """Write and decode all that is there, and seal every tape."""
        self.flush()
        while self._pending or self._behind is not None:
            self._decode(1.0)
        for intake in self.intakes:
            intake.tape.seal(self.clock.now())

    def _append(self, batch: list[Entry]) -> None:
        for intake in self.intakes:
            lines = [
                frame_line(t, s, data) if what is None else _line(t, s, data, what)
                for owner, t, s, data, what in batch
                if owner is intake
            ]
            if lines:
                intake.append(lines, batch[-1][1])

    def _decode(self, seconds: float) -> None:
        if self._behind is not None:
            self._catch_up(seconds)
            return
        until = time.perf_counter() + seconds
        pending, one = self._pending, self._one
        count = 0
        while pending:
            entry = pending.popleft()
            self._pending_bytes -= len(entry[3])
            one(entry)
            count += 1
            if not count & 15 and time.perf_counter() > until:
                break
        if pending:
            if self._pending_bytes > LIMIT:
                self._fall_behind()
            self._again()

    def _again(self) -> None:
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def _one(self, entry: Entry) -> None:
        intake, t, s, data, what = entry
        if self.consumer is not None:
            self.consumer.advance(t)
        if what is None:
            intake.take(t, s, intake.replay.frame(t, s, data))
        elif isinstance(what, Reply):
            for epoch, output in intake.replay.reply(t, what.request, data, what.status):
                intake.take(t, epoch, output)
        else:
            intake.marked(t, s, what)

    def _fall_behind(self) -> None:
        first = {id(entry[0]): entry for entry in reversed(self._pending)}
        starts = [(intake, first[id(intake)][1] if id(intake) in first else None) for intake in self.intakes]
        self._pending.clear()
        self._pending_bytes = 0
        self._behind = self._from_tape(starts)

    def _from_tape(self, starts: list[tuple[TapeIntake, int | None]]) -> Iterator[Entry]:
        from tape_collectors.runtime.catchup import entries

        return entries(starts, self.clock)

    def _catch_up(self, seconds: float) -> None:
        assert self._behind is not None
        until = time.perf_counter() + seconds
        for count, entry in enumerate(self._behind):
            self._one(entry)
            if not count & 15 and time.perf_counter() > until:
                self._again()
                return
        # The reader met the end of every tape, and nothing was appended since: one thread does both.
        self._behind = None

    def _turn(self) -> None:
        if self.boundary:
            self.flush()
            while self._pending or self._behind is not None:
                self._decode(1.0)
        self.boundary = next_hour(self.clock.now())
        for intake in self.intakes:
            intake.turn()

    def count(self, venue: str, record: Record) -> None:
        """Gaps and unknown frames, for the metrics."""
        if isinstance(record, Gap):
            key = (venue, record.channel)
            self.gaps[key] = self.gaps.get(key, 0) + 1
        elif isinstance(record, Unknown):
            self.unknown += 1


def _line(t: int, s: str, data: bytes, what: Any) -> bytes:
    if isinstance(what, Reply):
        return reply_line(t, what.request, data, what.status)
    return mark_line(t, s, what[0], what[1])


def entry_of(intake: TapeIntake, line: Line) -> Entry:
    """The entry that a line of this process's own tape was written from."""
    if line.mark is not None:
        return intake, line.t, line.s, b"", (line.mark, line.fields)
    what = None if line.request is None else Reply(line.request, line.status)
    return intake, line.t, line.s, line.data or b"", what


class TapeIntake:
    """One tape of the process: what connections give, and what its feeds answer (see ``intake.Intake``)."""

    def __init__(self, recorder: Recorder, venue: str, tape: Tape, make_feed: MakeFeed, head: Callable[[], Mapping[str, object]]) -> None:
        self.recorder = recorder
        self.venue = venue
        self.tape = tape
        self.replay = Replay(make_feed)
        self.last_t = 0
        self.lines = 0
        self.bytes = 0
        self.act: Callable[[str, Sequence[Command]], None] = lambda s, commands: None
        self._make_feed = make_feed
        self._head = head
        self._opening: dict[str, Feed] = {}
        recorder.intakes.append(self)

    # -- what connections call -------------------------------------------------------------------------------------------

    def opened(self, s: str, group: Group) -> Sequence[Command]:
        """The socket of epoch ``s`` is up."""
        t = self.mark(s, "open", {"url": group.url, "group": group.name, "names": list(group.names)})
        feed = self._opening[s] = self._make_feed(group.name)
        commands = [*feed.opened(t)[1]]
        if group.names:
            commands += feed.want(t, group.names)[1]
        return commands

    def frame(self, s: str, data: bytes) -> None:
        """One frame, just read."""
        recorder = self.recorder
        recorder.add((self, recorder.stamp(), s, data, None))

    def reply(self, request: str, status: int, data: bytes) -> None:
        """One REST reply, or its failure (status 0: no answer)."""
        self.recorder.add((self, self.recorder.stamp(), "rest", data, Reply(request, status)))

    def mark(self, s: str, kind: str, fields: Mapping[str, object]) -> int:
        """Write a mark; gives its time."""
        t = self.recorder.stamp()
        self.recorder.add((self, t, s, b"", (kind, fields)))
        return t

    def closed(self, s: str, why: str, code: int) -> None:
        """The socket of epoch ``s`` is gone."""
        self.mark(s, "close", {"why": why, "code": code})

    def feed(self, s: str) -> Feed | None:
        """The feed of an open epoch."""
        return self.replay.feeds.get(s) or self._opening.get(s)

    def commands(self, s: str, commands: Sequence[Command]) -> None:
        """Carry out what a feed asked for: marks here, the rest by the pool."""
        rest = []
        for command in commands:
            if type(command) is Mark:
                self.mark(s, command.kind, command.fields)
            else:
                rest.append(command)
        if rest:
            self.act(s, rest)

    # -- what the recorder calls -----------------------------------------------------------------------------------------

    def append(self, lines: list[bytes], t: int) -> None:
        """One write for all lines of this wake-up."""
        data = b"".join(lines)
        self.tape.append(data, len(lines))
        self.last_t = t
        self.lines += len(lines)
        self.bytes += len(data)

    def take(self, t: int, s: str, output: Output) -> None:
        """What a feed made of one frame."""
        records, commands = output
        consumer = self.recorder.consumer
        for record in records:
            if consumer is not None:
                consumer.record(self.venue, s, record)
            if isinstance(record, Gap | Unknown):
                self.recorder.count(self.venue, record)
                if isinstance(record, Unknown):
                    self.mark(s, "unknown", {"why": record.why})
        if commands:
            self.commands(s, commands)

    def marked(self, t: int, s: str, what: tuple[str, Mapping[str, object]]) -> None:
        """A mark's turn to be decoded: epochs begin and end in the order of the tape."""
        kind, fields = what
        if kind == "open":
            feed = self._opening.pop(s, None)
            if feed is not None:
                self.replay.feeds[s] = feed
        elif kind == "close":
            self._opening.pop(s, None)
            self.replay.closed(s)
            if self.recorder.consumer is not None:
                self.recorder.consumer.closed(self.venue, t, s, str(fields.get("why", "")))

    def turn(self) -> None:
        """Begin the next segment (or the first of this run) with its head mark and checkpoints."""
        stamp = self.recorder.clock.now
        head = mark_line(stamp(), "tape", "tape", self._head())
        books = [
            mark_line(stamp(), s, "book", state) for s, feed in self.replay.feeds.items() for state in feed.checkpoint()
        ]
        self.tape.turn(stamp(), [head, *books])
        self.last_t = self.recorder.clock.now()
