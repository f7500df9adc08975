"""Derived data from the tape alone: what a live recorder writes, made again.

A tape says itself what was derived from it: its head marks hold the run and the ``setup`` of the output. Tapes of one output are
merged by tape time, which is the order in which the live process decoded them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from tape_archive.format.errors import NotFound
from tape_archive.format.layout import Segment, segments
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import merge, read_lines
from tape_collectors.market.replay import Replay
from tape_collectors.market.sampler import SECOND, Sample, Sampler, Setup
from tape_collectors.venues import load

Samples = tuple[Setup, list[Sample]]


class _Output:
    """One output in the making."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.sampler = Sampler(setup)
        self.run = ""


class _Tape:
    """One tape being read: its feeds, and the output that its current run makes."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.replay = Replay(load(venue).feed)
        self.run = ""
        self.output: _Output | None = None


def series(chosen: Sequence[Segment], only: str | None = None, end: int = 0) -> Iterator[Samples]:
    """The samples of every output (or of ``only``) that the lines of the segments (up to time ``end``) make, tick by tick."""
    tapes: dict[tuple[str, str], tuple[_Tape, list[Path]]] = {}
    for segment in chosen:
        _, paths = tapes.setdefault((segment.venue, segment.stream), (_Tape(segment.venue), []))
        paths.append(segment.file)
    outputs: dict[str, _Output] = {}
    order = list(tapes.values())
    for key, raw in merge((at, _chain(paths)) for at, (_, paths) in enumerate(order)):
        line = parse(raw)
        if end and line.t > end:
            return
        yield from _line(order[key][0], line, outputs, only)


def _chain(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        yield from read_lines(path)


def _line(tape: _Tape, line: Line, outputs: dict[str, _Output], only: str | None) -> Iterator[Samples]:
    if line.mark == "tape":
        yield from _head(tape, line, outputs, only)
        return
    output = tape.output
    if output is None:
        return
    if line.t > output.sampler.next_tick:
        for samples in output.sampler.advance(line.t):
            yield output.setup, samples
    else:
        output.sampler.heard(line.t)
    if line.mark == "close":
        tape.replay.closed(line.s)
        output.sampler.closed(tape.venue, line.t, line.s, str(line.fields.get("why", "")))
        return
    for s, record in tape.replay.line(line):
        output.sampler.record(tape.venue, s, record)


def _head(tape: _Tape, line: Line, outputs: dict[str, _Output], only: str | None) -> Iterator[Samples]:
    """A run begins on this tape, or goes on in a new segment; either way tape time moves."""
    if line.fields.get("run", "") != tape.run:
        _begin(tape, line, outputs, only)
    if tape.output is not None:
        for samples in tape.output.sampler.advance(line.t):
            yield tape.output.setup, samples


def _begin(tape: _Tape, line: Line, outputs: dict[str, _Output], only: str | None) -> None:
    run, begun = str(line.fields.get("run", "")), int(line.fields.get("begun", line.t))
    tape.run = run
    tape.replay = Replay(load(tape.venue).feed)
    tape.output = None
    described = line.fields.get("setup") or {}
    if "markets" not in described or (only is not None and described.get("out") != only):
        return
    setup = msgspec.convert(described, Setup)
    output = outputs.get(setup.out)
    if output is None or output.run != run:
        output = outputs[setup.out] = _Output(setup)
        output.run = run
        # Of a run's first segment the live process says when it began; a later segment is entered at its head.
        output.sampler.start(begun if line.t - begun < SECOND else line.t, begun)
    tape.output = output


def write(root: Path, to: Path, chosen: Sequence[Segment] | None = None, progress: Callable[[int], None] | None = None) -> dict[str, int]:
    """Make every CSV of ``root`` again under ``to``; gives rows by path (relative). Raises NotFound if no tape says how."""
    from tape_collectors.sinks.csv import CsvFile

    files: dict[str, CsvFile] = {}
    rows: dict[str, int] = {}
    for setup, samples in series(segments(root) if chosen is None else chosen):
        file = files.setdefault(setup.out, CsvFile(to, setup))
        file.write(samples)
        name = str(file.path.relative_to(to)) if file.path else setup.out
        rows[name] = rows.get(name, 0) + len(samples)
        if progress is not None:
            progress(len(samples))
    for file in files.values():
        file.close()
    if not rows:
        raise NotFound(f"no tape under {root / 'raw'} describes a CSV series; was it recorded with cex-record?")
    return rows


def tail(root: Path, setup: Setup, after: int, end: int) -> Iterator[list[Sample]]:
    """The samples of one output after tick ``after`` that the lines up to ``end`` make: read from the hour that holds ``after`` on, since
    each segment begins with a checkpoint."""
    hour = 3_600_000_000_000
    found = segments(root)
    since = max((segment.hour for segment in found if segment.hour <= after - after % hour), default=0) if after else 0
    for _, samples in series([segment for segment in found if segment.hour >= since], setup.out, end):
        if samples[0].tick > after:
            yield samples
