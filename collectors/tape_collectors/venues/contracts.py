"""Sizes of derivatives: contracts on the wire, base coins in every record. What the venues have in common that count in contracts. Pure.

1. What one contract is is asked for each instrument when its first frame comes; until the answer is on the tape the instrument's frames
   wait (``WAITING``), and are read in order when it comes. So nothing is ever given in contracts, and a replay does the same.
2. A linear contract is so many base coins; an inverse one (``/``) so many dollars, and its base coins depend on the price.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from tape_archive.format.records import Notice
from tape_collectors.venues.numbers import exact
from tape_collectors.venues.protocol import NOTHING, Fetch, Output

#: rule 1
WAITING = 5000
F = TypeVar("F")


@lru_cache(maxsize=65_536)
def base(size: str, contract: str, price: str = "") -> str:
    """A size in the base coin, as exact decimal text; 12 digits for inverse contracts, whose value depends on the price. Raises ValueError
    and ArithmeticError."""
    if contract == "1":
        return size
    if contract.startswith("/"):
        value = exact(size) * exact(contract[1:])
        return f"{value / exact(price):.12g}" if value else "0"
    return f"{(exact(size) * exact(contract)).normalize():f}"


class Contracts(Generic[F]):
    """``known``: the base-coin value of one unit of size, by instrument. ``request`` asks for it; ``frame`` reads a frame that waits from a
    checkpoint."""

    def __init__(self, request: Callable[[str], Fetch], frame: Callable[[bytes], F]) -> None:
        self.known: dict[str, str] = {}
        self._request = request
        self._frame = frame
        self._waiting: dict[str, deque[tuple[int, F]]] = {}

    def hold(self, t: int, symbol: str, frame: F) -> Output:
        """Rule 1: a frame of an instrument that is not known yet."""
        waiting = self._waiting.get(symbol)
        if waiting is None:
            self._waiting[symbol] = deque([(t, frame)], maxlen=WAITING)
            return (), [self._request(symbol)]
        waiting.append((t, frame))
        if len(waiting) == WAITING:
            return [Notice(t, "waiting", f"{symbol}: what one contract is was not told; older frames are on the tape alone")], ()
        return NOTHING

    def told(self, contracts: Iterable[tuple[str, str]]) -> Iterator[tuple[int, F]]:
        """The answer: (instrument, contract). Gives the frames that waited for it, in order."""
        for symbol, contract in contracts:
            self.known.setdefault(symbol, contract)
        for symbol in [symbol for symbol in self._waiting if symbol in self.known]:
            yield from self._waiting.pop(symbol)

    def state(self) -> dict[str, dict[str, Any]]:
        """For checkpoints, by instrument."""
        out: dict[str, dict[str, Any]] = {symbol: {"contract": value} for symbol, value in self.known.items()}
        for symbol, frames in self._waiting.items():
            out.setdefault(symbol, {})["waiting"] = [[at, msgspec.json.encode(frame).decode("utf-8", "replace")] for at, frame in frames]
        return out

    def restore(self, symbol: str, checkpoint: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of this instrument."""
        if "contract" in checkpoint:
            self.known[symbol] = checkpoint["contract"]
        if waiting := checkpoint.get("waiting"):
            kept = self._waiting[symbol] = deque(maxlen=WAITING)
            for at, text in waiting:
                # A frame whose inside is broken is unknown either way.
                with suppress(msgspec.DecodeError):
                    kept.append((at, self._frame(text.encode())))
