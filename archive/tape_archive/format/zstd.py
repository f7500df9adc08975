"""zstd tapes: appended block by block, and mended in place after a crash.

A tape file is a concatenation of zstd frames (RFC 8878). Each append ends a block, so a crash can only leave the last frame without its
end. ``mend`` cuts that frame at the last whole block that ends a line, and closes it there by an empty last block and the checksum of its
content. The cut removes only what no ``write`` had returned for; the file is valid again, and no copy was made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import zstandard

from tape_archive.format.errors import Corrupt

MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50
_EMPTY_LAST_BLOCK = b"\x01\x00\x00"


class Frame(msgspec.Struct):
    """One zstd frame in a file: where it starts and ends, whether it is whole, where its whole blocks end, and if it has a checksum."""

    start: int
    end: int
    whole: bool
    checksum: bool
    blocks: list[int]
    skippable: bool = False


def frames(data: bytes | memoryview, at: int = 0) -> Iterator[Frame]:
    """The frames from byte ``at`` on. Raises Corrupt for bytes that begin no frame."""
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
            raise Corrupt(f"no zstd frame at byte {at}")
        frame = _frame(data, at)
        yield frame
        at = frame.end


def _frame(data: bytes | memoryview, start: int) -> Frame:
    size = len(data)
    if start + 5 > size:
        return Frame(start, size, False, False, [])
    descriptor = data[start + 4]
    single, checksum = bool(descriptor & 0x20), bool(descriptor & 0x04)
    content_size = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at = start + 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + content_size
    frame = Frame(start, size, False, checksum, [])
    while at + 3 <= size:
        header = int.from_bytes(data[at : at + 3], "little")
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        if kind == 3:
            raise Corrupt(f"reserved block type at byte {at}")
        at += 3 + (1 if kind == 1 else length)
        if at > size:
            return frame
        if last:
            at += 4 if checksum else 0
            if at <= size:
                frame.end, frame.whole = at, True
            return frame
        frame.blocks.append(at)
    return frame


def plain(data: bytes | memoryview) -> bytes:
    """The content of the whole blocks of one frame, finished or not. Raises Corrupt."""
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError as error:
        raise Corrupt(f"zstd: {error}") from None


def mend(path: Path) -> int:
    """Make the tail of a file whole; gives how many bytes were cut. Safe to be killed in, and to run again. Raises Corrupt."""
    with path.open("r+b") as file:
        data = file.read()
        found = [*frames(data)]
        if not found or found[-1].whole:
            return 0
        last = found[-1]
        cut, tail = _closing(data, last)
        if cut < len(data):
            os.ftruncate(file.fileno(), cut)
        if tail:
            file.seek(cut)
            file.write(tail)
            file.flush()
        os.fsync(file.fileno())
    return len(data) - cut


def _closing(data: bytes, frame: Frame) -> tuple[int, bytes]:
    """Where to cut an unfinished frame, and what to write there."""
    import xxhash

    for cut in reversed(frame.blocks):
        content = plain(data[frame.start : cut])
        if content.endswith(b"\n"):
            checksum = xxhash.xxh64_intdigest(content) & 0xFFFFFFFF
            return cut, _EMPTY_LAST_BLOCK + (checksum.to_bytes(4, "little") if frame.checksum else b"")
    return frame.start, b""
