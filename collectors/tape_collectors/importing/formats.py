"""Recordings of other tools, as events that can be written to tapes. One generator a format; each names the fix when a file is not
what it should be.

- ``hftbacktest``: gzip, ``<receive ns> <payload>`` a line; a line without a stream name is a REST depth snapshot of the file's symbol.
- ``cryptofeed``: ``frames.ndjson.zst`` (one JSON a line) or cryptofeed's own raw files (``<address> -> <time>: <payload>`` for REST,
  ``<address> <-> <time>`` for an opened socket, ``<address> <- <time>: <payload>`` for what was sent, ``<time>: <payload>`` for frames),
  plain or compressed. One session writes several raw files: they are one recording.
- ``jsonl``: ``{"recv_ns"|"t"|"ns"|"timestamp": …, "raw"|"m"|"payload"|"data": …}`` lines, or the brief's own Polymarket records
  (``tokens`` with ``orderbook``).
"""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO

import msgspec
import zstandard

from tape_archive.format.errors import FormatError, NotFound, StoreDenied, TapeError

SECOND = 1_000_000_000


class Event(msgspec.Struct):
    """One thing of a recording. ``kind``: open, frame, reply; ``ns``: receive time; ``about``: the address, of a reply without one the
    symbol, of a Polymarket record its slug; ``link`` tells the sockets of one recording apart."""

    ns: int
    kind: str
    data: bytes = b""
    about: str = ""
    link: str = ""


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a plain, gzip or zstd file, with their breaks. Raises FormatError, StoreDenied, NotFound."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic[:2] == b"\x1f\x8b":
                with gzip.open(file, "rb") as unpacked:
                    yield from unpacked
            elif magic == b"\x28\xb5\x2f\xfd":
                yield from _zstd_lines(path, file)
            else:
                yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise FormatError(f"{path} is torn or damaged: {error}; import a whole copy") from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> TapeError:
    """The error of ours for a source that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{path} is not there")
    kind = StoreDenied if isinstance(error, PermissionError) else FormatError
    return kind(f"cannot read {path}: {error.strerror or error}")


def _zstd_lines(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    frame: zstandard.ZstdDecompressionObj | None = None
    while chunk := file.read(1 << 18):
        while chunk:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            some = (rest + frame.decompress(chunk)).split(b"\n")
            rest = some.pop()
            yield from (line + b"\n" for line in some)
            if not frame.eof:
                break
            chunk, frame = frame.unused_data, None
    if frame is not None:
        raise FormatError(f"{path} is torn: its last zstd frame has no end; import a whole copy")
    if rest:
        yield rest


def _stripped(path: Path, number: int, line: bytes) -> bytes:
    """A line without its break. A last line that has none, and no whole JSON at its end, was cut: raises FormatError."""
    if line.endswith(b"\n"):
        return line.rstrip(b"\r\n")
    if not line.endswith((b"}", b"]")):
        raise FormatError(f"{path}, line {number}: the file ends in the middle of a line; import a whole copy, or cut that line off")
    return line


_NAMED = re.compile(rb'"stream":"([^"@]+)@|"s":"([A-Za-z0-9_]+)"')


def hftbacktest(path: Path) -> Iterator[Event]:
    """See the module."""
    symbol, waiting, nameless = "", [], False
    for number, line in enumerate(lines(path), 1):
        ns, blank, payload = _stripped(path, number, line).partition(b" ")
        if not blank or not ns.isdigit() or not 17 <= len(ns) <= 20:
            raise FormatError(f"{path}, line {number}: not '<receive ns> <payload>' as hftbacktest writes it")
        snapshot = b'"lastUpdateId"' in payload[:64]
        nameless = nameless or snapshot
        waiting.append(Event(int(ns), "reply" if snapshot else "frame", payload))
        if not snapshot and (match := _NAMED.search(payload, 0, 200)):
            name = (match[1] or match[2]).decode("ascii", "replace").upper()
            if nameless and symbol and name != symbol:
                raise FormatError(f"{path}, line {number}: a nameless snapshot in a file of {symbol} and {name}: split it by symbol")
            symbol = symbol or name
        if symbol:
            for event in waiting:
                event.about = symbol if event.kind == "reply" else ""
                yield event
            waiting.clear()
    if nameless and not symbol:
        raise FormatError(f"{path}: a depth snapshot, and no frame that tells of which symbol")
    yield from waiting


class _Entry(msgspec.Struct):
    ns: int
    kind: str
    url: str | None = None
    raw: str | None = None
    b64: str | None = None


_entry = msgspec.json.Decoder(_Entry).decode
_RAW_OPEN = re.compile(rb"^(wss?://\S+) <-> (\d+(?:\.\d+)?)\s*$")
_RAW_REPLY = re.compile(rb"^(https?://\S+) -> (\d+(?:\.\d+)?): (.*)$", re.S)
_RAW_FRAME = re.compile(rb"^(\d{9,11}(?:\.\d+)?): (.*)$", re.S)
_RAW_PASSED = re.compile(rb"^(configuration: |\S+ <- \d+(\.\d+)?: |\s*$)")


def cryptofeed(path: Path) -> Iterator[Event]:
    """See the module."""
    for number, line in enumerate(lines(path), 1):
        line = _stripped(path, number, line)
        event = _ndjson(path, number, line) if line.startswith(b"{") else _raw(path, number, line)
        if event is not None:
            yield event


_KINDS = {"recv": "frame", "http": "reply", "open": "open", "config": "", "send": "", "close": ""}


def _ndjson(path: Path, number: int, line: bytes) -> Event | None:
    try:
        entry = _entry(line)
        data = base64.b64decode(entry.b64, validate=True) if entry.b64 else (entry.raw or "").encode()
    except (msgspec.DecodeError, ValueError) as error:
        raise FormatError(f"{path}, line {number}: not a line of frames.ndjson: {error}") from None
    kind = _KINDS.get(entry.kind)
    if kind is None:
        raise FormatError(f"{path}, line {number}: unknown kind {entry.kind[:40]!r} (known: {', '.join(_KINDS)})")
    return Event(_checked(path, number, entry.ns), kind, data, entry.url or "", entry.url or "") if kind else None


def _ns(text: bytes) -> int:
    whole, _, part = text.partition(b".")
    return int(whole) * SECOND + int(part[:9].ljust(9, b"0"))


def _raw(path: Path, number: int, line: bytes) -> Event | None:
    if match := _RAW_FRAME.match(line):
        return Event(_ns(match[1]), "frame", match[2], "", path.name)
    if match := _RAW_OPEN.match(line):
        return Event(_ns(match[2]), "open", b"", match[1].decode("utf-8", "replace"), path.name)
    if match := _RAW_REPLY.match(line):
        return Event(_ns(match[2]), "reply", match[3], match[1].decode("utf-8", "replace"))
    if _RAW_PASSED.match(line):
        return None
    raise FormatError(f"{path}, line {number}: neither frames.ndjson nor a raw file of cryptofeed: {line[:40]!r}")


_PART = re.compile(r"^(.+?)\.(?:(?:http|ws)\.\d+\.)?\d+(?:\.zst|\.gz)?$")


def recordings(kind: str, paths: Iterable[Path]) -> list[list[Path]]:
    """The files of each recording, in the order given. A folder means its files; the raw files of one cryptofeed session are one."""
    out: dict[object, list[Path]] = {}
    for path in paths:
        try:
            files = sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith(".")) if path.is_dir() else [path]
        except OSError as error:
            raise unreadable(path, error) from None
        if not files:
            raise NotFound(f"{path} holds no file")
        for file in files:
            match = _PART.match(file.name) if kind == "cryptofeed" else None
            out.setdefault((file.parent, match[1]) if match else file, []).append(file)
    return list(out.values())


def jsonl(path: Path) -> Iterator[Event]:
    """See the module."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    for number, line in enumerate(lines(path), 1):
        line = line.rstrip(b"\r\n")
        if not line:
            continue
        try:
            fields = decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise FormatError(f"{path}, line {number}: {error}; a torn last line can be cut off") from None
        if "kind" in fields and "ns" in fields:
            raise FormatError(f"{path}, line {number}: this is a line of frames.ndjson; import it with --format cryptofeed")
        stamp = next((fields[key] for key in ("recv_ns", "t", "ns", "timestamp", "recv_ms") if key in fields), None)
        if stamp is None:
            raise FormatError(f"{path}, line {number}: no receive time (recv_ns, t, ns or timestamp)")
        ns = _time(path, number, bytes(stamp))
        if "tokens" in fields:
            yield Event(ns, "frame", line, _slug(path, fields))
            continue
        body = next((bytes(fields[key]) for key in ("m", "payload", "raw", "data") if key in fields), b"")
        if body[:1] not in (b'"', b"{", b"["):
            raise FormatError(f"{path}, line {number}: no frame (raw, m, payload or data: text, object or array)")
        try:
            yield Event(ns, "frame", msgspec.json.decode(body, type=str).encode() if body.startswith(b'"') else body)
        except (msgspec.DecodeError, ValueError) as error:
            raise FormatError(f"{path}, line {number}: the frame is no text: {error}") from None


def _slug(path: Path, fields: dict[str, msgspec.Raw]) -> str:
    # The oldest recordings name it only in their file name: btc-updown-15m-1767507300_1767507300_20260103_222417.jsonl
    try:
        named = msgspec.json.decode(fields["market_slug"], type=str) if "market_slug" in fields else ""
    except (msgspec.DecodeError, ValueError):
        named = ""
    return named or path.name.partition(".")[0].partition("_")[0]


def _time(path: Path, number: int, text: bytes) -> int:
    try:
        value = Decimal(text.decode().strip('"'))
        scale = next((scale for scale, most in ((SECOND, 11), (1_000_000, 14), (1_000, 17)) if value < 10**most), 1)
        return _checked(path, number, int(value * scale))
    except (InvalidOperation, UnicodeDecodeError, ValueError, OverflowError):
        raise FormatError(f"{path}, line {number}: {text[:30]!r} is no time") from None


def _checked(path: Path, number: int, ns: int) -> int:
    if not 10**18 <= ns < 5 * 10**18:
        raise FormatError(f"{path}, line {number}: {ns} is no receive time in unix ns (2001 to 2128)")
    return ns


FORMATS: dict[str, Callable[[Path], Iterator[Event]]] = {"hftbacktest": hftbacktest, "cryptofeed": cryptofeed, "jsonl": jsonl}
