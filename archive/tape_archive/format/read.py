"""Reading tapes: whole files, from a position, while they grow, and many merged by time."""

from __future__ import annotations

import gzip
import heapq
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from tape_archive.format import zstd
from tape_archive.format.errors import Corrupt, NotFound, StoreDenied, TornTail
from tape_archive.format.lines import time_of

CHUNK = 1 << 18
#: the most that a follower reads of a file at once
POLL = 1 << 20


class Position(msgspec.Struct, frozen=True):
    """A place in a tape file: byte ``at`` (of a line, or of a zstd frame), and ``skip`` lines after it."""

    at: int = 0
    skip: int = 0


def read_lines(path: Path, start: Position | None = None, *, sealed: bool = False) -> Iterator[bytes]:
    """The lines from ``start`` on, without their breaks. Stops before a torn tail, or raises TornTail if ``sealed``.

    Raises Corrupt for a damaged zstd or gzip file, NotFound, StoreDenied.
    """
    start = start or Position()
    skip = start.skip
    rest = b""
    for chunk in _chunks(path, start.at, sealed):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if skip:
            skipped = min(skip, len(lines))
            skip -= skipped
            lines = lines[skipped:]
        yield from lines
    if sealed and rest:
        raise TornTail(f"{path} ends in the middle of a line")


def _chunks(path: Path, at: int, sealed: bool) -> Iterator[bytes]:
    if path.suffix == ".gz":
        yield from _gzip_chunks(path, sealed)
        return
    with _opened(path) as file:
        file.seek(at)
        if path.suffix != ".zst":
            while chunk := file.read(CHUNK):
                yield chunk
            return
        decoder = _Frames(path, at)
        while chunk := file.read(CHUNK):
            yield from decoder.feed(chunk)
        if sealed and decoder.inside:
            raise TornTail(f"{path} ends in the middle of the zstd frame that begins at byte {decoder.at}")


def _gzip_chunks(path: Path, sealed: bool) -> Iterator[bytes]:
    with _opened(path) as file, gzip.open(file, "rb") as packed:
        try:
            # read1: what stands before a torn end is given, not thrown away with it.
            while chunk := packed.read1(CHUNK):
                yield chunk
        except EOFError:
            if sealed:
                raise TornTail(f"{path} ends in the middle of a gzip member") from None
        except (zlib.error, OSError) as error:
            raise Corrupt(f"{path}: {error}") from None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"{path} is not there") from None
    except PermissionError as error:
        raise StoreDenied(f"cannot read {path}: {error.strerror}; give this user the right to read it") from None


class _Frames:
    """Decompresses concatenated frames as far as their whole blocks go.

    ``at`` is where the frame begins that the next byte belongs to, ``given`` how much of its content was given already.
    """

    def __init__(self, path: Path, at: int = 0) -> None:
        self.at = at
        self.given = 0
        self._path = path
        self._end = at
        self._object: zstandard.ZstdDecompressionObj | None = None

    @property
    def inside(self) -> bool:
        """Whether the frame at ``at`` has begun, and not ended."""
        return self._object is not None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content that these bytes complete, frame by frame. Raises Corrupt, naming the frame's offset."""
        self._end += len(data)
        while data:
            if self._object is None:
                self._object = zstandard.ZstdDecompressor().decompressobj()
            try:
                content = self._object.decompress(data)
            except zstandard.ZstdError as error:
                raise Corrupt(f"{self._path}: zstd frame at byte {self.at}: {error}") from None
            if self._object.eof:
                data = self._object.unused_data
                self.at, self.given, self._object = self._end - len(data), 0, None
            else:
                data = b""
                self.given += len(content)
            if content:
                yield content


class Follower:
    """Follows a file that somebody still appends to: ``poll`` gives the lines that came since.

    A recorder that begins again mends the tail of its file. What was read of that tail is then read anew, and no line is given twice.
    """

    def __init__(self, path: Path, start: Position | None = None) -> None:
        self.path = path
        start = start or Position()
        self._at = start.at
        self._skip = start.skip
        self._rest = b""
        self._drop = 0
        self._ended = False
        self._frames, self._boundary = _Frames(path, start.at), zstd.Boundary()

    @property
    def place(self) -> Position:
        """Where reading may begin anew: at or before the first line that was not given yet."""
        return Position(self._frames.at if self.path.suffix == ".zst" else self._at)

    def poll(self) -> list[bytes]:
        """New whole lines, a part of them if there are very many; empty if there are none, or the file is not there yet.

        Raises Corrupt.
        """
        read = self._read_frames if self.path.suffix == ".zst" else self._read_plain
        try:
            with self.path.open("rb") as file:
                while data := read(file):
                    if lines := self._split(data):
                        return lines
        except FileNotFoundError:
            pass
        return []

    def _read_plain(self, file: BinaryIO) -> bytes:
        # Only whole lines are taken: an unfinished one may be cut by a recorder that begins again.
        file.seek(self._at)
        data = file.read(POLL)
        while b"\n" not in data and (more := file.read(POLL)):
            data += more
        data = data[: data.rfind(b"\n") + 1]
        self._at += len(data)
        return data

    def _read_frames(self, file: BinaryIO) -> bytes:
        # Likewise only whole blocks are taken, and blocks that end in the middle of a line are read anew.
        size = os.fstat(file.fileno()).st_size
        if size < self._at or (self._rest and self._ended):
            self._again()
        while True:
            file.seek(self._at)
            data, most = b"", POLL
            while more := file.read(most):
                data += more
                if taken := self._boundary.upto(data):
                    break
                most = len(data)
            else:
                self._ended = True
                return b""
            self._at += taken
            self._ended = len(data) < POLL
            content = b"".join(self._frames.feed(data[:taken]))
            dropped = min(self._drop, len(content))
            self._drop -= dropped
            if content := content[dropped:]:
                return content

    def _again(self) -> None:
        """Read the frame anew, except for what became lines."""
        self._drop += self._frames.given - len(self._rest)
        self._rest = b""
        self._at = self._frames.at
        self._frames, self._boundary = _Frames(self.path, self._at), zstd.Boundary()

    def _split(self, data: bytes) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if self._skip:
            skipped = min(self._skip, len(lines))
            self._skip -= skipped
            lines = lines[skipped:]
        return lines


def merge(tapes: Iterable[tuple[int, Iterable[bytes]]]) -> Iterator[tuple[int, bytes]]:
    """Lines of several tapes in order of ``t``, each with its tape's key. Memory: one line a tape."""

    def timed(key: int, lines: Iterable[bytes]) -> Iterator[tuple[int, int, bytes]]:
        for line in lines:
            yield time_of(line), key, line

    for _, key, line in heapq.merge(*(timed(key, lines) for key, lines in tapes), key=lambda entry: entry[:2]):
        yield key, line


def last_time(path: Path) -> int:
    """The ``t`` of the last whole line of a tape file, 0 if it has none. Reads only the end of a plain or zstd file."""
    line = last_line(path)
    return time_of(line) if line else 0


def last_line(path: Path) -> bytes | None:
    """The last whole line of a tape file."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    if path.suffix == ".zst":
        return _last_line_zstd(path)
    last = None
    if path.suffix == ".gz":
        for line in read_lines(path):
            last = line
        return last
    with path.open("rb") as file:
        size = file.seek(0, 2)
        step = 1 << 16
        while True:
            start = max(0, size - step)
            file.seek(start)
            lines = file.read(size - start).rsplit(b"\n", 2)
            if len(lines) == 3 or start == 0:
                return lines[-2] if len(lines) >= 2 and lines[-2] else None
            step *= 4


def _last_line_zstd(path: Path) -> bytes | None:
    with zstd.mapped(path) as data:
        end = len(data)
        while end > 0:
            at = zstd.tail(data, end)
            for frame in reversed([*zstd.frames(data[at:end])]):
                content = b"" if frame.skippable else zstd.plain(data[at + frame.start : at + frame.end])
                lines = content.rsplit(b"\n", 2)
                if len(lines) >= 2:
                    return lines[-2].rpartition(b"\n")[2]
            end = at
    return None
