"""Faults as switches: on for a while, for some connections or streams, each with a count of what it did.

with simulator.faults.on("silence", venue="binance_spot", stream="*depth*"):
    ...
``parse("disconnect@20s")`` gives the same from a command line, with its time.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tape_archive.format.errors import SettingsError

#: what each fault does; frame faults take a probability ``p`` or the indexes ``at`` of the frames that they hit
KINDS = {
    "drop": "frames do not come",
    "duplicate": "frames come twice",
    "reorder": "a frame comes after the next one of its stream",
    "delay": "frames come delay_s late",
    "garbage": "frames come with random bytes in them",
    "truncate": "frames come cut off",
    "silence": "streams stop, the link lives (PONG still answers)",
    "half_open": "nothing comes, nothing is read, no pong, no FIN; the socket is dead for good",
    "disconnect": "sockets are cut (TCP reset; n=3: so many of them)",
    "close": "the venue closes properly (24 h, slow consumer: code=1013; n=3: so many sockets)",
    "shutdown": "serverShutdown is announced",
    "restart": "the venue begins its sequences anew (maintenance)",
    "resend": "whole books are sent again",
    "blocked": "subscriptions are refused",
    "no_snapshot": "books begin without a snapshot",
    "early": "the first push comes before the ack",
    "empty": "quotes come without a body",
    "refuse": "new sockets are refused with HTTP 503",
    "unreachable": "new sockets and REST requests are reset before any answer",
    "rest_429": "REST answers 429 with Retry-After",
    "rest_418": "REST answers 418 with Retry-After",
    "rest_html": "REST answers 403 with HTML",
    "rest_down": "REST answers 500",
    "rest_empty": "REST answers 200 with nothing in it",
    "rest_slow": "REST answers late (delay_s)",
    "stale_snapshot": "the REST book is older than the stream",
    "edge": "where one window ends and the next begins both are busy, in frames of both, also after the result",
    "no_tokens": "Gamma knows the market but not its token ids",
}
_ONCE = ("disconnect", "close", "shutdown", "restart", "resend")
_KEYS = {"p": float, "code": int, "n": int, "delay_s": float, "venue": str, "stream": str}
Frame = str | bytes


@dataclass
class Fault:
    """One switch. ``at``: it hits only these frames or requests, counted from 0 among those it is meant for. ``n``: it hits so many
    sockets (0: all). ``count``: what it hit."""

    kind: str
    venue: str = "*"
    stream: str = "*"
    p: float = 1.0
    code: int = 1001
    delay_s: float = 1.0
    n: int = 0
    at: tuple[int, ...] = ()
    count: int = 0
    seen: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingsError(f"the simulator has no fault {self.kind!r} (known: {', '.join(KINDS)})")

    def hits(self, venue: str, stream: str) -> bool:
        """Whether it is meant for this stream."""
        return fnmatchcase(venue, self.venue) and fnmatchcase(stream, self.stream)


@dataclass
class Planned:
    """A fault with its time: from ``at_s`` on, for ``for_s`` seconds."""

    fault: Fault
    at_s: float
    for_s: float


class Faults:
    """All switches of one simulator."""

    def __init__(self, seed: int = 1) -> None:
        self.active: list[Fault] = []
        self.planned: list[Planned] = []
        self.random = random.Random(f"{seed}/faults")
        self.listeners: list[Callable[[], None]] = []
        self._held: dict[tuple[int, str], str] = {}

    @property
    def holding(self) -> bool:
        """Whether a frame waits for the next one of its stream."""
        return bool(self._held)

    @contextmanager
    def on(self, kind: str, **settings: object) -> Iterator[Fault]:
        """A switch that is on inside the block. Raises SettingsError for an unknown kind."""
        fault = Fault(kind, **settings)  # type: ignore[arg-type]
        self.begin(fault)
        try:
            yield fault
        finally:
            self.active.remove(fault)

    def begin(self, fault: Fault) -> None:
        """Switch on, now."""
        self.active.append(fault)
        for listener in self.listeners:
            listener()

    def first(self, kind: str, venue: str, stream: str = "") -> Fault | None:
        """The first active switch of a kind that hits this, counted."""
        for fault in self.active:
            if fault.kind == kind and fault.hits(venue, stream):
                fault.seen += 1
                if fault.at and fault.seen - 1 not in fault.at:
                    continue
                if fault.p >= 1 or self.random.random() < fault.p:
                    fault.count += 1
                    return fault
        return None

    def frames(self, venue: str, connection: int, stream: str, text: str) -> list[tuple[float, Frame]]:
        """What really goes out for one frame: (seconds late, frame)."""
        held = self._held.pop((connection, stream), None) if self._held else None
        if not self.active:
            return [(0.0, text)] if held is None else [(0.0, text), (0.0, held)]
        out = self._changed(venue, stream, text)
        if held is not None:
            return [*out, (0.0, held)]
        if out and self.first("reorder", venue, stream):
            self._held[connection, stream] = text
            return []
        return out

    def _changed(self, venue: str, stream: str, text: str) -> list[tuple[float, Frame]]:
        if self.first("silence", venue, stream) or self.first("drop", venue, stream):
            return []
        frame: Frame = text
        if self.first("garbage", venue, stream):
            raw = bytearray(text.encode())
            for _ in range(3):
                raw[self.random.randrange(len(raw))] = self.random.randrange(256)
            frame = bytes(raw)
        elif self.first("truncate", venue, stream):
            frame = text[: self.random.randrange(1, len(text))]
        late = self.first("delay", venue, stream)
        out = [(late.delay_s if late else 0.0, frame)]
        return out * 2 if self.first("duplicate", venue, stream) else out

    def forget(self, connection: int) -> None:
        """A connection is gone: what was held back for it never comes."""
        for key in [key for key in self._held if key[0] == connection]:
            del self._held[key]


_PLAN = re.compile(r"^(\w+)(?:\(([^)]*)\))?@(\d+(?:\.\d+)?)s(?:\+(\d+(?:\.\d+)?)s)?$")


def parse(text: str) -> Planned:
    """``silence(venue=binance_spot,stream=*depth*)@30s+10s``, or short ``silence(binance_spot,depth)@30s``. Raises SettingsError."""
    match = _PLAN.match(text.replace(" ", ""))
    if match is None or match[1] not in KINDS:
        raise SettingsError(f"--fault {text!r}: expected <kind>(venue=…,stream=…,p=…)@<s>s+<s>s with kind one of {', '.join(KINDS)}")
    settings: dict[str, object] = {}
    places = iter(("venue", "stream"))
    for part in filter(None, (match[2] or "").split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = next(places, ""), part if "*" in part or not settings else f"*{part}*"
        if key not in _KEYS:
            raise SettingsError(f"--fault {text!r}: unknown {part!r}; expected {', '.join(sorted(_KEYS))}")
        try:
            settings[key] = _KEYS[key](value)
        except ValueError:
            raise SettingsError(f"--fault {text!r}: {key} is a number, not {value!r}") from None
    fault = Fault(match[1], **settings)  # type: ignore[arg-type]
    return Planned(fault, float(match[3]), float(match[4] or (0 if match[1] in _ONCE else 10)))
