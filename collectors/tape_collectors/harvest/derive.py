"""OFI and CVD parts from the tape alone: what a live ``ofi-record`` writes, made again.

A run's head marks hold its setup. A run is read from its first line, since every value depends on those before it; or from a whole hour on
with the state that the live process saved there (``States``), which saves time and changes nothing.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from tape_archive.format.errors import NotFound
from tape_archive.format.layout import Segment, segments
from tape_archive.format.lines import Line, parse, time_of
from tape_archive.format.read import merge, read_lines
from tape_archive.format.records import Trade
from tape_archive.format.rotation import HOUR
from tape_collectors.market.harvest import Harvest, HarvestPart
from tape_collectors.market.harvest_setup import VENUE, HarvestSetup
from tape_collectors.market.replay import Replay
from tape_collectors.market.trade_chain import Carry, TradeChain
from tape_collectors.venues import load

#: the state of a run at the whole hour from which it is read: (run, hour, state)
State = tuple[str, int, Any]
KEY = "harvest"


def made_by() -> str:
    """What a saved state may be read by: the same program on the same Python."""
    try:
        program = version("tapeline")
    except PackageNotFoundError:
        program = "0"
    return f"{program} {platform.python_version()} 2"


class _Tape:
    """One tape being read, and the output that its current run makes."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.replay = Replay(load(venue).feed)
        self.run = ""
        self.harvest: Harvest | None = None


class Walk:
    """Lines of all tapes in order of time -> parts, given to ``finished``."""

    def __init__(self, finished: Callable[[HarvestPart], None], state: State | None = None) -> None:
        self.finished = finished
        self._state = state
        self._run = ""
        self._harvest: Harvest | None = None

    def line(self, tape: _Tape, line: Line) -> None:
        """One line."""
        if line.mark == "tape" and line.fields.get("run", "") != tape.run:
            self._begin(tape, line)
        harvest = tape.harvest
        if harvest is None:
            return
        harvest.advance(line.t)
        if line.mark == "close":
            tape.replay.closed(line.s)
            harvest.closed(tape.venue, line.t, line.s, str(line.fields.get("why", "")))
            return
        for s, record in tape.replay.line(line):
            harvest.record(tape.venue, s, record)

    def end(self) -> None:
        """No more lines."""
        if self._harvest is not None:
            self._harvest.end()

    def _begin(self, tape: _Tape, line: Line) -> None:
        run, begun = str(line.fields.get("run", "")), int(line.fields.get("begun", line.t))
        tape.run, tape.harvest = run, None
        tape.replay = Replay(load(tape.venue).feed)
        described = (line.fields.get("setup") or {}).get(KEY)
        if described is None:
            return
        if self._harvest is None or self._run != run:
            self.end()
            self._run, self._harvest = run, Harvest(msgspec.convert(described, HarvestSetup), self.finished)
            if self._state is not None and self._state[0] == run:
                self._harvest.thaw(line.t, self._state[2])
            else:
                self._harvest.begin(begun, begun)
        tape.harvest = self._harvest


def parts(
    chosen: Sequence[Segment], end: int = 0, state: State | None = None, stopped: Callable[[], bool] = lambda: False
) -> Iterator[HarvestPart]:
    """The parts that the lines of the segments (up to time ``end``, if given) make, until ``stopped``."""
    made: list[HarvestPart] = []
    walk = Walk(made.append, state)
    tapes: dict[tuple[str, str], tuple[_Tape, list[Path]]] = {}
    for segment in chosen:
        tapes.setdefault((segment.venue, segment.stream), (_Tape(segment.venue), []))[1].append(segment.file)
    order = list(tapes.values())
    for count, (at, raw) in enumerate(merge((at, _chain(paths)) for at, (_, paths) in enumerate(order))):
        line = parse(raw)
        if end and line.t > end:
            break
        if not count & 1023 and stopped():
            return
        walk.line(order[at][0], line)
        while made:
            yield made.pop(0)
    walk.end()
    yield from made


def _chain(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        yield from read_lines(path)


def write(root: Path, to: Path, progress: Callable[[int], None] | None = None) -> dict[str, int]:
    """Make every part of ``root`` again under ``to``; gives rows by path (relative). Raises NotFound if no tape says how."""
    from tape_collectors.sinks.harvest import write as write_part

    rows: dict[str, int] = {}
    for part in parts(segments(root, VENUE)):
        rows[str(write_part(to, part).relative_to(to))] = len(part.rows)
        if progress is not None:
            progress(len(part.rows))
    if not rows:
        raise NotFound(f"no tape under {root / 'raw'} describes OFI and CVD; was it recorded with ofi-record?")
    return rows


def carried(root: Path, setup: HarvestSetup, carry: Mapping[str, Carry], since: int) -> dict[str, Carry]:
    """Where CVD stands at the end of the tapes, of what it was at tape time ``since`` (0: nothing is known). Reads only tapes with trades,
    and at most two hours of them: empty if there is more, since no run may wait for long before it records."""
    stream = load(setup.venue).root_of(setup.trades)
    found = [one for one in segments(root, setup.venue) if one.stream.partition(".")[0] == stream and one.hour >= since // HOUR * HOUR]
    if len({one.hour for one in found}) > 2:
        return {}
    chains = {symbol: TradeChain(setup.remembered, carry.get(symbol)) for symbol in setup.symbols}
    replay = Replay(load(setup.venue).feed)
    tapes: dict[str, list[Path]] = {}
    for segment in found:
        tapes.setdefault(segment.stream, []).append(segment.file)
    for _, raw in merge(enumerate(map(_chain, tapes.values()))):
        if time_of(raw) < since:
            continue
        for _, record in replay.line(parse(raw)):
            if isinstance(record, Trade) and record.channel == setup.trades and record.symbol in chains:
                chains[record.symbol].take(record)
    return {symbol: chain.last for symbol, chain in chains.items() if chain.last is not None}


def head(segment: Segment) -> Line | None:
    """The head mark of a segment."""
    raw = next(read_lines(segment.file), None)
    line = parse(raw) if raw is not None else None
    return line if line is not None and line.mark == "tape" else None
