"""What is missing is told of a remote side as it is told there: from the tapes of the asked hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tape_access import DataAccessor, NotFound
from tape_archive.format.errors import SettingsError
from tests.support.sshd import sshd
from tests.support.tapes import NOON, SECOND, Writer
from tests.support.windows import FIRST, LENGTH, record

HOUR = 3600


def tapes(root: Path) -> None:
    writer = Writer(root)
    writer.open(0.5, names=("btcusdt@trade",))
    number = 0
    for hour in range(8):
        if hour:
            writer.turn(hour * HOUR)
        for minute in range(60):
            number += 4 if (hour, minute) == (4, 30) else 1
            writer.trade(hour * HOUR + minute * 60.0 + 1, number)
    writer.tape.seal(writer.ns(8 * HOUR))


def test_as_it_is_told_there(tmp_path: Path) -> None:
    vps = tmp_path / "vps"
    tapes(vps)
    record(vps, 6)
    span = (NOON // SECOND + 4 * HOUR, NOON // SECOND + 5 * HOUR - 1)
    with sshd(tmp_path / "sshd") as server, DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=server.store(vps)) as far:
        there = DataAccessor(vps, tmp_path / "other").coverage(None, *span)
        assert far.coverage(None, *span) == there and sum(len(row.gaps) for row in there) == 1
        brought = sorted(path.name for path in (tmp_path / "cache").rglob("*.jsonl.zst") if "raw" in path.parts)
        assert brought == ["15.jsonl.zst", "16.jsonl.zst", "17.jsonl.zst"], "the hour, and one on each side"
        assert far.coverage("binance_spot", *span) == there
        windows = (FIRST, FIRST + 3 * LENGTH)
        assert far.coverage("polymarket", *windows) == DataAccessor(vps, tmp_path / "other").coverage("polymarket", *windows) != []
        with pytest.raises(SettingsError, match="give start and end"):
            far.coverage()
        for before in (
            (1_000_000_000, 1_000_000_100),
            (NOON // SECOND - 60, NOON // SECOND + 60),
            (NOON // SECOND + 7 * HOUR, NOON // SECOND + 99 * HOUR),
        ):
            assert far.coverage("binance_spot", *before) == DataAccessor(vps, tmp_path / "other").coverage("binance_spot", *before)
        with pytest.raises(NotFound):
            far.coverage("okx_spot", *span)
