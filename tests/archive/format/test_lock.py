"""One process a tape; the second is told who is first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tape_archive.format.errors import Busy
from tape_archive.format.lock import Lock

HOLDER = """
import sys
from pathlib import Path
from tape_archive.format.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_told_the_pid_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cex.lock"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(Busy, match=f"process {child.pid} holds") as busy, Lock(path):
        pass
    assert busy.value.exit_code == 11
    child.kill()
    child.wait()
    child.stdout.close()
    child.stdin.close()
    with Lock(path):
        assert path.read_text() == f"{os.getpid()}\n"
    with Lock(path):
        pass
