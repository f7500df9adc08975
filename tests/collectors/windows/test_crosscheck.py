"""The independent looks must not weaken the recorder that they look at."""

from __future__ import annotations

import subprocess
import sys

from tests.support.recording import environment

CODE = """
import sys
from tape_collectors.windows.crosscheck import _client, read_chain
from tape_collectors.venues.polymarket.feed import ClobFeed
before = sys.getrecursionlimit()
_client("http://127.0.0.1:1")
try:
    read_chain("http://127.0.0.1:1", "0x" + "00" * 32)
except Exception:
    pass
assert sys.getrecursionlimit() == before, sys.getrecursionlimit()
for opening in (b"[", b'{"market":'):
    print(ClobFeed().receive(1, opening * 200_000)[0])
"""


def test_a_frame_nested_without_end_does_not_end_the_process_that_has_web3() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert done.returncode == 0 and done.stdout.count("Unknown") == 2, done.stderr[-500:]
