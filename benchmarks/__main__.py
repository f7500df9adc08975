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

PEER = Path(".venv-cryptofeed")
WORK = {
    "count": "receive only (picows)",
    "floor": "receive, stamp, append to zstd",
    "sequence": "the recorder: tape, sequence of every stream",
    "whole": "the recorder: tape, every book, CSV at 1 Hz",
    "cryptofeed": "cryptofeed: books, trades, quotes; nothing stored",
}


def contend(kind: str, folder: Path, frames: int, number: int) -> dict[str, Any]:
    """One round of one contender."""
    ports = folder / "ports.json"
    root = folder / f"{kind}-{number}"
    if kind == "cryptofeed":
        command = [str(PEER / "bin" / "python"), "benchmarks/peer.py", str(ports), str(frames)]
    else:
        command = [sys.executable, "-m", "benchmarks.client", kind, str(ports), str(root), str(frames)]
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


def session(frames: int, symbols: int, rate: float, rounds: int, tls: bool, kinds: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Interleaved rounds over one load server."""
    results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="tape-bench-") as name:
        folder = Path(name)
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.serve", name, str(frames), str(symbols), str(rate), str(int(tls))])
        try:
            while not (folder / "ports.json").exists():
                if server.poll() is not None:
                    raise RuntimeError("the load server did not start")
                time.sleep(0.1)
            size = json.loads((folder / "ports.json").read_text())["bytes"] / frames
            print(
                f"{frames:,} frames of {symbols} symbols, mean {size:.0f} B, {'TLS' if tls else 'plain'}, {'saturated' if not rate else f'{rate:,.0f}/s'}"
            )
            for number in range(rounds):
                for kind in kinds:
                    try:
                        results[kind].append(contend(kind, folder, frames, number))
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        print(f"  {kind} did not finish: {str(error)[-300:]}")
        finally:
            server.terminate()
            server.wait()
    return results


def show(results: dict[str, list[dict[str, Any]]]) -> None:
    """A table, and the ratios."""
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
    for kind in ("sequence", "whole"):
        if kind in middle and "write_p50_ms" in middle[kind]:
            row = middle[kind]
            print(
                f"  {kind}: socket read → write p50 {row['write_p50_ms']:.3f} ms, p99 {row['write_p99_ms']:.3f} ms; → fsync at most {row.get('fsync_max_s', 0):.2f} s; CSV rows {row['csv_rows']:.0f}"
            )
    if "cryptofeed" in middle and "whole" in middle:
        print(
            f"  cryptofeed ÷ the whole recorder: {middle['cryptofeed']['us'] / middle['whole']['us']:.1f}; ÷ tape and sequence: {middle['cryptofeed']['us'] / middle['sequence']['us']:.1f}"
        )


def main() -> None:
    frames, rounds = int(os.environ.get("BENCH_FRAMES", "200000")), int(os.environ.get("BENCH_ROUNDS", "3"))
    kinds = ["count", "floor", "sequence", "whole", *(["cryptofeed"] if peer() else [])]
    show(session(frames, 20, 0.0, rounds, True, kinds))
    show(session(frames // 2, 600, 15_000.0, 1, True, [kind for kind in kinds if kind != "count"]))


if __name__ == "__main__":
    main()
