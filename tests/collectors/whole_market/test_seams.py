"""What is a gap between two connections, and what is none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from tape_collectors.market.replay import Replay
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.venues.binance import USDM
from tape_collectors.venues.protocol import Feed
from tape_collectors.whole_market.seams import SECOND, Seams

TRADES, QUOTES = "btcusdt@aggTrade", "btcusdt@bookTicker"


class Intake:
    """The part of a tape's intake that is used: feeds by connection, and marks."""

    gone: Callable[[str, Feed], None]

    def __init__(self) -> None:
        self.replay = Replay(USDM.anchored)
        self.places: deque[Any] = deque()
        self.last_t = 0
        self.marks: list[Mapping[str, object]] = []

    def mark(self, s: str, kind: str, fields: Mapping[str, object]) -> int:
        assert kind == "gap" and s in self.replay.feeds
        self.marks.append(fields)
        return 0

    def open(self, s: str, t: int) -> None:
        self.replay.opened(t * SECOND, s)
        self.replay.wanted(t * SECOND, s, [TRADES, QUOTES])

    def ack(self, s: str, t: int) -> None:
        for stream in self.replay.feeds[s].streams.values():
            stream.acked_t = t * SECOND

    def trade(self, s: str, t: int, number: int) -> None:
        frame = b'{"stream":"%b","data":{"e":"aggTrade","E":1,"a":%d,"s":"BTCUSDT","p":"1","q":"2","f":1,"l":1,"T":1,"m":true,"st":1}}'
        self.replay.frame(t * SECOND, s, frame % (TRADES.encode(), number))

    def close(self, s: str) -> None:
        feed = self.replay.feeds[s]
        self.replay.closed(s)
        self.gone(s, feed)


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
def look(intake: Intake, tmp_path: Path) -> Callable[[], list[tuple[str, int, int, int, int]]]:
    seams = Seams(cast(TapeIntake, intake), USDM.anchored, tmp_path / "ends.json")

    def told() -> list[tuple[str, int, int, int, int]]:
        seams.look()
        names = ("channel", "from_id", "to_id", "from_ns", "until_ns")
        found = [tuple(one[name] for name in names) for one in intake.marks]
        intake.marks.clear()
        return sorted((c, a, b, x // SECOND, y // SECOND) for c, a, b, x, y in found)  # type: ignore[misc]

    return told


Look = Callable[[], list[tuple[str, int, int, int, int]]]


def test_ids_tell_where_the_venue_counts_and_times_where_it_does_not(intake: Intake, look: Look) -> None:
    intake.open("market-1", 1)
    intake.ack("market-1", 2)
    intake.trade("market-1", 3, 7)
    intake.close("market-1")
    intake.open("market-2", 5)
    assert not look()
    intake.ack("market-2", 6)
    assert look() == [("bookTicker", 0, 0, 3, 6)], "of trades the first id is not known yet"
    intake.trade("market-2", 9, 10)
    assert look() == [("aggTrade", 8, 9, 3, 9)] and not look()


def test_what_went_on_by_another_connection_is_no_gap(intake: Intake, look: Look) -> None:
    for s in ("market-1", "market-2"):
        intake.open(s, 1)
        intake.ack(s, 2)
        intake.trade(s, 3, 7)
    intake.close("market-1")
    intake.open("market-3", 5)
    intake.ack("market-3", 6)
    intake.trade("market-3", 9, 20)
    assert not look()


def test_what_was_on_its_way_when_the_other_one_was_not_there_yet(intake: Intake, look: Look) -> None:
    """The second connection is there before the first one is closed, but after it was last heard."""
    intake.open("market-1", 1)
    intake.ack("market-1", 2)
    intake.trade("market-1", 3, 7)
    intake.open("market-2", 4)
    intake.ack("market-2", 5)
    intake.close("market-1")
    intake.trade("market-2", 6, 9)
    assert look() == [("aggTrade", 8, 8, 3, 6), ("bookTicker", 0, 0, 3, 5)]


def test_a_stream_that_was_asked_for_and_never_heard(intake: Intake, look: Look) -> None:
    intake.open("market-1", 1)
    intake.close("market-1")
    intake.open("market-2", 4)
    intake.ack("market-2", 5)
    assert look() == [("aggTrade", 0, 0, 1, 5), ("bookTicker", 0, 0, 1, 5)]
