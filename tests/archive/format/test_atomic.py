"""A reader sees the old file or the new one; nothing of a failed write stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tape_archive.format.atomic import make_folder, sweep, write_atomic
from tape_archive.format.errors import StoreError


def test_replaces_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new", durable=False)
    assert path.read_bytes() == b"new" and [one.name for one in path.parent.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="taken"):
        write_atomic(tmp_path / "taken", b"x")
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        make_folder(tmp_path / "file" / "folder")


def test_sweeps_only_what_the_dead_left(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    gone = [f".a.{int(dead.stdout)}.tmp", ".b.99999999999999999999999.tmp"]
    kept = [f".a.{os.getpid()}.tmp", ".a.tmp", "a.1.tmp", ".a.x.tmp"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    assert sweep(tmp_path) == 2
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(kept)
    assert sweep(tmp_path / "none") == 0
