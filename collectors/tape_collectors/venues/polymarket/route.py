"""Which window's tape a frame belongs to, and whether a redundant socket brought it already.

A frame of one window goes there whole. An array whose elements belong to several windows goes whole to the venue's own tape
(key ""), and its elements, byte for byte, as one part to each window: a line a frame, since time rises from line to line. What
belongs to no window that we know goes to the venue's own tape.
"""

from __future__ import annotations

import re
from collections import OrderedDict

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

    def route(self, data: bytes) -> list[tuple[str, int | list[int] | None, bytes]]:
        """(slug or "", part or None, bytes) for each place where the frame is filed, each place once."""
        if data[:1] == b"{" or data.lstrip()[:1] != b"[":
            return [(self._key(data), None, data)]
        try:
            parts = [bytes(part) for part in wire.raw_list(data)]
        except (ValueError, RecursionError):
            return [("", None, data)]
        keys = [self._key(part) for part in parts]
        if len(set(keys)) == 1:
            return [(keys[0], None, data)]
        numbers: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            numbers.setdefault(key, []).append(number)
        numbers.pop("", None)
        return [("", None, data), *((key, *_piece(parts, mine)) for key, mine in numbers.items())]

    def _key(self, data: bytes) -> str:
        match = _MARKET.search(data) or _ASSET.search(data)
        return self._keys.get(match[1], "") if match else ""


def _piece(parts: list[bytes], numbers: list[int]) -> tuple[int | list[int], bytes]:
    if len(numbers) == 1:
        return numbers[0], parts[numbers[0]]
    return numbers, b"[%b]" % b",".join(parts[number] for number in numbers)


class Union:
    """Frames of redundant sockets: the n-th time that one socket brings some bytes is the n-th time that another does.

    So each frame is filed as often as the socket that saw it most often did, and a frame that one socket lost is filed from
    another. What was filed before a socket opened cannot have come over it: the first ``book`` after a reconnect is filed, though
    its bytes may be old ones. A filing is remembered until every socket that was open then has brought it too, at most
    ``remembered_ns`` and ``most`` bytes long.
    """

    def __init__(self, remembered_ns: int = _REMEMBERED, most: int = 64 * 1024 * 1024) -> None:
        self._remembered = remembered_ns
        self._most = most
        self._bytes = 0
        self._opened: dict[str, int] = {}
        #: bytes -> [time of filing, sockets that brought it], in the order of the newest filing of each
        self._filed: OrderedDict[bytes, list[tuple[int, set[str]]]] = OrderedDict()
        self.doubles = 0

    def __len__(self) -> int:
        """How many different frames are remembered."""
        return len(self._filed)

    def opened(self, s: str, t: int) -> None:
        """Epoch ``s`` is up."""
        self._opened[s] = t

    def seen(self, s: str, t: int, data: bytes) -> bool:
        """Whether this frame is filed already, from another socket. If not, the caller files it now."""
        opened = self._opened.setdefault(s, t)
        if len(self._opened) == 1 and not self._filed:
            return False
        self._forget(t)
        filings = self._filed.get(data)
        for at, brought in filings or ():
            if at >= opened and s not in brought:
                brought.add(s)
                self.doubles += 1
                if len(brought) >= len(self._opened):
                    self._settle(data)
                return True
        if len(self._opened) > 1:
            if filings is None:
                self._filed[data] = [(t, {s})]
                self._bytes += len(data)
            else:
                filings.append((t, {s}))
                self._filed.move_to_end(data)
        return False

    def closed(self, s: str) -> None:
        """The epoch is over."""
        self._opened.pop(s, None)

    def _settle(self, data: bytes) -> None:
        """Drop the filings that every open socket has brought, or was not open for."""
        left = [(at, brought) for at, brought in self._filed[data] if any(o <= at and s not in brought for s, o in self._opened.items())]
        if left:
            self._filed[data] = left
        else:
            del self._filed[data]
            self._bytes -= len(data)

    def _forget(self, t: int) -> None:
        filed = self._filed
        while filed:
            data, filings = next(iter(filed.items()))
            if filings[-1][0] >= t - self._remembered and self._bytes <= self._most:
                if len(filings) > 1 and filings[0][0] < t - self._remembered:
                    filed[data] = [one for one in filings if one[0] >= t - self._remembered]
                return
            del filed[data]
            self._bytes -= len(data)
