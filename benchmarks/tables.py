"""Tables: rows a second and core, and bytes a row by codec, in each store. ``python -m benchmarks.tables [insert] [codecs] [missing]
[prune]``.

Rows are simulated: random walks on a tick, sizes of few digits, 600 symbols. Insertion is measured in CPU seconds (ours and the server's),
so it holds on a machine that others use. ``BENCH_ROWS`` (400,000), ``BENCH_YEAR`` (0.1: part of a year of 1-minute candles of 600 symbols
that is searched), ``BENCH_PRUNE`` (1,000,000 rows that are cleaned up), ``BENCH_STORES`` set the size.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from tape_archive.tables import Cursor, Tables, ddl, open_tables
from tape_archive.tables.batch import conform
from tape_archive.tables.clickhouse import ClickHouseTables
from tape_archive.tables.laws import ALWAYS, SECOND, candles
from tape_archive.tables.part_files import LISTS, OPTIONS, encode
from tape_archive.tables.schema import EXCHANGE, SPECS
from tests.support.postgres import Postgres

MINUTE = 60 * SECOND
DAY = 1440 * MINUTE
#: 2026-01-10T00:00:00Z
MIDNIGHT = 1_768_003_200 * SECOND
KINDS = tuple(os.environ.get("BENCH_STORES", "parquet,chdb,postgresql").split(","))
SYMBOLS = [f"S{n:03d}-USDT-PERP" for n in range(600)]


def _labels(codes: Any, words: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.asarray(codes, np.int32)), words)


def _walk(count: int, chance: Any, codes: Any) -> Any:
    """A price for each row: one walk for each symbol."""
    base = np.round(10.0 ** chance.uniform(-1, 4, len(SYMBOLS)), 2)[codes]
    steps = np.cumsum(chance.integers(-3, 4, count)) * 0.01
    return np.round(base + np.abs(steps), 2)


def trades(count: int, start: int = MIDNIGHT, seed: int = 1, per_second: int = 5000) -> dict[str, Any]:
    """As a recorder brings them: in order of time, symbols mixed."""
    chance = np.random.default_rng(seed)
    codes = np.minimum(chance.zipf(1.3, count) - 1, 599)
    at = start + np.sort(chance.integers(0, max(1, count * SECOND // per_second), count)) // 1_000_000 * 1_000_000
    ids = np.arange(count, dtype=np.int64) + seed * 10_000_000
    return {
        "timestamp": at,
        "receipt_timestamp": at + chance.integers(3_000_000, 60_000_000, count),
        "exchange": _labels(np.zeros(count), [EXCHANGE]),
        "symbol": _labels(codes, SYMBOLS),
        "side": _labels(chance.integers(0, 2, count), ["buy", "sell"]),
        "amount": np.round(chance.exponential(3, count), 3),
        "price": _walk(count, chance, codes),
        "trade_id": ids,
        "first_id": ids * 2,
        "last_id": ids * 2 + chance.integers(0, 4, count),
    }


def minutes(count: int, start: int = MIDNIGHT, seed: int = 1) -> dict[str, Any]:
    """Candles of 600 symbols, minute by minute."""
    chance = np.random.default_rng(seed)
    n = np.arange(count)
    codes, at = n % 600, start + n // 600 * MINUTE
    close = _walk(count, chance, codes)
    up, down = chance.integers(0, 20, count) * 0.01, chance.integers(0, 20, count) * 0.01
    volume = np.round(chance.exponential(500, count), 3)
    return {
        "timestamp": at,
        "receipt_timestamp": at + MINUTE + chance.integers(20_000_000, 300_000_000, count),
        "exchange": _labels(np.zeros(count), [EXCHANGE]),
        "symbol": _labels(codes, SYMBOLS),
        "open": np.round(close - 0.01, 2),
        "high": np.round(close + up, 2),
        "low": np.round(close - down, 2),
        "close": close,
        "volume": volume,
        "quote_volume": np.round(volume * close, 5),
        "trades": chance.integers(0, 3000, count),
        "taker_volume": np.round(volume * 0.5, 3),
        "taker_quote_volume": np.round(volume * close * 0.5, 5),
    }


def books(count: int, start: int = MIDNIGHT, seed: int = 1) -> dict[str, Any]:
    """Changes of the book: some ten levels each."""
    chance = np.random.default_rng(seed)
    codes = np.minimum(chance.zipf(1.3, count) - 1, 599)
    at = start + np.arange(count) * 500_000
    middle = _walk(count, chance, codes)
    sides: dict[str, Any] = {}
    for side, sign in (("bid", -1), ("ask", 1)):
        lengths = chance.integers(0, 12, count)
        offsets = pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))
        prices = np.round(middle.repeat(lengths) + sign * 0.01 * chance.integers(1, 200, lengths.sum()), 2)
        amounts = np.where(chance.random(lengths.sum()) < 0.3, 0.0, np.round(chance.exponential(5, lengths.sum()), 3))
        sides[f"{side}_prices"] = pa.ListArray.from_arrays(offsets, pa.array(prices))
        sides[f"{side}_amounts"] = pa.ListArray.from_arrays(offsets, pa.array(amounts))
    ids = np.arange(count, dtype=np.int64) * 17 + seed * 100_000_000
    return {
        "timestamp": at // 1_000_000 * 1_000_000,
        "receipt_timestamp": at + chance.integers(3_000_000, 60_000_000, count),
        "exchange": _labels(np.zeros(count), [EXCHANGE]),
        "symbol": _labels(codes, SYMBOLS),
        "first_update_id": ids,
        "last_update_id": ids + 16,
        "snapshot": np.zeros(count, np.bool_),
        **sides,
    }


MAKERS: Mapping[str, Callable[..., dict[str, Any]]] = {"trades": trades, "candles_1m": minutes, "l2_book": books}


def cpu(server: Postgres | None = None) -> float:
    """CPU seconds of this process, and of a server with its children."""
    own = psutil.Process().cpu_times()
    total = own.user + own.system
    if server is not None and server.process is not None:
        for one in [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]:
            times = one.cpu_times()
            # The server's process knows what its children that ended have used.
            total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def stores(kinds: Sequence[str]) -> Iterator[dict[str, tuple[Tables, Postgres | None]]]:
    """One of each kind, empty."""
    folder = Path(tempfile.mkdtemp(prefix="tapeline-bench-"))
    server = Postgres() if "postgresql" in kinds else None
    try:
        made: dict[str, tuple[Tables, Postgres | None]] = {}
        for kind in kinds:
            if kind == "postgresql" and server is not None:
                server.start()
                made[kind] = open_tables(server.url()), server
            else:
                made[kind] = open_tables(f"{kind}://{folder}/{kind}"), None
        for store, _ in made.values():
            store.create()
        yield made
        for store, _ in made.values():
            store.close()
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder)


def insert(count: int) -> None:
    """Rows a second and core, in batches of 100,000 and of the brief's size."""
    print(f"\n{count:,} rows a table: thousand rows per CPU second (ours and the server's); goals: parquet 2000, chdb 500, postgresql 80\n")
    print(f"{'store':12}{'table':12}{'batch':>9}{'rows/s':>10}{'wall':>9}")
    with stores(KINDS) as made:
        for kind, (store, server) in made.items():
            for table, maker in MAKERS.items():
                for number, size in enumerate((100_000, SPECS[table].batch_rows * 10)):
                    total = min(count, size * 100)
                    batches = [
                        maker(min(size, total), start=MIDNIGHT + k * DAY // 50, seed=k + 1 + 500 * number)
                        for k in range(max(1, total // size))
                    ]
                    ready = [conform(SPECS[table], batch) for batch in batches]
                    begun, used = time.monotonic(), cpu(server)
                    for k, batch in enumerate(ready):
                        store.insert(table, batch, Cursor(f"{size}", k + 1))
                    used, wall = cpu(server) - used, time.monotonic() - begun
                    rows = sum(len(batch) for batch in ready)
                    print(f"{kind:12}{table:12}{size:>9,}{rows / used / 1000:>9.0f}k{rows / wall / 1000:>8.0f}k", flush=True)


#: what is tried; the first is what is used
CLICKHOUSE: Mapping[str, Mapping[str, str]] = {
    "used": ddl.CODECS,
    "lz4": {},
    "zstd 1": dict.fromkeys(("time", "int", "float", "floats", "text"), "CODEC(ZSTD(1))"),
    "double delta times": {**ddl.CODECS, "time": "CODEC(DoubleDelta, ZSTD(1))"},
    "double delta ids": {**ddl.CODECS, "int": "CODEC(DoubleDelta, ZSTD(1))"},
    "gorilla": {**ddl.CODECS, "float": "CODEC(Gorilla, ZSTD(3))"},
    "t64 ids": {**ddl.CODECS, "int": "CODEC(T64, ZSTD(1))"},
    "fpc": {**ddl.CODECS, "float": "CODEC(FPC, ZSTD(3))"},
    "all zstd 3": {name: codec.replace("ZSTD(1)", "ZSTD(3)") for name, codec in ddl.CODECS.items()},
}
PARQUET: Mapping[str, Mapping[str, Any] | None] = {
    "used": None,
    "snappy": {**OPTIONS, "compression": "snappy", "compression_level": None},
    "lz4": {**OPTIONS, "compression": "lz4", "compression_level": None},
    "zstd 1": OPTIONS,
    "zstd 3": LISTS,
    "zstd 9": {**OPTIONS, "compression_level": 9},
    "byte streams": {**OPTIONS, "column_encoding": {"price": "BYTE_STREAM_SPLIT"}},
}


def codecs(count: int) -> None:
    """Bytes a row."""
    print(f"\n{count:,} rows a table: bytes a row (CPU seconds to write)\n")
    ready = {table: conform(SPECS[table], maker(count)) for table, maker in MAKERS.items()}
    print(f"{'store':12}{'codec':22}" + "".join(f"{table:>18}" for table in ready))
    for name, options in PARQUET.items():
        line = f"{'parquet':12}{name:22}"
        for table, batch in ready.items():
            used = cpu()
            some = options if table == "trades" or "column_encoding" not in (options or {}) else None
            size = len(encode(SPECS[table], batch, some))
            line += f"{size / count:>9.2f} ({cpu() - used:.2f} s)"
        print(line, flush=True)
    with stores(("chdb",)) as made:
        store = made["chdb"][0]
        assert isinstance(store, ClickHouseTables)
        tried = [(name, codec, None) for name, codec in CLICKHOUSE.items()] + [("by time first", ddl.CODECS, "timestamp, symbol")]
        for name, codec, order in tried:
            line = f"{'chdb':12}{name:22}"
            for table, batch in ready.items():
                size, used = _clickhouse(store, table, batch, codec, order)
                line += f"{size / count:>9.2f} ({used:.2f} s)"
            print(line, flush=True)
    with stores(("postgresql",)) as made:
        store, server = made["postgresql"]
        line = f"{'postgresql':12}{'with its index':22}"
        for table, batch in ready.items():
            used = cpu(server)
            store.insert(table, batch, Cursor("w", 1))
            sql = f"SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = '{table}'::regclass"
            line += f"{int(store._run(store._fetch(sql))[0][0]) / count:>9.2f} ({cpu(server) - used:.2f} s)"  # type: ignore[attr-defined]
        print(line, flush=True)


def _clickhouse(store: ClickHouseTables, table: str, batch: pa.Table, codec: Mapping[str, str], order: str | None) -> tuple[int, float]:
    statement = ddl.clickhouse_table(SPECS[table], ttl=False, codecs=codec).replace(f"`{table}`", "`tapeline`.`tried`", 1)
    if order:
        statement = statement.replace("ORDER BY (symbol, timestamp", f"ORDER BY ({order}")
    with store._client() as client:
        client.command("DROP TABLE IF EXISTS tapeline.tried")
        client.command(statement)
        used = cpu()
        client.insert_arrow("tried", batch, database="tapeline")
        client.command("OPTIMIZE TABLE tapeline.tried FINAL")
        used = cpu() - used
        sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'tapeline' AND table = 'tried'"
        return int(client.query(sql).result_rows[0][0]), used


def merge(store: Tables) -> None:
    """Until a ClickHouse has merged what it means to merge: what it does beside a query is not the query's."""
    while isinstance(store, ClickHouseTables) and store._rows("SELECT count() FROM system.merges")[0][0]:
        time.sleep(0.2)


def missing(part: float) -> None:
    """The search for missing candles."""
    days = round(365 * part)
    print(
        f"\n1-minute candles of 600 symbols, {days} days ({days * 864_000:,} rows), 20 holes; goals for a year: chdb 20 s, parquet 60 s, 1 GB\n"
    )
    chance = np.random.default_rng(1)
    holes = {(int(chance.integers(0, 600)), int(chance.integers(0, days * 1440))) for _ in range(20)}
    for kind in KINDS:
        if kind == "postgresql" and part > 0.05:
            print("postgresql: with BENCH_YEAR of 0.05 at most")
            continue
        with stores((kind,)) as made:
            store, server = made[kind]
            begun = time.monotonic()
            for day in range(days):
                whole = minutes(864_000, start=MIDNIGHT + day * DAY, seed=day)
                gone = [n for n in range(len(holes)) if sorted(holes)[n][1] // 1440 == day]
                kept = np.ones(864_000, np.bool_)
                for n in gone:
                    code, minute = sorted(holes)[n]
                    kept[minute % 1440 * 600 + code] = False
                batch = pa.table(whole).filter(pa.array(kept))
                store.insert("candles_1m", batch, Cursor("w", day + 1))
            wrote = time.monotonic() - begun
            merge(store)
            # Anew, in a process of its own: its memory is that of the search.
            url = server.url() if server is not None else store.url
            store.close()
            command = [sys.executable, "-m", "benchmarks.tables", "search", url, str(days)]
            wall, used, memory, rows = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
            assert rows == len(holes), (rows, len(holes))
            print(
                f"{kind:12}{wall:7.1f} s ({used:.1f} s of our CPU), for a year {wall * 365 / days:.0f} s ({used * 365 / days:.0f} s of CPU); "
                f"memory {memory:.0f} MiB; {rows:.0f} rows missing (written in {wrote:.0f} s)",
                flush=True,
            )


def search(url: str, days: int) -> None:
    """One search: wall s, CPU s, MiB at most, rows missing."""
    with contextlib.closing(open_tables(url)) as store:
        begun, used = time.monotonic(), cpu()
        found = store.missing("candles_1m", dict.fromkeys(SYMBOLS, ALWAYS), MIDNIGHT, MIDNIGHT + days * DAY, candles("1m"))
        wall, used = time.monotonic() - begun, cpu() - used
        # Not ru_maxrss: that begins with what the process had that started this one.
        memory = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
        print(wall, used, memory, sum(gap.rows for gaps in found.values() for gap in gaps))


class Inserts(threading.Thread):
    """Batches of 100 rows, one after another, and how long each took (s)."""

    def __init__(self, store: Tables) -> None:
        super().__init__()
        self.store = store
        self.waits = [0.0]
        self.failed: list[Exception] = []
        self.over = threading.Event()

    def run(self) -> None:
        try:
            while not self.over.is_set():
                number = len(self.waits)
                batch = trades(100, start=MIDNIGHT + 4 * DAY + number * SECOND, seed=1000 + number)
                begun = time.monotonic()
                self.store.insert("trades", batch, Cursor("v", number))
                self.waits.append(time.monotonic() - begun)
        except Exception as error:
            self.failed.append(error)


def prune(count: int) -> None:
    """A clean-up while another writer goes on: the longest insert."""
    print(
        f"\nclean-up of {count:,} rows of 2.5 days, up to three quarters of the second, beside inserts; goal: none waits longer than 1 s\n"
    )
    each, until = 200_000, MIDNIGHT + 7 * DAY // 4
    pace = count * SECOND // (5 * DAY // 2) + 1
    for kind in KINDS:
        with stores((kind,)) as made:
            store, _ = made[kind]
            for k in range(count // each):
                batch = trades(each, start=MIDNIGHT + k * (5 * DAY // 2) // (count // each), seed=k + 1, per_second=pace)
                store.insert("trades", batch, Cursor("w", k + 1))
            inserts = Inserts(store)
            inserts.start()
            while len(inserts.waits) < 20 and not inserts.failed:
                time.sleep(0.05)
            alone = max(inserts.waits)
            begun = time.monotonic()
            removed = store.prune("trades", until)
            took = time.monotonic() - begun
            inserts.over.set()
            inserts.join()
            assert not inserts.failed, inserts.failed
            print(
                f"{kind:12}{removed:>12,} rows removed in {took:6.1f} s, {store.count('trades', None, None, until)} older left; "
                f"{len(inserts.waits)} inserts, longest {max(inserts.waits) * 1000:.0f} ms (before the clean-up {alone * 1000:.0f} ms)",
                flush=True,
            )


def main() -> None:
    """Everything, or the parts that are named."""
    if sys.argv[1:2] == ["search"]:
        return search(sys.argv[2], int(sys.argv[3]))
    chosen = sys.argv[1:] or ["insert", "codecs", "missing", "prune"]
    if "insert" in chosen:
        insert(int(os.environ.get("BENCH_ROWS", "400000")))
    if "codecs" in chosen:
        codecs(int(os.environ.get("BENCH_ROWS", "400000")))
    if "missing" in chosen:
        missing(float(os.environ.get("BENCH_YEAR", "0.1")))
    if "prune" in chosen:
        prune(int(os.environ.get("BENCH_PRUNE", "1000000")))


if __name__ == "__main__":
    main()
