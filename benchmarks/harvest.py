"""A day of ``ofi-record`` in minutes, and its data-quality report: ``python -m benchmarks.harvest --hours 24 [--plant] [--check]``.

The recorder itself (``harvest_day``) against the simulated market, as fast as both go. Prints CPU for 1,000 trades and for 1,000 book
updates, what the parts cost, memory after each hour, and what ``validate`` says of it all.

Exit 1 if a core alone would be slower than ``--speed``, memory grows by more than 5 % after the hours of warm-up, the report is not green or
has a finding, or (``--check``) a part is not what the tape makes. With ``--plant``: if the report does not tell each planted defect, or tells
another one.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks import harvest_defects
from benchmarks.harvest_day import MIDNIGHT_MS, STEP_MS, Day
from benchmarks.harvest_defects import Defects
from tape_archive.format import harvest as layout
from tape_archive.format.layout import segments
from tape_archive.format.records import BookDelta, Trade
from tape_archive.human import size
from tape_collectors.harvest import derive
from tape_monitor.quality.report import Report, decode

#: hours after which memory must be flat: windows are full, the integrated measure is fitted, a day's regimes excepted
WARM_UP = 3


def run(
    root: Path,
    hours: float,
    symbols: tuple[str, ...],
    said: Callable[[str], None] = lambda line: None,
    begin_ms: int = MIDNIGHT_MS,
    defects: Defects | None = None,
) -> tuple[dict[str, Any], Day]:
    """A day; gives the figures."""
    day = Day(root, symbols, begin_ms=begin_ms, defects=defects)
    begun, cpu, thread = time.perf_counter(), time.process_time(), time.thread_time()
    day.begin()
    memory: list[int] = []
    steps = round(hours * 3_600_000 / STEP_MS)
    every = 3_600_000 // STEP_MS if hours > 1 else max(1, steps // 10)
    for number in range(1, steps + 1):
        day.step()
        if number % every == 0:
            memory.append(day.memory())
            speed = number * STEP_MS / 1000 / (time.perf_counter() - begun)
            said(f"{number * STEP_MS / 3_600_000:6.2f} h  {size(memory[-1]):>10}  {speed:5.0f} times as fast as the clock")
    wall, spent = time.perf_counter() - begun, time.process_time() - cpu
    day.end()
    others = (time.process_time() - cpu) - (time.thread_time() - thread)
    return figures(day, hours, wall, spent, others, memory), day


def figures(day: Day, hours: float, wall: float, spent: float, others: float, memory: list[int]) -> dict[str, Any]:
    """``wall``, ``spent``, ``others``: seconds; CPU seconds of the process, and of its other threads. ``memory``: bytes after each hour."""
    parts = list((day.root / layout.FOLDER).rglob("*.parquet"))
    warm = memory[WARM_UP:] or memory[-1:]
    rows = {
        kind: sum(market.rows.count[kind] for life in day.lives for market in life.output.harvest.markets.values()) for kind in layout.KINDS
    }
    return {
        "hours": hours,
        "speed": hours * 3600 / wall,
        "core_speed": hours * 3600 / spent,
        "trades": day.trades,
        "updates": day.updates,
        "ms_per_1000_trades": 1e6 * day.trade_s / day.trades,
        "ms_per_1000_updates": 1e6 * day.update_s / day.updates,
        "features_us_per_trade": median(day.output.ns[Trade]) / 1000,
        "features_us_per_update": median(day.output.ns[BookDelta]) / 1000,
        "parts": len(parts),
        "ms_per_part": 1000 * others / len(parts),
        "part_us_per_event": 1e6 * others / (day.trades + day.updates),
        "bytes": sum(path.stat().st_size for path in parts),
        "tape_bytes": sum(one.file.stat().st_size for one in segments(day.root)),
        "rows": rows,
        "rss": memory,
        "growth": max(warm) / min(warm) - 1,
    }


def judged(root: Path) -> tuple[Report, dict[str, Any]]:
    """What ``validate`` says, in a process of its own as ``ofi-record`` starts it; and what that costs."""
    out = root / layout.REPORTS / "day.json"
    begun = time.perf_counter()
    words = [sys.executable, "-m", "tape_monitor.quality", "--root", str(root), "--output", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise click.ClickException(done.stderr or done.stdout)
    cost = {"report_s": time.perf_counter() - begun, "report_peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}
    return decode(out.read_bytes()), {**cost, "report": done.stdout}


@click.command()
@click.option("--hours", type=float, default=24.0, show_default=True, help="Tape time.")
@click.option("--symbols", default="BTCUSDT,ETHUSDT", show_default=True)
@click.option("--root", type=click.Path(path_type=Path), help="Keep tapes, parts and report here.")
@click.option("--speed", type=float, default=100.0, show_default=True, help="At least so many times as fast as the clock.")
@click.option("--plant", is_flag=True, help="12 holes, 300 trades sent twice, 5 late stretches, a clock step, a dead hour.")
@click.option("--check", is_flag=True, help="Make every part again from the tape and compare.")
@click.option("--json", "as_json", is_flag=True)
def main(hours: float, symbols: str, root: Path | None, speed: float, plant: bool, check: bool, as_json: bool) -> None:
    """A day of ofi-record in minutes."""
    named = tuple(symbols.split(","))
    defects = harvest_defects.planned(hours, named) if plant else Defects()
    with tempfile.TemporaryDirectory(prefix="tape-harvest-") as spare:
        folder = root or Path(spare)
        found, day = run(folder, hours, named, lambda line: print(line, file=sys.stderr, flush=True), defects=defects)
        report, cost = judged(folder)
        found |= cost | {"unlike": harvest_defects.unlike(defects, day.doubled, report, day.begin_ms, named)}
        if check:
            again = folder / "again"
            made = derive.write(folder, again)
            found["differing"] = sum((folder / name).read_bytes() != (again / name).read_bytes() for name in made)
    print(json.dumps(found) if as_json else show(found))
    flat = found["growth"] <= 0.05 or plant
    good = report.verdict == ("missed" if plant else "good") and not found["unlike"]
    sys.exit(0 if found["core_speed"] >= speed and flat and good and not found.get("differing") else 1)


def show(found: dict[str, Any]) -> str:
    """The figures, for people."""
    rows = ", ".join(f"{kind} {count:,}" for kind, count in found["rows"].items())
    lines = [
        f"{found['hours']:g} h of tape time, {found['speed']:.0f} times as fast as the clock ({found['core_speed']:.0f} with a core of its own)",
        f"{found['trades']:,} trades: {found['ms_per_1000_trades']:.1f} ms CPU for 1,000 (stamp, tape, decode, features, rows);"
        f" features and rows alone {found['features_us_per_trade']:.1f} µs each (median)",
        f"{found['updates']:,} book updates: {found['ms_per_1000_updates']:.1f} ms CPU for 1,000;"
        f" features and rows alone {found['features_us_per_update']:.1f} µs each (median)",
        f"{found['parts']:,} parts, {size(found['bytes'])} (tape {size(found['tape_bytes'])}): {found['ms_per_part']:.1f} ms CPU a part, in its own thread;"
        f" {found['part_us_per_event']:.1f} µs for each trade or update",
        f"rows: {rows}",
        f"memory after each hour: {' '.join(size(one) for one in found['rss'])}; from hour {WARM_UP + 1} on within {found['growth']:.1%}",
        "",
        found["report"].rstrip(),
        "",
        f"the report took {found['report_s']:.1f} s and {size(found['report_peak'])}",
        *(found["unlike"] or ["it tells what was planted, each of it and nothing else"]),
    ]
    if "differing" in found:
        lines.append(f"made again from the tape: {found['differing']} parts differ")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
