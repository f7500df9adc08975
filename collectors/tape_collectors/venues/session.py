"""What the feeds of several venues share: which streams are wanted, what was asked for and refused, and what has spoken. Pure.

1. A request carries several streams; the venue's answer names the request. An ack proves nothing: the watchdog waits for first frames.
2. A refused request of several streams is asked again one by one, so that one bad name silences no other.
3. A stream that is refused alone is said (mark ``refused``) and asked for again after ``REFUSED_NS``: a symbol may be listed meanwhile.
4. A book that is lost is asked for by subscribing anew; if no snapshot comes, again after ``AGAIN_NS``, and then ever more rarely.
5. Streams are kept by name for the life of the connection: one that is left and wanted again goes on with its sequence, as a replay (which
   knows no wants) does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import msgspec

from tape_archive.format.records import BookLost, Gap, Notice, Record, Reset, Unknown
from tape_collectors.venues.protocol import NOTHING, Command, Mark, Output, Send, Stream

SECOND = 1_000_000_000
MS = 1_000_000
REFUSED_NS = 600 * SECOND
AGAIN_NS = 5 * SECOND
_RAREST_NS = 60 * SECOND
#: a connection never carries so many; more names than this are garbage
MOST_NAMES = 4096
#: requests whose answer may still come
_ASKED = 1000
BROKEN = (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError)
_MARKS: dict[type, str] = {Gap: "gap", Reset: "reset", BookLost: "lost"}


def told(records: Iterable[Record]) -> list[Command]:
    """Gaps, resets and losses as marks."""
    out: list[Command] = []
    for record in records:
        if kind := _MARKS.get(type(record)):
            fields = msgspec.structs.asdict(record)
            del fields["t"]
            out.append(Mark(kind, fields))
    return out


class Session(ABC):
    """The base of a feed. A venue says how a request reads, what a stream name means, and what a frame is."""

    #: streams in one request
    per_request = 10

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self._known: dict[str, Stream] = {}
        self._wanted: set[str] = set()
        self._asked: dict[str, tuple[str, ...]] = {}
        self._refused: dict[str, int] = {}
        self._lost: dict[str, tuple[int, int]] = {}
        self._message = 0
        #: the time of the call that is being served: what a venue puts into its requests
        self.now = 0

    # -- what a venue says -----------------------------------------------------------------------------------------------

    @abstractmethod
    def request(self, id: str, subscribe: bool, names: Sequence[str]) -> str:
        """The frame that asks for these streams, or for no more of them."""

    @abstractmethod
    def stream_of(self, name: str) -> Stream:
        """A new stream of this name. Raises ValueError if it cannot be one."""

    @abstractmethod
    def frame(self, t: int, data: bytes) -> Output:
        """One frame; may raise what ``BROKEN`` holds."""

    # -- what the runtime calls ------------------------------------------------------------------------------------------

    def opened(self, t: int) -> Output:
        """Nothing is sent before somebody wants something."""
        return NOTHING

    def want(self, t: int, names: Iterable[str]) -> Output:
        """Subscribe and unsubscribe."""
        self.now = t
        wanted = dict.fromkeys(names)
        new = [name for name in wanted if name not in self._wanted]
        old = [name for name in sorted(self._wanted) if name not in wanted]
        self._wanted = set(wanted)
        for name in old:
            self.streams.pop(name, None)
            self._refused.pop(name, None)
        for name in new:
            stream = self.streams[name] = self.stream(name)
            stream.requested_t, stream.acked_t, stream.first_t, stream.frames = t, 0, 0, 0
        return (), [*self.requests(False, old), *self.requests(True, new)]

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """Only these streams."""
        self.now = t
        known = [name for name in names if name in self._wanted]
        for name in known:
            stream = self.streams[name]
            stream.requested_t, stream.acked_t = t, 0
        return [*self.requests(False, known), *self.requests(True, known)]

    def tick(self, t: int) -> Sequence[Command]:
        """Rules 3 and 4."""
        self.now = t
        again = [name for name, at in self._refused.items() if t - at > REFUSED_NS]
        for name in again:
            del self._refused[name]
        out = [command for name in again for command in self.requests(True, [name])]
        late = [name for name, (due, _) in self._lost.items() if t >= due and name in self._wanted]
        for name in late:
            self._asked_for(t, name)
        return [*out, *self.resubscribe(t, late)]

    def receive(self, t: int, data: bytes) -> Output:
        """One frame. Never raises."""
        self.now = t
        try:
            return self.frame(t, data)
        except BROKEN as error:
            return [Unknown(t, f"{type(self).__name__}: {str(error)[:120]}")], ()

    # -- what a venue uses -----------------------------------------------------------------------------------------------

    def requests(self, subscribe: bool, names: Sequence[str]) -> list[Command]:
        """The frames that ask for these streams."""
        out: list[Command] = []
        for at in range(0, len(names), self.per_request):
            self._message += 1
            some, id = tuple(names[at : at + self.per_request]), str(self._message)
            if subscribe:
                self._asked[id] = some
                if len(self._asked) > _ASKED:
                    del self._asked[next(iter(self._asked))]
            out.append(Send(self.request(id, subscribe, some)))
        return out

    def stream(self, name: str) -> Stream:
        """The stream of a name, known or new."""
        stream = self._known.get(name)
        if stream is None:
            if len(self._known) >= MOST_NAMES and name not in self._wanted:
                raise ValueError(f"more than {MOST_NAMES} stream names on one connection")
            stream = self._known[name] = self.stream_of(name)
        return stream

    def spoke(self, t: int, name: str) -> Stream:
        """A frame of this stream came."""
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = self.stream(name)
        stream.frames += 1
        stream.last_t = t
        if not stream.first_t:
            stream.first_t = t
        return stream

    def lost(self, t: int, name: str) -> Sequence[Command]:
        """Rule 4: the book of this stream is lost."""
        if name in self._lost:
            return ()
        self._asked_for(t, name)
        return self.resubscribe(t, [name])

    def found(self, name: str) -> None:
        """Its snapshot came."""
        self._lost.pop(name, None)

    def _asked_for(self, t: int, name: str) -> None:
        pause = min(_RAREST_NS, 2 * self._lost[name][1]) if name in self._lost else AGAIN_NS
        self._lost[name] = t + pause, pause

    def accepted(self, t: int, id: str) -> Output:
        """Rule 1."""
        for name in self._asked.pop(id, ()):
            self.stream(name).acked_t = t
        return [Notice(t, "ack", id[:40])], ()

    def refused(self, t: int, id: str, why: str) -> Output:
        """Rules 2 and 3."""
        names = self._asked.get(id, ())
        record = Notice(t, "refused", why[:200])
        if id in self._asked and not names:
            return [record], ()
        if names:
            # Some venues answer for each stream of a request: the first refusal is enough.
            self._asked[id] = ()
        if len(names) > 1:
            return [record], [command for name in names for command in self.requests(True, [name])]
        commands: list[Command] = []
        for name in names:
            stream = self.stream(name)
            self._refused[name] = t
            commands.append(Mark("refused", {"symbol": stream.symbol, "channel": stream.channel, "why": why[:200]}))
        return [record], commands or [Mark("refused", {"symbol": "", "channel": "", "why": why[:200]})]
