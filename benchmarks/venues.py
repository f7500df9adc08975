"""``python -m benchmarks.venues [seconds] [pace]``: every venue in one recorder, for minutes: rows on the grid, memory, CPU.

The simulator takes one processor and is the limit: what it sent is printed. The recorder has the other. The end is a judgement; the exit
code is 1 if something is not met. Budgets: design/budgets.md, *Ingest* (paced, tape and books and tables: a core, 250 MB).
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from tape_collectors.simulator.world import EXCHANGES

HZ = 1
#: of a tick in memory: price and amount, and its share of the times and ids of its update (``market.ticks.Part``)
BYTES_OF_A_ROW = 24


def pinned(core: int) -> list[str]:
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 and os.access("/usr/bin/taskset", os.X_OK) else []


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    pace = sys.argv[2] if len(sys.argv) > 2 else "10"
    with tempfile.TemporaryDirectory(prefix="tape-venues-") as name:
        folder = Path(name)
        ports, root, venues = folder / "ports.json", folder / "data", ",".join(EXCHANGES)
        simulate = [sys.executable, "-m", "tape_archive", "simulate", "--venues", venues, "--symbols", "BTCUSDT,ETHUSDT", "--pace", pace]
        server = subprocess.Popen([*pinned(0), *simulate, "--port-file", str(ports)], stdout=subprocess.DEVNULL)
        try:
            while not ports.exists():
                time.sleep(0.1)
            endpoints = [word for item in json.loads(ports.read_text()).items() for word in ("--endpoint", "=".join(item))]
            record = [sys.executable, "-m", "tape_collectors.cli.cex_record", "--root", str(root), "--venues", venues, "--hz", str(HZ)]
            options = ["--ticks", "--split-hours", "0", "--metrics-port", "-1", "--rest-every", "60", "--log-level", "warning"]
            recorder = subprocess.Popen([*pinned(1), *record, *options, *endpoints])
            try:
                met = watch(recorder, seconds, root)
            finally:
                recorder.kill()
                recorder.wait()
        finally:
            server.terminate()
            server.wait()
    sys.exit(0 if met else 1)


def watch(recorder: subprocess.Popen[bytes], seconds: float, root: Path) -> bool:
    """Samples of memory every second, CPU over the whole time, then the rows. Gives whether all is as it should be."""
    process, memory = psutil.Process(recorder.pid), []
    while not (root / "state" / "cex.status.json").exists() and recorder.poll() is None:
        time.sleep(0.1)
    time.sleep(10)
    begun, used = time.monotonic(), sum(process.cpu_times()[:2])
    frames = json.loads((root / "state" / "cex.status.json").read_text())["frames"]
    while time.monotonic() - begun < seconds and recorder.poll() is None:
        time.sleep(1)
        memory.append(process.memory_info().rss / 2**20)
    wall, used = time.monotonic() - begun, sum(process.cpu_times()[:2]) - used
    status = json.loads((root / "state" / "cex.status.json").read_text())
    recorder.terminate()
    code, frames = recorder.wait(30), status["frames"] - frames
    third = len(memory) // 3
    first, last = sum(memory[:third]) / third, sum(memory[-third:]) / third
    print(
        f"{wall:.0f} s, {frames:,} frames, {frames / wall:,.0f}/s; CPU {used / wall:.0%} of a core, {used / frames * 1e6:.1f} µs a frame; exit {code}"
    )
    print(
        f"memory: first third {first:.0f} MiB, last third {last:.0f} MiB, most {max(memory):.0f} MiB; gaps {status['gaps']}, unknown {status['unknown']}"
    )
    with (root / "logs" / "cex.csv").open() as file:
        rows = list(csv.DictReader(file))
    ticks = sorted({float(row["t_sample_unix"]) for row in rows})
    missing = round((ticks[-1] - ticks[0]) * HZ) + 1 - len(ticks)
    errors = Counter((row["venue"], row["err"]) for row in rows[len(EXCHANGES) * 2 * 10 :] if row["err"])
    print(
        f"rows: {len(rows):,} of {len(ticks) * 2 * len(EXCHANGES):,} ({len(ticks):,} ticks, {missing} missing); with err after the first ten seconds: {dict(errors)}"
    )
    size = sum(path.stat().st_size for path in (root / "raw").rglob("*.zst")) / 2**20
    parts = [path.stat().st_size for path in root.rglob("part-*.parquet")]
    # Ticks wait in columns for the end of their hour (or of ``all_rows``): they grow with the rows, and are no leak. From the middle of the
    # first third to that of the last they were two thirds of all.
    held = sum(pq.ParquetFile(path).metadata.num_rows for path in root.rglob("part-*.parquet"))
    waiting = held * 2 / 3 * BYTES_OF_A_ROW / 2**20
    print(f"ticks: {held:,} rows; {waiting:.0f} MiB of the growth are ticks that wait for the end of their part")
    whole = {tick: 0 for tick in ticks}
    for row in rows:
        whole[float(row["t_sample_unix"])] += bool(row["err"]) != bool(row["best_bid"] and row["best_ask"])
    verdicts = {
        "every tick of the grid has its rows, each with numbers or a reason": not missing and set(whole.values()) == {2 * len(EXCHANGES)},
        "no row without a book after the first ten seconds": not errors,
        "memory is flat but for ticks that wait (last third at most a tenth above the first)": last - waiting <= 1.1 * first,
        "memory below 250 MB": max(memory) <= 250 * 1e6 / 2**20,
        "CPU within one core": used / wall <= 1.0,
        "no gap and no unknown frame, since none was sent": status["gaps"] == status["unknown"] == 0,
        "ended by SIGTERM with 0": code == 0,
    }
    print(f"tapes {size:.1f} MiB; tick Parquet {sum(parts) / 2**20:.1f} MiB in {len(parts)} parts")
    for text, met in verdicts.items():
        print(f"{'met    ' if met else 'NOT MET'} {text}")
    return all(verdicts.values())


if __name__ == "__main__":
    main()
