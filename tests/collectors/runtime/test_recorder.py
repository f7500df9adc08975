"""Write, then derive: whatever moves tape time is on a tape before a consumer hears of it, and comes in the order of all tapes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tape_archive.format.clock import TapeClock
from tape_archive.format.layout import segments
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_archive.format.records import Record
from tape_archive.format.tape import Tape
from tape_collectors.runtime import recorder as runtime
from tape_collectors.runtime.recorder import Recorder
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.venues import load
from tape_collectors.venues.protocol import Group

SECOND = 10**9
HOUR = 1_800_000_000 * SECOND
GROUPS = {"binance_spot": Group("spot", "", ("btcusdt@trade",)), "binance_usdm": Group("public", "", ("btcusdt@bookTicker",))}


class Watch:
    """A consumer that looks at the tapes each time that it is told the time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[int] = []

    def times(self) -> list[int]:
        """Of every line that is on the tapes."""
        return sorted(parse(raw).t for segment in segments(self.root) for raw in read_lines(segment.file))

    def begin(self, t: int, begun: int) -> None:
        """Nothing to do."""

    def advance(self, t: int) -> bool:
        """The promise itself."""
        assert t in self.times(), "told of a time that no line has yet"
        assert not self.told or t > self.told[-1], "told out of the order of the tapes"
        self.told.append(t)
        return True

    def record(self, venue: str, s: str, record: Record) -> None:
        """Nothing to do."""

    def due(self) -> int:
        """Every line's time is wanted."""
        return 0

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """Nothing to do."""

    def trouble(self, venue: str, t: int, where: str, why: str) -> None:
        """Nothing to do."""

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """Nothing to add."""
        return {}


class Machine:
    """A recorder of two tapes whose clock is moved by hand, without connections."""

    def __init__(self, root: Path) -> None:
        self.now = HOUR - 5 * SECOND
        self.watch = Watch(root)
        self.recorder = Recorder(TapeClock(lambda: self.now, lambda: self.now), self.watch)
        self.intakes = [
            TapeIntake(self.recorder, venue, Tape(root, venue, group.name), load(venue).feed, head(venue))
            for venue, group in GROUPS.items()
        ]

    def open(self) -> None:
        self.recorder.start(asyncio.get_running_loop())
        for intake, group in zip(self.intakes, GROUPS.values(), strict=True):
            intake.opened(f"{group.name}-1", group)

    def frames(self, count: int, data: bytes = b"garbage") -> None:
        """Frames by turns; what is no venue's frame gives a mark of its own when it is decoded."""
        for number in range(count):
            self.now += SECOND // 1000
            intake, group = self.intakes[number % 2], list(GROUPS.values())[number % 2]
            intake.frame(f"{group.name}-1", data)


def head(venue: str) -> Callable[[], Mapping[str, object]]:
    return lambda: {"venue": venue, "run": "r"}


async def test_heads_seals_frames_and_marks_are_written_before_they_move_time(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.open()
    machine.frames(20)
    await asyncio.sleep(0)
    machine.now = HOUR + SECOND
    machine.recorder.tick()
    machine.frames(20)
    await asyncio.sleep(0)
    machine.recorder.close()
    assert [len(segments(tmp_path, venue)) for venue in GROUPS] == [2, 2]
    assert machine.watch.told == machine.watch.times(), "every line moved time, once"


async def test_behind_it_reads_all_tapes_in_order_while_marks_wait_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    machine.open()
    await asyncio.sleep(0)
    monkeypatch.setattr(runtime, "SLICE_S", 0.0)
    monkeypatch.setattr(runtime, "LIMIT", 200)
    was_behind = 0
    for _ in range(12):
        machine.frames(40)
        await asyncio.sleep(0)
        was_behind += machine.recorder.behind
    assert was_behind
    machine.now = HOUR + SECOND
    machine.frames(40)
    machine.recorder.close()
    assert machine.watch.told == machine.watch.times()
