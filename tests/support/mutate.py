"""Seeded mutations of real frames: what a broken peer, proxy or disk may send."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

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


_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**53, 2**64, -(2**63), 1.5, 1e308, -0.0, "", "0", "-1", "1e5", "nan", "inf", "0x", "é\u0000\ud7ff"),
    *("9" * 30, ".", "1.", ".5", " 1", "1 ", "1_0", "٣", [], {}, [[]], [None], {"": None}, "x" * 300),
)


def retyped(frames: Sequence[bytes], count: int, seed: int = 1) -> Iterator[bytes]:
    """``count`` frames that are JSON still, each with one or two values of another type, gone, or nested where nobody expects them."""
    chance = random.Random(seed)
    for _ in range(count):
        frame = chance.choice(frames)
        value = json.loads(frame)
        for _ in range(chance.randint(1, 2)):
            found = _places(value)
            if found:
                inside, key = chance.choice(found)
                if chance.random() < 0.2:
                    del inside[key]
                else:
                    other = chance.choice((*_VALUES, value if chance.random() < 0.1 else None))
                    # A copy: no value holds itself, and none is shared with the next frame.
                    inside[key] = json.loads(_dumps(other)) if isinstance(other, dict | list) else other
        data = _dumps(value)
        yield chance.choice((data, data, data, b"[" + data + b"," + data + b"]", b" " + data, b"[" * 3000 + data))


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    inside = [value]
    for one in inside:
        if isinstance(one, dict):
            found += [(one, key) for key in one]
            inside += one.values()
        elif isinstance(one, list):
            found += [(one, key) for key in range(len(one))]
            inside += one
    return found
