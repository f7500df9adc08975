"""Rules 1 to 4 of ``market.trade_chain``, and a property: however trades come, the chain is what a plain sum says."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.records import Trade
from tape_collectors.market.trade_chain import Carry, Taken, TradeChain

DAY = 86_400_000_000_000
T0 = 20_000 * DAY
MS = 1_000_000


def trade(id: int, ts: int | None = None, size: str = "1", side: str = "buy", price: str = "100") -> Trade:
    ts = T0 + id * MS if ts is None else ts
    return Trade(ts + 5, ts, "S", "aggTrade", str(id), price, size, side, ts)


def took(chain: TradeChain, record: Trade) -> Taken:
    found = chain.take(record)
    assert isinstance(found, Taken)
    return found


def test_a_double_is_none_however_old() -> None:
    chain = TradeChain(remembered=4)
    for id in range(1, 20_001):
        took(chain, trade(id))
    assert [chain.take(trade(id)) for id in (20_000, 19_999, 1)] == ["double"] * 3
    assert chain.doubles == 3 and took(chain, trade(20_001)).cvd == 20_001.0


def test_a_hole_is_counted_and_a_late_trade_is_told_from_a_double() -> None:
    chain = TradeChain()
    took(chain, trade(10))
    behind = took(chain, trade(14))
    assert (behind.missed, behind.gaps) == (3, 2), "one gap of the hole, one of the day's beginning"
    assert chain.take(trade(12)) == "late" and chain.take(trade(12)) == "double" and chain.take(trade(14)) == "double"
    assert took(chain, trade(15)).cvd == 3.0, "a late one is not in the sum of its day: nobody knows what came of the others"


def test_of_many_missing_ids_the_last_are_remembered() -> None:
    chain = TradeChain(remembered=100)
    took(chain, trade(1))
    assert took(chain, trade(1_000_000_000)).missed == 999_999_998
    assert chain.take(trade(999_999_999)) == "late" and chain.take(trade(5)) == "double"


def test_ids_that_go_back_in_later_time_are_a_new_beginning() -> None:
    chain = TradeChain()
    took(chain, trade(1000))
    assert chain.take(trade(10, ts=T0 + 1000 * MS)) == "double", "the same millisecond: no later"
    anew = took(chain, trade(10, ts=T0 + 1001 * MS))
    assert anew.reset and not anew.missed and anew.gaps == 2
    assert took(chain, trade(11, ts=T0 + 1002 * MS)).missed == 0


def test_a_run_goes_on_where_the_one_before_stood() -> None:
    whole, first = TradeChain(), TradeChain()
    for id in range(1, 51):
        took(whole, trade(id))
        took(first, trade(id))
    second = TradeChain(carry=first.last)
    for id in range(51, 101):
        assert took(second, trade(id)) == took(whole, trade(id))
    third = TradeChain(carry=second.last)
    later = took(third, trade(111))
    assert (later.missed, later.gaps) == (10, took(whole, trade(101)).gaps + 1)
    assert third.take(trade(111)) == "double" and third.take(trade(105)) == "late"


def test_a_new_day_begins_anew_for_both() -> None:
    carry = Carry(500.0, 5e4, T0, 3, 10, T0 + 10)
    chain = TradeChain(carry=carry)
    before = took(chain, trade(11, ts=T0 + DAY - MS))
    assert (before.cvd, before.cvd_quote, before.gaps, before.anchor) == (501.0, 50_100.0, 3, T0)
    after = took(chain, trade(12, ts=T0 + DAY))
    assert (after.cvd, after.gaps, after.anchor) == (1.0, 0, T0 + DAY)
    late = TradeChain(carry=carry)
    assert took(late, trade(11, ts=T0 + DAY)).cvd == 1.0


def test_what_is_no_number_is_no_trade() -> None:
    chain = TradeChain()
    took(chain, trade(1))
    assert chain.take(trade(2, size="nan")) is None
    assert took(chain, trade(3)).cvd == 2.0


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9), st.booleans()), max_size=80), st.integers(0, 79))
def test_any_order_with_a_restart_anywhere_is_a_plain_sum(given: list[tuple[int, int, bool]], cut: int) -> None:
    chain, last, total = TradeChain(), 0, 0
    for at, (id, size, buys) in enumerate(given):
        if at == cut:
            chain = TradeChain(carry=chain.last)
        found = chain.take(trade(id, size=str(size), side="buy" if buys else "sell"))
        if id > last:
            assert isinstance(found, Taken) and found.missed == (id - last - 1 if last else 0)
            total += size if buys else -size
            assert math.isclose(found.cvd, total, abs_tol=1e-9)
            last = id
        else:
            assert found in ("double", "late")
