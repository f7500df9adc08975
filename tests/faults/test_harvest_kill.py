"""kill -9 of ofi-record at random moments: what stands there after the next start is what an undisturbed reader makes of the same tape."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tape_archive.format import harvest as layout
from tape_archive.format.layout import segments
from tests.support.harvests import files, rows, same, whole
from tests.support.recording import arguments, environment, simulator

KILLS = int(os.environ.get("TAPE_KILLS", "100")) // 20


class Life:
    """One life of ofi-record, in a process of its own. Parts of 1 s, so that a life writes some."""

    def __init__(self, root: Path, endpoints: dict[str, str]) -> None:
        self.root = root
        self.bytes = self.size()
        command = [sys.executable, "-m", "tape_collectors.cli.ofi_record", "--root", str(root), "--rotate-seconds", "1"]
        options = ["--metrics-port", "-1", "--report-hours", "0", "--log-level", "info"]
        self.process = subprocess.Popen([*command, *options, *arguments(endpoints)], env=environment(), stderr=subprocess.DEVNULL)

    def size(self) -> int:
        return sum(segment.file.stat().st_size for segment in segments(self.root))

    def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not true():
            if time.monotonic() > until or self.process.poll() is not None:
                self.kill()
                raise AssertionError(f"it did not come to be so in {seconds:g} s")
            time.sleep(0.02)

    def records(self) -> None:
        """Until something of this life is on the tape."""
        self.until(lambda: self.size() > self.bytes + 4000)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Until what earlier lives left is made; then SIGTERM."""
        self.records()
        # After a hundred lives there are thousands of parts, each brought to the disk.
        self.until(self._made, 900.0)
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0

    def _made(self) -> bool:
        last = max((self.root / layout.RUN_LOGS).glob("*.log"), key=lambda path: path.stat().st_mtime).read_text()
        mine = last.rpartition("recording symbols")[2]
        return "parts of earlier runs are complete" in mine


def campaign(root: Path, kills: int, endpoints: dict[str, str]) -> None:
    chance = random.Random(11)
    for _ in range(kills):
        life = Life(root, endpoints)
        life.records()
        time.sleep(chance.random() * 2.0)
        life.kill()
    Life(root, endpoints).end()
    assert same(root) > 100
    for symbol in ("BTCUSDT", "ETHUSDT"):
        whole(root, symbol)
        begins = [row for row in rows(root, "events", symbol) if row["event_type"] == "begin"]
        assert len(begins) == kills + 1
        assert rows(root, "cvd", symbol)[-1]["gaps"] <= kills + 1, "a gap a kill at most, and one for the day's beginning"
    # All of it again, by recorders that are killed while they make it.
    undisturbed = {name: (root / name).read_bytes() for name in files(root)}
    shutil.rmtree(root / layout.FOLDER)
    (root / layout.CHECKPOINT).unlink()
    for _ in range(max(2, kills // 5)):
        life = Life(root, endpoints)
        life.records()
        time.sleep(chance.random() * 0.5)
        life.kill()
    Life(root, endpoints).end()
    assert {name: (root / name).read_bytes() for name in undisturbed} == undisturbed
    same(root, "once more")


def test_a_few_kills(tmp_path: Path) -> None:
    with simulator(tmp_path, "--venues", "binance_usdm") as endpoints:
        campaign(tmp_path / "data", KILLS, endpoints)


@pytest.mark.long
def test_a_hundred_kills(tmp_path: Path) -> None:
    with simulator(tmp_path, "--venues", "binance_usdm") as endpoints:
        campaign(tmp_path / "data", 100, endpoints)
