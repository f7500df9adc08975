"""A tape in a series of hourly segments, and a tape in one file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from tape_archive.format import manifest
from tape_archive.format.errors import Corrupt
from tape_archive.format.layout import segment_path, segments
from tape_archive.format.lines import is_mark, mark_line, time_of
from tape_archive.format.read import last_line, last_time, read_lines
from tape_archive.format.segment import Appender, mend

log = logging.getLogger(__name__)


class Tape:
    """``raw/<venue>/<stream>/…``. The owner decides when to ``turn``; between turns it appends."""

    def __init__(self, root: Path, venue: str, stream: str) -> None:
        self.root = root
        self.venue = venue
        self.stream = stream
        self.file: Appender | None = None
        self.lines = 0
        self._begun = 0

    @property
    def path(self) -> Path:
        """The open segment."""
        assert self.file is not None
        return self.file.path

    @property
    def size(self) -> int:
        """Bytes of the open segment so far."""
        assert self.file is not None
        return self.file.size

    def last_t(self) -> int:
        """The time of the last line that is there from earlier runs; its tail is mended first."""
        for segment in reversed(segments(self.root, self.venue, self.stream)):
            if t := _last_time(segment.file):
                return t
        return 0

    def turn(self, t: int, head: Sequence[bytes], seal_t: int = 0) -> Path | None:
        """Seal the segment that is open, if any, and begin (or go on with) the one of the hour of ``t``
        with these lines. Gives the sealed file, whose seal mark has the time ``seal_t``, before ``t``."""
        sealed = self.seal(seal_t or t - 1)
        turn = 0
        path = segment_path(self.root, self.venue, self.stream, t)
        while _done(path):
            turn += 1
            path = segment_path(self.root, self.venue, self.stream, t, turn)
        self.file = Appender(path)
        self._begun = self.lines
        self.append(b"".join(head), len(head))
        return sealed

    def append(self, data: bytes, lines: int) -> None:
        """Whole lines, by one write."""
        assert self.file is not None
        self.file.append(data, lines)
        self.lines += lines

    def roll(self) -> None:
        """End the zstd frame."""
        if self.file is not None:
            self.file.roll()

    def sync(self) -> None:
        """To the disk; may run in another thread, while the loop turns to the next segment."""
        file = self.file
        if file is not None:
            file.sync()

    def seal(self, t: int) -> Path | None:
        """Close the open segment for ever, with a seal mark and an entry in the manifest of its folder."""
        if self.file is None:
            return None
        file, self.file = self.file, None
        file.append(mark_line(t, "tape", "seal", {"lines": self.lines - self._begun}), 1)
        file.close()
        return file.path


def _last_time(path: Path) -> int:
    try:
        mend(path)
        return last_time(path)
    except Corrupt as error:
        log.warning("damaged segment", extra={"path": str(path), "why": str(error)})
    t = 0
    with contextlib.suppress(Corrupt):
        for line in read_lines(path):
            t = time_of(line)
    return t


def _done(path: Path) -> bool:
    """Whether nothing may be appended any more: sealed, or damaged, which is left as it is for whoever looks into it."""
    try:
        mend(path)
        line = last_line(path)
        return line is not None and is_mark(line, "seal")
    except Corrupt:
        return True


def register(path: Path) -> manifest.Entry:
    """Put a sealed file into its folder's manifest. It reads the whole file: run it in another thread."""
    entry = manifest.describe(path)
    manifest.put(path.parent, entry)
    return entry


class FileTape:
    """A tape that is one file (a Polymarket window): appended to on restart, sealed when its window is done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = path.exists()
        self.file = Appender(path)
        self.lines = 0

    def append(self, data: bytes, lines: int) -> None:
        """Whole lines, by one write."""
        self.file.append(data, lines)
        self.lines += lines

    def sync(self) -> None:
        """To the disk; may run in another thread."""
        self.file.sync()

    def close(self) -> None:
        """Leave it, so that a later run may go on."""
        self.file.close()

    def seal(self, t: int) -> Path:
        """Close it for ever."""
        self.file.append(mark_line(t, "tape", "seal", {"lines": self.lines}), 1)
        self.file.close()
        return self.path
