"""What is to be archived and what stays, and why. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from tape_archive.format.lines import Line

DAY = 86_400
_EPOCH = re.compile(r"-(\d{9,11})(?:_.*)?$")


class Facts(msgspec.Struct):
    """What a window's file says of itself. ``start`` in unix seconds, 0 if it does not say; ``resolved``: how it ended is on it."""

    start: int = 0
    resolved: bool = False


class Window(msgspec.Struct):
    """A hot window. ``sealed``: its folder's manifest names it, with this size."""

    name: str
    bytes: int
    sealed: bool
    facts: Facts


class Move(msgspec.Struct):
    """One file and where it goes: ``folder`` is ``YYYY-MM``, the month of the window's own start in UTC."""

    name: str
    bytes: int
    folder: str


class Stay(msgspec.Struct):
    """One file that is old enough and stays. ``why`` names what to do."""

    name: str
    bytes: int
    why: str


class Plan(msgspec.Struct):
    """``young``: how many files are not old enough."""

    moves: list[Move]
    stays: list[Stay]
    young: int


class Rules(msgspec.Struct):
    """``days``: how old a window's start must be. ``unresolved_after``: and of one that is not resolved (None: it stays). ``unsealed``:
    whether files that no recorder sealed go as well, which never holds while one runs (``recording``)."""

    days: float = 7.0
    unresolved_after: float | None = None
    unsealed: bool = False
    recording: bool = False


def epoch(name: str) -> int:
    """The start that a file's name tells, unix seconds; 0 if it does not (hours and days are named in words)."""
    match = _EPOCH.search(name.partition(".jsonl")[0])
    return int(match[1]) if match else 0


def facts(name: str, marks: Iterable[Line]) -> Facts:
    """Of the marks of a window's tape."""
    found = Facts(epoch(name))
    for mark in marks:
        if mark.mark == "tape":
            window: Mapping[str, object] = mark.fields.get("window") or {}
            start = window.get("start")
            if not found.start and isinstance(start, int):
                found.start = start
        elif mark.mark == "result" and mark.fields.get("outcome"):
            # Not its ``final`` price: windows that settle on candles have none.
            found.resolved = True
    return found


def month(start: int) -> str:
    """``YYYY-MM`` in UTC of a unix second."""
    return f"{datetime.fromtimestamp(start, UTC):%Y-%m}"


def plan(windows: Iterable[Window], now: float, rules: Rules) -> Plan:
    """``now`` in unix seconds."""
    out = Plan([], [], 0)
    for window in windows:
        if why := _stays(window, now, rules):
            out.stays.append(Stay(window.name, window.bytes, why))
        elif window.facts.start > now - rules.days * DAY:
            out.young += 1
        else:
            out.moves.append(Move(window.name, window.bytes, month(window.facts.start)))
    return out


def _stays(window: Window, now: float, rules: Rules) -> str:
    if not window.facts.start:
        return "no start is known: neither its name nor its head tells"
    if window.facts.start > now - rules.days * DAY:
        return ""
    if not window.sealed and (rules.recording or not rules.unsealed):
        return "not sealed: poly-record is running" if rules.recording else "not sealed: poly-record does it; --unsealed moves it as it is"
    if not window.facts.resolved and (rules.unresolved_after is None or window.facts.start > now - rules.unresolved_after * DAY):
        return "not resolved: no result is on it; --unresolved-after DAYS moves it all the same"
    return ""
