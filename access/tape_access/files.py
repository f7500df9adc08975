"""Series and ticks, here or brought from the remote side into the cache: only the files that can hold the asked time."""

from __future__ import annotations

import threading
from pathlib import Path, PurePosixPath

from tape_access import series
from tape_access.places import reachable
from tape_access.remote import Remote
from tape_access.sync import Sync
from tape_archive.format import harvest
from tape_archive.format.errors import NotFound
from tape_archive.format.ticks import FOLDER, day_of, part_of, uncovered
from tape_archive.stores import Entry

SECOND = 1_000_000_000


class Files:
    """``root`` None: nothing is read on this machine itself."""

    def __init__(self, root: Path | None, remote: Remote | None) -> None:
        self.root, self.remote = root, remote
        self._lock = threading.Lock()

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

    def features(self, kind: str, symbol: str, start: int | None, end: int | None) -> Path:
        """The root under which the parts of one kind and symbol lie."""
        if self.remote is None or (self.root is not None and reachable(self.root / harvest.FOLDER)):
            assert self.root is not None
            reachable(self.root / harvest.FOLDER)
            return self.root
        from tape_access.features import check, market

        of = check(kind)
        days = [day for day in self._list(harvest.FOLDER) if day.folder and _meets(day_of(day.name), start, end)]
        there = {name for day in days for name in self._keys(day.path, "symbol=")}
        folder = f"symbol={market(symbol, sorted(there), self.remote.store.url)}/kind={of}"
        wanted: list[Entry] = []
        for day in days:
            try:
                entries = self._list(f"{day.path}/{folder}")
            except NotFound:
                continue
            parts = ((entry, part_of(entry.path)) for entry in entries)
            wanted += [entry for entry, part in parts if part is not None and _meets((part.first, part.last), start, end)]
        return self._bring(wanted)

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
        here = remote.cache.folder / "files"
        with self._lock:
            sync = Sync(remote.store, here)
            for entry in entries:
                if sync.would(entry) != "same":
                    remote.cache.room(entry.bytes, {here / one.path for one in entries})
                    remote.ask(lambda entry=entry: sync.bring(entry))  # type: ignore[misc]
        return here


def _meets(span: tuple[int, int] | None, start: int | None, end: int | None) -> bool:
    return span is not None and (start is None or span[1] >= start) and (end is None or span[0] <= end)
