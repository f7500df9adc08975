"""A recorded Polymarket day: real Gamma markets and real Chainlink ticks, lived again from any moment on, at any pace.

Files as in Ligengxin96/polymarket-data-samples: ``<series>-markets-<date>.jsonl.gz`` and ``<pair>-prices-<date>.csv.gz``. The venue's clock
becomes the day's; books are simulated, for the day has none. A client needs a clock of the same day to ask for its windows.
"""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tape_archive.format.errors import FormatError, SettingsError
from tape_collectors.simulator.given import given
from tape_collectors.simulator.polymarket import Polymarket
from tape_collectors.simulator.server import VenueServer


class PolymarketDay:
    """``at``: the venue's time at the start, epoch seconds (default: a minute before the first window)."""

    venue = "polymarket"
    takes_over = False
    symbols: tuple[str, ...] = ()

    def __init__(
        self, markets: Path, prices: Path, at: float | None = None, speed: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.speed = speed
        self._monotonic = monotonic
        self.ticks = _ticks(prices)
        rows = _rows(markets)
        self.windows = given(rows, self.ticks)
        for window in self.windows:
            closed = window.raw.get("closedTime")
            window.closes = datetime.fromisoformat(str(closed)).timestamp() if closed else None
        self.at = float(self.windows[0].start - 60 if at is None else at)
        self._begun = monotonic()

    def now(self) -> float:
        """The day's clock, epoch seconds."""
        return self.at + (self._monotonic() - self._begun) * self.speed

    def attach(self, server: VenueServer) -> None:
        """Take the place of the simulated windows and prices of this coin."""
        assert isinstance(server, Polymarket)
        self._begun = self._monotonic()
        server.now = self.now
        server.strike_s = 60.0
        server.take(self.windows, self.ticks)

    def stop(self) -> None:
        """Nothing runs of its own."""


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    except FileNotFoundError:
        raise SettingsError(f"{path} is not there to be played") from None
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: not a list of markets ({error})") from None
    if not rows:
        raise FormatError(f"{path} holds no market")
    return rows


def _ticks(path: Path) -> dict[int, str]:
    """second → exact value. Two rows of one second are a correction: the later one wins."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["recv_ms"]))
            return {int(row["feed_ts_ms"]) // 1000: row["full_accuracy_value"] for row in rows}
    except FileNotFoundError:
        raise SettingsError(f"{path} is not there to be played") from None
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(f"{path}: not a list of prices ({error})") from None
