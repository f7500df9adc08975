"""An output, a window and criteria -> a report."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from tape_archive.format.harvest import DENSE, Kind
from tape_monitor.quality import completeness as complete
from tape_monitor.quality import continuity as chain
from tape_monitor.quality import findings, identities, judge, signals
from tape_monitor.quality import latency as late
from tape_monitor.quality.criteria import Criteria
from tape_monitor.quality.parts import Columns, Output
from tape_monitor.quality.report import Check, Finding, Report, Sample, Series, verdict
from tape_monitor.quality.spans import MINUTE, Span

HOUR = 60 * MINUTE
#: columns beside recv_ns
READ: dict[Kind, list[str]] = {
    "prices": ["event_ts_ms", "agg_trade_id", "latency_ms"],
    "cvd": ["event_ts_ms", "agg_trade_id", "cvd", "delta", "z_raw", "z_cvd", "scale", "floor_used", "anchor_ms", "gaps", "why"],
    "book": [
        *("event_ts_ms", "first_id", "last_id", "prev_id", "snapshot", "latency_ms"),
        *("bid_price_1", "bid_qty_1", "ask_price_1", "ask_qty_1"),
    ],
    "ofi": ["event_ts_ms", "last_id", "ofi_value"],
    "fusion": [],
    "events": ["event_type", "meta_json"],
}
#: kinds whose rows have a latency
TIMED: tuple[Kind, ...] = ("prices", "book")
LIMITS = [
    "Head and tail are judged against the window above. What was never asked of the recorder is not missed.",
    "Latency includes the error of this machine's clock, as far as it is constant; see the clock.",
]
#: points of a plot, and how much time each may be
POINTS = 288
STEPS = [seconds * (MINUTE // 60) for seconds in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)]


class How(msgspec.Struct, frozen=True):
    """How z was made, as far as a check depends on it. ``limit`` None: not known."""

    limit: float | None = None
    single: bool = True


class _Symbol:
    """What is kept of one symbol until all are read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.times: dict[Kind, NDArray[np.int64]] = {}
        self.latency: dict[Kind, NDArray[np.float64]] = {}


class Assessment:
    """Reads symbol by symbol; memory is that of one symbol's columns, and of times and latencies of all."""

    def __init__(self, output: Output, window: Span, criteria: Criteria, how: How) -> None:
        self.output = output
        self.window = window
        self.criteria = criteria
        self.how = how
        self.symbols: list[_Symbol] = []
        self.completeness: list[complete.Completeness] = []
        self.continuity: list[chain.Continuity] = []
        self.duplicates: list[chain.Duplicates] = []
        self.left_out: list[chain.LeftOut] = []
        self.identities: list[identities.Identity] = []
        self.signals: list[signals.Signals] = []
        self.scores: list[signals.Scores] = []

    def read(self, name: str) -> None:
        """One symbol."""
        columns = {kind: self.output.columns(name, kind, READ[kind], self.window.start, self.window.end) for kind in READ}
        one = _Symbol(name)
        self.symbols.append(one)
        for kind in TIMED:
            one.times[kind], one.latency[kind] = columns[kind]["recv_ns"], columns[kind]["latency_ms"]
        self._chains(name, columns)
        self._compare(name, columns)
        self.signals.append(signals.signals(name, columns["events"]["event_type"]))
        self.scores.append(signals.scores(name, columns["cvd"]))

    def _chains(self, name: str, columns: dict[Kind, Columns]) -> None:
        prices, book = columns["prices"], columns["book"]
        trades = chain.trades(name, prices, _late(columns["events"]))
        books = chain.book(name, book, self.window)
        self.continuity += [trades, books]
        broken: dict[Kind, list[Span]] = {
            "prices": [Span(one.start, one.end) for one in trades.breaks if one.missing],
            "book": [Span(one.start, one.end) for one in books.breaks],
        }
        for kind in DENSE:
            source = complete.SOURCES[kind]
            times = (columns[kind]["recv_ns"], columns[source]["recv_ns"])
            self.completeness.append(complete.completeness(name, kind, *times, broken[source], self.window))
        named: tuple[tuple[Kind, str], ...] = (("prices", "agg_trade_id"), ("cvd", "agg_trade_id"), ("ofi", "last_id"), ("book", "last_id"))
        self.left_out.append(chain.left_out(name, len(prices["recv_ns"]), columns["events"]))
        for kind, column in named:
            of = columns[kind]
            ids = of[column] * 2 + of["snapshot"] if kind == "book" else of[column]
            epoch = chain.epochs(of[column], of["event_ts_ms"])
            self.duplicates.append(chain.duplicates(name, kind, of["recv_ns"], ids, epoch))

    def _compare(self, name: str, columns: dict[Kind, Columns]) -> None:
        cvd = columns["cvd"]
        self.identities += [
            identities.same_trades(name, columns["prices"], cvd),
            identities.adds_up(name, cvd),
            *identities.scores(name, cvd, self.how.limit, self.how.single),
            identities.order_flow(name, columns["book"], columns["ofi"]),
        ]

    def report(self, made: int, program: str, about: str, sample: Sample) -> Report:
        """When every symbol was read."""
        window, criteria, files = self.window, self.criteria, self.output.files
        lateness = _Lateness(self.symbols, window, criteria.max_latency_p99_ms)
        self.output.look()
        checks = self._checks(lateness.latency, sample)
        return Report(
            made=made,
            program=program,
            base=str(self.output.base),
            symbols=[one.name for one in self.symbols],
            start=window.start,
            end=window.end,
            window=about,
            verdict=verdict(checks),
            criteria=criteria,
            checks=checks,
            findings=self._findings(lateness, sample),
            completeness=self.completeness,
            duplicates=self.duplicates,
            left_out=self.left_out,
            latency=lateness.latency,
            spikes=lateness.spikes,
            clock=lateness.clock,
            continuity=self.continuity,
            signals=self.signals,
            scores=self.scores,
            identities=self.identities,
            sample=sample,
            files=files,
            series=[
                series(one.name, one.times["prices"], one.times["book"], lateness.right[one.name, "prices"], window) for one in self.symbols
            ],
            limits=LIMITS,
        )

    def _checks(self, latency: list[late.Latency], sample: Sample) -> list[Check]:
        wanted, hours = self.criteria, (self.window.end - self.window.start) / HOUR
        return [
            judge.empty(self.completeness, wanted.max_empty_bucket_rate),
            judge.missing(self.continuity, wanted.max_missing_rate),
            judge.double(self.duplicates, self.left_out, wanted.max_duplicate_rate),
            judge.late(latency, "p50", wanted.max_latency_p50_ms),
            judge.late(latency, "p99", wanted.max_latency_p99_ms),
            judge.events(self.signals, hours, wanted.min_events_per_72h),
            judge.identities(self.identities),
            judge.recomputed(sample),
            judge.unreadable(self.output.files),
            judge.winsor(self.scores, wanted.min_winsor_effect),
        ]

    def _findings(self, lateness: _Lateness, sample: Sample) -> list[Finding]:
        found = [
            *findings.holes(self.completeness, lateness.clock),
            *findings.breaks(self.continuity, self.completeness),
            *findings.doubles(self.duplicates),
            *findings.sent_twice(self.left_out),
            *findings.spikes(lateness.spikes, lateness.limit_ms),
            *findings.clocks(lateness.clock, self.window),
            *findings.orders(self.continuity, self.window),
            *findings.contents(self.identities, sample, self.output.files, self.window),
        ]
        return sorted(found, key=lambda one: (one.start, one.end, one.kind))


class _Lateness:
    """Latency of all symbols, which have one clock."""

    def __init__(self, symbols: list[_Symbol], window: Span, limit_ms: float) -> None:
        self.limit_ms = limit_ms
        streams = [(one.name, kind, one.times[kind], values) for one in symbols for kind, values in one.latency.items()]
        self.clock = late.clock([(times, values) for _, _, times, values in streams], window)
        self.right = {(name, kind): late.corrected(times, values, self.clock) for name, kind, times, values in streams}
        self.latency = [late.latency(name, kind, times, values, self.clock) for name, kind, times, values in streams]
        found = (late.spikes(name, kind, times, self.right[name, kind], limit_ms, self.clock) for name, kind, times, _ in streams)
        self.spikes = sorted((spike for spikes in found for spike in spikes), key=lambda one: one.start)


def _late(events: Columns) -> frozenset[int]:
    """Ids of trades that came out of order."""
    told = events["meta_json"][events["event_type"] == "late_trade"]
    return frozenset(int(msgspec.json.decode(meta).get("agg_trade_id", 0)) for meta in told.tolist())


def series(name: str, trades: NDArray[np.int64], updates: NDArray[np.int64], latency: NDArray[np.float64], window: Span) -> Series:
    """The numbers of the plots: at most ``POINTS``. The last stretch may be a part of one: its rate is that of the part."""
    length = window.end - window.start
    step = next((step for step in STEPS if step * POINTS >= length), -(-length // POINTS // HOUR) * HOUR)
    count = max(1, -(-length // step))
    bounds = window.start + np.arange(count + 1) * step
    minutes = np.minimum(step, window.end - bounds[:-1]) / MINUTE
    order = np.argsort(trades, kind="stable")
    times, values = trades[order], latency[order]
    at = np.searchsorted(times, bounds)
    quantiles = [_quantiles(one) for one in np.split(values, at)[1:-1]]
    rates = [np.round(np.histogram(kind, bounds)[0] / minutes, 3).tolist() for kind in (trades, updates)]
    return Series(name, step, rates[0], rates[1], [one[0] for one in quantiles], [one[1] for one in quantiles])


def _quantiles(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    known = values[~np.isnan(values)]
    if not len(known):
        return None, None
    p50, p99 = np.quantile(known, (0.5, 0.99)).round(3).tolist()
    return p50, p99


def assess(
    output: Output, symbols: Sequence[str], window: Span, criteria: Criteria, made: int, program: str, about: str, sample: Sample, how: How
) -> Report:
    """The report of a window; ``made``: unix ns of now."""
    of = Assessment(output, window, criteria, how)
    for symbol in symbols:
        of.read(symbol)
    return of.report(made, program, about, sample)
