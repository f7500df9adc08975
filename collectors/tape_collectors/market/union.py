"""Two recordings of the same streams as one: each frame once, in the order of the venue's ids. Pure.

1. A frame is known by its payload, or by what it says (stream and the venue's ids). A copy of what was there within ``MEMORY_NS`` is
   dropped, whichever side or socket it came by; the earlier one stays.
2. Frames are held for ``HOLD_NS``: what one side missed may come from the other after its successor. Within a stream they leave in the
   order of the venue's ids; a frame that had to wait for an older one takes the next time after it.
3. Everything else (replies, marks) leaves in the order of time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable, Iterator, Sequence

HOLD_NS = 2_000_000_000
MEMORY_NS = 60_000_000_000
#: the side, and its connection
Lane = tuple[int, str]


class Held:
    """Something that waits to leave at ``t``. ``id`` 0: no order but that of time. ``lane``: the side, and its connection."""

    __slots__ = ("id", "lane", "stream", "t", "what")

    def __init__(self, t: int, lane: Lane, stream: str, id: int, what: object) -> None:
        self.t = t
        self.lane = lane
        self.stream = stream
        self.id = id
        self.what = what


class Union:
    """Feed it in order of time; ``release`` gives what may leave."""

    def __init__(self) -> None:
        #: frames that only one side had, by side; and those that several had
        self.only: dict[int, int] = {}
        self.both = 0
        self._heap: list[tuple[int, int, int, Held]] = []
        self._number = 0
        self._seen: dict[Hashable, list[int]] = {}
        self._old: deque[tuple[int, Hashable]] = deque()
        self._streams: dict[str, list[Held]] = {}
        self._resets: dict[str, int] = {}

    def frame(self, t: int, lane: Lane, stream: str, id: int, keys: Sequence[Hashable], what: object) -> None:
        """One frame of a stream; without ``keys`` it is never a copy."""
        side = lane[0]
        found = next((self._seen[key] for key in keys if key in self._seen), None)
        if found is not None:
            if side not in found:
                found.append(side)
                if len(found) == 2:
                    self.both += 1
                    self.only[found[0]] -= 1
            return
        if keys:
            sides = [side]
            for key in keys:
                self._seen[key] = sides
                self._old.append((t, key))
            self.only[side] = self.only.get(side, 0) + 1
        held = Held(t, lane, stream, id, what)
        if id:
            self._place(held)
        self._push(held)

    def reset(self, t: int, stream: str) -> None:
        """The venue's ids begin anew: what came before is not ordered against what comes now."""
        self._resets[stream] = t

    def other(self, t: int, side: int, what: object) -> None:
        """A reply or a mark."""
        self._push(Held(t, (side, ""), "", 0, what))

    def release(self, now: int) -> Iterator[Held]:
        """What may leave at ``now``, in order."""
        while self._old and self._old[0][0] < now - MEMORY_NS:
            self._seen.pop(self._old.popleft()[1], None)
        while self._heap and self._heap[0][0] <= now - HOLD_NS:
            t, id, number, held = heapq.heappop(self._heap)
            if held.t > t:
                heapq.heappush(self._heap, (held.t, id, number, held))
                continue
            if held.id:
                self._streams[held.stream].remove(held)
            yield held

    def _place(self, held: Held) -> None:
        """Rule 2. What one connection brought stays in its own order: the venue's."""
        waiting = self._streams.setdefault(held.stream, [])
        since = self._resets.get(held.stream, 0)
        held.t = max([held.t, *(one.t for one in waiting if one.id < held.id and one.t >= since)])
        for one in waiting:
            if one.id > held.id and since <= one.t <= held.t and one.lane != held.lane:
                one.t = held.t + 1
        waiting.append(held)

    def _push(self, held: Held) -> None:
        self._number += 1
        heapq.heappush(self._heap, (held.t, held.id, self._number, held))
