"""Every decimal number that stands in the real captures of exchanges, as text."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path

import zstandard

_NUMBER = re.compile(rb"(?<![\w.+-])\d+\.\d+(?![\w.])")
_LEVEL = re.compile(rb'\["(\d+(?:\.\d+)?)","(\d+(?:\.\d+)?)"')
_HEX = re.compile(rb'"data":"([0-9a-f]{8,})"')


def contents(captures: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each capture, unpacked; JSON within JSON and protobuf's text fields are laid open."""
    for path in sorted(captures.rglob("*")):
        if path.is_dir() or path.suffix == ".md" or path.name == "SHA256SUMS" or "polymarket" in path.parts:
            continue
        data = path.read_bytes()
        if path.suffix == ".zst":
            data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
        elif path.suffix == ".gz":
            data = gzip.decompress(data)
        data = data.replace(b'\\"', b'"')
        yield str(path.relative_to(captures)), data + b"\n".join(bytes.fromhex(found[1].decode()) for found in _HEX.finditer(data))


def numbers(data: bytes) -> set[str]:
    """All decimal numbers with a point: prices and sizes, and statistics besides."""
    return {found[0].decode() for found in _NUMBER.finditer(data)}


def levels(data: bytes) -> set[str]:
    """Prices and sizes of book levels alone."""
    return {text.decode() for found in _LEVEL.finditer(data) for text in found.groups()}


def digits(text: str) -> int:
    """Significant digits."""
    return len(text.replace(".", "").strip("0")) if "." in text else len(text.strip("0"))
