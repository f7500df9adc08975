"""A tick of many markets is made by pieces: frames that come meanwhile are on the tape before it is done, and its rows are the same."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from tape_archive.format.clock import TapeClock
from tape_archive.format.layout import segments
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_archive.format.tape import Tape
from tape_collectors.market.sampler import Sample, Sampler, Setup, TickSetup
from tape_collectors.runtime import recorder as runtime
from tape_collectors.runtime.recorder import Recorder
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.series import derive
from tape_collectors.series.ticks import TickOutput
from tape_collectors.sinks.csv import committed, lines
from tape_collectors.sinks.fanout import Fanout
from tape_collectors.sinks.series import Series
from tape_collectors.venues import load
from tape_collectors.venues.protocol import Group

SECOND = 10**9
MS = 10**6
HOUR = 1_800_000_000 * SECOND
VENUE = "bybit_linear"
COUNT = 12
SYMBOLS = [f"M{number:02}USDT" for number in range(COUNT)]
SETUP = Setup(tuple((VENUE, symbol) for symbol in SYMBOLS))
GROUP = Group("public", "", tuple(f"orderbook.50.{symbol}" for symbol in SYMBOLS))


def book(number: int, symbol: str, kind: str = "delta") -> bytes:
    """A frame; a whole book or the next change of it, which moves the best bid."""
    bids, asks = [[f"99.{number % 10}", f"{number}"]], [["101.0", "1"]]
    data = {"s": symbol, "b": bids, "a": asks, "u": number, "seq": number}
    return json.dumps({"topic": f"orderbook.50.{symbol}", "type": kind, "ts": number, "data": data, "cts": number}).encode()


class Machine:
    """A recorder of one tape with the series as its consumer; its clock is moved by hand, and no work is done but by ``work``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = HOUR - 5 * SECOND
        self.series = Series(root, SETUP)
        self.ticks = TickOutput(root, self.series.sampler, TickSetup())
        self.recorder = Recorder(TapeClock(lambda: self.now, lambda: self.now), Fanout([self.ticks, self.series]))
        described = {"venue": VENUE, "run": "r", "setup": msgspec.to_builtins(SETUP)}
        self.intake = TapeIntake(self.recorder, VENUE, Tape(root, VENUE, GROUP.name), load(VENUE).feed, lambda: described)
        self.number = 0

    def begin(self) -> None:
        """Every market has its book."""
        self.recorder.start(asyncio.get_running_loop())
        self.intake.opened("public-1", GROUP)
        for symbol in SYMBOLS:
            self.frame(symbol, "snapshot")
        self.recorder.work(60.0)

    def frame(self, symbol: str, kind: str = "delta") -> None:
        self.now += MS
        self.number = 1 if kind == "snapshot" else self.number + 1
        self.intake.frame("public-1", book(self.number, symbol, kind))

    def change(self) -> None:
        """Every market changes."""
        before = self.number
        for symbol in SYMBOLS:
            self.number = before
            self.frame(symbol)

    def written(self) -> int:
        """Lines that are on the tape."""
        return self.intake.lines

    def frames(self) -> int:
        """Book frames on the tape, as a reader finds them."""
        self.intake.roll()
        return sum(b'"topic"' in raw for segment in segments(self.root, VENUE) for raw in read_lines(segment.file))

    def rebuilt(self, to: Path) -> bytes:
        derive.write(self.root, to)
        return (to / SETUP.out).read_bytes()

    def rows(self) -> bytes:
        return (self.root / SETUP.out).read_bytes()


async def test_frames_that_come_while_a_tick_is_made_are_on_the_tape_before_it_is_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.begin()
    machine.now += SECOND
    machine.frame(SYMBOLS[0])
    machine.recorder.work(0.0)
    turns = 1
    while not machine.series.file.rows:
        before = machine.written()
        machine.frame(SYMBOLS[1])
        machine.recorder.work(0.0)
        turns += 1
        assert machine.written() == before + 1, "appended by the next turn of the loop, whatever is being made"
    assert turns > COUNT
    assert machine.frames() == COUNT + turns
    machine.recorder.close()
    machine.series.file.close()
    assert machine.rows() == machine.rebuilt(tmp_path / "again"), "no row has anything of the frames that came while it was made"


@pytest.mark.parametrize("limit", [runtime.LIMIT, 200], ids=["from memory", "from the tape"])
async def test_rows_are_the_same_however_short_the_slices_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(runtime, "LIMIT", limit)
    machine = Machine(tmp_path)
    machine.begin()
    behind = 0
    for _ in range(4):
        # A turn of the hour is among them, and a tick in the middle of which decoding falls behind.
        machine.now += SECOND * 2
        machine.change()
        for _ in range(3 * COUNT):
            machine.frame(SYMBOLS[0])
            machine.recorder.work(0.0)
            behind += machine.recorder.behind
    machine.recorder.close()
    machine.series.file.close()
    assert bool(behind) is (limit == 200)
    assert len(segments(tmp_path, VENUE)) == 2
    assert machine.rows() == machine.rebuilt(tmp_path / "again")
    assert machine.rows().count(b"\n") == 1 + machine.series.file.rows > 8 * COUNT


async def test_killed_in_the_middle_of_a_tick_its_rows_are_made_from_the_tape(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.begin()
    for _ in range(2):
        machine.now += SECOND
        machine.change()
        machine.recorder.work(60.0)
    machine.now += SECOND
    machine.change()
    for _ in range(3):
        machine.recorder.work(0.0)
    # Here it dies: what was made of the tick is in memory, what came is on the tape.
    whole = machine.rows()
    end = machine.intake.written_t
    machine.intake.roll()
    tick, size = committed(tmp_path / SETUP.out, COUNT, end)
    assert (tick, size) == (machine.series.sampler.next_tick - 2 * SECOND, len(whole))
    tail = b"".join(lines(samples) for samples in derive.tail(tmp_path, SETUP, tick, end))
    assert whole + tail == machine.rebuilt(tmp_path / "again")
    assert tail.count(b"\n") == COUNT


async def test_a_segment_that_begins_in_the_middle_of_a_tick_has_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "TURN_S", 0.0)
    machine = Machine(tmp_path)
    machine.begin()
    machine.now += SECOND
    machine.change()
    machine.recorder.work(0.0)
    machine.now = HOUR + SECOND
    machine.frame(SYMBOLS[1])
    machine.recorder.close()
    machine.series.file.close()
    heads = [parse(next(read_lines(segment.file))).fields["checkpoint"] for segment in segments(tmp_path, VENUE)]
    assert heads == [True, False]
    assert machine.rows() == machine.rebuilt(tmp_path / "again")


async def test_while_a_slow_disk_holds_up_tick_parquet_frames_are_appended_and_wait_to_be_decoded(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.begin()
    room, machine.ticks.files.room = machine.ticks.files.room, lambda: False  # type: ignore[method-assign]
    before, decoded = machine.written(), machine.recorder.decoded
    machine.now += SECOND
    for number in range(20):
        machine.frame(SYMBOLS[0])
        machine.recorder.work(0.0)
        assert machine.written() == before + number + 1
    assert machine.recorder.decoded == decoded
    machine.ticks.files.room = room  # type: ignore[method-assign]
    machine.recorder.close()
    machine.series.file.close()
    machine.ticks.stop(True)
    assert machine.rows() == machine.rebuilt(tmp_path / "again")


def test_the_rows_of_a_silence_of_hours_are_made_by_pieces_too(tmp_path: Path) -> None:
    series = Series(tmp_path, SETUP)
    series.begin(HOUR, HOUR)
    pieces = 0
    while not series.advance(HOUR + 100 * SECOND + 1):
        pieces += 1
        assert series.due() <= HOUR + 101 * SECOND
    assert pieces == 100 * (COUNT + 1)
    sampler = Sampler(SETUP)
    sampler.start(HOUR, HOUR)
    expected: list[list[Sample]] = list(sampler.advance(HOUR + 100 * SECOND + 1))
    assert series.file.path is not None
    assert series.file.path.read_bytes().split(b"\n", 1)[1] == b"".join(map(lines, expected))
    series.file.close()


def test_rows_that_wait_for_the_tail_of_an_earlier_run_come_behind_it(tmp_path: Path) -> None:
    series = Series(tmp_path, SETUP)
    series.begin(HOUR, HOUR)
    series.held = True
    while not series.advance(HOUR + 2 * SECOND + 1):
        assert not series.file.rows
    series.release()
    assert series.file.rows == 2 * COUNT
    series.file.close()
