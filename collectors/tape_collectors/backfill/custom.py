"""Custom candles that are missing, made of the minutes that the tables have. Nobody is asked: when a minute that was missing is back, so
are the candles that it is in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tape_archive.tables import laws
from tape_archive.tables.laws import Gap
from tape_archive.tables.schema import EXCHANGE
from tape_archive.tables.search import nanoseconds
from tape_archive.tables.tables import Tables
from tape_collectors.backfill.run import Left, Total
from tape_collectors.backfill.scan import Known
from tape_collectors.market.candles import MINUTE_NS, Bar, Candles, opening

TABLE = "custom_candles"
MINUTES = "candles_1m"
_WHY = "a minute of it is missing in candles_1m"
_VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_volume", "taker_quote_volume")


class Made(msgspec.Struct):
    """What was missing, the rows that can be made of it (``rows``: by column), and what cannot."""

    total: Total
    rows: dict[str, list[Any]]
    left: list[Left]


def missing(store: Tables, known: Mapping[str, Known], start: int, end: int) -> Made:
    """Of the lengths and symbols that the table has, between two times (unix ns)."""
    made = Made(Total(), {}, [])
    names = [name for name in store.symbols(TABLE) if name in known]
    for interval in _lengths(store, start, end) if names else ():
        kind = Candles(interval)
        lives = {name: _whole(known[name], kind.length) for name in names}
        gaps = store.missing(TABLE, lives, start, end, laws.candles(interval), {"interval": interval})
        for name, some in gaps.items():
            for gap in some:
                _make(store, Candles(interval), name, gap, made)
    return made


def _lengths(store: Tables, start: int, end: int) -> list[str]:
    rows = store.read(TABLE, None, start, end, columns=("interval",))
    return sorted(str(text) for text in rows["interval"].unique().to_pylist())


def _whole(known: Known, length: int) -> laws.Life:
    """The time in which every minute of a candle was traded."""
    begun, over = known.listed, known.delisted
    step = length * MINUTE_NS
    if begun is not None and opening(begun, length) < begun:
        begun = opening(begun, length) + step
    return laws.Life(begun, None if over is None else opening(over, length))


def _make(store: Tables, kind: Candles, name: str, gap: Gap, made: Made) -> None:
    step = kind.length * MINUTE_NS
    bars = [bar for one in _bars(store, name, gap) if (bar := kind.minute(name, one)) is not None]
    made.total.gaps += 1
    made.total.missing += gap.rows
    made.total.filled += len(bars)
    for bar in bars:
        _put(made.rows, kind.interval, name, bar)
    there = {bar.open_ts for bar in bars}
    lacking = [at for at in range(gap.start, gap.end, step) if at not in there]
    made.total.failed += len(lacking)
    if lacking:
        made.left.append(Left(TABLE, name, kind.interval, lacking[0], lacking[-1] + step, len(lacking), "failed", _WHY))


def _bars(store: Tables, name: str, gap: Gap) -> Iterator[Bar]:
    rows = store.read(MINUTES, name, gap.start, gap.end, columns=("timestamp", *_VALUES))
    columns = [[one or 0 for one in rows[value].to_pylist()] for value in _VALUES]
    for at, values in zip(nanoseconds(rows["timestamp"]).tolist(), zip(*columns, strict=True), strict=True):
        yield Bar(at, *values)


def _put(rows: dict[str, list[Any]], interval: str, name: str, bar: Bar) -> None:
    row = {
        **{"timestamp": bar.open_ts, "receipt_timestamp": time.time_ns(), "exchange": EXCHANGE, "symbol": name, "interval": interval},
        **{value: getattr(bar, value) for value in _VALUES},
    }
    for column, value in row.items():
        rows.setdefault(column, []).append(value)
