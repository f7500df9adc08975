"""One tape of the process: what its connections give, and what its feeds answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from tape_archive.format.lines import frame_line, mark_line, reply_line
from tape_archive.format.records import Gap, Unknown
from tape_archive.format.tape import Tape
from tape_collectors.market.replay import MakeFeed, Replay
from tape_collectors.market.troubles import Trouble, of_mark, of_reply
from tape_collectors.runtime.catchup import Reply
from tape_collectors.runtime.recorder import Recorder
from tape_collectors.venues.protocol import Command, Feed, Group, Mark, Output

_COUNTED = frozenset((Gap, Unknown))


class Turn(msgspec.Struct, frozen=True):
    """A tape's step to its next segment: when the old one is sealed, and the marks (t, s, kind, fields) at the head of the new one."""

    seal_t: int
    marks: list[tuple[int, str, str, Mapping[str, object]]]


class TapeIntake:
    """One tape of the process: what connections give, and what its feeds answer (see ``intake.Intake``)."""

    def __init__(self, recorder: Recorder, venue: str, tape: Tape, make_feed: MakeFeed, head: Callable[[], Mapping[str, object]]) -> None:
        self.recorder = recorder
        self.venue = venue
        self.tape = tape
        self.replay = Replay(make_feed)
        self.waiting: list[bytes] = []
        self.first_t = self.last_t = 0
        #: the time of the last line that is on the tape; ``last_t`` counts those that wait to be written too
        self.written_t = 0
        self.lines = 0
        self.bytes = 0
        self.act: Callable[[str, Sequence[Command]], None] = lambda s, commands: None
        #: told of each connection that is over, with the feed that it had
        self.gone: Callable[[str, Feed], None] = lambda s, feed: None
        #: told of each reply, after the feeds
        self.replies: Callable[[TapeIntake, int, Reply, bytes], None] = lambda intake, t, reply, data: None
        self._make_feed = make_feed
        self._head = head
        self._opening: dict[str, Feed] = {}
        self._framed = False
        #: (time, file, byte) of the zstd frames of the last minutes: where a reader that fell behind may start
        self.places: deque[tuple[int, Path, int]] = deque(maxlen=3600)
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
        recorder.frames += 1
        t = recorder.clock.now()
        if t >= recorder.boundary:
            t = recorder.stamp()
        waiting, batch = self.waiting, recorder.batch
        if waiting and batch:
            # ``Recorder.file`` and ``add`` of a wake-up that has begun, without the calls: this runs for every frame.
            waiting.append(frame_line(t, s, data))
            self.last_t = t
            batch.append((self, t, s, data, None))
        else:
            recorder.file(self, t, frame_line(t, s, data))
            recorder.add((self, t, s, data, None))

    def reply(self, request: str, status: int, data: bytes) -> None:
        """One REST reply, or its failure (status 0: no answer)."""
        t = self.recorder.stamp()
        self.recorder.file(self, t, reply_line(t, request, data, status))
        self.recorder.add((self, t, "rest", data, Reply(request, status)))

    def mark(self, s: str, kind: str, fields: Mapping[str, object]) -> int:
        """Write a mark; gives its time."""
        t = self.recorder.stamp()
        self.recorder.file(self, t, mark_line(t, s, kind, fields))
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

    def append(self, lines: list[bytes], first: int, t: int) -> None:
        """One write for all lines of this wake-up, of times ``first`` to ``t``."""
        data = b"".join(lines)
        if not self._framed:
            self._framed = True
            self.places.append((first, self.tape.path, self.tape.size))
        self.tape.append(data, len(lines))
        self.written_t = t
        self.lines += len(lines)
        self.bytes += len(data)

    def sync(self) -> None:
        """To the disk; called in another thread."""
        self.tape.sync()

    def take(self, t: int, s: str, output: Output) -> None:
        """What a feed made of one frame."""
        records, commands = output
        consumer = self.recorder.consumer
        for record in records:
            if consumer is not None:
                consumer.record(self.venue, s, record)
            if type(record) in _COUNTED:
                self.recorder.count(self.venue, record)
                if isinstance(record, Unknown):
                    self.mark(s, "unknown", {"why": record.why})
        if commands:
            self.commands(s, commands)

    def replied(self, t: int, reply: Reply, data: bytes) -> None:
        """A REST reply's turn to be decoded: every open feed is offered it."""
        for s, output in self.replay.reply(t, reply.request, data, reply.status):
            self.take(t, s, output)
        self._trouble(t, of_reply(reply.request, reply.status))
        self.replies(self, t, reply, data)

    def marked(self, t: int, s: str, what: tuple[str, Mapping[str, object]]) -> None:
        """A mark's turn to be decoded: epochs begin and end in the order of the tape."""
        kind, fields = what
        if kind == "open":
            feed = self._opening.pop(s, None)
            if feed is not None:
                self.replay.feeds[s] = feed
        elif kind == "close":
            self._opening.pop(s, None)
            feed = self.replay.feeds.get(s)
            self.replay.closed(s)
            if feed is not None:
                self.gone(s, feed)
            if self.recorder.consumer is not None:
                self.recorder.consumer.closed(self.venue, t, s, str(fields.get("why", "")))
        else:
            self._trouble(t, of_mark(kind, fields))

    def _trouble(self, t: int, found: Trouble | None) -> None:
        if found is not None and self.recorder.consumer is not None:
            self.recorder.consumer.trouble(self.venue, t, *found)

    def roll(self) -> None:
        """End the zstd frame."""
        self.tape.roll()
        self._framed = False

    def head(self, checkpoint: bool) -> Turn:
        """The lines that the next segment (or the first of this run) begins with: head mark and checkpoints, of now."""
        recorder = self.recorder
        seal_t, t = recorder.clock.now(), recorder.clock.now()
        fields = dict(self._head()) | {"begun": recorder.begun, "checkpoint": checkpoint}
        marks: list[tuple[int, str, str, Mapping[str, object]]] = [(t, "tape", "tape", fields)]
        if checkpoint and recorder.consumer is not None:
            for s, feed in self.replay.feeds.items():
                for state in feed.checkpoint():
                    more = recorder.consumer.state(self.venue, s, str(state["symbol"]))
                    marks.append((recorder.clock.now(), s, "book", {**state, **more}))
        return Turn(seal_t, marks)

    def turn(self, to: Turn) -> None:
        """Begin the next segment. Its first lines move tape time like any other, once they are written."""
        sealed = self.tape.turn(to.marks[0][0], [mark_line(*mark) for mark in to.marks], to.seal_t)
        if sealed is not None:
            self.recorder.sealed.append(sealed)
            self.recorder.add((self, to.seal_t, "tape", b"", ("seal", {})))
        for t, s, kind, fields in to.marks:
            self.recorder.add((self, t, s, b"", (kind, fields)))
        self.last_t = self.written_t = to.marks[-1][0]
        # ``places`` are beginnings of zstd frames: what comes next must begin one.
        self.roll()

    def seal(self) -> None:
        """Close the tape for ever. The seal is a line like any other: a tick before it has its row."""
        recorder = self.recorder
        t = recorder.clock.now()
        if path := self.tape.seal(t):
            recorder.sealed.append(path)
            recorder.advance(t)
