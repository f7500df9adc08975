"""The CEX time series as a consumer of the tape: sampler in, CSV out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tape_archive.format import cursor
from tape_archive.format.records import Record
from tape_collectors.market.sampler import Sample, Sampler, Setup
from tape_collectors.sinks.csv import CsvFile, lines


class Series:
    """While ``held``, rows wait in memory: those of an earlier run's tail are being made, and come first in the file."""

    def __init__(self, root: Path, setup: Setup) -> None:
        self.sampler = Sampler(setup)
        #: takes one record of an epoch of a venue
        self.record: Callable[[str, str, Record], None] = self.sampler.record
        self.file = CsvFile(root, setup)
        self.held = False
        self._waiting: list[tuple[int, bytes, int]] = []
        #: the tick that is being made, and the rows of it that are
        self._tick = 0
        self._samples: Iterator[Sample] | None = None
        self._made: list[bytes] = []

    def begin(self, t: int, begun: int) -> None:
        """A run begins."""
        self.sampler.start(t, begun)

    def advance(self, t: int) -> bool:
        """Make the rows of every tick before ``t``, one at a time: those of hundreds of markets take a fifth of a second. The rows of one
        tick are written together."""
        if self._samples is None:
            self._tick = self.sampler.next_tick
            if t <= self._tick:
                self.sampler.heard(t)
                return True
            self._samples = self.sampler.tick(t)
        sample = next(self._samples, None)
        if sample is None:
            self._write()
        else:
            self._made.append(lines((sample,)))
        return False

    def due(self) -> int:
        """Rows are made behind the next tick."""
        return self.sampler.next_tick

    def _write(self) -> None:
        rows = self._tick, b"".join(self._made), len(self._made)
        self._samples, self._made = None, []
        if self.held:
            self._waiting.append(rows)
        else:
            self.file.append(*rows)

    def release(self) -> None:
        """The tail is written: go on with what waited."""
        self.held = False
        for rows in self._waiting:
            self.file.append(*rows)
        self._waiting.clear()

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """An epoch is over."""
        self.sampler.closed(venue, t, s, why)

    def trouble(self, venue: str, t: int, where: str, why: str) -> None:
        """Something is wrong with the venue."""
        self.sampler.trouble(venue, where, why)

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """For a checkpoint."""
        market = self.sampler.markets.get((venue, symbol))
        return market.state(s) if market else {}

    def commit(self, path: Path, run: str, t: int) -> None:
        """Save how far the outputs are."""
        if not self.held:
            cursor.save(path, cursor.Cursor(run=run, t=t, outputs=self.file.outputs()))
