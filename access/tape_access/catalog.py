"""Which windows a store holds, by the manifests of its folders; mirrored on this machine, so that asking again costs one round trip.

    <mirror>/<host and root>/real_archive/2026-01.jsonl      the manifest of that month as it was last seen
    <mirror>/<host and root>/seen.json                       sizes and times of what was seen, and when

A manifest that has not changed is not read again. A folder without one is listed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tape_access.prefetch import Pool
from tape_archive.format.atomic import write_atomic
from tape_archive.format.errors import Corrupt, NotFound, TapeError
from tape_archive.format.layout import name_of
from tape_archive.format.manifest import NAME
from tape_archive.stores import Entry, Store

#: a folder changed so lately may change again within the same second, which its time would not tell
_FRESH_NS = 5_000_000_000


class Stored(msgspec.Struct):
    """A window in the store. ``sha256`` and the plain sizes are known for what is sealed; empty for what still grows."""

    name: str
    bytes: int
    sha256: str = ""
    plain_bytes: int = 0
    plain_sha256: str = ""
    folder: str = ""

    @property
    def path(self) -> str:
        """From the store's root."""
        return f"{self.folder}/{self.name}"

    @property
    def slug(self) -> str:
        """Of the window."""
        return name_of(self.name.partition(".jsonl")[0])

    @property
    def sealed(self) -> bool:
        """Whether it never changes."""
        return bool(self.sha256)


#: a folder's entries, a manifest, or the windows of a month
Answer = list[Entry] | bytes | dict[str, Stored]


class _Seen(msgspec.Struct):
    """Of each path: bytes and time. ``at``: unix seconds of the last look."""

    paths: dict[str, tuple[int, int]] = {}
    at: float = 0.0


class Catalog:
    """``refresh`` looks; ``windows`` is what was seen last. Not safe for threads: the caller holds a lock."""

    def __init__(self, store: Store, mirror: Path, pool: Pool, hot: str = "real_hot", cold: str = "real_archive") -> None:
        self.store = store
        self.hot, self.cold = hot, cold
        self.version = 0
        self._mirror = mirror
        self._pool = pool
        self._months: dict[str, dict[str, Stored]] = {}
        self._now: dict[str, Stored] = {}
        self._seen = _Seen()
        self._merged: tuple[int, dict[str, Stored]] = (-1, {})
        self._load()

    @property
    def at(self) -> float:
        """Unix seconds of the last look; 0.0 if there never was one."""
        return self._seen.at

    @property
    def windows(self) -> dict[str, Stored]:
        """By slug. What is both hot and cold (being moved) is given cold: that copy is whole."""
        if self._merged[0] != self.version:
            merged = dict(self._now)
            for month in self._months.values():
                merged |= month
            self._merged = self.version, merged
        return self._merged[1]

    def refresh(self) -> None:
        """Look what has changed. Raises NotFound where there is neither a hot nor a cold folder; StoreUnavailable, StoreDenied, Corrupt."""
        before = self._now.keys()
        changed = self._look()
        # The archiver may have moved it between two questions: it enters the cold manifest first, so that tells it now.
        if any(not any(slug in month for month in self._months.values()) for slug in before - self._now.keys()):
            changed |= self._look()
        self._save(changed)

    def _look(self) -> bool:
        known = [f"{self.cold}/{month}/{NAME}" for month in self._months]
        asked = [self.cold, self.hot, f"{self.hot}/{NAME}", *known]
        found = dict(zip(asked, self.store.stats(asked), strict=True))
        if found[self.cold] is None and found[self.hot] is None:
            raise NotFound(
                f"{self.store.url} has neither {self.hot} nor {self.cold}; is it the --root of the recorders? "
                "From the home there: VPS_PATH=polymarket, or sftp://[user@]host/~/polymarket"
            )
        now = time.time()
        answers = self._read(found)
        changed = self._cold(found, answers)
        changed |= self._hot(found, answers)
        self._seen.at = now
        return changed

    def _read(self, found: dict[str, Entry | None]) -> dict[str, Answer]:
        """All that has changed, by path, asked for together: as many round trips as the longest of these questions."""
        cold, hot, manifest = (found[path] for path in (self.cold, self.hot, f"{self.hot}/{NAME}"))
        asked: dict[str, Callable[[], Answer]] = {}
        if cold is not None and self._differs(cold):
            asked[self.cold] = lambda: self.store.list(self.cold)
        if cold is not None:
            for month in self._months:
                entry = found[f"{self.cold}/{month}/{NAME}"]
                if self._stale(month, entry):
                    asked[month] = lambda month=month, entry=entry: self._month(month, entry)  # type: ignore[misc]
        if hot is not None and (self._differs(hot) or (manifest is not None and self._differs(manifest))):
            asked[self.hot] = lambda: self.store.list(self.hot)
            if manifest is not None:
                asked[NAME] = lambda: b"".join(self.store.chunks(manifest.path, size=manifest.bytes))
        return self._together(asked)

    # -- cold ------------------------------------------------------------------------------------------------------------

    def _cold(self, found: dict[str, Entry | None], answers: dict[str, Answer]) -> bool:
        if found[self.cold] is None:
            changed, self._months = bool(self._months), {}
            return self._changed() if changed else False
        before, gone = self._months, set[str]()
        if (listed := answers.get(self.cold)) is not None:
            there = {entry.name for entry in listed if entry.folder and not entry.name.startswith((".", "_"))}  # type: ignore[union-attr]
            gone = before.keys() - there
            answers |= self._new_months(sorted(there - before.keys()), found)
        read = {month: windows for month, windows in answers.items() if isinstance(windows, dict)}
        self._months = {month: windows for month, windows in (before | read).items() if month not in gone}
        for path, entry in found.items():
            # What is hot is noted when it has been looked at.
            if path.startswith(self.cold):
                self._note(entry)
        return self._changed() if read or gone else False

    def _new_months(self, months: list[str], found: dict[str, Entry | None]) -> dict[str, Answer]:
        paths = [f"{self.cold}/{month}/{NAME}" for month in months]
        found |= dict(zip(paths, self.store.stats(paths) if paths else [], strict=True))
        return self._together(
            {month: lambda month=month: self._month(month, found[f"{self.cold}/{month}/{NAME}"]) for month in months}  # type: ignore[misc]
        )

    def _stale(self, month: str, manifest: Entry | None) -> bool:
        return month not in self._months or manifest is None or self._differs(manifest)

    def _month(self, month: str, manifest: Entry | None) -> dict[str, Stored]:
        folder = f"{self.cold}/{month}"
        try:
            content = b"".join(self.store.chunks(f"{folder}/{NAME}", size=manifest.bytes if manifest is not None else None))
        except NotFound:
            return _files(folder, self.store.list(folder))
        windows = _parse(folder, content)
        with contextlib.suppress(TapeError):
            write_atomic(self._file(month), content, durable=False)
        return windows

    # -- hot -------------------------------------------------------------------------------------------------------------

    def _hot(self, found: dict[str, Entry | None], answers: dict[str, Answer]) -> bool:
        if found[self.hot] is None:
            changed, self._now = bool(self._now), {}
            return self._changed() if changed else False
        if self.hot not in answers:
            return False
        files = _files(self.hot, answers[self.hot])  # type: ignore[arg-type]
        sealed = _parse(self.hot, answers.get(NAME, b""))  # type: ignore[arg-type]
        self._now = {slug: sealed.get(slug, file) for slug, file in files.items()}
        for path in (self.hot, f"{self.hot}/{NAME}"):
            self._note(found[path])
        return self._changed()

    # -- what was seen ---------------------------------------------------------------------------------------------------

    def _differs(self, entry: Entry) -> bool:
        """Whether it changed since it was noted, or may have: a store that tells no times, or a change of this very moment."""
        return not entry.mtime_ns or self._seen.paths.get(entry.path) != (entry.bytes, entry.mtime_ns)

    def _note(self, entry: Entry | None) -> None:
        if entry is None:
            return
        if time.time_ns() - entry.mtime_ns < _FRESH_NS:
            self._seen.paths.pop(entry.path, None)
        else:
            self._seen.paths[entry.path] = entry.bytes, entry.mtime_ns

    def _changed(self) -> bool:
        self.version += 1
        return True

    def _together(self, asked: dict[str, Callable[[], Answer]]) -> dict[str, Answer]:
        """The round trips of many questions are those of the longest."""
        if len(asked) < 2:
            return {name: call() for name, call in asked.items()}
        return dict(zip(asked, self._pool.map(lambda name: asked[name](), list(asked)), strict=True))

    # -- the mirror ------------------------------------------------------------------------------------------------------

    def _file(self, month: str) -> Path:
        return self._mirror / self.cold / f"{month}.jsonl"

    def _save(self, changed: bool) -> None:
        with contextlib.suppress(TapeError):
            if changed:
                hot = b"".join(msgspec.json.encode(one) + b"\n" for one in self._now.values())
                write_atomic(self._mirror / f"{self.hot}.jsonl", hot, durable=False)
            write_atomic(self._mirror / "seen.json", msgspec.json.encode(self._seen), durable=False)

    def _load(self) -> None:
        """What an earlier process saw; whatever is damaged is seen anew."""
        try:
            self._seen = msgspec.json.decode((self._mirror / "seen.json").read_bytes(), type=_Seen)
            for file in (self._mirror / self.cold).glob("*.jsonl"):
                self._months[file.stem] = _parse(f"{self.cold}/{file.stem}", file.read_bytes())
            self._now = _parse(self.hot, (self._mirror / f"{self.hot}.jsonl").read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, Corrupt):
            self._seen, self._months, self._now = _Seen(), {}, {}
        self.version += 1


def _parse(folder: str, content: bytes) -> dict[str, Stored]:
    """The windows of a manifest; names that would lead elsewhere are left out."""
    try:
        entries = msgspec.json.Decoder(Stored).decode_lines(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{folder}/{NAME}: {error}") from None
    windows = {}
    for entry in entries:
        if "/" not in entry.name and ".jsonl" in entry.name and not entry.name.startswith("."):
            entry.folder = folder
            windows[entry.slug] = entry
    return windows


def _files(folder: str, entries: list[Entry]) -> dict[str, Stored]:
    files = [Stored(entry.name, entry.bytes, folder=folder) for entry in entries if ".jsonl" in entry.name and not entry.folder]
    return {file.slug: file for file in files if not file.name.startswith(("_", "."))}
