"""How whole files are compressed: none, gzip, zstd; told apart by the ending of the name. Everything streams."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec
import zstandard

from tape_archive.format.errors import Corrupt, SettingsError

KINDS = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_LEVELS = {"zstd": 19, "gzip": 9, "none": 0}
#: matches may lie this far back (2**n bytes): books repeat for as long as they last. Readers need as much memory.
_WINDOW_LOG = 24


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

    def pieces(self, plain: Iterable[bytes], size: int = 0) -> Iterator[bytes]:
        """The same content compressed; the same bytes for the same content and ``size``: how much it is, where that is known."""
        one = self._compressor(size)
        for chunk in plain:
            if piece := one.compress(chunk):
                yield piece
        if piece := one.flush():
            yield piece

    def _compressor(self, size: int) -> _Compressor:
        level = self.level or _LEVELS[self.kind]
        if self.kind == "zstd":
            log = min(_WINDOW_LOG, max(10, size.bit_length())) if size else _WINDOW_LOG
            settings = zstandard.ZstdCompressionParameters.from_level(
                level, source_size=size, window_log=log, write_checksum=True, write_content_size=False
            )
            return zstandard.ZstdCompressor(compression_params=settings).compressobj()
        if self.kind == "gzip":
            # No time and no name in the header.
            return zlib.compressobj(level, zlib.DEFLATED, 31)
        return _Nothing()


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
