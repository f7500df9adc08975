"""The archive: how small tapes become and how fast, and what merging a day of tick Parquet costs. ``python -m benchmarks.archive``
(make bench-archive).

Tapes are the real captures (``TAPE_CAPTURES``), imported as ``tape import`` does. Days are simulated ticks, each row once, cut as a recorder
cuts them and in parts of a minute, and the ticks of the captures. Speeds are of one core: processor time of all threads, not of the wall.
``BENCH_HOURS`` sets how many hours are simulated.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import zstandard

from benchmarks import storage
from tape_archive.archiver import days
from tape_archive.archiver.compact import LEVEL, Compactor
from tape_archive.archiver.days import Compacted
from tape_archive.format import ticks
from tape_archive.format.compression import Compression, plain
from tape_archive.format.layout import segments
from tape_archive.format.read import read_lines
from tape_collectors.importing.formats import recordings
from tape_collectors.importing.tapes import import_recording
from tape_collectors.market.sampler import TickSetup
from tape_collectors.market.ticks import Part
from tape_collectors.series import derive
from tape_collectors.sinks import ticks as sink

OURS = "ours: zstd 19, frames of 8 MiB"
SOURCES = ("hftbacktest", "cryptofeed")
LEAST, FASTEST = 10.5, 100.0


def _zstd(level: int) -> Callable[[bytes], bytes]:
    return lambda content: zstandard.ZstdCompressor(level=level, write_checksum=True).compress(content)


def _ours(level: int = 0) -> Callable[[bytes], bytes]:
    return lambda content: b"".join(Compression("zstd", level).pieces([content]))


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gzip 6": lambda content: gzip.compress(content, 6),
    "zstd 3": _zstd(3),
    "zstd 9": _zstd(9),
    OURS: _ours(),
    "zstd 19, one frame": _zstd(19),
    "zstd 22, frames of 8 MiB": _ours(22),
    "zstd 22, one frame": _zstd(22),
}


class Row(msgspec.Struct):
    """One way over one set of tapes: bytes and seconds of processor time."""

    size: int = 0
    packing: float = 0.0
    unpacking: float = 0.0


# -- tapes -------------------------------------------------------------------------------------------------------------------------


def tapes(root: Path, captures: Path) -> dict[str, list[tuple[int, bytes]]]:
    """By set of captures: (bytes as recorded, plain content) of each tape. Frames of other venues are few, and are left out."""
    folder = captures / "binance"
    sets = {
        "hftbacktest": sorted((folder / "hftbacktest-2024-08").glob("*/*.gz")),
        "cryptofeed": sorted((folder / "cryptofeed").glob("*/original")),
    }
    found: dict[str, list[tuple[int, bytes]]] = {}
    for kind, paths in sets.items():
        for number, path in enumerate(paths):
            place = root / kind / str(number)
            for files in recordings(kind, [path]):
                import_recording(files, kind, "binance_usdm" if "usdm" in str(path) else "binance_spot", place)
            for one in segments(place):
                content = b"".join(line + b"\n" for line in read_lines(one.file))
                found.setdefault(f"{kind} {path.parent.name}", []).append((one.file.stat().st_size, content))
    return found


def measure(name: str, way: Callable[[bytes], bytes], contents: Sequence[bytes]) -> Row:
    """Compress each content and open it again. Raises AssertionError if it is not the same."""
    row = Row()
    for content in contents:
        begun = time.process_time()
        packed = way(content)
        row.packing += time.process_time() - begun
        begun = time.process_time()
        back = b"".join(plain("x.gz" if name.startswith("gzip") else "x.zst", [packed]))
        row.unpacking += time.process_time() - begun
        assert back == content
        row.size += len(packed)
    return row


def ratios(sets: Mapping[str, Sequence[tuple[int, bytes]]]) -> dict[str, float]:
    """Print a table of all ways over each set and all of them; gives the ratios of ours."""
    rows = {name: {way: measure(way, call, [content for _, content in some]) for way, call in WAYS.items()} for name, some in sets.items()}
    sets = {**sets, "all captures": [one for some in sets.values() for one in some]}
    rows["all captures"] = {
        way: Row(*(sum(getattr(row[way], name) for row in rows.values()) for name in ("size", "packing", "unpacking"))) for way in WAYS
    }
    for name, some in sets.items():
        size, recorded = sum(len(content) for _, content in some), sum(stored for stored, _ in some)
        print(f"\n{name}: {size / 1e6:.1f} MB in {len(some)} tapes\n{'':34}{'ratio':>7}{'MB/s a core':>13}{'and back':>10}")
        print(f"{'as recorded (a frame a second)':34}{size / recorded:7.2f}")
        for way, row in rows[name].items():
            print(f"{way:34}{size / row.size:7.2f}{size / row.packing / 1e6:13.1f}{size / row.unpacking / 1e6:10.0f}")
    return {name: sum(len(content) for _, content in some) / rows[name][OURS].size for name, some in sets.items()}


# -- days ----------------------------------------------------------------------------------------------------------------------------


def day(root: Path, parts: Sequence[Part]) -> int:
    """Parts as files; gives their rows."""
    for part in parts:
        sink.write(root, part)
    return sum(map(len, parts))


def minutes(parts: Sequence[Part], rows: int) -> list[Part]:
    """The same rows in parts of so many, as a recorder that turns every minute leaves them."""
    made: list[Part] = []
    for part in parts:
        level = 0
        for at in range(len(part.recv)):
            many = part.bids[at] + part.asks[at]
            if not made or len(made[-1]) >= rows or made[-1].symbol != part.symbol:
                made.append(Part(part.venue, part.symbol, part.group_rows))
            levels = [*zip(part.prices[level : level + many], part.amounts[level : level + many], strict=True)]
            split = part.bids[at]
            made[-1].add(
                part.recv[at],
                part.event[at],
                (part.first_id[at], part.last_id[at]),
                levels[:split],
                levels[split:],
                bool(part.snapshot[at]),
            )
            level += many
    return made


def compaction(name: str, root: Path, rows: int, levels: Sequence[int] = (6, LEVEL, 12, 19)) -> float:
    """Print what it costs at some levels, the comparison of all rows included; gives MB/s of ours."""
    files = [path for path in (root / ticks.FOLDER).rglob("*.parquet")]
    held = sum(path.stat().st_size for path in files)
    columns = 0
    for path in files:
        footer = pq.ParquetFile(path).metadata
        columns += sum(footer.row_group(at).total_byte_size for at in range(footer.num_row_groups))
    print(f"\n{name}: {rows:,} rows in {len(files):,} parts, {held / 1e6:.1f} MB ({columns / 1e6:.0f} MB decompressed)")
    print(f"{'':22}{'MB after':>9}{'saved':>7}{'MB/s a core, decompressed':>27}{'of files':>10}{'M rows/s':>10}")
    for level in levels:
        with tempfile.TemporaryDirectory(prefix="tape-archive-") as spare:
            for path in files:
                copy = Path(spare) / path.relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
            told: list[Compacted] = []
            begun = time.process_time()
            Compactor(Path(spare), level).run(list(days.days(Path(spare))), told.append)
            spent = time.process_time() - begun
            made = [*Path(spare).rglob("*.parquet")]
            assert not [one.why for one in told if one.why] and sum(pq.ParquetFile(path).metadata.num_rows for path in made) == rows
            after = sum(path.stat().st_size for path in made)
        print(
            f"zstd {level:<3}{'(chosen)' if level == LEVEL else '':14}{after / 1e6:9.2f}{1 - after / held:7.1%}{columns / spent / 1e6:27.0f}"
            f"{held / spent / 1e6:10.1f}{rows / spent / 1e6:10.2f}"
        )
        if level == LEVEL:
            speed = columns / spent / 1e6
    return speed


def main() -> None:
    hours = float(os.environ.get("BENCH_HOURS", "2"))
    captures = Path(os.environ.get("TAPE_CAPTURES") or Path(__file__).parents[2] / "shared" / "captures")
    with tempfile.TemporaryDirectory(prefix="tape-archive-") as name:
        folder = Path(name)
        archived: dict[str, float] = {}
        if captures.is_dir():
            found = tapes(folder / "tapes", captures)
            archived = ratios({kind: [one for key, some in found.items() if key.startswith(kind) for one in some] for kind in SOURCES})
        storage.simulate(folder / "warm", 0.02, 0, ("BTCUSDT",))
        # Modules that the first call imports are not what is measured.
        day(folder / "warm", minutes([*derive.ticks(segments(folder / "warm"))], 500))
        Compactor(folder / "warm").run(list(days.days(folder / "warm")), lambda done: None)
        storage.simulate(folder / "sim", hours, 0)
        parts = [*derive.ticks(segments(folder / "sim"))]
        speeds = {"an hour a part": compaction("simulated, a part an hour", folder / "hours", day(folder / "hours", parts))}
        small = minutes(parts, len(parts[0]) // 60)
        speeds["a minute a part"] = compaction("simulated, a part a minute", folder / "minutes", day(folder / "minutes", small))
        storage.simulate(folder / "busy", hours / 4, 28)
        busy = [*derive.ticks(segments(folder / "busy"))]
        speeds["busy"] = compaction(
            "simulated, 28 more levels a side", folder / "busy day", day(folder / "busy day", minutes(busy, TickSetup().part_rows // 8))
        )
        if captures.is_dir():
            rows, place = 0, folder / "captured day"
            for some in storage.captured(folder / "captures", captures).values():
                rows += day(place, minutes(some, 5000))
            speeds["captures"] = compaction("the ticks of the captures, parts of 5,000 rows", place, rows)
    print("\narchived tapes: " + ", ".join(f"{kind} {ratio:.2f} x" for kind, ratio in archived.items()) + f" (budget: {LEAST} x)")
    print("compaction, MB/s a core: " + ", ".join(f"{kind} {speed:.0f}" for kind, speed in speeds.items()) + f" (budget: {FASTEST:.0f})")


if __name__ == "__main__":
    main()
