"""Tick parts of a day, as a recorder leaves them: small, of several scales, some of them float64."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tape_archive.format.atomic import write_atomic
from tape_archive.format.ticks import of_folder, part_path, uncovered
from tape_collectors.market.ticks import Part
from tape_collectors.sinks import ticks as sink

SECOND = 1_000_000_000
#: 2026-01-10T00:00:00Z
MIDNIGHT = 1_768_003_200 * SECOND
DAY = 86_400 * SECOND
Row = tuple[int, int | None, int, str, float, float]


def day(root: Path, parts: int = 24, rows: int = 40, *, symbol: str = "BTCUSDT", start: int = MIDNIGHT, wild: bool = False) -> Path:
    """A day's parts of one market; ``wild``: some have columns that only float64 holds. Gives their folder."""
    chance = random.Random(f"{symbol} {start}")
    step = DAY // parts
    for number in range(parts):
        one = Part("binance_spot", symbol, 1 << 18)
        places = chance.choice((0, 1, 2, 5))
        for row in range(rows):
            t = start + number * step + row * (step // rows)
            prices = sorted(f"{chance.uniform(60_000, 70_000):.{places}f}" for _ in range(chance.choice((1, 1, 2, 3))))
            size = "123456789.123456789" if wild and number % 5 == 2 and row == 7 else f"{chance.uniform(0, 9):.{places}f}"
            event = 0 if row % 7 == 3 else t - 7
            one.add(t, event, (row, row), [(price, size) for price in prices], [(prices[-1], "0")] if row % 3 else [], row == 0)
        sink.write(root, one)
    return part_path(root, "binance_spot", symbol, start, start).parent


def contents(folder: Path) -> list[Row]:
    """All rows of the parts of a folder that are to be read, by an independent way: pyarrow's own values, row by row."""
    found: list[Row] = []
    for part in uncovered(of_folder(folder)):
        table = pq.ParquetFile(part.path).read()
        times = [table[name].cast(pa.int64()).to_pylist() for name in ("ts_recv", "ts_event")]
        rest = [[float(v) for v in table[name].to_pylist()] for name in ("price", "amount")]
        found += zip(*times, table["u"].to_pylist(), table["side"].to_pylist(), *rest, strict=True)
    return found


def harvest(root: Path, kind: str, parts: int, start: int = MIDNIGHT) -> Path:
    """Parts of another table of the same name law: other columns, NaN and nulls, strings, dictionaries that differ from part to part."""
    folder = root / "ofi_cvd" / "date=2026-01-10" / "symbol=BTCUSDT" / f"kind={kind}"
    chance = random.Random(kind)
    for number in range(parts):
        times = [start + number * 60 * SECOND + row * SECOND for row in range(60)]
        values = [chance.choice((float("nan"), -0.0, 0.0, chance.gauss(0, 1))) for _ in times]
        words = pa.array([chance.choice(("up", "down", f"n{number}", None)) for _ in times]).dictionary_encode()
        table = pa.table({"t": pa.array(times), "z": pa.array(values), "why": words, "text": pa.array([str(one) for one in values])})
        out = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata({"tapeline.format": "ofi_cvd 1"}), out, compression="zstd", use_dictionary=["why"])
        write_atomic(folder / f"part-{times[0]}-{times[-1]}.parquet", out.getvalue().to_pybytes(), durable=False)
    return folder
