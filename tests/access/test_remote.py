"""Windows of another machine: by a real sshd, verified, in the cache once; and what happens when something is wrong there."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tape_access import DataAccessor, NotFound, StoreDenied, StoreUnavailable
from tape_archive.archiver.move import Mover
from tape_archive.archiver.plan import Move, month
from tape_archive.format import manifest
from tape_archive.format.compression import Compression
from tape_archive.format.errors import Corrupt, SettingsError
from tape_archive.format.tape import register
from tape_archive.stores import LocalStore
from tests.support.recording import environment
from tests.support.sshd import Sshd, sshd
from tests.support.windows import FIRST, LENGTH, content, hot, record, slug
from tests.support.wire import wire


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


def archived(root: Path, count: int, first: int = FIRST, kind: str = "zstd", books: int = 20) -> dict[str, str]:
    """Windows that were recorded and moved to the archive."""
    sums = record(root, count, first=first, books=books)
    starts = [first + n * LENGTH for n in range(count)]
    moves = [Move(f"{slug(at)}.jsonl", (root / "real_hot" / f"{slug(at)}.jsonl").stat().st_size, month(at)) for at in starts]
    Mover(root / "real_hot", LocalStore(root / "real_archive"), "", Compression(kind)).move(moves, lambda moved: None)
    return sums


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Reader:
    """An accessor with no root of its own, over SSH."""

    def __init__(self, server: Sshd, root: Path, here: Path, port: int = 0, seconds: float = 20.0, **options: object) -> None:
        self.store = server.store(root, port, seconds)
        (here / "mac").mkdir(parents=True, exist_ok=True)
        self.here = here
        self.options = options
        self.data = self.new()

    def new(self) -> DataAccessor:
        return DataAccessor(self.here / "mac", self.here / "cache", remote=self.store, **{"prefetch": 0, **self.options})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["zstd", "gzip", "none"])
def test_a_window_of_the_archive_is_the_same_bytes(tmp_path: Path, server: Sshd, kind: str) -> None:
    sums = archived(tmp_path / "vps", 3, kind=kind)
    reader = Reader(server, tmp_path / "vps", tmp_path)
    data = reader.data
    assert data.list_all_windows() == [FIRST, FIRST + LENGTH, FIRST + 2 * LENGTH]
    for one in data.list_all_windows():
        path = data.get_window_jsonl(one)
        assert path.name == f"{slug(one)}.jsonl" and sha(path) == sums[slug(one)]
        assert data.read_window(one).result == "Up"
    stats = data.get_cache_stats()
    assert stats["file_count"] == 3 and stats["misses"] == 3 and stats["cache_dir"] == str(tmp_path / "cache")
    assert set(stats) >= {"cache_dir", "file_count", "total_size_mb", "max_size_mb", "usage_percent"}
    with pytest.raises(NotFound, match="nearest recorded one"):
        data.get_window_jsonl(FIRST + 9 * LENGTH)
    assert next(window.path for window in data.windows()).startswith("sftp://")
    reader.store.close()


def test_what_is_hot_there_and_grows_is_followed(tmp_path: Path, server: Sshd) -> None:
    root = tmp_path / "vps"
    whole = content(FIRST, books=60)
    path = root / "real_hot" / f"{slug(FIRST)}.jsonl"
    path.parent.mkdir(parents=True)
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    reader = Reader(server, root, tmp_path)
    assert reader.data.list_all_windows() == [FIRST]
    assert reader.data.get_window_jsonl(FIRST).read_bytes() == b"".join(lines[:5])
    path.write_bytes(b"".join(lines[:40]))
    reader.data.remote._lived.clear()  # type: ignore[union-attr]
    assert reader.data.get_window_jsonl(FIRST).read_bytes() == b"".join(lines[:40])
    # Sealed: what was followed is not fetched again, if it is the same.
    path.write_bytes(whole)
    register(path)
    reader.data.list_all_windows(use_cache=False)
    reader.data.remote._lived.clear()  # type: ignore[union-attr]
    found = reader.data.get_window_jsonl(FIRST)
    assert found.read_bytes() == whole and "2026-01" in found.parts
    reader.store.close()


def test_what_is_hot_there_is_listed_however_long_nothing_changed(tmp_path: Path, server: Sshd) -> None:
    """A folder that is quiet is noted and not listed again: but once it must be."""
    root = tmp_path / "vps"
    archived(root, 2)
    hot(root, FIRST + 2 * LENGTH)
    old = time.time() - 100
    for path in [*root.rglob("*"), root]:
        os.utime(path, (old, old))
    everything = [FIRST, FIRST + LENGTH, FIRST + 2 * LENGTH]
    reader = Reader(server, root, tmp_path)
    assert reader.data.list_all_windows() == everything
    # Nor does one that only gains what is hot, or only what is cold, hide the other.
    hot(root, FIRST + 3 * LENGTH)
    for path in (root / "real_hot").rglob("*"):
        os.utime(path, (old + 50, old + 50))
    os.utime(root / "real_hot", (old + 50, old + 50))
    assert reader.data.list_all_windows(use_cache=False) == [*everything, FIRST + 3 * LENGTH]
    again = reader.new()
    assert again.list_all_windows(use_cache=False) == [*everything, FIRST + 3 * LENGTH]
    reader.store.close()


def test_a_script_that_closes_nothing_ends_as_it_should(tmp_path: Path, server: Sshd) -> None:
    """Threads that read and fetch ahead are still there when the interpreter ends."""
    archived(tmp_path / "vps", 20)
    code = f"""
import builtins, sys
from tape_access import DataAccessor
from tape_archive.stores.sftp import SftpStore, Target
store = SftpStore(Target("127.0.0.1", {server.user!r}, {server.port}, {str(server.key)!r}, {server.target().options!r}), {str(tmp_path / "vps")!r})
data = DataAccessor({str(tmp_path)!r}, sys.argv[1], remote=store)
print(len(data.list_all_windows()))
if sys.argv[2] == "late":
    builtins.keep, data = store, None
    store.list("")
else:
    del store
    path, window = data.get_window_jsonl({FIRST}), data.read_window({FIRST})
"""
    for how in ("late", "soon"):
        command = [sys.executable, "-c", code, str(tmp_path / f"cache-{how}"), how]
        ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "20\n", "")


def test_hot_here_comes_first(tmp_path: Path, server: Sshd) -> None:
    archived(tmp_path / "vps", 2)
    hot(tmp_path / "mac", FIRST)
    reader = Reader(server, tmp_path / "vps", tmp_path)
    assert reader.data.get_window_jsonl(FIRST) == tmp_path / "mac" / "real_hot" / f"{slug(FIRST)}.jsonl"
    assert reader.data.list_all_windows() == [FIRST, FIRST + LENGTH] and reader.data.get_cache_stats()["file_count"] == 0
    reader.store.close()


def test_one_connection_is_shared_by_threads(tmp_path: Path, server: Sshd) -> None:
    archived(tmp_path / "vps", 30)
    with wire(server.port) as between:
        reader = Reader(server, tmp_path / "vps", tmp_path, between.port)
        starts = reader.data.list_all_windows()
        threads = [threading.Thread(target=reader.data.get_window_jsonl, args=(one,)) for one in starts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert between.connections == 1 and reader.data.get_cache_stats()["file_count"] == 30
        reader.store.close()


def test_a_second_process_asks_for_nothing_that_has_not_changed(tmp_path: Path, server: Sshd) -> None:
    root = tmp_path / "vps"
    archived(root, 40)
    old = time.time() - 3600
    for path in [*root.rglob("*"), root]:
        os.utime(path, (old, old))
    reader = Reader(server, root, tmp_path)
    assert len(reader.data.list_all_windows()) == 40
    asked: list[str] = []

    class Counting:
        def __init__(self) -> None:
            self.url = reader.store.url

        def __getattr__(self, name: str) -> object:
            asked.append(name)
            return getattr(reader.store, name)

    again = DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=Counting(), prefetch=0)  # type: ignore[arg-type]
    assert len(again.list_all_windows(use_cache=False)) == 40
    assert asked == ["stats"], "the two folders and the two manifests, at once"
    archived(root, 1, FIRST + 100 * LENGTH)
    assert len(again.list_all_windows(use_cache=False)) == 41
    reader.store.close()


# -- what is wrong there ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "flipped", "swapped", "grown", "empty"])
def test_a_damaged_file_is_never_given(tmp_path: Path, server: Sshd, damage: str) -> None:
    root = tmp_path / "vps"
    archived(root, 2)
    cold = root / "real_archive" / "2026-01"
    path, other = cold / f"{slug(FIRST)}.jsonl.zst", cold / f"{slug(FIRST + LENGTH)}.jsonl.zst"
    raw = path.read_bytes()
    middle = len(raw) // 2
    broken = {
        "cut": raw[:middle],
        "flipped": raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :],
        "swapped": other.read_bytes(),
        "grown": raw + raw,
        "empty": b"",
    }
    path.write_bytes(broken[damage])
    reader = Reader(server, root, tmp_path)
    with pytest.raises(Corrupt, match="manifest says"):
        reader.data.get_window_jsonl(FIRST)
    assert reader.data.get_cache_stats()["file_count"] == 0
    assert sha(reader.data.get_window_jsonl(FIRST + LENGTH))
    path.write_bytes(raw)
    assert reader.data.get_window_jsonl(FIRST).read_bytes() == content(FIRST)
    reader.store.close()


def test_a_window_that_is_moved_meanwhile_is_found(tmp_path: Path, server: Sshd) -> None:
    root = tmp_path / "vps"
    sums = record(root, 2)
    reader = Reader(server, root, tmp_path)
    assert len(reader.data.list_all_windows()) == 2
    moves = [Move(f"{slug(FIRST)}.jsonl", 1, "2026-01")]
    Mover(root / "real_hot", LocalStore(root / "real_archive"), "", Compression()).move(moves, lambda moved: None)
    assert sha(reader.data.get_window_jsonl(FIRST)) == sums[slug(FIRST)]
    shutil.rmtree(root / "real_archive")
    (root / "real_hot" / f"{slug(FIRST + LENGTH)}.jsonl").unlink()
    with pytest.raises(NotFound):
        reader.data.get_window_jsonl(FIRST + LENGTH)
    reader.store.close()


def test_names_in_a_manifest_that_lead_elsewhere_are_not_followed(tmp_path: Path, server: Sshd) -> None:
    root = tmp_path / "vps"
    archived(root, 1)
    cold = root / "real_archive" / "2026-01"
    known = manifest.read(cold)[f"{slug(FIRST)}.jsonl.zst"]
    secret = tmp_path / f"{slug(FIRST + LENGTH)}.jsonl"
    secret.write_text("secret\n")
    (cold / f"{slug(FIRST + 2 * LENGTH)}.jsonl").symlink_to(secret)
    for name in (f"../../../{secret.name}", str(secret), f"{slug(FIRST + 2 * LENGTH)}.jsonl"):
        known.name, known.bytes, known.sha256, known.plain_sha256 = name, secret.stat().st_size, sha(secret), ""
        manifest.put(cold, known)
    reader = Reader(server, root, tmp_path)
    assert reader.data.list_all_windows() == [FIRST, FIRST + 2 * LENGTH]
    with pytest.raises(NotFound):
        reader.data.get_window_jsonl(FIRST + LENGTH)
    with pytest.raises(StoreDenied, match="leads out"):
        reader.data.get_window_jsonl(FIRST + 2 * LENGTH)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != secret and path.name.startswith(slug(FIRST + LENGTH))]
    reader.store.close()


@pytest.mark.parametrize("cut", range(0, 10))
def test_a_connection_that_is_cut_in_the_middle_of_a_transfer(tmp_path: Path, server: Sshd, cut: int) -> None:
    """At every tenth of what a session says, from the first byte of its greeting on."""
    sums = archived(tmp_path / "vps", 2, kind="none", books=300)
    with wire(server.port) as between:
        reader = Reader(server, tmp_path / "vps", tmp_path, between.port)
        reader.data.get_window_jsonl(FIRST)
        whole = between.bytes_down
        reader.store.close()
        shutil.rmtree(tmp_path / "cache")
        between.cut_after = cut * whole // 10 + random.Random(cut).randrange(20)
        again = Reader(server, tmp_path / "vps", tmp_path, between.port)
        with contextlib.suppress(StoreUnavailable):
            again.data.get_window_jsonl(FIRST)
        assert again.data.get_cache_stats()["file_count"] == 0 or sha(again.data.get_window_jsonl(FIRST)) == sums[slug(FIRST)]
        assert not [path for path in (tmp_path / "cache").rglob("*.tmp")]
        between.cut_after = None
        again.data.remote._down = None  # type: ignore[union-attr]
        assert sha(again.data.get_window_jsonl(FIRST)) == sums[slug(FIRST)]
        again.store.close()


def test_the_server_restarts(tmp_path: Path) -> None:
    sums = archived(tmp_path / "vps", 3)
    with sshd(tmp_path / "own") as server:
        reader = Reader(server, tmp_path / "vps", tmp_path)
        assert sha(reader.data.get_window_jsonl(FIRST)) == sums[slug(FIRST)]
        server.stop()
        server.start()
        assert sha(reader.data.get_window_jsonl(FIRST + LENGTH)) == sums[slug(FIRST + LENGTH)]
        server.stop()
        server.new_host_key()
        server.start()
        with pytest.raises(StoreDenied, match="host key"):
            reader.data.get_window_jsonl(FIRST + 2 * LENGTH)
        server.trust()
        assert sha(reader.data.get_window_jsonl(FIRST + 2 * LENGTH)) == sums[slug(FIRST + 2 * LENGTH)]
        reader.store.close()


def test_offline_what_is_cached_is_served_and_the_rest_fails_at_once(
    tmp_path: Path, server: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    sums = archived(tmp_path / "vps", 3)
    with wire(server.port) as between:
        reader = Reader(server, tmp_path / "vps", tmp_path, between.port)
        reader.data.get_window_jsonl(FIRST)
        reader.store.close()
        between.refuse = True
        away = reader.new()
        with caplog.at_level(logging.WARNING):
            assert away.list_all_windows(use_cache=False) == [FIRST, FIRST + LENGTH, FIRST + 2 * LENGTH]
        assert "offline" in caplog.text and "old" in caplog.text
        assert sha(away.get_window_jsonl(FIRST)) == sums[slug(FIRST)]
        connections = between.connections
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="cannot reach"):
                away.get_window_jsonl(FIRST + LENGTH)
        assert between.connections <= connections + 2, "it is not asked again at once"
        # What nobody ever saw is not an empty list.
        fresh = DataAccessor(tmp_path / "mac", tmp_path / "other", remote=reader.store)
        with pytest.raises(StoreUnavailable):
            fresh.list_all_windows()
        between.refuse = False
        away.remote._down = None  # type: ignore[union-attr]
        assert sha(away.get_window_jsonl(FIRST + LENGTH)) == sums[slug(FIRST + LENGTH)]
        reader.store.close()


def test_a_place_that_is_none_is_said(tmp_path: Path, server: Sshd) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="has neither real_hot nor real_archive"):
        Reader(server, tmp_path / "empty", tmp_path).data.list_all_windows()


# -- the cache -------------------------------------------------------------------------------------------------------------------


def test_a_damaged_cache_file_is_found_and_fetched_again(tmp_path: Path, server: Sshd) -> None:
    sums = archived(tmp_path / "vps", 1)
    reader = Reader(server, tmp_path / "vps", tmp_path)
    path = reader.data.get_window_jsonl(FIRST)
    whole = path.read_bytes()
    for broken in (whole[:-1], b"", whole[:100] + b"X" + whole[101:], whole + b"\n"):
        path.write_bytes(broken)
        assert sha(reader.data.get_window_jsonl(FIRST)) == sums[slug(FIRST)]
        # Silently, with the times that it had: a new process looks.
        seen = path.stat()
        path.write_bytes(broken)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        assert sha(reader.new().get_window_jsonl(FIRST)) == sums[slug(FIRST)]
    (path.parent / f".{path.name}.sum").write_text("{")
    assert sha(reader.new().get_window_jsonl(FIRST)) == sums[slug(FIRST)]
    reader.store.close()


def test_the_bound_is_kept_and_the_order_survives_a_restart(tmp_path: Path, server: Sshd) -> None:
    archived(tmp_path / "vps", 10)
    size = len(content(FIRST))
    reader = Reader(server, tmp_path / "vps", tmp_path, cache_max_size_mb=(5.5 * size) / 1024 / 1024)
    for n in range(5):
        reader.data.get_window_jsonl(FIRST + n * LENGTH)
        time.sleep(0.01)
    again = reader.new()
    again.get_window_jsonl(FIRST)
    time.sleep(0.01)
    again.get_window_jsonl(FIRST + 7 * LENGTH)
    kept = {path.stem for path in (tmp_path / "cache" / "2026-01").glob("*.jsonl")}
    assert slug(FIRST) in kept and slug(FIRST + LENGTH) not in kept and len(kept) == 5
    assert again.get_cache_stats()["usage_percent"] <= 100.0  # type: ignore[operator]
    reader.store.close()


def test_a_pinned_file_is_not_evicted_under_a_reader(tmp_path: Path, server: Sshd) -> None:
    archived(tmp_path / "vps", 6)
    size = len(content(FIRST))
    reader = Reader(server, tmp_path / "vps", tmp_path, cache_max_size_mb=(2.5 * size) / 1024 / 1024)
    path = reader.data.get_window_jsonl(FIRST)
    pin = reader.data.cache.pin(path)
    assert pin is not None
    for n in range(1, 6):
        reader.data.get_window_jsonl(FIRST + n * LENGTH)
        assert path.exists()
    del pin
    reader.data.get_window_jsonl(FIRST + LENGTH)
    reader.data.get_window_jsonl(FIRST + 2 * LENGTH)
    assert not path.exists()
    reader.store.close()


def test_without_room_a_window_is_served_all_the_same(tmp_path: Path, server: Sshd, caplog: pytest.LogCaptureFixture) -> None:
    sums = archived(tmp_path / "vps", 1)
    reader = Reader(server, tmp_path / "vps", tmp_path, cache_max_size_mb=0.001)
    with caplog.at_level(logging.WARNING):
        path = reader.data.get_window_jsonl(FIRST)
    assert sha(path) == sums[slug(FIRST)] and "for this process only" in caplog.text and tmp_path / "cache" not in path.parents
    assert reader.data.read_window(FIRST).result == "Up"
    reader.store.close()


# -- ahead -----------------------------------------------------------------------------------------------------------------------


def settled(reader: Reader) -> set[int]:
    """The windows in the cache once nothing is under way."""
    for _ in range(500):
        if not any(one._under_way for one in reader.data.places._prefetch.values()):
            break
        time.sleep(0.01)
    return {int(path.stem.rpartition("-")[2]) for path in (reader.here / "cache").glob("2026-01/*.jsonl")}


@pytest.mark.parametrize("step", [1, -1, 2])
def test_windows_are_fetched_along_the_way(tmp_path: Path, server: Sshd, step: int) -> None:
    archived(tmp_path / "vps", 40)
    reader = Reader(server, tmp_path / "vps", tmp_path, prefetch=3)
    starts = reader.data.list_all_windows()
    reader.data.get_window_jsonl(starts[20])
    assert settled(reader) == {starts[20], starts[21], starts[22], starts[23]}
    reader.data.get_window_jsonl(starts[20 + step])
    reader.data.get_window_jsonl(starts[20 + 2 * step])
    got = settled(reader)
    wanted = {starts[at] for at in (20 + n * step for n in range(2, 15)) if 0 <= at < 40}
    assert wanted <= got and reader.data.cache.misses == len(got)
    before = reader.data.cache.misses
    for n in range(3, 9):
        if 0 <= 20 + n * step < 40:
            reader.data.get_window_jsonl(starts[20 + n * step])
            settled(reader)
    assert all(starts[at] in settled(reader) for at in (20 + n * step for n in range(9)) if 0 <= at < 40) and before


def test_windows_that_are_named_are_fetched(tmp_path: Path, server: Sshd) -> None:
    archived(tmp_path / "vps", 20)
    reader = Reader(server, tmp_path / "vps", tmp_path)
    reader.data.prefetch([FIRST, slug(FIRST + 4 * LENGTH), "2026-01-04T06:45Z"])
    for _ in range(600):
        if len(there := settled(reader)) == 3:
            break
        time.sleep(0.05)
    assert there == {FIRST, FIRST + 2 * LENGTH, FIRST + 4 * LENGTH}
    with pytest.raises(NotFound, match="nearest recorded one"):
        reader.data.prefetch([FIRST + 1])
    with pytest.raises(SettingsError, match="give start and end"):
        reader.data.coverage()
    reader.store.close()


def test_nothing_is_fetched_that_does_not_exist(tmp_path: Path, server: Sshd) -> None:
    archived(tmp_path / "vps", 3)
    reader = Reader(server, tmp_path / "vps", tmp_path, prefetch=5)
    starts = reader.data.list_all_windows()
    asked: list[str] = []
    fetch = reader.data.remote.path  # type: ignore[union-attr]
    reader.data.remote.path = lambda name, month: asked.append(name) or fetch(name, month)  # type: ignore[union-attr,method-assign,func-returns-value]
    for one in starts:
        reader.data.get_window_jsonl(one)
    settled(reader)
    assert set(asked) <= {slug(one) for one in starts}
    reader.store.close()


def test_far_jumps_end_it(tmp_path: Path, server: Sshd) -> None:
    archived(tmp_path / "vps", 60)
    reader = Reader(server, tmp_path / "vps", tmp_path, prefetch=3)
    starts = reader.data.list_all_windows()
    for at in (0, 30, 55, 12, 41):
        reader.data.get_window_jsonl(starts[at])
    assert settled(reader) == {starts[at] for at in (0, 1, 2, 3, 30, 31, 32, 33, 55, 12, 41)}
    reader.data.prefetch([starts[20], starts[21]])
    for _ in range(200):
        if starts[21] in settled(reader) and starts[20] in settled(reader):
            break
        time.sleep(0.01)
    assert {starts[20], starts[21]} <= settled(reader)
    reader.store.close()
