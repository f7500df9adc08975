"""Numbers that a table cannot hold, or that take minutes to write out, make an unknown frame and no more."""

from __future__ import annotations

import pytest

from tape_archive.format.records import Unknown
from tape_collectors.venues import load
from tape_collectors.venues.contracts import base
from tape_collectors.venues.numbers import exact, ms, ns, stamp, whole

BIG = "9" * 30
#: a frame of each venue with a number beyond 64 bits, as an id and as a time
FRAMES = {
    "binance_spot": b'{"stream":"a@trade","data":{"e":"trade","E":%s,"s":"A","t":%s,"p":"1","q":"1","T":%s,"m":true}}',
    "okx_spot": b'{"arg":{"channel":"trades","instId":"A-B"},"data":[{"instId":"A-B","tradeId":"%s","px":"1","sz":"1","side":"buy","ts":"%s","count":"%s"}]}',
    "bybit_spot": b'{"topic":"orderbook.50.A","type":"snapshot","ts":%s,"data":{"s":"A","b":[],"a":[],"u":%s,"seq":1},"cts":%s}',
    "gate_spot": b'{"channel":"spot.obu","result":{"t":%s,"full":true,"s":"ob.A_B.400","u":%s},"time_ms":%s,"event":"update"}',
    "gate_usdt": b'{"channel":"futures.obu","result":{"t":%s,"full":true,"s":"ob.A_B.400","u":%s},"time_ms":%s,"event":"update"}',
}


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("venue", FRAMES)
def test_a_number_beyond_64_bits_is_an_unknown_frame(venue: str, at: int) -> None:
    numbers = [b"1"] * 3
    numbers[at] = BIG.encode()
    records = load(venue).feed("any").receive(5, FRAMES[venue] % tuple(numbers))[0]
    assert [type(record) for record in records] == [Unknown]


def test_a_time_with_an_exponent_does_not_hold_up_the_recorder() -> None:
    """Before this was looked at, one such frame of Gate.io cost a minute and a half."""
    row = b'{"id":1,"id_market":2,"create_time_ms":"16e99999999","side":"buy","currency_pair":"A_B","amount":"1","price":"1"}'
    data = b'{"channel":"spot.trades","event":"update","result":' + row + b"}"
    assert [type(record) for record in load("gate_spot").feed("spot").receive(5, data)[0]] == [Unknown]


@pytest.mark.parametrize("text", ["1e9999999", "1e-9999999", "NaN", "Infinity", "x", "", "1e40"])
def test_what_is_no_number_of_a_venue(text: str) -> None:
    for read in (exact, lambda text: ns(text, 10**6), lambda text: base(text, "0.01"), lambda text: base("1", text)):
        with pytest.raises(ValueError):
            read(text)


def test_numbers_that_are() -> None:
    assert (whole("-1"), ms("1791369351001"), ns("1606292218213.4578", 10**6)) == (-1, 1791369351001, 1606292218213457800)
    assert str(exact("0.00000000")) == "0E-8" and stamp(5, 10**9) == 5 * 10**9
    for read, text in ((whole, str(2**62)), (ms, str(2**43)), (ms, "-1")):
        with pytest.raises(ValueError):
            read(text)
    with pytest.raises(ValueError):
        stamp(2**43, 10**9)
