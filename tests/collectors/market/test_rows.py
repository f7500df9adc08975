"""Rows of the market: each record's values in the table's columns, each event once, candles when they closed, the funding that was paid."""

from __future__ import annotations

import msgspec

from tape_archive.format.records import (
    BookDelta,
    BookSnapshot,
    Candle,
    Funding,
    Liquidation,
    OpenInterest,
    Quote,
    Record,
    Ticker,
    Trade,
)
from tape_archive.tables.schema import SPECS
from tape_collectors.market.rows import COLUMNS, Rows

S = 1_000_000_000
T = 1_768_046_400 * S


def rows(*tables: str, custom: tuple[str, ...] = ()) -> Rows:
    made = Rows(tables or tuple(COLUMNS), custom)
    made.listing(
        T,
        {
            "symbol": "BTCUSDT",
            "what": "first",
            "name": "BTC-USDT-PERP",
            "status": "TRADING",
            "tick": "0.10",
            "lot": "0.001",
            "contract": "1",
        },
    )
    return made


def told(made: Rows, table: str) -> list[dict[str, object]]:
    return [dict(zip(COLUMNS[table], row, strict=True)) for row in made.pending[table]]


def test_every_column_is_the_table_s() -> None:
    for table, columns in COLUMNS.items():
        spec = SPECS[table]
        assert set(columns) <= set(spec.names)
        lacking = {column.name for column in spec.columns if not column.null} - set(columns) - {"exchange"}
        assert not lacking, (table, lacking)
    recorded = {name for name in SPECS if name != "gap_detection_log"}
    assert recorded == set(COLUMNS)


RECORDS: list[tuple[str, Record, dict[str, object]]] = [
    (
        "trades",
        Trade(T + 1, T, "BTCUSDT", "aggTrade", "7", "1.50", "2", "sell"),
        {"side": "sell", "amount": 2.0, "price": 1.5, "trade_id": 7, "first_id": None, "last_id": None},
    ),
    (
        "trades",
        Trade(T + 1, T, "BTCUSDT", "aggTrade", "7", "1.50", "2", "sell", T, 0, 3),
        {"trade_id": 7, "first_id": 0, "last_id": 3},
    ),
    (
        "l2_book",
        BookDelta(T + 1, T, "BTCUSDT", "depth@100ms", 5, 9, [("1.5", "0"), ("1.4", "3")], [], 4),
        {
            **{"first_update_id": 5, "last_update_id": 9, "previous_update_id": 4, "snapshot": False},
            **{"bid_prices": [1.5, 1.4], "bid_amounts": [0.0, 3.0], "ask_prices": [], "ask_amounts": []},
        },
    ),
    (
        "l2_book",
        BookSnapshot(T + 1, T, "BTCUSDT", "depth", 9, [("1", "2")], [("3", "4")], "rest"),
        {"first_update_id": 9, "last_update_id": 9, "previous_update_id": None, "snapshot": True, "ask_amounts": [4.0]},
    ),
    (
        "book_ticker",
        Quote(T + 1, T, "BTCUSDT", "bookTicker", 3, "1", "2", "3", "4"),
        {"update_id": 3, "bid": 1.0, "bid_amount": 2.0, "ask": 3.0, "ask_amount": 4.0},
    ),
    (
        "ticker",
        Ticker(T + 1, T, "BTCUSDT", "ticker", "5", "1", "2", "6", "1", "3", "100", "300", 42, 77),
        {"last": 5.0, "open": 2.0, "high": 6.0, "low": 1.0, "volume": 100.0, "quote_volume": 300.0, "trades": 42, "last_id": 77},
    ),
    (
        "index",
        Funding(T + 1, T, "BTCUSDT", "markPrice@1s", "10", "11", "0.0001", T + 8, "10.5"),
        {"index_price": 11.0, "mark_price": 10.0, "settle_price": 10.5, "funding_rate": 0.0001, "next_funding_time": T + 8},
    ),
    (
        "liquidations",
        Liquidation(T + 1, T, "BTCUSDT", "forceOrder", "9", "2", "buy"),
        {"side": "buy", "quantity": 2.0, "price": 9.0, "average_price": None, "filled": None, "status": None},
    ),
    (
        "liquidations",
        Liquidation(T + 1, T, "BTCUSDT", "forceOrder", "9", "2", "buy", "8.9", "1.5", "PARTIALLY_FILLED"),
        {"price": 9.0, "average_price": 8.9, "filled": 1.5, "status": "PARTIALLY_FILLED", "liquidation_id": f"{T}-buy-8.9-2"},
    ),
    ("open_interest", OpenInterest(T + 1, T, "BTCUSDT", "openInterest", "10659.509"), {"open_interest": 10659.509}),
]


def test_each_record_is_a_row_once() -> None:
    for table, record, values in RECORDS:
        made = rows(table)
        made.record("g-1", record)
        made.record("g-2", record)
        (row,) = told(made, table)
        assert {key: row[key] for key in values} == values
        assert (row["timestamp"], row["receipt_timestamp"], row["symbol"]) == (T, T + 1, "BTC-USDT-PERP")
        assert made.once.copies == 1


def candle(minute: int, *, closed: bool = True, interval: str = "1m") -> Candle:
    at = T + minute * 60 * S
    return Candle(
        at + 60 * S, at + 60 * S, "BTCUSDT", f"kline_{interval}", at, interval, "1", "3", "0.5", "2", "10", closed, "20", 5, "4", "8"
    )


def test_a_candle_is_a_row_when_it_has_closed() -> None:
    made = rows("candles_1m", "custom_candles", custom=("3m",))
    for minute in range(7):
        made.record("g-1", candle(minute, closed=False))
        made.record("g-1", candle(minute))
        made.record("g-2", candle(minute))
    assert [row["timestamp"] for row in told(made, "candles_1m")] == [T + minute * 60 * S for minute in range(7)]
    first, second = told(made, "custom_candles")
    assert (first["timestamp"], first["interval"], first["volume"], first["trades"]) == (T, "3m", 30.0, 15)
    assert second["timestamp"] == T + 180 * S
    made = rows("candles_5m")
    made.record("g-1", candle(0))
    assert not made.pending["candles_5m"]


def test_funding_is_a_row_when_it_was_paid() -> None:
    made = rows("funding")
    for second, (rate, due) in enumerate((("0.0001", 8), ("0.0002", 8), ("0.0003", 16), ("0.0004", 16), ("", 0), ("0.0005", 24))):
        made.record("g-1", Funding(T + second, T + second, "BTCUSDT", "markPrice@1s", "10", "11", rate, T + due if due else 0))
    assert [(row["timestamp"], row["rate"], row["next_funding_time"]) for row in told(made, "funding")] == [
        (T + 8, 0.0002, T + 16),
        (T + 16, 0.0004, T + 24),
    ]


def test_the_ledger_of_instruments() -> None:
    made = rows("instruments")
    listing = {
        "symbol": "BTCUSDT",
        "name": "BTC-USDT-PERP",
        "tick": "0.10",
        "lot": "0.001",
        "contract": "1",
        "status": "SETTLING",
        "what": "status",
    }
    made.listing(T + S, listing)
    made.listing(T + 2 * S, listing | {"what": "gone", "status": "SETTLING"})
    assert [(row["status"], row["first_seen"], row["last_seen"], row["delisted"]) for row in told(made, "instruments")] == [
        ("TRADING", T, T, None),
        ("SETTLING", T, T + S, None),
        ("GONE", T, T + 2 * S, T + 2 * S),
    ]


def test_the_ledger_tells_multipliers_renames_and_when_it_was_last_seen() -> None:
    hour = 3600 * S
    made = rows("instruments")
    new = {"symbol": "1000PEPEUSDT", "name": "1000PEPE-USDT-PERP", "status": "TRADING", "contract": "1", "what": "listed"}
    new |= {"coin": "PEPE", "multiplier": "1000", "since": T - hour, "until": 0, "previous": "PEPE-USDT-PERP"}
    made.listing(T, new)
    made.looked(T + hour)
    made.looked(T + hour + 300 * S)
    found = told(made, "instruments")
    row = found[1]
    assert (row["base"], row["multiplier"], row["listed"], row["previous"]) == ("PEPE", 1000.0, T - hour, "PEPE-USDT-PERP")
    # An hour later each has its row once more, under the key that it had.
    assert [(one["timestamp"], one["last_seen"]) for one in found[2:]] == [(T, T + hour), (T, T + hour)]
    made.listing(T + 2 * hour, new | {"what": "status", "status": "SETTLING", "ended": True, "until": T + hour})
    made.listing(T + 3 * hour, new | {"what": "gone", "status": "SETTLING", "ended": True})
    made.looked(T + 4 * hour)
    found = told(made, "instruments")
    settled, gone = found[4:6]
    assert (settled["delisted"], gone["delisted"], gone["status"], gone["first_seen"]) == (T + hour, T + hour, "GONE", T)
    assert [one["symbol"] for one in found[6:]] == ["BTC-USDT-PERP"], "what is gone is seen no more"


def test_going_on_from_a_state_gives_the_same_rows() -> None:
    records = [candle(minute) for minute in range(20)] + [record for _, record, _ in RECORDS]
    records += [Funding(T + n, T + n, "BTCUSDT", "markPrice@1s", "10", "11", "0.0001", T + n // 5 * 5) for n in range(30)]
    whole, part = rows(custom=("3m",)), rows(custom=("3m",))
    out: dict[str, list[object]] = {table: [] for table in COLUMNS}
    for number, record in enumerate(records):
        whole.record("g-1", record)
        part.record("g-1", record)
        if number % 7 == 0:
            for table, some in part.pending.items():
                out[table] += some
            state = msgspec.json.decode(msgspec.json.encode(part.state()))
            part = Rows(tuple(COLUMNS), ("3m",))
            part.restore(state)
    for table, some in part.pending.items():
        assert out[table] + some == whole.pending[table], table
