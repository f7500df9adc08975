"""One line a file, and one damaged file does not hide the others."""

import json
from pathlib import Path

from click.testing import CliRunner

from tape_archive.commands.ls import command, rows
from tape_archive.format.errors import NotFound
from tape_archive.format.lines import frame_line
from tests.archive.commands.recordings import HOUR, T, two_streams, window


def test_what_is_there(tmp_path: Path) -> None:
    two_streams(tmp_path)
    window(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "cex_20260110_00.csv").write_text("a,b\n")
    result = CliRunner().invoke(command, ["--root", str(tmp_path)], standalone_mode=False)
    text = result.stdout.splitlines()
    assert [line.split()[0].split("/")[0] for line in text[:-1]] == ["raw"] * 4 + ["real_hot", "logs"]
    assert sum("61 lines" in line for line in text) == 4 and sum("sealed" in line for line in text) == 4
    assert text[-1].startswith("6 files, ")
    shown = json.loads(CliRunner().invoke(command, ["--root", str(tmp_path), "--json"], standalone_mode=False).stdout)
    assert [(row["sealed"], row["first_ns"], row["lines"]) for row in shown[:2]] == [(True, T, 61), (True, T + HOUR, 61)]
    assert (shown[4]["kind"], shown[4]["sealed"], shown[4]["last_ns"]) == ("window", False, T + 2)


def test_a_damaged_file_is_shown_as_such(tmp_path: Path) -> None:
    for path in two_streams(tmp_path)[:2]:
        path.write_bytes(b"not zstd at all")
    window(tmp_path)
    assert [row.state for row in rows(tmp_path)] == ["damaged", "damaged", "sealed", "sealed", "live"]
    result = CliRunner().invoke(command, ["--root", str(tmp_path)], standalone_mode=False)
    assert "tape verify --root" in result.stdout


def test_a_frame_that_speaks_of_a_seal_seals_nothing(tmp_path: Path) -> None:
    with window(tmp_path).open("ab") as file:
        file.write(frame_line(T + 9, "clob-1", b'{"mark":"seal"}'))
    assert [row.state for row in rows(tmp_path)] == ["live"]


def test_nothing_there(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        result = CliRunner().invoke(command, ["--root", str(root)], standalone_mode=False)
        assert isinstance(result.exception, NotFound)
