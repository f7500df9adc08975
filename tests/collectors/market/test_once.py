"""Each event once, whatever connections come, lag, miss and go; compared with a set of all ids."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_collectors.market.once import KEPT_NS, Once, Range


class Socket:
    def __init__(self, s: str, first: int) -> None:
        self.s = s
        self.next = first


@settings(max_examples=400)
@given(st.data())
def test_every_id_once_and_none_twice(data: st.DataObject) -> None:
    """A venue counts; sockets open at its newest id, lag, miss some (and say so), close. Sometimes the writer begins again from a state."""
    once, venue, name = Once(), 1, 1
    sockets = [Socket("g-1", 1)]
    brought: set[int] = set()
    taken: list[int] = []
    saved, at = msgspec.json.encode(once.state()), 0
    done: list[tuple[str, int]] = []
    for _ in range(data.draw(st.integers(1, 60))):
        action = data.draw(st.sampled_from(["trade", "bring", "bring", "bring", "open", "close", "miss", "save", "again"]))
        socket = data.draw(st.sampled_from(sockets)) if sockets else None
        if action == "trade":
            venue += data.draw(st.integers(1, 4))
        elif action == "open" and len(sockets) < 3:
            name += 1
            sockets.append(Socket(f"g-{name}", venue))
        elif action == "close" and socket is not None:
            sockets.remove(socket)
            once.closed(socket.s)
            done.append((socket.s, 0))
        elif action == "miss" and socket is not None and socket.next < venue - 1:
            socket.next += 2
            if once.new(("t",), socket.s, socket.next - 1, socket.next - 1, socket.next - 2):
                taken.append(socket.next - 1)
            brought.add(socket.next - 1)
            done.append((socket.s, socket.next - 1))
        elif action == "bring" and socket is not None:
            for _ in range(data.draw(st.integers(1, 5))):
                if socket.next <= venue:
                    if once.new(("t",), socket.s, socket.next, socket.next, socket.next - 1):
                        taken.append(socket.next)
                    brought.add(socket.next)
                    done.append((socket.s, socket.next))
                    socket.next += 1
        elif action == "save":
            saved, at = msgspec.json.encode(once.state()), len(done)
        elif action == "again":
            # The state is of an earlier line: from there on lines are read a second time, and nothing may come of them.
            once = Once()
            once.restore(msgspec.json.decode(saved))
            for s, id in done[at:]:
                if id:
                    once.new(("t",), s, id, id, id - 1)
                else:
                    once.closed(s)
    assert len(taken) == len(set(taken)), "none twice"
    assert set(taken) == brought, "each once"


def test_the_venue_began_anew() -> None:
    once = Once()
    assert [once.new("k", "a-1", id, ts) for id, ts in ((100, 1000), (101, 1001), (101, 1001), (99, 999), (5, 2000), (6, 2001))] == [
        *(True, True, False, False, True, True)
    ]
    once.closed("a-1")
    assert once.new("k", "a-2", 3, 3000) and once.copies == 2


def test_a_run_that_ended_without_a_word() -> None:
    once = Once()
    once.new("k", "a-1", 1, 1)
    once.new("k", "a-2", 1, 1)
    once.closed()
    assert once.new("k", "a-3", 2, 2) and not once.new("k", "a-4", 1, 1)
    once.closed("a-4")
    assert once.new("k", "a-3", 3, KEPT_NS + 2)
    assert once.streams["k"] == [Range("a-3", 2, 3, KEPT_NS + 2)], "the others are forgotten"
