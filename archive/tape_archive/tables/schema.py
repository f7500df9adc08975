"""The tables, once: columns, units, keys, partitions, batches, retention. DDL and every store are made from this.

Every table has ``exchange`` (``BINANCE_FUTURES``), ``symbol`` (``BTC-USDT-PERP``) and ``receipt_timestamp`` (ours). ``timestamp`` is the
venue's time; of a candle it is the time it opens. Times are UTC, to the microsecond (the finest that all the databases keep; a tape has
ns). Prices are in the quote currency, amounts and volumes in the base currency unless a column says otherwise; both float64.

Rows of one natural key are one fact: the row with the later ``receipt_timestamp`` stands. The order key is the natural key, symbol and
time first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from tape_archive.format.errors import SettingsError

EXCHANGE = "BINANCE_FUTURES"
#: of rows with one key the latest by this column stands
VERSION = "receipt_timestamp"
#: the ledger of batches: how far each writer has come in each table
LEDGER = "tape_cursors"

#: label: a text that repeats (a name, a side); floats: a list of float64
Kind = Literal["time", "label", "text", "float", "int", "bool", "floats"]
Partition = Literal["day", "month", "year", "none"]


class Column(msgspec.Struct, frozen=True):
    """One column. ``null``: whether a row may lack it."""

    name: str
    kind: Kind
    meaning: str = ""
    null: bool = False


class Spec(msgspec.Struct, frozen=True):
    """One table. ``batch_rows`` or ``batch_s``, whichever is first, ends a batch; ``retention_days`` None keeps for ever.

    ``merged``: how ClickHouse parts it: coarser where days are small, since each part costs a merge.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition: Partition
    merged: Partition
    batch_rows: int = 50
    batch_s: float = 10.0
    retention_days: int | None = None
    time: str = "timestamp"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return tuple(column.name for column in self.columns)

    def expired(self, now: int) -> int | None:
        """The time (unix ns) before which rows are too old at ``now``, for ``prune``; None keeps all."""
        return None if self.retention_days is None else now - self.retention_days * 86_400_000_000_000

    def column(self, name: str) -> Column:
        """One column. Raises SettingsError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise SettingsError(f"table {self.name} has no column {name!r}; it has {', '.join(self.names)}")


def _columns(*own: Column, time: str = "timestamp") -> tuple[Column, ...]:
    return (
        Column(time, "time", "the venue's time; of a candle when it opens" if time == "timestamp" else "when it was found"),
        Column("receipt_timestamp", "time", "when we read it"),
        Column("exchange", "label", EXCHANGE),
        Column("symbol", "label", "BTC-USDT-PERP"),
        *own,
    )


def _number(name: str, meaning: str = "", *, null: bool = False) -> Column:
    return Column(name, "float", meaning, null)


def _count(name: str, meaning: str = "", *, null: bool = False) -> Column:
    return Column(name, "int", meaning, null)


_KEY = ("symbol", "timestamp", "exchange")
_CANDLE = (
    _number("open"),
    _number("high"),
    _number("low"),
    _number("close"),
    _number("volume", "base currency"),
    _number("quote_volume", "quote currency", null=True),
    _count("trades", "how many", null=True),
    _number("taker_volume", "bought by takers, base currency", null=True),
    _number("taker_quote_volume", "bought by takers, quote currency", null=True),
)

#: interval -> (partition, ClickHouse's partition, days kept): the brief's five
_CANDLES: Mapping[str, tuple[Partition, Partition, int | None]] = {
    "1m": ("day", "month", 30),
    "5m": ("day", "month", 90),
    "30m": ("month", "year", 180),
    "4h": ("year", "year", 365),
    "1d": ("year", "none", None),
}
INTERVALS = tuple(_CANDLES)


def _candles(interval: str) -> Spec:
    partition, merged, days = _CANDLES[interval]
    meaning = f"finished candles of {interval}"
    return Spec(f"candles_{interval}", meaning, _columns(*_CANDLE), _KEY, partition, merged, 100, 5.0, days)


_SPECS = (
    Spec(
        "trades",
        "trades as the venue aggregates them",
        _columns(
            Column("side", "label", "the taker's: buy or sell"),
            _number("amount", "base currency"),
            _number("price"),
            _count("trade_id", "counts up by one for each row of a symbol"),
            _count("first_id", "first trade of the aggregate", null=True),
            _count("last_id", "last trade of the aggregate", null=True),
        ),
        (*_KEY, "trade_id"),
        "day",
        "day",
        1000,
        1.0,
        7,
    ),
    *(_candles(interval) for interval in INTERVALS),
    Spec(
        "ticker",
        "the last 24 hours",
        _columns(
            _number("last"),
            _number("open"),
            _number("high"),
            _number("low"),
            _number("volume", "base currency"),
            _number("quote_volume", "quote currency", null=True),
            _count("trades", "how many", null=True),
            _count("last_id", "id of the last trade", null=True),
        ),
        _KEY,
        "day",
        "day",
        retention_days=1,
    ),
    Spec(
        "funding",
        "funding as it was settled",
        _columns(
            _number("rate", "a fraction: 0.0001 is one basis point"),
            _number("mark_price", null=True),
            Column("next_funding_time", "time", null=True),
            _number("predicted_rate", "of the next", null=True),
        ),
        _KEY,
        "month",
        "month",
        retention_days=90,
    ),
    Spec(
        "l2_book",
        "the order book: whole books and changes of it",
        _columns(
            _count("first_update_id", "0: the venue counts none"),
            _count("last_update_id", "0: the venue counts none"),
            _count("previous_update_id", "last_update_id of the change before, by the venue's own word", null=True),
            Column("snapshot", "bool", "a whole book, which replaces what was known"),
            Column("bid_prices", "floats", "falling"),
            Column("bid_amounts", "floats", "0 removes the level"),
            Column("ask_prices", "floats", "rising"),
            Column("ask_amounts", "floats", "0 removes the level"),
        ),
        (*_KEY, "last_update_id"),
        "day",
        "day",
        500,
        2.0,
        3,
    ),
    Spec(
        "liquidations",
        "forced orders",
        _columns(
            Column("side", "label", "of the order: buy or sell"),
            _number("quantity", "base currency"),
            _number("price", "the order's"),
            _number("average_price", "at which it was filled", null=True),
            _number("filled", "base currency", null=True),
            Column("status", "label", "the venue's word", null=True),
            Column("liquidation_id", "text", "the venue's, or made of what tells it from others of its time"),
        ),
        (*_KEY, "liquidation_id"),
        "month",
        "month",
        retention_days=30,
    ),
    Spec(
        "open_interest",
        "contracts open",
        _columns(_number("open_interest", "base currency"), _number("value", "quote currency", null=True)),
        _KEY,
        "day",
        "month",
        retention_days=90,
    ),
    Spec(
        "index",
        "index and mark price",
        _columns(
            _number("index_price"),
            _number("mark_price", null=True),
            _number("settle_price", "estimate", null=True),
            _number("funding_rate", "as it would be now", null=True),
            Column("next_funding_time", "time", null=True),
        ),
        _KEY,
        "day",
        "day",
        retention_days=90,
    ),
    Spec(
        "custom_candles",
        "finished candles of any other interval",
        _columns(Column("interval", "label", "3m, 45m"), *_CANDLE),
        (*_KEY, "interval"),
        "month",
        "month",
        100,
        5.0,
        365,
    ),
    Spec(
        "book_ticker",
        "best bid and ask",
        _columns(
            _count("update_id", "0: the venue counts none"),
            _number("bid"),
            _number("bid_amount", "base currency"),
            _number("ask"),
            _number("ask_amount", "base currency"),
        ),
        (*_KEY, "update_id"),
        "day",
        "day",
        retention_days=1,
    ),
    Spec(
        "instruments",
        "what is listed: a row for each change of an instrument; last_seen of its latest row moves on",
        _columns(
            Column("native", "label", "the venue's name"),
            Column("status", "label", "the venue's word: TRADING, SETTLING, …"),
            Column("base", "label"),
            Column("quote", "label"),
            _number("multiplier", "base units a contract or price unit stands for"),
            _number("tick_size", null=True),
            _number("lot_size", null=True),
            Column("first_seen", "time", "when we first saw it"),
            Column("last_seen", "time", "when we last saw it as this row says"),
            Column("listed", "time", "the venue's listing time", null=True),
            Column("delisted", "time", "the venue's delivery or delisting time", null=True),
            Column("previous", "label", "the name before, if it was renamed", null=True),
        ),
        _KEY,
        "none",
        "none",
    ),
    Spec(
        "gap_detection_log",
        "missing intervals that were found, and what became of them",
        _columns(
            Column("log_id", "int"),
            Column("data_type", "label", "the table"),
            Column("interval", "label", "1m, 5m, …; empty where the table has none"),
            Column("gap_start", "time"),
            Column("gap_end", "time", "exclusive"),
            Column("gap_type", "label", "urgent, recent, historical: by the age of gap_end"),
            _count("priority", "1 to 10"),
            Column("status", "label", "detected, filling, completed, failed, unfillable"),
            _count("records_expected"),
            _count("records_filled"),
            Column("fill_start_time", "time", null=True),
            Column("fill_complete_time", "time", null=True),
            Column("error_message", "text", null=True),
            _count("retry_count"),
            time="detection_time",
        ),
        ("symbol", "detection_time", "exchange", "log_id"),
        "month",
        "month",
        retention_days=30,
        time="detection_time",
    ),
)

SPECS: Mapping[str, Spec] = {spec.name: spec for spec in _SPECS}


def spec_of(table: str) -> Spec:
    """The table of that name. Raises SettingsError."""
    try:
        return SPECS[table]
    except KeyError:
        raise SettingsError(f"there is no table {table!r}; the tables are {', '.join(SPECS)}") from None
