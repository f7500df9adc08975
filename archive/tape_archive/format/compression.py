"""How whole files are compressed: none, gzip, zstd; told apart by the ending of the name. Everything streams."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import msgspec
import zstandard

from tape_archive.format.errors import Corrupt, SettingsError

KINDS = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_LEVELS = {"zstd": 19, "gzip": 9, "none": 0}
#: A zstd frame holds whole lines, about so many bytes of them: a reader needs no more memory than that, the end of a file is found without
#: reading all of it, and frames are compressed side by side. Measured (benchmarks/archive.py): half a percent larger than one frame.
FRAME = 8 << 20


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Compression(msgspec.Struct, frozen=True):
    """``kind`` of KINDS; ``level`` 0: the strongest that is worth its time."""

    kind: str = "zstd"
    level: int = 0

    @property
    def ending(self) -> str:
        """Of file names."""
        return KINDS[self.kind]

    def pieces(self, plain: Iterable[bytes]) -> Iterator[bytes]:
        """The same content compressed; the same bytes for the same content, however it is cut into pieces."""
        if self.kind == "zstd":
            yield from self._frames(plain)
            return
        # No time and no name in the header.
        one: _Compressor = zlib.compressobj(self._level, zlib.DEFLATED, 31) if self.kind == "gzip" else _Nothing()
        for chunk in plain:
            if piece := one.compress(chunk):
                yield piece
        if piece := one.flush():
            yield piece

    @property
    def _level(self) -> int:
        return self.level or _LEVELS[self.kind]

    def _frames(self, plain: Iterable[bytes]) -> Iterator[bytes]:
        workers = os.cpu_count() or 1
        waiting: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(workers, "zstd") as pool:
            for content in _cut(plain):
                waiting.append(pool.submit(self._frame, content))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _frame(self, content: bytes) -> bytes:
        settings = zstandard.ZstdCompressionParameters.from_level(self._level, source_size=len(content), write_checksum=True)
        return zstandard.ZstdCompressor(compression_params=settings).compress(content)


def _cut(plain: Iterable[bytes]) -> Iterator[bytes]:
    """The content of each frame: whole lines, the least that is FRAME bytes or more, and the rest. One empty one for no content."""
    parts: list[bytes] = []
    held, given = 0, False
    for chunk in plain:
        at = 0
        while held + len(chunk) - at >= FRAME and (end := chunk.find(b"\n", max(at, at + FRAME - held - 1))) >= 0:
            yield b"".join([*parts, chunk[at : end + 1]])
            parts, held, at, given = [], 0, end + 1, True
        if at < len(chunk):
            parts.append(chunk[at:])
            held += len(chunk) - at
    if held or not given:
        yield b"".join(parts)


class _Nothing:
    def compress(self, data: bytes) -> bytes:
        """As it is."""
        return data

    def flush(self) -> bytes:
        """Nothing is left."""
        return b""


def compression(kind: str, level: int = 0) -> Compression:
    """The compression of that name. Raises SettingsError."""
    if kind not in KINDS:
        raise SettingsError(f"unknown compression {kind!r} (known: {', '.join(KINDS)})")
    most = {"zstd": 22, "gzip": 9, "none": 0}[kind]
    if not 0 <= level <= most:
        raise SettingsError(f"{kind} has levels up to {most}, not {level}")
    return Compression(kind, level)


def plain(name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What a file of that name holds, from its bytes. Raises Corrupt for what is damaged or cut."""
    try:
        if name.endswith(".zst"):
            yield from _unframed(name, chunks)
        elif name.endswith(".gz"):
            yield from _members(name, chunks)
        else:
            yield from chunks
    except (zstandard.ZstdError, zlib.error) as error:
        raise Corrupt(f"{name}: {error}") from None


def _unframed(name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    one = None
    for chunk in chunks:
        rest = chunk
        while rest:
            one = one or zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            if piece := one.decompress(rest):
                yield piece
            rest = one.unused_data if one.eof else b""
            one = None if one.eof else one
    if one is not None:
        raise Corrupt(f"{name}: the last zstd frame is not whole")


def _members(name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    one = None
    for chunk in chunks:
        rest = chunk
        while rest:
            one = one or zlib.decompressobj(31)
            if piece := one.decompress(rest):
                yield piece
            rest = one.unused_data if one.eof else b""
            one = None if one.eof else one
    if one is not None:
        raise Corrupt(f"{name}: the last gzip member is not whole")
