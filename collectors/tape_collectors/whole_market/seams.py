"""What no connection brought, told on the tape: for each stream a ``gap`` mark between the last connection that carried it and the next.

A feed sees holes within its connection. What was sent while a stream was on no connection (the recorder was dead, a socket was cut) it
cannot see, and of streams without ids nobody could later. So here is kept how far each stream had come when its last connection ended. It
outlives the process: every few seconds it goes into a file, and the next run reads what stands on the tape after that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from tape_archive.format.atomic import write_atomic
from tape_archive.format.errors import TapeError
from tape_archive.format.following import TapeFollower
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import Position
from tape_collectors.market.replay import MakeFeed, Replay, group_of
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.venues.protocol import Feed, Stream

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
#: what counts its events by one, so that a first and a last id tell what is missing
_COUNTED = ("aggTrade", "depth")
#: the file is written after so many looks, and is of a time so long ago: by then all of it was decoded
_KEEP_LOOKS = 10
_BEFORE_NS = 5 * SECOND
#: marks at once, and how long one waits for a stream to be carried again
_MARKS = 500
_PATIENCE_NS = 86_400 * SECOND


class End(msgspec.Struct, array_like=True):
    """How far a stream had come: its last id (0: not counted) and frame, and when its connection was last heard (ns)."""

    id: int
    last_t: int
    heard_t: int


class Kept(msgspec.Struct):
    """The file: ends, and the connections that were open, at tape time ``t``. A stream is (last id, first time, last time, when it was
    acknowledged)."""

    t: int
    places: dict[str, Position]
    ends: dict[str, End]
    open: dict[str, dict[str, tuple[int, int, int, int]]]


class Seams:
    """Of one tape. ``look`` is to be called once a second."""

    def __init__(self, intake: TapeIntake, make_feed: MakeFeed, path: Path) -> None:
        self.ends: dict[str, End] = {}
        self.marks = 0
        self._intake = intake
        self._make_feed = make_feed
        self._path = path
        self._looks = 0
        self._past: asyncio.Task[dict[str, End]] | None = None
        intake.gone = self._gone

    def begin(self, begun: int) -> None:
        """Read in a thread what the run before left on the tape, up to when this one begun."""
        if self._path.exists():
            self._past = asyncio.create_task(asyncio.to_thread(self._read, begun))

    def look(self) -> None:
        """Tell the gaps of streams that are carried again."""
        if self._past is not None:
            if not self._past.done():
                return
            for name, end in self._past.result().items():
                _put(self.ends, name, end)
            self._past = None
        self._looks += 1
        if self.ends:
            self._join()
        if self._looks % _KEEP_LOOKS == 1:
            self.keep()

    def keep(self) -> None:
        """Write the file."""
        now = self._intake.last_t
        places = self._intake.places
        if not places:
            return
        t, path, at = next((place for place in reversed(places) if place[0] <= now - _BEFORE_NS), places[0])
        carried = {s: {one.name: _state(one) for one in feed.streams.values()} for s, feed in self._intake.replay.feeds.items()}
        where = {str(path.relative_to(self._intake.tape.root)): Position(at)}
        write_atomic(self._path, msgspec.json.encode(Kept(t - 1, where, self.ends, carried)), durable=False)

    def _gone(self, s: str, feed: Feed) -> None:
        _ended(self.ends, feed, self._intake.replay.feeds)

    def _join(self) -> None:
        carried: dict[str, list[tuple[str, Stream]]] = {}
        for s, feed in self._intake.replay.feeds.items():
            for name in feed.streams.keys() & self.ends.keys():
                if _since(feed.streams[name]):
                    carried.setdefault(name, []).append((s, feed.streams[name]))
        most = self.marks + _MARKS
        for name, end in list(self.ends.items()):
            if self.marks >= most:
                break
            if name in carried:
                self._joined(name, end, carried[name])
            elif self._intake.last_t - end.heard_t > _PATIENCE_NS:
                del self.ends[name]

    def _joined(self, name: str, end: End, carried: Sequence[tuple[str, Stream]]) -> None:
        first = last = 0
        if end.id and _counted(carried[0][1]):
            spoken = [(s, one) for s, one in carried if one.first_t]
            if not spoken:
                return
            s, stream = min(spoken, key=lambda pair: pair[1].first_id)
            first, last, since, until = end.id + 1, stream.first_id - 1, end.last_t, stream.first_t
        else:
            s, stream = min(carried, key=lambda pair: _since(pair[1]))
            since, until = end.heard_t, _since(stream)
        del self.ends[name]
        if first <= last if first else since < until:
            fields = {"symbol": stream.symbol, "channel": stream.channel, "from_ns": since, "from_id": first, "to_id": last}
            self._intake.mark(s, "gap", {**fields, "until_ns": until, "why": "not connected"})
            self.marks += 1

    # -- the run before --------------------------------------------------------------------------------------------------

    def _read(self, begun: int) -> dict[str, End]:
        ends: dict[str, End] = {}
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
            ends = kept.ends
            replay = self._restored(kept)
            for line in self._lines(kept, begun):
                feed = replay.feeds.get(line.s) if line.mark == "close" else None
                for _ in replay.line(line):
                    pass
                if feed is not None:
                    _ended(ends, feed, replay.feeds)
                elif line.mark == "tape":
                    _all(ends, replay)
            _all(ends, replay)
        except (OSError, msgspec.DecodeError, TapeError) as error:
            log.warning("what was not recorded since the last run is not told", extra={"why": str(error)[:200]})
        return ends

    def _restored(self, kept: Kept) -> Replay:
        replay = Replay(self._make_feed)
        for s, streams in kept.open.items():
            feed = replay.feeds[s] = self._make_feed(group_of(s))
            feed.want(kept.t, list(streams))
            for name, (id, first_t, last_t, acked_t) in streams.items():
                one = feed.streams[name]
                one.last_id, one.first_t, one.last_t, one.acked_t = id, first_t, last_t, acked_t
        return replay

    def _lines(self, kept: Kept, begun: int) -> Iterable[Line]:
        tape = self._intake.tape
        follower = TapeFollower(tape.root, tape.venue, tape.stream, kept.t, kept.places)
        while lines := follower.poll():
            for raw in lines:
                line = parse(raw)
                if line.t >= begun:
                    return
                yield line


def _since(stream: Stream) -> int:
    """From when on a connection carries a stream; 0: it does not yet."""
    return min((t for t in (stream.acked_t, stream.first_t) if t), default=0)


def _state(stream: Stream) -> tuple[int, int, int, int]:
    return stream.last_id, stream.first_t, stream.last_t, stream.acked_t


def _put(ends: dict[str, End], name: str, end: End) -> None:
    known = ends.get(name)
    if known is not None:
        later = max(known, end, key=lambda one: one.last_t)
        end = End(later.id, later.last_t, max(known.heard_t, end.heard_t))
    ends[name] = end


def _ended(ends: dict[str, End], feed: Feed, others: Mapping[str, Feed]) -> None:
    """A connection is over: where its streams ended that no other one carried then. What is counted is told by its ids; of the rest an
    other one must have carried it since before this one was last heard: what was on its way here is lost. A stream that was asked for, and
    had not spoken, may have been sent all the same."""
    heard = max((max(one.last_t, one.acked_t, one.requested_t) for one in feed.streams.values()), default=0)
    carried = {name for other in others.values() for name, one in other.streams.items() if 0 < _since(one) <= heard}
    for name, one in feed.streams.items():
        if name not in carried or (one.last_id and _counted(one)):
            _put(ends, name, End(one.last_id, one.last_t, heard))


def _counted(stream: Stream) -> bool:
    return stream.channel.partition("@")[0] in _COUNTED


def _all(ends: dict[str, End], replay: Replay) -> None:
    """A run is over, and said no word of it."""
    for s in list(replay.feeds):
        feed = replay.feeds.pop(s)
        _ended(ends, feed, {})
