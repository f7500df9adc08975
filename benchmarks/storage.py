"""Tick Parquet: how small, how fast to write, and how fast a range of it is read. ``python -m benchmarks.storage`` (make bench-storage).

Rows are those that the recorder makes: of the simulator's market, and of the real captures (``TAPE_CAPTURES``), each imported to a tape and
derived from it. The base line is the brief's: float64, pyarrow's defaults, which are snappy and dictionaries. Every candidate holds the
same rows and columns. ``BENCH_HOURS`` and ``BENCH_DAYS`` set the size.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tape_access import DataAccessor
from tape_archive.format import ticks
from tape_archive.format.layout import Segment, segments
from tape_archive.format.lines import frame_line, mark_line, reply_line
from tape_archive.format.read import read_lines
from tape_archive.format.tape import Tape
from tape_collectors.importing.formats import recordings
from tape_collectors.importing.tapes import import_recording
from tape_collectors.market.sampler import Setup, TickSetup
from tape_collectors.market.ticks import Part
from tape_collectors.series import derive
from tape_collectors.simulator import binance_events as events
from tape_collectors.simulator.binance_events import Batch
from tape_collectors.simulator.market import Market
from tape_collectors.sinks import ticks as sink

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
#: 2026-01-10T00:00:00Z
MIDNIGHT = 1_768_003_200 * SECOND
VENUE = "binance_spot"
Tables = list[pa.Table]
Encoder = Callable[[pa.Table], bytes]

# -- rows ----------------------------------------------------------------------------------------------------------------------------


def simulate(root: Path, hours: float, levels: int, symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"), seed: int = 1) -> None:
    """A tape of the simulator's market, stepped fifty times a second, a depth frame every 100 ms. ``levels``: how many more levels of each
    side every frame changes (0: as ``tape simulate``)."""
    market = Market({symbol: 2000.0 * (number + 1) for number, symbol in enumerate(symbols)}, seed=seed)
    chance = random.Random(seed)
    setup = Setup(tuple((VENUE, symbol) for symbol in symbols), ticks=TickSetup())
    tape = Tape(root, VENUE, "spot")
    begun = MIDNIGHT + 1000
    head = {"format": 1, "venue": VENUE, "stream": "spot", "run": "bench", "begun": begun, "setup": msgspec.to_builtins(setup)}
    tape.turn(begun, [mark_line(begun, "tape", "tape", head), mark_line(begun + 1, "spot-1", "open", {"url": "", "group": "spot"})])
    batches = {symbol: Batch(last=one.id, due=0) for symbol, one in market.instruments.items()}
    _frames(tape, market, batches, hours, levels, chance)


def _frames(tape: Tape, market: Market, batches: dict[str, Batch], hours: float, levels: int, chance: random.Random) -> None:
    base, last = MIDNIGHT // 1_000_000 + 1000, 0
    for step in range(1, int(hours * 3600 * 50)):
        ms = base + step * 20
        for symbol, (changes, _) in market.step(ms).items():
            one, batch = market.instruments[symbol], batches[symbol]
            batch.add(changes)
            if step % 5:
                continue
            if levels:
                batch.add([one.requote(ms, levels)])
            if event := batch.take(one, ms, 0, futures=False):
                data = msgspec.json.encode({"stream": f"{symbol.lower()}@depth@100ms", "data": event})
                last = max(last + 1, ms * 1_000_000 + int(chance.expovariate(1 / 3e6)))
                tape.append(frame_line(last, "spot-1", data), 1)
            if step == 10:
                # A snapshot joins a stream that has begun.
                body = {"lastUpdateId": one.id, "bids": events.rows(one, one.bids), "asks": events.rows(one, one.asks)}
                last += 10
                tape.append(reply_line(last, f"GET /api/v3/depth?symbol={symbol}&limit=5000", msgspec.json.encode(body)), 1)
    tape.seal(last + 1)


def captured(root: Path, captures: Path) -> dict[str, list[Part]]:
    """The ticks of every Binance capture, by its folder."""
    folder = captures / "binance"
    jobs = [("hftbacktest", path) for path in sorted((folder / "hftbacktest-2024-08").glob("*/*.gz"))]
    jobs += [("cryptofeed", path) for path in sorted((folder / "cryptofeed").glob("*/original"))]
    found: dict[str, list[Part]] = {}
    for number, (kind, path) in enumerate(jobs):
        name = str(path.relative_to(folder)).removesuffix("/original")
        venue = "binance_usdm" if "usdm" in name else VENUE
        place = root / str(number)
        for files in recordings(kind, [path]):
            import_recording(files, kind, venue, place)
        found[name] = [*derive.ticks(segments(place), given=Setup(_markets(venue, segments(place)), ticks=TickSetup()))]
    return found


def _markets(venue: str, found: Sequence[Segment]) -> tuple[tuple[str, str], ...]:
    names = {name.decode() for one in found for line in read_lines(one.file) for name in re.findall(rb'"s":"([A-Z0-9]+)"', line[:400])}
    return tuple((venue, name) for name in sorted(names))


# -- ways to store them ---------------------------------------------------------------------------------------------------------------


def floats(rows: pa.Table) -> pa.Table:
    """Prices and amounts as float64."""
    for name in ("price", "amount"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, rows[name].cast(pa.float64()))
    return rows


def ordered(rows: pa.Table) -> pa.Table:
    """Sorted by side and price within the table: the time columns are what it costs."""
    return rows.take(pa.array(np.lexsort((np.arange(len(rows)), rows["price"].cast(pa.float64()).to_numpy(), _sides(rows)))))


def _sides(rows: pa.Table) -> Any:
    return rows["side"].combine_chunks().indices.to_numpy()


def _write(group_rows: int, options: Mapping[str, Any], change: Callable[[pa.Table], pa.Table] = lambda rows: rows) -> Encoder:
    return lambda rows: sink.encode(change(rows), group_rows, options)


def _options(**more: Any) -> dict[str, Any]:
    return {**sink.OPTIONS, **more}


def _encodings(prices: str, ids: str = "") -> dict[str, str]:
    chosen = dict.fromkeys(("price", "amount"), prices) if prices else {}
    return chosen | (dict.fromkeys(("ts_event", "ts_recv", "U", "u"), ids) if ids else {})


GROUP = TickSetup().group_rows
BASE = "float64, snappy, dictionaries (the brief)"
CHOSEN = "decimal, BYTE_STREAM_SPLIT, zstd 6 (chosen)"
VENUES = "  in the venue's order within an update"
_SPLIT = ["side", "price", "amount"]
CANDIDATES: dict[str, Encoder] = {
    BASE: _write(1 << 20, {"compression": "snappy"}, floats),
    "float64, zstd 3, dictionaries": _write(1 << 20, {"compression": "zstd", "compression_level": 3}, floats),
    "float64, zstd 9, dictionaries of prices only": _write(
        1 << 20, _options(compression_level=9, use_dictionary=_SPLIT, column_encoding={}), floats
    ),
    "float64, zstd 9, plain": _write(1 << 20, _options(compression_level=9, column_encoding={}), floats),
    "float64, zstd 6, BYTE_STREAM_SPLIT": _write(GROUP, _options(), floats),
    "decimal, zstd 6, plain": _write(GROUP, _options(column_encoding={})),
    "decimal, zstd 6, dictionaries": _write(GROUP, _options(use_dictionary=_SPLIT, column_encoding={})),
    "decimal, zstd 6, DELTA_BINARY_PACKED": _write(GROUP, _options(column_encoding=_encodings("DELTA_BINARY_PACKED"))),
    CHOSEN: _write(GROUP, sink.OPTIONS),
    "  with zstd 1": _write(GROUP, _options(compression_level=1)),
    "  with zstd 3": _write(GROUP, _options(compression_level=3)),
    "  with zstd 9": _write(GROUP, _options(compression_level=9)),
    "  with zstd 19": _write(GROUP, _options(compression_level=19)),
    "  with pages of 20,000 rows": _write(GROUP, _options(data_page_size=1 << 20, max_rows_per_page=20_000)),
    "  with times and ids DELTA_BINARY_PACKED": _write(
        GROUP, _options(column_encoding=_encodings("BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"))
    ),
    "  with times and ids BYTE_STREAM_SPLIT": _write(GROUP, _options(column_encoding=_encodings("BYTE_STREAM_SPLIT", "BYTE_STREAM_SPLIT"))),
    "  in row groups of 16,384": _write(1 << 14, sink.OPTIONS),
    "  in row groups of 131,072": _write(1 << 17, sink.OPTIONS),
    "  in row groups of 1,048,576": _write(1 << 20, sink.OPTIONS),
    VENUES: _write(GROUP, sink.OPTIONS),
    "  sorted by price within the part": _write(GROUP, sink.OPTIONS, ordered),
}


class Row(msgspec.Struct):
    """One candidate over one data set: bytes of all files, and seconds."""

    size: int
    write_s: float
    read_s: float


def measure(parts: Sequence[Part], name: str, rounds: int) -> Row:
    """Sizes once, times as the median of some rounds. Writing begins with the recorder's columns."""
    written, read = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        files = [CANDIDATES[name](sink.table(part, sort=name not in (BASE, VENUES))) for part in parts]
        written.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        for content in files:
            pq.read_table(pa.BufferReader(content), use_threads=False)
        read.append(time.perf_counter() - begun)
    return Row(sum(map(len, files)), statistics.median(written), statistics.median(read))


def sizes(name: str, parts: Sequence[Part], rounds: int = 1, candidates: Iterable[str] = tuple(CANDIDATES)) -> float:
    """Print a table of the candidates over one data set; gives what the chosen one saves."""
    rows = sum(map(len, parts))
    results = {one: measure(parts, one, rounds) for one in candidates}
    base = results[BASE].size
    print(f"\n{name}: {rows:,} rows in {len(parts)} files\n{'':48} {'B/row':>7} {'÷ base':>7} {'write':>9} {'read':>9}  (M rows/s)")
    for one, result in results.items():
        print(
            f"{one:48} {result.size / rows:7.2f} {result.size / base:7.3f} {rows / result.write_s / 1e6:9.2f} {rows / result.read_s / 1e6:9.2f}"
        )
    return 1 - results[CHOSEN].size / base


# -- reading a range -------------------------------------------------------------------------------------------------------------------


def spread(root: Path, tables: Tables, days: int, encode: Encoder) -> int:
    """The hour of each market again and again, for some days, where the recorder would have put it; gives the rows."""
    rows = 0
    for number, hour in enumerate(tables):
        times = hour["ts_recv"].cast(pa.int64()).to_numpy()
        for at in range(days * 24):
            moved = hour
            for name in ("ts_recv", "ts_event"):
                shifted = pa.compute.add(hour[name].cast(pa.int64()), at * HOUR).cast(pa.timestamp("ns", "UTC"))
                moved = moved.set_column(moved.schema.get_field_index(name), moved.schema.field(name), shifted)
            path = ticks.part_path(root, VENUE, f"M{number}USDT", int(times[0]) + at * HOUR, int(times[-1]) + at * HOUR)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(moved))
            rows += len(moved)
    return rows


def load_all(root: Path, start: int, end: int, symbol: str) -> pa.Table:
    """The brief's way: all files of the market, then the rows."""
    paths = sorted((root / ticks.FOLDER / f"exchange={VENUE}" / f"symbol={symbol}").rglob("*.parquet"))
    whole = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
    times = whole["ts_recv"].cast(pa.int64())
    return whole.filter(pa.compute.and_(pa.compute.greater_equal(times, start), pa.compute.less_equal(times, end)))


def ranges(folder: Path, tables: Tables, days: int, rounds: int = 3) -> float:
    """Print how long an hour takes; gives load-all of the base line ÷ ours."""
    base, ours = folder / "base", folder / "ours"
    rows = spread(base, tables, days, CANDIDATES[BASE])
    spread(ours, tables, days, CANDIDATES[CHOSEN])
    start = MIDNIGHT + HOUR * (12 + 24 * (days // 2)) + HOUR // 2
    bounds = start, start + HOUR - 1
    data = DataAccessor(ours)
    ways: dict[str, Callable[[], pa.Table]] = {
        "load all, base line": lambda: load_all(base, *bounds, "M0USDT"),
        "load all, ours": lambda: load_all(ours, *bounds, "M0USDT"),
        "DataAccessor.ticks": lambda: data.ticks(VENUE, "M0USDT", *bounds, arrow=True),
        "DataAccessor.ticks, two columns": lambda: data.ticks(VENUE, "M0USDT", *bounds, columns=["ts_recv", "price"], arrow=True),
    }
    print(f"\none hour (from half past) of one of {len(tables)} markets out of {days} days, {rows:,} rows:")
    seconds: dict[str, float] = {}
    for name, way in ways.items():
        seconds[name], found = min((_timed(way) for _ in range(rounds)), key=lambda result: result[0])
        print(f"{name:48} {seconds[name] * 1000:9.1f} ms  {found:,} rows  {seconds['load all, base line'] / seconds[name]:7.1f} ×")
    return seconds["load all, base line"] / seconds["DataAccessor.ticks"]


def _timed(way: Callable[[], pa.Table]) -> tuple[float, int]:
    begun = time.perf_counter()
    found = len(way())
    return time.perf_counter() - begun, found


def main() -> None:
    hours, days = float(os.environ.get("BENCH_HOURS", "1")), int(os.environ.get("BENCH_DAYS", "2"))
    captures = Path(os.environ.get("TAPE_CAPTURES") or Path(__file__).parents[2] / "shared" / "captures")
    saved: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="tape-storage-") as name:
        folder = Path(name)
        for kind, levels in (("simulated", 0), ("simulated, busy: 28 more levels a side", 28)):
            simulate(folder / kind, hours / 4 if levels else hours, levels)
            parts = [*derive.ticks(segments(folder / kind))]
            saved[kind] = sizes(kind, parts, 3)
            if not levels:
                hourly = [sink.table(part) for part in parts[:2]]
        if captures.is_dir():
            found = captured(folder / "captures", captures)
            saved["all captures"] = sizes("all captures", [part for parts in found.values() for part in parts], 3)
            saved |= {one: sizes(one, parts, 1, (BASE, CHOSEN)) for one, parts in found.items()}
        factor = ranges(folder, hourly, days)
    print("\nsmaller than the base line: " + ", ".join(f"{kind} {share:.0%}" for kind, share in saved.items()))
    print(f"a range of one hour: {factor:.1f} × faster than load-all")


if __name__ == "__main__":
    main()
