"""Holes are what no connection received, whatever the connections' lives: against sets of ids."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tape_access.holes import Epoch, Missing, Row, finish

SECOND = 1_000_000_000


def epoch(s: str, opened: int, closed: int, ids: list[int], *, dense: bool = True, union: bool = False, why: str = "cut") -> Epoch:
    """An epoch that received these ids, each at the second of its number."""
    first, last = (ids[0], ids[-1]) if ids else (0, 0)
    return Epoch(
        s, opened, closed, 0, first * SECOND, last * SECOND, first, last, dense, why, union, len(ids), first * SECOND, last * SECOND
    )


def timed(s: str, opened: int, closed: int, first_t: int, last_t: int, *, union: bool = False, frames: int = 5, acked_t: int = 0) -> Epoch:
    """An epoch of a stream without numbers."""
    return Epoch(s, opened, closed, acked_t, first_t, last_t, 0, 0, True, "cut", union, frames, first_t, last_t)


def gaps(row: Row, span: tuple[int, int] = (0, 0), *, edges: bool = False) -> list[Missing]:
    """The gaps alone."""
    done = finish(row, span, edges=edges)
    assert done is not None
    return done[0]


@st.composite
def _histories(draw: st.DrawFn) -> list[set[int]]:
    """What each of up to four connections received of ids 1..60; each lives for a stretch of them and loses some."""
    out = []
    for _ in range(draw(st.integers(1, 4))):
        low = draw(st.integers(1, 55))
        high = draw(st.integers(low, 60))
        lost = draw(st.sets(st.integers(low, high), max_size=12))
        out.append(set(range(low, high + 1)) - lost)
    return [ids for ids in out if ids] or [{1}]


@settings(max_examples=300)
@given(_histories())
def test_every_id_that_nobody_received_is_missing_and_no_other(history: list[set[int]]) -> None:
    row = Row()
    for number, ids in enumerate(history):
        rising = sorted(ids)
        row.epochs.append(epoch(f"e{number}", (rising[0] - 1) * SECOND, rising[-1] * SECOND + 1, rising))
        for before, after in zip(rising, rising[1:], strict=False):
            if after > before + 1:
                row.found.append((f"e{number}", Missing(before * SECOND, after * SECOND, before + 1, after - 1, "ids")))
    everything = set().union(*history)
    wanted = set(range(min(everything), max(everything) + 1)) - everything
    found = gaps(row)
    told = [number for gap in found for number in range(gap.from_id, gap.to_id + 1)]
    assert sorted(told) == sorted(wanted)
    for gap in found:
        assert gap.from_ns == (gap.from_id - 1) * SECOND and gap.to_ns == (gap.to_id + 1) * SECOND


def test_a_hole_within_a_connection_and_one_between_two_have_their_own_reasons() -> None:
    row = Row()
    row.epochs = [epoch("a", 0, 6 * SECOND, [1, 2, 5]), epoch("b", 7 * SECOND, 20 * SECOND, [9, 10])]
    row.found = [("a", Missing(2 * SECOND, 5 * SECOND, 3, 4, "ids"))]
    assert [(gap.from_id, gap.to_id, gap.why) for gap in gaps(row)] == [(3, 4, "ids"), (6, 8, "disconnect: cut")]


def test_a_reconnect_that_lost_no_number_lost_nothing() -> None:
    row = Row()
    row.epochs = [epoch("a", 0, 5 * SECOND, [1, 2, 3]), epoch("idle", 6 * SECOND, 7 * SECOND, [])]
    assert [gap.why for gap in gaps(row)] == ["no frame ever came"]
    row.epochs.append(Epoch("b", 8 * SECOND, 30 * SECOND, 0, 9 * SECOND, 29 * SECOND, 4, 5, True, "", False, 2, 0, 0))
    assert gaps(row) == []


def test_numbers_that_begin_anew_are_no_hole_but_the_time_between_is_unknown() -> None:
    row = Row()
    low = Epoch("b", 200 * SECOND, 300 * SECOND, 0, 210 * SECOND, 290 * SECOND, 5, 50, True, "", False, 1, 0, 0)
    row.epochs = [epoch("a", 0, 110 * SECOND, [100, 101, 102]), low]
    assert [(gap.from_ns, gap.to_ns, gap.from_id, gap.to_id) for gap in gaps(row)] == [(102 * SECOND, 210 * SECOND, 0, 0)]


def test_without_numbers_the_time_without_any_connection_is_missing() -> None:
    row = Row()
    row.epochs = [timed("a", 0, 10, 1, 9), timed("b", 12, 30, 15, 29), timed("c", 28, 50, 29, 49)]
    assert [(gap.from_ns, gap.to_ns, gap.why) for gap in gaps(row)] == [(9, 15, "disconnect: cut")]


def test_a_second_socket_that_carried_makes_it_whole() -> None:
    row = Row()
    row.epochs = [timed("a", 0, 10, 1, 9), timed("b", 0, 40, 2, 39), timed("a2", 12, 30, 15, 29)]
    row.found = [("b", Missing(4, 7, 0, 0, "seconds"))]
    assert gaps(row) == []


def test_a_confirmed_subscription_that_spoke_later_carried_from_the_ack_on() -> None:
    row = Row()
    row.epochs = [timed("a", 0, 10, 1, 9), timed("b", 7, 30, 15, 29, acked_t=8)]
    assert gaps(row) == []
    row.epochs[1].acked_t = 11
    assert [(gap.from_ns, gap.to_ns) for gap in gaps(row)] == [(9, 15)]


def test_on_a_union_tape_an_open_socket_carries_though_it_was_never_first() -> None:
    row = Row()
    row.epochs = [timed("a", 0, 10, 1, 9, union=True), timed("b", 0, 40, 25, 39, union=True)]
    assert gaps(row) == []


def test_a_dense_stream_that_never_spoke_is_missing() -> None:
    row = Row()
    row.epochs = [timed("a", 5, 10, 0, 0, frames=0)]
    assert [(gap.from_ns, gap.to_ns, gap.why) for gap in gaps(row)] == [(5, 10, "no frame ever came")]
    row.epochs[0].dense = False
    assert gaps(row) == []


def test_a_silence_that_no_frame_ended_is_missing() -> None:
    row = Row()
    row.epochs = [timed("a", 0, 100, 1, 40)]
    row.silent = [40]
    assert [(gap.from_ns, gap.to_ns, gap.why) for gap in gaps(row)] == [(40, 100, "silent")]
    row.epochs[0].last_t = 60
    assert gaps(row) == []


def test_a_span_within_an_outage_is_told_whole_and_its_ends_are_judged() -> None:
    row = Row()
    row.epochs = [timed("a", 0, 10, 1, 9), timed("b", 90, 99, 91, 98)]
    assert [(gap.from_ns, gap.to_ns) for gap in gaps(row, (40, 50), edges=True)] == [(9, 91)]
    assert [gap.why for gap in gaps(row, (95, 200), edges=True)] == ["after the recording"]
    assert finish(row, (2, 5), edges=True) is not None
    assert gaps(row, (2, 5), edges=True) == []
