"""Symbols over processes: each once, evenly, and few move when their number changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.errors import SettingsError
from tape_collectors.market.shards import mine, parse, shard_of

NAMES = [f"S{at}USDT" for at in range(600)]


@given(st.integers(1, 12))
def test_each_symbol_has_one_shard(number: int) -> None:
    parts = [mine(NAMES, part, number) for part in range(number)]
    assert sorted(name for part in parts for name in part) == sorted(NAMES)
    assert all(len(part) > 600 / number / 2 for part in parts)


@given(st.integers(1, 10))
def test_one_more_shard_moves_only_to_it(number: int) -> None:
    moved = [name for name in NAMES if shard_of(name, number) != shard_of(name, number + 1)]
    assert all(shard_of(name, number + 1) == number for name in moved)
    assert len(moved) < 2 * 600 / (number + 1)


def test_text() -> None:
    assert parse("2/4") == (1, 4) and parse("1/1") == (0, 1)
    for text in ("0/4", "5/4", "2", "a/b", "1/0", "-1/2", ""):
        with pytest.raises(SettingsError, match="expected i/n"):
            parse(text)
