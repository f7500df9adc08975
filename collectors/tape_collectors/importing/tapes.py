"""Writes what an importer gives to tapes: all of a recording or nothing of it, and never twice.

Receive times are the recording's own, made strictly increasing: a time that does not exceed the one before becomes that plus 1 ns. A depth
snapshot that came before its stream's first frame is put behind that, since it joins a stream that has begun. The ``import`` mark says how
many times were moved so (``moved``). An exchange's recording becomes a tape of its own, ``raw/<venue>/import-<digest>/…``: it may overlap
what a recorder wrote, or another import, and each tape still rises in time. It is made aside and moved in by one rename.
"""

from __future__ import annotations

import heapq
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from hashlib import sha256 as hasher
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from tape_archive.format.atomic import failure, make_folder, sync_folder
from tape_archive.format.errors import FormatError, SettingsError
from tape_archive.format.layout import element, segments
from tape_archive.format.lines import frame_line, mark_line, parse, reply_line
from tape_archive.format.manifest import sha256
from tape_archive.format.read import read_lines
from tape_archive.format.rotation import next_hour
from tape_archive.format.segment import mend
from tape_archive.format.tape import FileTape, Tape, register
from tape_collectors.importing.formats import FORMATS, Event, unreadable
from tape_collectors.venues import VENUES, canonical, load

_BATCH = 500
_DEPTH = re.compile(rb'"stream":"([^"@]+)@depth|"e":"depthUpdate".{,80}?"s":"([^"]+)"')
#: domains that speak a venue's protocol: its own public mirror, and Binance US, which is another exchange with numbers of its own
_SPOKEN = {"binance.vision": "binance.com", "binance.us": "binance.com"}
_FOREIGN = ("binance.us",)


class Imported(msgspec.Struct):
    """What became of one recording."""

    source: str
    venue: str
    frames: int
    replies: int
    moved: int
    first_ns: int
    last_ns: int
    files: list[str]
    #: it was here already; nothing was done
    skipped: bool = False


class _Row(Imported, kw_only=True):
    sha256: str

    def done(self) -> Imported:
        """As the importer's answer."""
        fields = {name: getattr(self, name) for name in Imported.__struct_fields__}
        return Imported(**(fields | {"skipped": True}))


_row = msgspec.json.Decoder(_Row).decode


class _Ledger:
    """Which files were imported here: ``state/imports.jsonl``, a line a source file."""

    def __init__(self, root: Path) -> None:
        self.path = root / "state" / "imports.jsonl"

    def find(self, digest: str) -> Imported | None:
        """What became of a file that was imported already."""
        try:
            rows = self.path.read_bytes()
        except FileNotFoundError:
            return None
        whole = rows[: rows.rfind(b"\n") + 1].splitlines()
        return next((row.done() for row in map(_row, whole) if row.sha256 == digest), None)

    def add(self, digests: dict[Path, str], done: Imported) -> None:
        """Remember one."""
        make_folder(self.path.parent)
        rows = [{"sha256": digest, **msgspec.to_builtins(done), "source": str(path)} for path, digest in digests.items()]
        try:
            mend(self.path)
            with self.path.open("ab") as file:
                file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise failure(self.path, error) from None


def import_recording(paths: Sequence[Path], kind: str, venue_name: str, root: Path) -> Imported:
    """Import the files of one recording. Raises SettingsError, NotFound, FormatError, StoreError; nothing is left of one that fails."""
    if kind not in FORMATS:
        raise SettingsError(f"unknown format {kind!r} (known: {', '.join(FORMATS)})")
    venue = load(canonical(venue_name))
    digests = {path: _digest(path) for path in paths}
    whole = next(iter(digests.values())) if len(digests) == 1 else hasher("".join(sorted(digests.values())).encode()).hexdigest()
    ledger = _Ledger(root)
    known = {path: done for path, digest in digests.items() if (done := ledger.find(digest))}
    if known:
        path, done = next(iter(known.items()))
        if len(known) < len(digests):
            raise SettingsError(f"{path} was imported here already, without the rest of its recording; import it into another --root")
        return done
    tape = root / "raw" / element(venue.name) / f"import-{whole[:16]}"
    if tape.exists():
        # Killed between the rename and the ledger: the tape is whole.
        done = Imported(str(paths[0]), venue.name, 0, 0, 0, 0, 0, [str(tape.relative_to(root))], skipped=True)
        ledger.add(digests, done)
        return done
    aside = root / f".import-{whole[:16]}"
    shutil.rmtree(aside, ignore_errors=True)
    about: dict[str, object] = {"source": [path.name for path in paths], "sha256": list(digests.values()), "format": kind}
    try:
        writer: _Writer | _Windows
        writer = (_Windows if venue.name == "polymarket" else _Writer)(aside, venue, paths[0], whole, about)
        done = writer.write(_events(paths, kind))
        done.files = [str(path.relative_to(root)) for path in writer.move(root)]
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    ledger.add(digests, done)
    return done


def import_file(path: Path, kind: str, venue_name: str, root: Path) -> Imported:
    """Import a recording of one file."""
    return import_recording([path], kind, venue_name, root)


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise unreadable(path, error) from None


def _events(paths: Sequence[Path], kind: str) -> Iterator[Event]:
    if len(paths) == 1:
        return FORMATS[kind](paths[0])
    return heapq.merge(*(FORMATS[kind](path) for path in paths), key=lambda event: event.ns)


class _Writer:
    """One recording of an exchange: one tape, hour by hour."""

    def __init__(self, aside: Path, venue: Any, source: Path, digest: str, about: dict[str, object]) -> None:
        self.venue = venue
        self.aside = aside
        self.group = next(iter(venue.sockets))
        self.stream = f"import-{digest[:16]}"
        self.tape = Tape(aside, venue.name, self.stream)
        self.last = self.moved = self.boundary = 0
        #: socket of the recording -> its open epoch
        self.epochs: dict[str, str] = {}
        self._opened = 0
        self._lines: list[bytes] = []
        self._about = about
        self._judged = False
        #: symbols whose depth stream has spoken, and snapshots of those whose has not
        self._deep: set[str] = set()
        self._early: dict[str, tuple[str, bytes]] = {}
        self._head = {
            **{"format": 1, "venue": venue.name, "stream": self.stream, "host": socket.gethostname(), "pid": os.getpid()},
            **{"run": self.stream, "setup": {}},
        }
        self.done = Imported(str(source), venue.name, 0, 0, 0, 0, 0, [])

    def move(self, root: Path) -> list[Path]:
        """The tape to its place, by one rename; gives its files. Raises SettingsError where tapes of another exchange lie."""
        origin = self._head.get("origin", "")
        for name in {segment.stream: segment for segment in segments(root, self.venue.name)}.values():
            there = parse(next(read_lines(name.file), b"") or mark_line(0, "tape", "tape", {})).fields.get("origin", "")
            if there != origin:
                raise SettingsError(f"{self.done.source} and {name.file} are of two exchanges that number alike; use a --root for each")
        for segment in segments(self.aside):
            register(segment.file)
        source = self.aside / "raw" / element(self.venue.name) / element(self.stream)
        target = root / source.relative_to(self.aside)
        make_folder(target.parent)
        try:
            source.rename(target)
            sync_folder(target.parent)
        except OSError as error:
            raise failure(target, error) from None
        return [segment.file for segment in segments(root, self.venue.name, self.stream)]

    def write(self, events: Iterator[Event]) -> Imported:
        """All of it."""
        heard = 0
        for event in events:
            self.moved += event.ns <= heard
            heard = max(heard, event.ns)
            if event.kind == "open":
                self._open(event)
            elif event.kind == "frame":
                self._frame(event)
            else:
                self._reply(event)
            if len(self._lines) >= _BATCH:
                self._flush()
        if not self.done.frames:
            raise FormatError(f"{self.done.source} holds no frame of a socket; give all raw files of a session, or their folder")
        for request, data in self._early.values():
            self._line(reply_line(self._t(self.last), request, data))
        for link in list(self.epochs):
            self._close(link, self.last, "end of the recording")
        counts = {"frames": self.done.frames, "replies": self.done.replies, "moved": self.moved}
        self._line(mark_line(self._t(self.last), "tape", "import", {**self._about, **counts}))
        self._flush()
        self.tape.seal(self.last + 1)
        self.done.moved, self.done.last_ns = self.moved, self.last
        return self.done

    def _t(self, ns: int) -> int:
        ns = max(ns, self.last + 1)
        if ns >= self.boundary:
            self._flush()
            self.tape.seal(self.last + 1)
            ns = max(ns, self.last + 2)
            self.boundary = next_hour(ns)
            self.tape.turn(ns, [mark_line(ns, "tape", "tape", {**self._head, "begun": self.done.first_ns or ns, "checkpoint": False})])
            ns += 1
        self.last = ns
        self.done.first_ns = self.done.first_ns or ns
        return ns

    def _open(self, event: Event) -> None:
        if event.about:
            self._address(event.about)
        if event.link in self.epochs:
            self._close(event.link, event.ns, "the recording opened this socket again")
        self._opened += 1
        s = self.epochs[event.link] = f"{self.group}-{self._opened}"
        self._line(mark_line(self._t(event.ns), s, "open", {"url": event.about, "group": self.group}))

    def _close(self, link: str, ns: int, why: str) -> None:
        self._line(mark_line(self._t(ns), self.epochs.pop(link), "close", {"why": why, "code": 0}))

    def _frame(self, event: Event) -> None:
        if event.link not in self.epochs:
            self._open(Event(event.ns, "open", b"", event.about, event.link))
        if not self._judged:
            self._judge(event.data)
        self._line(frame_line(self._t(event.ns), self.epochs[event.link], event.data))
        self.done.frames += 1
        if match := _DEPTH.search(event.data, 0, 200):
            symbol = (match[1] or match[2]).decode("utf-8", "replace").upper()
            self._deep.add(symbol)
            if symbol in self._early:
                self._line(reply_line(self._t(event.ns), *self._early.pop(symbol)))

    def _reply(self, event: Event) -> None:
        symbol, path = event.about, self.venue.snapshot[0]
        request = f"GET {path}?symbol={symbol}&limit={self.venue.snapshot[1]}"
        if "://" in event.about:
            self._address(event.about)
            parts = urlsplit(event.about)
            # Binance answered under older versions of the same path: /api/v1/depth until 2021.
            old = re.sub(r"/v\d+/", "/v0/", parts.path) == re.sub(r"/v\d+/", "/v0/", path)
            symbol = parse_qs(parts.query).get("symbol", [""])[0] if old else ""
            request = f"GET {path if old else parts.path}?{parts.query}".rstrip("?")
        self.done.replies += 1
        if symbol and symbol not in self._deep:
            # A snapshot joins a stream that has begun; cryptofeed read it while the stream's first frames waited in the socket.
            self._early[symbol] = (request, event.data)
            self.moved += 1
        else:
            self._line(reply_line(self._t(event.ns), request, event.data))

    def _address(self, url: str) -> None:
        """Refuse an address of another venue: its rules would judge the frames wrongly."""
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            raise FormatError(f"{self.done.source}: {url[:60]!r} is no address") from None
        if host == "localhost" or host.replace(".", "").isdecimal() or ":" in host:
            return
        other = next((name for name in VENUES if name != self.venue.name and host in _hosts(load(name))), "")
        if other:
            raise FormatError(f"{self.done.source} is a recording of {other} ({host}); import it with --venue {other}")
        domain = ".".join(host.split(".")[-2:])
        if domain in _FOREIGN and not getattr(getattr(self.venue, "rule", None), "by_pu", True):
            self._head["origin"] = domain
        elif domain in _FOREIGN or _SPOKEN.get(domain, domain) not in {".".join(own.split(".")[-2:]) for own in _hosts(self.venue)}:
            raise FormatError(f"{self.done.source} is a recording of {host}, which is neither {self.venue.name} nor any venue known here")

    def _judge(self, data: bytes) -> None:
        # A file without addresses tells its product by the depth events: only the futures have `pu`.
        if b'"depthUpdate"' not in data[:200]:
            return
        self._judged = True
        rule = getattr(self.venue, "rule", None)
        futures = b'"pu":' in data[:400]
        if rule is not None and rule.by_pu != futures:
            right = "binance_usdm" if futures else "binance_spot"
            raise FormatError(f"{self.done.source} is a recording of {right}, not of {self.venue.name}; import it with --venue {right}")

    def _line(self, line: bytes) -> None:
        self._lines.append(line)

    def _flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self.tape.append(b"".join(lines), len(lines))


def _hosts(venue: Any) -> set[str]:
    return {urlsplit(url).hostname or "" for url in (*venue.hosts.values(), *venue.sockets.values())}


class _Token(msgspec.Struct):
    token_id: str
    outcome: str = ""


class _Record(msgspec.Struct):
    tokens: list[_Token]


class _Windows:
    """The brief's own Polymarket recording: one file a window."""

    def __init__(self, aside: Path, venue: Any, source: Path, digest: str, about: dict[str, object]) -> None:
        self.aside = aside
        self.run = f"import-{digest[:16]}"
        self.tapes: dict[str, tuple[FileTape, int]] = {}
        self.counts: dict[str, list[int]] = {}
        self._about = about
        self.done = Imported(str(source), venue.name, 0, 0, 0, 0, 0, [])

    def move(self, root: Path) -> list[Path]:
        """The windows to their place. Raises SettingsError, before any is moved, where one is there already."""
        made = sorted((self.aside / "real_hot").glob("*.jsonl"))
        targets = [root / path.relative_to(self.aside) for path in made]
        for target in targets:
            cold = next((root / "real_archive").glob(f"????-??/{target.name}*"), None)
            if target.exists() or cold:
                raise SettingsError(f"{cold or target} is there already: a window is one file; import into another --root")
        make_folder(root / "real_hot")
        try:
            for path, target in zip(made, targets, strict=True):
                path.rename(target)
                register(target)
            sync_folder(root / "real_hot")
        except OSError as error:
            raise failure(root / "real_hot", error) from None
        return targets

    def write(self, events: Iterator[Event]) -> Imported:
        """All of it."""
        for event in events:
            if not event.about:
                raise FormatError(f"{self.done.source}: Polymarket frames without a market_slug cannot be filed in a window")
            tape, last = self.tapes.get(event.about) or self._begin(event)
            t = max(event.ns, last + 1)
            moved = int(t != event.ns)
            tape.append(frame_line(t, "brief-1", event.data), 1)
            self.tapes[event.about] = (tape, t)
            self.counts[event.about][0] += 1
            self.counts[event.about][1] += moved
            self.done.frames += 1
            self.done.moved += moved
            self.done.first_ns = min(self.done.first_ns or t, t)
            self.done.last_ns = max(self.done.last_ns, t)
        if not self.done.frames:
            raise FormatError(f"{self.done.source} holds no frame")
        for slug, (tape, last) in self.tapes.items():
            frames, moved = self.counts[slug]
            close = mark_line(last + 1, "brief-1", "close", {"why": "end of the recording", "code": 0})
            about = {**self._about, "frames": frames, "replies": 0, "moved": moved}
            tape.append(close + mark_line(last + 2, "tape", "import", about), 2)
            tape.seal(last + 3)
        return self.done

    def _begin(self, event: Event) -> tuple[FileTape, int]:
        try:
            tokens = msgspec.json.decode(event.data, type=_Record).tokens
        except (msgspec.DecodeError, ValueError) as error:
            raise FormatError(f"{self.done.source}: the record of {event.about[:80]!r} has no usable tokens: {error}") from None
        tape = FileTape(self.aside / "real_hot" / f"{element(event.about)}.jsonl")
        window = {"slug": event.about, "tokens": [token.token_id for token in tokens], "outcomes": [token.outcome for token in tokens]}
        head = {"format": 1, "venue": "polymarket", "stream": "window", "run": self.run, "setup": {}, "window": window}
        opened = mark_line(event.ns - 1, "brief-1", "open", {"url": "", "group": "brief"})
        tape.append(mark_line(event.ns - 2, "tape", "tape", head) + opened, 2)
        self.counts[event.about] = [0, 0]
        return tape, event.ns - 1
