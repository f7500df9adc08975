"""Which window's tape a frame belongs to, and whether a redundant socket brought it already.

A frame of one window goes there whole. An array whose elements belong to several windows goes whole to the venue's own tape (key ""), and
each element, byte for byte, as a part to its window. What belongs to no window that we know goes to the venue's own tape.
"""

from __future__ import annotations

import re
from collections import Counter, deque

import msgspec

from tape_collectors.venues.polymarket import wire

_MARKET = re.compile(rb'"market"\s*:\s*"(0x[0-9a-fA-F]{1,80})"')
_ASSET = re.compile(rb'"asset_id"\s*:\s*"(\d{1,90})"')
_REMEMBERED = 120_000_000_000


class Router:
    """Knows the open windows by condition id and by token."""

    def __init__(self) -> None:
        self._keys: dict[bytes, str] = {}

    def add(self, slug: str, condition: str, tokens: tuple[str, ...]) -> None:
        """A window whose frames are to be filed."""
        self._keys[condition.encode()] = slug
        for token in tokens:
            self._keys[token.encode()] = slug

    def remove(self, slug: str) -> None:
        """Its file is closed."""
        self._keys = {key: value for key, value in self._keys.items() if value != slug}

    def route(self, data: bytes) -> list[tuple[str, int | None, bytes]]:
        """(slug or "", part or None, bytes) for each place where the frame is filed."""
        if data[:1] != b"[":
            return [(self._key(data), None, data)]
        found = {self._keys.get(match, "") for match in _MARKET.findall(data) or _ASSET.findall(data)}
        if len(found) == 1:
            return [(found.pop(), None, data)]
        try:
            parts = wire.raw_list(data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return [("", None, data)]
        out: list[tuple[str, int | None, bytes]] = [("", None, data)]
        for number, part in enumerate(parts):
            if key := self._key(bytes(part)):
                out.append((key, number, bytes(part)))
        return out

    def _key(self, data: bytes) -> str:
        match = _MARKET.search(data) or _ASSET.search(data)
        return self._keys.get(match[1], "") if match else ""


class Union:
    """Frames of redundant sockets: the n-th time that one socket brings some bytes is the n-th time that another does.

    So each frame is filed as often as the socket that saw it most often did, and a frame that one socket lost is filed from the other.
    A first ``book`` after a reconnect is not mistaken for an old one: an epoch counts from nothing, and what is older than two minutes
    is forgotten.
    """

    def __init__(self, remembered_ns: int = _REMEMBERED) -> None:
        self._remembered = remembered_ns
        self._seen: dict[str, Counter[int]] = {}
        self._filed: Counter[int] = Counter()
        self._order: deque[tuple[int, str, int, bool]] = deque()
        self.doubles = 0

    def seen(self, s: str, t: int, data: bytes) -> bool:
        """Whether this frame is filed already, from another socket."""
        self._forget(t)
        digest = hash(data)
        counts = self._seen.setdefault(s, Counter())
        counts[digest] += 1
        new = counts[digest] > self._filed[digest]
        if new:
            self._filed[digest] += 1
        else:
            self.doubles += 1
        self._order.append((t, s, digest, new))
        return not new

    def closed(self, s: str) -> None:
        """The epoch is over."""
        self._seen.pop(s, None)

    def _forget(self, t: int) -> None:
        order = self._order
        while order and order[0][0] < t - self._remembered:
            _, s, digest, filed = order.popleft()
            counts = self._seen.get(s)
            if counts is not None:
                _less(counts, digest)
            if filed:
                _less(self._filed, digest)


def _less(counts: Counter[int], digest: int) -> None:
    if counts[digest] <= 1:
        del counts[digest]
    else:
        counts[digest] -= 1
