"""Polymarket's intake: frames are filed in the tapes of the windows they belong to; what belongs to none, on the venue's own tape."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tape_archive.format.layout import element
from tape_archive.format.lines import Line, frame_line, mark_line, part_line, reply_line
from tape_archive.format.records import Lifecycle, ReferencePrice
from tape_archive.format.tape import FileTape
from tape_collectors.runtime.catchup import Reply
from tape_collectors.runtime.recorder import Recorder
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.venues.polymarket.route import Router, Union
from tape_collectors.venues.polymarket.windows import Life, Windows
from tape_collectors.venues.protocol import Command, Group, Mark, Output

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
#: reference prices are filed in a window from so long before its start to so long after its end
_AROUND_S = 120


class WindowTape:
    """One window's file, appended to on restart."""

    def __init__(self, folder: Path, life: Life, intake: TapeIntake) -> None:
        self.life = life
        self.intake = intake
        self.tape = FileTape(folder / f"{element(life.window.slug)}.jsonl")
        self.frames = 0
        self.waiting: list[bytes] = []
        self.first_t = self.last_t = self.written_t = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self.tape.path

    def holds(self, line: Line) -> bool:
        """Prices are copies, replies were taken at once, and of what is here in parts the venue's tape has the whole."""
        return line.data is not None and line.request is None and line.part is None and self.intake.feed(line.s) is not None

    def append(self, lines: list[bytes], first: int, t: int) -> None:
        """Whole lines, by one write."""
        self.tape.append(b"".join(lines), len(lines))
        self.written_t = t

    def sync(self) -> None:
        """To the disk."""
        self.tape.sync()


class Shelf:
    """The open windows' files, and who may write in them."""

    def __init__(self, recorder: Recorder, folder: Path, windows: Windows, intake: TapeIntake, head: Any) -> None:
        self.recorder = recorder
        self.intake = intake
        self.folder = folder
        self.windows = windows
        self.router = Router()
        self.open: dict[str, WindowTape] = {}
        self.epochs: dict[str, Mapping[str, object]] = {}
        self.tokens: dict[str, str] = {}
        self._head = head

    def begin(self, life: Life) -> WindowTape:
        """Open a window's file: its head, and the connections that are open now."""
        slug = life.window.slug
        window = self.open[slug] = WindowTape(self.folder, life, self.intake)
        self.recorder.targets.append(window)
        assert life.facts is not None
        self.router.add(slug, life.facts.condition, life.facts.tokens)
        self.tokens |= dict.fromkeys(life.facts.tokens, slug)
        market = {"slug": slug, "start": life.window.start, "end": life.window.end, "coin": life.window.coin}
        facts = {"condition": life.facts.condition, "tokens": life.facts.tokens, "outcomes": life.facts.outcomes}
        self.mark(slug, "tape", "tape", {**self._head(), "window": {**market, "timeframe": life.window.timeframe, **facts}})
        for s, fields in self.epochs.items():
            self.mark(slug, s, "open", fields)
        self.windows.file(life)
        log.info("window opened", extra={"slug": slug, "again": window.tape.known})
        return window

    def end(self, slug: str) -> Path | None:
        """Seal a window's file."""
        window = self.open.pop(slug, None)
        self.router.remove(slug)
        if window is None:
            return None
        self.recorder.flush()
        self.recorder.targets.remove(window)
        log.info("window sealed", extra={"slug": slug, "result": window.life.result or "none", "lines": window.tape.lines})
        return window.tape.seal(self.recorder.clock.now())

    def mark(self, slug: str, s: str, kind: str, fields: Mapping[str, object]) -> None:
        """A mark in one window's file."""
        t = self.recorder.stamp()
        self.recorder.file(self.open[slug], t, mark_line(t, s, kind, fields))

    def mark_all(self, s: str, kind: str, fields: Mapping[str, object]) -> None:
        """A mark in every open file: a connection opened or closed."""
        for slug in list(self.open):
            self.mark(slug, s, kind, fields)


class ClobIntake(TapeIntake):
    """The market channel, and all REST replies about windows."""

    shelf: Shelf
    windows: Windows

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.union = Union()

    def opened(self, s: str, group: Group) -> Sequence[Command]:
        """An epoch begins: every open window is told, and subscribed."""
        commands = super().opened(s, group)
        fields: dict[str, object] = {"url": group.url, "group": group.name}
        self.shelf.epochs[s] = fields
        self.union.opened(s, self.recorder.clock.now())
        self.shelf.mark_all(s, "open", fields)
        feed = self.feed(s)
        assert feed is not None
        return [*commands, *feed.want(self.recorder.clock.now(), self.names())[1]]

    def names(self) -> list[str]:
        """What every connection should carry: one name a window."""
        return ["+".join(window.life.facts.tokens) for window in self.shelf.open.values() if window.life.facts]

    def frame(self, s: str, data: bytes) -> None:
        """File one frame once, and decode it for the connection that brought it."""
        recorder = self.recorder
        recorder.frames += 1
        t = recorder.stamp()
        if self.union.seen(s, t, data):
            recorder.add((self, t, s, data, None))
            return
        targets = self.shelf.router.route(data)
        own = False
        for slug, part, piece in targets:
            window = self.shelf.open.get(slug)
            if window is None:
                own = own or part is None
                continue
            window.frames += 1
            recorder.file(window, t, frame_line(t, s, piece) if part is None else part_line(t, s, part, piece))
        if own:
            recorder.file(self, t, frame_line(t, s, data))
        recorder.add((self, t, s, data, None))

    def reply(self, request: str, status: int, data: bytes) -> None:
        """File a reply with its window, if that is open."""
        recorder = self.recorder
        window = self.shelf.open.get(self.windows.owner(request))
        if window is not None:
            t = recorder.stamp()
            recorder.file(window, t, reply_line(t, request, data, status))
            self._fetched(t, Reply(request, status), data)
        else:
            super().reply(request, status, data)

    def closed(self, s: str, why: str, code: int) -> None:
        """An epoch is over."""
        super().closed(s, why, code)
        self.union.closed(s)
        self.shelf.epochs.pop(s, None)
        self.shelf.mark_all(s, "close", {"why": why, "code": code})

    def commands(self, s: str, commands: Sequence[Command]) -> None:
        """Marks with a key go to the window that it names (a slug, or a token)."""
        rest: list[Command] = []
        for command in commands:
            slug = self.shelf.tokens.get(command.key, command.key) if isinstance(command, Mark) else ""
            if isinstance(command, Mark) and slug in self.shelf.open:
                self.shelf.mark(slug, s, command.kind, command.fields)
            else:
                rest.append(command)
        super().commands(s, rest)

    def replied(self, t: int, reply: Reply, data: bytes) -> None:
        """A reply whose window was not open when it came."""
        self._fetched(t, reply, data)

    def _fetched(self, t: int, reply: Reply, data: bytes) -> None:
        self.take(t, "tape", self.windows.fetched(t, reply.request, reply.status, data))

    def take(self, t: int, s: str, output: Output) -> None:
        """What a feed or the windows made of something; a resolution is told to the windows."""
        super().take(t, s, output)
        for record in output[0]:
            if isinstance(record, Lifecycle):
                self.commands("tape", self.windows.heard(t, record))


class PriceIntake(TapeIntake):
    """The reference price: on its own tape, and a copy in the files of the coin's windows around their time."""

    shelf: Shelf
    windows: Windows
    clob: ClobIntake
    #: told of each end of an epoch (name, time, close code), of each price, and of credentials that are refused (epoch, time, why)
    refused: Callable[[str, int, str], None] = staticmethod(lambda s, t, why: None)
    ended: Callable[[str, int, int], None] = staticmethod(lambda s, t, code: None)
    priced: Callable[[ReferencePrice], None] = staticmethod(lambda record: None)

    def closed(self, s: str, why: str, code: int) -> None:
        """An epoch is over."""
        self.ended(s, self.mark(s, "close", {"why": why, "code": code}), code)

    def frame(self, s: str, data: bytes) -> None:
        """One frame."""
        self.recorder.frames += 1
        t = self.recorder.stamp()
        line = frame_line(t, s, data)
        self.recorder.file(self, t, line)
        self.recorder.add((self, t, s, data, None))
        for window in self.shelf.open.values():
            span = window.life.window
            if span.start - _AROUND_S <= t / SECOND <= span.end + _AROUND_S and _about(data, span.coin):
                self.recorder.file(window, t, line)

    def take(self, t: int, s: str, output: Output) -> None:
        """A tick may be a window's strike; refused credentials are the end of a source, whether or not the venue hangs up."""
        super().take(t, s, output)
        for command in output[1]:
            if isinstance(command, Mark) and str(command.fields.get("why", "")) in ("auth_invalid", "auth_attempts", "auth_unavailable"):
                self.refused(s, t, str(command.fields["why"]))
        for record in output[0]:
            if isinstance(record, ReferencePrice):
                self.priced(record)
                self.clob.commands("tape", self.windows.heard(t, record))


def _about(data: bytes, coin: str) -> bool:
    name = coin.encode()
    return b'"symbol":"%b/usd"' % name in data or b'"symbol":"%busd"' % name in data or b'"symbol":"%busdt"' % name in data
