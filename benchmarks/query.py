"""How fast a month of one symbol is read: ``python -m benchmarks.query [store …]`` (parquet, chdb, postgresql).

candles_5m of 600 symbols and 30 days (5.2 million rows) a batch a day; then the brief's query of one symbol after another,
newest first, each symbol once: the first one on a store that was just opened, and the median and the longest of forty more. Goal: 100 ms.
Before that the database ends the merges that thirty batches in a minute cause; in a day there is time for them.
``BENCH_SYMBOLS`` (600) sets the size.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

import numpy as np
import pyarrow as pa

from benchmarks.tables import DAY, MINUTE, SYMBOLS, merge, minutes, stores
from tape_archive.tables import Cursor, open_tables
from tape_archive.tables.laws import SECOND

STEP = 5 * MINUTE


def measure(kind: str, symbols: int) -> None:
    """One store."""
    # Whole days: of a day that is over the writer makes one part, and so is the batch of a day here.
    end = int(time.time()) * SECOND // DAY * DAY
    begun = end - 30 * DAY
    with stores((kind,)) as made:
        store, server = made[kind]
        wrote = time.monotonic()
        each = 288 * symbols
        for day in range(30):
            rows = minutes(each, seed=day + 1)
            codes, numbers = np.arange(each) % symbols, np.arange(each) // symbols
            rows["timestamp"] = begun + day * DAY + numbers * STEP
            rows["receipt_timestamp"] = rows["timestamp"] + STEP
            rows["symbol"] = pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), SYMBOLS)
            store.insert("candles_5m", rows, Cursor("w", day + 1))
        wrote = time.monotonic() - wrote
        merge(store)
        url = server.url() if server is not None else store.url
        store.close()
        anew = open_tables(url)
        times = []
        for symbol in SYMBOLS[: min(41, symbols)]:
            asked = time.perf_counter()
            found = anew.read("candles_5m", symbol, begun)
            times.append((time.perf_counter() - asked) * 1000)
            assert len(found) == 30 * 288, len(found)
        anew.close()
    print(
        f"{kind:12}{symbols * 30 * 288:>12,} rows (written in {wrote:.0f} s); 8,640 rows of one symbol: first {times[0]:.0f} ms, "
        f"median {statistics.median(times[1:]):.0f} ms, longest {max(times[1:]):.0f} ms",
        flush=True,
    )


if __name__ == "__main__":
    for name in sys.argv[1:] or ("parquet", "chdb", "postgresql"):
        measure(name, int(os.environ.get("BENCH_SYMBOLS", "600")))
