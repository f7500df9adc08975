"""Candles of any length from minutes, compared with pandas' resample."""

from __future__ import annotations

import random

import msgspec
import pandas as pd
import pytest

from tape_archive.format.errors import SettingsError
from tape_collectors.market.candles import MINUTE_NS, Bar, Candles, minutes, opening

START = 1_768_046_400_000_000_000


def bars(count: int, seed: int = 1) -> list[Bar]:
    chance = random.Random(seed)
    out, price = [], 100.0
    for at in range(count):
        prices = [price := price + chance.uniform(-1, 1) for _ in range(5)]
        size = float(chance.randrange(100))
        out.append(
            Bar(START + at * MINUTE_NS, prices[0], max(prices), min(prices), prices[-1], size, size * 2, int(size), size / 2, size / 4)
        )
    return out


@pytest.mark.parametrize("interval", ["2m", "3m", "45m", "2h", "1d"])
def test_as_pandas_does(interval: str) -> None:
    given = bars(3000)
    made = Candles(interval)
    got = [bar for one in given if (bar := made.minute("BTCUSDT", one)) is not None]
    frame = pd.DataFrame([msgspec.structs.asdict(one) for one in given]).set_index("open_ts")
    frame.index = pd.to_datetime(frame.index, utc=True)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "trades": "sum", "have": "sum"}
    expected = frame.resample(f"{minutes(interval)}min", origin="epoch").agg(how)
    expected = expected[expected["have"] == minutes(interval)]
    assert len(got) == len(expected) > 0
    for bar, (at, row) in zip(got, expected.iterrows(), strict=True):
        assert bar.open_ts == at.value  # type: ignore[attr-defined]
        assert [getattr(bar, name) for name in how] == pytest.approx([row[name] for name in how], rel=1e-12)


def test_one_with_a_missing_minute_is_never_given() -> None:
    made = Candles("3m")
    some = [one for at, one in enumerate(bars(12)) if at not in (4, 8)]
    got = [bar.open_ts for one in some if (bar := made.minute("X", one))]
    assert got == [START, START + 9 * MINUTE_NS]


def test_going_on_from_a_state() -> None:
    whole, part = Candles("45m"), Candles("45m")
    for at, one in enumerate(bars(200)):
        expected = whole.minute("X", msgspec.structs.replace(one))
        assert part.minute("X", msgspec.structs.replace(one)) == expected
        if at % 13 == 0:
            saved = msgspec.json.encode(part.state())
            part = Candles("45m")
            part.restore(msgspec.json.decode(saved))


def test_weeks_open_on_monday() -> None:
    assert pd.Timestamp(opening(START, 10_080), tz="UTC").day_name() == "Monday"
    for text in ("", "0m", "5", "m", "5s", "-3m", "3m;drop"):
        with pytest.raises(SettingsError, match="candle length"):
            minutes(text)
