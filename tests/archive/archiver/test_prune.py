"""Retention deletes what is old and lies elsewhere too, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tape_archive.archiver.prune import Pruner, old
from tape_archive.format import cursor, manifest
from tape_archive.format.errors import Corrupt
from tape_archive.format.layout import segments
from tape_archive.format.lines import mark_line
from tape_archive.format.lock import Lock
from tape_archive.format.tape import register
from tape_archive.stores import LocalStore
from tests.support.parts import DAY, MIDNIGHT, SECOND, day, harvest
from tests.support.recording import environment
from tests.support.tapes import NOON, Writer
from tests.support.windows import FIRST, hot, record

NOW = NOON / SECOND + 100 * 86_400


def tapes(root: Path, hours: int = 5, stream: str = "spot", seal_last: bool = True) -> list[str]:
    """Sealed segments of one stream; gives their paths from the root."""
    writer = Writer(root, stream=stream)
    for hour in range(hours):
        at = hour * 3600.0
        if hour:
            register(writer.tape.turn(writer.ns(at), [mark_line(writer.ns(at), "tape", "tape", writer.head)], writer.ns(at) - 1))
        for n in range(20):
            writer.trade(at + 1 + n, hour * 20 + n)
    if seal_last:
        writer.seal(hours * 3600.0 - 1)
        register(segments(root, stream=stream)[-1].file)
    return [str(one.file.relative_to(root)) for one in segments(root, stream=stream)]


def prune(root: Path, *options: str, now: float = NOW) -> tuple[int, dict[str, Any]]:
    ran = shell(root, "--json", *options, now=now)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, json.loads(ran.stdout) if ran.stdout else {"error": ran.stderr}


def shell(root: Path, *options: str, now: float = NOW) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tape_archive", "prune", "--root", str(root), "--now", str(now), *options]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def paths(told: list[dict[str, Any]]) -> list[str]:
    return [one["path"] for one in told]


def files(root: Path) -> set[str]:
    return {
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name[0] not in "._" and "state" not in path.parts
    }


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Everything that may be old, here and in a copy."""
    root = tmp_path / "here"
    tapes(root)
    record(root, 4)
    command = [sys.executable, "-m", "tape_archive", "archive", "--no-tapes", "--root", str(root), "--now", str(FIRST + 90 * 86_400)]
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)
    for number in range(3):
        day(root, 4, 10, start=MIDNIGHT + number * DAY)
    harvest(root, "prices", 3)
    (root / "logs").mkdir()
    for name in ("cex_20260110_00.csv", "cex_20260110_12.csv", "cex_20260111_00.csv", "mine.csv"):
        (root / "logs" / name).write_text("a,b\n1,2\n")
    shutil.copytree(root, tmp_path / "there")
    return root, tmp_path / "there"


KEEP = [word for table in ("raw", "windows", "logs", "orderbook_ticks", "ofi_cvd") for word in ("--keep", f"{table}=30")]


def test_what_is_verified_elsewhere_goes_and_the_newest_stays(both: tuple[Path, Path]) -> None:
    root, there = both
    before = files(root)
    code, told = prune(root, *KEEP, "--target", str(there))
    assert code == 0 and told["dry_run"] and files(root) == before, "nothing changes without --apply"
    code, done = prune(root, *KEEP, "--target", str(there), "--apply")
    assert code == 0 and done | {"dry_run": True} == told and not done["stayed"]
    assert files(root) == before - set(paths(done["deleted"])) and files(there) == before
    assert {one["why"] for one in done["deleted"]} == {f"verified in {there}"}
    left = sorted(files(root))
    assert [name for name in left if name.startswith("raw/")] == [sorted(name for name in before if name.startswith("raw/"))[-1]]
    assert [name for name in left if "real_archive" in name] == [sorted(name for name in before if "real_archive" in name)[-1]]
    assert {name.split("/")[3] for name in left if name.startswith("orderbook_ticks")} == {"date=2026-01-12"}, "the whole of the newest day"
    assert len([name for name in left if name.startswith("ofi_cvd")]) == 3 and [name for name in left if "logs" in name] == [
        "logs/cex_20260111_00.csv",
        "logs/mine.csv",
    ]
    assert not (root / "orderbook_ticks/exchange=binance_spot/symbol=BTCUSDT/date=2026-01-10").exists()
    verified = subprocess.run(
        [sys.executable, "-m", "tape_archive", "verify", "--root", str(root)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout
    assert prune(root, *KEEP, "--target", str(there), "--apply")[1]["deleted"] == []


def test_without_a_copy_only_what_may_be_lost_by_name(both: tuple[Path, Path]) -> None:
    root, _ = both
    before = files(root)
    code, told = prune(root, *KEEP, "--apply")
    assert code == 3 and not told["deleted"] and files(root) == before
    assert all("no copy of it is known" in one["why"] and f"--allow-loss {one['table']} " in one["why"] for one in told["stayed"])
    code, told = prune(root, *KEEP, "--apply", "--allow-loss", "raw")
    assert (
        code == 3
        and {one["table"] for one in told["deleted"]} == {"raw"}
        and {one["why"] for one in told["deleted"]} == {"--allow-loss raw"}
    )
    assert len([name for name in files(root) if name.startswith("raw/")]) == 1


@pytest.mark.parametrize("harm", ["gone", "cut", "other", "here"])
def test_what_is_not_the_same_there_stays(both: tuple[Path, Path], harm: str) -> None:
    root, there = both
    victims = [
        sorted(name for name in files(root) if name.startswith(folder))[0]
        for folder in ("raw/", "real_archive/", "orderbook_ticks/", "logs/")
    ]
    for name in victims:
        place = root if harm == "here" else there
        content = (place / name).read_bytes()
        if harm == "gone":
            (place / name).unlink()
        elif harm == "cut":
            (place / name).write_bytes(content[:-3])
        else:
            (place / name).write_bytes(content[:-3] + bytes(byte ^ 1 for byte in content[-3:]))
    code, told = prune(root, *KEEP, "--target", str(there), "--apply")
    assert code == 3 and sorted(paths(told["stayed"])) == sorted(victims)
    assert all((root / name).exists() for name in victims) and len(told["deleted"]) > 10
    said = {
        "gone": ("not in",),
        "cut": ("cannot be used", "something else"),
        "other": ("cannot be used", "something else"),
        "here": ("damaged here", "something else"),
    }
    assert all(any(words in one["why"] for words in said[harm]) for one in told["stayed"]), told["stayed"]


def test_a_packed_copy_of_another_compression_is_the_same_content(both: tuple[Path, Path]) -> None:
    root, there = both
    shutil.rmtree(there)
    shutil.copytree(root, there)
    command = [sys.executable, "-m", "tape_archive", "archive", "--root", str(there), "--now", str(NOW)]
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)
    raw = sorted(name for name in files(root) if name.startswith("raw/"))
    assert all((root / name).read_bytes() != (there / name).read_bytes() for name in raw), "packed there, not here"
    code, told = prune(root, "--keep", "raw=30", "--target", str(there), "--apply")
    assert code == 0 and paths(told["deleted"]) == raw[:-1]


def test_the_root_itself_is_no_copy(both: tuple[Path, Path], tmp_path: Path) -> None:
    root, _ = both
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "raw").symlink_to(root / "raw")
    before = files(root)
    for target in (root, tmp_path / "link", root / ".." / "here"):
        code, told = prune(root, *KEEP, "--target", str(target), "--apply")
        assert code == 2 and files(root) == before, told
    ran = shell(root, *KEEP, "--target", str(root), "--apply")
    assert "what lies there is no copy" in ran.stderr
    code, told = prune(root, "--keep", "raw=1", "--target", str(tmp_path / "half"), "--apply")
    assert code in (2, 10) and files(root) == before, "a link that leads back is refused"
    assert not [path for path in root.rglob(".same-*")]


def test_what_a_cursor_needs_stays(tmp_path: Path) -> None:
    names = tapes(tmp_path, 40)
    keep = ("--keep", "raw=30", "--allow-loss", "raw")
    cursor.save(tmp_path / "state" / "cex.cursor", cursor.Cursor(t=NOON + 30 * 3600 * SECOND))
    code, told = prune(tmp_path, *keep, "--apply")
    assert code == 3 and paths(told["deleted"]) == names[:6], "and a day before it: a recorder may begin earlier"
    assert {one["why"] for one in told["stayed"]} == {"a cursor in state still needs it"}
    (tmp_path / "state" / "cex.cursor").write_bytes(b"{")
    ran = shell(tmp_path, *keep, "--apply")
    assert ran.returncode == Corrupt.exit_code and "remove it to begin anew" in ran.stderr and len(segments(tmp_path)) == 34
    (tmp_path / "state" / "cex.cursor").unlink()
    (tmp_path / "logs").mkdir()
    for name in ("cex_20260110_00.csv", "cex_20260111_00.csv", "cex_20260112_00.csv"):
        (tmp_path / "logs" / name).write_text("x\n")
    cursor.save(tmp_path / "state" / "cex.cursor", cursor.Cursor(outputs={"logs/cex_20260111_00.csv": 2}))
    code, told = prune(tmp_path, "--keep", "logs=5", "--allow-loss", "logs", "--apply")
    assert code == 3 and paths(told["deleted"]) == ["logs/cex_20260110_00.csv"] and paths(told["stayed"]) == ["logs/cex_20260111_00.csv"]


def test_ticks_that_a_recorder_may_still_write_stay(tmp_path: Path) -> None:
    for number in range(3):
        day(tmp_path, 2, 5, start=MIDNIGHT + number * DAY)
    cursor.save(tmp_path / "state" / "ticks.cursor", cursor.Cursor(t=MIDNIGHT + DAY + 5))
    code, told = prune(tmp_path, "--keep", "orderbook_ticks=30", "--allow-loss", "orderbook_ticks", "--apply")
    assert code == 3 and len(told["deleted"]) == 2 and len(told["stayed"]) == 2 and "ticks.cursor" in told["stayed"][0]["why"]


def test_what_is_not_sealed_stays_and_a_killed_run_is_finished(tmp_path: Path) -> None:
    names = tapes(tmp_path, 4, "live", seal_last=False)
    keep = ("--keep", "raw=30", "--allow-loss", "raw", "--apply")
    folder = (tmp_path / names[0]).parent
    entries = manifest.read(folder)
    (folder / manifest.NAME).unlink()
    # Of a run that was killed between the manifest and the deletion: sealed, and no longer named.
    manifest.put(folder, entries[Path(names[2]).name])
    torn = tmp_path / names[1]
    torn.write_bytes(torn.read_bytes()[:-30])
    code, told = prune(tmp_path, *keep)
    assert code == 3 and paths(told["deleted"]) == [names[0], names[2]] and paths(told["stayed"]) == [names[1]]
    assert "not sealed" in told["stayed"][0]["why"] and (tmp_path / names[3]).exists()


def test_settings(both: tuple[Path, Path], tmp_path: Path) -> None:
    root, there = both
    file = tmp_path / "tape.yaml"
    file.write_text(f"cex: {{hz: 1}}\narchiver:\n  target: {there}\n  retention: {{raw: 30, orderbook_ticks/okx: 1, logs: 3650}}\n")
    code, told = prune(root, "--config", str(file))
    assert code == 0 and {one["table"] for one in told["deleted"]} == {"raw"} and told["young"] == 3 + 12
    assert {
        one["table"]
        for one in prune(root, "--config", str(file), "--keep", "raw=3650", "--keep", "orderbook_ticks/binance_spot=9")[1]["deleted"]
    } == {"orderbook_ticks"}
    for content, said in (
        ("archiver: {retention: {row: 3}}", "did you mean 'raw'"),
        ("archiver: {retention: {raw: -3}}", "no days to keep it"),
        ("archiver: {retentoin: {raw: 3}}", "retentoin"),
        ("archiver: [", "is not YAML"),
        ("x", "is not YAML of sections"),
    ):
        file.write_text(content)
        ran = shell(root, "--config", str(file))
        assert ran.returncode == 2 and said in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
    for options, said in (
        ((), "say how long what is kept"),
        (("--keep", "raw"), "expected <table>=<days>"),
        (("--keep", "raw=1", "--allow-loss", "rwa"), "did you mean 'raw'"),
        (("--keep", "raw=1", "--allow-loss", "raw/x"), "give the whole table"),
        (("--keep", "raw=1", "--config", "/nowhere"), "cannot read"),
    ):
        ran = shell(root, *options)
        assert ran.returncode == 2 and said in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
    assert shell(tmp_path / "nowhere", "--keep", "raw=1").returncode == 1
    with Lock(root / "state" / "archiver.lock"):
        assert shell(root, "--keep", "raw=1").returncode == 11


def test_the_screen(both: tuple[Path, Path]) -> None:
    root, there = both
    shown = shell(root, *KEEP, "--target", str(there)).stdout
    assert "would delete" in shown and shown.rstrip().endswith("; --apply deletes") and "raw" in shown
    assert "deleted " in shell(root, *KEEP, "--target", str(there), "--apply").stdout


def test_a_store_that_goes_away_deletes_nothing_more(both: tuple[Path, Path]) -> None:
    from tape_archive.format.errors import StoreUnavailable

    root, there = both

    class Away(LocalStore):
        left = 3

        def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Any:
            self.left -= 1
            if self.left < 0:
                raise StoreUnavailable("gone")
            return super().chunks(path, offset, size)

    before, gone = files(root), []
    items = old(root, {"raw": 30.0}, NOW).items
    assert len(items) == 4
    with pytest.raises(StoreUnavailable):
        Pruner(root, Away(there), dry_run=False).run(items, gone.append, lambda one: None)
    assert files(root) == before - {one.path for one in gone}


def test_a_part_of_a_table_and_the_edge_of_its_age(tmp_path: Path) -> None:
    names = tapes(tmp_path, 3)
    end = NOON / SECOND + 3600
    for now, count in ((end + 10 * 86_400 - 1, 0), (end + 10 * 86_400, 1), (end + 10 * 86_400 + 3600, 2), (end + 99 * 86_400, 2)):
        assert [item.path for item in old(tmp_path, {"raw/binance_spot": 10.0}, now).items] == names[:count]
    assert old(tmp_path, {"raw/okx": 0.0}, NOW).items == [] and old(tmp_path, {"raw": 0.0, "raw/binance_spot": 1e5}, NOW).items == []


def test_hot_windows_are_never_pruned(tmp_path: Path) -> None:
    hot(tmp_path, FIRST)
    hot(tmp_path, FIRST + 900)
    code, told = prune(tmp_path, "--keep", "windows=1", "--allow-loss", "windows", "--apply")
    assert code == 0 and not told["deleted"] and len(files(tmp_path)) == 2
