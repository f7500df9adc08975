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
from tape_collectors.market.ticks import Part, Ticks
from tape_collectors.market.troubles import of_mark, of_reply
from tape_collectors.venues import load

Samples = tuple[Setup, list[Sample]]


class _Output:
    """One output in the making."""

    def __init__(self, setup: Setup, run: str) -> None:
        self.setup = setup
        self.sampler = Sampler(setup)
        self.run = run
        self.ticks: Ticks | None = None


class _Tape:
    """One tape being read: its feeds, and the output that its current run makes."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.replay = Replay(load(venue).feed)
        self.run = ""
        self.output: _Output | None = None


class _Walk:
    """Lines of all tapes in order of time -> samples, or (``parts`` given) tick parts. Only outputs named ``only``, if it is given.

    ``given`` is the setup of tapes that say none (imported ones).
    """

    def __init__(self, only: str | None = None, parts: Callable[[Part], None] | None = None, given: Setup | None = None) -> None:
        self.only = only
        self.parts = parts
        self.given = msgspec.to_builtins(given) if given is not None else {}
        self.outputs: dict[str, _Output] = {}

    def line(self, tape: _Tape, line: Line) -> Iterator[Samples]:
        """One line."""
        if line.mark == "tape":
            yield from self._head(tape, line)
            return
        output = tape.output
        if output is None:
            return
        yield from self._advance(output, line.t)
        if line.mark == "close":
            tape.replay.closed(line.s)
            why = str(line.fields.get("why", ""))
            if output.ticks is not None:
                output.ticks.closed(tape.venue, line.t, line.s, why)
            output.sampler.closed(tape.venue, line.t, line.s, why)
            return
        found = of_reply(line.request, line.status) if line.request is not None else of_mark(line.mark or "", line.fields)
        for s, record in tape.replay.line(line):
            if output.ticks is not None:
                output.ticks.record(tape.venue, s, record)
            output.sampler.record(tape.venue, s, record)
        if found is not None:
            output.sampler.trouble(tape.venue, *found)

    def end(self) -> None:
        """No more lines."""
        for output in self.outputs.values():
            if output.ticks is not None:
                output.ticks.end()

    def _advance(self, output: _Output, t: int) -> Iterator[Samples]:
        if output.ticks is not None:
            output.ticks.advance(t)
        elif t > output.sampler.next_tick:
            for samples in output.sampler.advance(t):
                yield output.setup, samples
        else:
            output.sampler.heard(t)

    def _head(self, tape: _Tape, line: Line) -> Iterator[Samples]:
        """A run begins on this tape, or goes on in a new segment; either way tape time moves."""
        if line.fields.get("run", "") != tape.run:
            self._begin(tape, line)
        if tape.output is not None:
            yield from self._advance(tape.output, line.t)

    def _begin(self, tape: _Tape, line: Line) -> None:
        run, begun = str(line.fields.get("run", "")), int(line.fields.get("begun", line.t))
        tape.run = run
        tape.replay = Replay(load(tape.venue).feed)
        tape.output = None
        described = line.fields.get("setup") or self.given
        if "markets" not in described or (self.only is not None and described.get("out") != self.only):
            return
        setup = msgspec.convert(described, Setup)
        if self.parts is not None and setup.ticks is None:
            return
        output = self.outputs.get(setup.out)
        if output is None or output.run != run:
            if output is not None and output.ticks is not None:
                output.ticks.end()
            output = self.outputs[setup.out] = self._output(setup, run, line.t, begun)
        tape.output = output

    def _output(self, setup: Setup, run: str, t: int, begun: int) -> _Output:
        output = _Output(setup, run)
        # Of a run's first segment the live process says when it began; a later segment is entered at its head.
        output.sampler.start(begun if t - begun < SECOND else t, begun)
        if self.parts is not None and setup.ticks is not None:
            output.ticks = Ticks(output.sampler, setup.ticks, self.parts)
            output.ticks.begin(t, begun)
        return output


def _lines(chosen: Sequence[Segment], end: int) -> Iterator[tuple[_Tape, Line]]:
    """The lines of the segments (up to time ``end``, if given) in order of time."""
    tapes: dict[tuple[str, str], tuple[_Tape, list[Path]]] = {}
    for segment in chosen:
        _, paths = tapes.setdefault((segment.venue, segment.stream), (_Tape(segment.venue), []))
        paths.append(segment.file)
    order = list(tapes.values())
    for key, raw in merge((at, _chain(paths)) for at, (_, paths) in enumerate(order)):
        line = parse(raw)
        if end and line.t > end:
            return
        yield order[key][0], line


def _chain(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        yield from read_lines(path)


def series(chosen: Sequence[Segment], only: str | None = None, end: int = 0) -> Iterator[Samples]:
    """The samples of every output (or of ``only``) that the lines of the segments (up to time ``end``) make, tick by tick."""
    walk = _Walk(only)
    for tape, line in _lines(chosen, end):
        yield from walk.line(tape, line)


def ticks(
    chosen: Sequence[Segment], end: int = 0, given: Setup | None = None, stopped: Callable[[], bool] = lambda: False
) -> Iterator[Part]:
    """The tick parts that the lines of the segments (up to time ``end``) make, until ``stopped``. ``given``: the setup of tapes that say
    none."""
    made: list[Part] = []
    walk = _Walk(None, made.append, given)
    for count, (tape, line) in enumerate(_lines(chosen, end)):
        if not count & 1023 and stopped():
            return
        for _ in walk.line(tape, line):
            pass
        while made:
            yield made.pop(0)
    walk.end()
    yield from made


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


def write_ticks(root: Path, to: Path, progress: Callable[[int], None] | None = None) -> dict[str, int]:
    """Make every tick part of ``root`` again under ``to``; gives rows by path (relative). Raises NotFound if no tape says how."""
    from tape_collectors.sinks.ticks import write as write_part

    rows: dict[str, int] = {}
    for part in ticks(segments(root)):
        rows[str(write_part(to, part).relative_to(to))] = len(part)
        if progress is not None:
            progress(len(part))
    if not rows:
        raise NotFound(f"no tape under {root / 'raw'} describes ticks; was it recorded with cex-record --ticks?")
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
