"""Recordings of other tools, as events that can be written to tapes. One generator a format; each names the fix when a file is not
what it should be.

- ``hftbacktest``: gzip, ``<receive ns> <payload>`` a line; a line without a stream name is a REST depth snapshot.
- ``cryptofeed``: ``frames.ndjson.zst`` (one JSON a line) or cryptofeed's own raw files (``<address> -> <time>: <payload>`` for REST,
  ``<address> <-> <time>`` for an opened socket, ``<time>: <payload>`` for its frames), plain or zstd.
- ``jsonl``: ``{"recv_ns"|"t"|"ns"|"timestamp": …, "raw"|"m"|"payload": …}`` lines, or the brief's own Polymarket records (``tokens``
  with ``orderbook``).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from tape_archive.format.errors import FormatError

SECOND = 1_000_000_000


class Event(msgspec.Struct):
    """One thing of a recording. ``kind``: open, frame, reply; ``about``: the address or request; ``ns``: receive time."""

    ns: int
    kind: str
    data: bytes = b""
    about: str = ""


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a plain, gzip or zstd file. Raises FormatError."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic[:2] == b"\x1f\x8b":
                with gzip.open(file, "rb") as unpacked:
                    yield from unpacked
            elif magic == b"\x28\xb5\x2f\xfd":
                yield from _zstd_lines(file)
            else:
                yield from file
    except (EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise FormatError(f"{path} is torn or damaged: {error}; import a whole copy") from None
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror or error}") from None


def _zstd_lines(file: Any) -> Iterator[bytes]:
    rest = b""
    with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as unpacked:
        while chunk := unpacked.read(1 << 18):
            some = (rest + chunk).split(b"\n")
            rest = some.pop()
            yield from (line + b"\n" for line in some)
    if rest:
        yield rest


def hftbacktest(path: Path) -> Iterator[Event]:
    """See the module."""
    for number, line in enumerate(lines(path), 1):
        ns, blank, payload = line.rstrip(b"\r\n").partition(b" ")
        if not blank or not ns.isdigit() or not 17 <= len(ns) <= 20:
            raise FormatError(f"{path}, line {number}: not '<receive ns> <payload>' as hftbacktest writes it")
        if b'"lastUpdateId"' in payload[:64]:
            yield Event(int(ns), "reply", payload, "depth")
        else:
            yield Event(int(ns), "frame", payload)


class _Entry(msgspec.Struct):
    ns: int
    kind: str
    url: str | None = None
    raw: str | None = None
    b64: str | None = None


_entry = msgspec.json.Decoder(_Entry).decode
_RAW_OPEN = re.compile(rb"^(wss?://\S+) <-> (\d+\.\d+)\s*$")
_RAW_REPLY = re.compile(rb"^(https?://\S+) -> (\d+\.\d+): (.*)$", re.S)
_RAW_FRAME = re.compile(rb"^(\d{9,11}\.\d+): (.*)$", re.S)


def cryptofeed(path: Path) -> Iterator[Event]:
    """See the module."""
    first = True
    for number, line in enumerate(lines(path), 1):
        line = line.rstrip(b"\r\n")
        if first and not line.startswith(b"{") and not line.startswith((b"http", b"ws", b"configuration")) and not _RAW_FRAME.match(line):
            raise FormatError(f"{path}: neither frames.ndjson nor a raw file of cryptofeed")
        first = False
        event = _ndjson(path, number, line) if line.startswith(b"{") else _raw(line)
        if event is not None:
            yield event


def _ndjson(path: Path, number: int, line: bytes) -> Event | None:
    import base64

    try:
        entry = _entry(line)
        data = base64.b64decode(entry.b64) if entry.b64 else (entry.raw or "").encode()
    except (msgspec.DecodeError, ValueError) as error:
        raise FormatError(f"{path}, line {number}: {error}") from None
    kinds = {"recv": "frame", "http": "reply", "open": "open"}
    return Event(entry.ns, kinds[entry.kind], data, entry.url or "") if entry.kind in kinds else None


def _ns(text: bytes) -> int:
    whole, _, part = text.partition(b".")
    return int(whole) * SECOND + int(part[:9].ljust(9, b"0"))


def _raw(line: bytes) -> Event | None:
    if match := _RAW_OPEN.match(line):
        return Event(_ns(match[2]), "open", b"", match[1].decode())
    if match := _RAW_REPLY.match(line):
        return Event(_ns(match[2]), "reply", match[3], match[1].decode())
    if match := _RAW_FRAME.match(line):
        return Event(_ns(match[1]), "frame", match[2])
    return None


def jsonl(path: Path) -> Iterator[Event]:
    """See the module."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    for number, line in enumerate(lines(path), 1):
        line = line.rstrip(b"\r\n")
        if not line:
            continue
        try:
            fields = decode(line)
        except msgspec.DecodeError as error:
            raise FormatError(f"{path}, line {number}: {error}; a torn last line can be cut off") from None
        stamp = next((fields[key] for key in ("recv_ns", "t", "ns", "timestamp", "recv_ms") if key in fields), None)
        if stamp is None:
            raise FormatError(f"{path}, line {number}: no receive time (recv_ns, t, ns or timestamp)")
        ns = _time(path, number, bytes(stamp))
        if "tokens" in fields:
            slug = msgspec.json.decode(fields["market_slug"], type=str) if "market_slug" in fields else path.name.partition(".")[0]
            yield Event(ns, "frame", line, slug)
            continue
        body = next((bytes(fields[key]) for key in ("m", "payload", "raw", "data") if key in fields), None)
        if body is None:
            raise FormatError(f"{path}, line {number}: no frame (raw, m, payload or data)")
        yield Event(ns, "frame", msgspec.json.decode(body, type=str).encode() if body.startswith(b'"') else body)


def _time(path: Path, number: int, text: bytes) -> int:
    try:
        value = Decimal(text.decode().strip('"'))
    except (InvalidOperation, UnicodeDecodeError):
        raise FormatError(f"{path}, line {number}: {text[:30]!r} is no time") from None
    for scale, most in ((SECOND, Decimal("1e11")), (1_000_000, Decimal("1e14")), (1_000, Decimal("1e17"))):
        if value < most:
            return int(value * scale)
    return int(value)


FORMATS: dict[str, Callable[[Path], Iterator[Event]]] = {"hftbacktest": hftbacktest, "cryptofeed": cryptofeed, "jsonl": jsonl}
