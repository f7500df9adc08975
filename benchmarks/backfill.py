"""How fast backfill is, beside what the weight budget allows: ``python -m benchmarks.backfill [symbols]``.

Seven days of 1-minute candles of so many symbols are missing; the simulated venue counts the weight of each minute. The budget is what the
venue allows (2,400 a minute) less the tenth that other programs of the address are left.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tape_collectors.backfill.session import Session
from tape_collectors.runtime.budget import MARGIN
from tape_collectors.settings import BackfillSettings
from tests.support.past import NOW, venue


async def measure(symbols: int, root: Path) -> None:
    """Fill, and say how long it took."""
    async with venue(symbols) as server:
        endpoints = {"binance_usdm.rest": server.rest, "binance_usdm.archive": server.rest}
        assert server.api.past is not None
        names = tuple(one.symbol for one in server.api.past.history.listings.values() if not one.delisted_ms)
        settings = BackfillSettings(
            root=str(root), tables=("candles_1m",), symbols=names, until=str(NOW), lookback="7d", endpoints=endpoints, scope="manual"
        )
        cpu = time.process_time()
        with Session(settings) as session:
            outcome = await session.fill()
        cpu = time.process_time() - cpu
        meter = server.api.meter
        times = [at for at, _ in meter.asked]
        allowed = meter.limit * MARGIN
        # What a sliding minute lets through: its weight at once, then its rate.
        floor = max(0.0, (outcome.weight - allowed) / allowed * 60) + min(60.0, 0.05 * len(times))
        print(f"{outcome.tables['candles_1m'].filled:,} rows by {outcome.requests:,} requests of weight {outcome.weight:,}")
        print(f"asked in {times[-1] - times[0]:.1f} s of {outcome.seconds:.1f} s; CPU of backfill and simulator together {cpu:.1f} s")
        print(
            f"most weight in a minute {meter.most():,} of {allowed:,.0f} that the budget allows ({meter.limit:,} the venue); refused {meter.refused}"
        )
        print(f"weight a minute after the first {_after(list(meter.asked)):,.0f}; the floor by the arithmetic is {floor:.1f} s")


def _after(asked: list[tuple[float, int]]) -> float:
    """Weight a minute from the second minute on."""
    begun = asked[0][0] + 60
    late = [(at, weight) for at, weight in asked if at >= begun]
    return sum(weight for _, weight in late) / max(late[-1][0] - begun, 1e-9) * 60 if late else 0.0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 200, Path(folder)))
