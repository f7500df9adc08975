"""``make bench``: frames a second and CPU for each message, beside the floor and beside cryptofeed, on the same frames in one run.

Two processors: the load server on one, the contender on the other. Interleaved rounds; medians; ratios are what counts.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: frames a second: a whole market's, and the most that one connection should carry without lag
PACE, BUSY = 15_000.0, 60_000.0
PEERS = ("cryptofeed", "stored")
PEER = Path(".venv-cryptofeed")
WORK = {
    "count": "receive only (picows)",
    "floor": "receive, stamp, append to zstd",
    "sequence": "the recorder: tape, sequence of every stream",
    "coalesced": "the same, sockets looked at every 5 ms",
    "whole": "the recorder: tape, every book, CSV at 1 Hz",
    "ticks": "the same, and tick Parquet",
    "cryptofeed": "cryptofeed: books, trades, quotes; nothing stored",
    "stored": "cryptofeed: the same, and what it received stored raw",
}


def contend(kind: str, folder: Path, frames: int, warm: int, number: int) -> dict[str, Any]:
    """One round of one contender."""
    ports = folder / "ports.json"
    root = folder / f"{kind}-{number}"
    if kind in PEERS:
        root.mkdir()
        command = [str(PEER / "bin" / "python"), "benchmarks/peer.py", str(ports), str(frames), str(warm)]
        command += [str(root)] if kind == "stored" else []
    else:
        command = [sys.executable, "-m", "benchmarks.client", kind, str(ports), str(root), str(frames), str(warm)]
    if shutil.which("taskset") and (os.cpu_count() or 1) > 1:
        command = ["taskset", "-c", "1", *command]
    ca = json.loads(ports.read_text())["ca"]
    environment = {**os.environ, **({"SSL_CERT_FILE": ca, "REQUESTS_CA_BUNDLE": ca} if ca else {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    shutil.rmtree(root, ignore_errors=True)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(f"{kind}: {done.stderr.strip()[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def peer() -> bool:
    """cryptofeed from PyPI in an environment of its own."""
    if not (PEER / "bin" / "python").exists():
        print("making an environment for cryptofeed …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        done = subprocess.run(
            [str(PEER / "bin" / "pip"), "install", "-q", "cryptofeed", "uvloop"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"cryptofeed could not be installed: {done.stderr.strip()[-200:]}")
    return subprocess.run([str(PEER / "bin" / "python"), "-c", "import cryptofeed"], capture_output=True, check=False).returncode == 0


def used(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def session(frames: int, warm: int, symbols: int, rate: float, rounds: int, kinds: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Interleaved rounds over one load server."""
    results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="tape-bench-") as name:
        folder = Path(name)
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.serve", name, str(symbols), str(rate), "1"])
        try:
            while not (folder / "ports.json").exists():
                if server.poll() is not None:
                    raise RuntimeError("the load server did not start")
                time.sleep(0.1)
            size = json.loads((folder / "ports.json").read_text())["mean"]
            pace = f"{rate:,.0f}/s" if rate else "saturated"
            print(f"{frames:,} frames after {warm:,} not counted, {symbols} symbols, mean {size:.0f} B, TLS, {pace}", flush=True)
            for number in range(rounds):
                for kind in kinds:
                    try:
                        before = used(server.pid)
                        # A peer needs many times as long for each message, and flat out it reads more than it handles, into memory.
                        count = frames // 4 if kind in PEERS and not rate else frames
                        row = contend(kind, folder, count, warm, number)
                        results[kind].append(row | {"server_us": (used(server.pid) - before) / (frames + warm) * 1e6})
                        print(f"  round {number + 1}: {kind:10} {row['us']:7.2f} µs a message", flush=True)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        print(f"  {kind} did not finish: {str(error)[-300:]}")
        finally:
            server.terminate()
            server.wait()
    return results


def show(results: dict[str, list[dict[str, Any]]], rate: float = 0.0) -> None:
    """A table, and the ratios. ``rate``: the pace at which the frames were sent, 0 for as fast as they were read."""
    middle = {
        kind: {key: statistics.median(r[key] for r in runs if r.get(key) is not None) for key in runs[0] if runs[0][key] is not None}
        for kind, runs in results.items()
        if runs
    }
    print(f"  {'':52} {'CPU µs/msg':>11} {'msg/s':>10} {'RSS MiB':>8} {'÷ floor':>8}")
    for kind, row in middle.items():
        ratio = row["us"] / middle["floor"]["us"] if "floor" in middle else 0
        spread = [run["us"] for run in results[kind]]
        print(
            f"  {WORK[kind]:52} {row['us']:11.2f} {row['rate']:10,.0f} {row['rss_mib']:8.0f} {ratio:8.2f}   ({min(spread):.2f}–{max(spread):.2f})"
        )
    if "count" in middle:
        print(f"  the simulator's load server: {1e6 / middle['count']['server_us']:,.0f} frames/s of one core, over TLS")
    for kind, row in middle.items() if rate else ():
        behind = "" if row["rate"] > 0.97 * rate else "  FALLS BEHIND"
        print(f"  {WORK[kind]:52} {row['us'] * rate / 1e4:5.1f} % of a core at {rate:,.0f}/s; took {row['rate']:,.0f}/s{behind}")
    for kind in ("sequence", "coalesced", "whole"):
        if (row := middle.get(kind)) and "write_p50_ms" in row:
            print(
                f"  {kind}: socket read → write p50 {row['write_p50_ms']:.3f} ms, p99 {row['write_p99_ms']:.3f} ms; → fsync p50 "
                f"{row.get('fsync_p50_ms', 0) / 1e3:.2f} s, p99 {row.get('fsync_p99_ms', 0) / 1e3:.2f} s; CSV rows {row['csv_rows']:.0f}; books not proven at the end {row['unproven']:.0f}"
            )
    for other in ("cryptofeed", "stored"):
        if other in middle and "whole" in middle:
            ratios = ", ".join(
                f"{WORK[kind]} {middle[other]['us'] / middle[kind]['us']:.1f}"
                for kind in ("sequence", "coalesced", "whole")
                if kind in middle
            )
            print(f"  {WORK[other]} ÷ {ratios}")


def main() -> None:
    frames, rounds = int(os.environ.get("BENCH_FRAMES", "200000")), int(os.environ.get("BENCH_ROUNDS", "3"))
    peers = [*PEERS] if peer() else []
    show(session(frames, frames // 2, 20, 0.0, rounds, ["count", "floor", "sequence", "whole", "ticks", *peers]))
    print()
    paced = ["floor", "sequence", "coalesced", "whole", "ticks", *peers]
    show(session(frames // 2, 300_000, 600, PACE, 1, paced), PACE)
    print()
    show(session(2 * frames, frames, 20, BUSY, 1, ["floor", "whole", *peers[:1]]), BUSY)


if __name__ == "__main__":
    main()
