"""One feed for the union of redundant sockets: the book read back is the venue's, whichever socket was first with each frame."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_access import book as reading
from tape_archive.format.lines import frame_line, mark_line, parse
from tape_archive.format.records import BookDelta, BookSnapshot
from tape_collectors.market.book import Book
from tape_collectors.market.replay import Merged, Replay
from tape_collectors.venues import load
from tape_collectors.venues.polymarket.route import Union
from tests.collectors.venues.polymarket.frames import DOWN, UP, book, change, compact, leg

SLUG = "btc-updown-5m-1790000100"
T = 1_790_000_100_000_000_000


def window(seed: int, cut: int) -> tuple[list[bytes], dict[str, str]]:
    """The lines of a window that two sockets recorded, either being first with any frame; ``cut``: when one of them is lost. And the bids."""
    chance, union, bids = random.Random(seed), Union(), {"0.3": "1"}
    head = {"format": 1, "venue": "polymarket", "run": "r", "window": {"slug": SLUG, "tokens": [UP, DOWN], "outcomes": ["Up", "Down"]}}
    lines, t = [mark_line(T, "tape", "tape", head)], T
    live = ["clob-1", "clob-2"]
    for s in live:
        t += 1
        union.opened(s, t)
        lines.append(mark_line(t, s, "open", {"url": "ws://x", "group": "clob"}))
    frames = [compact(book(UP, 1_790_000_100_000, bids, {}))]
    for number in range(60):
        if number == cut:
            gone = chance.choice(live)
            live.remove(gone)
            union.closed(gone)
            frames.append(b"cut " + gone.encode())
        at, size = f"0.{chance.randint(1, 9)}", chance.choice(["0", "2", "3"])
        bids = {price: amount for price, amount in (bids | {at: size}).items() if amount != "0"}
        frames.append(compact(change(1_790_000_100_001 + number, leg(UP, at, size, "BUY", digest=str(number)))))
    live = ["clob-1", "clob-2"]
    for frame in frames:
        if frame.startswith(b"cut "):
            gone = frame[4:].decode()
            live.remove(gone)
            t += 1
            lines.append(mark_line(t, gone, "close", {"why": "cut", "code": 1006}))
            continue
        for s in chance.sample(live, len(live)):
            t += 1
            if not union.seen(s, t, frame):
                lines.append(frame_line(t, s, frame))
    return lines, bids


@given(st.integers(0, 10**6), st.integers(0, 80))
def test_the_book_of_a_redundant_window_is_the_venues(seed: int, cut: int) -> None:
    lines, bids = window(seed, cut)
    replay, mine = Merged(load("polymarket").feed, "clob"), Book()
    for raw in lines:
        for s, record in replay.line(parse(raw)):
            assert s == "clob"
            if isinstance(record, BookSnapshot):
                mine.replace(record.bids, record.asks)
            elif isinstance(record, BookDelta):
                mine.apply(record.bids, record.asks)
    assert dict(mine.levels()[0]) == bids


@pytest.mark.parametrize("cut", [20, 99])
def test_reading_a_redundant_window_gives_the_venues_book(tmp_path: Path, cut: int) -> None:
    (tmp_path / "real_hot").mkdir()
    for seed in range(5):
        lines, bids = window(seed, cut)
        (tmp_path / "real_hot" / f"{SLUG}.jsonl").write_bytes(b"".join(lines))
        view = reading.at(tmp_path, "polymarket", f"{SLUG}/Up")
        assert view.proven and dict(view.bids) == bids


def test_one_feed_an_epoch_would_be_wrong() -> None:
    """The test above can fail: with a feed for each epoch the books are other ones."""
    wrong = 0
    for seed in range(20):
        lines, bids = window(seed, 99)
        replay, books = Replay(load("polymarket").feed), {"clob-1": Book(), "clob-2": Book()}
        for raw in lines:
            for s, record in replay.line(parse(raw)):
                if isinstance(record, BookSnapshot):
                    books[s].replace(record.bids, record.asks)
                elif isinstance(record, BookDelta):
                    books[s].apply(record.bids, record.asks)
        wrong += all(dict(one.levels()[0]) != bids for one in books.values())
    assert wrong > 10


def test_an_epoch_that_ends_takes_the_proof_only_if_it_is_the_last() -> None:
    replay = Merged(load("polymarket").feed, "clob")
    for s in ("clob-1", "clob-2", "rtds-1"):
        replay.opened(1, s)
    assert (replay.ends("clob-1"), replay.ends("rtds-1")) == ("", "rtds-1")
    replay.closed("clob-1")
    assert replay.ends("clob-2") == "clob" and set(replay.feeds) == {"clob", "rtds-1"}
    replay.closed("clob-2")
    replay.closed("rtds-1")
    assert not replay.feeds
    replay.frame(2, "clob-3", compact(book(UP, 1, {}, {})))
    replay.closed("clob")
    assert not replay.feeds
