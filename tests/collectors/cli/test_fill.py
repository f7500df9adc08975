"""Two writers of one table: the second says who the first is, and that nobody has to do anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tape_archive.format.errors import Busy
from tape_archive.format.lock import Lock
from tape_collectors.cli.fill import command
from tests.support.recording import environment


def test_a_second_writer_of_tables_is_told_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with Lock(tmp_path / "state" / "tables-binance_usdm-public.lock"):
        done = CliRunner().invoke(command, ["--root", str(tmp_path)])
    assert isinstance(done.exception, Busy), done.output
    assert f"another process writes these tables: process {os.getpid()} holds" in str(done.exception)
    assert "recording here" not in str(done.exception)


@pytest.mark.parametrize("lives", [True, False])
def test_the_writer_of_the_next_recorder_waits(tmp_path: Path, lives: bool) -> None:
    """``lives``: whether its own recorder does, until the lock is free."""
    words = [sys.executable, "-m", "tape_archive", "fill", "--follow", "--root", str(tmp_path)]
    with Lock(tmp_path / "state" / "tables-binance_usdm-market.lock"):
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        assert child.stdin is not None and child.stderr is not None
        assert "waits for the one before" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        if not lives:
            assert child.communicate(timeout=60)[1].startswith("error: another process writes these tables")
    if lives:
        assert child.communicate(timeout=60)[1] == ""
    assert child.returncode == (0 if lives else 11)
