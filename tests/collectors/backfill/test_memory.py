"""What is known of gaps, and ranges put together."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tape_archive.tables.tables import Cursor, Tables, open_tables
from tape_collectors.backfill.holes import Hole
from tape_collectors.backfill.memory import TABLE, Memory, priority
from tape_collectors.backfill.plan import DAY_NS, HOUR_NS
from tape_collectors.backfill.spans import Spans, outside

MINUTE = 60 * 10**9
NOW = 1_795_000_020 * 10**9


def hole(first: int, last: int) -> Hole:
    """Minutes ago."""
    begun, ended = NOW - first * MINUTE, NOW - last * MINUTE
    return Hole("candles_1m", "BTCUSDT", "1m", MINUTE, begun, ended, begun, ended)


def memory(store: Tables, now: int = NOW, scope: str = "scheduled") -> Memory:
    made = Memory(store, now, scope)
    made.names = {"BTCUSDT": "BTC-USDT-PERP"}
    return made


def ended(store: Tables, what: Hole, status: str, retries: int = 0) -> None:
    made = memory(store)
    (entry,) = made.found([what])
    entry.retries = retries
    made.end(entry, status, 0, NOW, "because")
    cursor = store.cursors("test").get(TABLE)
    store.insert(TABLE, made.columns([entry], NOW), Cursor("test", cursor.batch + 1 if cursor else 1))


def test_of_a_larger_gap_only_what_was_never_refused_is_asked(tmp_path: Path) -> None:
    store = open_tables(f"parquet://{tmp_path}")
    store.create()
    ended(store, hole(60, 51), "unfillable")
    ask, left = memory(store).open([hole(70, 41)])
    assert ask == [hole(70, 61), hole(50, 41)] and [(one, status) for one, status in left] == [(hole(70, 41), "unfillable")]
    assert memory(store).open([hole(60, 51)]) == ([], [(hole(60, 51), "unfillable")])
    assert memory(store).why(hole(55, 54)) == "because" and memory(store).why(hole(50, 41)) == ""
    store.close()


def test_what_failed_is_asked_later_and_by_a_person_at_once(tmp_path: Path) -> None:
    store = open_tables(f"parquet://{tmp_path}")
    store.create()
    ended(store, hole(60, 51), "failed")
    for passed, asked in ((HOUR_NS - 1, False), (HOUR_NS, True)):
        assert (memory(store, NOW + passed).open([hole(60, 51)])[0] == [hole(60, 51)]) == asked
    assert memory(store, scope="manual").open([hole(60, 51)])[0] == [hole(60, 51)]
    ended(store, hole(60, 51), "failed", retries=1)
    assert not memory(store, NOW + 5 * HOUR_NS).open([hole(60, 51)])[0]
    store.close()


def tail(since: int, until: int = 0) -> Hole:
    """Trades after the last one, minutes ago."""
    return Hole("trades", "BTCUSDT", "", 1, since, 0, NOW - since * MINUTE, NOW - until * MINUTE)


def test_the_end_of_the_trades_is_asked_for_once(tmp_path: Path) -> None:
    store = open_tables(f"parquet://{tmp_path}")
    store.create()
    ended(store, tail(60, 10), "completed")
    for what, asked in ((tail(60, 10), False), (tail(20, 10), False), (tail(20, 8), False), (tail(20, 7), True), (tail(61, 10), True)):
        assert bool(memory(store).open([what])[0]) == asked, "what came by the first answer is behind its beginning"
    ended(store, tail(20, 10), "failed")
    assert memory(store, scope="manual").open([tail(20, 10)])[0] and memory(store).open([tail(20, 9)])[0], "the answers broke off there"
    assert not memory(store).open([tail(30, 10)])[0]
    store.close()


def test_priorities_are_the_briefs() -> None:
    assert priority("1m", 0, HOUR_NS, "scheduled") == 9 and priority("1m", 0, HOUR_NS, "restart") == 10
    assert priority("1d", 2, DAY_NS, "scheduled") == 2 and priority("1d", 2, DAY_NS, "manual") == 5


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12))), st.integers(0, 60), st.integers(0, 30), st.integers(1, 5))
def test_ranges_against_sets(some: list[tuple[int, int]], first: int, rows: int, step: int) -> None:
    spans, numbers = Spans(), set()
    for begin, length in some:
        spans.add(begin, begin + length)
        numbers |= set(range(begin, begin + length + 1))
    last = first + rows * step
    assert spans.cover(first, last) == (set(range(first, last + 1)) <= numbers)
    wanted = [at for at in range(first, last + 1, step) if at not in numbers]
    parts = outside(first, last, step, spans)
    assert [at for begin, end in parts for at in range(begin, end + 1, step)] == wanted
    assert all((begin - first) % step == 0 and (end - first) % step == 0 for begin, end in parts)
