"""A tape is followed over its segments while it is written, and again from any place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format.following import TapeFollower
from tape_archive.format.layout import segments
from tape_archive.format.lines import time_of
from tape_archive.format.read import Position, read_lines
from tests.support.tapes import NOON, SECOND, Writer

HOUR = 3600.0


def every(root: Path) -> list[bytes]:
    return [raw for segment in segments(root) for raw in read_lines(segment.file)]


def drain(one: TapeFollower) -> list[bytes]:
    out: list[bytes] = []
    while lines := one.poll():
        out += lines
    return out


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["line", "line", "line", "roll", "turn", "run", "read", "again"]), max_size=40))
def test_each_line_once_whatever_happens_between(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    root = tmp_path_factory.mktemp("tape")
    writer = Writer(root)
    at, read = 0.0, []
    one = TapeFollower(root, "binance_spot", "spot")
    for number, step in enumerate(steps):
        at += 7.0
        if step == "line":
            writer.trade(at, number)
        elif step == "roll":
            writer.tape.roll()
        elif step == "turn":
            at += HOUR
            writer.turn(at)
        elif step == "run":
            # Stopped in order and begun again in the same hour: a second file of it.
            writer.tape.seal(writer.ns(at))
            writer = Writer(root, run=f"r{number}", at=at + 1.0)
            at += 1.0
        elif step == "read":
            read += drain(one)
        else:
            read += drain(one)
            places = msgspec.json.decode(msgspec.json.encode(one.place()), type=dict[str, Position])
            one = TapeFollower(root, "binance_spot", "spot", one.t, places)
    writer.tape.roll()
    read += drain(one)
    assert read == every(root)


def test_from_a_time_without_a_place(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for number in range(1, 400):
        if number % 100 == 0:
            writer.turn(number * 60.0)
        writer.trade(number * 60.0 + 1, number)
    writer.tape.roll()
    lines = every(tmp_path)
    for after in (0, NOON, NOON + 150 * 60 * SECOND, NOON + 399 * 60 * SECOND + SECOND, NOON + 10**15):
        one = TapeFollower(tmp_path, "binance_spot", "spot", after)
        assert drain(one) == [line for line in lines if time_of(line) > after]


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    one = TapeFollower(tmp_path, "binance_spot", "spot")
    assert one.poll() == [] and one.place() == {}
    writer = Writer(tmp_path)
    writer.trade(1.0, 1)
    writer.tape.roll()
    assert len(drain(one)) == 2


def test_a_place_whose_segment_is_gone_is_not_believed(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.trade(1.0, 1)
    writer.tape.roll()
    one = TapeFollower(tmp_path, "binance_spot", "spot", NOON, {"raw/gone/09.jsonl.zst": Position(5)})
    assert len(drain(one)) == 1
