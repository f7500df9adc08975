"""Which process records which symbol: rendezvous hashing, so that another number of processes moves as few symbols as it can. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tape_archive.format.errors import SettingsError


def shard_of(symbol: str, number: int) -> int:
    """The part, from 0, of ``number`` parts that records a symbol; the same on every machine."""
    return max(range(number), key=lambda part: hashlib.blake2b(f"{part}|{symbol}".encode(), digest_size=8).digest())


def parse(text: str) -> tuple[int, int]:
    """``2/4`` -> (1, 4): the second of four parts. Raises SettingsError."""
    part, slash, number = text.partition("/")
    if slash and part.isdigit() and number.isdigit() and 1 <= int(part) <= int(number):
        return int(part) - 1, int(number)
    raise SettingsError(f"shard {text!r}: expected i/n, e.g. 2/4 for the second of four")


def mine(symbols: Iterable[str], part: int, number: int) -> list[str]:
    """The symbols of one part."""
    return [symbol for symbol in symbols if number == 1 or shard_of(symbol, number) == part]
