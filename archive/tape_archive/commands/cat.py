"""``tape cat``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click

from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.format.layout import Segment, segments
from tape_archive.format.lines import parse, time_of
from tape_archive.format.read import Follower, merge, read_lines
from tape_archive.format.rotation import HOUR
from tape_archive.human import parse_time


class Tail:
    """One tape as it grows. A raw tape goes on in its next segment."""

    def __init__(self, path: Path, root: Path | None = None, last: Segment | None = None) -> None:
        self._root = root
        self._last = last
        self._follower = Follower(path)

    def poll(self) -> list[bytes]:
        """The lines that came since."""
        if lines := self._follower.poll():
            return lines
        if self._root is None or self._last is None:
            return []
        following = [one for one in segments(self._root, self._last.venue, self._last.stream) if one > self._last]
        if not following:
            return []
        # The next segment is there, so this one has all its lines; some may have come after the look above.
        if lines := self._follower.poll():
            return lines
        self._last = following[0]
        self._follower = Follower(self._last.file)
        return self._follower.poll()


@click.command("cat")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--venue", metavar="NAME")
@click.option("--stream", metavar="NAME", help="Group of the venue, e.g. spot, public.")
@click.option("--from", "start", metavar="TIME", help="Epoch s, ms or ns, or ISO-8601.")
@click.option("--to", "end", metavar="TIME")
@click.option("--raw", is_flag=True, help="Only the frames, exactly as received.")
@click.option("--marks", is_flag=True, help="Only the marks.")
@click.option("--follow", "-f", is_flag=True, help="Go on as the file grows, and in the next segment.")
def command(
    paths: tuple[str, ...],
    root: str,
    venue: str | None,
    stream: str | None,
    start: str | None,
    end: str | None,
    raw: bool,
    marks: bool,
    follow: bool,
) -> int:
    """Print the lines or frames of tapes, in order of time. With --follow, several tapes are in order as far as they have come."""
    since, until = parse_time(start) if start else 0, parse_time(end) if end else 0
    chosen = _chosen(paths, Path(root), venue, stream, since, until)
    out = sys.stdout.buffer
    for line in _lines(chosen, Path(root), follow):
        if since or until or raw or marks:
            parsed = parse(line)
            if until and parsed.t > until:
                break
            if parsed.t < since or (marks and parsed.mark is None) or (raw and parsed.data is None):
                continue
            if raw:
                line = parsed.data or b""
        else:
            # What is no tape is not printed as if it were one.
            time_of(line)
        out.write(line + b"\n")
        if follow:
            out.flush()
    out.flush()
    return 0


def _chosen(
    paths: tuple[str, ...], root: Path, venue: str | None, stream: str | None, since: int, until: int
) -> list[list[Path | Segment]]:
    """The files of each tape, in time order. A segment is left out only if it lies an hour or more outside of the range."""
    if paths:
        for path in paths:
            if not Path(path).is_file():
                raise NotFound(f"{path} is not there")
        return [[Path(path)] for path in paths]
    if not venue:
        raise SettingsError("name a file, or --venue (and --stream); tape ls shows what is there")
    tapes: dict[str, list[Path | Segment]] = {}
    for segment in segments(root, venue, stream):
        if segment.hour + 2 * HOUR > since and (not until or segment.hour - HOUR <= until):
            tapes.setdefault(segment.stream, []).append(segment)
    if not tapes:
        raise NotFound(" ".join(f"no tape of {venue} {stream or ''} under {root} at that time".split()))
    return [*tapes.values()]


def _lines(tapes: list[list[Path | Segment]], root: Path, follow: bool) -> Iterator[bytes]:
    known = [[_file(one) for one in files[:-1]] for files in tapes] if follow else [[_file(one) for one in files] for files in tapes]
    read = [chain.from_iterable(map(read_lines, files)) for files in known]
    yield from read[0] if len(read) == 1 else (line for _, line in merge(enumerate(read)))
    if not follow:
        return
    tails = [Tail(_file(last), root, last) if isinstance(last := files[-1], Segment) else Tail(_file(last)) for files in tapes]
    while True:
        lines = [line for tail in tails for line in tail.poll()]
        if not lines:
            time.sleep(0.2)
        yield from lines if len(tails) == 1 else sorted(lines, key=time_of)


def _file(one: Path | Segment) -> Path:
    return one.file if isinstance(one, Segment) else one
