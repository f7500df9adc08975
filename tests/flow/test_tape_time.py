"""Hours that turn, clocks that step, decoders that fall behind: the rebuilt series is the live one all the same."""

from __future__ import annotations

import asyncio
import filecmp
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tape_access import book
from tape_archive.format.clock import TapeClock
from tape_archive.format.layout import segments
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_collectors import wiring
from tape_collectors.runtime import recorder
from tape_collectors.series import derive
from tape_collectors.simulator.world import Simulator
from tests.support.recording import record_cex, rows, simulator, tape

SECOND = 10**9
SETTINGS = {"venues": ("binance_spot",), "symbols": ("BTCUSDT", "ETHUSDT"), "hz": 5.0, "top": 10}


def same(root: Path) -> None:
    derive.write(root, root / "again")
    assert filecmp.cmp(root / "logs" / "cex.csv", root / "again" / "logs" / "cex.csv", shallow=False)


def clock_at(monkeypatch: pytest.MonkeyPatch, second: float) -> None:
    """The recorder's wall clock shows this unix second now."""
    offset = int(second * SECOND) - time.time_ns()
    monkeypatch.setattr(wiring, "TapeClock", lambda after: TapeClock(lambda: time.time_ns() + offset, time.monotonic_ns, after))


async def test_at_the_hour_a_new_segment_begins_with_all_that_a_reader_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = 1_800_000_000
    clock_at(monkeypatch, hour - 3.2)
    async with Simulator(["binance_spot"]) as venues:
        assert await record_cex(tmp_path, venues.endpoints, 7.0, **SETTINGS) == 0
    first, second = segments(tmp_path)
    assert (first.hour, second.hour) == ((hour - 3600) * SECOND, hour * SECOND)
    before, after = [[parse(raw) for raw in read_lines(one.file, sealed=True)] for one in (first, second)]
    assert before[-1].mark == "seal" and after[0].mark == "tape" and after[0].fields["checkpoint"] is True
    assert {line.fields["symbol"] for line in after if line.mark == "book"} == {"BTCUSDT", "ETHUSDT"}
    assert max(line.t for line in before if line.data) < hour * SECOND <= min(line.t for line in after if line.data)
    same(tmp_path)

    series = rows(tmp_path / "logs" / "cex.csv")
    late = [list(row.values()) for row in series if float(row["t_sample_unix"]) > hour]
    assert len(late) >= 20 and not any(row["err"] for row in series if hour - 1 < float(row["t_sample_unix"]) < hour + 2)
    from tape_collectors.sinks.csv import row as cells

    alone = [list(cells(sample)) for _, samples in derive.series([second]) for sample in samples if sample.tick > hour * SECOND]
    assert alone == late, "the second hour read alone gives the same rows, numbers and coverage"
    view = book.at(tmp_path, "binance_spot", "BTCUSDT", (hour + 1) * SECOND)
    assert view.proven and len(view.bids) == 10


async def test_a_second_run_goes_on_behind_the_first(tmp_path: Path) -> None:
    async with Simulator(["binance_spot"]) as venues:
        for _ in range(3):
            assert await record_cex(tmp_path, venues.endpoints, 2.0, **SETTINGS) == 0
    same(tmp_path)
    keys = [(row["t_sample_unix"], row["symbol"]) for row in rows(tmp_path / "logs" / "cex.csv")]
    assert len(keys) == len(set(keys)) > 30
    assert [row["sample_id"] for row in rows(tmp_path / "logs" / "cex.csv")].count("1") == 6, "sample_id begins anew with each run"


async def test_a_run_that_ends_while_it_makes_the_tail_of_the_one_before_makes_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = derive.tail

    def slow(*given: object) -> object:
        time.sleep(3.0)
        yield from tail(*given)  # type: ignore[arg-type]

    async with Simulator(["binance_spot"]) as venues:
        assert await record_cex(tmp_path, venues.endpoints, 2.0, **SETTINGS) == 0
        path = tmp_path / "logs" / "cex.csv"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-8]))
        monkeypatch.setattr(derive, "tail", slow)
        assert await record_cex(tmp_path, venues.endpoints, 1.5, **SETTINGS) == 0
    same(tmp_path)


async def recorded(root: Path, endpoints: dict[str, str], *steps: Callable[[], bool]) -> None:
    """Record until the steps have come true, one after the other; each may do something, too."""
    ended = asyncio.Event()
    task = asyncio.create_task(record_cex(root, endpoints, ended, **SETTINGS))
    async with asyncio.timeout(120):
        for step in steps:
            while not step():
                assert not task.done()
                await asyncio.sleep(0.1)
    ended.set()
    assert await task == 0


async def test_a_clock_that_steps_is_said_and_time_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = [0]
    monkeypatch.setattr(wiring, "TapeClock", lambda after: TapeClock(lambda: time.time_ns() + wall[0], time.monotonic_ns, after))

    def offsets() -> list[int]:
        return [line.fields["offset_ns"] for line in tape(tmp_path) if line.mark == "clock"]

    def begun() -> bool:
        return segments(tmp_path) != [] and sum(line.data is not None for line in tape(tmp_path)) > 20

    def stepped_on() -> bool:
        wall[0] = 3600 * SECOND
        return max(offsets(), default=0) > 3000 * SECOND

    def stepped_back() -> bool:
        wall[0] = -20 * SECOND
        return min(offsets()) < -3000 * SECOND

    async with Simulator(["binance_spot"]) as venues:
        await recorded(tmp_path, venues.endpoints, begun, stepped_on, stepped_back)
    lines = tape(tmp_path)
    assert all(one.t < other.t for one, other in zip(lines, lines[1:], strict=False))
    same(tmp_path)


async def test_a_decoder_that_falls_behind_goes_on_from_the_tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind: list[int] = []
    machines: list[recorder.Recorder] = []
    take, one = recorder.Recorder._catch_up, recorder.Recorder._one

    def slow(self: recorder.Recorder, entry: object) -> bool:
        machines[:] = [self]
        if self.decoded > 300 and len(behind) < 20:
            time.sleep(0.02)
        return one(self, entry)  # type: ignore[arg-type]

    def watched(self: recorder.Recorder, seconds: float) -> None:
        behind.append(self.frames)
        take(self, seconds)

    def caught_up() -> bool:
        return len(behind) >= 20 and not machines[0].behind and machines[0].frames > behind[-1] + 300

    monkeypatch.setattr(recorder, "LIMIT", 1_500)
    monkeypatch.setattr(recorder.Recorder, "_one", slow)
    monkeypatch.setattr(recorder.Recorder, "_catch_up", watched)
    with simulator(tmp_path, "--venues", "binance_spot") as endpoints:
        await recorded(tmp_path, endpoints, caught_up)
    assert behind[-1] > behind[0] + 20, "the tape did not wait"
    assert not [line for line in tape(tmp_path) if line.mark in ("gap", "lost", "unknown")]
    same(tmp_path)
