"""``tape cat``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.format.layout import segments
from tape_archive.format.lines import parse
from tape_archive.format.read import Follower, read_lines
from tape_archive.human import parse_time


@click.command("cat")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--venue", metavar="NAME")
@click.option("--stream", metavar="NAME", help="Group of the venue, e.g. spot, public.")
@click.option("--from", "start", metavar="TIME", help="Epoch s, ms or ns, or ISO-8601.")
@click.option("--to", "end", metavar="TIME")
@click.option("--raw", is_flag=True, help="Only the frames, exactly as received.")
@click.option("--marks", is_flag=True, help="Only the marks.")
@click.option("--follow", "-f", is_flag=True, help="Go on as the file grows.")
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
    """Print the lines or frames of tapes, in order of time."""
    files = _chosen(paths, root, venue, stream)
    window = (parse_time(start) if start else 0, parse_time(end) if end else 0)
    out = sys.stdout.buffer
    for line in _lines(files, follow):
        if window[0] or window[1] or raw or marks:
            parsed = parse(line)
            if (window[0] and parsed.t < window[0]) or (marks and parsed.mark is None) or (raw and parsed.data is None):
                continue
            if window[1] and parsed.t > window[1]:
                break
            if raw:
                line = parsed.data or b""
        out.write(line + b"\n")
        if follow:
            out.flush()
    out.flush()
    return 0


def _chosen(paths: tuple[str, ...], root: str, venue: str | None, stream: str | None) -> list[Path]:
    if not paths and not venue:
        raise SettingsError("name a file, or --venue (and --stream); tape ls shows what is there")
    files = [Path(path) for path in paths] or [segment.file for segment in segments(Path(root), venue, stream)]
    for path in files:
        if not path.is_file():
            raise NotFound(f"{path} is not there")
    if not files:
        raise NotFound(f"no tape of {venue} {stream or ''} under {root}".replace("  ", " "))
    return files


def _lines(files: list[Path], follow: bool) -> Iterator[bytes]:
    for path in files[: -1 if follow else None]:
        yield from read_lines(path)
    if follow:
        follower = Follower(files[-1])
        while True:
            lines = follower.poll()
            yield from lines
            if not lines:
                time.sleep(0.2)
