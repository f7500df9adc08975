"""A run of ``archiver`` as its user sees it: the bar, the table, the log; a disk that is really full; and retention in the same run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tape_archive.format.errors import DiskFull
from tests.archive.archiver.test_archiver import LATER, archive, held
from tests.support.recording import environment
from tests.support.windows import FIRST, LENGTH, hot, record, slug

NOW = str(LATER)


def test_each_file_is_logged_and_a_dry_run_logs_nothing(tmp_path: Path) -> None:
    record(tmp_path, 3)
    hot(tmp_path, FIRST + 3 * LENGTH, resolved=False)
    log = tmp_path / "state" / "archiver.log"
    assert archive(tmp_path, "--dry-run").returncode == 3 and not log.exists()
    ran = archive(tmp_path)
    assert ran.returncode == 3 and ran.stderr == ""
    lines = log.read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    "
    for n in range(3):
        assert sum(bool(re.fullmatch(f"{stamp}moved {slug(FIRST + n * LENGTH)}.jsonl to 2026-01: .+ -> .+", line)) for line in lines) == 1
    assert re.fullmatch(f"{stamp}stays {slug(FIRST + 3 * LENGTH)}.jsonl: not resolved: .+", lines[3])
    assert re.fullmatch(f"{stamp}done: 3 windows moved, 0 tapes packed, 0 days compacted, 0 files deleted", lines[4]) and len(lines) == 5
    archive(tmp_path)
    assert len(log.read_text().splitlines()) == 7, "it is written on"


def test_the_table_adds_up(tmp_path: Path) -> None:
    record(tmp_path, 4)
    record(tmp_path, 2, first=FIRST - 40 * 96 * LENGTH)
    ran = archive(tmp_path)
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert rows[0] == ["month", "files", "before", "after", "ratio"] and [row[:2] for row in rows[1:3]] == [
        ["2025-11", "2"],
        ["2026-01", "4"],
    ]
    assert "moved 6 windows" in ran.stdout


def on_a_terminal(*command: str) -> tuple[int, str]:
    """What a command shows on a terminal."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(command, env=environment(TERM="xterm"), stdin=follower, stdout=follower, stderr=follower, close_fds=True)
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(leader, 65536):
            shown += part
    os.close(leader)
    return child.wait(), shown.decode()


def test_a_terminal_sees_how_far_it_is(tmp_path: Path) -> None:
    record(tmp_path, 130)
    command = [sys.executable, "-m", "tape_archive", "archive", "--root", str(tmp_path), "--now", NOW]
    code, shown = on_a_terminal(*command, "--dry-run")
    assert code == 0 and "measuring" in shown and "100%" in shown and "would move 130 windows" in shown
    code, shown = on_a_terminal(*command)
    assert code == 0 and "archiving" in shown and "moved 130 windows" in shown
    steps = {int(one) for one in re.findall(r"(\d+)%", shown)}
    assert 100 in steps and len(steps) > 2, steps
    assert "%" not in archive(tmp_path).stderr


@contextlib.contextmanager
def disk(place: Path, size: str) -> Iterator[None]:
    """A small one of its own."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_disk_that_is_full_ends_it_and_what_was_done_is_told(tmp_path: Path) -> None:
    """The archive on a disk that holds a part of it: nothing is lost, the report is whole, and with room it goes on where it stood."""
    root, cold = tmp_path / "vps", tmp_path / "cold"
    sums = record(root, 150)
    before = {path.name: path.read_bytes() for path in (root / "real_hot").glob("btc*")}
    with disk(cold, "400k"):
        for _ in range(2):
            ran = archive(root, "--archive-dir", str(cold), "--json")
            assert ran.returncode == DiskFull.exit_code and "Traceback" not in ran.stderr and "free some space" in ran.stderr, ran.stderr
            assert ran.stderr.count("\n") == 1
            told = json.loads(ran.stdout)
            assert "No space left" in told["error"]
            for name, wanted in sums.items():
                here, there = root / "real_hot" / f"{name}.jsonl", cold / "2026-01" / f"{name}.jsonl.zst"
                assert (here.read_bytes() == before[here.name]) if here.exists() else hashlib.sha256(held(there)).hexdigest() == wanted
            assert not list(cold.rglob("*.tmp"))
        left = list((root / "real_hot").glob("btc*"))
        assert 0 < len(left) < 150
        assert "ended early: " in (root / "state" / "archiver.log").read_text()
        subprocess.run(["mount", "-o", "remount,size=8m", str(cold)], check=True)
        ran = archive(root, "--archive-dir", str(cold))
        assert ran.returncode == 0 and f"moved {len(left)} windows" in ran.stdout, ran.stderr
        assert {path.name.removesuffix(".jsonl.zst"): hashlib.sha256(held(path)).hexdigest() for path in cold.rglob("*.zst")} == sums


def test_what_was_moved_before_it_ended_is_in_the_table(tmp_path: Path) -> None:
    """The target stops being a folder between two months."""
    record(tmp_path, 2, first=FIRST - 40 * 96 * LENGTH)
    record(tmp_path, 2)
    (tmp_path / "real_archive").mkdir()
    (tmp_path / "real_archive" / "2026-01").write_text("no folder")
    ran = archive(tmp_path)
    assert ran.returncode != 0 and ran.stderr.count("\n") == 1 and "Traceback" not in ran.stderr
    assert "2025-11" in ran.stdout and "moved 2 windows" in ran.stdout


def test_retention_in_the_same_run(tmp_path: Path) -> None:
    record(tmp_path, 3)
    old = record(tmp_path, 3, first=FIRST - 40 * 96 * LENGTH)
    settings, copies = tmp_path / "tapeline.yaml", tmp_path / "copies"
    ran = archive(tmp_path, "--prune")
    assert (
        ran.returncode == 2 and "retention" in ran.stderr and (tmp_path / "real_hot").exists() and not (tmp_path / "real_archive").exists()
    )
    settings.write_text(f"archiver:\n  target: {copies}\n  retention:\n    windows: 60\n")
    copies.mkdir()
    # Nothing lies there: nothing may go.
    ran = archive(tmp_path, "--prune", "--config", str(settings))
    assert ran.returncode == 3 and "moved 6 windows" in ran.stdout and "not in" in ran.stdout and "deleted 0 files" in ran.stdout
    subprocess.run(["cp", "-r", str(tmp_path / "real_archive"), str(copies)], check=True)
    ran = archive(tmp_path, "--prune", "--config", str(settings), "--dry-run")
    assert ran.returncode == 0 and "would delete 3 files" in ran.stdout, ran.stdout
    assert len(list((tmp_path / "real_archive").rglob("*.zst"))) == 6
    ran = archive(tmp_path, "--prune", "--config", str(settings), "--json")
    gone = json.loads(ran.stdout)["pruned"]["deleted"]
    assert ran.returncode == 0 and {Path(one["path"]).name.partition(".")[0] for one in gone} == set(old)
    assert len(list((tmp_path / "real_archive").rglob("*.zst"))) == 3
    assert (
        f"deleted real_archive/2025-11/{next(iter(old))}.jsonl.zst: verified in {copies}" in (tmp_path / "state/archiver.log").read_text()
    )
