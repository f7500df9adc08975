"""How far what is called OFI differs from OFI, on best quotes recorded from Binance. ``python -m benchmarks.ofi_variants [captures]``.

For each recording: the sum over intervals of event time (tape time where quotes have none) of each measure, its correlation with OFI (CKS, of every quote), how
often the sign is the other one, and how much of the change of the mid it explains (R² of a line; of the same interval, so no forecast).
"""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from tape_collectors.market.features.ofi import BestOFI, Quote, RankDifference

RECORDINGS = {
    "Binance USD-M ETHUSDT": "binance/hftbacktest-2024-08/usdm/ethusdt_20240808.gz",
    "Binance spot BTCUSDT": "binance/hftbacktest-2024-08/spot/btcusdt_20240808.gz",
}
JOIN_MS = 100


def quotes(path: Path) -> tuple[list[int], list[Quote]]:
    """Times (ms) and best quotes, as received."""
    times, rows = [], []
    with gzip.open(path) as file:
        for line in file:
            received, _, text = line.partition(b" ")
            if b"@bookTicker" not in text:
                continue
            data = msgspec.json.decode(text)["data"]
            times.append(data.get("T") or int(received) // 1_000_000)
            rows.append((float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"])))
    return times, rows


def last_of_each(times: list[int], rows: list[Quote], every: int) -> tuple[list[int], list[Quote]]:
    """The quote that stood at the end of each ``every`` ms in which one came."""
    ends = [number for number in range(len(times)) if number + 1 == len(times) or times[number] // every != times[number + 1] // every]
    return [times[end] for end in ends], [rows[end] for end in ends]


def measures(times: list[int], rows: list[Quote], every: int) -> pd.DataFrame:
    """Sums by interval; the change of the mid beside them."""
    joined_times, joined = last_of_each(times, rows, JOIN_MS)

    def summed(at: list[int], values: list[float | None]) -> pd.Series:
        return pd.Series([value or 0.0 for value in values]).groupby(np.array(at) // every).sum()

    ranks = RankDifference([1.0])
    mid = pd.Series([(bid + ask) / 2 for bid, _, ask, _ in rows]).groupby(np.array(times) // every).last()
    best, retreat, snapshot = BestOFI(), BestOFI("current"), BestOFI()
    return pd.DataFrame(
        {
            "OFI (CKS), every quote": summed(times, [best.update(*row) for row in rows]),
            "retreat variant (CCZ), every quote": summed(times, [retreat.update(*row) for row in rows]),
            f"OFI of the last quote each {JOIN_MS} ms": summed(joined_times, [snapshot.update(*row) for row in joined]),
            "rank difference (the origin's), every quote": summed(times, [ranks.update([row[:2]], [row[2:]]) for row in rows]),
            "mid": mid.diff(),
        }
    ).dropna()


def where_prices_move(rows: list[Quote]) -> tuple[float, float]:
    """Of the events in which a best price moved: their share, and how often the rank difference has the other sign than OFI."""
    best, ranks, moved, other = BestOFI(), RankDifference([1.0]), 0, 0
    for number, row in enumerate(rows):
        value, plain = best.update(*row), ranks.update([row[:2]], [row[2:]])
        if number and (row[0] != rows[number - 1][0] or row[2] != rows[number - 1][2]):
            moved += 1
            other += value is not None and plain is not None and value * plain < 0
    return moved / len(rows), other / moved


def main() -> None:
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TAPE_CAPTURES")
    root = Path(given) if given else Path(__file__).parents[2] / "shared" / "captures"
    for name, path in RECORDINGS.items():
        if not (root / path).exists():
            sys.exit(f"no recording at {root / path}: give the folder of captures, or set TAPE_CAPTURES")
        times, rows = quotes(root / path)
        moved, other = where_prices_move(rows)
        seconds = (times[-1] - times[0]) / 1000
        print(
            f"{name}: {len(rows):,} quotes in {seconds:,.0f} s, a best price moved at {moved:.1%}; there the rank difference has the other sign in {other:.0%}"
        )
        for every in (100, 1000, 10_000):
            table = measures(times, rows, every)
            mid, truth = table.pop("mid"), table.iloc[:, 0]
            print(f"  {len(table):,} intervals of {every / 1000:g} s {'correlation':>34} {'other sign':>12} {'R² of Δmid':>12}")
            for column, values in table.items():
                wrong = float((np.sign(values) * np.sign(truth) < 0).mean())
                fit = np.corrcoef(values, mid)[0, 1] ** 2 if values.std() and mid.std() else float("nan")
                print(f"    {column:48} {np.corrcoef(values, truth)[0, 1]:14.3f} {wrong:12.1%} {fit:12.3f}")


if __name__ == "__main__":
    main()
