"""Two writers of one table: the second says who the first is, and that nobody has to do anything."""

from __future__ import annotations

import os
from pathlib import Path

from click.testing import CliRunner

from tape_archive.format.errors import Busy
from tape_archive.format.lock import Lock
from tape_collectors.cli.fill import command


def test_a_second_writer_of_tables_is_told_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with Lock(tmp_path / "state" / "tables-binance_usdm-public.lock"):
        done = CliRunner().invoke(command, ["--root", str(tmp_path)])
    assert isinstance(done.exception, Busy), done.output
    assert f"another process writes these tables: process {os.getpid()} holds" in str(done.exception)
    assert "recording here" not in str(done.exception)
