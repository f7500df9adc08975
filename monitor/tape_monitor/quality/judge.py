"""Measures against criteria."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from tape_monitor.quality.completeness import Completeness
from tape_monitor.quality.continuity import Continuity, Duplicates, LeftOut
from tape_monitor.quality.identities import Identity
from tape_monitor.quality.latency import Latency
from tape_monitor.quality.parts import Files
from tape_monitor.quality.report import Check, Sample
from tape_monitor.quality.signals import Scores, Signals, needed

Named = tuple[str, float | None]
WINSOR = (
    "Information, no gate: a share of 10 % beyond ±8 would mean that a tenth of the trades is further out than 8 scales, while a usable "
    "score has at most 2 % beyond 3. A low value is good news here."
)


def worst(values: Iterable[Named]) -> Named:
    """The highest; unknown if any is, since nobody knows that it is not the highest. Nobody is worst at 0."""
    found = list(values)
    unknown = [one for one in found if one[1] is None]
    highest = unknown[0] if unknown else max(found, key=lambda one: one[1] or 0.0, default=("", None))
    return highest if highest[1] != 0.0 else ("", 0.0)


def below(name: str, title: str, of: Named, limit: float, unit: Literal["share", "ms"], note: str = "") -> Check:
    """A check that a value is strictly below a limit."""
    result: Literal["pass", "fail", "unknown"] = "unknown" if of[1] is None else "pass" if of[1] < limit else "fail"
    return Check(name, title, of[1], "<", limit, unit, result, True, of[0], note)


def zero(name: str, title: str, count: int | None, of: str, note: str) -> Check:
    """A check that nothing is wrong; without anything to look at it says so, and decides nothing."""
    result: Literal["pass", "fail", "note"] = "note" if count is None else "fail" if count else "pass"
    return Check(name, title, None if count is None else float(count), "==", 0.0, "count", result, count is not None, of, note)


def empty(rows: list[Completeness], limit: float) -> Check:
    """Completeness."""
    of = worst((f"{one.symbol} {one.kind}", one.rate if one.minutes else None) for one in rows)
    lost, quiet, total = (sum(getattr(one, name) for one in rows) for name in ("empty", "quiet", "minutes"))
    proven = f", {quiet:,} of them proven quiet, which do not count" if quiet else ""
    note = f"{lost:,} of {total:,} minutes of all streams are empty{proven}."
    return below("max_empty_bucket_rate", "Empty minutes", of, limit, "share", note)


def double(rows: list[Duplicates], left_out: list[LeftOut], limit: float) -> Check:
    """Duplicates of trades."""
    trades = [one for one in rows if one.kind == "prices"]
    of = worst((one.symbol, one.rate) for one in trades)
    kept, again = sum(one.rows for one in trades), sum(one.count for one in left_out)
    share = f" ({again / (kept + again):.3%} of all that came)" if again else ""
    note = f"{sum(one.duplicates for one in trades):,} rows have an agg_trade_id that came before. "
    note += f"{again:,} trades{share} came again and have no row."
    return below("max_duplicate_rate", "Duplicate trades", of, limit, "share", note)


def late(rows: list[Latency], share: Literal["p50", "p99"], limit: float) -> Check:
    """Latency of trades, corrected."""
    trades = [one for one in rows if one.kind == "prices"]
    of = worst((one.symbol, getattr(one, share)) for one in trades)
    raw = ", ".join(f"{one.symbol} {value:.1f}" for one in trades if (value := getattr(one, f"raw_{share}")) is not None)
    return below(f"max_latency_{share}_ms", f"Latency {share}", of, limit, "ms", f"As measured, ms: {raw or 'none'}.")


def missing(rows: list[Continuity], limit: float) -> Check:
    """Continuity of trades and books."""
    of = worst((f"{one.symbol} {'trades' if one.kind == 'prices' else 'book'}", one.rate) for one in rows)
    ids = sum(one.missing for one in rows)
    breaks = sum(len(one.breaks) for one in rows if one.kind == "book")
    note = f"{ids:,} trades never came; the chain of the books broke {breaks:,} times. Trades: share of ids; books: share of the time."
    return below("max_missing_rate", "Missing trades, books", of, limit, "share", note)


def events(rows: list[Signals], hours: float, per_72h: int) -> Check:
    """Signals of the market."""
    count, least = sum(one.signals for one in rows), needed(hours, per_72h)
    note = f"Divergences and conflicts of all symbols; {per_72h:,} in 72 h, in proportion to {hours:.1f} h."
    name = "min_events_per_72h"
    return Check(name, "Signals", float(count), ">=", float(least), "count", "pass" if count >= least else "fail", True, "", note)


def winsor(rows: list[Scores], least: float) -> Check:
    """Shown beside the brief's number, and never a gate."""
    known = [(one.symbol, one.winsor_effect) for one in rows if one.winsor_effect is not None]
    of = min(known, key=lambda one: one[1] or 0.0, default=("", None))
    return Check("min_winsor_effect", "Winsor effect", of[1], ">=", least, "share", "note", False, of[0], WINSOR)


def identities(rows: list[Identity]) -> Check:
    """Rows against rows."""
    looked, wrong = sum(one.rows for one in rows), sum(one.wrong for one in rows)
    first = next((f"{one.symbol}: {one.rule}" for one in rows if one.wrong), "")
    return zero("identities", "Rows against rows", wrong if looked else None, first, f"{looked:,} comparisons within the output, to 1e-9.")


def recomputed(sample: Sample) -> Check:
    """Rows against the tape."""
    wrong = sum(sample.different.values()) + sample.lacking + sample.surplus
    places = "stretch" if len(sample.windows) == 1 else "stretches"
    looked = f"{sample.rows:,} rows with {sample.values:,} values made again from the tape, in {len(sample.windows)} {places}."
    note = sample.why_not or looked
    return zero("recomputation", "Rows against the tape", wrong if sample.rows else None, ", ".join(sample.different), note)


def unreadable(files: Files) -> Check:
    """Parts that are no Parquet, or lack a column."""
    return zero("unreadable", "Unreadable parts", len(files.unreadable), "", "Parts that are there and cannot be read.")
