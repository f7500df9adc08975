"""From hot to cold: what goes, what stays and why; verified, whole, and the same whatever happened on the way."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tape_access import DataAccessor
from tape_archive.archiver import tapes
from tape_archive.archiver.move import Mover
from tape_archive.archiver.plan import Facts, Move, Rules, Window, epoch, month, plan
from tape_archive.format import manifest
from tape_archive.format.compression import Compression, compression, plain
from tape_archive.format.errors import Corrupt, DiskFull, SettingsError
from tape_archive.format.layout import segments
from tape_archive.format.lines import mark_line
from tape_archive.format.lock import Lock
from tape_archive.format.read import read_lines
from tape_archive.format.tape import register
from tape_archive.stores import Entry, LocalStore
from tests.support.recording import environment
from tests.support.tapes import Writer
from tests.support.windows import FIRST, LENGTH, content, hot, record, slug

LATER = FIRST + 30 * 86_400


def archive(root: Path, *options: str, now: float = LATER, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tape_archive", "archive", "--root", str(root), "--now", str(now), *options]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, **more)


def held(path: Path) -> bytes:
    return b"".join(plain(path.name, [path.read_bytes()]))


@pytest.mark.parametrize("kind,ending", [("zstd", ".zst"), ("gzip", ".gz"), ("none", "")])
def test_old_windows_go_and_are_the_same(tmp_path: Path, kind: str, ending: str) -> None:
    sums = record(tmp_path, 12)
    young = hot(tmp_path, LATER - 86_400)
    before = (tmp_path / "real_hot" / f"{slug(FIRST)}.jsonl").read_bytes()
    ran = archive(tmp_path, "--compress", kind)
    assert ran.returncode == 0, ran.stderr
    assert "moved 12 windows" in ran.stdout and "1 are not old enough" in ran.stdout
    cold = tmp_path / "real_archive" / "2026-01"
    assert {path.name.partition(".jsonl")[0]: hashlib.sha256(held(path)).hexdigest() for path in cold.glob("btc*")} == sums
    assert [path.name for path in (tmp_path / "real_hot").glob("*.jsonl") if not path.name.startswith("_")] == [
        f"{slug(LATER - 86_400)}.jsonl"
    ]
    assert list(manifest.read(tmp_path / "real_hot")) == [f"{slug(LATER - 86_400)}.jsonl"] and young
    for name, entry in manifest.read(cold).items():
        assert name.endswith(".jsonl" + ending)
        assert (entry.bytes, entry.sha256) == ((cold / name).stat().st_size, manifest.sha256(cold / name))
        assert entry.plain_sha256 == sums[name.partition(".jsonl")[0]] and entry.lines == 24
    # Any tool reads it.
    raw = (cold / f"{slug(FIRST)}.jsonl{ending}").read_bytes()
    assert (
        before
        == {
            "zstd": lambda: zstandard.ZstdDecompressor().stream_reader(raw).read(),
            "gzip": lambda: gzip.decompress(raw),
            "none": lambda: raw,
        }[kind]()
    )
    assert len(DataAccessor(tmp_path).list_all_windows()) == 13 and DataAccessor(tmp_path).read_window(FIRST).result == "Up"
    verified = subprocess.run(
        [sys.executable, "-m", "tape_archive", "verify", "--root", str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout
    again = archive(tmp_path, "--compress", kind)
    assert again.returncode == 0 and "moved 0 windows" in again.stdout


def test_a_dry_run_says_the_true_sizes_and_changes_nothing(tmp_path: Path) -> None:
    record(tmp_path, 5)
    before = sorted(path.name for path in (tmp_path / "real_hot").iterdir())
    told = json.loads(archive(tmp_path, "--dry-run", "--json").stdout)
    assert not (tmp_path / "real_archive").exists() and before == sorted(path.name for path in (tmp_path / "real_hot").iterdir())
    done = json.loads(archive(tmp_path, "--json").stdout)
    assert told["dry_run"] and told["moved"] == done["moved"]
    cold = tmp_path / "real_archive" / "2026-01"
    assert {one["name"]: one["stored"] for one in told["moved"]} == {
        path.name.removesuffix(".zst"): path.stat().st_size for path in cold.glob("btc*")
    }


def test_what_stays_and_why(tmp_path: Path) -> None:
    hot(tmp_path, FIRST)
    hot(tmp_path, FIRST + LENGTH, resolved=False)
    hot(tmp_path, FIRST + 2 * LENGTH, sealed=False)
    grown = tmp_path / "real_hot" / f"{slug(FIRST + 3 * LENGTH)}.jsonl"
    hot(tmp_path, FIRST + 3 * LENGTH)
    with grown.open("ab") as file:
        file.write(b"\n")
    damaged = tmp_path / "real_hot" / f"{slug(FIRST + 4 * LENGTH)}.jsonl"
    hot(tmp_path, FIRST + 4 * LENGTH)
    damaged.write_bytes(damaged.read_bytes().replace(b'"0.', b'"1.', 1))
    (tmp_path / "real_hot" / "notes.jsonl").write_text("")
    ran = archive(tmp_path, "--json")
    assert ran.returncode == 3
    why = {one["name"]: one["why"] for one in json.loads(ran.stdout)["stayed"]}
    assert {name: text.split(":")[0] for name, text in why.items()} == {
        f"{slug(FIRST + LENGTH)}.jsonl": "not resolved",
        f"{slug(FIRST + 2 * LENGTH)}.jsonl": "not sealed",
        grown.name: "not sealed",
        damaged.name: "damaged",
        "notes.jsonl": "no start is known",
    }
    assert grown.exists() and damaged.exists()
    with Lock(tmp_path / "state" / "poly.lock"):
        ran = archive(tmp_path, "--unsealed", "--json")
        assert "not sealed: poly-record is running" in {one["why"] for one in json.loads(ran.stdout)["stayed"]}
    ran = archive(tmp_path, "--unresolved-after", "60", "--json")
    assert "not resolved" in ran.stdout
    ran = archive(tmp_path, "--unresolved-after", "20", "--unsealed", "--json")
    left = {one["name"] for one in json.loads(ran.stdout)["stayed"]}
    # What was grown after it was sealed is not what its manifest says.
    assert left == {damaged.name, grown.name, "notes.jsonl"}


def test_another_recording_of_the_same_window_is_never_overwritten(tmp_path: Path) -> None:
    hot(tmp_path, FIRST, books=3)
    assert archive(tmp_path).returncode == 0
    cold = tmp_path / "real_archive" / "2026-01" / f"{slug(FIRST)}.jsonl.zst"
    before = cold.read_bytes()
    hot(tmp_path, FIRST, books=5)
    ran = archive(tmp_path, "--compress", "gzip")
    assert ran.returncode == 3 and "another recording of it is archived" in ran.stdout
    assert cold.read_bytes() == before and (tmp_path / "real_hot" / f"{slug(FIRST)}.jsonl").exists()


def test_a_killed_run_is_finished_by_the_next(tmp_path: Path) -> None:
    """Each point between two steps: the copy is there and no entry; entered and not deleted; forgotten and not deleted."""
    sums = record(tmp_path / "a", 3) and record(tmp_path, 3)
    assert archive(tmp_path / "a").returncode == 0
    done = tmp_path / "a" / "real_archive" / "2026-01"
    cold = tmp_path / "real_archive" / "2026-01"
    cold.mkdir(parents=True)
    names = sorted(path.name for path in done.glob("btc*"))
    (cold / names[0]).write_bytes((done / names[0]).read_bytes()[:50])
    for name in names[1:]:
        (cold / name).write_bytes((done / name).read_bytes())
    manifest.put(cold, manifest.read(done)[names[2]])
    entries = manifest.read(tmp_path / "real_hot")
    (tmp_path / "real_hot" / manifest.NAME).unlink()
    for name in list(entries)[:2]:
        manifest.put(tmp_path / "real_hot", entries[name])
    (cold / f".{names[0]}.1.99999999.tmp").write_bytes(b"left")
    ran = archive(tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {path.name: path.read_bytes() for path in cold.iterdir()} == {path.name: path.read_bytes() for path in done.iterdir()}
    assert not list((tmp_path / "real_hot").glob("btc*")) and len(sums) == 3


def test_what_is_read_back_wrong_deletes_nothing(tmp_path: Path) -> None:
    record(tmp_path, 2)

    class Lying(LocalStore):
        def put(self, path: str, source: Any) -> Entry:
            entry = super().put(path, source)
            if path.endswith(".zst"):
                (self.root / path).write_bytes(b"\0" + (self.root / path).read_bytes()[1:])
            return entry

    mover = Mover(tmp_path / "real_hot", Lying(tmp_path / "cold"), "", Compression())
    names = sorted(path.name for path in (tmp_path / "real_hot").glob("btc*"))
    with pytest.raises(Corrupt):
        mover.move([Move(name, (tmp_path / "real_hot" / name).stat().st_size, "2026-01") for name in names], lambda one: None)
    assert sorted(path.name for path in (tmp_path / "real_hot").glob("btc*")) == names


def test_a_full_disk_stops_it_and_loses_nothing(tmp_path: Path) -> None:
    sums = record(tmp_path, 6, books=400)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    ran = archive(tmp_path, preexec_fn=limit)
    assert ran.returncode == DiskFull.exit_code and "Traceback" not in ran.stderr and "free some space" in ran.stderr, ran.stderr
    assert {path.stem for path in (tmp_path / "real_hot").glob("btc*")} == set(sums)
    assert archive(tmp_path).returncode == 0


def test_what_was_moved_before_the_disk_was_full_is_finished(tmp_path: Path) -> None:
    record(tmp_path, 6)

    class Full(LocalStore):
        left = 4

        def put(self, path: str, source: Any) -> Entry:
            self.left -= path.endswith(".zst")
            if self.left < 0 and path.endswith(".zst"):
                raise DiskFull(os.strerror(errno.ENOSPC))
            return super().put(path, source)

    store, told = Full(tmp_path / "cold"), []
    names = sorted(path.name for path in (tmp_path / "real_hot").glob("btc*"))
    moves = [Move(name, (tmp_path / "real_hot" / name).stat().st_size, "2026-01") for name in names]
    with pytest.raises(DiskFull):
        Mover(tmp_path / "real_hot", store, "", Compression()).move(moves, told.append)
    assert sorted(path.name for path in (tmp_path / "real_hot").glob("btc*")) == names[4:]
    assert len(manifest.read(tmp_path / "cold" / "2026-01")) == 4


def test_a_second_archiver_is_refused(tmp_path: Path) -> None:
    record(tmp_path, 1)
    with Lock(tmp_path / "state" / "archiver.lock"):
        ran = archive(tmp_path)
    assert ran.returncode == 11 and str(os.getpid()) in ran.stderr


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    record(tmp_path, 1)
    for options, said in (
        (("--level", "99"), "zstd has levels up to 22"),
        (("--target", "ftp://x/y"), "no store of kind 'ftp'"),
        (("--days", "-1"), "not in the range"),
    ):
        ran = archive(tmp_path, *options)
        assert ran.returncode == 2 and said in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
    assert archive(tmp_path / "nowhere").returncode == 1
    with pytest.raises(SettingsError, match="unknown compression"):
        compression("lz4")


def test_the_plan_by_the_windows_own_start() -> None:
    assert epoch("btc-updown-15m-1767507300.jsonl") == FIRST == epoch("btc-updown-15m-1767507300_1767507300_20260103_222417.jsonl")
    assert epoch("bitcoin-up-or-down-january-4-2026-1am-et.jsonl") == 0
    last = int(datetime(2025, 12, 31, 23, 45, tzinfo=UTC).timestamp())
    assert (month(last), month(last + 900)) == ("2025-12", "2026-01")
    made = plan([Window("a", 1, True, Facts(last, True)), Window("b", 1, True, Facts(last + 900, True))], last + 7 * 86_400, Rules())
    assert [one.folder for one in made.moves] == ["2025-12"] and made.young == 1


def test_old_tapes_are_packed_in_place(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for hour in range(3):
        at = hour * 3600.0
        if hour:
            register(writer.tape.turn(writer.ns(at), [mark_line(writer.ns(at), "tape", "tape", writer.head)], writer.ns(at) - 1))
        for n in range(200):
            writer.trade(at + 1 + n, hour * 200 + n)
    writer.seal(3 * 3600.0 - 1)
    for one in segments(tmp_path):
        register(one.file)
    found = segments(tmp_path)
    lines = {one.path: list(read_lines(one.file)) for one in found}
    assert found and tapes.old(tmp_path, LATER, 7)
    told = json.loads(archive(tmp_path, "--json").stdout)
    assert len(told["packed"]) == len(found)
    for one in segments(tmp_path):
        assert list(read_lines(one.file, sealed=True)) == lines[one.path]
        entry = manifest.read(one.file.parent)[one.file.name]
        assert entry.sha256 == manifest.sha256(one.file) and entry.plain_bytes == sum(len(line) + 1 for line in lines[one.path])
    assert json.loads(archive(tmp_path, "--json").stdout)["packed"] == []
    # Killed after the rename, before the manifest: the next run mends it.
    one = segments(tmp_path)[0]
    entry = manifest.read(one.file.parent)[one.file.name]
    entry.bytes, entry.sha256 = 1, "0" * 64
    manifest.put(one.file.parent, entry)
    assert len(json.loads(archive(tmp_path, "--json").stdout)["packed"]) == 1
    assert manifest.read(one.file.parent)[one.file.name].sha256 == manifest.sha256(one.file)


def test_the_same_content_gives_the_same_bytes() -> None:
    data = content(FIRST)
    for kind in ("zstd", "gzip"):
        one, other = (b"".join(compression(kind).pieces(iter([data[:n], data[n:]]))) for n in (1, 5000))
        assert one == other and b"".join(plain("x.zst" if kind == "zstd" else "x.gz", [one])) == data
        for cut in (1, len(one) // 2, len(one) - 1):
            with pytest.raises(Corrupt):
                list(plain("x.zst" if kind == "zstd" else "x.gz", [one[:cut]]))
