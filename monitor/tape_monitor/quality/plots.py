"""Plots as SVG text: no script, no network; colours are the page's CSS variables, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape

from tape_archive.human import duration, moment
from tape_monitor.quality.report import Report, Series

SECOND = 1_000_000_000
WIDTH = 960
LEFT, RIGHT = 132, 14
PLOT = WIDTH - LEFT - RIGHT
_STEPS = [60 * minutes * SECOND for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080)]
Line = tuple[str, str, Sequence[float | None]]


class Time:
    """The axis of time: unix ns -> x."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def x(self, t: int) -> float:
        """Where a time is, within the plot."""
        share = (t - self.start) / (self.end - self.start)
        return LEFT + PLOT * min(1.0, max(0.0, share))

    def ticks(self) -> list[int]:
        """Round times, about ten of them."""
        step = next((step for step in _STEPS if (self.end - self.start) / step <= 12), _STEPS[-1])
        first = -(-self.start // step) * step
        return list(range(first, self.end + 1, step))

    def label(self, t: int) -> str:
        """A tick: the date at midnight, else the time of day."""
        at = datetime.fromtimestamp(t // SECOND, UTC)
        return f"{at:%d %b}" if at.hour == at.minute == 0 else f"{at:%H:%M}"

    def axis(self, y: float, top: float) -> str:
        """Grid lines from ``top`` to ``y``, and labels below."""
        out = []
        for t in self.ticks():
            x = self.x(t)
            anchor = "start" if x < LEFT + 12 else "end" if x > WIDTH - RIGHT - 12 else "middle"
            out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.0f}" y2="{y:.0f}"/>')
            out.append(f'<text class="tick" x="{x:.1f}" y="{y + 15:.0f}" text-anchor="{anchor}">{self.label(t)}</text>')
        return "".join(out)


def svg(height: float, body: str, name: str) -> str:
    """The frame of a plot; ``name`` is read aloud."""
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(name)}">{body}</svg>'


def _titled(shape: str, text: str) -> str:
    return f"<g>{shape}<title>{escape(text)}</title></g>"


def _box(time: Time, start: int, end: int, y: float, height: float, kind: str, text: str) -> str:
    """A stretch of time, never too thin to be seen."""
    x = time.x(start)
    width = max(2.0, time.x(end) - x)
    x = min(x, WIDTH - RIGHT - width)
    return _titled(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>', text)


def timeline(report: Report) -> str:
    """A bar for each stream: filled where it has rows, cut where it has none; and a row of marks for what else happened."""
    time = Time(report.start, report.end)
    body, y = [], 8.0
    for symbol in report.symbols:
        for row in (row for row in report.completeness if row.symbol == symbol):
            body.append(f'<text class="label" x="{LEFT - 10}" y="{y + 10:.0f}" text-anchor="end">{escape(symbol)} {row.kind}</text>')
            body.append(f'<rect class="have" x="{LEFT}" y="{y:.0f}" width="{PLOT}" height="13" rx="2"/>')
            for hole in row.holes:
                text = f"{symbol} {row.kind}: no rows, {moment(hole.start)} for {duration(hole.end - hole.start)}, {hole.why}"
                body.append(_box(time, hole.start, hole.end, y, 13, f"hole {hole.why}", text))
            y += 17
        y += 7
    kinds = (("trades_missed", "trades missed"), ("book_break", "book broken"), ("duplicates", "duplicates"), ("sent_twice", "sent twice"))
    for kind, label in (*kinds, ("latency_spike", "late"), ("clock_step", "clock step")):
        found = [one for one in report.findings if one.kind == kind]
        if not found:
            continue
        body.append(f'<text class="label" x="{LEFT - 10}" y="{y + 10:.0f}" text-anchor="end">{label}</text>')
        body.append(f'<rect class="lane" x="{LEFT}" y="{y:.0f}" width="{PLOT}" height="13" rx="2"/>')
        if kind in ("duplicates", "sent_twice"):
            body += _doubles(report, time, y, kind)
            found = []
        for one in found:
            body.append(_box(time, one.start, one.end, y, 13, f"mark {kind}", f"{moment(one.start)}: {', '.join(one.where)}: {one.text}"))
        y += 17
    return svg(y + 22, time.axis(y + 2, 4) + "".join(body), "Where rows are, and what happened")


def _doubles(report: Report, time: Time, y: float, kind: str) -> list[str]:
    """A mark for each place of the lane that has some."""
    places: dict[int, list[str]] = {}
    if kind == "duplicates":
        found = [(t, f"{one.symbol} {one.kind}") for one in report.duplicates for t in one.times]
    else:
        found = [(t, f"trades of {one.symbol}") for one in report.left_out for t in one.times]
    for t, name in found:
        places.setdefault(round(time.x(t)), []).append(f"{name}, {moment(t)}")
    out = []
    for x, told in sorted(places.items()):
        shape = f'<rect class="mark {kind}" x="{min(x, WIDTH - RIGHT - 2)}" y="{y:.0f}" width="2" height="13"/>'
        out.append(_titled(shape, f"twice: {len(told)}, e.g. {told[0]}"))
    return out


def nice(top: float) -> float:
    """A round number at or above."""
    if not top > 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(top))
    return next(factor * scale for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if factor * scale >= top * 0.9999)


def _path(values: Sequence[float | None], x: Callable[[int], float], y: Callable[[float], float]) -> str:
    """A line that is broken where a value is not known; a lone value is a dot."""
    out, pen = [], False
    for at, value in enumerate(values):
        if value is None:
            pen = False
            continue
        out.append(f"{'L' if pen else 'M'}{x(at):.1f} {y(value):.1f}" + ("" if pen else "h.01"))
        pen = True
    return "".join(out)


Limit = tuple[float, str]


def lines(series: Series, report: Report, of: Sequence[Line], name: str, limits: Sequence[Limit] = (), height: float = 170) -> str:
    """Values by time. ``limits``: (value, what it is), drawn across. The axis begins at 0, or at the lowest value."""
    time = Time(report.start, report.end)
    known = [value for _, _, values in of for value in values if value is not None]
    low, high = min([0.0, *known]), nice(max([*known, *(value * 1.1 for value, _ in limits)], default=1.0))
    low = -nice(-low) if low < 0 else 0.0
    top, bottom = 10.0, height - 22

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    def x(at: int) -> float:
        return time.x(min(report.end, report.start + at * series.step + series.step // 2))

    body = [time.axis(bottom, top)]
    for share in range(5):
        value = low + (high - low) * share / 4
        body.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        body.append(f'<text class="tick" x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.4g}</text>')
    for value, _ in limits:
        body.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
    if limits:
        # One label for all of them, above the highest: far below the values they lie too close to each other for one each.
        words = ", ".join(f"{label} {value:g}" for value, label in limits)
        above = y(max(value for value, _ in limits)) - 3
        body.append(f'<text class="limit-label" x="{WIDTH - RIGHT}" y="{above:.1f}" text-anchor="end">{escape(words)}</text>')
    for step in report.clock.steps:
        at = time.x(step.at)
        line = f'<line class="step" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>'
        body.append(_titled(line, f"clock step of {step.size_ms:+,.0f} ms at {moment(step.at)}"))
    for kind, label, values in of:
        body.append(_titled(f'<path class="line {kind}" d="{_path(values, x, y)}"/>', label))
    return svg(height, "".join(body), name)


def bars(counts: Sequence[int], low: float, high: float, name: str, height: float = 150) -> str:
    """A histogram on a logarithmic axis, since tails are what matters."""
    if not sum(counts):
        return ""
    top, bottom = 8.0, height - 22
    most = math.log10(max(counts) + 1)
    width = PLOT / len(counts)
    body = []
    for power in range(math.ceil(most)):
        y = bottom - (bottom - top) * math.log10(10**power + 1) / most
        body.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>')
    for at, count in enumerate(counts):
        tall = (bottom - top) * math.log10(count + 1) / most
        begin = low + (high - low) * at / len(counts)
        shape = f'<rect class="bar" x="{LEFT + at * width + 0.5:.1f}" y="{bottom - tall:.1f}" width="{width - 1:.1f}" height="{tall:.1f}"/>'
        body.append(_titled(shape, f"{begin:g} to {begin + (high - low) / len(counts):g}: {count:,}"))
    for tick in range(math.ceil(low), math.floor(high) + 1, 2):
        x = LEFT + PLOT * (tick - low) / (high - low)
        body.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 15:.0f}" text-anchor="middle">{tick}</text>')
    return svg(height, "".join(body), name)
