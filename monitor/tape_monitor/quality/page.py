"""The report as one page: everything in the file, nothing from a network, light and dark."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tape_archive.human import duration, moment, size
from tape_monitor.quality import plots
from tape_monitor.quality.report import Check, Report, Series, where

VERDICTS = {
    "good": "Good: every criterion is met",
    "missed": "Not good",
    "unknown": "Cannot be judged; no value for",
}
WORDS = {"pass": "met", "fail": "missed", "unknown": "unknown", "note": "note"}
KINDS = {
    "hole": "no rows",
    "trades_missed": "trades missed",
    "book_break": "book broken",
    "duplicates": "duplicates",
    "sent_twice": "sent twice",
    "latency_spike": "late",
    "clock_step": "clock step",
    "clock_drift": "clock drift",
    "clock_behind": "clock behind",
    "disorder": "out of order",
    "reset": "reset",
    "identity": "rows do not fit",
    "recomputation": "not as on the tape",
    "unreadable": "unreadable",
    "stranger": "other files",
}
#: findings that are shown; the JSON has all
MOST = 500


def number(check: Check, value: float | None) -> str:
    """A value or threshold, as people read it."""
    if value is None:
        return "unknown" if check.gate else "–"
    if check.unit == "share":
        return f"{value:.3%}"
    return f"{value:,.1f} ms" if check.unit == "ms" else f"{value:,.0f}"


def limit(check: Check) -> str:
    """The threshold with its sign."""
    signs = {"<": "below ", ">=": "at least ", "==": ""}
    text = signs[check.comparison] + number(check, check.threshold)
    return f"({text})" if check.name == "min_winsor_effect" else text


def share(value: float | None, digits: int = 3) -> str:
    """A share in per cent."""
    return "–" if value is None else f"{value:.{digits}%}"


def decimal(value: float | None, digits: int = 1) -> str:
    """A number."""
    return "–" if value is None else f"{value:,.{digits}f}"


def _plots(report: Report) -> list[dict[str, Any]]:
    return [{"symbol": one.symbol, **_of(one, report)} for one in report.series]


def _of(series: Series, report: Report) -> dict[str, Any]:
    wanted = report.criteria
    late = [("a", "p50", series.p50), ("b", "p99", series.p99)]
    limits = [(wanted.max_latency_p50_ms, "limits: p50"), (wanted.max_latency_p99_ms, "p99")]
    rate = [("a", "trades", series.trades), ("b", "book updates", series.updates)]
    counts = next((one.histogram for one in report.scores if one.symbol == series.symbol), [])
    return {
        "latency": Markup(plots.lines(series, report, late, f"{series.symbol}: latency of trades", limits)),
        "rate": Markup(plots.lines(series, report, rate, f"{series.symbol}: rows a minute", height=130)),
        "scores": Markup(plots.bars(counts, -8.0, 8.0, f"{series.symbol}: z_cvd")),
    }


def page(report: Report) -> str:
    """The HTML."""
    environment = Environment(
        loader=PackageLoader("tape_monitor.quality", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "moment": moment,
        "duration": duration,
        "size": size,
        "share": share,
        "decimal": decimal,
        "where": where,
        "limit": limit,
    }
    wrong = {"missed": "fail", "unknown": "unknown"}.get(report.verdict, "")
    return environment.get_template("page.html.j2").render(
        report=report,
        verdict=VERDICTS[report.verdict],
        missed=[check.title for check in report.checks if check.gate and check.verdict == wrong],
        words=WORDS,
        kinds=KINDS,
        number=number,
        shown=report.findings[:MOST],
        timeline=Markup(plots.timeline(report)),
        plots=_plots(report),
        step=duration(report.series[0].step).removesuffix(" 0s").replace(".0 s", " s") if report.series else "",
        event_types=sorted({name for one in report.signals for name in one.by_type}),
    )
