"""From a venue's frame to a strategy's read on another machine: recorder, archiver, and DataAccessor over SFTP and over a mount (real sshd,
sshfs and FUSE). And a mount that hangs hangs nobody."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tape_access import DataAccessor, StoreUnavailable
from tape_access.mounted import MountStore, mount_of
from tape_archive.format.errors import NotFound
from tests.access.test_remote import archived, sha
from tests.support.recording import environment
from tests.support.sshd import Sshd, sshd
from tests.support.windows import FIRST, LENGTH, content, hot, slug

#: a read of a mount that hangs would wait for ever; the deadline is 2 s, and a busy machine has other things to do as well (how long it
#: takes is measured by benchmarks/access.py)
HANGS_S = 30.0

pytestmark = pytest.mark.skipif(not shutil.which("sshfs") or not Path("/dev/fuse").exists(), reason="needs sshfs and /dev/fuse")


@contextlib.contextmanager
def mounted(server: Sshd, there: Path, here: Path) -> Iterator[Path]:
    """A folder of the server, mounted as ``tape mount`` does it."""
    here.mkdir(parents=True, exist_ok=True)
    options = f"IdentityFile={server.key},UserKnownHostsFile={server.known_hosts},GlobalKnownHostsFile=/dev/null,reconnect,ServerAliveInterval=15,dir_cache=no"
    subprocess.run(["sshfs", "-p", str(server.port), f"{server.user}@127.0.0.1:{there}", str(here), "-o", options], check=True)
    try:
        yield here
    finally:
        for pid in server.sessions("sftp-server"):
            os.kill(pid, signal.SIGCONT)
        subprocess.run(["fusermount3" if shutil.which("fusermount3") else "fusermount", "-uz", str(here)], check=True)


def test_the_same_bytes_as_recorded_over_sftp_and_over_the_mount(tmp_path: Path) -> None:
    """A recorder against the simulator; the archiver; two readers."""
    root = tmp_path / "vps" / "data"
    command = [sys.executable, "-m", "tape_archive", "demo", "--dir", str(root.parent), "--seconds", "30"]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=400)
    # What it says of its own half minute (all resolved?) is not asked here: a machine that is busy enough is late.
    assert ran.returncode in (0, 1) and "The data lie in" in ran.stdout, ran.stdout + ran.stderr
    windows = {path.name.removesuffix(".jsonl"): path.read_bytes() for path in (root / "real_hot").glob("*.jsonl") if path.name[0] != "_"}
    assert len(windows) >= 4
    cold = subprocess.run(
        [
            sys.executable,
            "-m",
            "tape_archive",
            "archive",
            "--root",
            str(root),
            "--days",
            "0",
            "--unresolved-after",
            "0",
            "--unsealed",
            "--now",
            str(time.time() + 60),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    moved = list((root / "real_archive").rglob("*.zst"))
    assert cold.returncode == 0 and len([path for path in moved if path.name[0] != "_"]) == len(windows), cold.stdout + cold.stderr
    with sshd(tmp_path / "sshd") as server, mounted(server, root, tmp_path / "mount") as place:
        assert mount_of(place) == str(place) == mount_of(place / "real_hot" / "x") and mount_of(tmp_path) == ""
        readers = {
            "sftp": DataAccessor(tmp_path / "empty", tmp_path / "c1", remote=server.store(root)),
            "mount": DataAccessor(place, tmp_path / "c2"),
            "both": DataAccessor(place, tmp_path / "c3", remote=server.store(root)),
        }
        for name, data in readers.items():
            with data:
                assert {one.slug for one in data.windows()} == set(windows), name
                for one in data.windows():
                    path = data.get_window_jsonl(one.slug)
                    assert path.read_bytes() == windows[one.slug], (name, one.slug)
                    assert not mount_of(path)
                    assert data.read_window(one.slug).frames >= 0
                assert len(data.cex()) > 5, name


@pytest.fixture
def vps(tmp_path: Path) -> Iterator[tuple[Sshd, Path]]:
    archived(tmp_path / "vps", 3)
    hot(tmp_path / "vps", FIRST + 10 * LENGTH)
    with sshd(tmp_path / "sshd") as server:
        yield server, tmp_path / "vps"


def test_a_mount_that_hangs_hangs_nobody(vps: tuple[Sshd, Path], tmp_path: Path) -> None:
    server, root = vps
    with mounted(server, root, tmp_path / "mount") as place:
        alone = DataAccessor(place, tmp_path / "c1", prefetch=0)
        both = DataAccessor(place, tmp_path / "c2", remote=server.store(root), prefetch=0)
        assert sha(alone.get_window_jsonl(FIRST)) == sha(both.get_window_jsonl(FIRST))
        for pid in server.sessions("sftp-server"):
            os.kill(pid, signal.SIGSTOP)
        # The connection of its own hangs as well: it is a session of the same server. It is made anew.
        both.close()
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="hangs"):
            alone.get_window_jsonl(FIRST + LENGTH)
        assert time.monotonic() - begun < HANGS_S
        begun = time.monotonic()
        assert both.get_window_jsonl(FIRST + LENGTH).read_bytes() == content(FIRST + LENGTH)
        assert time.monotonic() - begun < HANGS_S
        with pytest.raises(StoreUnavailable, match="hangs"):
            alone.coverage(None, FIRST, FIRST + LENGTH)
        # And from then on it is not waited for at all.
        begun = time.monotonic()
        assert both.get_window_jsonl(FIRST + 10 * LENGTH).read_bytes() == content(FIRST + 10 * LENGTH)
        assert alone.get_window_jsonl(FIRST).read_bytes() == content(FIRST)
        assert time.monotonic() - begun < HANGS_S
        begun = time.monotonic()
        DataAccessor(place, tmp_path / "c3", remote=server.store(root)).list_all_windows()
        assert time.monotonic() - begun < HANGS_S
        alone.close()
        both.close()


def test_the_store_of_a_mount(vps: tuple[Sshd, Path], tmp_path: Path) -> None:
    server, root = vps
    with mounted(server, root, tmp_path / "mount") as place:
        store = MountStore(place, 1.0)
        names = [entry.name for entry in store.list("real_archive/2026-01")]
        assert f"{slug(FIRST)}.jsonl.zst" in names and store.alive()
        path = f"real_archive/2026-01/{slug(FIRST)}.jsonl.zst"
        raw = (root / path).read_bytes()
        assert store.read(path) == raw == b"".join(store.chunks(path)) and store.read(path, 5, 7) == raw[5:12]
        assert store.stat(path).bytes == len(raw) and store.stats([path, "none"])[1] is None
        with pytest.raises(NotFound):
            store.read("none")
        for pid in server.sessions("sftp-server"):
            os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert not store.alive() and time.monotonic() - begun < HANGS_S
        for pid in server.sessions("sftp-server"):
            os.kill(pid, signal.SIGCONT)
        for _ in range(50):
            if store.alive():
                break
            time.sleep(0.1)
        assert hashlib.sha256(store.read(path)).digest() == hashlib.sha256(raw).digest()
        store.close()
