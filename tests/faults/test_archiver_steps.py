"""The archiver is killed before each thing that it makes last: every rename, every deletion, every fsync, one run each. Whoever reads
then finds every window, and the next run ends as if none had been killed."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tape_access import DataAccessor
from tape_archive.archiver.move import read_manifest
from tape_archive.format import manifest
from tape_archive.stores import LocalStore
from tests.archive.archiver.test_archiver import held
from tests.archive.archiver.test_prune import tapes
from tests.faults.test_archiver_kill import LATER, tree
from tests.support.recording import environment
from tests.support.windows import FIRST, LENGTH, record

#: the n-th of these calls is not made any more
KILLED = """
import os, signal, sys
left = int(sys.argv.pop(1))
def counted(call):
    def made(*arguments, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **more)
    return made
for name in ("replace", "rename", "unlink", "remove", "fsync"):
    setattr(os, name, counted(getattr(os, name)))
from tape_archive.commands.archive import main
main()
"""


def run(root: Path, steps: int) -> int:
    command = [sys.executable, "-c", KILLED, str(steps), "--root", str(root), "--now", str(LATER)]
    return subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=False).returncode


def sound(root: Path, sums: dict[str, str], raw: dict[str, str]) -> None:
    """All that readers rely on, here and far away."""
    hot, cold = root / "real_hot", root / "real_archive" / "2026-01"
    entered = read_manifest(LocalStore(root / "real_archive"), "2026-01")
    for slug, wanted in sums.items():
        here, there = hot / f"{slug}.jsonl", cold / f"{slug}.jsonl.zst"
        if here.exists():
            assert hashlib.sha256(here.read_bytes()).hexdigest() == wanted, slug
        if there.exists():
            assert hashlib.sha256(held(there)).hexdigest() == wanted, slug
        # Who reads from another machine goes by the manifest: a copy that it does not name is not seen.
        assert here.exists() or (there.exists() and there.name in entered), slug
    for name, entry in entered.items():
        assert manifest.sha256(cold / name) == entry.sha256, name
    assert all((hot / name).exists() for name in manifest.read(hot)), "a manifest names what is not there"
    for path, wanted in raw.items():
        assert hashlib.sha256(held(root / path)).hexdigest() == wanted, path
    wanted_starts = [FIRST + n * LENGTH for n in range(len(sums))]
    for far in (LocalStore(root), None):
        place = root.parent / f"mac-{root.name}"
        place.mkdir(exist_ok=True)
        with DataAccessor(place if far else root, root.parent / f"cache-{root.name}", remote=far, prefetch=0) as data:
            assert data.list_all_windows() == wanted_starts


def test_killed_before_every_step(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    sums = record(whole, 2, books=4)
    raw = {path: hashlib.sha256(held(whole / path)).hexdigest() for path in tapes(whole, 1)}
    before = tmp_path / "before"
    shutil.copytree(whole, before)
    assert run(whole, 10**6) == 0
    wanted, steps = tree(whole), 0
    while True:
        root = tmp_path / f"at-{steps}"
        shutil.copytree(before, root)
        code = run(root, steps)
        sound(root, sums, raw)
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        # And killed once more, as far as that run came.
        run(root, steps // 2)
        sound(root, sums, raw)
        assert run(root, 10**6) == 0
        assert tree(root) == wanted, f"killed before step {steps}"
        shutil.rmtree(root)
        steps += 1
    assert steps > 20
