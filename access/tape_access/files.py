"""Series and ticks, here or brought from the remote side into the cache: only the files that can hold the asked time."""

from __future__ import annotations

import threading
from pathlib import Path, PurePosixPath

from tape_access import series
from tape_access.places import reachable
from tape_access.remote import Remote
from tape_access.sync import Sync
from tape_archive.format.errors import NotFound
from tape_archive.format.layout import element, segment
from tape_archive.format.ticks import FOLDER, day_of, part_of, uncovered
from tape_archive.stores import Entry

SECOND = 1_000_000_000


class Files:
    """``root`` None: nothing is read on this machine itself."""

    def __init__(self, root: Path | None, remote: Remote | None) -> None:
        self.root, self.remote = root, remote
        self._lock = threading.Lock()

    @property
    def far(self) -> bool:
        """Whether tapes are read from another machine."""
        return self.remote is not None and not (self.root is not None and reachable(self.root / "raw"))

    def series(self, out: str, start: int | None, end: int | None) -> Path:
        """The path of the series (its dated files lie beside it), times in unix ns. Raises NotFound, StoreUnavailable."""
        if self.remote is None or (self.root is not None and reachable((self.root / out).parent)):
            assert self.root is not None
            reachable((self.root / out).parent)
            return self.root / out
        base = Path(out)
        entries = {Path(entry.path): entry for entry in self._list(base.parent.as_posix()) if not entry.folder}
        bounds = [None if at is None else at / SECOND for at in (start, end)]
        chosen = series.select(base, entries, bounds[0], bounds[1])
        return self._bring([entries[path] for path in chosen]) / out

    def ticks(self, exchange: str, symbol: str, start: int | None, end: int | None) -> Path:
        """The root under which the market's ticks lie."""
        if self.remote is None or (self.root is not None and reachable(self.root / FOLDER)):
            assert self.root is not None
            reachable(self.root / FOLDER)
            return self.root
        from tape_access.ticks import market

        there = {name: f"{FOLDER}/exchange={name}" for name in self._keys(FOLDER, "exchange=")}
        found = market(exchange, symbol, list(there), lambda name: self._keys(there[name], "symbol="), self.remote.store.url)
        folder = f"{there[found[0]]}/symbol={found[1]}"
        wanted: list[Entry] = []
        for day in self._list(folder):
            if day.folder and _meets(day_of(day.name), start, end):
                named = {entry.path: entry for entry in self._list(day.path)}
                parts = uncovered(part for part in map(part_of, named) if part is not None)
                wanted += [named[part.path] for part in parts if _meets((part.first, part.last), start, end)]
        return self._bring(wanted)

    def tapes(self, venue: str | None, start: int, end: int) -> Path:
        """The root under which the raw tapes lie that tell of a time (unix ns), as ``coverage.within`` chooses them."""
        if not self.far:
            assert self.root is not None
            reachable(self.root / "raw")
            return self.root
        # A machine may have windows and no raw tapes, or none of this venue.
        there = {entry.name for entry in self._list("") if entry.folder}
        venues = [entry for entry in self._list("raw") if entry.folder] if "raw" in there else []
        wanted: list[Entry] = []
        for one in [entry for entry in venues if venue is None or entry.name == element(venue)]:
            for stream in self._list(one.path):
                wanted += self._hours(stream, (start, end)) if stream.folder else []
        return self._bring(wanted)

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

    @property
    def _here(self) -> Path:
        assert self.remote is not None
        return self.remote.cache.folder / "files"

    def _keys(self, folder: str, key: str) -> list[str]:
        return [entry.name.removeprefix(key) for entry in self._list(folder) if entry.folder and entry.name.startswith(key)]

    def _list(self, folder: str) -> list[Entry]:
        assert self.remote is not None
        store = self.remote.store
        try:
            return self.remote.ask(lambda: store.list(PurePosixPath(folder).as_posix()))
        except NotFound:
            raise NotFound(f"{store.url} has no {folder}") from None

    def _bring(self, entries: list[Entry]) -> Path:
        """Copies in the cache, as new as what was listed."""
        assert self.remote is not None
        remote = self.remote
        here = self._here
        with self._lock:
            sync = Sync(remote.store, here)
            for entry in entries:
                if sync.would(entry) != "same":
                    remote.cache.room(entry.bytes, {here / one.path for one in entries})
                    remote.ask(lambda entry=entry: sync.bring(entry))  # type: ignore[misc]
        return here


def _meets(span: tuple[int, int] | None, start: int | None, end: int | None) -> bool:
    return span is not None and (start is None or span[1] >= start) and (end is None or span[0] <= end)
