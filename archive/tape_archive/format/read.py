"""Reading tapes: whole files, from a position, while they grow, and many merged by time."""

from __future__ import annotations

import gzip
import heapq
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import zstandard

from tape_archive.format import zstd
from tape_archive.format.errors import Corrupt, TornTail
from tape_archive.format.lines import time_of

CHUNK = 1 << 18


class Position(msgspec.Struct, frozen=True):
    """A place in a tape file: byte ``at`` (of a line, or of a zstd frame), and ``skip`` lines after it."""

    at: int = 0
    skip: int = 0


def read_lines(path: Path, start: Position | None = None, *, sealed: bool = False) -> Iterator[bytes]:
    """The lines from ``start`` on, without their breaks. Stops before a torn tail, or raises TornTail if ``sealed``.

    Raises Corrupt for a damaged zstd or gzip file.
    """
    start = start or Position()
    skip = start.skip
    rest = b""
    for chunk in _chunks(path, start.at):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if skip:
            skipped = min(skip, len(lines))
            skip -= skipped
            lines = lines[skipped:]
        yield from lines
    if sealed and (rest or (path.suffix == ".zst" and not _whole(path))):
        raise TornTail(f"{path} ends in the middle of a line or zstd frame")


def _whole(path: Path) -> bool:
    return all(frame.whole for frame in zstd.frames(path.read_bytes()))


def _chunks(path: Path, at: int) -> Iterator[bytes]:
    if path.suffix == ".gz":
        try:
            with gzip.open(path, "rb") as packed:
                while chunk := packed.read(CHUNK):
                    yield chunk
        except (EOFError, zlib.error, OSError) as error:
            if not isinstance(error, EOFError):
                raise Corrupt(f"{path}: {error}") from None
        return
    with path.open("rb") as file:
        file.seek(at)
        if path.suffix != ".zst":
            while chunk := file.read(CHUNK):
                yield chunk
            return
        decoder = _Frames(path)
        while chunk := file.read(CHUNK):
            if out := decoder.feed(chunk):
                yield out


class _Frames:
    """Decompresses concatenated frames as far as their whole blocks go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._object: zstandard.ZstdDecompressionObj | None = None

    def feed(self, data: bytes) -> bytes:
        out = []
        while data:
            if self._object is None:
                self._object = zstandard.ZstdDecompressor().decompressobj()
            try:
                out.append(self._object.decompress(data))
            except zstandard.ZstdError as error:
                raise Corrupt(f"{self._path}: {error}") from None
            if not self._object.eof:
                break
            data = self._object.unused_data
            self._object = None
        return b"".join(out)


class Follower:
    """Follows a file that somebody still appends to: ``poll`` gives the lines that came since."""

    def __init__(self, path: Path, start: Position | None = None) -> None:
        self.path = path
        start = start or Position()
        self._at = start.at
        self._skip = start.skip
        self._rest = b""
        self._frames = _Frames(path) if path.suffix == ".zst" else None

    def poll(self) -> list[bytes]:
        """New whole lines; empty if there are none, or the file is not there yet."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        self._at += len(data)
        if self._frames is not None:
            data = self._frames.feed(data)
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
        data = path.read_bytes()
        for frame in reversed([*zstd.frames(data)]):
            content = b"" if frame.skippable else zstd.plain(data[frame.start : frame.end])
            lines = content.rsplit(b"\n", 2)
            if len(lines) >= 2:
                return lines[-2].rpartition(b"\n")[2]
        return None
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
