"""What goes wrong in a recorded day, and whether its report tells each of it and nothing else.

Times are ms after the day's beginning.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from tape_archive.format.harvest import DENSE
from tape_monitor.quality.report import Finding, FindingKind, Report

#: the connections of a recorder, and the kinds that each one's rows are of
CONNECTIONS = {"public": ("book", "fusion", "ofi"), "market": ("cvd", "prices")}
MINUTE = 60_000
MS = 1_000_000


class Hole(msgspec.Struct, frozen=True):
    """``what`` says nothing for a while: a symbol (its streams fall silent), ``public`` or ``market`` (the socket is cut), or ``all``."""

    begin: int
    end: int
    what: str


class Spike(msgspec.Struct, frozen=True):
    """Everything is read so much later."""

    begin: int
    end: int
    late_ms: float


class State(msgspec.Struct, frozen=True):
    """What is wrong at one moment."""

    up: frozenset[str] = frozenset(CONNECTIONS)
    silent: frozenset[str] = frozenset()
    late_ms: float = 0.0
    ahead_ms: float = 0.0
    dead: bool = False


class Defects(msgspec.Struct, frozen=True):
    """``dead``: the process is killed, and started again at the end. ``steps``: (at, ms): the wall clock is so much further ahead from then
    on. ``doubles``: the first trade from each of these on is sent twice."""

    holes: list[Hole] = []
    spikes: list[Spike] = []
    dead: list[tuple[int, int]] = []
    steps: list[tuple[int, float]] = []
    doubles: list[int] = []


class Timeline:
    """Defects as time goes on."""

    def __init__(self, defects: Defects) -> None:
        self.defects = defects
        spans = [(one.begin, one.end) for one in (*defects.holes, *defects.spikes)] + defects.dead
        self._cuts = sorted({bound for span in spans for bound in span} | {at for at, _ in defects.steps})
        self._states = [self._state(ms) for ms in (-1, *self._cuts)]
        self._doubled = 0

    def at(self, ms: int) -> State:
        """What is wrong now."""
        return self._states[bisect_right(self._cuts, ms)]

    def double_due(self, ms: int) -> bool:
        """Whether a trade of now is to be sent twice; each is asked for once."""
        doubles = self.defects.doubles
        due = self._doubled < len(doubles) and doubles[self._doubled] <= ms
        self._doubled += due
        return due

    def _state(self, ms: int) -> State:
        of = self.defects
        holes = [one.what for one in of.holes if one.begin <= ms < one.end]
        return State(
            up=frozenset(name for name in CONNECTIONS if name not in holes and "all" not in holes),
            silent=frozenset(what for what in holes if what not in CONNECTIONS and what != "all"),
            late_ms=sum(one.late_ms for one in of.spikes if one.begin <= ms < one.end),
            ahead_ms=sum(size for at, size in of.steps if at <= ms),
            dead=any(begin <= ms < end for begin, end in of.dead),
        )


def planned(hours: float, symbols: Sequence[str], holes: int = 12, spikes: int = 5, doubles: int = 300, dead_min: int = 60) -> Defects:
    """That many of each, a clock step and a dead stretch, at random places of the day that do not touch."""
    chance = random.Random(20260105)
    whole = round(hours * 60 * MINUTE)
    slots = 2 * (holes + spikes + 2) + 3
    slot = whole // slots
    dead = chance.randrange(2, slots - 3 - dead_min * MINUTE // slot)
    taken = range(dead - 1, dead + 2 + dead_min * MINUTE // slot)
    free = [at for at in range(1, slots - 1) if at not in taken]
    chance.shuffle(free)
    begins = [at * slot + chance.randrange(slot // 10, slot // 4) for at in free[: holes + spikes + 1]]
    whats = (*symbols, "all", "public", "market")
    return Defects(
        holes=[
            Hole(begin, begin + chance.randrange(121_000, max(122_000, min(400_000, slot // 2))), whats[number % len(whats)])
            for number, begin in enumerate(begins[:holes])
        ],
        spikes=[
            Spike(begin, begin + chance.randrange(5_000, min(100_000, slot // 2)), chance.uniform(150.0, 900.0))
            for begin in begins[holes : holes + spikes]
        ],
        dead=[(dead * slot + 600, dead * slot + 600 + dead_min * MINUTE)],
        steps=[(begins[-1], 430.0)],
        doubles=sorted(chance.sample(range(MINUTE, whole - MINUTE), doubles)),
    )


def streams(what: str, symbols: Sequence[str]) -> list[str]:
    """The streams without rows while ``what`` says nothing."""
    kinds = CONNECTIONS.get(what, DENSE)
    of = [what] if what in symbols else symbols
    return sorted(f"{symbol} {kind}" for symbol in of for kind in kinds)


def unlike(defects: Defects, doubled: Iterable[tuple[str, int]], report: Report, begin_ms: int, symbols: Sequence[str]) -> list[str]:
    """What was planted and is not told, and what is told and was not planted."""
    left, out = list(report.findings), []

    def told(kind: FindingKind, begin: int, end: int, where: list[str]) -> bool:
        for one in left:
            ahead = round(sum(size for at, size in defects.steps if at <= begin))
            at, to = one.start // MS - begin_ms - ahead, one.end // MS - begin_ms - ahead
            if one.kind == kind and one.where == where and -3000 <= at - begin <= 1500 and -1500 <= to - end <= 5000:
                left.remove(one)
                return True
        return False

    every = streams("all", symbols)
    wanted = [("hole", one.begin, one.end, streams(one.what, symbols)) for one in defects.holes]
    wanted += [("hole", begin, end, every) for begin, end in defects.dead]
    timed = sorted(f"{symbol} {kind}" for symbol in symbols for kind in ("book", "prices"))
    wanted += [("latency_spike", one.begin, one.end, timed) for one in defects.spikes]
    wanted += [("clock_step", at, at, ["all"]) for at, _ in defects.steps]
    out += [f"not told: {one}" for one in wanted if not told(*one)]  # type: ignore[arg-type]
    out += [
        f"a step of {size:g} ms is told as {[round(one.size_ms) for one in report.clock.steps]}"
        for _, size in defects.steps
        if not _near(size, report)
    ]
    return [*out, *_doubles(sorted(doubled), report, left), *(f"told, and not planted: {one.kind} {one.where} {one.text}" for one in left)]


def _near(size: float, report: Report) -> bool:
    return any(abs(step.size_ms - size) < 10 for step in report.clock.steps)


def _doubles(doubled: list[tuple[str, int]], report: Report, left: list[Finding]) -> list[str]:
    """Trades that were sent twice, each by its id. Their findings are taken out of ``left``."""
    found = sorted((one.symbol, id) for one in report.left_out for id in one.ids)
    for one in [one for one in left if one.kind == "sent_twice"]:
        left.remove(one)
    return [] if found == doubled else [f"sent twice: {sorted(set(doubled) ^ set(found))[:5]}: told {len(found)} of {len(doubled)}"]
