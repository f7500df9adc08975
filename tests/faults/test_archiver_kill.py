"""The archiver is killed at random moments: no window is ever absent from both sides, none is corrupt, and the end is that of an
undisturbed run."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tape_archive.format.compression import plain
from tests.support.recording import environment
from tests.support.windows import FIRST, record

LATER = FIRST + 90 * 86_400


def start(root: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tape_archive", "archive", "--root", str(root), "--now", str(LATER)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file() and "state" not in path.parts
    }


class Watch:
    """Every window is hot or cold, and is what was recorded. A cold file is read when it is new."""

    def __init__(self, root: Path, sums: dict[str, str]) -> None:
        self.root, self.sums = root, sums
        self.read: dict[tuple[str, int, int], str] = {}

    def look(self) -> int:
        cold = {path.name.partition(".jsonl")[0]: path for path in (self.root / "real_archive").glob("????-??/*.jsonl.zst")}
        for slug, wanted in self.sums.items():
            hot = self.root / "real_hot" / f"{slug}.jsonl"
            if hot.exists():
                assert self.sum(hot) == wanted, f"{slug} is corrupt"
            if slug in cold:
                assert self.sum(cold[slug]) == wanted, f"{slug} is corrupt in the archive"
            assert hot.exists() or slug in cold, f"{slug} is on neither side"
        return len(cold)

    def sum(self, path: Path) -> str:
        seen = path.stat()
        key = str(path), seen.st_ino, seen.st_mtime_ns
        if key not in self.read:
            self.read[key] = hashlib.sha256(b"".join(plain(path.name, [path.read_bytes()]))).hexdigest()
        return self.read[key]


def moved(root: Path) -> tuple[int, int]:
    """Files in the archive, whole or not, and windows that are hot."""
    return sum(path.is_file() for path in (root / "real_archive").rglob("*")), sum(1 for _ in (root / "real_hot").glob("*.jsonl"))


def wait_for_work(root: Path, child: subprocess.Popen[bytes]) -> float:
    """Until the archiver has changed something, or ended; gives the seconds."""
    before, begun = moved(root), time.monotonic()
    while child.poll() is None and moved(root) == before:
        time.sleep(0.005)
    return time.monotonic() - begun


def campaign(tmp_path: Path, windows: int, kills: int, seed: int) -> int:
    chance = random.Random(seed)
    sums = record(tmp_path / "a", windows, books=4)
    shutil.copytree(tmp_path / "a", tmp_path / "new")
    assert start(tmp_path / "a").wait(600) == 0
    root, killed, lead = tmp_path / "b", 0, 1.0
    while killed < kills:
        if not root.exists():
            shutil.copytree(tmp_path / "new", root)
            watch = Watch(root, sums)
        child = start(root)
        # Some before there is anything to see; most from the first copy to the middle of the deletions.
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0.0, lead))
        else:
            lead = wait_for_work(root, child)
            time.sleep(chance.uniform(0.0, 0.12))
        killed += child.poll() is None
        child.kill()
        child.wait()
        if watch.look() == windows and not moved(root)[1]:
            assert start(root).wait(600) == 0
            assert tree(root) == tree(tmp_path / "a")
            shutil.rmtree(root)
    if root.exists():
        assert start(root).wait(600) == 0
        assert watch.look() == windows and tree(root) == tree(tmp_path / "a")
    return killed


def test_killed_at_random_moments(tmp_path: Path) -> None:
    assert campaign(tmp_path, 120, 12, seed=1) == 12


@pytest.mark.long
def test_killed_two_hundred_times_over_two_thousand_files(tmp_path: Path) -> None:
    assert campaign(tmp_path, 2000, 200, seed=2) == 200
