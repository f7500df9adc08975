"""Every frame reaches the window it belongs to, once, byte for byte."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_collectors.venues.polymarket import wire
from tape_collectors.venues.polymarket.route import Router, Union
from tests.collectors.venues.polymarket.frames import DOWN, MARKET, OTHER, SECOND, UP, book, change, compact, leg, real, trade
from tests.support.captures import captures
from tests.support.mutate import mutations, retyped

FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))


def router() -> Router:
    out = Router()
    out.add("one", MARKET, (UP, DOWN))
    out.add("two", OTHER, ("8", "9"))
    return out


def test_a_frame_of_one_window_goes_there_whole() -> None:
    frames = [book(UP, 1, {}, {}), change(1, leg(DOWN, "0.4", "1", "BUY")), trade(UP, 1)]
    for frame in [*map(compact, frames), compact(frames), b" " + compact(frames[0]), json.dumps(frames[1], indent=1).encode()]:
        assert router().route(frame) == [("one", None, frame)]
    bare = compact({key: value for key, value in book(UP, 1, {}, {}).items() if key != "market"})
    assert router().route(bare) == [("one", None, bare)]


def test_an_array_of_several_windows_is_filed_whole_and_in_parts() -> None:
    parts = [
        book(UP, 1, {"0.1": "5"}, {}),
        {"market": "0xdead", "event_type": "book"},
        book("8", 1, {}, {}, market=OTHER),
        {"x": 1},
        trade(DOWN, 2),
    ]
    texts = [json.dumps(part, separators=separators) for part, separators in zip(parts, [(",", ":"), (", ", ": ")] * 3, strict=False)]
    frame = ("[ " + " ,\n".join(texts) + "]").encode()
    assert router().route(frame) == [
        ("", None, frame),
        ("one", [0, 4], f"[{texts[0]},{texts[4]}]".encode()),
        ("two", 2, texts[2].encode()),
    ]


def test_one_strange_element_keeps_the_array_out_of_a_window() -> None:
    frame = compact([book(UP, 1, {}, {}), {"event_type": "unheard of"}])
    assert [key for key, _, _ in router().route(frame)] == ["", "one"]


@pytest.mark.parametrize(
    "data", [b"PONG", b"", b"[]", b"[", b"[1,2]", b"{", b"\xff", b"null", compact({"event_type": "new_market", "market": "0xdead"})]
)
def test_what_belongs_to_no_window_stays_on_the_venues_tape(data: bytes) -> None:
    assert router().route(data) == [("", None, data)]


def test_a_market_named_inside_a_text_is_not_the_market() -> None:
    said = json.dumps({"event_type": "new_market", "description": f'"market":"{MARKET}"', "market": OTHER}).encode()
    assert router().route(said) == [("two", None, said)]


def test_a_resolution_of_ours_goes_to_our_window_and_a_removed_window_gets_nothing() -> None:
    ours = router()
    frame = compact({"event_type": "market_resolved", "market": MARKET, "winning_outcome": "Up"})
    assert ours.route(frame) == [("one", None, frame)]
    ours.remove("one")
    assert ours.route(frame) == [("", None, frame)]
    assert ours.route(compact(book(UP, 1, {}, {})))[0][0] == ""


@pytest.mark.fuzz
@pytest.mark.captures
def test_fuzz() -> None:
    """No exception; whatever is cut, the whole frame is filed exactly once."""
    frames = [frame for _, frame in real(captures())] + [
        compact([book(UP, 1, {}, {}), book("8", 1, {}, {}, market=OTHER), book(DOWN, 1, {}, {})])
    ]
    ours = router()
    for frame in chain(mutations(frames, FUZZ, seed=11), retyped(frames, FUZZ // 4, seed=11)):
        out = ours.route(frame)
        assert [(part, data) for _, part, data in out].count((None, frame)) == 1
        assert all(part is None or (key and all(piece in frame for piece in pieces(part, data))) for key, part, data in out)
        assert len({key for key, _, _ in out}) == len(out), "time rises from line to line: one line a frame and tape"


def pieces(part: int | list[int], data: bytes) -> list[bytes]:
    return [bytes(piece) for piece in wire.raw_list(data)] if isinstance(part, list) else [data]


# -- the union of redundant sockets --------------------------------------------------------------------------------------------------

arrivals = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([b"x", b"y", b"z"])), max_size=60)


@given(arrivals)
@settings(max_examples=200)
def test_each_frame_is_filed_as_often_as_on_the_best_socket(rows: list[tuple[str, bytes]]) -> None:
    union, filed = Union(), Counter[bytes]()
    for s in "abc":
        union.opened(s, 0)
    for t, (s, data) in enumerate(rows):
        filed[data] += not union.seen(s, t, data)
    counts = Counter(rows)
    assert filed == Counter({data: most for data in (b"x", b"y", b"z") if (most := max(counts[s, data] for s in "abc"))})
    assert union.doubles == len(rows) - sum(filed.values())


@given(st.lists(st.integers(0, 3), max_size=40), st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(0, 5))
def test_two_lossy_sockets_make_one_whole_tape(values: list[int], lost_a: set[int], lost_b: set[int], lag: int) -> None:
    """What at least one socket brought is filed exactly once, in spite of equal frames, if no equal frames were lost on both."""
    stream = [b"%d-%d" % (value, number) for number, value in enumerate(values)]
    events = [(2 * n, "a", f) for n, f in enumerate(stream) if n not in lost_a] + [
        (2 * (n + lag) + 1, "b", f) for n, f in enumerate(stream) if n not in lost_b
    ]
    union = Union()
    union.opened("a", 0)
    union.opened("b", 0)
    filed = [frame for t, s, frame in sorted(events) if not union.seen(s, t, frame)]
    assert sorted(filed) == sorted(frame for n, frame in enumerate(stream) if n not in lost_a or n not in lost_b)


def test_the_first_book_after_a_reconnect_is_filed_though_its_bytes_are_old() -> None:
    union, same = Union(), compact(book(UP, 1000, {}, {}))
    union.opened("clob-1", 0)
    union.opened("clob-2", 0)
    assert [union.seen("clob-1", 1, same), union.seen("clob-2", 2, same)] == [False, True]
    union.closed("clob-1")
    union.opened("clob-3", 10 * SECOND)
    assert union.seen("clob-3", 11 * SECOND, same) is False
    # And what the other socket brings now is compared with what came since.
    assert union.seen("clob-2", 12 * SECOND, same) is True


def test_what_one_socket_alone_had_before_a_reconnect_does_not_hide_the_book_after_it() -> None:
    union, same = Union(), compact(book(UP, 1000, {}, {}))
    union.opened("clob-1", 0)
    union.opened("clob-2", 0)
    assert union.seen("clob-1", 1, same) is False
    union.closed("clob-2")
    union.opened("clob-3", 10 * SECOND)
    assert union.seen("clob-3", 11 * SECOND, same) is False


def test_memory_is_bounded_in_time_and_bytes() -> None:
    union = Union(remembered_ns=SECOND, most=1000)
    union.opened("a", 0)
    for t in range(100):
        assert not union.seen("a", t, b"%d" % t)
    assert len(union) == 0, "one socket needs no memory"
    union.opened("b", 100)
    for t in range(100, 400):
        union.seen("a", t, b"%d" % t)
        union.seen("b", t, b"%d" % t)
        assert len(union) == 0, "what both have brought is forgotten"
    for t in range(400, 1000):
        union.seen("a", t, b"%06d" % t)
    assert len(union) * 6 <= 1000 + 6
    union.seen("a", 3 * SECOND, b"late")
    assert len(union) == 1
    for n in range(500):
        union.seen("a", 3 * SECOND + n * SECOND // 100, b"PONG")
    assert len(union._filed[b"PONG"]) <= 102


def test_a_frame_that_comes_too_late_is_filed_again_rather_than_lost() -> None:
    union = Union(remembered_ns=SECOND)
    union.opened("a", 0)
    union.opened("b", 0)
    assert not union.seen("a", 1, b"x")
    assert not union.seen("b", 5 * SECOND, b"x")
