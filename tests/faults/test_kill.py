"""kill -9 at random moments under load: nothing that ``write`` returned for is missing, and derived files are what a rebuild makes.

The child tells, through a pipe, each ``write`` that has returned (file and size); that is the measure, not what it meant to write.
"""

from __future__ import annotations

import filecmp
import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from tape_archive.format.layout import segments
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_collectors.series import derive
from tests.support.recording import arguments, environment, rows, simulator

KILLS = int(os.environ.get("TAPE_KILLS", "200"))

CHILD = """
import os, sys
from tape_archive.format import segment
told = int(sys.argv.pop(1))
write = segment.Appender._write
def tell(self, data):
    write(self, data)
    os.write(told, f"{self.path}\\t{self.size}\\n".encode())
segment.Appender._write = tell
from tape_collectors.cli.cex_record import main
main()
"""


def flushed(data: bytes) -> bytes:
    """What any zstd reader gets from a prefix of a file: the independent oracle of what was there."""
    out = []
    while data:
        decoder = zstandard.ZstdDecompressor().decompressobj()
        out.append(decoder.decompress(data))
        if not decoder.eof:
            break
        data = decoder.unused_data
    return b"".join(out)


class Recorder:
    """One life of cex-record, and what it told."""

    def __init__(self, root: Path, endpoints: dict[str, str]) -> None:
        reading, writing = os.pipe()
        command = [sys.executable, "-c", CHILD, str(writing), "--root", str(root), "--split-hours", "0", "--metrics-port", "-1"]
        options = ["--symbols", "BTCUSDT,ETHUSDT", "--hz", "5", "--log-level", "error"]
        self.process = subprocess.Popen([*command, *options, *arguments(endpoints)], env=environment(), pass_fds=[writing])
        os.close(writing)
        self.pipe = reading
        self.told = b""

    def wait_for_data(self, lines: int) -> None:
        """Until so many writes have returned."""
        until = time.monotonic() + 120
        while self.told.count(b"\n") < lines:
            assert time.monotonic() < until and self.process.poll() is None
            if select.select([self.pipe], [], [], 1.0)[0]:
                self.told += os.read(self.pipe, 65536)

    def kill(self) -> dict[Path, int]:
        """kill -9; gives the size of each file that a ``write`` had returned for."""
        self.process.kill()
        self.process.wait()
        while chunk := os.read(self.pipe, 65536):
            self.told += chunk
        os.close(self.pipe)
        sizes: dict[Path, int] = {}
        for line in self.told[: self.told.rfind(b"\n") + 1].splitlines():
            path, _, size = line.rpartition(b"\t")
            sizes[Path(path.decode())] = int(size)
        return sizes


def campaign(tmp_path: Path, kills: int, seed: int) -> None:
    root, chance = tmp_path / "data", random.Random(seed)
    promised: dict[Path, bytes] = {}
    with simulator(tmp_path, "--venues", "binance_spot,binance_usdm") as endpoints:
        for number in range(kills):
            recorder = Recorder(root, endpoints)
            recorder.wait_for_data(chance.randrange(1, 30))
            time.sleep(chance.random() * 0.25)
            for path, size in recorder.kill().items():
                data = path.read_bytes()
                assert len(data) >= size
                promised[path] = flushed(data[:size])
            if number % 20 == 19 or number == kills - 1:
                survivor = Recorder(root, endpoints)
                survivor.wait_for_data(10)
                check_tapes(promised)
                survivor.process.terminate()
                assert survivor.process.wait(60) == 0
                os.close(survivor.pipe)
    check_derived(root)


def check_tapes(promised: dict[Path, bytes]) -> None:
    """After the restart: every promised line is there, in order, and every file reads to its last whole line."""
    for path, before in promised.items():
        lines = list(read_lines(path))
        wanted = before[: before.rfind(b"\n") + 1].split(b"\n")[:-1]
        assert lines[: len(wanted)] == wanted
        last = 0
        for line in map(parse, lines):
            assert line.t > last
            last = line.t


def check_derived(root: Path) -> None:
    """Every row that the tapes make is in the CSV once, and no other; no temporary files."""
    derive.write(root, root / "again")
    assert filecmp.cmp(root / "logs" / "cex.csv", root / "again" / "logs" / "cex.csv", shallow=False)
    keys = [(row["t_sample_unix"], row["venue"], row["symbol"]) for row in rows(root / "logs" / "cex.csv")]
    assert len(keys) == len(set(keys)) and len(keys) > 20
    assert not [path for path in root.rglob("*") if path.name.endswith(".tmp")]
    assert all(parse(line) for segment in segments(root) for line in read_lines(segment.file, sealed=True))


@pytest.mark.parametrize("seed", range(4))
def test_two_hundred_kills(tmp_path: Path, seed: int) -> None:
    """Fifty in each of four recordings, which may run side by side."""
    campaign(tmp_path, max(1, KILLS // 4), seed)


@pytest.mark.long
def test_a_thousand_kills(tmp_path: Path) -> None:
    campaign(tmp_path, 1000, 7)
