"""Writes what an importer gives to tapes: all of a file or nothing of it, and never twice.

Receive times are the recording's own, made strictly increasing: a time that does not exceed the one before becomes that plus 1 ns, and
the head mark
says how many there were. Segments are made aside and moved in when the file was read to its end.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tape_archive.format.atomic import make_folder, sync_folder
from tape_archive.format.errors import FormatError, NotFound, SettingsError
from tape_archive.format.layout import element, segments
from tape_archive.format.lines import frame_line, mark_line, reply_line
from tape_archive.format.manifest import sha256
from tape_archive.format.rotation import next_hour
from tape_archive.format.tape import FileTape, Tape, register
from tape_collectors.importers import FORMATS, Event
from tape_collectors.venues import canonical, load

_BATCH = 500


class Imported(msgspec.Struct):
    """What became of one file."""

    source: str
    venue: str
    frames: int
    replies: int
    moved: int
    first_ns: int
    last_ns: int
    files: list[str]


class _Ledger:
    """Which files were imported here: ``state/imports.jsonl``."""

    def __init__(self, root: Path) -> None:
        self.path = root / "state" / "imports.jsonl"

    def find(self, digest: str) -> str:
        """The source of a file that was imported already."""
        try:
            rows = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return ""
        return next((str(row["source"]) for row in map(msgspec.json.decode, rows) if row["sha256"] == digest), "")

    def add(self, digest: str, done: Imported) -> None:
        """Remember one."""
        make_folder(self.path.parent)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode({"sha256": digest, **msgspec.to_builtins(done)}) + b"\n")


def import_file(path: Path, kind: str, venue_name: str, root: Path) -> Imported:
    """Import one file. Raises SettingsError, NotFound, FormatError; nothing is left of a file that fails."""
    if kind not in FORMATS:
        raise SettingsError(f"unknown format {kind!r} (known: {', '.join(FORMATS)})")
    if not path.is_file():
        raise NotFound(f"{path} is not there")
    venue = load(canonical(venue_name))
    digest = sha256(path)
    ledger = _Ledger(root)
    if earlier := ledger.find(digest):
        raise SettingsError(f"{path} was imported here already (as {earlier}); nothing was done")
    aside = root / f".import-{digest[:16]}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        writer = _Windows(aside, venue, path, digest) if venue.name == "polymarket" else _Writer(aside, venue, path, digest)
        done = writer.write(FORMATS[kind](path))
        done.files = [str(_move(aside, root, file).relative_to(root)) for file in writer.files()]
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    ledger.add(digest, done)
    return done


def _move(aside: Path, root: Path, file: Path) -> Path:
    """A finished file to its place; where that is taken by another recording of the hour, to the next turn."""
    target = root / file.relative_to(aside)
    turn = 0
    while target.exists():
        if not file.name.endswith(".jsonl.zst"):
            raise SettingsError(f"{target} is there already: a window is one file; import into another --root and use tape merge")
        turn += 1
        target = target.with_name(f"{file.name.partition('.')[0]}.{turn}.jsonl.zst")
    make_folder(target.parent)
    file.rename(target)
    sync_folder(target.parent)
    register(target)
    return target


class _Writer:
    """One recording of an exchange: one tape, hour by hour."""

    def __init__(self, aside: Path, venue: Any, source: Path, digest: str) -> None:
        self.venue = venue
        self.group = next(iter(venue.sockets))
        self.tape = Tape(aside, venue.name, self.group)
        self.aside = aside
        self.last = 0
        self.moved = 0
        self.epoch = 0
        self.boundary = 0
        self._symbol = ""
        self._lines: list[bytes] = []
        self._head = {
            **{"format": 1, "venue": venue.name, "stream": self.group, "host": socket.gethostname(), "pid": 0},
            **{"run": f"import-{digest[:16]}", "setup": {}, "source": source.name, "sha256": digest},
        }
        self.done = Imported(str(source), venue.name, 0, 0, 0, 0, 0, [])

    def files(self) -> list[Path]:
        """The segments that were made."""
        return [segment.file for segment in segments(self.aside)]

    def write(self, events: Iterator[Event]) -> Imported:
        """All of it."""
        heard = 0
        for event in events:
            self.moved += event.ns <= heard
            heard = max(heard, event.ns)
            if event.kind == "open":
                self._open(self._t(event.ns), event.about)
            elif event.kind == "frame":
                self._frame(event)
            else:
                self._reply(event)
            if len(self._lines) >= _BATCH:
                self._flush()
        if not self.done.frames:
            raise FormatError(f"{self.done.source} holds no frame")
        self._line(mark_line(self._t(self.last), f"{self.group}-{self.epoch}", "close", {"why": "end of the recording", "code": 0}))
        self._flush()
        self.tape.seal(self._t(self.last))
        self.done.moved, self.done.last_ns = self.moved, self.last
        return self.done

    def _t(self, ns: int) -> int:
        if ns <= self.last:
            ns = self.last + 1
        self.last = ns
        if ns >= self.boundary:
            self._flush()
            self.boundary = next_hour(ns)
            self.tape.turn(ns, [mark_line(ns, "tape", "tape", {**self._head, "begun": self.done.first_ns or ns, "checkpoint": False})])
            self.last = ns = ns + 1
        self.done.first_ns = self.done.first_ns or ns
        return ns

    def _open(self, t: int, url: str) -> None:
        if self.epoch:
            self._line(mark_line(t, f"{self.group}-{self.epoch}", "close", {"why": "the recording opened another socket", "code": 0}))
            t = self._t(t)
        self.epoch += 1
        self._line(mark_line(t, f"{self.group}-{self.epoch}", "open", {"url": url, "group": self.group}))

    def _frame(self, event: Event) -> None:
        if not self.epoch:
            self._open(self._t(event.ns), "")
        if not self._symbol and event.data.startswith(b'{"stream":"'):
            self._symbol = event.data[11 : event.data.find(b"@", 11)].decode("utf-8", "replace").upper()
        self._line(frame_line(self._t(event.ns), f"{self.group}-{self.epoch}", event.data))
        self.done.frames += 1

    def _reply(self, event: Event) -> None:
        if not self.epoch:
            self._open(self._t(event.ns), "")
        parts = urlsplit(event.about)
        request = f"GET {parts.path}?{parts.query}" if parts.scheme else f"GET {self.venue.snapshot[0]}?symbol={self._symbol}&limit=1000"
        self._line(reply_line(self._t(event.ns), request.rstrip("?"), event.data))
        self.done.replies += 1

    def _line(self, line: bytes) -> None:
        self._lines.append(line)

    def _flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self.tape.append(b"".join(lines), len(lines))


class _Windows:
    """The brief's own Polymarket recording: one file a window."""

    def __init__(self, aside: Path, venue: Any, source: Path, digest: str) -> None:
        self.aside = aside
        self.digest = digest
        self.tapes: dict[str, tuple[FileTape, int]] = {}
        self.done = Imported(str(source), venue.name, 0, 0, 0, 0, 0, [])

    def files(self) -> list[Path]:
        """The windows that were made."""
        return sorted((self.aside / "real_hot").glob("*.jsonl"))

    def write(self, events: Iterator[Event]) -> Imported:
        """All of it."""
        for event in events:
            if not event.about:
                raise FormatError(f"{self.done.source}: Polymarket frames without a market_slug cannot be filed in a window")
            tape, last = self.tapes.get(event.about) or self._begin(event)
            t = max(event.ns, last + 1)
            self.done.moved += t != event.ns
            tape.append(frame_line(t, "brief-1", event.data), 1)
            self.tapes[event.about] = (tape, t)
            self.done.frames += 1
            self.done.first_ns = self.done.first_ns or t
            self.done.last_ns = t
        for tape, last in self.tapes.values():
            tape.seal(last + 1)
        return self.done

    def _begin(self, event: Event) -> tuple[FileTape, int]:
        tape = FileTape(self.aside / "real_hot" / f"{element(event.about)}.jsonl")
        tokens = [(str(row.get("token_id")), str(row.get("outcome"))) for row in msgspec.json.decode(event.data)["tokens"]]
        window = {"slug": event.about, "tokens": [token for token, _ in tokens], "outcomes": [name for _, name in tokens]}
        head = {"format": 1, "venue": "polymarket", "stream": "window", "run": f"import-{self.digest[:16]}", "setup": {}, "window": window}
        tape.append(mark_line(event.ns, "tape", "tape", head), 1)
        tape.append(mark_line(event.ns + 1, "brief-1", "open", {"url": "", "group": "brief"}), 1)
        return tape, event.ns + 1
