"""What a backfill found or did, for people and for scripts."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tape_archive.human import duration, moment
from tape_collectors.backfill.holes import rows_of
from tape_collectors.backfill.plan import CLASSES
from tape_collectors.backfill.run import Left, Outcome, Total
from tape_collectors.backfill.session import Look

_MOST = 10


class Step(msgspec.Struct):
    """A request, or a file, that a run would make. ``rows``: missing ones that it brings, 0 where nobody knows."""

    request: str
    gap_type: str
    weight: int
    gaps: int
    rows: int


class Report(msgspec.Struct):
    """Times in unix ns. ``complete``: nothing is missing. ``steps``: what a run would ask for, in its order. ``strangers``: instruments
    whose listing is not known, so that rows before it count as missing until a run asks."""

    start: int
    end: int
    complete: bool
    tables: dict[str, Total]
    left: list[Left]
    strangers: int = 0
    steps: list[Step] = []
    eta_s: float = 0.0
    requests: int = 0
    files: int = 0
    weight: int = 0
    seconds: float = 0.0


def of_look(look: Look) -> Report:
    """Before a run."""
    totals: dict[str, Total] = {}
    for hole in look.holes:
        total = totals.setdefault(hole.table, Total())
        total.gaps += 1
        total.missing += rows_of(hole)
    for one in look.left:
        total = totals.setdefault(one.table, Total())
        total.gaps += 1
        total.missing += one.rows
    for one in (*look.left, *look.refused):
        totals[one.table].unfillable += one.rows if one.status == "unfillable" else 0
        totals[one.table].failed += one.rows if one.status == "failed" else 0
    if look.made.gaps:
        totals["custom_candles"] = Total(look.made.gaps, look.made.missing, failed=look.made.failed)
    steps = [
        Step(piece.what, CLASSES[piece.age], piece.fetch.weight if piece.fetch else 0, len(piece.holes), piece.rows)
        for piece in look.plan.pieces
    ]
    files = sum(1 for piece in look.plan.pieces if piece.path)
    return Report(
        look.start,
        look.end,
        not look.holes and not look.left and not look.made.gaps,
        totals,
        [*look.left, *look.refused],
        look.strangers,
        steps,
        look.plan.eta_s(),
        requests=len(steps) - files,
        files=files,
        weight=look.plan.weight,
    )


def of_run(outcome: Outcome, start: int, end: int) -> Report:
    """After a run."""
    return Report(
        start,
        end,
        outcome.whole,
        outcome.tables,
        outcome.left,
        requests=outcome.requests,
        files=outcome.files,
        weight=outcome.weight,
        seconds=outcome.seconds,
    )


def lines(made: Report, mode: str) -> Iterator[str]:
    """``mode``: check, plan or run."""
    yield f"{moment(made.start)} to {moment(made.end)} UTC"
    if not made.tables:
        yield "Nothing is missing." if mode != "run" else "Nothing was missing; nothing was asked for."
        return
    yield ""
    names = ("gaps", "missing", *(("filled",) if mode == "run" else ()), "unfillable", "failed")
    yield f"{'rows of':16}" + "".join(f"{name:>14}" for name in names)
    for table, total in sorted(made.tables.items()):
        yield f"{table:16}" + "".join(f"{getattr(total, name):>14,}" for name in names)
    yield ""
    asked = f"{made.requests:,} requests of weight {made.weight:,}, {made.files:,} files of the archive"
    if mode == "run":
        yield f"{asked}, in {duration(round(made.seconds * 1e9))}"
    elif made.steps:
        yield f"To fill it: {asked}; at least {duration(round(made.eta_s * 1e9))}"
    if made.strangers:
        yield f"When {made.strangers:,} of the instruments were listed is not known before a run; what is older is not missing."
    if mode == "plan":
        for step in made.steps:
            rows = f"{step.rows:,} rows" if step.rows else "rows unknown"
            yield f"  {step.gap_type:10} weight {step.weight:>2}  {step.gaps:>3} gaps  {rows:>12}  {step.request}"
    for one in made.left[:_MOST]:
        rows = f"{one.rows:,} rows" if one.rows else "rows"
        yield f"  {one.status}: {one.table} {one.symbol} {moment(one.start)} to {moment(one.end)}, {rows}: {one.why}"
    if len(made.left) > _MOST:
        yield f"  … and {len(made.left) - _MOST:,} more: --json, or gap_detection_log"
