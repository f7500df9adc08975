"""Many processes share one small cache; they are killed while they fill it; the disk is full. Never a wrong byte."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.access.test_remote import archived
from tests.support.recording import environment
from tests.support.windows import FIRST, LENGTH, content, slug

READER = """
import hashlib, json, os, random, sys
from tape_access import DataAccessor
from tape_archive.stores import LocalStore

vps, mac, cache, seed, count, windows, limit = sys.argv[1:8]
class Counting(LocalStore):
    def chunks(self, path, offset=0, size=None):
        if ".jsonl.zst" in path:
            with open(vps + "/../fetched", "a") as file:
                file.write(path + "\\n")
        return super().chunks(path, offset, size)
from pathlib import Path
data = DataAccessor(mac, cache, remote=Counting(Path(vps)), cache_max_size_mb=float(limit), prefetch=int(os.environ.get("AHEAD", "0")))
sums = json.load(open(vps + "/../sums.json"))
chance = random.Random(int(seed))
first, length = int(os.environ["FIRST"]), int(os.environ["LENGTH"])
for _ in range(int(count)):
    start = first + chance.randrange(int(windows)) * length
    path = data.get_window_jsonl(start)
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == sums[f"btc-updown-15m-{start}"], path
    print(start, flush=True)
"""


class Share:
    """An archive, a cache, and processes that read at random."""

    def __init__(self, folder: Path, windows: int, holds: float) -> None:
        self.folder, self.windows = folder, windows
        self.sums = archived(folder / "vps", windows, books=6)
        (folder / "sums.json").write_text(json.dumps(self.sums))
        (folder / "mac").mkdir()
        self.cache = folder / "cache"
        self.limit = holds * max(len(content(FIRST + n * LENGTH, books=6)) for n in range(windows))

    def start(self, seed: int, count: int, ahead: int = 0) -> subprocess.Popen[str]:
        places = [str(self.folder / "vps"), str(self.folder / "mac"), str(self.cache)]
        numbers = [str(seed), str(count), str(self.windows), str(self.limit / 1024 / 1024)]
        extra = {"FIRST": str(FIRST), "LENGTH": str(LENGTH), "AHEAD": str(ahead)}
        return subprocess.Popen(
            [sys.executable, "-c", READER, *places, *numbers],
            env=environment() | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def bytes(self) -> int:
        total = 0
        for path in self.cache.glob("????-??/*.jsonl"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def check(self) -> None:
        """What is stored is what was recorded."""
        for path in self.cache.glob("????-??/*.jsonl"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == self.sums[path.stem]


def test_eight_processes_and_a_cache_that_holds_twenty(tmp_path: Path) -> None:
    share = Share(tmp_path, 60, 20.2)
    children = [share.start(seed, 200) for seed in range(8)]
    most = 0
    while any(child.poll() is None for child in children):
        most = max(most, share.bytes())
        time.sleep(0.02)
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * 8, said
    assert all(len(lines.splitlines()) == 200 for lines in said)
    assert 0 < most <= share.limit
    share.check()
    assert not list(share.cache.rglob("*.tmp"))


def test_no_window_is_fetched_twice_at_once(tmp_path: Path) -> None:
    share = Share(tmp_path, 12, 100)
    children = [share.start(1, 40) for _ in range(6)]
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * 6, said
    fetched = (tmp_path / "fetched").read_text().split()
    assert len(fetched) == len(set(fetched)) == len({line for lines in said for line in lines.split()})


def kills(tmp_path: Path, count: int, seed: int) -> None:
    share = Share(tmp_path, 40, 15.2)
    chance = random.Random(seed)
    running: list[subprocess.Popen[str]] = []
    for number in range(count):
        while len(running) < 3:
            running.append(share.start(chance.randrange(10**6), 10**6, ahead=2))
        time.sleep(chance.uniform(0.05, 0.4))
        child = running.pop(chance.randrange(3))
        child.kill()
        said = child.communicate()[0]
        assert "Traceback" not in said, said
        assert share.bytes() <= share.limit, number
    for child in running:
        child.kill()
        said = child.communicate()[0]
        assert "Traceback" not in said, said
    last = share.start(7, 100)
    assert last.communicate()[0].count("\n") == 100 and last.returncode == 0
    share.check()
    assert not list(share.cache.rglob("*.tmp"))


def test_killed_while_it_is_filled(tmp_path: Path) -> None:
    kills(tmp_path, 8, 3)


@pytest.mark.long
def test_killed_a_hundred_times_while_it_is_filled(tmp_path: Path) -> None:
    kills(tmp_path, 100, 4)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk(tmp_path: Path) -> None:
    """The cache on a disk that holds a few windows, though it was given more: windows are served all the same."""
    share = Share(tmp_path, 30, 1000)
    share.cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(share.cache)], check=True)
    try:
        child = share.start(5, 60)
        said = child.communicate()[0]
        assert child.returncode == 0, said
        assert "for this process only" in said
        share.check()
    finally:
        subprocess.run(["umount", "-l", str(share.cache)], check=True)
    assert slug(FIRST)
