"""A recorder goes on whatever it finds of earlier runs, and never touches what is sealed or damaged."""

import os
import threading
from pathlib import Path

from tape_archive.format import manifest
from tape_archive.format.layout import segments
from tape_archive.format.lines import frame_line, mark_line, parse
from tape_archive.format.read import last_line, read_lines
from tape_archive.format.tape import FileTape, Tape, register

HOUR = 3_600_000_000_000
T = 490_000 * HOUR


def head(t: int) -> list[bytes]:
    return [mark_line(t, "tape", "tape", {"format": 1})]


def recorded(root: Path, t: int, frames: int) -> Tape:
    tape = Tape(root, "binance_spot", "spot")
    tape.turn(t, head(t))
    for n in range(frames):
        tape.append(frame_line(t + 1 + n, "spot-1", b"{}"), 1)
    return tape


def test_an_hour_ends_sealed_and_registered_and_its_seal_counts_its_lines(tmp_path: Path) -> None:
    tape = recorded(tmp_path, T, 5)
    sealed = tape.turn(T + HOUR, head(T + HOUR))
    assert sealed is not None
    seal = parse(last_line(sealed) or b"")
    assert (seal.mark, seal.fields) == ("seal", {"lines": 6})
    entry = register(sealed)
    assert manifest.read(sealed.parent) == {sealed.name: entry}
    assert (entry.lines, entry.frames, entry.first_ns, entry.last_ns, entry.sha256) == (7, 5, T, T + HOUR - 1, manifest.sha256(sealed))
    tape.seal(T + HOUR + 1)
    assert [s.hour for s in segments(tmp_path)] == [T, T + HOUR]


def test_a_run_goes_on_in_the_segment_of_a_killed_one_and_counts_its_own_lines(tmp_path: Path) -> None:
    tape = recorded(tmp_path, T, 3)
    assert tape.file is not None
    os.close(tape.file._fd)
    again = Tape(tmp_path, "binance_spot", "spot")
    assert again.last_t() == T + 3
    again.turn(T + 100, head(T + 100))
    path = again.seal(T + 101)
    assert path is not None and len(segments(tmp_path)) == 1
    assert [parse(one).mark for one in read_lines(path, sealed=True)] == ["tape", None, None, None, "tape", "seal"]
    assert parse(last_line(path) or b"").fields == {"lines": 1}


def test_a_sealed_segment_is_not_opened_again(tmp_path: Path) -> None:
    first = recorded(tmp_path, T, 1).seal(T + 9)
    assert first is not None
    content = first.read_bytes()
    recorded(tmp_path, T + 10, 1).seal(T + 19)
    assert [s.turn for s in segments(tmp_path)] == [0, 1] and first.read_bytes() == content


def test_a_frame_that_speaks_of_a_seal_is_no_seal(tmp_path: Path) -> None:
    tape = recorded(tmp_path, T, 0)
    tape.append(frame_line(T + 1, "spot-1", b'{"mark":"seal"}'), 1)
    assert tape.file is not None
    os.close(tape.file._fd)
    recorded(tmp_path, T + 10, 1).seal(T + 19)
    assert len(segments(tmp_path)) == 1


def test_a_damaged_segment_is_left_alone_and_recording_goes_on_beside_it(tmp_path: Path) -> None:
    tape = recorded(tmp_path, T, 3)
    path = tape.path
    tape.roll()
    tape.append(frame_line(T + 50, "spot-1", b"{}"), 1)
    assert tape.file is not None
    tape.file.close()
    damaged = path.read_bytes() + b"a file that somebody has edited"
    path.write_bytes(damaged)
    again = Tape(tmp_path, "binance_spot", "spot")
    assert again.last_t() == T + 50
    again.turn(T + 60, head(T + 60))
    again.seal(T + 61)
    assert path.read_bytes() == damaged
    assert [s.turn for s in segments(tmp_path)] == [0, 1]


def test_sync_in_another_thread_while_the_tape_turns(tmp_path: Path) -> None:
    tape, errors, done = recorded(tmp_path, T, 1), [], threading.Event()

    def sync() -> None:
        try:
            while not done.is_set():
                tape.sync()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=sync)
    thread.start()
    for n in range(1, 25):
        tape.turn(T + n * HOUR, head(T + n * HOUR))
    done.set()
    thread.join()
    tape.seal(T + 25 * HOUR)
    assert not errors and len(segments(tmp_path)) == 25


def test_a_window_is_left_and_taken_up_again(tmp_path: Path) -> None:
    path = tmp_path / "real_hot" / "btc-updown-15m-1767507300.jsonl"
    tape = FileTape(path)
    assert not tape.known
    tape.append(frame_line(1, "clob-1", b"{}"), 1)
    tape.close()
    with path.open("ab") as file:
        file.write(b'{"t":2,"s":"cl')
    tape = FileTape(path)
    assert tape.known
    tape.append(frame_line(3, "clob-2", b"{}"), 1)
    tape.seal(4)
    assert [parse(one).t for one in read_lines(path, sealed=True)] == [1, 3, 4]
