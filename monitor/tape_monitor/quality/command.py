"""``validate``, ``tape validate``, ``python -m tape_monitor.quality``."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from tape_archive.format import harvest
from tape_archive.format.atomic import write_atomic
from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.human import duration, moment, parse_time, size
from tape_archive.service import command as script
from tape_monitor.quality import window as windows
from tape_monitor.quality.assess import How, assess
from tape_monitor.quality.compare import Rows, compare
from tape_monitor.quality.criteria import criteria
from tape_monitor.quality.parts import Output
from tape_monitor.quality.report import Check, Report, Sample, encode, exit_code, where
from tape_monitor.quality.retold import KEYS, Tape
from tape_monitor.quality.spans import Span

_SIGNS = {"pass": "ok  ", "fail": "MISS", "unknown": "?   ", "note": "    "}


@click.command("validate", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--root", metavar="DIR", help="Where ofi-record writes.  [default: .]")
@click.option("--base-dir", metavar="DIR", help="The folder with date=… alone, instead of --root.  [default: ROOT/data/ofi_cvd]")
@click.option("--output-dir", metavar="DIR", help="Folder of the reports.  [default: ROOT/artifacts/dq_reports]")
@click.option("--output", metavar="FILE", help="The report itself (.json; the page beside it), instead of --output-dir.")
@click.option("--symbols", metavar="A,B", help="Only these.  [default: what was asked of the recorder, and what is there]")
@click.option("--from", "start", metavar="TIME", help="Epoch s, ms or ns, or ISO-8601.  [default: as recorded]")
@click.option("--to", "end", metavar="TIME")
@click.option("--last", type=float, default=0.0, metavar="HOURS", help="Only so long before the end, and no more than was recorded.")
@click.option("--samples", type=int, default=3, show_default=True, metavar="N", help="Stretches to make again from the tape; 0: none.")
@click.option("--sample-seconds", type=int, default=120, show_default=True, metavar="S", help="Tape time of each.")
@click.option("--max-empty-bucket-rate", type=float, metavar="SHARE", help="Of minutes.  [default: 0.001]")
@click.option("--max-duplicate-rate", "--max-dup-rate", type=float, metavar="SHARE", help="Of trades.  [default: 0.005]")
@click.option("--max-missing-rate", type=float, metavar="SHARE", help="Of trades, and of time without a proven book.  [default: 0.001]")
@click.option("--max-latency-p99-ms", type=float, metavar="MS", help="[default: 120]")
@click.option("--max-latency-p50-ms", type=float, metavar="MS", help="[default: 60]")
@click.option("--min-events-per-72h", "--min-events", type=int, metavar="N", help="In proportion to the time.  [default: 1000]")
@click.option("--config", metavar="FILE", help="YAML with a section data_harvest.  [default: config/system.yaml, if it is there]")
@click.option("--json", "as_json", is_flag=True, help="Print the report instead of the table.")
def command(
    root: str | None,
    base_dir: str | None,
    output_dir: str | None,
    output: str | None,
    symbols: str | None,
    start: str | None,
    end: str | None,
    last: float,
    samples: int,
    sample_seconds: int,
    config: str | None,
    as_json: bool,
    **limits: float | None,
) -> int:
    """Judge what ofi-record wrote: what is missing, double, late, or not what the tape says. Writes dq_<time>.json and a page beside it.

    \b
    Exit codes: 0 every criterion is met, 3 one is missed, 1 one cannot be judged or an error, 2 a setting is wrong.
    """
    wanted = criteria(limits, config)
    now = time.time_ns()
    places = _Places(root, base_dir, output_dir, output, now)
    out = Output(places.base, _Progress() if sys.stderr.isatty() else lambda rows: None)
    tape = Tape(places.root)
    of, behind = _recorded(out, places, tape, start is not None and end is not None)
    window = windows.asked(of, parse_time(start) if start else 0, parse_time(end) if end else 0, last)
    about = windows.about(window, behind, bool(start or end or last))
    chosen = symbols.replace(",", " ").upper().split() if symbols else sorted({*out.symbols(), *tape.symbols})
    if not chosen:
        raise NotFound(f"no symbols under {places.base}; name what should be there with --symbols")
    sample = _sample(out, tape, chosen, window, windows.checkpoint(places.root), samples, sample_seconds)
    report = assess(out, chosen, window, wanted, now, _program(), about, sample, _how(tape))
    _write(report, places)
    click.echo(encode(report).decode() if as_json else _table(report, places), nl=not as_json)
    return exit_code(report)


class _Places:
    """Where things lie."""

    def __init__(self, root: str | None, base_dir: str | None, output_dir: str | None, output: str | None, now: int) -> None:
        if base_dir is not None and root is None:
            base = Path(base_dir)
            # data/ofi_cvd below a root has its tape beside it.
            below = base.resolve().parts[-2:] == Path(harvest.FOLDER).parts
            self.root = base.resolve().parents[1] if below else base
        else:
            self.root = Path(root or ".")
            base = Path(base_dir) if base_dir is not None else self.root / harvest.FOLDER
        if not base.is_dir():
            raise NotFound(f"{base} is no folder; say where ofi-record writes with --root")
        if output is not None and Path(output).suffix != ".json":
            raise SettingsError(f"--output {output}: expected a name that ends in .json")
        self.base = base
        folder = Path(output_dir) if output_dir is not None else self.root / harvest.REPORTS
        stamp = datetime.fromtimestamp(now // 1_000_000_000, UTC)
        self.json = Path(output) if output is not None else folder / f"dq_{stamp:%Y%m%d_%H%M}.json"
        self.page = self.json.with_suffix(".html")


class _Progress:
    """Rows read, on one line of a terminal."""

    def __init__(self) -> None:
        self._rows = 0
        self._shown = 0.0

    def __call__(self, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            sys.stderr.write(f"\r{self._rows:,} rows read ")


def _recorded(out: Output, places: _Places, tape: Tape, both: bool) -> tuple[Span | None, bool]:
    try:
        return windows.recorded(out, windows.checkpoint(places.root), tape.end())
    except NotFound:
        if both:
            return None, False
        raise


def _how(tape: Tape) -> How:
    """The setup, if all runs have the same."""
    found = {(setup.limit, setup.z_mode == "delta") for setup in tape.setups}
    return How(*found.pop()) if len(found) == 1 else How(None, not any(not single for _, single in found))


def _sample(out: Output, tape: Tape, symbols: list[str], window: Span, written: int, count: int, seconds: int) -> Sample:
    """Rows made again from the tape at evenly spread beginnings of runs and hours."""
    if not tape.setups:
        return compare([], "Not done: no tape of ofi-record lies beside the output.")
    end = min(window.end, written) if written else window.end
    starts = [one for one in tape.starts() if one.t >= window.start and one.t < end]
    if count <= 0 or not starts:
        return compare([], "Not done: as asked." if count <= 0 else "Not done: no run or whole hour begins within the window.")
    spread = sorted({round(at * (len(starts) - 1) / max(1, count - 1)) for at in range(count)})
    found = []
    for at in spread:
        made, (begin, last) = tape.rows(starts[at], seconds)
        last = min(last, end)
        made = {key: row for key, row in made.items() if key[1] in symbols and row["recv_ns"] < last}
        stored: Rows = {}
        for symbol in symbols:
            for kind, key in KEYS.items():
                for row in out.rows(symbol, kind, begin, last):
                    if not row.get("snapshot"):
                        stored[kind, symbol, row[key]] = row
        if last > begin:
            found.append(((begin, last), stored, made))
    return compare(found, "" if found else "Not done: nothing was recorded after the beginnings.")


def _write(report: Report, places: _Places) -> None:
    from tape_monitor.quality.page import page

    write_atomic(places.json, encode(report), durable=False)
    write_atomic(places.page, page(report).encode(), durable=False)


def _program() -> str:
    try:
        return f"tapeline {version('tapeline')}"
    except PackageNotFoundError:
        return "tapeline"


def value(check: Check, number: float | None) -> str:
    """As people read it."""
    if number is None:
        return "unknown"
    if check.unit == "share":
        return f"{number:.3%}"
    return f"{number:,.1f} ms" if check.unit == "ms" else f"{number:,.0f}"


def _table(report: Report, places: _Places) -> str:
    head = "\r" if sys.stderr.isatty() else ""
    lines = [f"{head}{' '.join(report.symbols)}  {moment(report.start)} to {moment(report.end)} UTC ({report.window})"]
    lines.append(f"{report.files.rows:,} rows in {report.files.parts:,} parts, {size(report.files.bytes)}")
    lines.append("")
    for check in report.checks:
        limit = f"{check.comparison} {value(check, check.threshold)}" if check.comparison != "==" else "0"
        number = value(check, check.value) if check.value is not None else "not done" if not check.gate else "unknown"
        lines.append(f"{_SIGNS[check.verdict]}  {check.title:22} {number:>12}  {limit:>14}  {check.worst}".rstrip())
    lines.append("")
    for found in report.findings[:40]:
        at = f"{moment(found.start)}  {duration(found.end - found.start) if found.end > found.start else '':>9}"
        lines.append(f"{at}  {found.kind:14} {where(found)}: {found.text}")
    if len(report.findings) > 40:
        lines.append(f"… and {len(report.findings) - 40} more in the report")
    lines += ["", f"{_verdict(report)}; {len(report.findings)} findings", f"{places.json}", f"{places.page}"]
    return "\n".join(line for at, line in enumerate(lines) if line or lines[at - 1])


def _verdict(report: Report) -> str:
    if report.verdict == "good":
        return "good: every criterion is met"
    word, which = ("not good", "fail") if report.verdict == "missed" else ("cannot be judged, no value for", "unknown")
    return f"{word}: " + ", ".join(check.title for check in report.checks if check.gate and check.verdict == which)


main = script(command)
