"""What to ask for, of missing intervals."""

from __future__ import annotations

import random
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_collectors.backfill.holes import Hole, rows_of, settled
from tape_collectors.backfill.plan import SPACING_S, Life, Piece, plan
from tape_collectors.venues.binance import history
from tape_collectors.venues.binance.history import DAY, HOUR, INTERVALS, MINUTE
from tape_collectors.venues.binance.wire import MS

#: 2026-11-21 10:30
NOW = 1_795_257_000_000 * MS
LIVES = {"BTCUSDT": Life(NOW - 1000 * DAY * MS), "NEWUSDT": Life(NOW - 2 * DAY * MS), "OLDUSDT": Life(0, NOW - 5 * DAY * MS, rest=False)}


def candles(first: int, rows: int, interval: str = "1m", symbol: str = "BTCUSDT") -> Hole:
    """``first``: how many candles ago."""
    step = INTERVALS[interval] * MS
    begun = NOW // step * step - first * step
    return Hole(f"candles_{interval}", symbol, interval, step, begun, begun + (rows - 1) * step, begun, begun + (rows - 1) * step)


def trades(first: int, last: int, begun: int, ended: int, symbol: str = "BTCUSDT") -> Hole:
    """Times: ms ago."""
    return Hole("trades", symbol, "", 1, first, last, NOW - begun * MS, NOW - ended * MS)


def query(piece: Piece) -> dict[str, str]:
    assert piece.fetch is not None
    return {key: values[0] for key, values in parse_qs(piece.fetch.request.partition("?")[2]).items()}


def test_one_missing_candle_is_one_small_request() -> None:
    made = plan([candles(30, 1)], NOW, LIVES)
    assert [(piece.what, piece.fetch and piece.fetch.weight, piece.age, piece.rows) for piece in made.pieces] == [
        ("GET /fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=1795255200000&endTime=1795255200000&limit=1", 1, 0, 1)
    ]


def test_neighbours_share_a_request_and_far_ones_do_not() -> None:
    near = [candles(1400 - 100 * number, 1) for number in range(12)]
    made = plan(near, NOW, LIVES)
    assert len(made.pieces) == 3 and made.eta_s() < 0.34, "twelve requests of weight 1 would take 0.6 s"
    far = [candles(1400, 1), candles(20, 1)]
    assert len(plan(far, NOW, LIVES).pieces) == 2, "two of weight 1 take less than one of weight 10"
    long = plan([candles(4320, 4310)], NOW, LIVES)
    assert len(long.pieces) == 9 and long.weight == 18, "499 rows weigh 2, where 1,500 weigh 10"


@given(st.integers(0, 10**9), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_every_row_is_asked_for_once_and_no_request_is_too_large(seed: int, count: int) -> None:
    chance = random.Random(seed)
    holes, at = [], chance.randint(5000, 30_000)
    for _ in range(count):
        rows = min(at - 1, chance.choice((1, 1, 2, 50, 499, 1500, 3000)))
        if rows <= 0:
            break
        holes.append(candles(at, rows))
        at -= rows + chance.choice((1, 3, 99, 700, 2000))
    made = plan(holes, NOW, LIVES)
    asked: list[int] = []
    for piece in made.pieces:
        values = query(piece)
        first, last, limit = (int(values[name]) * MS for name in ("startTime", "endTime", "limit"))
        assert limit // MS == (last - first) // (MINUTE * MS) + 1 <= 1500
        assert piece.fetch is not None and piece.fetch.weight == history.klines_weight(limit // MS)
        for hole in piece.holes:
            assert first <= hole.first <= hole.last <= last
            asked += range(hole.first, hole.last + 1, hole.step)
    wanted = [row for hole in holes for row in range(hole.first, hole.last + 1, hole.step)]
    assert sorted(asked) == sorted(wanted) and not made.refused
    # In the time that requests take one after another: what both limits leave in all may be a little more than of the holes alone.
    alone = [piece.fetch for hole in holes for piece in plan([hole], NOW, LIVES).pieces if piece.fetch]
    assert made.eta_s() <= sum(max(fetch.weight / 36, SPACING_S) for fetch in alone) + 1e-6


def test_new_holes_go_first_and_classes_go_by_age() -> None:
    holes = [candles(30 * 1440, 3), candles(700, 3), candles(30, 3), candles(5 * 1440, 3), candles(90, 3, "1d")]
    ages = [(piece.age, piece.holes[0].first) for piece in plan(holes, NOW, LIVES).pieces]
    assert [age for age, _ in ages] == [0, 1, 2, 2, 2]
    assert ages[2][1] == holes[3].first, "the younger of two historical ones"


def test_before_a_listing_after_a_delisting_and_the_running_candle_are_no_gaps() -> None:
    listed = plan([candles(3 * 1440, 3 * 1440 - 1, symbol="NEWUSDT")], NOW, LIVES)
    assert sum(piece.rows for piece in listed.pieces) == 2 * 1440 - 1 and not listed.refused
    assert plan([candles(4 * 1440, 1440, symbol="OLDUSDT")], NOW, LIVES).pieces == ()
    assert plan([candles(0, 5)], NOW, LIVES).pieces == (), "not closed yet"
    none = plan([candles(100, 5, symbol="NOPEUSDT")], NOW, LIVES)
    assert [(one.why, one.later) for one in none.refused] == [("the venue does not list it", False)]


def test_a_delisted_symbol_comes_from_the_archive() -> None:
    made = plan([candles(7 * 1440, 1000, symbol="OLDUSDT")], NOW, LIVES)
    assert [piece.path for piece in made.pieces] == [
        "/data/futures/um/daily/klines/OLDUSDT/1m/OLDUSDT-1m-2026-11-15.zip",
        "/data/futures/um/daily/klines/OLDUSDT/1m/OLDUSDT-1m-2026-11-14.zip",
    ]
    absent = {made.pieces[0].path: "not in the archive"}
    again = plan([candles(7 * 1440, 1000, symbol="OLDUSDT")], NOW, LIVES, absent)
    assert len(again.pieces) == 1 and [one.why for one in again.refused] == ["not in the archive"]
    assert sum(piece.rows for piece in made.pieces) == 1000


def test_the_candle_in_which_a_symbol_was_delisted_is_one() -> None:
    at = NOW // (MINUTE * MS) * MINUTE * MS - 5 * DAY * MS
    for passed, rows in ((0, 10), (1, 11), (35_000 * MS, 11), (MINUTE * MS, 11), (MINUTE * MS + 1, 12)):
        lives = {"OLDUSDT": Life(0, at + passed, rest=False)}
        assert sum(piece.rows for piece in plan([candles(5 * 1440 + 10, 20, symbol="OLDUSDT")], NOW, lives).pieces) == rows


def test_a_whole_month_is_a_file_and_its_ends_are_requests() -> None:
    hole = candles(60 * 1440, 50 * 1440)
    made = plan([hole], NOW, LIVES)
    files = [piece for piece in made.pieces if piece.path]
    assert [piece.path.rpartition("/")[2] for piece in files] == ["BTCUSDT-1m-2026-10.zip", "BTCUSDT-1m-2026-09.zip"]
    assert sum(piece.rows for piece in made.pieces) == 50 * 1440
    assert {int(query(piece)["startTime"]) // DAY for piece in made.pieces if piece.fetch} == set(range(20758, 20769))
    gone = plan([hole], NOW, LIVES, {piece.path: "not there" for piece in files})
    assert not [piece for piece in gone.pieces if piece.path] and sum(piece.rows for piece in gone.pieces) == 50 * 1440


def test_trades_go_by_id_while_rest_has_them_and_by_file_after() -> None:
    made = plan(
        [trades(100, 130, HOUR, HOUR - 9), trades(500, 900, HOUR - 50, HOUR - 60), trades(5000, 5100, 40 * MINUTE, 30 * MINUTE)], NOW, LIVES
    )
    assert [query(piece)["fromId"] for piece in made.pieces] == ["5000", "100"] and len(made.pieces[1].holes) == 2
    old = plan([trades(100, 130, 60 * HOUR, 58 * HOUR)], NOW, LIVES)
    assert [piece.path.rpartition("-aggTrades-")[2] for piece in old.pieces] == ["2026-11-19.zip", "2026-11-18.zip"][: len(old.pieces)]
    assert old.pieces and not old.refused
    gone = plan([trades(100, 130, 60 * HOUR, 58 * HOUR)], NOW, LIVES, {piece.path: "wrong checksum" for piece in old.pieces})
    assert gone.pieces == () and {one.why for one in gone.refused} == {"wrong checksum"}


def test_trades_of_an_unknown_id_are_asked_for_by_time() -> None:
    made = plan([trades(0, 900, 3 * HOUR, HOUR)], NOW, LIVES)
    assert made.pieces[0].times and int(query(made.pieces[0])["endTime"]) - int(query(made.pieces[0])["startTime"]) < HOUR
    tail = plan([trades(901, 0, HOUR, 0)], NOW, LIVES)
    assert query(tail.pieces[0])["fromId"] == "901"
    straddling = plan([trades(10, 10**6, 80 * HOUR, HOUR)], NOW, LIVES)
    assert [bool(piece.path) for piece in straddling.pieces] == [False, True, True]
    assert straddling.pieces[0].times, "what id yesterday begins with is not known"


def test_open_interest_of_a_month_by_rest_and_older_by_file() -> None:
    step = 5 * MINUTE * MS
    begun = (NOW - 31 * DAY * MS) // step * step
    hole = Hole("open_interest", "BTCUSDT", "5m", step, begun, begun + 1000 * step, begun, begun + 1000 * step)
    made = plan([hole], NOW, LIVES)
    assert sum(piece.rows for piece in made.pieces) == 1001
    assert [piece.path.rpartition("/")[2] for piece in made.pieces if piece.path] == [
        f"BTCUSDT-metrics-2026-10-{day}.zip" for day in (23, 22, 21)
    ][-len([piece for piece in made.pieces if piece.path]) :]
    assert all(piece.fetch.host == "interest" for piece in made.pieces if piece.fetch)


@pytest.mark.parametrize("rest", [True, False])
def test_funding_is_asked_for_by_the_thousand(rest: bool) -> None:
    step = 8 * HOUR * MS
    begun = (NOW - 400 * DAY * MS) // step * step
    hole = Hole("funding", "BTCUSDT", "", step, begun, begun + 1000 * step, begun, begun + 1000 * step)
    made = plan([hole], NOW, {"BTCUSDT": Life(0, 0 if rest else NOW, rest=rest)})
    assert sum(piece.rows for piece in made.pieces) == 1001 if rest else made.pieces
    assert all(bool(piece.fetch) == rest for piece in made.pieces)


def test_trades_that_are_still_on_their_way_are_no_gap() -> None:
    """Nothing is asked for them, and nobody judges them: at the next look they are there, or old enough to be asked for."""
    now = 1_796_029_212_000_000_000
    hole = Hole("trades", "BTCUSDT", "", 1, 5, 9, now - 8_000_000_000, now - 5_000_000_000)
    assert not settled(hole, now) and not plan([hole], now, {"BTCUSDT": Life()}).pieces
    assert settled(hole, now + 2_000_000_000) and plan([hole], now + 2_000_000_000, {"BTCUSDT": Life()}).pieces


def test_of_candles_those_that_have_just_closed_are_not_asked_for_yet() -> None:
    """Not judged either: as "failed" they had to wait for their turn again, at every run within ten seconds of a minute's end."""
    minute, now = 60 * 10**9, 1_000_000 * 60 * 10**9 + 7 * 10**9
    hole = Hole("candles_1m", "BTCUSDT", "1m", minute, now // minute * minute - 4 * minute, now // minute * minute - minute, 0, 0)
    old = settled(hole, now)
    assert (
        old is not None and (old.first, old.last) == (hole.first, hole.last - minute) and (old.from_ns, old.to_ns) == (old.first, old.last)
    )
    assert settled(hole, now + 3 * 10**9 - 2) == old and rows_of(settled(hole, now + 3 * 10**9) or old) == 4
    assert settled(old, now - 3 * minute - 7 * 10**9) is None
