"""Which stretch of time is judged: the asked one, or the recorded one from its very beginning to its very end."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.format.harvest import CHECKPOINT
from tape_archive.human import duration, moment
from tape_monitor.quality.parts import Output
from tape_monitor.quality.spans import MINUTE, Span

#: a tape that is so much longer than the output has an output that stands still
BEHIND = 5 * MINUTE


def checkpoint(root: Path) -> int:
    """The tape time (unix ns) before which every part is on the disk; 0 if nobody says."""
    try:
        content = msgspec.json.decode((root / CHECKPOINT).read_bytes())
        return int(content["t"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError):
        return 0


def recorded(output: Output, written: int, tape_end: int) -> tuple[Span, bool]:
    """From the first row (a run begins with one, before anything comes) to the last, or to the time up to which the recorder says that all
    is written; and to the end of the tape, if the output lies far behind it, and whether it does. Raises NotFound without rows."""
    span = output.span()
    if span is None:
        raise NotFound(f"no parts under {output.base}; was it recorded with ofi-record, or is the root another folder?")
    end = max(span[1] + 1, written)
    behind = tape_end > end + BEHIND
    return Span(span[0], tape_end if behind else end), behind


def asked(of: Span | None, start: int, end: int, last: float) -> Span:
    """The window: ``start``, ``end`` (unix ns; 0: as recorded), or the ``last`` hours before its end, no more than was recorded. Raises
    SettingsError."""
    if last and start:
        raise SettingsError("--last and --from exclude each other")
    begin, stop = (of.start, of.end) if of is not None else (start, end)
    stop = end or stop
    begin = start or (max(begin, stop - int(last * 60 * MINUTE)) if last else begin)
    if stop - begin < 2 * MINUTE:
        raise SettingsError(f"{moment(begin)} to {moment(stop)} holds no whole minute to judge; ask for a longer time with --from and --to")
    return Span(begin, stop)


def about(window: Span, behind: bool, given: bool) -> str:
    """In words."""
    length = duration(window.end - window.start)
    if given:
        return f"{length}, as asked"
    return f"{length}, as recorded" + ("; the output ends before the tape" if behind else "")
