"""What is mounted where, by the system's own table. Nothing on a mount is touched, so a dead one cannot hang who asks."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import msgspec

_TABLE = Path("/proc/self/mountinfo")
#: links in a path that lead nowhere else than to each other
_MOST_LINKS = 40


class Mounted(msgspec.Struct, frozen=True):
    """One line of the table. ``kind``: ``fuse.sshfs`` on Linux, ``macfuse`` or the like on macOS."""

    point: str
    source: str
    kind: str

    @property
    def foreign(self) -> bool:
        """Whether another process or machine answers for it, which may never do so."""
        return "fuse" in self.kind.lower() or self.kind.startswith("nfs")


def table() -> list[Mounted]:
    """All mounts, in the order in which they were made."""
    if _TABLE.exists():
        return parse_linux(_TABLE.read_text(errors="surrogateescape"))
    return parse_macos(subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False, timeout=5).stdout)


def parse_linux(text: str) -> list[Mounted]:
    """The lines of ``/proc/self/mountinfo`` (proc(5))."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        words, rest = left.split(" "), right.split(" ")
        if len(words) > 4 and len(rest) > 1:
            found.append(Mounted(_plain(words[4]), _plain(rest[1]), rest[0]))
    return found


def parse_macos(text: str) -> list[Mounted]:
    """The lines of ``mount`` without arguments: ``source on /point (kind, option, …)``."""
    matches = (re.match(r"^(.+?) on (/.*) \(([^,)]+)[^)]*\)$", line) for line in text.splitlines())
    return [Mounted(match[2], match[1], match[3]) for match in matches if match]


def mount_of(path: str | os.PathLike[str]) -> str:
    """The mount point of what another process or machine answers for and a path lies on; empty if it lies on none."""
    mounts = table()
    wanted, found = plain_path(path, mounts), None
    for one in mounts:
        if _below(wanted, one.point) and (found is None or len(one.point) >= len(found.point)):
            found = one
    return found.point if found is not None and found.foreign else ""


def mounted_at(path: str | os.PathLike[str]) -> Mounted | None:
    """What is mounted exactly there, on top."""
    mounts = table()
    wanted = plain_path(path, mounts)
    return next((one for one in reversed(mounts) if one.point == wanted), None)


def plain_path(path: str | os.PathLike[str], mounts: list[Mounted] | None = None) -> str:
    """A path without links, as the table has it. What lies on a foreign mount is left as it is: looking at it would ask the mount."""
    points = {one.point for one in (table() if mounts is None else mounts) if one.foreign}
    # Not realpath(): that would ask the mount.
    left, done = os.path.abspath(path).split("/")[1:], "/"  # noqa: PTH100
    links = 0
    while left:
        here = os.path.join(done, left.pop(0))  # noqa: PTH118
        if here in points:
            return "/".join([here, *left])
        try:
            to = os.readlink(here) if links < _MOST_LINKS else ""  # noqa: PTH115
        except OSError:
            to = ""
        if to:
            links += 1
            whole = os.path.abspath(os.path.join(done, to))  # noqa: PTH100, PTH118
            left, done = [*whole.split("/")[1:], *left], "/"
        else:
            done = here
    return done


def _below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _plain(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)
