"""A venue that has only a past, at a time that stands still, and tables that were filled from it without our decoders."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tape_archive.tables.schema import EXCHANGE, spec_of
from tape_archive.tables.tables import Cursor, open_tables
from tape_collectors.backfill.run import Left
from tape_collectors.simulator.binance import Binance
from tape_collectors.simulator.binance_archive import Archive
from tape_collectors.simulator.binance_history import Past
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.history import DAY, HOUR, INTERVALS, MINUTE, History, Listing
from tape_collectors.simulator.market import Market

MS = 1_000_000
#: 2026-11-19 05:07:31, a Thursday
NOW = 1_795_064_851_000
TABLES = ("candles_1m", "candles_5m", "trades", "funding", "open_interest")
Columns = dict[str, list[Any]]


def listings(count: int) -> list[Listing]:
    """BTCUSDT is old, A1USDT was listed three days ago, A2USDT was delisted two days ago."""
    found = [Listing("BTCUSDT", 84000.0, onboard_ms=NOW // DAY * DAY - 400 * DAY)]
    for number in range(1, count):
        begun = NOW // DAY * DAY - (3 * DAY - 7 * HOUR if number == 1 else 300 * DAY)
        ended = NOW // DAY * DAY - 2 * DAY if number == 2 else 0
        found.append(Listing(f"A{number}USDT", 3.0 + 40 * number, 3, 1, onboard_ms=begun, delisted_ms=ended))
    return found


@asynccontextmanager
async def venue(count: int, *, seed: int = 7, rate: int = 30) -> AsyncIterator[Binance]:
    """USD-M, of so many instruments, at NOW."""
    server = Binance(Faults(1), Market({"BTCUSDT": 84000.0}), futures=True)
    history = History(listings(count), seed=seed, trades_per_hour=rate, outages=(100, 500))
    server.api.past = Past(server.api, history, lambda: NOW)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def name_of(native: str) -> str:
    return f"{native.removesuffix('USDT')}-USDT-PERP"


def source(history: History, table: str, native: str, begun: int, ended: int) -> Columns:
    """What the venue has of a table and a symbol in a time (ms), as the tables should have it, without ``receipt_timestamp``."""
    one = history.listings[native]
    if table.startswith("candles"):
        every = INTERVALS[table.removeprefix("candles_")]
        bars = history.bars(native, every, -(-begun // every) * every, ended - every, NOW)
        scale, lot = 10**one.tick, 10**one.lot
        rows: Columns = {"timestamp": (bars.ms * MS).tolist()}
        rows |= {key: (getattr(bars, key) / scale).tolist() for key in ("open", "high", "low", "close")}
        rows |= {"volume": (bars.volume / lot).tolist(), "quote_volume": [float(one.quote_text(amount)) for amount in bars.quote.tolist()]}
        rows |= {"trades": bars.trades.tolist(), "taker_volume": (bars.taker / lot).tolist()}
        return rows | {"taker_quote_volume": [float(one.quote_text(amount)) for amount in bars.taker_quote.tolist()]}
    if table == "trades":
        fills = history.fills(native, begun, ended)
        rows = {"timestamp": (fills.ms * MS).tolist(), "side": ["sell" if sells else "buy" for sells in fills.sells]}
        rows |= {
            "amount": (fills.size / 10**one.lot).tolist(),
            "price": (fills.price / 10**one.tick).tolist(),
            "trade_id": fills.id.tolist(),
        }
        return rows | {"first_id": (3 * fills.id).tolist(), "last_id": (3 * fills.id + 2).tolist()}
    if table == "funding":
        settled = [(ms // MINUTE * MINUTE * MS, float(rate), float(mark)) for ms, rate, mark in history.funding(native, begun, ended - 1)]
        return dict(
            zip(("timestamp", "rate", "mark_price"), map(list, zip(*settled, strict=True)) if settled else ([], [], []), strict=True)
        )
    counted = [(ms * MS, float(size), float(value)) for ms, size, value in history.open_interest(native, 5 * MINUTE, begun, ended - 1)]
    return dict(
        zip(("timestamp", "open_interest", "value"), map(list, zip(*counted, strict=True)) if counted else ([], [], []), strict=True)
    )


class Given:
    """Tables with the whole past of some days, less what was cut out of it."""

    def __init__(self, folder: Path, history: History, *, days: int = 7) -> None:
        self.url = f"parquet://{folder}"
        self.history = history
        self.begun = NOW - days * DAY
        self.rows: dict[tuple[str, str], Columns] = {}
        for table in TABLES:
            # Open interest of the five minutes that are not over may still come.
            ended = NOW // (5 * MINUTE) * 5 * MINUTE if table == "open_interest" else NOW
            for native in history.listings:
                self.rows[table, native] = source(history, table, native, self.begun, ended)

    def punch(self, chance: random.Random, count: int, longest: int = 3 * DAY) -> dict[tuple[str, str], list[tuple[int, int]]]:
        """Cut random holes of one row to so many ms; the first and the last trade stay. Gives (first, last) row times cut, by table and
        symbol, and inserts the rest."""
        holes: dict[tuple[str, str], list[tuple[int, int]]] = {}
        keys = [key for key, rows in self.rows.items() if len(rows["timestamp"]) > 3]
        kept = {key: np.ones(len(rows["timestamp"]), bool) for key, rows in self.rows.items()}
        for number in range(count):
            key = keys[number % len(keys)] if number < len(keys) else chance.choice(keys)
            times = np.array(self.rows[key]["timestamp"])
            edge = 1 if key[0] == "trades" else 0
            first = chance.randrange(edge, len(times) - edge)
            length = (
                0 if chance.random() < 0.3 else chance.randrange(longest) * MS if chance.random() < 0.3 else chance.randrange(HOUR) * MS
            )
            last = min(int(np.searchsorted(times, times[first] + length, "right")) - 1, len(times) - 1 - edge)
            kept[key][first : max(first, last) + 1] = False
            holes.setdefault(key, []).append((int(times[first]), int(times[max(first, last)])))
        self._insert(kept)
        return holes

    def cut(self, table: str, native: str, rows: slice) -> None:
        """Insert all but these rows of a table and symbol."""
        kept = {key: np.ones(len(of["timestamp"]), bool) for key, of in self.rows.items()}
        kept[table, native][rows] = False
        self._insert(kept)

    def _insert(self, kept: dict[tuple[str, str], Any]) -> None:
        store = open_tables(self.url)
        store.create()
        for number, table in enumerate(TABLES):
            whole: Columns = {}
            for (of, native), rows in self.rows.items():
                if of != table:
                    continue
                which = np.flatnonzero(kept[of, native]).tolist()
                columns = {name: [values[at] for at in which] for name, values in rows.items()} | {"symbol": [name_of(native)] * len(which)}
                for name, values in columns.items():
                    whole.setdefault(name, []).extend(values)
            count = len(whole["timestamp"])
            more = {"exchange": [EXCHANGE] * count, "receipt_timestamp": [NOW * MS - number] * count}
            store.insert(table, whole | more, Cursor("before", 1))
        store.close()

    def wanted(self, table: str, left: Sequence[Left] = ()) -> tuple[int, str]:
        """(rows, hash) of the whole past, less what is left."""
        parts = []
        for (of, native), rows in self.rows.items():
            if of == table:
                gone = [one for one in left if (one.table, one.symbol) == (table, name_of(native))]
                edge = 1 if table == "trades" else 0
                at = [place for place, ns in enumerate(rows["timestamp"]) if not any(one.start + edge <= ns < one.end for one in gone)]
                parts.append(
                    {name: [values[place] for place in at] for name, values in rows.items()} | {"symbol": [name_of(native)] * len(at)}
                )
        return digest(pa.concat_tables([_arrow(table, part) for part in parts]))

    @staticmethod
    def raw(made: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What is left, of a command's JSON."""
        return list(made["left"])

    def left(self, made: Mapping[str, Any]) -> list[Left]:
        """The same as structs."""
        return msgspec.convert(self.raw(made), list[Left])

    def excused(self, one: Left, archive: Archive) -> bool:
        """Whether the venue really cannot give what is left: it has no such rows, or they are older than REST tells (or their symbol is
        delisted) and a file that would have them is missing or wrong."""
        native = one.symbol.replace("-", "").removesuffix("PERP")
        rows = self.rows[one.table, native]["timestamp"]
        edge = 1 if one.table == "trades" else 0
        lost = [ns // MS for ns in rows if one.start + edge <= ns < one.end]
        if one.table != "trades" and not self.history.listings[native].delisted_ms:
            return not lost
        return all(self._unfiled(one, native, ms, archive) for ms in lost)

    def _unfiled(self, one: Left, native: str, ms: int, archive: Archive) -> bool:
        kind = {"trades": "aggTrades", "funding": "fundingRate", "open_interest": "metrics"}.get(one.table, "klines")
        at = datetime.fromtimestamp(ms / 1000, UTC)
        span, date = ("monthly", f"{at:%Y-%m}") if kind == "fundingRate" else ("daily", f"{at:%Y-%m-%d}")
        folder, middle = (f"{native}/{one.interval}", one.interval) if kind == "klines" else (native, kind)
        path = f"{span}/{kind}/{folder}/{native}-{middle}-{date}.zip"
        young = not self.history.listings[native].delisted_ms and ms > NOW - 47 * HOUR
        return not young and (archive.file(path) is None or archive.fault(path) != "")

    def have(self, table: str) -> tuple[int, str]:
        """(rows, hash) of what is there."""
        store = open_tables(self.url)
        rows = store.read(table)
        store.close()
        names = [name for name in rows.column_names if name in self.rows[table, "BTCUSDT"] or name == "symbol"]
        return digest(rows.select(names))


def _arrow(table: str, rows: Columns) -> Any:
    kinds = {column.name: column.kind for column in spec_of(table).columns}
    types = {"time": pa.int64(), "label": pa.string(), "float": pa.float64(), "int": pa.int64()}
    made = {name: pa.array(values, types[kinds[name]]) for name, values in rows.items()}
    made["timestamp"] = pc.divide(made["timestamp"], 1000).cast(pa.timestamp("us", tz="UTC"))
    return pa.table(made)


def digest(rows: Any) -> tuple[int, str]:
    """How many rows, and the sha256 over all their values, in the order of symbol, time and id."""
    rows = rows.select(sorted(rows.column_names))
    rows = rows.sort_by([(name, "ascending") for name in ("symbol", "timestamp", "trade_id") if name in rows.column_names])
    sha = hashlib.sha256()
    for name in rows.column_names:
        sha.update(repr((name, rows[name].cast(pa.int64()).to_pylist() if name == "timestamp" else rows[name].to_pylist())).encode())
    return len(rows), sha.hexdigest()
