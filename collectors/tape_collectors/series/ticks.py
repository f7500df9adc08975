"""Tick Parquet while recording: rows in, parts out, and what an earlier run left unfinished made again from its tape.

The cursor ``state/ticks.cursor`` names the hour of tape time before which every part is on the disk. A run begins by making all parts from
there on up to its own first line; those that are there already are left. So a part is lost with no crash, and none is written twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tape_archive.format import cursor
from tape_archive.format.errors import TapeError
from tape_archive.format.layout import Segment, segments
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_archive.format.records import Record
from tape_archive.format.rotation import HOUR
from tape_collectors.market.sampler import SECOND, Sampler, TickSetup
from tape_collectors.market.ticks import Ticks
from tape_collectors.series import derive
from tape_collectors.sinks.ticks import TickFiles, clean, write

log = logging.getLogger(__name__)


class TickOutput:
    """A consumer of the tape; it must be told of each line before the sampler is."""

    def __init__(self, root: Path, sampler: Sampler, setup: TickSetup) -> None:
        self.root = root
        self.path = root / "state" / "ticks.cursor"
        self.files = TickFiles(root, setup.all_rows)
        self.ticks = Ticks(sampler, setup, self.files.take)
        self.ticks.turned = self._turned
        #: whether an earlier run may have left parts unfinished
        self.owing = False
        self._begun = 0
        self._stopped = threading.Event()

    # -- the consumer ----------------------------------------------------------------------------------------------------------

    def begin(self, t: int, begun: int) -> None:
        """A run begins."""
        self._begun = begun
        self.ticks.begin(t, begun)

    def advance(self, t: int) -> bool:
        """Tape time is ``t`` now. Decoding waits while too many rows wait to be written; the tape does not."""
        if not self.files.room():
            return False
        self.ticks.advance(t)
        return True

    def due(self) -> int:
        """When the hour is over: of all else a line's records tell the time."""
        return self.ticks.due()

    def record(self, venue: str, s: str, record: Record) -> None:
        """What a line said."""
        self.ticks.record(venue, s, record)

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """An epoch is over."""
        self.ticks.closed(venue, t, s, why)

    def trouble(self, venue: str, t: int, where: str, why: str) -> None:
        """Nothing: ticks are of books alone."""

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """For a checkpoint."""
        return {}

    # -- the run ---------------------------------------------------------------------------------------------------------------

    def start(self, settle: Callable[[], None]) -> None:
        """Before the first line. ``settle`` puts the tapes on the disk."""
        self.files.settle = settle
        clean(self.root)
        # Any tape of the root: an earlier run may have recorded other venues.
        self.owing = bool(segments(self.root))

    def remake(self) -> None:
        """The parts that earlier runs did not come to; once this run has begun, in a thread of its own."""
        try:
            made = 0
            for part in derive.ticks(_unfinished(self.root, self.path), end=self._begun - 1, stopped=self._stopped.is_set):
                self.files.settle()
                write(self.root, part)
                made += 1
        except TapeError as error:
            log.error("the ticks of an earlier run are not complete; the next start tries again", extra={"why": str(error)})
            return
        if not self._stopped.is_set():
            self.owing = False
            log.info("the ticks of earlier runs are complete", extra={"parts": made})

    def stop(self, whole: bool) -> None:
        """The run is over. ``whole``: every line of it was seen; otherwise the next run makes from the tape what was not finished."""
        self._stopped.set()
        if whole:
            self.ticks.end()
        self.files.close()

    def _turned(self, hour: int) -> None:
        if not self.owing:
            self.files.then(lambda: cursor.save(self.path, cursor.Cursor(t=hour)))


def _unfinished(root: Path, path: Path) -> Sequence[Segment]:
    """The segments that may make parts which are not there yet. They begin where a reader finds every book."""
    found = segments(root)
    saved = cursor.load(path)
    if saved is None:
        since = _first(found)
        cursor.save(path, cursor.Cursor(t=since))
    else:
        since = max((hour for hour in {one.hour for one in found} if hour <= saved.t and _enterable(found, hour)), default=0)
    return [segment for segment in found if segment.hour >= since]


def _first(found: Sequence[Segment]) -> int:
    """The hour before the first one whose head tells of ticks (a run may begin within a segment); the last hour if none does."""
    hours = [one.hour for one in found if _head(one).get("ticks")]
    return min(hours) - HOUR if hours else max((one.hour for one in found), default=0)


def _enterable(found: Sequence[Segment], hour: int) -> bool:
    """Whether every tape's first segment of the hour begins with checkpoints, or with its run."""
    firsts: dict[tuple[str, str], Segment] = {}
    for segment in found:
        if segment.hour == hour:
            firsts.setdefault((segment.venue, segment.stream), segment)
    return all(_head(one).get("enter") for one in firsts.values())


def _head(segment: Segment) -> dict[str, bool]:
    """What the first line of a segment says: ``ticks``, and whether a reader may ``enter`` here."""
    raw = next(read_lines(segment.file), None)
    line = parse(raw) if raw is not None else None
    if line is None or line.mark != "tape":
        return {}
    ticks = (line.fields.get("setup") or {}).get("ticks") is not None
    begins = line.t - int(line.fields.get("begun", line.t)) < SECOND
    return {"ticks": ticks, "enter": not ticks or begins or bool(line.fields.get("checkpoint"))}
