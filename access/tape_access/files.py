"""Series and ticks, here or brought from the remote side into the cache: only the files that can hold the asked time."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tape_access import series
from tape_access.cache import FILES
from tape_access.places import reachable
from tape_access.remote import Remote
from tape_access.sources import scratch
from tape_access.sync import Sync
from tape_archive.format import harvest
from tape_archive.format.errors import DiskFull, NotFound
from tape_archive.format.layout import element, segment
from tape_archive.format.ticks import FOLDER, PartFile, day_of, meets, part_of, settled, uncovered
from tape_archive.stores import Entry

log = logging.getLogger(__name__)
SECOND = 1_000_000_000
_LAST = 1 << 62
#: the parts of a day are merged once: more looks than this are no accident
_LOOKS = 20
#: brought, and evicted by another process before they could be read
_TRIES = 3
#: a folder changed so lately may change again without its time telling (clocks of two machines differ)
_FRESH_NS = 60 * SECOND


class Files:
    """``root`` None: nothing is read on this machine itself."""

    def __init__(self, root: Path | None, remote: Remote | None) -> None:
        self.root, self.remote = root, remote
        self._lock = threading.Lock()

    @property
    def far(self) -> bool:
        """Whether tapes are read from another machine."""
        return self.remote is not None and not (self.root is not None and reachable(self.root / "raw"))

    @contextlib.contextmanager
    def series(self, out: str, start: int | None, end: int | None) -> Iterator[Path]:
        """The path of the series (its dated files lie beside it), times in unix ns, to be read while this lasts. Raises NotFound,
        StoreUnavailable."""
        if self.remote is None or (self.root is not None and reachable((self.root / out).parent)):
            assert self.root is not None
            reachable((self.root / out).parent)
            yield self.root / out
            return
        base = Path(out)
        entries = {Path(entry.path): entry for entry in self._list(base.parent.as_posix()) if not entry.folder}
        bounds = [None if at is None else at / SECOND for at in (start, end)]
        chosen = series.select(base, entries, bounds[0], bounds[1])
        with self._held([entries[path] for path in chosen]) as here:
            yield here / out

    def ticks(self, exchange: str, symbol: str, start: int | None, end: int | None) -> list[PartFile]:
        """The parts, on this machine, of a market's days of these times. Raises NotFound, StoreUnavailable, ``ticks.Gone``."""
        from tape_access.ticks import Gone, here, market

        begin, last = start or 0, _LAST if end is None else end
        if self.remote is None or (self.root is not None and reachable(self.root / FOLDER)):
            assert self.root is not None
            reachable(self.root / FOLDER)
            return here(self.root, exchange, symbol, begin, last)
        there = {name: f"{FOLDER}/exchange={name}" for name in self._keys(FOLDER, "exchange=")}
        found = market(exchange, symbol, list(there), lambda name: self._keys(there[name], "symbol="), self.remote.store.url)
        days = [day for day in self._list(f"{there[found[0]]}/symbol={found[1]}") if day.folder and meets(day_of(day.name), begin, last)]
        try:
            named = {entry.path: entry for day in self._settled(days) for entry in day}
            parts = uncovered(part for part in map(part_of, named) if part is not None)
            parts = [part for part in parts if meets((part.first, part.last), begin, last)]
            folder = self._bring([named[part.path] for part in parts])
        except NotFound as error:
            raise Gone(str(error)) from None
        return [PartFile(part.first, part.last, str(folder / part.path)) for part in parts]

    def _settled(self, days: list[Entry]) -> list[list[Entry]]:
        """What is in each folder. One that changed meanwhile, or may have, is listed until two listings agree (see ``ticks.settled``)."""
        assert self.remote is not None
        store = self.remote.store
        listed = [self._list(day.path) for day in days]
        after = self.remote.ask(lambda: store.stats([day.path for day in days]))
        for at, (day, now) in enumerate(zip(days, after, strict=True)):
            if now is None or not now.mtime_ns or now.mtime_ns != day.mtime_ns or time.time_ns() - now.mtime_ns < _FRESH_NS:
                listed[at] = settled(lambda day=day: self._list(day.path))  # type: ignore[misc]
        return listed

    @contextlib.contextmanager
    def tapes(self, venue: str | None, start: int, end: int) -> Iterator[Path]:
        """The root under which the raw tapes lie that tell of a time (unix ns), as ``coverage.within`` chooses them; to be read while this
        lasts."""
        if not self.far:
            assert self.root is not None
            reachable(self.root / "raw")
            yield self.root
            return
        # A machine may have windows and no raw tapes, or none of this venue.
        there = {entry.name for entry in self._list("") if entry.folder}
        venues = [entry for entry in self._list("raw") if entry.folder] if "raw" in there else []
        wanted: list[Entry] = []
        for one in [entry for entry in venues if venue is None or entry.name == element(venue)]:
            for stream in self._list(one.path):
                wanted += self._hours(stream, (start, end)) if stream.folder else []
        with self._held(wanted) as here:
            yield here

    def _hours(self, stream: Entry, span: tuple[int, int]) -> list[Entry]:
        """The segments of one tape: of the days of the span, and of the nearest that have something before and behind it."""
        from tape_access.coverage import within

        days = sorted((meant[0], day) for day in self._list(stream.path) if (meant := day_of(f"date={day.name}")) is not None)
        before = [day for begin, day in days if begin <= span[0]]
        inside = [day for begin, day in days if span[0] < begin <= span[1]]
        after = [day for begin, day in days if begin > span[1]]
        named = {self._here / entry.path: entry for day in (*before[-2:], *inside, *after[:1]) for entry in self._list(day.path)}
        known = sorted(found for path in named if (found := segment(path)) is not None)
        return [named[one.file] for one in within(known, span)]

    @contextlib.contextmanager
    def features(self, kind: str, symbol: str, start: int | None, end: int | None) -> Iterator[Path]:
        """The root under which the parts of one kind and symbol lie, to be read while this lasts. Raises NotFound, StoreUnavailable."""
        if self.remote is None or (self.root is not None and reachable(self.root / harvest.FOLDER)):
            assert self.root is not None
            reachable(self.root / harvest.FOLDER)
            yield self.root
            return
        from tape_access.features import check, market

        of, begin, last = check(kind), start or 0, _LAST if end is None else end
        days = [day for day in self._list(harvest.FOLDER) if day.folder and meets(day_of(day.name), begin, last)]
        there = {name for day in days for name in self._keys(day.path, "symbol=")}
        name = f"symbol={market(symbol, sorted(there), self.remote.store.url)}"
        found = [one for day in days for entry in self._list(day.path) if entry.name == name for one in self._list(entry.path)]
        kinds = [one for one in found if one.folder and one.name == f"kind={of}"]
        for left in reversed(range(_LOOKS)):
            named = {entry.path: entry for folder in self._settled(kinds) for entry in folder}
            parts = uncovered(part for part in map(part_of, named) if part is not None)
            chosen = [named[part.path] for part in parts if meets((part.first, part.last), begin, last)]
            try:
                self._bring(chosen)
                break
            except NotFound:
                # The archiver has just made one part of several.
                if not left:
                    raise
        with self._held(chosen) as here:
            yield here

    @property
    def _here(self) -> Path:
        assert self.remote is not None
        return self.remote.cache.folder / FILES

    def _keys(self, folder: str, key: str) -> list[str]:
        return [entry.name.removeprefix(key) for entry in self._list(folder) if entry.folder and entry.name.startswith(key)]

    def _list(self, folder: str) -> list[Entry]:
        assert self.remote is not None
        store = self.remote.store
        try:
            return self.remote.ask(lambda: store.list(PurePosixPath(folder).as_posix()))
        except NotFound:
            raise NotFound(f"{store.url} has no {folder}") from None

    @contextlib.contextmanager
    def _held(self, entries: list[Entry]) -> Iterator[Path]:
        """The folder that holds all of them, none of which is evicted while this lasts: what lacks a file looks like one that has a gap."""
        assert self.remote is not None
        for _ in range(_TRIES):
            here = self._bring(entries)
            with self.remote.cache.reading():
                if all((here / entry.path).exists() for entry in entries):
                    yield here
                    return
        yield self._aside(entries, f"the cache {self.remote.cache.folder} is too small for the processes that share it")

    def _bring(self, entries: list[Entry]) -> Path:
        """Copies in the cache, as new as what was listed; where it has no room for them, in a folder of this process."""
        assert self.remote is not None
        cache, here = self.remote.cache, self._here
        keep = {here / one.path for one in entries}
        try:
            with self._lock, cache.bringing():
                sync = Sync(self.remote.store, here)
                for entry in entries:
                    if sync.would(entry) != "same":
                        cache.room(entry.bytes, keep)
                        self.remote.ask(lambda entry=entry: sync.bring(entry))  # type: ignore[misc]
                    _used(here / entry.path, entry)
        except DiskFull as full:
            return self._aside(entries, str(full))
        return here

    def _aside(self, entries: list[Entry], why: str) -> Path:
        assert self.remote is not None
        log.warning("%s: %d files are kept for this process only", why, len(entries))
        here = scratch() / FILES
        sync = Sync(self.remote.store, here)
        for entry in entries:
            self.remote.ask(lambda entry=entry: sync.bring(entry))  # type: ignore[misc]
        return here


def _used(path: Path, entry: Entry) -> None:
    """Its access time says so: what was used longest ago is evicted first."""
    with contextlib.suppress(OSError):
        os.utime(path, ns=(time.time_ns(), entry.mtime_ns))
