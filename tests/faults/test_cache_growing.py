"""What still grows there, followed by many processes that share a cache; what is evicted while somebody reads it. Never a wrong byte, never
a row less."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tape_access import DataAccessor
from tape_archive.format.tape import register
from tape_archive.stores import LocalStore
from tests.access.test_sync import csv
from tests.support.recording import environment
from tests.support.windows import FIRST, LENGTH, content, hot, slug

FOLLOWER = f"""
import sys
from pathlib import Path
from tape_access import DataAccessor
from tape_archive.stores import LocalStore

vps, cache, whole = map(Path, sys.argv[1:4])
data, wanted = DataAccessor(cache.parent, cache, remote=LocalStore(vps), prefetch=0), whole.read_bytes()
seen = 0
while seen < len(wanted):
    # Each time as if a second had passed.
    data.remote._lived.clear()
    got = data.get_window_jsonl({FIRST}).read_bytes()
    assert wanted.startswith(got) and got.endswith(b"\\n") and len(got) >= seen, (seen, len(got))
    seen = len(got)
"""

READER = """
import sys
from pathlib import Path
from tape_access import DataAccessor
from tape_archive.stores import LocalStore

vps, cache, limit, day = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
data = DataAccessor(cache.parent, cache, remote=LocalStore(vps), cache_max_size_mb=limit / 1024 / 1024)
for _ in range(15):
    rows = data.cex(f"2026-01-{day:02d}T00:00:00Z", f"2026-01-{day:02d}T23:59:59Z")
    assert list(rows["sample_id"]) == [*range(1, 301), *range(1, 301)], (day, len(rows))
"""


def children(code: str, *arguments: list[str]) -> list[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    return [
        subprocess.Popen([sys.executable, "-c", code, *some], env=environment(), stdout=pipe, stderr=pipe, text=True) for some in arguments
    ]


def test_many_processes_follow_a_window_that_grows(tmp_path: Path) -> None:
    whole = content(FIRST, books=600)
    (tmp_path / "whole").write_bytes(whole)
    path = tmp_path / "vps" / "real_hot" / f"{slug(FIRST)}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(whole[:4000])
    some = children(FOLLOWER, *[[str(tmp_path / "vps"), str(tmp_path / "cache"), str(tmp_path / "whole")]] * 4)
    for at in range(4000, len(whole), 2999):
        with path.open("ab") as file:
            file.write(whole[at : at + 2999])
        time.sleep(0.01)
    said = [child.communicate(timeout=120)[1] for child in some]
    assert [child.returncode for child in some] == [0] * 4, said
    assert (tmp_path / "cache" / ".live" / path.name).read_bytes() == whole


@pytest.mark.parametrize("other", ["shorter", "longer", "empty"])
def test_a_window_that_is_another_file_by_now_is_fetched_anew(tmp_path: Path, other: str) -> None:
    (tmp_path / "mac").mkdir()
    before = content(FIRST, books=60)
    after = {"shorter": content(FIRST, "eth", books=10), "longer": content(FIRST, "eth", books=90), "empty": b""}[other]
    path = tmp_path / "vps" / "real_hot" / f"{slug(FIRST)}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(before)
    data = DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=LocalStore(tmp_path / "vps"), prefetch=0)
    assert data.get_window_jsonl(FIRST).read_bytes() == before
    path.write_bytes(after)
    assert data.remote is not None
    data.remote._lived.clear()
    assert data.get_window_jsonl(FIRST).read_bytes() == after


def test_windows_that_were_followed_count_and_are_evicted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A strategy that follows each window of the day and never looks back."""
    (tmp_path / "mac").mkdir()
    size = len(content(FIRST))
    limit = 4.5 * size
    for n in range(12):
        hot(tmp_path / "vps", FIRST + n * LENGTH, sealed=False)
    data = DataAccessor(
        tmp_path / "mac", tmp_path / "cache", remote=LocalStore(tmp_path / "vps"), cache_max_size_mb=limit / 1024 / 1024, prefetch=0
    )
    for n in range(12):
        assert data.get_window_jsonl(FIRST + n * LENGTH).read_bytes() == content(FIRST + n * LENGTH, sealed=False)
        time.sleep(0.01)
        assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.jsonl") if ".index" not in path.parts) <= limit
    stats = data.get_cache_stats()
    assert stats["file_count"] == 4 and stats["usage_percent"] <= 100.0  # type: ignore[operator]
    kept = {path.stem for path in (tmp_path / "cache" / ".live").iterdir()}
    assert kept == {slug(FIRST + n * LENGTH) for n in range(8, 12)}
    # Sealed, it becomes a window like the others, and is there once.
    for n in range(12):
        path = tmp_path / "vps" / "real_hot" / f"{slug(FIRST + n * LENGTH)}.jsonl"
        path.write_bytes(content(FIRST + n * LENGTH))
        register(path)
    data.list_all_windows(use_cache=False)
    assert data.get_window_jsonl(FIRST + 11 * LENGTH).read_bytes() == content(FIRST + 11 * LENGTH)
    assert slug(FIRST + 11 * LENGTH) not in {path.stem for path in (tmp_path / "cache" / ".live").iterdir()}
    # One that has no room at all is given all the same.
    small = DataAccessor(tmp_path / "mac", tmp_path / "small", remote=LocalStore(tmp_path / "vps"), cache_max_size_mb=0.001, prefetch=0)
    hot(tmp_path / "vps", FIRST + 20 * LENGTH, sealed=False)
    with caplog.at_level(logging.WARNING):
        assert small.get_window_jsonl(FIRST + 20 * LENGTH).read_bytes() == content(FIRST + 20 * LENGTH, sealed=False)
    assert "for this process only" in caplog.text


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mac").mkdir()
    hot(tmp_path / "vps", FIRST)
    left = [tmp_path / "cache" / folder / ".x.jsonl.4194305.tmp" for folder in ("2026-01", ".live", "files")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half of it")
    mine = tmp_path / "cache" / "2026-01" / f".x.jsonl.{os.getpid()}.tmp"
    mine.write_bytes(b"in the making")
    DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=LocalStore(tmp_path / "vps"), prefetch=0).get_window_jsonl(FIRST)
    assert [path for path in left if path.exists()] == [] and mine.exists()


# -- series --------------------------------------------------------------------------------------------------------------------------


def days(root: Path, count: int) -> int:
    """Two files a day; gives the bytes of one."""
    for day in range(1, count + 1):
        for half in (0, 12):
            first = 1_767_225_600 + (day - 1) * 86_400 + half * 3600
            path = csv(root / "logs" / f"cex_202601{day:02d}_{half:02d}.csv", first, 300)
            os.utime(path, (first, first))
    return path.stat().st_size


def test_no_row_is_missing_where_processes_evict_each_others_files(tmp_path: Path) -> None:
    """A file of two that is gone when they are read would be half a day less, and nobody would know."""
    limit = days(tmp_path / "vps", 6) * 5
    places = [str(tmp_path / "vps"), str(tmp_path / "cache"), str(limit)]
    some = children(READER, *[[*places, str(day)] for day in range(1, 7)])
    said = [child.communicate(timeout=240)[1] for child in some]
    assert [child.returncode for child in some] == [0] * 6, said
    assert sum(path.stat().st_size for path in (tmp_path / "cache" / "files").rglob("*.csv")) <= limit


def test_what_was_used_last_is_evicted_last_however_old_it_is(tmp_path: Path) -> None:
    (tmp_path / "mac").mkdir()
    size = days(tmp_path / "vps", 3)
    data = DataAccessor(
        tmp_path / "mac", tmp_path / "cache", remote=LocalStore(tmp_path / "vps"), cache_max_size_mb=4.5 * size / 1024 / 1024
    )
    for day in (3, 1, 2):
        assert len(data.cex(f"2026-01-{day:02d}T00:00:00Z", f"2026-01-{day:02d}T23:59:59Z")) == 600
        time.sleep(0.01)
    kept = {path.stem[4:12] for path in (tmp_path / "cache" / "files" / "logs").glob("*.csv")}
    assert kept == {"20260101", "20260102"}


def test_a_series_that_the_cache_has_no_room_for_is_read_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mac").mkdir()
    days(tmp_path / "vps", 2)
    data = DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=LocalStore(tmp_path / "vps"), cache_max_size_mb=0.01)
    with caplog.at_level(logging.WARNING):
        assert len(data.cex()) == 1200
    assert "for this process only" in caplog.text
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.csv")) <= 10_500
