"""Seeded mutations of real frames: what a broken peer, proxy or disk may send."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_TOKENS = (
    *(b'""', b"null", b"-1", b"1e999", b"99999999999999999999999", b"true", b"[]", b"{}", b"[[[[[[[[", b'"\\u0000"', b"NaN", b"\xff\xfe"),
    *(b"0.000000000000000000001", b'"-5"', b"[[]]", b'{"e":"depthUpdate"}', b"\n", b"\\", b'"', b"," * 9),
)


def mutations(frames: Sequence[bytes], count: int, seed: int = 1) -> Iterator[bytes]:
    """``count`` frames, each one of ``frames`` with one to three things wrong."""
    chance = random.Random(seed)
    for number in range(count):
        data = bytearray(chance.choice(frames))
        for _ in range(chance.randint(1, 3)):
            _MUTATIONS[number % len(_MUTATIONS)](chance, data, frames)
        yield bytes(data)


def _flip(chance: random.Random, data: bytearray, frames: Sequence[bytes]) -> None:
    for _ in range(chance.randint(1, 4)):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, data: bytearray, frames: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _drop(chance: random.Random, data: bytearray, frames: Sequence[bytes]) -> None:
    if data:
        at = chance.randrange(len(data))
        del data[at : at + chance.randint(1, 12)]


def _splice(chance: random.Random, data: bytearray, frames: Sequence[bytes]) -> None:
    other = chance.choice(frames)
    at = chance.randrange(len(data) + 1)
    start = chance.randrange(len(other) + 1)
    data[at:] = other[start:]


def _insert(chance: random.Random, data: bytearray, frames: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice(_TOKENS)


def _number(chance: random.Random, data: bytearray, frames: Sequence[bytes]) -> None:
    digits = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if digits:
        at = chance.choice(digits)
        data[at : at + 1] = chance.choice((b"", b"-", b"00", b"9" * 30, b"e5", b".", b"x"))


_MUTATIONS = (_flip, _cut, _drop, _splice, _insert, _number)
