"""One tape's lines -> records, by the very feeds that the live recorder runs.

The live recorder calls ``opened``, ``frame``, ``reply`` and ``closed`` as things happen; a reader calls ``line`` for each line of
the tape. Both ways drive the same feeds with the same arguments in the same order, which is why a rebuild can be compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tape_archive.format.lines import Line
from tape_archive.format.records import Record
from tape_collectors.venues.protocol import NOTHING, Feed, Output

MakeFeed = Callable[[str], Feed]


def group_of(s: str) -> str:
    """The group of a connection epoch: ``public-3`` -> ``public``."""
    return s.rpartition("-")[0]


class Replay:
    """The feeds of one tape, one for each connection epoch that is open."""

    def __init__(self, make_feed: MakeFeed) -> None:
        self._make_feed = make_feed
        self.feeds: dict[str, Feed] = {}
        self._restored: set[str] = set()

    def opened(self, t: int, s: str) -> Output:
        """Epoch ``s`` begins."""
        feed = self.feeds[s] = self._make_feed(group_of(s))
        return feed.opened(t)

    def wanted(self, t: int, s: str, names: Sequence[str]) -> None:
        """What epoch ``s`` subscribed, as its open mark or a want mark says."""
        if (feed := self.feeds.get(s)) is not None:
            feed.want(t, names)

    def frame(self, t: int, s: str, data: bytes) -> Output:
        """One frame of epoch ``s``; an epoch whose opening was not seen (a reader that starts in mid-tape) is opened here."""
        if self._restored:
            self._restored.clear()
        feed = self.feeds.get(s)
        if feed is None:
            feed = self.feeds[s] = self._make_feed(group_of(s))
        return feed.receive(t, data)

    def reply(self, t: int, request: str, data: bytes, status: int = 200) -> Iterator[tuple[str, Output]]:
        """A REST reply, offered to every open feed; a failed one serves none of them."""
        if status != 200:
            return
        for s, feed in list(self.feeds.items()):
            out = feed.fetched(t, request, data)
            if out is not NOTHING:
                yield s, out

    def closed(self, s: str) -> None:
        """Epoch ``s`` is over: whatever it had proven is proven no longer."""
        self.feeds.pop(s, None)

    def ends(self, s: str) -> str:
        """The name that stops being proven when epoch ``s`` closes; "" if another epoch goes on with it."""
        return s

    def line(self, line: Line) -> Iterator[tuple[str, Record]]:
        """The records of one line, each with its epoch. Commands are dropped: they were carried out when the tape was written."""
        if self._restored and line.mark != "book":
            self._restored.clear()
        if line.data is not None:
            yield from self._data(line, line.data)
        elif line.mark == "open":
            self.opened(line.t, line.s)
            if names := line.fields.get("names"):
                self.wanted(line.t, line.s, [str(name) for name in names])
        elif line.mark == "want":
            self.wanted(line.t, line.s, [str(name) for name in line.fields.get("names", ())])
        elif line.mark == "close":
            self.closed(line.s)
        elif line.mark == "book":
            yield from self._restore(line)

    def _data(self, line: Line, data: bytes) -> Iterator[tuple[str, Record]]:
        if line.request is None:
            for record in self.frame(line.t, line.s, data)[0]:
                yield line.s, record
            return
        for s, (records, _) in self.reply(line.t, line.request, data, line.status):
            for record in records:
                yield s, record

    def _restore(self, line: Line) -> Iterator[tuple[str, Record]]:
        # A reader that came here from the segment before has the feed already; only one that starts here needs the checkpoint.
        if line.s in self.feeds and line.s not in self._restored:
            return
        self._restored.add(line.s)
        feed = self.feeds.setdefault(line.s, self._make_feed(group_of(line.s)))
        for record in feed.restore(line.t, line.fields)[0]:
            yield line.s, record


class Merged(Replay):
    """A tape on which each frame of redundant sockets stands once, under the epoch that happened to bring it first (a Polymarket window).

    No epoch alone has all frames of ``group`` there, so one feed reads them all, as long as any of its epochs is open. Its records are
    given under the group's name. Other groups are replayed as ever.
    """

    def __init__(self, make_feed: MakeFeed, group: str) -> None:
        super().__init__(make_feed)
        self._group = group
        self._open: set[str] = set()

    def opened(self, t: int, s: str) -> Output:
        """Epoch ``s`` begins; the feed only with the first one."""
        if group_of(s) != self._group:
            return super().opened(t, s)
        self._open.add(s)
        if self._group in self.feeds:
            return NOTHING
        feed = self.feeds[self._group] = self._make_feed(self._group)
        return feed.opened(t)

    def frame(self, t: int, s: str, data: bytes) -> Output:
        """One frame, whoever brought it."""
        if group_of(s) != self._group:
            return super().frame(t, s, data)
        if s not in self._open:
            self.opened(t, s)
        return self.feeds[self._group].receive(t, data)

    def closed(self, s: str) -> None:
        """Epoch ``s`` (or the group itself) is over; the feed ends with the last one."""
        if s == self._group:
            self._open.clear()
        self._open.discard(s)
        if not self._open:
            self.feeds.pop(self._group, None)
        super().closed(s)

    def ends(self, s: str) -> str:
        """The group's name with its last epoch; "" before."""
        if group_of(s) != self._group:
            return s
        return "" if self._open - {s} else self._group

    def _data(self, line: Line, data: bytes) -> Iterator[tuple[str, Record]]:
        name = self._group if group_of(line.s) == self._group else line.s
        for s, record in super()._data(line, data):
            yield (name if s == line.s else s), record
