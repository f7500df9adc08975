"""Each event once, whichever connection brings it. Pure.

While a connection is replaced (or with redundant ones) two carry the same stream: each brings its events in order, and neither need be
ahead. An event is a copy if another connection brought its id: that is known from the range of ids that each has brought, less its holes. A
stream is known by any key.

1. What a connection brings with an id that it had is a copy (a writer that begins again reads some lines twice).
2. An id within the range of another connection is a copy, unless that one missed it.
3. An id that went back while the venue's own time goes on is no copy: the venue began anew, and older ranges mean nothing.
4. The range of a connection that is closed is forgotten when all that are open have come past it, ten minutes of the venue's time ago: one
   that is open may not have brought anything yet.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import msgspec

KEPT_NS = 600_000_000_000


class Range(msgspec.Struct, array_like=True):
    """What connection ``s`` brought of a stream: ids ``first`` to ``last`` but for the ``holes`` (both ends inclusive). ``ts``: the venue's
    time of the last one, ns. ``open``: more may come."""

    s: str
    first: int
    last: int
    ts: int
    open: bool = True
    holes: list[tuple[int, int]] = []


class Once:
    """The ranges of many streams."""

    def __init__(self) -> None:
        self.streams: dict[Hashable, list[Range]] = {}
        self.copies = 0

    def new(self, key: Hashable, s: str, id: int, ts: int, before: int = -1) -> bool:
        """Whether this event is the first of its id. ``before``: the id that the venue says is the one before, which tells holes; -1: it
        does not say."""
        ranges = self.streams.get(key)
        if ranges is None:
            self.streams[key] = [Range(s, id, id, ts)]
            return True
        if len(ranges) == 1 and (one := ranges[0]).s == s and id > one.last >= before:
            one.last, one.ts = id, ts
            return True
        if self._new(key, ranges, Range(s, id, id, ts), before):
            return True
        self.copies += 1
        return False

    def closed(self, s: str | None = None) -> None:
        """Connection ``s`` is closed; None: all are (a run ended without a word)."""
        for ranges in self.streams.values():
            for one in ranges:
                if s is None or one.s == s:
                    one.open = False

    def _new(self, key: Hashable, ranges: list[Range], came: Range, before: int) -> bool:
        id, ts = came.last, came.ts
        if any(id <= one.last and ts > one.ts for one in ranges):
            ranges = self.streams[key] = [one for one in ranges if id > one.last or ts <= one.ts]
        own = next((one for one in ranges if one.s == came.s), None)
        if own is not None and id <= own.last:
            return False
        others = [one for one in ranges if one is not own]
        if own is None:
            ranges.append(came)
        else:
            if before > own.last:
                own.holes.append((own.last + 1, before))
            own.last, own.ts = id, ts
        behind = min((one.last for one in ranges if one.open), default=0)
        self.streams[key] = [one for one in ranges if one.open or one.last > behind or ts - one.ts < KEPT_NS]
        return not any(one.first <= id <= one.last and not any(a <= id <= b for a, b in one.holes) for one in others)

    def state(self) -> list[tuple[Any, list[Range]]]:
        """What ``restore`` needs."""
        return [(key, ranges) for key, ranges in self.streams.items()]

    def restore(self, state: Sequence[tuple[Sequence[Any], Sequence[Any]]] | Mapping[Any, Any]) -> None:
        """Go on from a state that was written as JSON: keys are tuples."""
        pairs = state.items() if isinstance(state, Mapping) else state
        self.streams = {tuple(key): msgspec.convert(ranges, list[Range]) for key, ranges in pairs}
