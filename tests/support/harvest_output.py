"""OFI and CVD output without a recorder: a made-up market as Parquet parts of the format's schema, with defects planted where asked.

It is what ``ofi-record`` would have written: after a hole the book begins anew with a snapshot, CVD goes on, and the events say so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tape_archive.format import harvest
from tape_archive.format.harvest import Kind
from tape_collectors.market.features.ofi import BestOFI

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
MS = 1_000_000
#: 2026-01-05 00:00 UTC
START = 1_767_571_200 * SECOND
SYMBOLS = ("BTCUSDT", "ETHUSDT")
Table = dict[str, Any]


class Defects(msgspec.Struct):
    """Times in ns after the start. ``holes``: (from, to) by symbol, in which nothing is received; ``spikes``: (from, to, ms) in which
    everything comes later; ``step``: (at, ms): the clock is ahead by so much more from then on; ``twice``: rows of prices that stand twice."""

    holes: dict[str, list[tuple[int, int]]] = {}
    spikes: list[tuple[int, int, float]] = []
    steps: list[tuple[int, float]] = []
    twice: dict[str, int] = {}
    offset_ms: float = 0.0


class Market:
    """One symbol: a trade and a book update about every ``every`` ns."""

    def __init__(self, symbol: str, length: int, defects: Defects, every: int = SECOND) -> None:
        self.symbol = symbol
        self.defects = defects
        self.end = START + length
        self._random = np.random.default_rng([ord(letter) for letter in symbol])
        self._every = every
        self._count = length // every

    def tables(self) -> dict[Kind, Table]:
        """Columns of every kind."""
        prices = self._prices()
        book = self._book()
        ofi = self._ofi(book)
        tables: dict[Kind, Table] = {
            "cvd": self._cvd(prices),
            "book": book,
            "ofi": ofi,
            "fusion": self._fusion(ofi),
            "events": self._events(prices, book),
        }
        tables["prices"] = self._doubled(prices)
        return tables

    def _times(self, phase: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(sent, received): the latter with the defects of the line and the clock."""
        jitter = self._random.uniform(0.0, 0.2, self._count)
        sent = START + ((np.arange(self._count) + phase + jitter) * self._every).astype(np.int64) // MS * MS
        delay = 15.0 + np.minimum(self._random.exponential(8.0, self._count), 60.0)
        for begin, end, more in self.defects.spikes:
            delay[(sent >= START + begin) & (sent < START + end)] += more
        received = np.maximum.accumulate(sent + (delay * MS).astype(np.int64))
        for at, more in self.defects.steps:
            received[received >= START + at] += int(more * MS)
        return sent, received + int(self.defects.offset_ms * MS)

    def _kept(self, received: NDArray[np.int64]) -> NDArray[np.bool_]:
        kept = received < self.end
        for begin, end in self.defects.holes.get(self.symbol, ()):
            kept &= ~((received >= START + begin) & (received < START + end))
        return kept

    def _prices(self) -> Table:
        sent, received = self._times(0.2)
        ids = 5_000_000 + np.arange(self._count)
        price = 100.0 + np.round(np.cumsum(self._random.normal(0.0, 0.01, self._count)), 2)
        size = np.round(self._random.exponential(0.5, self._count) + 0.001, 3)
        buys = self._random.random(self._count) < 0.5
        kept = self._kept(received)
        ids, received, sent = ids[kept], received[kept], sent[kept]
        missed = np.diff(ids, prepend=ids[:1] - 1) - 1
        return {
            **self._stamps(received, sent),
            "price": price[kept],
            "qty": size[kept],
            "agg_trade_id": ids,
            "latency_ms": (received - sent) / MS,
            "recv_rate_tps": np.full(len(ids), SECOND / self._every),
            "sent_ts_ms": sent // MS,
            "side": np.where(buys[kept], "buy", "sell"),
            "missed": missed,
            "feed": np.full(len(ids), "aggTrade"),
        }

    def _stamps(self, received: NDArray[np.int64], event: NDArray[np.int64]) -> Table:
        return {
            "ts_ms": received // MS,
            "symbol": np.full(len(received), self.symbol),
            "recv_ns": received,
            "event_ts_ms": event // MS,
        }

    def _cvd(self, prices: Table) -> Table:
        count = len(prices["recv_ns"])
        delta = np.where(prices["side"] == "buy", prices["qty"], -prices["qty"])
        quote = delta * prices["price"]
        warm = np.arange(count) < 50
        scale = np.where(warm, np.nan, 0.2)
        raw = delta / scale
        return {
            **{name: prices[name] for name in ("ts_ms", "symbol", "recv_ns", "event_ts_ms", "agg_trade_id", "feed")},
            "cvd": np.cumsum(delta),
            "delta": delta,
            "z_raw": raw,
            "z_cvd": np.clip(raw, -8.0, 8.0),
            "scale": scale,
            "sigma_floor": scale / 2,
            "floor_used": [None if cold else False for cold in warm.tolist()],
            "regime": np.full(count, "quiet"),
            "cvd_quote": np.cumsum(quote),
            "delta_quote": quote,
            "anchor_ms": np.full(count, START // MS),
            "gaps": np.cumsum(prices["missed"] > 0),
            "why": ["warm-up" if cold else None for cold in warm.tolist()],
        }

    def _book(self) -> Table:
        sent, received = self._times(0.7)
        count = self._count
        last = 9_000_000_000 + np.cumsum(self._random.integers(1, 40, count))
        before = np.concatenate(([last[0] - 1], last[:-1]))
        ticks = 10_000 + np.cumsum(self._random.integers(-1, 2, count))
        sizes = np.round(self._random.uniform(0.1, 9.0, (count, 2 * harvest.LEVELS)), 3)
        kept = self._kept(received)
        levels: Table = {}
        for rank in range(harvest.LEVELS):
            levels[f"bid_price_{rank + 1}"] = ((ticks - rank) / 100)[kept]
            levels[f"ask_price_{rank + 1}"] = ((ticks + 1 + rank) / 100)[kept]
            levels[f"bid_qty_{rank + 1}"] = sizes[:, rank][kept]
            levels[f"ask_qty_{rank + 1}"] = sizes[:, harvest.LEVELS + rank][kept]
        last, before, received, sent = last[kept], before[kept], received[kept], sent[kept]
        snapshot = np.concatenate(([True], before[1:] != last[:-1]))
        return {
            **self._stamps(received, sent),
            "first_id": np.where(snapshot, last, before + 1),
            "last_id": last,
            "prev_id": [None if whole else one for whole, one in zip(snapshot.tolist(), before.tolist(), strict=True)],
            "snapshot": snapshot,
            "latency_ms": np.where(snapshot, np.nan, (received - sent) / MS),
            **levels,
            "feed": np.full(len(last), "depth@100ms"),
        }

    def _ofi(self, book: Table) -> Table:
        measure, values = BestOFI(), []
        names = ("snapshot", "bid_price_1", "bid_qty_1", "ask_price_1", "ask_qty_1")
        for snapshot, *quote in zip(*(book[name].tolist() for name in names), strict=True):
            if snapshot:
                measure.reset()
            values.append(measure.update(*quote))
        update = ~book["snapshot"]
        rows: Table = {name: book[name][update] for name in ("ts_ms", "symbol", "recv_ns", "event_ts_ms", "last_id", "feed")}
        value = np.array(values)[update]
        return {**rows, "ofi_value": value, "ofi_z": value.astype(float) / 3.0, "ofi_1": value, "regime": np.full(len(value), "quiet")}

    def _fusion(self, ofi: Table) -> Table:
        score = ofi["ofi_z"] * 0.6
        count = len(score)
        rows = {name: ofi[name] for name in ("ts_ms", "symbol", "recv_ns", "event_ts_ms", "regime", "ofi_z")}
        more = {"lagged": np.zeros(count, bool), "session": np.full(count, "Tokyo"), "feed": np.full(count, "both")}
        return {**rows, "score": score, **more}

    def _events(self, prices: Table, book: Table) -> Table:
        told = [(START + int(self.defects.offset_ms * MS), "begin", {"carried": False})]
        told += [(at, "bull_div", {"score": 71.0}) for at in prices["recv_ns"][::300].tolist()]
        for at in np.flatnonzero(prices["missed"]).tolist():
            missed, to = int(prices["missed"][at]), int(prices["agg_trade_id"][at]) - 1
            told.append((int(prices["recv_ns"][at]), "trades_missed", {"from_id": to - missed + 1, "to_id": to, "missed": missed}))
        told += [(int(at), "book_back", {"source": "rest"}) for at in book["recv_ns"][book["snapshot"]]]
        told.sort(key=lambda one: one[0])
        times = np.array([at for at, _, _ in told])
        names = [name for _, name, _ in told]
        meta = [msgspec.json.encode(meta).decode() for _, _, meta in told]
        return {**self._stamps(times, times), "event_type": names, "meta_json": meta, "feed": np.full(len(told), "both")}

    def _doubled(self, prices: Table) -> Table:
        """Rows at even distances stand twice."""
        count = self.defects.twice.get(self.symbol, 0)
        order = np.arange(len(prices["recv_ns"]))
        if count:
            order = np.sort(np.concatenate((order, order[:: len(order) // count][:count])), kind="stable")
        return {name: values[order] for name, values in prices.items()}


def write(root: Path, hours: float = 24.0, defects: Defects | None = None, symbols: tuple[str, ...] = SYMBOLS, rotate: int = HOUR) -> int:
    """The output under ``root``, in parts of ``rotate`` ns; gives the rows."""
    rows = 0
    for symbol in symbols:
        for kind, table in Market(symbol, int(hours * HOUR), defects or Defects()).tables().items():
            rows += parts(root, symbol, kind, table, rotate)
    return rows


def parts(root: Path, symbol: str, kind: Kind, table: Table, rotate: int) -> int:
    """The parts of one kind."""
    times = table["recv_ns"]
    of = times // rotate
    bounds = [0, *(np.flatnonzero(np.diff(of)) + 1).tolist(), len(times)]
    fields = harvest.schema(kind)
    columns = [_column(table.get(field.name), field.type, len(times)) for field in fields]
    whole = pa.Table.from_arrays(columns, schema=fields)
    for begin, end in zip(bounds, bounds[1:], strict=False):
        path = harvest.part_path(root, symbol, kind, int(times[begin]), int(times[end - 1]))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(whole.slice(begin, end - begin), path)
    return len(times)


def _column(values: Any, type_: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, type_.value_type if pa.types.is_dictionary(type_) else type_).cast(type_)
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    made = pa.array(values, plain, from_pandas=True)
    return made.cast(type_)
