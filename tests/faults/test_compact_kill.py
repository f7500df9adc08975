"""Compaction is killed at random moments, and readers read all the while: no row is ever missing, none is there twice, and the end is that of
an undisturbed run."""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest

from tape_access import DataAccessor
from tape_archive.archiver import days
from tape_archive.archiver.compact import Compactor
from tape_archive.archiver.days import Compacted
from tape_archive.format.ticks import of_folder
from tests.support.parts import DAY, MIDNIGHT, SECOND, day
from tests.support.recording import environment
from tests.support.sshd import Sshd, sshd

LATER = (MIDNIGHT + 30 * DAY) / SECOND


def start(root: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tape_archive", "archive", "--compact", "--root", str(root), "--now", str(LATER)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)


def digest(rows: pa.Table) -> tuple[int, str]:
    """Of all rows in their order."""
    one = hashlib.sha256()
    for name in ("ts_recv", "U", "price", "amount"):
        one.update(rows[name].to_numpy().tobytes())
    one.update(rows["side"].cast(pa.string()).to_pandas().str.cat().encode())
    return len(rows), one.hexdigest()


def tree(root: Path) -> dict[str, str]:
    found = sorted(path for path in (root / "orderbook_ticks").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def campaign(tmp_path: Path, markets: int, parts: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"M{number}USDT" for number in range(markets)]
    for name in names:
        day(tmp_path / "a", parts, 20, symbol=name)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    root = tmp_path / "b"
    reader = DataAccessor(root)
    wanted = {name: digest(reader.ticks("binance_spot", name, arrow=True)) for name in names}
    begun = time.monotonic()
    assert start(tmp_path / "a").wait(600) == 0
    whole = time.monotonic() - begun
    states = set()
    for _ in range(kills):
        child = start(root)
        # From before its first part to behind its last deletion.
        time.sleep(chance.uniform(0.35, 1.1) * whole / (1 if chance.random() < 0.5 else 2))
        child.kill()
        child.wait()
        for name in names:
            assert digest(reader.ticks("binance_spot", name, arrow=True)) == wanted[name], name
        states.add(len(tree(root)))
        if states and len(tree(root)) == markets:
            # All is done: begin anew.
            shutil.rmtree(root / "orderbook_ticks")
            for name in names:
                day(root, parts, 20, symbol=name)
    assert start(root).wait(600) == 0
    assert tree(root) == tree(tmp_path / "a") and len(tree(root)) == markets
    assert len(states) > 1, "no kill came while it worked"


def test_killed_at_random_moments(tmp_path: Path) -> None:
    campaign(tmp_path, 6, 40, 10, seed=3)


@pytest.mark.long
def test_killed_two_hundred_times(tmp_path: Path) -> None:
    campaign(tmp_path, 12, 100, 200, seed=4)


class Steps:
    """Compaction stopped for good before any one of its changes to the folder, as a kill would."""

    class Killed(BaseException):
        pass

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        for name in ("replace", "unlink"):
            monkeypatch.setattr(Path, name, self._before(getattr(Path, name)))

    def _before(self, real: Callable[..., object]) -> Callable[..., object]:
        def step(path: Path, *more: object, **named: object) -> object:
            if path.suffix in (".parquet", ".tmp") and not self.left:
                raise self.Killed
            self.left -= path.suffix in (".parquet", ".tmp")
            return real(path, *more, **named)

        return step


@pytest.mark.parametrize("at", range(8))
def test_killed_before_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    day(tmp_path, 6, 20)
    rows = digest(DataAccessor(tmp_path).ticks("binance_spot", "BTCUSDT", arrow=True))
    with monkeypatch.context() as patched:
        Steps(patched, at)
        with pytest.raises(Steps.Killed):
            Compactor(tmp_path).run(list(days.days(tmp_path)), lambda one: None)
    assert digest(DataAccessor(tmp_path).ticks("binance_spot", "BTCUSDT", arrow=True)) == rows
    told: list[Compacted] = []
    Compactor(tmp_path).run(list(days.days(tmp_path)), told.append)
    assert digest(DataAccessor(tmp_path).ticks("binance_spot", "BTCUSDT", arrow=True)) == rows
    assert not any(one.why for one in told) and len(tree(tmp_path)) == 1


# -- readers at the same time --------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as one:
        yield one


@pytest.mark.parametrize("way", ["local", "sftp"])
def test_readers_see_every_row_once_while_it_runs(tmp_path: Path, server: Sshd, way: str) -> None:
    root = tmp_path / "data"
    names = [f"M{number}USDT" for number in range(2)]
    for name in names:
        day(root, 60, 8, symbol=name)
    wanted = {name: digest(DataAccessor(root).ticks("binance_spot", name, arrow=True)) for name in names}
    stopped, wrong, reads = threading.Event(), [], itertools.count()

    def read(number: int) -> None:
        with ExitStack() as stack:
            caches = itertools.count()
            chance = random.Random(number)
            while not stopped.is_set():
                if way == "local":
                    data = DataAccessor(root)
                else:
                    # A new cache each time: what was fetched before is not asked for again.
                    data = stack.enter_context(
                        DataAccessor(tmp_path / "none", tmp_path / f"cache-{number}-{next(caches)}", remote=server.store(root))
                    )
                name = chance.choice(names)
                try:
                    found = digest(data.ticks("binance_spot", name, arrow=True))
                except Exception as error:
                    wrong.append(repr(error))
                    return
                if found != wanted[name]:
                    wrong.append(f"{name}: {found[0]} rows")
                next(reads)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for one in readers:
        one.start()
    done = 0
    try:
        for _ in range(3):
            before = next(reads)
            while next(reads) < before + 5 and not wrong:
                time.sleep(0.005)
            assert _compact(root)
            done += sum(len(of_folder(folder)) == 1 for folder in (root / "orderbook_ticks").glob("*/*/date=*"))
            for name in names:
                _again(root, name)
    finally:
        stopped.set()
        for one in readers:
            one.join()
    assert not wrong and done == 6, wrong[:3]


def _compact(root: Path) -> bool:
    told: list[Compacted] = []
    Compactor(root, 1).run(list(days.days(root)), told.append)
    return not any(one.why for one in told)


def _again(root: Path, name: str) -> None:
    """The parts once more, so that they can be merged once more: first all of them, hidden by the merged one, then that one goes."""
    (folder,) = (root / "orderbook_ticks").glob(f"exchange=*/symbol={name}/date=*")
    (merged,) = of_folder(folder)
    spare = root / "spare"
    day(spare, 60, 8, symbol=name)
    for path in sorted((spare / folder.relative_to(root)).iterdir()):
        path.rename(folder / path.name)
    Path(merged.path).unlink()
    shutil.rmtree(spare)
