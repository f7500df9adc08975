"""Reading windows over SSH through a proxy of 50 ms round trip, beside the usual ways, in one run. ``python -m benchmarks.access`` (make
bench-access). Needs sshd; sshfs, rclone and paramiko are measured where they are installed."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tape_access import DataAccessor, StoreUnavailable
from tape_archive.archiver.move import Mover
from tape_archive.archiver.plan import Move, month
from tape_archive.format import manifest
from tape_archive.format.compression import Compression
from tape_archive.format.tape import register
from tape_archive.stores import LocalStore
from tests.support.sshd import Sshd, sshd
from tests.support.windows import FIRST, LENGTH, slug
from tests.support.wire import Wire, wire

ROUND_TRIP = 0.050
WINDOW = 400_000
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))


def noise(start: int, size: int = WINDOW) -> bytes:
    """A window's worth of lines that does not compress: what is transferred is what is said."""
    chance = random.Random(start)
    head = b'{"t":%d,"s":"tape","mark":"tape","format":1,"venue":"polymarket","window":{"slug":"%s","start":%d}}\n' % (
        start * 10**9,
        slug(start).encode(),
        start,
    )
    lines = [head]
    while sum(map(len, lines)) < size - 800:
        lines.append(b'{"t":%d,"s":"clob-1","m":"%s"}\n' % (start * 10**9 + len(lines), chance.randbytes(370).hex().encode()))
    return b"".join(lines)


def prepare(root: Path, count: int) -> list[int]:
    """Windows in the archive; stored plain, as 400 KB that travel."""
    starts = [FIRST + n * LENGTH for n in range(count)]
    hot = root / "real_hot"
    hot.mkdir(parents=True)
    moves = []
    for start in starts:
        path = hot / f"{slug(start)}.jsonl"
        path.write_bytes(noise(start))
        register(path)
        moves.append(Move(path.name, path.stat().st_size, month(start)))
    Mover(hot, LocalStore(root / "real_archive"), "", Compression("none")).move(moves, lambda moved: None)
    return starts


def median(what: Callable[[int], float], rounds: int = ROUNDS) -> float:
    return statistics.median(what(n) for n in range(rounds))


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def cold_path(start: int) -> str:
    return f"real_archive/{month(start)}/{slug(start)}.jsonl"


class Bench:
    """One server, one proxy, one archive."""

    def __init__(self, folder: Path, server: Sshd, between: Wire, starts: list[int]) -> None:
        self.folder, self.server, self.between, self.starts = folder, server, between, starts
        self.number = 0
        self.options = ["-i", str(server.key), "-o", f"UserKnownHostsFile={server.known_hosts}", "-o", "BatchMode=yes"]

    def accessor(self, prefetch: int = 0) -> DataAccessor:
        """With an empty cache."""
        self.number += 1
        mac = self.folder / "mac"
        mac.mkdir(exist_ok=True)
        store = self.server.store(self.folder / "vps", self.between.port)
        return DataAccessor(mac, self.folder / f"cache{self.number}", remote=store, prefetch=prefetch)

    # -- one cold window -------------------------------------------------------------------------------------------------

    def ours(self, n: int) -> float:
        with self.accessor() as data:
            data.list_all_windows()
            data.get_window_jsonl(self.starts[50])
            return timed(lambda: data.get_window_jsonl(self.starts[n]))

    def ours_connecting(self, n: int) -> float:
        """The first window of a process that knows the list: connect, ask, fetch."""
        with self.accessor() as first:
            first.list_all_windows()
            again = DataAccessor(
                self.folder / "mac", first.cache.folder, remote=self.server.store(self.folder / "vps", self.between.port), prefetch=0
            )
            with again:
                return timed(lambda: again.get_window_jsonl(self.starts[n]))

    def scp(self, n: int) -> float:
        source = f"127.0.0.1:{self.folder}/vps/{cold_path(self.starts[n])}"
        command = ["scp", "-q", "-P", str(self.between.port), *self.options, source, str(self.folder / "scp")]
        return timed(lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL))

    @contextlib.contextmanager
    def sshfs(self) -> Iterator[Path]:
        place = self.folder / "mount"
        place.mkdir(exist_ok=True)
        options = f"IdentityFile={self.server.key},UserKnownHostsFile={self.server.known_hosts},reconnect,ServerAliveInterval=15,cache=yes,kernel_cache"
        subprocess.run(["sshfs", "-p", str(self.between.port), f"127.0.0.1:{self.folder}/vps", str(place), "-o", options], check=True)
        try:
            yield place
        finally:
            subprocess.run(["fusermount3" if shutil.which("fusermount3") else "fusermount", "-u", str(place)], check=True)

    @contextlib.contextmanager
    def rclone(self) -> Iterator[Path]:
        place = self.folder / "rclone"
        place.mkdir(exist_ok=True)
        remote = f":sftp,host=127.0.0.1,port={self.between.port},user={self.server.user},key_file={self.server.key}:{self.folder}/vps"
        environment = os.environ | {"RCLONE_CONFIG": "/dev/null"}
        child = subprocess.Popen(
            ["rclone", "mount", remote, str(place)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(100):
                if place.is_mount():
                    break
                time.sleep(0.1)
            yield place
        finally:
            subprocess.run(["fusermount3" if shutil.which("fusermount3") else "fusermount", "-u", str(place)], check=False)
            child.terminate()
            child.wait()

    def mounted(self, mount: contextlib.AbstractContextManager[Path]) -> tuple[float, float]:
        """First and second read."""
        with mount as place:
            list((place / "real_archive" / month(self.starts[0])).iterdir())
            first = [timed((place / cold_path(self.starts[n])).read_bytes) for n in range(10, 10 + ROUNDS)]
            second = [timed((place / cold_path(self.starts[n])).read_bytes) for n in range(10, 10 + ROUNDS)]
        return statistics.median(first), statistics.median(second)

    def paramiko(self) -> tuple[float, float]:
        """``getfo`` on an open connection, and with the size known (prefetch)."""
        import paramiko

        client = paramiko.SSHClient()
        client.load_host_keys(str(self.server.known_hosts))
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1", self.between.port, self.server.user, key_filename=str(self.server.key), allow_agent=False, look_for_keys=False
        )
        sftp = client.open_sftp()

        def known(path: str) -> None:
            with sftp.open(path) as file:
                file.prefetch(WINDOW)
                file.read()

        paths = [f"{self.folder}/vps/{cold_path(self.starts[n])}" for n in range(20, 20 + ROUNDS)]
        plain = statistics.median(timed(lambda path=path: sftp.getfo(path, io.BytesIO())) for path in paths)  # type: ignore[misc]
        ahead = statistics.median(timed(lambda path=path: known(path)) for path in paths)  # type: ignore[misc]
        client.close()
        return plain, ahead

    # -- many ------------------------------------------------------------------------------------------------------------

    def ten(self, prefetch: int, think: float) -> tuple[float, list[float]]:
        """Ten windows in sequence; the time without what the strategy thinks itself."""
        with self.accessor(prefetch) as data:
            data.list_all_windows()
            spent = []
            for start in self.starts[60:70]:
                spent.append(timed(lambda start=start: data.get_window_jsonl(start)))  # type: ignore[misc]
                time.sleep(think)
            return sum(spent), spent


def cold(bench: Bench) -> None:
    print(f"\none window of {WINDOW // 1000} KB, {ROUND_TRIP * 1000:.0f} ms round trip, medians of {ROUNDS}")
    ours = median(bench.ours)
    rows = [
        ("DataAccessor, connection open", ours),
        ("DataAccessor, connecting included", median(bench.ours_connecting)),
        ("scp", median(bench.scp)),
    ]
    with contextlib.suppress(ImportError):
        plain, ahead = bench.paramiko()
        rows += [("paramiko getfo, connection open", plain), ("paramiko, size known, prefetch", ahead)]
    for name, tool, mount in (("sshfs", "sshfs", bench.sshfs), ("rclone mount", "rclone", bench.rclone)):
        if shutil.which(tool):
            first, second = bench.mounted(mount())
            rows += [(f"{name}, first read", first), (f"{name}, second read", second)]
    for name, seconds in rows:
        print(f"{name:40}{seconds:8.3f} s {seconds / ROUND_TRIP:6.1f} round trips {seconds / ours:7.1f} x ours")


def sequence(bench: Bench) -> None:
    print("\nten windows in sequence")
    for name, prefetch, think in (
        ("without prefetch", 0, 0.0),
        ("prefetch 3, no pause between", 3, 0.0),
        ("prefetch 3, 40 ms of work on each", 3, 0.04),
    ):
        total, spent = min(bench.ten(prefetch, think) for _ in range(3))
        slow = max(spent[2:]) * 1000
        print(f"{name:40}{total:8.3f} s   slowest after the second {slow:6.1f} ms   each: {' '.join(f'{one * 1000:.0f}' for one in spent)}")


def warm(bench: Bench) -> None:
    with bench.accessor() as data:
        data.get_window_jsonl(bench.starts[0])
        times = sorted(timed(lambda: data.get_window_jsonl(bench.starts[0])) for _ in range(5000))
        path = data.get_window_jsonl(bench.starts[0])
        opened = sorted(timed(lambda: path.open("rb").close()) for _ in range(2000))
        read = sorted(timed(path.read_bytes) for _ in range(500))
    print("\nwarm")
    print(f"get_window_jsonl                        p50 {times[2500] * 1e6:7.0f} us   p99 {times[4950] * 1e6:7.0f} us")
    print(f"open() of it                            p50 {opened[1000] * 1e6:7.0f} us   p99 {opened[1980] * 1e6:7.0f} us")
    print(f"reading its {WINDOW // 1000} KB                      p50 {read[250] * 1e6:7.0f} us   p99 {read[495] * 1e6:7.0f} us")


def listing(bench: Bench, count: int = 100_000) -> None:
    """Windows that only the manifests tell of."""
    root = bench.folder / "many"
    months: dict[str, list[manifest.Entry]] = {}
    for n in range(count):
        start = FIRST - n * LENGTH
        name = f"{slug(start)}.jsonl.zst"
        entry = manifest.Entry(
            name=name,
            bytes=60_000,
            sha256=f"{n:064x}",
            lines=1,
            frames=1,
            first_ns=1,
            last_ns=1,
            gaps=0,
            plain_bytes=1,
            plain_sha256=f"{n:064x}",
        )
        months.setdefault(month(start), []).append(entry)
    old = time.time() - 86_400
    for name, entries in months.items():
        folder = root / "real_archive" / name
        folder.mkdir(parents=True)
        (folder / manifest.NAME).write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in entries))
        for path in (folder / manifest.NAME, folder, folder.parent):
            os.utime(path, (old, old))
    place = bench.folder / "cache-many"
    store = bench.server.store(root, bench.between.port)
    with DataAccessor(bench.folder / "mac", place, remote=store, prefetch=0) as data:
        first = timed(data.list_all_windows)
        warm_s = statistics.median(timed(data.list_all_windows) for _ in range(20))
        unchanged = statistics.median(timed(lambda: data.list_all_windows(use_cache=False)) for _ in range(5))
        changed = root / "real_archive" / month(FIRST) / manifest.NAME
        lines = changed.read_bytes()
        changed.write_bytes(lines.replace(b"60000", b"60001", 1))
        one = timed(lambda: data.list_all_windows(use_cache=False))
        changed.write_bytes(lines)
        assert len(data.list_all_windows()) == count
        size = len(lines)
    with DataAccessor(bench.folder / "mac", place, remote=store, prefetch=0) as again:
        started = timed(again.list_all_windows)
    print(f"\nlist_all_windows over {count:,} windows in {len(months)} months")
    print(f"first time, nothing known               {first:8.3f} s")
    print(f"warm                                    {warm_s * 1000:8.2f} ms")
    print(f"looked at anew, nothing changed         {unchanged * 1000:8.1f} ms {unchanged / ROUND_TRIP:5.1f} round trips")
    print(f"one month changed ({size // 1000} KB)             {one * 1000:8.1f} ms {one / ROUND_TRIP:5.1f} round trips")
    print(f"a new process, connecting included      {started:8.3f} s")


def bulk(bench: Bench, folder: Path) -> None:
    """A CSV of 40 MB, beside OpenSSH's own sftp."""
    path = folder / "vps" / "logs" / "cex_20260110_00.csv"
    path.parent.mkdir()
    path.write_bytes(random.Random(1).randbytes(20_000_000).hex().encode())
    size = path.stat().st_size
    print(f"\nbulk: {size / 1e6:.0f} MB")
    for delay in (0.0, 0.160):
        with wire(bench.server.port, delay / 2) as between:
            port = between.port if delay else bench.server.port
            store = bench.server.store(folder / "vps", port)
            store.stat("logs/cex_20260110_00.csv")
            ours = min(timed(lambda: sum(map(len, store.chunks("logs/cex_20260110_00.csv")))) for _ in range(3))  # noqa: B023
            store.close()
            command = ["sftp", "-q", "-P", str(port), *bench.options, f"127.0.0.1:{path}", str(folder / "bulk")]
            theirs = min(timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(3))  # noqa: B023
            nothing = [*command[:-2], f"127.0.0.1:{folder}/known", str(folder / "nothing")]
            connecting = timed(lambda: subprocess.run(nothing, check=False, capture_output=True))  # noqa: B023
        print(
            f"{delay * 1000:4.0f} ms round trip   ours {size / ours / 1e6:7.1f} MB/s   sftp {size / max(theirs - connecting, 1e-3) / 1e6:7.1f} MB/s (without its connecting), {size / theirs / 1e6:7.1f} with"
        )


def hung(bench: Bench) -> None:
    """A mount whose server was stopped: how long a read takes that it hangs, with SSH beside it and without."""
    server, root = bench.server, bench.folder / "vps"
    print("\na mount that hangs (SIGSTOP of its sftp-server), no delay on the line")
    with wire(server.port) as near:
        bench = Bench(bench.folder, server, near, bench.starts)
        with bench.sshfs() as place:
            alone = DataAccessor(place, bench.folder / "hung-alone", prefetch=0)
            both = DataAccessor(place, bench.folder / "hung-both", remote=server.store(root), prefetch=0)
            for data in (alone, both):
                data.get_window_jsonl(bench.starts[0])
            both.close()
            for pid in server.sessions("sftp-server"):
                os.kill(pid, signal.SIGSTOP)
            try:
                first = timed(lambda: both.get_window_jsonl(bench.starts[1]))
                then = timed(lambda: both.get_window_jsonl(bench.starts[2]))
                fails = timed(lambda: _refused(alone, bench.starts[1]))
                cached = timed(lambda: alone.get_window_jsonl(bench.starts[0]))
            finally:
                for pid in server.sessions("sftp-server"):
                    os.kill(pid, signal.SIGCONT)
                alone.close()
                both.close()
    print(f"window by SSH instead                   {first:8.3f} s, the next {then:.3f} s (budget: 3 s)")
    print(f"no SSH: an error that says so           {fails:8.3f} s; what is cached {cached * 1000:.1f} ms")


def _refused(data: DataAccessor, start: int) -> None:
    try:
        data.get_window_jsonl(start)
    except StoreUnavailable:
        return
    raise AssertionError("a mount that hangs gave a window")


def importing() -> None:
    code = "import time; t = time.perf_counter(); import tape_access; print(time.perf_counter() - t)"
    seconds = statistics.median(
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout) for _ in range(5)
    )
    print(f"\nimport of tape_access: {seconds:.3f} s")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-access-") as name:
        folder = Path(name)
        starts = prepare(folder / "vps", 80)
        with sshd(folder / "sshd") as server, wire(server.port, ROUND_TRIP / 2) as between:
            bench = Bench(folder, server, between, starts)
            cold(bench)
            sequence(bench)
            warm(bench)
            listing(bench)
            bulk(bench, folder)
            if shutil.which("sshfs"):
                hung(bench)
    importing()


if __name__ == "__main__":
    main()
