"""Faults as switches: on for a while, for some connections or streams, each with a count of what it did.

with simulator.faults.on("silence", venue="binance_spot", stream="*depth*"):
    ...
simulator.faults.schedule("disconnect", at_s=20)
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tape_archive.format.errors import SettingsError

#: what each fault does; the frame faults take a probability ``p``
KINDS = {
    "drop": "frames do not come",
    "duplicate": "frames come twice",
    "reorder": "a frame comes after the next one",
    "garbage": "frames come with random bytes in them",
    "truncate": "frames come cut off",
    "silence": "streams stop, the link lives (PONG still answers)",
    "half_open": "nothing comes, nothing is answered, the socket stays open",
    "disconnect": "sockets are cut (TCP reset)",
    "close": "the venue closes properly (24 h, slow consumer: code=1013)",
    "shutdown": "serverShutdown is announced",
    "refuse": "new sockets are refused",
    "rest_429": "REST answers 429 with Retry-After",
    "rest_418": "REST answers 418 with Retry-After",
    "rest_html": "REST answers 403 with HTML",
    "rest_down": "REST answers 500",
    "rest_slow": "REST answers late (delay_s)",
    "stale_snapshot": "the REST book is older than the stream",
    "no_tokens": "Gamma knows the market but not its token ids",
}
_ONCE = ("disconnect", "close", "shutdown")


@dataclass
class Fault:
    """One switch. ``count`` is how often it did something."""

    kind: str
    venue: str = "*"
    stream: str = "*"
    p: float = 1.0
    code: int = 1001
    delay_s: float = 1.0
    count: int = 0

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
        self._held: dict[int, str] = {}

    @contextmanager
    def on(self, kind: str, **settings: object) -> Iterator[Fault]:
        """A switch that is on inside the block."""
        fault = Fault(kind, **settings)  # type: ignore[arg-type]
        self.active.append(fault)
        try:
            yield fault
        finally:
            self.active.remove(fault)

    def first(self, kind: str, venue: str, stream: str = "") -> Fault | None:
        """The first active switch of a kind that is meant for this, counted."""
        for fault in self.active:
            if fault.kind == kind and fault.hits(venue, stream) and (fault.p >= 1 or self.random.random() < fault.p):
                fault.count += 1
                return fault
        return None

    def frames(self, venue: str, connection: int, stream: str, text: str) -> list[str | bytes]:
        """What really goes out for one frame."""
        if not self.active:
            return [text]
        if self.first("silence", venue, stream) or self.first("half_open", venue, stream) or self.first("drop", venue, stream):
            return []
        out: list[str | bytes] = [text]
        if self.first("duplicate", venue, stream):
            out.append(text)
        if self.first("garbage", venue, stream):
            raw = bytearray(text.encode())
            for _ in range(3):
                raw[self.random.randrange(len(raw))] = self.random.randrange(256)
            out = [bytes(raw)]
        if self.first("truncate", venue, stream):
            out = [text[: self.random.randrange(1, len(text))]]
        held = self._held.pop(connection, None)
        if held is not None:
            return [*out, held]
        if self.first("reorder", venue, stream):
            self._held[connection] = text
            return []
        return out


_PLAN = re.compile(r"^(\w+)(?:\(([^)]*)\))?@(\d+(?:\.\d+)?)s(?:\+(\d+(?:\.\d+)?)s)?$")


def parse(text: str) -> Planned:
    """``silence(venue=binance_spot,stream=*depth*)@30s+10s``. Raises SettingsError."""
    match = _PLAN.match(text.replace(" ", ""))
    if match is None or match[1] not in KINDS:
        raise SettingsError(f"--fault {text!r}: expected <kind>(venue=…,stream=…,p=…)@<s>s+<s>s with kind one of {', '.join(KINDS)}")
    settings: dict[str, object] = {}
    for pair in filter(None, (match[2] or "").split(",")):
        key, _, value = pair.partition("=")
        if key not in ("venue", "stream", "p", "code", "delay_s"):
            raise SettingsError(f"--fault {text!r}: unknown {key!r}; expected venue, stream, p, code or delay_s")
        settings[key] = {"p": float, "code": int, "delay_s": float}.get(key, str)(value)
    fault = Fault(match[1], **settings)  # type: ignore[arg-type]
    return Planned(fault, float(match[3]), float(match[4] or (0 if match[1] in _ONCE else 10)))
