"""``tape demo``: the whole way from a venue's frame to a strategy's read, on this machine, without a network.

It does what a user would do, with the very commands that a user has, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tape_archive.format.errors import LocalError, TapeError
from tape_archive.format.layout import segments, windows
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_archive.human import duration, size

WINDOW_S = 15


class _Demo:
    def __init__(self, root: Path, seconds: float) -> None:
        self.root = root
        self.seconds = max(30.0, seconds)
        self.cut_s = self.seconds * 0.45
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- processes ---------------------------------------------------------------------------------------------------------

    def start(self, name: str, module: str, *arguments: str) -> None:
        """One command in the background, its log in the demo's folder."""
        log = (self.root / f"{name}.log").open("wb")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TAPE_", "POLY_"))}
        self.processes[name] = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=log, stderr=log, env=environment)
        log.close()

    def tape(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
        """One ``tape`` command to its end; gives what it printed."""
        done = subprocess.run([sys.executable, "-m", "tape_archive", *arguments], capture_output=True, text=True, check=False)
        if done.returncode not in allowed:
            raise LocalError(f"tape {' '.join(arguments[:1])} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def stop(self, name: str, how: int = signal.SIGTERM) -> int:
        """End a command; gives its exit code."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(how)
        # It drains within 5 s; a machine that does twenty things at once gives it less of them.
        return process.wait(timeout=60)

    # -- the minute --------------------------------------------------------------------------------------------------------

    def endpoints(self) -> dict[str, str]:
        """Wait for the simulator."""
        path = self.root / "endpoints.json"
        for _ in range(200):
            if path.exists():
                found: dict[str, str] = json.loads(path.read_text())
                return found
            if self.processes["simulator"].poll() is not None:
                break
            time.sleep(0.1)
        raise LocalError(f"the simulator did not start; see {self.root / 'simulator.log'}")

    def record(self) -> None:
        """A minute of recording, with one cut."""
        ready = str(self.root / "endpoints.json")
        cut = f"disconnect@{self.cut_s:.0f}s"
        self.start(
            "simulator",
            "tape_archive",
            "simulate",
            "--port-file",
            ready,
            "--window-seconds",
            str(WINDOW_S),
            "--resolve-seconds",
            "4",
            "--fault",
            cut,
        )
        addresses = self.endpoints()
        flags = [word for name, url in addresses.items() for word in ("--endpoint", f"{name}={url}")]
        data = ["--root", str(self.root / "data"), *flags]
        self.start("cex-record", "tape_collectors.cli.cex_record", *data, "--split-hours", "0", "--log-json")
        poly = ["--timeframes", f"{WINDOW_S}s", "--lead-seconds", "10", "--result-after-seconds", "2", "--check-every-seconds", "15"]
        self.start("poly-record", "tape_collectors.cli.poly_record", *data, *poly, "--rpc", addresses["polymarket.rpc"], "--log-json")
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < self.seconds:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise LocalError(f"{name} ended with {process.returncode}; see {self.root / (name + '.log')}")
            self.progress(passed)
            time.sleep(0.5 if sys.stdout.isatty() else 5.0)
        self.progress(self.seconds)
        if sys.stdout.isatty():
            click.echo()
        click.echo("Stopping the recorders, then reading back what they wrote …")
        codes = {name: self.stop(name) for name in ("cex-record", "poly-record", "simulator")}
        if any(codes.values()):
            raise LocalError(f"a recorder did not end well: {codes}")

    def progress(self, passed: float) -> None:
        """One line of what is being recorded."""
        parts = []
        for name in ("cex", "poly"):
            try:
                status = json.loads((self.root / "data" / "state" / f"{name}.status.json").read_bytes())
            except (FileNotFoundError, json.JSONDecodeError):
                continue
            parts.append(f"{name}: {status['frames']:,} frames, {status['connections']} sockets, {status['reconnects']} reconnects")
        done = int(passed / self.seconds * 20)
        text = f"[{'#' * done}{'.' * (20 - done)}] {passed:3.0f} s  {'  |  '.join(parts) or 'the recorders are starting'}"
        click.echo(f"\r{text}\x1b[K" if sys.stdout.isatty() else text, nl=not sys.stdout.isatty())

    # -- what came of it -----------------------------------------------------------------------------------------------------

    def summary(self) -> bool:
        """Print what a person wants to see; True if all is as it should be."""
        data = self.root / "data"
        click.echo("\n== files\n" + self.tape("ls", "--root", str(data)).rstrip())
        marks, frames = self.counts(data)
        rows = sum(1 for path in (data / "logs").glob("*.csv") for _ in path.open()) - 1
        click.echo(f"\n== on the tapes\n{frames:,} frames; marks: " + ", ".join(f"{name} {count}" for name, count in sorted(marks.items())))
        click.echo(f"{rows:,} CSV rows")
        explained = self.coverage(data, marks)
        resolved = self.windows(data)
        click.echo("\n== rebuild\n" + self.tape("rebuild", "--root", str(data), "--check", allowed=(0, 1)).rstrip())
        rebuilt = json.loads(self.tape("rebuild", "--root", str(data), "--check", "--json", allowed=(0, 1)))
        identical = bool(rebuilt) and all(file["identical"] for file in rebuilt)
        sound = json.loads(self.tape("verify", "--root", str(data), "--json", allowed=(0, 1, 3)))
        whole = all(file["state"] in ("sealed", "live") for file in sound)
        click.echo("\n== summary")
        for text, good in (
            ("gaps explained", explained),
            ("rebuild identical", identical),
            ("windows resolved and read back", resolved),
            (
                f"every file sound ({len(sound)} files, {size(sum(path.stat().st_size for path in data.rglob('*') if path.is_file()))})",
                whole,
            ),
        ):
            click.echo(f"{'ok ' if good else 'BAD'}  {text}")
        click.echo(f"The data lie in {data}")
        return explained and identical and resolved and whole

    def counts(self, data: Path) -> tuple[Counter[str], int]:
        """Marks by kind, and frames, over all tapes."""
        marks: Counter[str] = Counter()
        frames = 0
        for path in [*(segment.file for segment in segments(data)), *windows(data)]:
            for line in map(parse, read_lines(path)):
                if line.mark is None:
                    frames += line.request is None
                else:
                    marks[line.mark] += 1
        return marks, frames

    def coverage(self, data: Path, marks: Counter[str]) -> bool:
        """Whether every gap is the cut that we made, and every one has a mark."""
        found: list[dict[str, Any]] = json.loads(self.tape("coverage", "--root", str(data), "--json", allowed=(0, 3)))
        gaps = [(row, gap) for row in found for gap in row["gaps"]]
        unexplained = [(row, gap) for row, gap in gaps if not gap["why"].startswith("disconnect: connection lost")]
        complete = sum(row["complete"] for row in found)
        click.echo(f"\n== coverage\n{len(found)} streams, {complete} complete, {len(gaps)} gaps")
        reasons = Counter(gap["why"] for _, gap in gaps)
        for why, count in reasons.most_common():
            longest = max(gap["to_ns"] - gap["from_ns"] for _, gap in gaps if gap["why"] == why)
            click.echo(f"  {count} x {why} (at most {duration(longest).strip()} between two frames)")
        if gaps and not unexplained:
            click.echo("  that is our cut of every socket, found on each stream that may have lost something")
        if any(row["channel"] in ("trade", "depth@100ms") and row["complete"] for row in found):
            click.echo("  streams that the venue numbers are complete in spite of the cut where no number is missing")
        for row, gap in unexplained[:5]:
            click.echo(f"  not explained: {row['venue']} {row['symbol']} {row['channel']}: {gap['why']}")
        return bool(gaps) and not unexplained and marks["close"] > 0

    def windows(self, data: Path) -> bool:
        """Read the resolved windows back as a strategy would; show one."""
        shown = good = 0
        for path in windows(data):
            summary = json.loads(self.tape("window", "--root", str(data), "--json", path.name.partition(".jsonl")[0]))
            if not summary["marks"].get("seal"):
                continue
            good += summary["strike"] is not None and summary["result"] in ("Up", "Down") and summary["marks"].get("chain", 0) > 0
            shown += 1
            if shown == 2:
                click.echo("\n== one window, read back\n" + self.tape("window", "--root", str(data), summary["slug"]).rstrip())
        click.echo(f"{shown} windows ended, {good} of them with strike, result and confirmation on chain")
        return shown > 0 and shown == good


@click.command("demo")
@click.option("--dir", "folder", metavar="DIR", help="Where to put it.  [default: demo/<time>]")
@click.option("--seconds", default=60.0, show_default=True, help="How long to record (at least 30).")
def command(folder: str | None, seconds: float) -> int:
    """A minute of everything, without a network: venues, recorders, a cut, and what came of it."""
    root = Path(folder) if folder else Path("demo") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    (root / "data").mkdir(parents=True, exist_ok=False)
    demo = _Demo(root, seconds)
    click.echo(f"Simulated venues and two recorders for {demo.seconds:.0f} s; every socket is cut after {demo.cut_s:.0f} s.")
    try:
        demo.record()
        good = demo.summary()
    except (TapeError, subprocess.TimeoutExpired) as error:
        click.echo(f"error: {error}", err=True)
        good = False
    finally:
        for name in list(demo.processes):
            demo.stop(name, signal.SIGKILL)
    return 0 if good else 1
