"""Latency of each row: tape time - the venue's time of sending, and what of it is only that two clocks differ.

Nobody can tell a clock that is off by a constant from a way that is longer by it: there is no request whose answer could be timed. What can
be told, and is corrected for:

1. Steps. All rows of all symbols come from one clock. Where the fastest of each 10 s become slower or faster from one to the next, of every
   symbol and for good (5 minutes before, 5 minutes after), the clock (or the way) stepped. Between two steps the clock is one *segment*.
   A clock that is ahead makes the way look longer; one that is behind makes rows come before they were sent. So the segment whose fastest
   rows are lowest and not below 0 (by more than ``SLACK_MS``) is taken as right, however short it is: a clock may have been set right, or
   wrong. Every other segment is moved so that its fastest agree with that one's.
2. Values below 0. Nothing arrives before it was sent: where even the right segment's fastest 1 % are below 0, this machine's clock is
   behind by at least that, and so much is added to all.

Values below 0 are counted as measured, and kept. Quantiles are numpy's default (linear between the two nearest).
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tape_monitor.quality.spans import Span, runs

BUCKET = 10_000_000_000
#: buckets on each side of a step
SIDE = 30
#: smaller steps are not told from noise
LEAST_STEP_MS = 50.0
#: a clock that is kept by NTP may be behind by so much
SLACK_MS = 10.0
Values = NDArray[np.float64]
Times = NDArray[np.int64]


class Step(msgspec.Struct):
    """The clock stepped: latencies are ``size_ms`` higher from the row at tape time ``at`` (unix ns) on."""

    at: int
    size_ms: float


class Clock(msgspec.Struct):
    """What is corrected for: ``corrected = measured - shift``, ``shifts`` by segment, in ms; segments begin at the window's start and at
    each of ``steps``. ``drift_ms``: how far the fastest moved within a segment, by hours."""

    steps: list[Step]
    shifts: list[float]
    drift_ms: float | None
    behind_ms: float


class Latency(msgspec.Struct):
    """Of one symbol and kind, in ms. ``p50``, ``p99`` corrected; the others as measured. None without values."""

    symbol: str
    kind: str
    rows: int
    unknown: int
    negative: int
    raw_p50: float | None
    raw_p99: float | None
    p50: float | None
    p99: float | None
    lowest: float | None
    highest: float | None


class Spike(msgspec.Struct):
    """A stretch in which row after row was later than the limit. ``p50_ms``, ``highest_ms``: corrected latencies in it."""

    symbol: str
    kind: str
    start: int
    end: int
    rows: int
    p50_ms: float
    highest_ms: float


def fastest(times: Times, values: Values, window: Span) -> Values:
    """The lowest value of each 10 s of the window; NaN where there is none."""
    out = np.full(max(1, -(-(window.end - window.start) // BUCKET)), np.inf)
    known = ~np.isnan(values) & (times >= window.start) & (times < window.end)
    np.minimum.at(out, (times[known] - window.start) // BUCKET, values[known])
    out[np.isinf(out)] = np.nan
    return out


def _median(values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def steps(streams: list[Values], window: Span, least: float = LEAST_STEP_MS) -> list[Step]:
    """Rule 1. ``streams``: ``fastest`` of each symbol and kind. Buckets without rows are left out, so that a step in a hole is found."""
    streams = [one for one in streams if not np.isnan(one).all()]
    if not streams:
        return []
    # fmin knows no warning for columns of nothing but NaN.
    lowest = np.fmin.reduce(streams)
    known = np.flatnonzero(~np.isnan(lowest))
    jumps, edges = _differences(lowest[known], SIDE), _differences(lowest[known], 3)
    found: list[tuple[int, float]] = []
    for first, last in runs(np.flatnonzero(np.abs(jumps) >= least)):
        near = np.arange(first, last + 1)
        near = near[np.abs(jumps[near]) >= 0.8 * np.abs(jumps[near]).max()]
        at = int(near[np.argmax(np.abs(edges[near]) + 1e-3 * np.abs(np.diff(lowest[known], prepend=lowest[known][:1])[near]))])
        bucket, jump = int(known[at]), float(jumps[at])
        if all(_moves(one, bucket, jump) for one in streams):
            found.append((bucket, jump))
    return [Step(window.start + bucket * BUCKET, jump) for bucket, jump in _lasting(found)]


def _differences(values: Values, side: int) -> Values:
    """At each place the median of ``side`` values from there on, less that of as many before; 0 where there are not so many."""
    out = np.zeros(len(values))
    if len(values) >= 2 * side:
        medians = np.median(sliding_window_view(values, side), axis=1)
        out[side : len(values) - side + 1] = medians[side:] - medians[:-side]
    return out


def _moves(values: Values, bucket: int, jump: float) -> bool:
    """Whether one stream goes along with the step; one that says too little does."""
    before, after = values[max(0, bucket - SIDE) : bucket], values[bucket : bucket + SIDE]
    before, after = before[~np.isnan(before)], after[~np.isnan(after)]
    if min(len(before), len(after)) < SIDE // 3:
        return True
    moved = float(np.median(after) - np.median(before))
    return moved * jump > 0 and abs(moved) >= abs(jump) / 2


def _lasting(found: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Without those that are taken back soon: lateness that ended is no step of a clock."""
    out: list[tuple[int, float]] = []
    for bucket, jump in found:
        if out and bucket - out[-1][0] <= 2 * SIDE + 6 and out[-1][1] * jump < 0 and 0.5 <= abs(jump / out[-1][1]) <= 2.0:
            out.pop()
        else:
            out.append((bucket, jump))
    return out


def _placed(step: Step, rows: list[tuple[Times, Values]]) -> Step:
    """The step at the row that best parts the rows near it into those before and those behind."""
    near = []
    for times, values in rows:
        known = (np.abs(times - step.at) <= 2 * BUCKET) & ~np.isnan(values)
        near.append((times[known], values[known]))
    times, values = (np.concatenate([one[at] for one in near]) for at in (0, 1))
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    before, after = times < step.at - BUCKET, times >= step.at + BUCKET
    if not before.any() or not after.any():
        return step
    middle = (float(np.median(values[before])) + float(np.median(values[after]))) / 2
    behind = (values >= middle) == (step.size_ms > 0)
    wrong = np.concatenate(([0], np.cumsum(behind))) + np.concatenate((np.cumsum(~behind[::-1])[::-1], [0]))
    at = int(np.argmin(wrong))
    return Step(int(times[at]) if at < len(times) else step.at, step.size_ms)


def clock(rows: list[tuple[Times, Values]], window: Span) -> Clock:
    """Rules 1 and 2. ``rows``: times and latencies of each symbol and kind."""
    streams = [fastest(times, values, window) for times, values in rows]
    rough = steps(streams, window)
    found = [_placed(step, rows) for step in rough]
    bounds = [0, *((step.at - window.start) // BUCKET for step in rough)]
    lowest = np.fmin.reduce(streams) if streams else np.full(1, np.nan)
    parts = [lowest[begin:end] for begin, end in zip(bounds, [*bounds[1:], len(lowest)], strict=True)]
    levels = [_median(part) for part in parts]
    right = _right(levels)
    known = parts[right][~np.isnan(parts[right])]
    behind = max(0.0, -float(np.quantile(known, 0.01))) if len(known) else 0.0
    moved = [0.0 if np.isnan(level) or np.isnan(levels[right]) else level - levels[right] for level in levels]
    return Clock(found, [shift - behind for shift in moved], _drift(parts), behind)


def _right(levels: list[float]) -> int:
    """Which segment is taken as right, by the level of its fastest rows: the lowest that is not below 0; if all are, the highest."""
    known = [(level, at) for at, level in enumerate(levels) if not np.isnan(level)]
    possible = [one for one in known if one[0] >= -SLACK_MS]
    return min(possible)[1] if possible else max(known, default=(0.0, 0))[1]


def _drift(parts: list[Values]) -> float | None:
    """The widest span of the hourly medians of a segment."""
    spans = []
    for part in parts:
        hours = [_median(part[at : at + 360]) for at in range(0, len(part), 360) if np.count_nonzero(~np.isnan(part[at : at + 360])) >= 36]
        spans += [max(hours) - min(hours)] if len(hours) > 1 else []
    return max(spans, default=None)


def corrected(times: Times, values: Values, of: Clock) -> Values:
    """Each value less the shift of its segment."""
    segment = np.searchsorted(np.array([step.at for step in of.steps], np.int64), times, "right")
    shifted: Values = values - np.array(of.shifts)[segment]
    return shifted


def latency(symbol: str, kind: str, times: Times, values: Values, of: Clock) -> Latency:
    """Of the rows of one kind; NaN where a row has none."""
    known = ~np.isnan(values)
    raw, right = values[known], corrected(times[known], values[known], of)
    if not len(raw):
        return Latency(symbol, kind, len(values), len(values), 0, None, None, None, None, None, None)
    p50, p99 = np.quantile(raw, (0.5, 0.99)).tolist()
    right_p50, right_p99 = np.quantile(right, (0.5, 0.99)).tolist()
    negative = int(np.count_nonzero(raw < 0))
    bounds = float(raw.min()), float(raw.max())
    return Latency(symbol, kind, len(values), len(values) - len(raw), negative, p50, p99, right_p50, right_p99, *bounds)


#: so many rows, one after the other, over so many ns, and stretches so near to each other are one
SPIKE_ROWS = 5
SPIKE_NS = 1_000_000_000
SPIKE_APART = 5_000_000_000


def spikes(symbol: str, kind: str, times: Times, values: Values, limit_ms: float, of: Clock) -> list[Spike]:
    """Stretches in which every row (corrected ``values``, NaN left out) is at or above the limit. One late row, or some of one moment, are
    none: those are in p99. Tape time follows a clock that is set back by running slower, ten times as long as the step: what is late there
    is so by the clock."""
    known = ~np.isnan(values)
    times, values = times[known], values[known]
    late = np.concatenate(([False], values >= limit_ms, [False]))
    edges = np.flatnonzero(late[1:] != late[:-1])
    found: list[tuple[int, int]] = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - begin < SPIKE_ROWS or times[end - 1] - times[begin] < SPIKE_NS:
            continue
        if found and times[begin] - times[found[-1][1] - 1] <= SPIKE_APART:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    slewed = [(step.at, int(12e6 * -step.size_ms)) for step in of.steps if step.size_ms < 0]
    return [
        Spike(symbol, kind, int(times[a]), int(times[b - 1]), b - a, float(np.median(values[a:b])), float(values[a:b].max()))
        for a, b in found
        if not any(abs(times[a] - at) <= near and abs(times[b - 1] - at) <= near for at, near in slewed)
    ]
