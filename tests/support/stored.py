"""What a store has, counted as the simulator's ledger counts what was sent (docs/reference/simulator.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import pyarrow as pa
from xxhash import xxh3_64_intdigest

from tape_archive.tables.tables import Tables
from tape_collectors.simulator.ledger import key, number

Row = Mapping[str, Any]
_CANDLE = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_volume", "taker_quote_volume")


def _ms(at: int) -> int:
    return at // 1000


def _side(prices: list[float], sizes: list[float], sign: int) -> str:
    levels = sorted(zip(prices, sizes, strict=True), key=lambda level: sign * level[0])
    return ",".join(f"{number(price)}:{number(size)}" for price, size in levels)


def _book(s: str, r: Row) -> tuple[int, str]:
    bids, asks = _side(r["bid_prices"], r["bid_amounts"], -1), _side(r["ask_prices"], r["ask_amounts"], 1)
    return r["last_update_id"], key(s, r["last_update_id"], r["previous_update_id"], bids, asks)


def _trade(s: str, r: Row) -> tuple[int, str]:
    parts = (r["trade_id"], number(r["price"]), number(r["amount"]), _ms(r["timestamp"]), r["side"] == "sell")
    return r["trade_id"], key(s, *parts)


def _quote(s: str, r: Row) -> tuple[int, str]:
    return r["update_id"], key(s, r["update_id"], *(number(r[name]) for name in ("bid", "bid_amount", "ask", "ask_amount")))


def _index(s: str, r: Row) -> tuple[int, str]:
    at = _ms(r["timestamp"])
    prices = (number(r[name]) for name in ("mark_price", "index_price", "funding_rate"))
    return at, key(s, at, *prices, _ms(r["next_funding_time"]))


def _candle(s: str, r: Row) -> tuple[int, str]:
    at = _ms(r["timestamp"])
    return at, key(s, at, *(number(r[name]) for name in _CANDLE))


def _forced(s: str, r: Row) -> tuple[int, str]:
    at = _ms(r["timestamp"])
    return at, key(s, at, r["side"].upper(), number(r["average_price"]), number(r["quantity"]))


def _interest(s: str, r: Row) -> tuple[int, str]:
    at = _ms(r["timestamp"])
    return at, key(s, at, number(r["open_interest"]))


#: stream -> (table, its id and text; the times of its row in us)
STREAMS: Mapping[str, tuple[str, Callable[[str, Row], tuple[int, str]]]] = {
    "aggTrade": ("trades", _trade),
    "bookTicker": ("book_ticker", _quote),
    "depth@100ms": ("l2_book", _book),
    "markPrice@1s": ("index", _index),
    "forceOrder": ("liquidations", _forced),
    "openInterest": ("open_interest", _interest),
    **{f"kline_{interval}": (f"candles_{interval}", _candle) for interval in ("1m", "5m", "30m", "4h", "1d")},
}


def _plain(rows: pa.Table) -> pa.Table:
    """With times as numbers: millions of datetime objects would take longer than all else."""
    times = {place: field.with_type(pa.int64()) for place, field in enumerate(rows.schema) if pa.types.is_timestamp(field.type)}
    return rows.cast(pa.schema([times.get(place, field) for place, field in enumerate(rows.schema)]))


class Difference(msgspec.Struct):
    """One stream and symbol of which the store has something else than was sent."""

    stream: str
    symbol: str
    sent: int
    stored: int


class Comparison(msgspec.Struct):
    """``rows`` compared, by table; what differs."""

    rows: dict[str, int] = {}
    different: list[Difference] = []


def compare(tables: Tables, ledger: Iterable[Mapping[str, Any]]) -> Comparison:
    """By count and hash, stream by stream and symbol by symbol, between the first and the last id that the ledger counted."""
    native = {row["symbol"]: row["native"] for row in tables.read("instruments").to_pylist()}
    known = set(native.values())
    sent: dict[str, dict[str, Mapping[str, Any]]] = {}
    for line in ledger:
        if line["stream"] in STREAMS and line["symbol"] in known and line["count"]:
            sent.setdefault(line["stream"], {})[line["symbol"]] = line
    out = Comparison()
    for stream, lines in sent.items():
        table, of = STREAMS[stream]
        counts, sums = dict.fromkeys(lines, 0), dict.fromkeys(lines, 0)
        for batch in _plain(tables.read(table)).to_batches(10_000):
            for row in batch.to_pylist():
                symbol = native.get(row["symbol"], "")
                if symbol not in lines or row.get("snapshot"):
                    continue
                id, text = of(symbol, row)
                if lines[symbol]["first"] <= id <= lines[symbol]["last"]:
                    counts[symbol] += 1
                    sums[symbol] = (sums[symbol] + xxh3_64_intdigest(text.encode())) % 2**64
        out.rows[table] = sum(counts.values())
        for symbol, line in lines.items():
            if (counts[symbol], f"{sums[symbol]:016x}") != (line["count"], line["hash"]):
                out.different.append(Difference(stream, symbol, line["count"], counts[symbol]))
    return out
