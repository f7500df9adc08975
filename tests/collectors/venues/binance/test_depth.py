"""The book rules: against a model venue with faults, rule by rule, and over every real capture."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format.records import BookDelta, BookLost, BookSnapshot, Gap, Record, Unknown
from tape_collectors.market.book import Book
from tape_collectors.venues.binance import SPOT, USDM
from tape_collectors.venues.binance import depth as rules
from tape_collectors.venues.binance.depth import DepthBook, Rule
from tape_collectors.venues.binance.wire import Depth, Snapshot
from tests.support.captures import captures


class Venue:
    """A venue that knows its book at each update id."""

    def __init__(self, rule: Rule, chance: random.Random) -> None:
        self.rule = rule
        self.chance = chance
        self.id = self.last = 100
        self.books: dict[int, dict[str, dict[str, str]]] = {100: {"b": {"10": "1"}, "a": {"20": "1"}}}

    def event(self) -> Depth:
        first = self.id + (self.chance.randint(1, 3) if self.rule.by_pu else 1)
        self.id = first + self.chance.randint(0, 4)
        book = {side: dict(levels) for side, levels in self.books[self.last].items()}
        changes: dict[str, list[tuple[str, str]]] = {"b": [], "a": []}
        for side, low in (("b", 1), ("a", 20)):
            for _ in range(self.chance.randint(0, 2)):
                price, size = str(low + self.chance.randint(0, 9)), str(self.chance.choice((0, 0, 1, 2, 3)))
                changes[side].append((price, size))
                book[side].pop(price, None)
                if size != "0":
                    book[side][price] = size
        event = Depth(first, self.id, changes["b"], changes["a"], pu=self.last if self.rule.by_pu else -1)
        for number in range(self.last + 1, self.id + 1):
            self.books[number] = book
        self.last = self.id
        return event

    def snapshot(self, at: int | None = None) -> Snapshot:
        number = self.last if at is None else at
        book = self.books[number]
        return Snapshot(number, list(book["b"].items()), list(book["a"].items()))


class Reader:
    """What a consumer makes of the records."""

    def __init__(self) -> None:
        self.book: Book | None = None
        self.id = 0
        self.gaps = 0

    def take(self, records: list[Record]) -> None:
        for record in records:
            if isinstance(record, BookSnapshot):
                self.book, self.id = Book(), record.id
                self.book.replace(record.bids, record.asks)
            elif isinstance(record, BookDelta):
                assert self.book is not None, "a delta without a proven book"
                self.book.apply(record.bids, record.asks)
                self.id = record.last
            elif isinstance(record, BookLost):
                self.book = None
            elif isinstance(record, Gap):
                self.gaps += 1

    def levels(self) -> dict[str, dict[str, str]]:
        assert self.book is not None
        bids, asks = self.book.levels()
        return {"b": dict(bids), "a": dict(asks)}


def history(rule: Rule, seed: int, steps: int = 60) -> None:
    """Drop, double, reorder, late and stale snapshots: the book equals the venue's, or it is not proven."""
    chance = random.Random(seed)
    venue, depth, reader = Venue(rule, chance), DepthBook(rule, "X", "depth"), Reader()
    held: Depth | None = None
    lost = 0
    for t in range(1, steps):
        event = venue.event()
        dice = chance.random()
        if dice < 0.07:
            lost += 1
            continue
        arrivals = [event, event] if dice < 0.14 else [event]
        if held is not None:
            arrivals.append(held)
            held = None
        elif dice > 0.93:
            held = event
            continue
        for one in arrivals:
            reader.take(depth.event(t, one))
        if not depth.live and chance.random() < 0.5:
            at = None if chance.random() < 0.7 else max(100, venue.last - chance.randint(0, 25))
            reader.take(depth.snapshot(t, venue.snapshot(at)) or [])
        if reader.book is not None:
            assert depth.live
            assert reader.levels() == venue.books[max(reader.id, 100)], f"seed {seed}, step {t}"
    # With the faults over, one more event and a snapshot make it whole again.
    reader.take(depth.event(steps, venue.event()))
    reader.take(depth.event(steps, venue.event()))
    if not depth.live:
        reader.take(depth.snapshot(steps, venue.snapshot()) or [])
    reader.take(depth.event(steps + 1, venue.event()))
    assert reader.book is not None and reader.levels() == venue.books[venue.last]


@pytest.mark.parametrize("rule", [rules.SPOT, rules.USDM], ids=["spot", "usdm"])
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_the_book_is_the_venues_or_it_is_not_proven(rule: Rule, seed: int) -> None:
    history(rule, seed)


def spot(first: int, last: int) -> Depth:
    return Depth(first, last, [("1", str(last))], [])


def usdm(first: int, last: int, previous: int) -> Depth:
    return Depth(first, last, [("1", str(last))], [], pu=previous)


def snap(at: int) -> Snapshot:
    return Snapshot(at, [("1", "x")], [("2", "y")])


def kinds(records: list[Record] | None) -> list[str]:
    return [] if records is None else [type(record).__name__ for record in records]


def rule_1_continuity() -> None:
    for rule, events in ((rules.SPOT, [spot(1, 5), spot(8, 9)]), (rules.USDM, [usdm(1, 5, 0), usdm(8, 9, 7)])):
        depth = DepthBook(rule, "X", "depth")
        depth.event(1, events[0])
        (gap,) = depth.event(2, events[1])
        assert isinstance(gap, Gap) and (gap.from_id, gap.to_id, gap.from_ns) == (6, 7, 1)


def rule_2_late_and_doubled() -> None:
    for rule, events in ((rules.SPOT, [spot(1, 5), spot(6, 9)]), (rules.USDM, [usdm(1, 5, 0), usdm(6, 9, 5)])):
        depth = DepthBook(rule, "X", "depth")
        for event in events:
            depth.event(1, event)
        assert kinds(depth.event(2, events[0])) == ["Notice"] and kinds(depth.event(2, events[1])) == ["Notice"]


def rule_3_buffering() -> None:
    depth = DepthBook(rules.SPOT, "X", "depth")
    depth.event(1, spot(1, 5))
    depth.event(2, spot(6, 9))
    assert kinds(depth.snapshot(3, snap(5))) == ["BookSnapshot", "BookDelta"]


def rule_4_too_old() -> None:
    depth = DepthBook(rules.SPOT, "X", "depth")
    depth.event(1, spot(10, 12))
    assert depth.snapshot(2, snap(5)) is None
    depth = DepthBook(rules.USDM, "X", "depth")
    depth.event(1, usdm(10, 12, 9))
    assert depth.snapshot(2, snap(5)) is None


def rule_5_inside() -> None:
    depth = DepthBook(rules.SPOT, "X", "depth")
    depth.event(1, spot(1, 5))
    assert kinds(depth.snapshot(2, snap(5))) == ["BookSnapshot"]
    depth = DepthBook(rules.USDM, "X", "depth")
    depth.event(1, usdm(1, 5, 0))
    depth.event(1, usdm(6, 8, 5))
    assert kinds(depth.snapshot(2, snap(7))) == ["BookSnapshot", "BookDelta"]


def rule_6_reaching() -> None:
    depth = DepthBook(rules.SPOT, "X", "depth")
    depth.event(1, spot(1, 5))
    depth.snapshot(2, snap(9))
    depth.last = 14
    assert kinds(depth.event(3, spot(15, 16))) == ["BookLost"]
    depth = DepthBook(rules.USDM, "X", "depth")
    depth.event(1, usdm(1, 5, 0))
    depth.snapshot(2, snap(9))
    assert kinds(depth.event(3, usdm(6, 11, 5))) == ["BookDelta"]


def rule_7_loss() -> None:
    depth = DepthBook(rules.SPOT, "X", "depth")
    depth.event(1, spot(1, 5))
    depth.snapshot(2, snap(5))
    assert kinds(depth.event(3, spot(8, 9))) == ["Gap", "BookLost"]
    assert not depth.live


#: rule -> (its test, how the rule is taken away)
OFF: dict[str, tuple[Any, list[tuple[object, str, Any]]]] = {
    "1": (rule_1_continuity, [(Rule, "follows", lambda self, event, last: True)]),
    "2": (rule_2_late_and_doubled, [(DepthBook, "_passed", lambda self, event: False)]),
    "3": (rule_3_buffering, [(rules, "deque", lambda *a, **k: type("Nothing", (list,), {"append": lambda self, x: None})())]),
    "4": (rule_4_too_old, [(DepthBook, "_joins", lambda self, first, at: True)]),
    "5": (rule_5_inside, [(Rule, "inside", lambda self, event, at: False)]),
    "6": (rule_6_reaching, [(Rule, "reaches", lambda self, event, at: True)]),
    "7": (rule_7_loss, [(DepthBook, "_broken", lambda self, t, event: [])]),
}


@pytest.mark.parametrize("rule", OFF)
def test_each_rule(rule: str) -> None:
    OFF[rule][0]()


@pytest.mark.parametrize("rule", OFF)
def test_without_the_rule_its_test_fails(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prove, patches = OFF[rule]
    for owner, name, replacement in patches:
        monkeypatch.setattr(owner, name, replacement)
    with pytest.raises((AssertionError, ValueError)):
        prove()


# -- real captures -----------------------------------------------------------------------------------------------------------------


def hftbacktest(name: str) -> Iterator[tuple[int, str, bytes]]:
    with gzip.open(captures() / "binance" / "hftbacktest-2024-08" / name) as file:
        for line in file:
            ns, _, payload = line.rstrip(b"\n").partition(b" ")
            symbol = "BTCUSDT" if "btc" in name else "ETHUSDT"
            yield int(ns), symbol if b"lastUpdateId" in payload[:30] else "", payload


def cryptofeed(name: str) -> Iterator[tuple[int, str, bytes]]:
    path = captures() / "binance" / "cryptofeed" / name / "frames.ndjson.zst"
    for line in zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read().splitlines():
        entry = json.loads(line)
        if entry["kind"] == "recv":
            yield entry["ns"], "", entry["raw"].encode()
        elif entry["kind"] == "http" and "/depth" in entry["url"]:
            yield entry["ns"], entry["url"].partition("symbol=")[2].partition("&")[0], entry["raw"].encode()


CAPTURES = {
    "spot-2024": (SPOT, lambda: hftbacktest("spot/btcusdt_20240808.gz")),
    "usdm-2024": (USDM, lambda: hftbacktest("usdm/ethusdt_20240808.gz")),
    "spot-2021-04": (SPOT, lambda: cryptofeed("spot-2021-04-05")),
    "spot-2021-10": (SPOT, lambda: cryptofeed("spot-2021-10-11")),
    "us-2021": (SPOT, lambda: cryptofeed("us-2021-10-11")),
    "usdm-2021": (USDM, lambda: cryptofeed("usdm-2021-07-22")),
}


def holes(frames: list[tuple[int, str, bytes]], futures: bool) -> list[tuple[str, int, int]]:
    """The oracle: the depth chain by plain JSON, with none of our code."""
    last: dict[str, int] = {}
    found = []
    for _, reply, payload in frames:
        if reply or b"depthUpdate" not in payload:
            continue
        event = json.loads(payload)["data"]
        before = last.get(event["s"])
        if before is not None:
            if futures and event["pu"] != before:
                found.append((event["s"], before + 1, event["pu"]))
            elif not futures and event["U"] != before + 1:
                found.append((event["s"], before + 1, event["U"] - 1))
        last[event["s"]] = event["u"]
    return found


def run(venue: Any, frames: list[tuple[int, str, bytes]]) -> tuple[list[Record], set[str], set[str]]:
    feed = venue.feed("capture")
    path = venue.snapshot[0]
    records: list[Record] = []
    for t, reply, payload in frames:
        records += feed.fetched(t, f"GET {path}?symbol={reply}&limit=5000", payload)[0] if reply else feed.receive(t, payload)[0]
    asked = {reply for _, reply, _ in frames if reply}
    return records, asked, {record.symbol for record in records if isinstance(record, BookSnapshot)}


@pytest.mark.captures
@pytest.mark.parametrize("name", CAPTURES)
def test_captures_have_no_false_gap_and_every_snapshot_joins(name: str) -> None:
    venue, read = CAPTURES[name]
    frames = list(read())
    records, asked, joined = run(venue, frames)
    assert not [record for record in records if isinstance(record, Unknown)]
    gaps = [(gap.symbol, gap.from_id, gap.to_id) for gap in records if isinstance(gap, Gap) and gap.channel.startswith("depth")]
    assert gaps == holes(frames, venue is USDM) == []
    assert joined == asked


@pytest.mark.captures
@pytest.mark.parametrize("name", CAPTURES)
def test_holes_cut_into_captures_are_found(name: str) -> None:
    venue, read = CAPTURES[name]
    chance = random.Random(name)
    frames = [frame for frame in read() if frame[1] or b"depthUpdate" not in frame[2] or chance.random() > 0.02]
    records, _, _ = run(venue, frames)
    gaps = [(gap.symbol, gap.from_id, gap.to_id) for gap in records if isinstance(gap, Gap) and gap.channel.startswith("depth")]
    assert gaps == holes(frames, venue is USDM) and (gaps or len(frames) < 300)
