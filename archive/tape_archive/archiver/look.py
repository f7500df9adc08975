"""What lies in the hot folder, as the plan wants to know it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tape_archive.archiver.move import read_manifest
from tape_archive.archiver.plan import DAY, Rules, Window, epoch, facts, month
from tape_archive.format import manifest
from tape_archive.format.errors import FormatError
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import read_lines
from tape_archive.stores import Store


def windows(hot: Path, target: Store, folder: str, now: float, rules: Rules, told: Callable[[], None] = lambda: None) -> Iterator[Window]:
    """The hot windows. Only files that are old enough by their names are opened."""
    known = manifest.read(hot)
    cold: dict[str, dict[str, manifest.Entry]] = {}
    for path in sorted(hot.glob("*.jsonl")):
        if path.name.startswith((".", "_")):
            continue
        size = path.stat().st_size
        start = epoch(path.name)
        entry = known.get(path.name)
        window = Window(path.name, size, entry is not None and entry.sealed and entry.bytes == size, facts(path.name, ()))
        if not start or start <= now - rules.days * DAY:
            window.facts = facts(path.name, _marks(path))
        if not window.sealed and window.facts.start:
            # A run that was killed between the two deletions has taken it from the manifest already.
            place = f"{folder}/{month(window.facts.start)}" if folder else month(window.facts.start)
            if place not in cold:
                cold[place] = read_manifest(target, place)
            slug = path.name.partition(".jsonl")[0]
            window.sealed = any(one.name.partition(".jsonl")[0] == slug and one.plain_bytes == size for one in cold[place].values())
        told()
        yield window


def _marks(path: Path) -> Iterator[Line]:
    """The marks that the plan reads; of a damaged file those before the damage."""
    try:
        for raw in read_lines(path):
            if b'"mark":"tape"' in raw or b'"mark":"result"' in raw:
                line = parse(raw)
                if line.mark is not None:
                    yield line
    except FormatError:
        return
