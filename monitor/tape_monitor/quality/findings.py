"""What happened, each thing once: what many streams show of one outage is one finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tape_archive.human import duration, moment
from tape_monitor.quality.completeness import Completeness, Hole
from tape_monitor.quality.continuity import Break, Continuity, Duplicates, LeftOut
from tape_monitor.quality.identities import Identity
from tape_monitor.quality.latency import Clock, Spike
from tape_monitor.quality.parts import Files
from tape_monitor.quality.report import Finding, FindingKind, Sample
from tape_monitor.quality.spans import MINUTE, Span, alike

SECOND = 1_000_000_000
#: a clock that moves more than this is reported (the brief's number)
MOST_DRIFT_MS = 200.0
_WHY = {
    "missed": "ids are missing across it",
    "quiet": "no id is missing: nothing was there",
    "unproven": "nothing proves that it was quiet",
}


def _length(span: Span) -> str:
    return duration(span.end - span.start)


class _Group:
    """Things of several streams that begin and end together."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.where: list[str] = []
        self.count = 0
        self.extra: set[str] = set()


def _grouped(things: Iterable[tuple[Span, str, int, str]], slack: int) -> list[_Group]:
    """(span, stream, count, extra) -> groups in the order of time. A stream is in a group once."""
    groups: list[_Group] = []
    for span, where, count, extra in sorted(things):
        near = (one for one in reversed(groups) if alike(one.span, span, slack) and where not in one.where)
        group = next(near, None)
        if group is None:
            group = _Group(span)
            groups.append(group)
        group.where.append(where)
        group.count += count
        group.extra.add(extra)
        group.span = Span(min(group.span.start, span.start), max(group.span.end, span.end))
    return groups


def holes(rows: list[Completeness], clock: Clock) -> list[Finding]:
    """Minutes without rows. One in which the clock stepped, and nothing is missing, is the clock's."""

    def stepped(hole: Hole) -> bool:
        return hole.why == "quiet" and any(hole.start - MINUTE <= step.at <= hole.end + MINUTE for step in clock.steps)

    found = [hole for one in rows for hole in one.holes if not stepped(hole)]
    things = ((Span(hole.start, hole.end), f"{hole.symbol} {hole.kind}", hole.minutes, hole.why) for hole in found)
    out = []
    for group in _grouped(things, MINUTE):
        why = next(name for name in ("missed", "unproven", "quiet") if name in group.extra)
        text = f"no rows for {duration(group.span.end - group.span.start)}; {_WHY[why]}"
        out.append(Finding("hole", group.span.start, group.span.end, sorted(group.where), group.count, text))
    return out


def breaks(rows: list[Continuity], complete: list[Completeness]) -> list[Finding]:
    """Ids that never came, outside of the holes that are told already."""
    told: dict[tuple[str, str], list[Span]] = {}
    for one in complete:
        told[one.symbol, one.kind] = [Span(hole.start, hole.end) for hole in one.holes]

    def outside(row: Continuity, lost: Break) -> bool:
        span = Span(lost.start, max(lost.end, lost.start + 1))
        return not any(hole.overlaps(span) for hole in told.get((row.symbol, row.kind), ()))

    chosen = [(row, lost) for row in rows for lost in row.breaks if lost.why != "late" and outside(row, lost)]
    out: list[Finding] = []
    kinds: tuple[tuple[FindingKind, str, Callable[[_Group], str]], ...] = (
        ("trades_missed", "prices", lambda group: f"{group.count:,} trades never came, within {_length(group.span)}"),
        ("book_break", "book", lambda group: f"the book was not proven for {_length(group.span)}"),
    )
    for kind, stream, text in kinds:
        of = [(row, lost) for row, lost in chosen if row.kind == stream]
        things = ((Span(lost.start, lost.end), f"{row.symbol} {row.kind}", lost.missing, "") for row, lost in of)
        for group in _grouped(things, 2 * SECOND):
            out.append(Finding(kind, group.span.start, group.span.end, sorted(group.where), group.count, text(group)))
    return out


def spikes(rows: list[Spike], limit_ms: float) -> list[Finding]:
    """Late stretches; those of several streams that overlap are one."""
    out: list[Finding] = []
    for one in sorted(rows, key=lambda one: one.start):
        where = f"{one.symbol} {one.kind}"
        if out and one.start <= out[-1].end + SECOND:
            last = out[-1]
            last.end, last.count = max(last.end, one.end), last.count + one.rows
            last.where = sorted({*last.where, where})
        else:
            out.append(Finding("latency_spike", one.start, one.end, [where], one.rows, ""))
    for found in out:
        inside = [one for one in rows if one.start <= found.end and one.end >= found.start]
        peak = max(one.highest_ms for one in inside)
        length = duration(found.end - found.start)
        found.text = f"{found.count:,} rows, each {limit_ms:g} ms late or more, up to {peak:,.0f} ms, for {length}"
    return out


def clocks(clock: Clock, window: Span) -> list[Finding]:
    """Steps, drift, and a clock that is behind."""
    out = []
    for step in clock.steps:
        way = "later" if step.size_ms > 0 else "earlier"
        text = f"all rows are {abs(step.size_ms):,.0f} ms {way} from here on: the clock was set, or the way changed; corrected for"
        out.append(Finding("clock_step", step.at, step.at, ["all"], 1, text))
    if clock.drift_ms is not None and clock.drift_ms > MOST_DRIFT_MS:
        text = f"the fastest rows moved by {clock.drift_ms:,.0f} ms within hours: the clock drifts, use NTP; not corrected for"
        out.append(Finding("clock_drift", window.start, window.end, ["all"], 1, text))
    if clock.behind_ms > 0:
        text = f"rows are read {clock.behind_ms:,.1f} ms before they were sent: this clock is behind by at least that; corrected for"
        out.append(Finding("clock_behind", window.start, window.end, ["all"], 1, text))
    return out


def doubles(rows: list[Duplicates]) -> list[Finding]:
    """One finding a stream."""
    return [
        Finding("duplicates", one.first, one.last, [f"{one.symbol} {one.kind}"], one.duplicates, f"{one.duplicates:,} rows came twice")
        for one in rows
        if one.duplicates
    ]


def sent_twice(rows: list[LeftOut]) -> list[Finding]:
    """One finding a symbol. What a second socket brings again is no defect."""
    return [
        Finding(
            "sent_twice",
            one.times[0],
            one.times[-1],
            [f"{one.symbol} prices"],
            one.sent_twice,
            f"{one.sent_twice:,} trades were sent twice on one connection; each has one row",
        )
        for one in rows
        if one.sent_twice
    ]


def orders(rows: list[Continuity], window: Span) -> list[Finding]:
    """Rows whose tape time falls, and numbers that began anew."""
    out = []
    for one in rows:
        where = [f"{one.symbol} {one.kind}"]
        if one.disorder:
            text = f"tape time falls {one.disorder:,} times"
            out.append(Finding("disorder", window.start, window.end, where, one.disorder, text))
        if one.resets:
            text = f"the venue's numbers began anew {one.resets:,} times"
            out.append(Finding("reset", window.start, window.end, where, one.resets, text))
    return out


def contents(rows: list[Identity], sample: Sample, files: Files, window: Span) -> list[Finding]:
    """Rows that cannot be right, and files that cannot be read."""
    out = []
    for one in rows:
        if one.wrong:
            text = f"{one.rule}: {one.wrong:,} of {one.rows:,} rows do not fit, the first at {moment(one.first)}"
            out.append(Finding("identity", one.first, one.first, [one.symbol], one.wrong, text))
    wrong = sum(sample.different.values()) + sample.lacking + sample.surplus
    if wrong:
        start, end = sample.windows[0][0], sample.windows[-1][1]
        text = f"{wrong:,} values or rows are not what the tape says; e.g. {sample.examples[0]}"
        out.append(Finding("recomputation", start, end, sorted(sample.different) or ["rows"], wrong, text))
    for path, why in files.unreadable:
        out.append(Finding("unreadable", window.start, window.end, [path], 1, why))
    if files.strangers:
        text = f"{len(files.strangers):,} files that are no parts, e.g. {files.strangers[0]}"
        out.append(Finding("stranger", window.start, window.end, files.strangers[:5], len(files.strangers), text))
    return out
