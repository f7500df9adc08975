"""Each kind of damage is told from each other, and makes the exit code that the page promises."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tape_archive.commands.verify import command
from tape_archive.format import manifest
from tape_archive.format.errors import NotFound
from tape_archive.format.lines import frame_line, mark_line
from tape_archive.format.segment import Appender
from tests.archive.commands.recordings import T, two_streams, window


def verified(root: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    result = CliRunner().invoke(command, ["--root", str(root), "--json"], standalone_mode=False)
    assert result.exception is None, result.exception
    verdicts = json.loads(result.stdout)
    return result.return_value, {verdict["path"]: (verdict["state"], verdict["why"]) for verdict in verdicts}


def test_a_good_recording(tmp_path: Path) -> None:
    two_streams(tmp_path)
    window(tmp_path)
    code, states = verified(tmp_path)
    assert code == 0 and sorted(state for state, _ in states.values()) == ["live", "sealed", "sealed", "sealed", "sealed"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def forge(path: Path) -> None:
    """Another valid file in its place."""
    path.unlink()
    appender = Appender(path)
    appender.append(mark_line(1, "tape", "tape", {"format": 1}) + mark_line(2, "tape", "seal", {"lines": 1}), 2)
    appender.close()


@pytest.mark.parametrize(
    ("damage", "state", "why"),
    [
        (flip, "corrupt", "zstd frame at byte 0"),
        (shorten, "corrupt", "was whole when it was sealed"),
        (forge, "corrupt", "not the file that the manifest names"),
        (Path.unlink, "missing", "the manifest names it"),
    ],
)
def test_damage_to_a_sealed_file(tmp_path: Path, damage: Callable[[Path], None], state: str, why: str) -> None:
    path = two_streams(tmp_path)[1]
    damage(path)
    code, states = verified(tmp_path)
    assert code == 1
    told = states.pop(str(path.relative_to(tmp_path)))
    assert told[0] == state and why in told[1]
    assert {state for state, _ in states.values()} == {"sealed"}


@pytest.mark.parametrize(
    ("more", "code", "state", "why"),
    [
        (b'{"t":%d,"s":"cl' % (T + 3), 3, "torn", "middle of a line"),
        (frame_line(T + 2, "clob-1", b"{}"), 1, "corrupt", "time goes back at line 4"),
        (b"garbage\n", 1, "corrupt", "line 4: not a tape line"),
        (mark_line(T + 3, "tape", "seal", {"lines": 2}), 1, "corrupt", "sealed with 2 lines of the last run, 3 are there"),
        (
            mark_line(T + 3, "tape", "seal", {"lines": 3}) + mark_line(T + 4, "tape", "clock", {}),
            1,
            "corrupt",
            "line 5 stands behind the seal",
        ),
        (mark_line(T + 3, "tape", "tape", {"format": 9}), 1, "newer", "upgrade"),
    ],
)
def test_what_may_be_wrong_with_a_live_file(tmp_path: Path, more: bytes, code: int, state: str, why: str) -> None:
    path = window(tmp_path)
    with path.open("ab") as file:
        file.write(more)
    got, states = verified(tmp_path)
    [told] = states.values()
    assert (got, told[0]) == (code, state) and why in told[1]


def test_the_manifest_itself_is_damaged(tmp_path: Path) -> None:
    path = two_streams(tmp_path)[0]
    (path.parent / manifest.NAME).write_bytes(b'{"name":\n')
    run = subprocess.run(
        [sys.executable, "-m", "tape_archive", "verify", "--root", str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert run.returncode == 1 and run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
    assert manifest.NAME in run.stderr


def test_nothing_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--root", str(tmp_path)], standalone_mode=False)
    assert isinstance(result.exception, NotFound)


def test_the_summary_of_a_person(tmp_path: Path) -> None:
    two_streams(tmp_path)[0].unlink()
    result = CliRunner().invoke(command, ["--root", str(tmp_path)], standalone_mode=False)
    first, last = result.stdout.splitlines()
    assert first.startswith("missing  raw/binance/spot/") and last == "4 files, 183 lines: 3 sealed, 0 live, 0 torn, 0 corrupt, 1 missing"
    assert result.return_value == 1
