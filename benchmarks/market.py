"""``python -m benchmarks.market [seconds] [perpetuals] [rate] [store]``: the whole market in one recorder, and what its tables have at the end.

The simulator has one processor, the recorder the other; the writer of tables takes what is free of both. ``store``: parquet (the default), postgresql (a server of
its own is started), chdb, or none. At the end every row is compared with the simulator's own count and hash of what it sent.

``--trouble``: 40 symbols are listed and 15 delisted, the database is killed and brought back, the recorder itself is killed and begun again, three
connections are cut and three closed as after 24 hours (each group of streams has two sockets, so that loses nothing). What was sent while no
recorder lived is nowhere; so ``backfill`` runs at the end. ``market_proof`` says what is compared with what, and what must come out.
``--options=…``: further words for market-record, e.g. ``--options='--workers 2'``.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.market_proof import ask, finish, proof, result
from benchmarks.venues import pinned
from tests.support.postgres import Postgres

CHANNELS = 11


@contextlib.contextmanager
def store_of(kind: str, folder: Path) -> Iterator[tuple[str, Postgres | None]]:
    """The URL of a store that is there for the run, and its server."""
    if kind == "postgresql":
        server = Postgres()
        server.start()
        try:
            yield server.url(), server
        finally:
            server.stop()
    else:
        yield {"parquet": f"parquet://{folder / 'tables'}", "chdb": f"chdb://{folder / 'chdb'}", "none": "none"}[kind], None


class Watch:
    """CPU and memory of the recorder and of those that write tables, and how far the tables are behind, sampled every second."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.memory: list[tuple[float, float]] = []
        self.begun, self.wall = time.monotonic(), 0.0
        self._used = {"recorder": 0.0, "tables": 0.0}
        self._last: dict[int, tuple[str, float]] = {}
        self._delays = self._delayed()

    def sample(self, pid: int) -> None:
        """What they used since the last look; processes may be others then."""
        now: dict[int, tuple[str, float]] = {}
        memory = {"recorder": 0.0, "tables": 0.0}
        with contextlib.suppress(psutil.NoSuchProcess):
            recorder = psutil.Process(pid)
            for one in (recorder, *recorder.children()):
                what = "recorder" if one.pid == pid else "tables" if "fill" in one.cmdline() else ""
                if what == "tables" and one.pid not in self._last:
                    one.cpu_affinity([])
                if what:
                    now[one.pid] = what, sum(one.cpu_times()[:2])
                    memory[what] += one.memory_info().rss / 2**20
        for each, (what, used) in now.items():
            # The first look at a process only begins to count, but for one that was begun since.
            if self._last:
                self._used[what] += used - self._last.get(each, ("", 0.0))[1]
        self._last, self.wall = now, time.monotonic() - self.begun
        self.memory.append((memory["recorder"], memory["tables"]))

    def tell(self, frames: int) -> None:
        """What was seen."""
        for at, what in enumerate(("recorder", "tables")):
            used = self._used[what]
            most = max(one[at] for one in self.memory)
            print(f"{what + ':':9} {used / self.wall:.1%} of a core, {used / max(frames, 1) * 1e6:.1f} µs a frame, {most:.0f} MiB")
        print(f"{frames / self.wall:,.0f} frames/s; together {max(sum(one) for one in self.memory):.0f} MiB")
        delays = {bound: rows - self._delays.get(bound, 0) for bound, rows in self._delayed().items()}
        total = sum(delays.values())
        for share in (0.5, 0.99, 0.999) if total else ():
            within = next(bound for bound in sorted(delays) if sum(rows for at, rows in delays.items() if at <= bound) >= share * total)
            print(f"{share:.1%} of {total:,} rows are in the store at most {within:g} s after they were read")

    def _delayed(self) -> dict[float, int]:
        """Rows by the bound of how long they took into the store."""
        delays: dict[float, int] = {}
        for path in (self.root / "state").glob("tables-1-of-1-*.status.json"):
            for one in json.loads(path.read_text())["tapes"].values():
                for bound, rows in one["delays"]:
                    delays[bound or math.inf] = delays.get(bound or math.inf, 0) + rows
        return delays


class Recorder:
    """The process, and the next one after it was killed."""

    def __init__(self, root: Path, store: str, options: list[str]) -> None:
        self.root = root
        self.before = 0
        words = [sys.executable, "-m", "tape_collectors.cli.market_record", "--root", str(root), "--metrics-port", "-1"]
        self._command = [*pinned(1), *words, "--log-level", "warning", "--discovery-seconds", "5", *options]
        self._environment = os.environ | {"TAPE_STORE": store, "TAPE_DRAIN_S": "300", "TAPE_BACKFILL_EVERY_S": "0"}
        self.child = subprocess.Popen(self._command, env=self._environment)

    def frames(self) -> int:
        """Recorded so far, over all of them."""
        try:
            status = json.loads((self.root / "state" / "market.status.json").read_text())
        except (OSError, ValueError):
            return self.before
        return self.before + (int(status["frames"]) if status["pid"] == self.child.pid else 0)

    def kill(self) -> None:
        """SIGKILL, and the service manager's next start."""
        self.before = self.frames()
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        self.child = subprocess.Popen(self._command, env=self._environment)


def main() -> None:
    """Everything."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    more = next((shlex.split(word.partition("=")[2]) for word in sys.argv[1:] if word.startswith("--options=")), [])
    trouble = "--trouble" in sys.argv
    seconds, count, rate, kind = (words + ["120", "600", "15000", "parquet"][len(words) :])[:4]
    with (
        tempfile.TemporaryDirectory(prefix="tape-market-", dir=os.environ.get("BENCH_DIR")) as name,
        store_of(kind, Path(name)) as (store, database),
    ):
        folder = Path(name)
        ports, root = folder / "ports.json", folder / "data"
        simulate = [sys.executable, "-m", "tape_archive", "simulate", "--perpetuals", count, "--rate", rate, "--port-file", str(ports)]
        server = subprocess.Popen([*pinned(0), *simulate, "--weight-limit", "1000000"], stdout=subprocess.DEVNULL)
        try:
            while not ports.exists():
                time.sleep(0.1)
            endpoints = json.loads(ports.read_text())
            mine = [word for key, url in endpoints.items() if key.startswith("binance_usdm") for word in ("--endpoint", f"{key}={url}")]
            recorder = Recorder(root, store, [*mine, *(["--sockets", "2"] if trouble else []), *more])
            run(recorder, endpoints["binance_usdm.rest"], float(seconds), trouble, store, database, mine)
        finally:
            server.terminate()
            server.wait()


def run(recorder: Recorder, rest: str, seconds: float, trouble: bool, store: str, database: Postgres | None, endpoints: list[str]) -> None:
    """Record, and compare."""
    root, wanted = recorder.root, 0
    while not wanted or ask(f"{rest}/control/status")["streams"] < wanted:
        time.sleep(1)
        wanted = CHANNELS * sum(
            row["symbol"].endswith("USDT") and row["contractType"] == "PERPETUAL" for row in ask(f"{rest}/fapi/v1/exchangeInfo")["symbols"]
        )
        assert recorder.child.poll() is None, "the recorder ended"
    time.sleep(5)
    ask(f"{rest}/control/ledger/reset{'?ids=1' * trouble}", b"")
    frames = recorder.frames()
    watch = Watch(root)
    orders = {0.2: "list?count=40", 0.4: "delist?count=15", 0.75: "cut?count=3", 0.8: "cut?count=3&kind=close"} if trouble else {}
    acts = {0.6: recorder.kill} if trouble else {}
    acts |= {0.5: database.kill, 0.7: database.start} if trouble and database is not None else {}
    while (passed := time.monotonic() - watch.begun) < seconds:
        time.sleep(1)
        assert recorder.child.poll() is None, "the recorder ended"
        watch.sample(recorder.child.pid)
        for share in [share for share in orders if passed > share * seconds]:
            print(f"after {passed:.0f} s: {orders[share]}: {str(ask(f'{rest}/control/{orders.pop(share)}', b''))[:80]}")
        for share in [share for share in acts if passed > share * seconds]:
            print(f"after {passed:.0f} s: {acts[share].__qualname__}")
            acts.pop(share)()
    frames = recorder.frames() - frames
    print(f"{wanted:,} streams, {seconds:.0f} s, store {store.partition(':')[0]}")
    watch.tell(frames)
    ask(f"{rest}/control/ledger/stop", b"")
    # What follows is between the recorder and REST; the simulator is not to be busy with what nobody hears.
    ask(f"{rest}/control/rate?count=100", b"")
    ledger = ask(f"{rest}/control/ledger")
    time.sleep(5)
    begun = time.monotonic()
    recorder.child.terminate()
    recorder.child.wait()
    print(f"recorder: exit {recorder.child.returncode}, {time.monotonic() - begun:.0f} s to seal the tapes and write all rows")
    if store == "none":
        return
    finish(root, store)
    if trouble:
        proof(root, store, rest, ledger, endpoints)
    else:
        result(store, ledger["rows"])


if __name__ == "__main__":
    main()
