"""zstd tapes: appended block by block, and mended in place after a crash.

A tape file is a concatenation of zstd frames (RFC 8878). Each append ends a block, so a crash can only leave the last frame without its
end. ``mend`` cuts that frame at the last whole block that ends a line, and closes it there by an empty last block and the checksum of its
content. The cut removes only what no ``write`` had returned for; the file is valid again, and no copy was made. Only the last frames of a
file are looked at: recovery costs the same after a minute and at the end of an hour.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import zstandard

from tape_archive.format.errors import Corrupt

MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50
_MAGIC = MAGIC.to_bytes(4, "little")
_EMPTY_LAST_BLOCK = b"\x01\x00\x00"
_LARGEST_BLOCK = 1 << 17

Bytes = bytes | mmap.mmap


class Frame(msgspec.Struct):
    """One zstd frame in a file: where it starts and ends, whether it is whole, where its whole blocks end, and if it has a checksum.

    ``broken``: the byte of a block header that cannot be one, -1 for none.
    """

    start: int
    end: int
    whole: bool
    checksum: bool
    blocks: list[int]
    skippable: bool = False
    broken: int = -1


def frames(data: Bytes, at: int = 0) -> Iterator[Frame]:
    """The frames from byte ``at`` on. Raises Corrupt for bytes that begin no frame or block, naming the byte."""
    for frame in _walk(data, at):
        if frame.broken >= 0:
            raise Corrupt(f"no zstd frame or block at byte {frame.broken}")
        yield frame


def _walk(data: Bytes, at: int) -> Iterator[Frame]:
    size = len(data)
    while at < size:
        if size - at < 4:
            yield Frame(at, size, False, False, [])
            return
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & 0xFFFFFFF0 == _SKIPPABLE:
            length = int.from_bytes(data[at + 4 : at + 8], "little") if size - at >= 8 else size
            end = at + 8 + length
            yield Frame(at, min(end, size), end <= size, False, [], skippable=True)
            at = end
            continue
        if magic != MAGIC:
            yield Frame(at, size, False, False, [], broken=at)
            return
        frame = _frame(data, at)
        yield frame
        at = frame.end


def _header(data: Bytes, at: int) -> tuple[int, bool]:
    """(where the first block of the frame at ``at`` begins, whether the frame has a checksum); its first 5 bytes are there."""
    descriptor = data[at + 4]
    single, checksum = bool(descriptor & 0x20), bool(descriptor & 0x04)
    content_size = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    return at + 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + content_size, checksum


def _block(data: Bytes, at: int) -> tuple[int, bool]:
    """(where the block at ``at`` ends, whether it is the frame's last); (-1, …) where none begins. Its first 3 bytes are there."""
    header = int.from_bytes(data[at : at + 3], "little")
    last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
    return -1 if kind == 3 else at + 3 + (1 if kind == 1 else length), last


def _frame(data: Bytes, start: int) -> Frame:
    size = len(data)
    if start + 5 > size:
        return Frame(start, size, False, False, [])
    at, checksum = _header(data, start)
    frame = Frame(start, size, False, checksum, [])
    while at + 3 <= size:
        end, last = _block(data, at)
        if end < 0:
            frame.broken = at
            return frame
        if end > size:
            return frame
        if last:
            end += 4 if checksum else 0
            if end <= size:
                frame.end, frame.whole = end, True
            return frame
        frame.blocks.append(end)
        at = end
    return frame


class Boundary:
    """Tells a reader of a growing file how far the whole blocks go: what stands behind may still be cut by recovery."""

    def __init__(self) -> None:
        self._inside = False
        self._checksum = False

    def upto(self, data: bytes) -> int:
        """How many of these bytes, which follow those of the last call, end with a block (and the frame's checksum, if that is its end).

        Bytes that can be no zstd are counted whole: the decompressor says what is wrong with them.
        """
        at = done = 0
        inside, checksum, size = self._inside, self._checksum, len(data)
        while True:
            if not inside:
                if at + 8 > size:
                    return done
                magic = int.from_bytes(data[at : at + 4], "little")
                if magic & 0xFFFFFFF0 == _SKIPPABLE:
                    at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
                    if at > size:
                        return done
                    done = at
                    continue
                if magic != MAGIC:
                    return size
                at, checksum = _header(data, at)
                inside = True
            if at + 3 > size:
                return done
            end, last = _block(data, at)
            if end < 0:
                return size
            end += 4 if last and checksum else 0
            if end > size:
                return done
            at = done = end
            inside = self._inside = not last
            self._checksum = checksum


def plain(data: bytes) -> bytes:
    """The content of the whole blocks of one frame, finished or not. Raises Corrupt."""
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError as error:
        raise Corrupt(f"zstd: {error}") from None


@contextmanager
def mapped(path: Path) -> Iterator[Bytes]:
    """A file as bytes that are read only where they are looked at."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def tail(data: Bytes, end: int | None = None) -> int:
    """Where the last frame before ``end`` starts that surely is one of a tape; 0 if none is found.

    The magic alone may stand in compressed data by chance, and never in the text of a tape, so a frame counts if its content begins a line.
    """
    at = len(data) if end is None else end
    while (at := data.rfind(_MAGIC, 0, at)) > 0:
        try:
            if plain(data[at : at + _LARGEST_BLOCK + 32]).startswith(b'{"'):
                return at
        except Corrupt:
            continue
    return 0


def mend(path: Path) -> int:
    """Make the tail of a file whole; gives how many bytes were cut. Safe to be killed in, and to run again.

    An unfinished last frame is closed after the last line that can be read from it; zeros behind the last frame (a power cut) are cut.
    Raises Corrupt, naming the byte and leaving the file as it is, for anything else behind the last frame; OSError as it comes.
    """
    with mapped(path) as data:
        size, cut, closing = len(data), len(data), b""
        for frame in _walk(data, tail(data)):
            if frame.broken == frame.start and not _MAGIC.startswith(data[frame.start : size].rstrip(b"\0")):
                raise Corrupt(f"{path}: no zstd frame at byte {frame.start}")
            if not frame.whole:
                cut, closing = (frame.start, b"") if frame.skippable else _closing(data, frame)
    if cut == size and not closing:
        return 0
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(file, cut)
        written = 0
        while written < len(closing):
            written += os.pwrite(file, closing[written:], cut + written)
        os.fsync(file)
    except OSError:
        os.ftruncate(file, cut)
        raise
    finally:
        os.close(file)
    return size - cut


def _closing(data: Bytes, frame: Frame) -> tuple[int, bytes]:
    """Where to cut an unfinished frame, and what to write there."""
    import xxhash

    decoder, digest = zstandard.ZstdDecompressor().decompressobj(), xxhash.xxh64()
    cut, closing, before = frame.start, b"", frame.start
    for end in frame.blocks:
        try:
            content = decoder.decompress(data[before:end])
        except zstandard.ZstdError:
            # Pages that never reached the disk before the power went: what stands before them is all there is.
            break
        digest.update(content)
        before = end
        if content.endswith(b"\n"):
            checksum = (digest.intdigest() & 0xFFFFFFFF).to_bytes(4, "little") if frame.checksum else b""
            cut, closing = end, _EMPTY_LAST_BLOCK + checksum
    return cut, closing
