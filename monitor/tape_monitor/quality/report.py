"""The report: what ``dq_<time>.json`` holds. Fields are added, never renamed or given another meaning; a change that breaks readers raises
``schema``. Times are unix ns (tape time) unless the name says otherwise."""

from __future__ import annotations

from typing import Literal

import msgspec

from tape_monitor.quality.completeness import Completeness
from tape_monitor.quality.continuity import Continuity, Duplicates, LeftOut
from tape_monitor.quality.criteria import Criteria
from tape_monitor.quality.identities import Identity
from tape_monitor.quality.latency import Clock, Latency, Spike
from tape_monitor.quality.parts import Files
from tape_monitor.quality.signals import Scores, Signals

SCHEMA = "tapeline.dq/1"
Verdict = Literal["pass", "fail", "unknown", "note"]
FindingKind = Literal[
    "hole",
    "trades_missed",
    "book_break",
    "duplicates",
    "sent_twice",
    "latency_spike",
    "clock_step",
    "clock_drift",
    "clock_behind",
    "disorder",
    "reset",
    "identity",
    "recomputation",
    "unreadable",
    "stranger",
]


class Check(msgspec.Struct):
    """One criterion. ``value`` is compared with ``threshold`` by ``comparison``; None: not known. ``gate``: whether it decides the verdict.
    ``worst``: whose value it is."""

    name: str
    title: str
    value: float | None
    comparison: Literal["<", ">=", "=="]
    threshold: float
    unit: Literal["share", "ms", "count"]
    verdict: Verdict
    gate: bool
    worst: str = ""
    note: str = ""


class Finding(msgspec.Struct):
    """One thing that happened, once, however many streams it touched (``where``)."""

    kind: FindingKind
    start: int
    end: int
    where: list[str]
    count: int
    text: str


class Sample(msgspec.Struct):
    """Rows made again from the tape and compared. ``windows``: the stretches of tape time; ``different``: rows that are not what the tape
    says, by column; ``lacking``, ``surplus``: rows that the output has not, or the tape has not; ``examples``: at most 10 lines."""

    windows: list[tuple[int, int]]
    rows: int
    values: int
    different: dict[str, int]
    lacking: int
    surplus: int
    examples: list[str]
    why_not: str = ""


class Series(msgspec.Struct):
    """Of one symbol, by ``step`` ns from the window's start: rows a minute, and latency of the trades (ms, corrected)."""

    symbol: str
    step: int
    trades: list[float]
    updates: list[float]
    p50: list[float | None]
    p99: list[float | None]


class Report(msgspec.Struct, kw_only=True):
    """See docs/reference/quality.md."""

    schema: str = SCHEMA
    #: unix ns of the wall clock
    made: int
    program: str
    base: str
    symbols: list[str]
    start: int
    end: int
    window: str
    verdict: Literal["good", "missed", "unknown"]
    criteria: Criteria
    checks: list[Check]
    findings: list[Finding]
    completeness: list[Completeness]
    duplicates: list[Duplicates]
    left_out: list[LeftOut] = []
    latency: list[Latency]
    spikes: list[Spike]
    clock: Clock
    continuity: list[Continuity]
    signals: list[Signals]
    scores: list[Scores]
    identities: list[Identity]
    sample: Sample
    files: Files
    series: list[Series]
    limits: list[str]


def where(found: Finding) -> str:
    """The streams of a finding by symbol; one with most of its kinds is named alone."""
    kinds: dict[str, list[str]] = {}
    for stream in found.where:
        symbol, _, kind = stream.partition(" ")
        kinds.setdefault(symbol, []).append(kind)
    return "; ".join(symbol if len(names) > 3 or not names[0] else f"{symbol} {', '.join(names)}" for symbol, names in kinds.items())


def exit_code(report: Report) -> int:
    """0: every criterion is met; 3: one is missed; 1: none is missed, and one cannot be judged."""
    return {"good": 0, "missed": 3, "unknown": 1}[report.verdict]


def verdict(checks: list[Check]) -> Literal["good", "missed", "unknown"]:
    """Of the checks that decide."""
    found = {check.verdict for check in checks if check.gate}
    return "missed" if "fail" in found else "unknown" if "unknown" in found or not found else "good"


def encode(report: Report) -> bytes:
    """As JSON, one field a line."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def decode(content: bytes) -> Report:
    """A report of this schema."""
    return msgspec.json.decode(content, type=Report)
