"""Old scripts read hot and cold windows as files under real/; nothing else changes, and the undo is complete."""

from __future__ import annotations

import builtins
import glob
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_path_compat
from cex_split_file_helper import get_output_path
from tape_access import DataAccessor
from tape_access.path_compat import matching, name_under
from tests.access.test_remote import archived
from tests.support.recording import environment
from tests.support.sshd import sshd
from tests.support.windows import FIRST, LENGTH, content, hot, slug

PATCHED = [
    (builtins, "open"),
    (io, "open"),
    (os, "stat"),
    (os, "lstat"),
    (os, "access"),
    (os, "listdir"),
    (os, "scandir"),
    (glob, "glob"),
    (glob, "iglob"),
    (pathlib.Path, "glob"),
]
COLD, HOT = f"{slug(FIRST)}.jsonl", f"{slug(FIRST + 5 * LENGTH)}.jsonl"


@pytest.fixture
def patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    archived(tmp_path / "data", 2)
    hot(tmp_path / "data", FIRST + 5 * LENGTH)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    data_path_compat.auto_patch(DataAccessor(tmp_path / "data", tmp_path / "cache"))
    yield work
    data_path_compat.unpatch_all()


def read(path: Any, mode: str = "r") -> Any:
    with open(path, mode) as file:
        return file.read()


def test_hot_and_cold_alike(patched: Path) -> None:
    names = [COLD, f"{slug(FIRST + LENGTH)}.jsonl", HOT]
    assert (
        sorted(os.listdir("real")) == names == sorted(glob.glob1("real", "*.jsonl")) == sorted(entry.name for entry in os.scandir("real"))
    )
    assert sorted(glob.glob("real/btc-updown-15m-*.jsonl")) == [f"real/{name}" for name in names] == sorted(glob.iglob("real/*"))
    assert sorted(glob.glob("./real/*.jsonl")) == [f"./real/{name}" for name in names]
    assert sorted(Path("real").glob("btc-*.jsonl")) == [Path("real") / name for name in names] == sorted(Path("real").iterdir())
    for name, start in ((COLD, FIRST), (HOT, FIRST + 5 * LENGTH)):
        whole = content(start)
        path = f"real/{name}"
        with open(path, "rb") as file:
            assert file.read() == whole
        with open(path) as text, io.open(f"./real/{name}", encoding="utf-8") as other:
            assert text.read() == whole.decode() == other.read()
        assert Path(path).read_bytes() == whole == read(Path("real", name), "rb") and Path(path).read_text() == whole.decode()
        assert os.path.exists(path) and os.path.isfile(path) and Path(path).exists() and Path(path).is_file() and not os.path.isdir(path)
        assert os.path.getsize(path) == len(whole) == os.stat(path).st_size == Path(path).stat().st_size
        assert os.access(path, os.R_OK) and os.access(path, os.F_OK) and not os.access(path, os.W_OK) and not os.access(path, os.X_OK)
        assert [json.loads(line) for line in read(path).splitlines()]
    assert os.path.isdir("real") and Path("real").is_dir() and not os.path.isfile("real")
    assert [found for _, _, found in os.walk("real")] == [names]
    assert os.access("real", os.R_OK | os.X_OK) and not os.access("real", os.W_OK) and not os.access("real/none.jsonl", os.F_OK)
    assert (
        sorted(glob.glob("real/**/*.jsonl", recursive=True))
        == [f"real/{name}" for name in names]
        == sorted(map(str, Path("real").rglob("*.jsonl")))
    )


def test_pandas_reads_them(patched: Path) -> None:
    import pandas as pd

    for name, start in ((COLD, FIRST), (HOT, FIRST + 5 * LENGTH)):
        assert len(pd.read_json(f"real/{name}", lines=True)) == content(start).count(b"\n")


def test_what_is_not_there_is_not_there(patched: Path) -> None:
    for path in ("real/btc-updown-15m-1.jsonl", "real/notes.txt", "real/sub/dir.jsonl", f"real/{slug(FIRST + 99 * LENGTH)}.jsonl"):
        assert not os.path.exists(path) and not Path(path).exists()
        for call in (open, os.stat, lambda one: Path(one).read_text()):
            with pytest.raises(FileNotFoundError):
                call(path)
    assert glob.glob("real/eth-*.jsonl") == [] and glob.glob("real/none.jsonl") == [] and glob.glob(f"real/{COLD}") == [f"real/{COLD}"]


def test_windows_are_for_reading(patched: Path) -> None:
    for mode in ("w", "a", "x", "r+", "wb"):
        with pytest.raises(PermissionError, match="for reading only"):
            open(f"real/{COLD}", mode)
        with pytest.raises(PermissionError, match="for reading only"):
            Path("real", "new.jsonl").open(mode)


def test_a_folder_of_the_users_own_comes_first_and_stays(patched: Path) -> None:
    Path("real").mkdir()
    (Path("real") / "mine.txt").write_text("mine")
    with pytest.raises(PermissionError):
        (Path("real") / COLD).write_text("another")
    (patched / "aside").write_text("another")
    os.rename("aside", f"real/{COLD}")
    assert read("real/mine.txt") == "mine" and read(f"real/{COLD}") == "another" and os.path.getsize("real/mine.txt") == 4
    assert sorted(os.listdir("real")) == sorted(["mine.txt", COLD, f"{slug(FIRST + LENGTH)}.jsonl", HOT])
    assert read(f"real/{HOT}", "rb") == content(FIRST + 5 * LENGTH)
    with open("real/mine.txt", "a") as file:
        file.write("!")
    data_path_compat.unpatch_all()
    assert sorted(os.listdir("real")) == sorted(["mine.txt", COLD]) and [path.name for path in patched.iterdir()] == ["real"]


def test_every_other_path_means_what_it_meant(patched: Path, tmp_path: Path) -> None:
    (patched / "other").mkdir()
    (patched / "other" / "real").mkdir()
    for path in ("file.txt", "other/file.txt", "other/real/x.jsonl", "really.txt", str(tmp_path / "absolute.txt")):
        with open(path, "w") as file:
            file.write(path)
        assert read(path) == path and os.path.getsize(path) == len(path) and Path(path).read_text() == path
    assert os.listdir("other/real") == ["x.jsonl"] and glob.glob("other/real/*") == ["other/real/x.jsonl"]
    assert glob.glob("real*") == ["really.txt"]
    with open(os.open("file.txt", os.O_RDONLY)) as by_descriptor:
        assert by_descriptor.read() == "file.txt"
    assert os.stat("file.txt", follow_symlinks=False).st_size == 8
    subprocess.run([sys.executable, "-c", "print(1)"], check=True, capture_output=True)


def test_the_undo_is_complete_and_patching_twice_is_fine(tmp_path: Path) -> None:
    before = [vars(owner)[name] for owner, name in PATCHED]
    everything = {(module.__name__, name): value for module in (builtins, io, os, os.path, glob) for name, value in vars(module).items()}
    methods = dict(vars(pathlib.Path))
    archived(tmp_path, 1)
    for _ in range(3):
        data_path_compat.auto_patch(DataAccessor(tmp_path, tmp_path / "cache"))
    assert all(vars(owner)[name] is not was for (owner, name), was in zip(PATCHED, before, strict=True))
    data_path_compat.unpatch_all()
    data_path_compat.unpatch_all()
    assert {
        (module.__name__, name): value for module in (builtins, io, os, os.path, glob) for name, value in vars(module).items()
    } == everything
    assert dict(vars(pathlib.Path)) == methods
    data_path_compat.patch_glob(DataAccessor(tmp_path, tmp_path / "cache"))
    assert builtins.open is before[0]
    data_path_compat.unpatch_all()


def test_threads(patched: Path) -> None:
    problems: list[BaseException] = []

    def work(name: str, start: int) -> None:
        try:
            for _ in range(50):
                assert read(f"real/{name}", "rb") == content(start)
                assert len(os.listdir("real")) == 3
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=one) for one in [(COLD, FIRST), (HOT, FIRST + 5 * LENGTH)] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


@given(st.text(alphabet="real/.x_\\-", max_size=12))
def test_only_paths_under_real_are_touched(text: str) -> None:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    under = text[:1] != "/" and bool(parts) and parts[0] == "real" and len(parts) <= 2 and ".." not in parts
    assert (name_under(text) is not None) == under
    assert name_under(f"/abs/{text}") is None and name_under(3) is None and name_under(None) is None


def test_patterns_of_older_names() -> None:
    names = [COLD, "eth-updown-15m-1767507300.jsonl"]
    assert matching(names, "btc-updown-15m-*_*.jsonl") == [COLD]
    assert matching(names, f"btc-updown-15m-{FIRST}_*.jsonl") == [COLD]
    assert matching(names, "*.jsonl") == names and matching(names, "eth*") == names[1:] and matching(names, "x*_*.jsonl") == []


def test_the_split_helper() -> None:
    assert get_output_path("logs/cex.csv", 0) == "logs/cex.csv"
    for hours, ends in ((24, 8), (12, 11), (6, 11), (1, 11)):
        stem = Path(get_output_path("logs/cex.csv", hours)).stem
        assert stem.startswith("cex_2") and len(stem) == 4 + ends
    assert get_output_path("a/b.csv").startswith("a/b_")
    with pytest.raises(ValueError, match="expected 0, 1, 6, 12 or 24"):
        get_output_path("x.csv", 5)


def test_the_two_line_migration(tmp_path: Path) -> None:
    """The sample script over a full folder, and with two lines more over SSH: the same output."""
    examples = Path(__file__).parents[2] / "examples"
    old, new = (examples / f"strategy_{name}.py" for name in ("before", "after"))
    added = [line for line in new.read_text().splitlines() if line not in old.read_text().splitlines() and '"""' not in line]
    assert added == ["from data_path_compat import auto_patch", "auto_patch()"]
    whole = tmp_path / "whole"
    (whole / "real").mkdir(parents=True)
    for n in range(6):
        (whole / "real" / f"{slug(FIRST + n * LENGTH)}.jsonl").write_bytes(content(FIRST + n * LENGTH))
    archived(tmp_path / "vps", 5)
    hot(tmp_path / "vps", FIRST + 5 * LENGTH)
    (tmp_path / "mac").mkdir()
    before = subprocess.run([sys.executable, str(old)], cwd=whole, capture_output=True, text=True, check=True, env=environment())
    with sshd(tmp_path / "sshd") as server:
        shutil.copy(server.known_hosts, tmp_path / "known")
        extra = {
            "VPS_HOST": "127.0.0.1",
            "VPS_USER": server.user,
            "VPS_PORT": str(server.port),
            "VPS_PEM_KEY": str(server.key),
            "VPS_PATH": str(tmp_path / "vps"),
        }
        known = Path.home() / ".ssh" / "known_hosts"
        was = known.read_bytes() if known.exists() else None
        known.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with known.open("a") as file:
                file.write(f"[127.0.0.1]:{server.port} {(server.folder / 'host.pub').read_text()}")
            after = subprocess.run(
                [sys.executable, str(new)],
                cwd=tmp_path / "mac",
                capture_output=True,
                text=True,
                check=False,
                env=environment() | extra | {"TAPE_CACHE": str(tmp_path / "cache")},
            )
        finally:
            known.write_bytes(was) if was is not None else known.unlink()
    assert after.returncode == 0, after.stderr
    assert after.stdout == before.stdout and "6 windows" in after.stdout
