"""cex-record against a simulated venue, in the test's own process, and what must hold of it whatever the venue did."""

from __future__ import annotations

import asyncio
import filecmp
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from msgspec import structs

from tape_access import book, coverage
from tape_archive.format.lines import Line
from tape_collectors import wiring
from tape_collectors.series import derive
from tape_collectors.series.recorder import record
from tape_collectors.settings import CexSettings
from tape_collectors.simulator.world import Simulator
from tape_collectors.venues import load
from tests.support.recording import rows, tape

SYMBOLS = ("BTCUSDT", "ETHUSDT")
#: how the channel of the whole book begins, by venue
DEPTH = {"binance": "depth", "bybit": "orderbook.200", "okx": "books", "gate": "obu", "mexc": "aggre.depth"}


class Run:
    """cex-record against the simulator, in this process."""

    def __init__(self, root: Path, venue: str, *, wait: bool = True, lifetime_s: float = 0.0, **settings: object) -> None:
        self.root = root
        self.venue = venue
        self.simulator = Simulator([venue], symbols=SYMBOLS, seed=5)
        self.settings = {"first_frame_s": 3.0, "silence_s": 3.0, **settings}
        self.code = -1
        self.fills: dict[str, set[tuple[float, float, str]]] = {symbol: set() for symbol in SYMBOLS}
        self._wait = wait
        self._lifetime_s = lifetime_s
        self._patch = pytest.MonkeyPatch()

    @property
    def depth(self) -> str:
        """The streams of books, as faults name them."""
        return f"*{DEPTH[self.venue.partition('_')[0]]}*"

    @property
    def depth_channel(self) -> str:
        """How the book's channel begins."""
        return DEPTH[self.venue.partition("_")[0]]

    def of(self, symbol: str) -> str:
        """All streams of a symbol, as faults name them."""
        native = load(self.venue).native(symbol)
        return f"*{native.lower() if self.venue.startswith('binance') else native}*"

    async def __aenter__(self) -> Run:
        self._count_fills()
        if self._lifetime_s:
            pool = wiring.Process.pool
            shorter = lambda process, group, *rest: pool(process, structs.replace(group, lifetime_s=self._lifetime_s), *rest)  # noqa: E731
            self._patch.setattr(wiring.Process, "pool", shorter)
        await self.simulator.__aenter__()
        if self._wait:
            await self.begin()
            await self.until(lambda: len(rows(self.root / "logs" / "cex.csv")) > 0 and not rows(self.root / "logs" / "cex.csv")[-1]["err"])
        return self

    def _count_fills(self) -> None:
        market = self.simulator.markets[self.venue]
        step = market.step

        def counted(ms: int) -> object:
            moves = step(ms)
            for symbol, (_, fills) in moves.items():
                one = market.instruments[symbol]
                self.fills[symbol] |= {
                    (float(one.price_text(fill.price)), float(one.size_text(fill.size)), "sell" if fill.taker_sells else "buy")
                    for fill in fills
                }
            return moves

        self._patch.setattr(market, "step", counted)

    async def begin(self) -> None:
        """Start recording."""
        settings = CexSettings(
            root=str(self.root),
            venues=(self.venue,),
            symbols=SYMBOLS,
            hz=5,
            split_hours=0,
            metrics_port=-1,
            endpoints=self.simulator.endpoints,
            **self.settings,  # type: ignore[arg-type]
        )
        self.task = asyncio.create_task(record(settings))

    async def until(self, true: object, seconds: float = 60.0) -> None:
        """Wait for something to be so (not for time to pass)."""
        for _ in range(int(seconds / 0.05)):
            assert not self.task.done(), self.task
            try:
                if true():  # type: ignore[operator]
                    return
            except (FileNotFoundError, IndexError):
                pass
            await asyncio.sleep(0.05)
        raise AssertionError("it did not come to be so in time")

    async def proven_again(self) -> None:
        """Rows without an error for both markets, of a time after this call: what is written by now may be older than the fault."""
        now = time.time()

        def good() -> bool:
            new = [row for row in rows(self.root / "logs" / "cex.csv") if float(row["t_sample_unix"]) > now]
            return len(new) >= 6 and not any(row["err"] for row in new[-2:])

        await self.until(good)

    async def __aexit__(self, *error: object) -> None:
        self.simulator.paused = True
        await self._settled()
        os.kill(os.getpid(), signal.SIGTERM)
        self.code = await asyncio.wait_for(self.task, 60)
        await self.simulator.__aexit__(None, None, None)
        self._patch.undo()

    async def _settled(self) -> None:
        """The market stands still: until what moved before is sent and read, at most ten seconds (some faults never end)."""
        sent = self.simulator.servers[self.venue].sent
        quiet, before = 0, -1
        for _ in range(200):
            await asyncio.sleep(0.05)
            now = sum(count for name, count in sent.items() if any(word in name for word in ("depth", "book", "obu")))
            quiet, before = (quiet + 1 if now == before else 0), now
            if quiet >= 12:
                return

    def check(self) -> tuple[list[Line], Counter[str]]:
        """What always holds."""
        assert self.code == 0
        for symbol in SYMBOLS:
            view = book.at(self.root, self.venue, load(self.venue).native(symbol), depth=30)
            one = self.simulator.markets[self.venue].instruments[symbol]
            assert view.proven
            assert [(float(p), float(s)) for p, s in view.bids] == [
                (float(one.price_text(p)), float(one.size_text(one.bids[p]))) for p in sorted(one.bids, reverse=True)[:30]
            ]
        derive.write(self.root, self.root / "again")
        assert filecmp.cmp(self.root / "logs" / "cex.csv", self.root / "again" / "logs" / "cex.csv", shallow=False)
        lines = tape(self.root)
        return lines, Counter(str(line.mark) for line in lines if line.mark)


def gaps(run: Run, channel: str) -> int:
    return sum(len(row.gaps) for row in coverage.of_root(run.root) if row.channel.startswith(channel))
