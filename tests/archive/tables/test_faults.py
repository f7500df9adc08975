"""Killed between any two steps, the server killed, the disk full, nobody there: no row is lost, none is there twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tape_archive.format.errors import Busy, StoreFull, StoreSlow, StoreUnavailable, TapeError
from tape_archive.tables import Cursor, Tables, open_tables
from tape_archive.tables.batch import digest
from tape_archive.tables.schema import SPECS
from tests.archive.tables.conftest import KINDS
from tests.support.clickhouse_http import Server
from tests.support.postgres import Postgres
from tests.support.recording import environment
from tests.support.rows import DAY, MIDNIGHT, rows
from tests.support.sshd import free_port
from tests.support.table_writer import TABLES, wanted, write

COUNT = 300


def run(url: str, seed: int, *kill_at: int) -> int:
    command = [sys.executable, "-m", "tests.support.table_writer", url, str(COUNT), str(seed), *map(str, kill_at)]
    return subprocess.run(command, env=environment(), timeout=300).returncode


def check(store: Tables, *, exact: bool) -> dict[str, int]:
    """The rows are those that the cursors tell; gives how many are used. Not ``exact``: rows of one more batch may be in."""
    cursors = store.cursors("w")
    used = {table: int(cursors[table].position) if table in cursors else 0 for table in TABLES}
    for table in TABLES:
        got = store.read(table)
        if exact:
            assert digest(got) == digest(wanted(table, COUNT, used[table])), f"{table} is not its first {used[table]} rows"
        else:
            sure, most = (
                {tuple(map(str, row.values())) for row in wanted(table, COUNT, n).to_pylist()}
                for n in (used[table], min(COUNT, used[table] + COUNT // 6))
            )
            seen = [tuple(map(str, row.values())) for row in got.to_pylist()]
            assert len(seen) == len(set(seen)) and sure <= set(seen) <= most
    return used


def look(kind: str, url: str) -> dict[str, int]:
    """In a process of its own where the store is embedded: it may be open in one only."""
    store = open_tables(url)
    try:
        return check(store, exact=kind != "chdb")
    finally:
        store.close()


def campaign(kind: str, url: str, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    assert run(url, seed, 1) == -signal.SIGKILL
    killed = 0
    while killed < kills:
        # A batch takes some hundred calls; most of a run is not over when it is killed.
        code = run(url, chance.randrange(1 << 30), chance.randint(2, 1500))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
        look(kind, url)
    assert run(url, seed) == 0
    assert set(look(kind, url).values()) == {COUNT} and killed >= 3
    store = open_tables(url)
    with contextlib.closing(store):
        for table in TABLES:
            assert digest(store.read(table)) == digest(wanted(table, COUNT, COUNT))


@pytest.fixture
def place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind == "postgresql":
        yield request.getfixturevalue("postgres").url(f"f{tmp_path.name[-20:].replace('-', '_')}")
    else:
        # The folder of the other tests is open in this process; only one may be.
        yield f"{kind}://{tmp_path}/tables"


@pytest.mark.parametrize("kind", ["parquet", "postgresql"], indirect=True)
def test_killed_between_any_two_steps(kind: str, place: str) -> None:
    campaign(kind, place, 8, seed=1)


def test_killed_between_any_two_steps_embedded(tmp_path: Path) -> None:
    """This process must not have another chDB folder open: so the whole campaign is one of its own."""
    code = "import sys; from tests.archive.tables.test_faults import campaign; campaign('chdb', sys.argv[1], int(sys.argv[2]), 1)"
    subprocess.run([sys.executable, "-c", code, f"chdb://{tmp_path}/tables", "5"], env=environment(), check=True, timeout=600)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["parquet", "postgresql"], indirect=True)
def test_killed_two_hundred_times(kind: str, place: str, tmp_path: Path, postgres: Postgres) -> None:
    for number in range(25):
        url = f"parquet://{tmp_path}/{number}" if kind == "parquet" else postgres.url(f"long{number}")
        campaign(kind, url, 8, seed=number + 100)


def insisting(store: Tables, done: threading.Event, errors: list[TapeError]) -> None:
    """Write on and on through whatever may be tried again."""
    seed = 1
    while not done.is_set():
        try:
            write(store, COUNT, seed)
            return
        except TapeError as error:
            errors.append(error)
            if not error.retry:
                return
            seed += 1
            done.wait(0.05)


@pytest.mark.parametrize("kind", ["postgresql", "clickhouse"])
def test_the_server_is_killed_and_comes_back(kind: str, tmp_path: Path) -> None:
    """SIGKILL to the server in the middle of writing, three times; the writer only tries again."""
    server = Postgres() if kind == "postgresql" else Server(tmp_path)
    url = server.url("killed")
    server.start()
    try:
        store = open_tables(url)
        store.create()
        errors: list[TapeError] = []
        done = threading.Event()
        thread = threading.Thread(target=insisting, args=(store, done, errors))
        thread.start()
        for kills in range(3):
            watcher = open_tables(url)
            while thread.is_alive() and sum(cursor.batch for cursor in watcher.cursors("w").values()) < 3 * (kills + 1):
                pass
            watcher.close()
            server.kill()
            away = open_tables(url)
            with pytest.raises(StoreUnavailable):
                away.create()
            away.close()
            server.start()
        thread.join(240)
        done.set()
        assert not thread.is_alive() and errors and all(error.retry for error in errors), errors
        assert set(check(store, exact=True).values()) == {COUNT}
        store.close()
    finally:
        server.stop()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take what is left of a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * (1 << 16))
    return filler


def until_full(url: str, disk: Path) -> None:
    """Batches until the disk is full; then it is freed, and the same batch goes in."""
    spec, store = SPECS["trades"], open_tables(url)
    store.create()
    batch = rows(spec, 20_000)
    assert store.insert("trades", batch, Cursor("w", 1))
    filler = fill(disk)
    number = 1
    with pytest.raises(StoreFull, match="free some") as caught:
        while number < 60:
            number += 1
            batch = rows(spec, 20_000, start=MIDNIGHT + number * 20_000_000_000_000)
            store.insert("trades", batch, Cursor("w", number))
    assert caught.value.retry and caught.value.exit_code == 12
    filler.unlink()
    assert store.cursors("w")["trades"].batch == number - 1
    assert store.insert("trades", batch, Cursor("w", number)) and store.count("trades") == number * 20_000
    store.close()


def test_disk_full_parquet(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        until_full(f"parquet://{disk}/tables", disk)


def test_disk_full_embedded(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "40m") as disk:
        code = "import sys, pathlib; from tests.archive.tables.test_faults import until_full; until_full(sys.argv[1], pathlib.Path(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", code, f"chdb://{disk}/tables", str(disk)], env=environment(), check=True, timeout=300)


def test_disk_full_postgresql() -> None:
    # A server that cannot write its log goes down, which is another trouble: here only its data has no room.
    with tempfile.TemporaryDirectory(prefix="tapeline-full-") as folder, small_disk(Path(folder), "120m") as disk:
        Path(folder).chmod(0o777)
        server = Postgres(disk / "data")
        server.start()
        try:
            until_full(server.url(), disk)
        finally:
            server.stop()


def test_nobody_there_and_nobody_answers() -> None:
    gone = f"127.0.0.1:{free_port()}"
    for url in (f"postgresql://me:secret@{gone}/x", f"clickhouse://me:secret@{gone}/x"):
        store = open_tables(url)
        for call in (store.create, lambda store=store: store.cursors("w"), lambda store=store: store.prune("trades", 1)):  # type: ignore[misc]
            with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
                call()
            assert caught.value.retry and "secret" not in str(caught.value) and gone in str(caught.value)
        store.close()


def test_a_statement_that_takes_too_long(postgres: Postgres) -> None:
    """Somebody holds the table: what we sent may have been done or not; it goes in when it is sent again."""
    store, other = open_tables(postgres.url("slow", timeout=1)), open_tables(postgres.url("slow"))
    store.create()
    batch = rows(SPECS["instruments"], 5)
    held, release = threading.Event(), threading.Event()

    async def hold() -> None:
        async with other._connection() as db, db.transaction():  # type: ignore[attr-defined]
            await db.execute("LOCK TABLE instruments IN ACCESS EXCLUSIVE MODE")
            held.set()
            await asyncio.to_thread(release.wait)

    thread = threading.Thread(target=lambda: other._run(hold()))  # type: ignore[attr-defined]
    thread.start()
    held.wait(30)
    with pytest.raises(StoreSlow) as caught:
        store.insert("instruments", batch, Cursor("w", 1))
    assert caught.value.retry
    release.set()
    thread.join()
    assert store.insert("instruments", batch, Cursor("w", 1)) and store.count("instruments") == 5
    store.close()
    other.close()


def test_a_clean_up_that_waits_for_a_reader_lets_inserts_pass(postgres: Postgres) -> None:
    """Somebody reads the whole table for an hour. To drop a day must wait for that; nothing else may, not even a new day."""
    store, other = open_tables(postgres.url("waits", timeout=5)), open_tables(postgres.url("waits"))
    store.create()
    spec = SPECS["trades"]
    store.insert("trades", rows(spec, 100, start=MIDNIGHT - 2 * DAY), Cursor("w", 1))
    store.insert("trades", rows(spec, 100, start=MIDNIGHT), Cursor("w", 2))
    reading, release, removed = threading.Event(), threading.Event(), []

    async def hold() -> None:
        async with other._connection() as db, db.transaction():  # type: ignore[attr-defined]
            await db.fetch("SELECT count(*) FROM trades")
            reading.set()
            await asyncio.to_thread(release.wait)

    reader = threading.Thread(target=lambda: other._run(hold()))  # type: ignore[attr-defined]
    reader.start()
    reading.wait(30)
    cleaner = threading.Thread(target=lambda: removed.append(store.prune("trades", MIDNIGHT - DAY)))
    cleaner.start()
    waiting = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%DETACH%' AND query NOT LIKE '%pg_stat%' AND wait_event_type = 'Lock'"
    try:
        while not store._run(store._fetch(waiting)):  # type: ignore[attr-defined]
            assert cleaner.is_alive()
        for day in range(3):
            assert store.insert("trades", rows(spec, 100, start=MIDNIGHT + day * DAY, seed=day + 5), Cursor("v", day + 1))
        assert cleaner.is_alive() and not removed
    finally:
        release.set()
        cleaner.join()
        reader.join()
    assert removed == [100] and store.count("trades") == 400 - 100 and store.count("trades", None, None, MIDNIGHT) == 0
    store.close()
    other.close()


def test_two_that_write_under_one_name(tmp_path: Path, postgres: Postgres) -> None:
    first, second = (open_tables(f"parquet://{tmp_path}") for _ in range(2))
    batch = rows(SPECS["trades"], 5)
    first.insert("trades", batch, Cursor("w", 1))
    with pytest.raises(Busy, match="another process writes as 'w'"):
        second.insert("trades", batch, Cursor("w", 2))
    assert second.insert("trades", batch, Cursor("v", 1)) and second.count("trades") == 5
    first.close()
    assert second.insert("trades", batch, Cursor("w", 2))
    second.close()
    with pytest.raises(Busy, match="another process has it"):
        code = "import sys; from tape_archive.tables import open_tables; s = open_tables(sys.argv[1]); s.create(); print(1, flush=True); sys.stdin.read()"
        holder = subprocess.Popen(
            [sys.executable, "-c", code, f"chdb://{tmp_path}/chdb"], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert holder.stdout is not None and holder.stdout.read(1) == b"1"
            code = "import sys; from tape_archive.tables import open_tables; open_tables(sys.argv[1]).create()"
            done = subprocess.run(
                [sys.executable, "-c", code, f"chdb://{tmp_path}/chdb"], env=environment(), capture_output=True, text=True
            )
            raise Busy(done.stderr) if "errors.Busy" in done.stderr else AssertionError(done.stderr)
        finally:
            holder.kill()
            holder.communicate()


def test_every_kind_is_in_the_suite() -> None:
    assert {"parquet", "chdb", "clickhouse", "postgresql"} == set(KINDS)
