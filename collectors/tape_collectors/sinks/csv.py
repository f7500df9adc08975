"""The CEX time series: one CSV row for each market and tick.

The first 18 columns are the brief's, in its order; ours follow. Times are tape time. Empty cells and ``err`` where a market has no
proven book. ``imb`` = (B−A)/(B+A) of the notionals within the band, 0 when both are 0; ``micro`` = (bid·ask_qty +
ask·bid_qty)/(bid_qty+ask_qty);
``spread`` = ask − bid, absolute; notionals are sums of price·size of the levels within ``band_bps`` of mid.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import msgspec

from tape_archive.format.errors import DiskFull, SettingsError
from tape_archive.format.layout import csv_path
from tape_collectors.market.sampler import SECOND, Sample, Setup, mid_and_spread

COLUMNS = (
    *("ts_sample_utc", "t_sample_unix", "sample_id", "venue", "best_bid", "best_ask", "mid", "spread", "bid_qty_l1"),
    *("ask_qty_l1", "bid_notional", "ask_notional", "imb", "micro", "micro_edge", "top_bids_json", "top_asks_json", "err"),
    *("symbol", "ts_venue_ns", "book_age_ms", "sequence", "coverage"),
)
_EMPTY = ("",) * 13


def row(sample: Sample) -> Sequence[str]:
    """The cells of one sample, in the order of ``COLUMNS``."""
    head = (_utc(sample.tick // SECOND), f"{sample.tick // 1000 / 1e6:.6f}", str(sample.number), sample.venue)
    if sample.err:
        return (*head, *_EMPTY, sample.err[:240], sample.symbol, "", "", "", f"{sample.coverage:.4f}")
    mid, spread = mid_and_spread(sample)
    bid, ask, bid_size, ask_size = map(float, (sample.best_bid, sample.best_ask, sample.bid_size, sample.ask_size))
    both = bid_size + ask_size
    micro = (bid * ask_size + ask * bid_size) / both if both else float(mid)
    total = sample.bid_notional + sample.ask_notional
    imb = (sample.bid_notional - sample.ask_notional) / total if total else 0.0
    return (
        *head,
        *(sample.best_bid, sample.best_ask, mid, spread, sample.bid_size, sample.ask_size),
        *(f"{sample.bid_notional:.8f}", f"{sample.ask_notional:.8f}", f"{imb:.9f}", f"{micro:.9f}", f"{micro - float(mid):.9f}"),
        *(msgspec.json.encode(sample.top_bids).decode(), msgspec.json.encode(sample.top_asks).decode(), ""),
        *(sample.symbol, str(sample.ts) if sample.ts else "", f"{sample.age_ns / 1e6:.3f}", str(sample.sequence)),
        f"{sample.coverage:.4f}",
    )


@lru_cache(maxsize=1)
def _utc(second: int) -> str:
    """The same for every market of a tick."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def lines(samples: Iterable[Sample]) -> bytes:
    """The rows of one tick as CSV text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(row, samples))
    return text.getvalue().encode()


HEADER = (",".join(COLUMNS) + "\n").encode()


class CsvFile:
    """Appends the rows of whole ticks to the file that tape time names; never rewrites what a cursor has committed."""

    def __init__(self, root: Path, setup: Setup) -> None:
        self.root = root
        self.setup = setup
        self.path: Path | None = None
        self._fd = -1
        self.size = 0
        self.rows = 0

    def write(self, samples: Sequence[Sample]) -> None:
        """Append the rows of one tick."""
        self.append(samples[0].tick, lines(samples), len(samples))

    def append(self, tick: int, data: bytes, rows: int) -> None:
        """Append all ``lines`` of one tick by one ``write``. Raises DiskFull; a row torn by it is cut off again."""
        path = csv_path(self.root / self.setup.out, self.setup.split_hours, tick)
        if path != self.path:
            self.close()
            self._open(path)
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise DiskFull(f"{path}: {error.strerror}; free some space") from error
        if written != len(data):
            os.ftruncate(self._fd, self.size)
            raise DiskFull(f"{path}: only {written} of {len(data)} bytes could be written; free some space")
        self.size += written
        self.rows += rows

    def outputs(self) -> dict[str, int]:
        """For the cursor: the open file, relative to the root, and its committed size."""
        return {str(self.path.relative_to(self.root)): self.size} if self.path else {}

    def sync(self) -> None:
        """To the disk."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def close(self) -> None:
        """To the disk, and done with this file."""
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            self.path = None

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SettingsError(f"cannot write {path}: {error.strerror}; choose another --out") from error
        self.path = path
        self.size = os.fstat(self._fd).st_size
        if self.size == 0:
            self.size = os.write(self._fd, HEADER)


def committed(path: Path, markets: int, before: int) -> tuple[int, int]:
    """(last whole tick in ns, bytes up to and with it) of a CSV file that a crash may have torn; (0, bytes of the header) if it has none.

    A tick is whole when all its ``markets`` rows are there. A tick at or after ``before`` (the end of the tape) does not count: after
    a power
    cut the CSV may be ahead of the tape.
    """
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    rows = content[:end].split(b"\n")[1:-1]
    while rows:
        stamp = _stamp(rows[-1])
        count = 1
        while count < len(rows) and _stamp(rows[-count - 1]) == stamp:
            count += 1
        if count == markets and 0 < stamp < before:
            return stamp, end
        end -= sum(len(row) + 1 for row in rows[-count:])
        del rows[-count:]
    return 0, min(end, len(HEADER)) if content.startswith(HEADER[:end] or b"-") else 0


def _stamp(row: bytes) -> int:
    cell = row.split(b",", 2)[1:2]
    try:
        return round(float(cell[0]) * 1e6) * 1000
    except (ValueError, IndexError):
        return 0
