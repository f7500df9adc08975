"""Decoding from the tape, for a decoder that fell behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tape_archive.format.layout import segments
from tape_archive.format.lines import Line, parse, time_of
from tape_archive.format.read import Follower, Position

if TYPE_CHECKING:
    from tape_collectors.runtime.recorder import Recorder, Target
    from tape_collectors.runtime.tapes import TapeIntake


class Reply(msgspec.Struct, frozen=True):
    """What a reply line has beside its body."""

    request: str
    status: int


class _Tail:
    """The lines of one tape from a time on, as far as they are written."""

    def __init__(self, intake: TapeIntake, start: int) -> None:
        self.intake = intake
        self._start = start
        self._lines: list[bytes] = []
        self._follower = self._begin(intake, start)

    @property
    def written_t(self) -> int:
        """The time of the last line that is on the tape."""
        return self.intake.written_t

    def _begin(self, intake: TapeIntake, start: int) -> Follower:
        place = next((place for place in reversed(intake.places) if place[0] <= start), None)
        tape = intake.tape
        paths = [segment.file for segment in segments(tape.root, tape.venue, tape.stream)]
        return Follower(place[1], Position(place[2])) if place is not None else Follower(paths[-2:][0])

    def upto(self, bound: int) -> Iterator[tuple[int, bytes]]:
        """The lines with ``t <= bound`` that were not given yet."""
        while True:
            for at, line in enumerate(self._lines):
                t = time_of(line)
                if t > bound:
                    del self._lines[:at]
                    return
                if t >= self._start:
                    yield t, line
            self._lines = self._follower.poll() or self._next_file()
            if not self._lines:
                return

    def _next_file(self) -> list[bytes]:
        tape = self.intake.tape
        if tape.file is None or self._follower.path == tape.path:
            return []
        known: list[Path] = [segment.file for segment in segments(tape.root, tape.venue, tape.stream)]
        following = known.index(self._follower.path) + 1
        if following >= len(known):
            return []
        self._follower = Follower(known[following])
        return self._follower.poll()


class _File(_Tail):
    """What one file holds of an intake that files frames in several."""

    def __init__(self, target: Target, intake: TapeIntake, start: int) -> None:
        self._target = target
        super().__init__(intake, start)

    @property
    def written_t(self) -> int:
        return self._target.written_t

    def _begin(self, intake: TapeIntake, start: int) -> Follower:
        return Follower(self._target.path)

    def _next_file(self) -> list[bytes]:
        return []

    def upto(self, bound: int) -> Iterator[tuple[int, bytes]]:
        return (one for one in super().upto(bound) if self._target.holds(parse(one[1])))


def entries(recorder: Recorder, start: int) -> Iterator[tuple[TapeIntake, int, str, bytes, Any]]:
    """What ``Recorder`` would have kept in memory, read from all its tapes in order of time, from ``start`` until nothing is left."""
    tails = [_Tail(intake, start) for intake in recorder.intakes]
    files: dict[int, _File] = {}
    while True:
        # A file that is opened meanwhile has later lines only.
        files |= {id(one): _File(one, one.intake, start) for one in recorder.targets if id(one) not in files}
        tails = [*tails[: len(recorder.intakes)], *files.values()]
        # Everything up to here is written: it is read in order, and what comes meanwhile is left for the next round. (A line that only
        # waits to be written is later than any that is, so no bound may hold it: other tapes would be read past it.)
        bound = max(tail.written_t for tail in tails)
        yield from _merged(tails, bound)
        if all(tail.written_t <= bound for tail in tails) and all(id(one) in files for one in recorder.targets):
            return


def _merged(tails: list[_Tail], bound: int) -> Iterator[tuple[TapeIntake, int, str, bytes, Any]]:
    sources = [(tail.intake, tail.upto(bound)) for tail in tails]
    heads = [(first, intake, rest) for intake, rest in sources if (first := next(rest, None)) is not None]
    while heads:
        at = min(range(len(heads)), key=lambda index: heads[index][0][0])
        (_, raw), intake, rest = heads[at]
        following = next(rest, None)
        if following is None:
            del heads[at]
        else:
            heads[at] = (following, intake, rest)
        yield _entry(intake, parse(raw))


def _entry(intake: TapeIntake, line: Line) -> tuple[TapeIntake, int, str, bytes, Any]:
    if line.mark is not None:
        return intake, line.t, line.s, b"", (line.mark, line.fields)
    what = None if line.request is None else Reply(line.request, line.status)
    return intake, line.t, line.s, line.data or b"", what
