"""Lines come out in order of time over all tapes, in the range that was asked, and as they grow over the turn of an hour."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tape_archive.commands.cat import Tail, command
from tape_archive.format.errors import Corrupt, NotFound, SettingsError
from tape_archive.format.layout import segments
from tape_archive.format.lines import frame_line, parse
from tape_archive.format.tape import Tape
from tests.archive.commands.recordings import HOUR, SECOND, T, head, two_streams, window


def cat(*arguments: object) -> list[bytes]:
    result = CliRunner().invoke(command, [str(one) for one in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout_bytes.splitlines()


def test_streams_of_a_venue_come_in_order_of_time(tmp_path: Path) -> None:
    two_streams(tmp_path)
    times = [parse(line).t for line in cat("--root", tmp_path, "--venue", "binance")]
    assert times == sorted(times) and len(times) == 2 * (2 + 2 + 118)


@pytest.mark.parametrize(("since", "until"), [(0, 0), (30, 90), (59, 61), (61, 200), (-9, 10)])
def test_a_range_of_all_streams(tmp_path: Path, since: int, until: int) -> None:
    two_streams(tmp_path)
    asked = ["--from", T + since * 60 * SECOND] if since else []
    asked += ["--to", T + until * 60 * SECOND + 5] if until else []
    got = cat("--root", tmp_path, "--venue", "binance", "--raw", *asked)
    everything = [n for n in range(120) if n % 60]
    wanted = [n for n in everything if (not since or n >= since) and (not until or n <= until)]
    assert got == [b'{"n":%d}' % n for n in wanted for _ in range(2)]


def test_marks_and_raw_frames_of_one_file(tmp_path: Path) -> None:
    path = window(tmp_path)
    assert [parse(line).mark for line in cat(path, "--marks")] == ["tape"]
    assert cat(path, "--raw") == [b'[{"event_type":"book"}]', b"PONG"]
    assert cat(path) == path.read_bytes().splitlines()


def test_what_is_not_there(tmp_path: Path) -> None:
    two_streams(tmp_path)
    with pytest.raises(SettingsError, match="name a file, or --venue"):
        cat("--root", tmp_path)
    with pytest.raises(NotFound, match="no tape of okx under"):
        cat("--root", tmp_path, "--venue", "okx")
    with pytest.raises(NotFound, match="is not there"):
        cat(tmp_path / "x.jsonl")


def test_what_is_no_tape_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text('{"a":1}\n')
    with pytest.raises(Corrupt, match="not a tape line"):
        cat(tmp_path / "notes.jsonl")


def test_a_tail_goes_on_in_the_next_segment_and_loses_nothing(tmp_path: Path) -> None:
    tape = Tape(tmp_path, "binance", "spot")
    tape.turn(T, head(T))
    [first] = segments(tmp_path)
    tail = Tail(first.file, tmp_path, first)
    got = list(tail.poll())
    for n in range(1, 200):
        t = T + n * HOUR // 40
        if n % 40 == 0:
            tape.turn(t, head(t))
        tape.append(frame_line(t + 1, "spot-1", b"{}"), 1)
        if n % 7 == 0:
            got += tail.poll()
    tape.seal(T + 5 * HOUR - 1)
    while more := tail.poll():
        got += more
    assert got == cat("--root", tmp_path, "--venue", "binance")


def test_following_prints_what_comes(tmp_path: Path) -> None:
    path = window(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-m", "tape_archive", "cat", "-f", str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    try:
        lines = [child.stdout.readline() for _ in range(3)]
        with path.open("ab") as file:
            file.write(frame_line(T + 9, "clob-1", b'{"late":1}'))
        lines.append(child.stdout.readline())
        assert b"".join(lines) == path.read_bytes()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
