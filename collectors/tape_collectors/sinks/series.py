"""The CEX time series as a consumer of the tape: sampler in, CSV out."""

from __future__ import annotations

from pathlib import Path

from tape_archive.format import cursor
from tape_archive.format.records import Record
from tape_collectors.market.sampler import Sample, Sampler, Setup
from tape_collectors.sinks.csv import CsvFile


class Series:
    """While ``held``, samples wait in memory: the rows of an earlier run's tail are being made, and come first in the file."""

    def __init__(self, root: Path, setup: Setup) -> None:
        self.sampler = Sampler(setup)
        self.file = CsvFile(root, setup)
        self.held = False
        self._waiting: list[list[Sample]] = []

    def begin(self, t: int, begun: int) -> None:
        """A run begins."""
        self.sampler.start(t, begun)

    def advance(self, t: int) -> None:
        """Write the rows of every tick before ``t``."""
        if t > self.sampler.next_tick:
            for samples in self.sampler.advance(t):
                self.write(samples)
        else:
            self.sampler.heard(t)

    def due(self) -> int:
        """Rows are made behind the next tick."""
        return self.sampler.next_tick

    def write(self, samples: list[Sample]) -> None:
        """One tick."""
        if self.held:
            self._waiting.append(samples)
        else:
            self.file.write(samples)

    def release(self) -> None:
        """The tail is written: go on with what waited."""
        self.held = False
        for samples in self._waiting:
            self.file.write(samples)
        self._waiting.clear()

    def record(self, venue: str, s: str, record: Record) -> None:
        """Take one record."""
        self.sampler.record(venue, s, record)

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
