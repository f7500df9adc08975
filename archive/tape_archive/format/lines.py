"""Tape lines: how a frame is put into one, and how it comes out again, byte for byte (see docs/reference/format.md, "Lines")."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from tape_archive.format.errors import Corrupt, UnknownVersion

#: the version of the format that this program writes, and the highest that it reads
FORMAT = 1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Line(msgspec.Struct):
    """One line. ``data`` is the frame exactly as received (None on a mark); ``mark`` and ``fields`` are set on marks only."""

    t: int
    s: str
    data: bytes | None = None
    part: int | list[int] | None = None
    request: str | None = None
    status: int = 200
    mark: str | None = None
    fields: dict[str, Any] = msgspec.field(default_factory=dict)


def fits(data: bytes) -> bool:
    """Whether a frame can stand in ``m``: it looks like JSON (first and last byte) and has no line break."""
    return (
        bool(data)
        and ((data[0] == 123 and data[-1] == 125) or (data[0] == 91 and data[-1] == 93))
        # One byte is looked for as a number: nine times as fast as as a text, and every frame is looked at.
        and 10 not in data
        and 13 not in data
        and (data.isascii() or _is_utf8(data))
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def frame_line(t: int, s: str, data: bytes) -> bytes:
    """The line of one websocket frame."""
    # The usual case of ``fits``, without a call: this runs for every frame.
    if data.isascii() and data and data[0] == 123 and data[-1] == 125 and 10 not in data and 13 not in data:
        return b'{"t":%d,"s":"%b","m":%b}\n' % (t, s.encode(), data)
    if fits(data):
        return b'{"t":%d,"s":"%b","m":%b}\n' % (t, s.encode(), data)
    return b'{"t":%d,"s":"%b","b":"%b"}\n' % (t, s.encode(), base64.b64encode(data))


def part_line(t: int, s: str, part: int | list[int], data: bytes) -> bytes:
    """The line of what belongs to one tape of an array frame that belongs to several: an element, or an array of some."""
    head = b'{"t":%d,"s":"%b","i":%b' % (t, s.encode(), _encode(part))
    if fits(data):
        return b'%b,"m":%b}\n' % (head, data)
    return b'%b,"b":"%b"}\n' % (head, base64.b64encode(data))


def reply_line(t: int, request: str, data: bytes, status: int = 200) -> bytes:
    """The line of one REST reply; ``status`` 0 means that no answer came."""
    head = b'{"t":%d,"s":"rest","u":%b' % (t, _encode(request))
    if status != 200:
        head += b',"status":%d' % status
    if fits(data):
        return b'%b,"m":%b}\n' % (head, data)
    return b'%b,"b":"%b"}\n' % (head, base64.b64encode(data))


def mark_line(t: int, s: str, kind: str, fields: Mapping[str, object]) -> bytes:
    """The line of one mark."""
    head = b'{"t":%d,"s":%b,"mark":%b' % (t, _encode(s), _encode(kind))
    return head + (b"," + _encode(fields)[1:] if fields else b"}") + b"\n"


def parse(line: bytes) -> Line:
    """A line, with or without its line break. Raises Corrupt, in one line of text, for anything else.

    Raises UnknownVersion for the head mark of a tape that a newer program wrote.
    """
    if line.endswith(b"\n"):
        line = line[:-1]
    # The frame itself is never parsed: the keys stand in a fixed order, and the first `"m":` behind them begins the frame.
    if line.startswith(b'{"t":'):
        comma = line.find(b',"s":"', 5)
        end = line.find(b'"', comma + 6)
        try:
            if comma > 0 and line.startswith(b',"m":', end + 1):
                if not line.endswith(b"}"):
                    raise Corrupt(f"line does not end: {line[:60]!r}")
                return Line(int(line[5:comma]), line[comma + 6 : end].decode(), line[end + 6 : -1])
            return _other(line, comma, end)
        except (ValueError, KeyError, TypeError, msgspec.DecodeError, binascii.Error, UnicodeDecodeError):
            pass
    raise Corrupt(f"not a tape line: {line[:60]!r}")


def _other(line: bytes, comma: int, end: int) -> Line:
    rest = end + 1
    if line.startswith((b',"i":', b',"u":'), rest):
        frame = line.find(b',"m":', rest) if line.startswith(b',"i":', rest) else _after_request(line, rest + 5)
        if frame >= 0 and line.startswith(b',"m":', frame):
            head = _decode(line[:frame] + b"}")
            data = line[frame + 5 : -1]
            if not line.endswith(b"}"):
                raise ValueError
            return Line(head["t"], head["s"], data, head.get("i"), head.get("u"), head.get("status", 200))
    whole = _decode(line)
    t, s = whole.pop("t"), whole.pop("s")
    if type(t) is not int or type(s) is not str:
        raise ValueError
    if "mark" in whole:
        mark = whole.pop("mark")
        if mark == "tape" and isinstance(version := whole.get("format"), int) and version > FORMAT:
            raise UnknownVersion(f"this tape has format {version}, this program reads up to {FORMAT}: upgrade tapeline")
        return Line(t, s, mark=mark, fields=whole)
    return Line(t, s, base64.b64decode(whole["b"], validate=True), whole.get("i"), whole.get("u"), whole.get("status", 200))


def _after_request(line: bytes, at: int) -> int:
    # `at` is the opening quote of the request, which may hold escaped quotes and even `,"m":`.
    at += 1
    while True:
        quote = line.find(b'"', at)
        if quote < 0:
            return -1
        slashes = quote - len(line[at:quote].rstrip(b"\\")) - at
        if slashes % 2 == 0:
            break
        at = quote + 1
    return line.find(b',"m":', quote)


def time_of(line: bytes) -> int:
    """Only the ``t`` of a line. Raises Corrupt."""
    comma = line.find(b",", 5, 40)
    if comma > 0 and line.startswith(b'{"t":') and line[5:comma].isdigit():
        return int(line[5:comma])
    raise Corrupt(f"not a tape line: {line[:60]!r}")


def is_mark(line: bytes, kind: str) -> bool:
    """Whether a line is a mark of this kind; cheap for all others. Raises Corrupt."""
    return b'"mark":"%b"' % kind.encode() in line and parse(line).mark == kind
