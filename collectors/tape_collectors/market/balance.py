"""Which connection carries which stream: as few connections as the limit allows, evenly filled, with the fewest streams moved. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

Plan = dict[str, tuple[str, ...]]


def connections(streams: int, most: int) -> int:
    """How many connections carry so many streams, ``most`` on each: ceil(streams / most)."""
    return -(-streams // most)


def balance(current: Mapping[str, Sequence[str]], wanted: Sequence[str], most: int, root: str) -> Plan:
    """Streams by connection, named ``root``, ``root.2``, ``root.3`` …; no two differ by more than one stream.

    A stream stays where it is if it can: only what is above a connection's even share moves, and what the connections that are too many
    carry. Those that carry the least go. The same arguments give the same plan.
    """
    wanted = list(dict.fromkeys(wanted))
    number = connections(len(wanted), most)
    known = set(wanted)
    kept: Plan = {}
    placed: set[str] = set()
    for name, streams in current.items():
        kept[name] = tuple(stream for stream in streams if stream in known and stream not in placed)
        placed.update(kept[name])
    staying = sorted(kept, key=lambda name: (-len(kept[name]), _number(name)))[:number]
    fresh = (name for at in count(1) if (name := root if at == 1 else f"{root}.{at}") not in kept)
    names = [*staying, *(next(fresh) for _ in range(number - len(staying)))]
    share, larger = divmod(len(wanted), number) if number else (0, 0)
    plan: Plan = {name: kept.get(name, ())[: share + (at < larger)] for at, name in enumerate(names)}
    carried = {stream for streams in plan.values() for stream in streams}
    waiting = (stream for stream in wanted if stream not in carried)
    for at, name in enumerate(names):
        room = share + (at < larger) - len(plan[name])
        plan[name] += tuple(stream for _, stream in zip(range(room), waiting, strict=False))
    return dict(sorted(plan.items(), key=lambda pair: _number(pair[0])))


def _number(name: str) -> int:
    tail = name.rpartition(".")[2]
    return int(tail) if "." in name and tail.isdigit() else 1
