"""Candles against a plain count over all trades, and the ledger's way to write numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.simulator.candles import INTERVALS, Candles
from tape_collectors.simulator.ledger import Ledger, number
from tape_collectors.simulator.perpetuals import decimal

Trade = tuple[int, int, int, bool]
STEPS = st.lists(
    st.tuples(st.sampled_from([1, 900, 59_000, 60_000, 299_999, 3_600_000]), st.integers(1, 99), st.integers(1, 9), st.booleans()),
    max_size=60,
)


def oracle(trades: list[Trade], start: int, length: int, price: int) -> tuple[int, ...]:
    """(open, high, low, close, volume, quote, trades, bought) of one candle; ``price``: the last before it."""
    inside = [one for one in trades if start <= one[0] < start + length]
    prices = [price, *(one[1] for one in inside)]
    bought = sum(size for _, _, size, sells in inside if not sells)
    turnover = sum(price * size for _, price, size, _ in inside)
    return price, max(prices), min(prices), prices[-1], sum(one[2] for one in inside), turnover, len(inside), bought


@given(begin=st.integers(0, 86_400_000), steps=STEPS)
def test_every_length_is_what_its_trades_say(begin: int, steps: list[tuple[int, int, int, bool]]) -> None:
    candles, now, trades, closed = Candles(begin, 50), begin, [], []
    for number_, (wait, price, size, sells) in enumerate(steps):
        now += wait
        closed += candles.roll(now)
        candles.minute.add(number_, price, size, sells)
        trades.append((now, price, size, sells))
    running = [(interval, candles.running(interval)) for interval in INTERVALS]
    for interval, bar in [*closed, *running]:
        assert bar.start % INTERVALS[interval] == 0
        price = next((one[1] for one in reversed(trades) if one[0] < bar.start), 50)
        expected = oracle(trades, bar.start, INTERVALS[interval], price)
        assert (*bar.ohlc, bar.volume, bar.quote, bar.trades, bar.bought) == expected
    for interval, length in INTERVALS.items():
        starts = [bar.start for of, bar in closed if of == interval]
        assert starts == list(range(begin - begin % length, now - now % length, length))


@given(value=st.integers(0, 10**15 - 1), decimals=st.integers(0, 8))
def test_numbers_are_the_same_from_a_decimal_text_a_float_and_a_decimal(value: int, decimals: int) -> None:
    text, short = decimal(value, decimals)
    assert Decimal(text) * 10**decimals == value
    assert number(text) == number(float(text)) == number(Decimal(text)) == short


@pytest.mark.parametrize(
    "value,text", [("0.10", "0.1"), ("-0.000", "0"), ("84000.0", "84000"), (1e-7, "0.0000001"), (100, "100"), ("100", "100")]
)
def test_numbers(value: str | float, text: str) -> None:
    assert number(value) == text


def test_a_ledger_begins_anew_and_stops() -> None:
    ledger = Ledger()
    ledger.row("aggTrade", "A").add(7, "A|7")
    ledger.row("aggTrade", "A").add(8, "A|8")
    other = Ledger()
    other.row("aggTrade", "A").add(8, "A|8")
    other.row("aggTrade", "A").add(7, "A|7")
    hashes = [one.shown()["rows"][0]["hash"] for one in (ledger, other)]
    assert hashes[0] == hashes[1] and ledger.totals()["aggTrade"]["count"] == 2
    other.row("aggTrade", "A").add(7, "A|7")
    assert other.shown()["rows"][0]["hash"] != hashes[0], "twice is not once"
    ledger.stop(9)
    ledger.stop(11)
    assert (ledger.until_ms, ledger.counting) == (9, False)
    assert ledger.ids_of("aggTrade", "A") == []
    ledger.reset(11, ids=True)
    ledger.row("aggTrade", "A").add(9, "A|9")
    ledger.row("aggTrade", "B").add(3, "B|3")
    ledger.row("aggTrade", "B").unsend(4, "B|4")
    assert (ledger.ids_of("aggTrade", "A"), ledger.ids_of("aggTrade", "B")) == ([9], [3])
    ledger.reset(12)
    assert ledger.shown() == {"since_ms": 12, "until_ms": None, "rows": []} and ledger.counting
