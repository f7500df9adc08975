"""Retention: old files are deleted, of each table what is older than its days, and only what is safe to lose.

A file goes if its content lies elsewhere as well (its copy in the target is read whole, and its sha256 is that of the content here), or if
its table's loss is allowed by name. Never the newest of a series, never what a cursor still needs, never what is not sealed.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from tape_archive.archiver import stock
from tape_archive.archiver.move import forget
from tape_archive.archiver.plan import DAY
from tape_archive.archiver.stock import Item
from tape_archive.format import cursor, manifest
from tape_archive.format.atomic import failure, sync_folder
from tape_archive.format.compression import plain
from tape_archive.format.errors import Corrupt, NotFound, SettingsError, TapeError
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_archive.settings import TABLES
from tape_archive.stores import Store
from tape_archive.stores.store import CHUNK

#: files of one folder between two writes of its manifest
BATCH = 64


class Pruned(msgspec.Struct):
    """One file that is older than its table is kept. ``why`` it was deleted, or stays; ``end``: unix seconds of the end of its content."""

    path: str
    table: str
    bytes: int
    end: float
    why: str


class Old(msgspec.Struct):
    """What is older than it is kept, oldest first. ``young``: how many files are not; ``newest``: how many are the newest of a series."""

    items: list[Item]
    young: int = 0
    newest: int = 0


def old(root: Path, retention: Mapping[str, float], now: float) -> Old:
    """``retention``: days by table, or by table/part; ``now`` in unix seconds. Raises Corrupt for a cursor that cannot be read: nobody
    knows what it still needs."""
    for path in sorted((root / "state").glob("*.cursor")):
        cursor.load(path)
    found = Old([])
    for table in TABLES:
        if not any(name.partition("/")[0] == table for name in retention):
            continue
        items = list(stock.items(root, table))
        last: dict[str, float] = {}
        for item in items:
            last[item.series] = max(last.get(item.series, 0.0), item.end)
        for item in items:
            kept = retention.get(f"{item.table}/{item.part}", retention.get(item.table))
            if kept is None or item.end > now - kept * DAY:
                found.young += 1
            elif item.end >= last[item.series]:
                found.newest += 1
            else:
                found.items.append(item)
    found.items.sort(key=lambda item: (TABLES.index(item.table), item.end, item.path))
    return found


class Pruner:
    """``target``: where copies lie; None: nowhere. ``lossy``: tables that may be lost."""

    def __init__(self, root: Path, target: Store | None, lossy: Sequence[str] = (), dry_run: bool = True) -> None:
        self.root, self.target, self.lossy, self.dry_run = root, target, set(lossy), dry_run

    def run(self, items: Sequence[Item], gone: Callable[[Pruned], None], stays: Callable[[Pruned], None]) -> None:
        """All of them. What is deleted is told after it is gone. Raises SettingsError, StoreError."""
        for table in sorted({item.table for item in items}):
            self._elsewhere("real_archive" if table == "windows" else table)
        waiting: list[Pruned] = []
        for item in items:
            done = Pruned(item.path, item.table, item.bytes, item.end, "")
            if why := self._holds_back(item):
                done.why = why
                stays(done)
                continue
            done.why = f"--allow-loss {item.table}" if item.table in self.lossy else f"verified in {self.target.url if self.target else ''}"
            if waiting and (len(waiting) >= BATCH or Path(waiting[0].path).parent != Path(item.path).parent):
                self._delete(waiting, gone)
            waiting.append(done)
        self._delete(waiting, gone)

    # -- may it go -------------------------------------------------------------------------------------------------------------

    def _holds_back(self, item: Item) -> str:
        """Why a file must stay; "" if it may go."""
        if item.needed:
            return item.needed
        if item.sealed is False and not _ends_sealed(self.root / item.path):
            return "not sealed: a recorder may still write it, or was killed"
        if item.table in self.lossy:
            return ""
        if self.target is None:
            return f"no copy of it is known: --target URL names where copies lie, --allow-loss {item.table} lets it go without"
        return self._differs(self.target, item)

    def _differs(self, target: Store, item: Item) -> str:
        path = next((path for path, entry in zip(item.copies, target.stats(item.copies), strict=True) if entry is not None), None)
        if path is None:
            return f"not in {target.url}"
        try:
            mine = _sum(item.path, _chunks(self.root / item.path))
        except Corrupt as error:
            return f"damaged here: {error}"
        try:
            theirs = _sum(path, target.chunks(path))
        except (Corrupt, NotFound) as error:
            return f"its copy cannot be used: {error}"
        return "" if mine == theirs else f"{target.url}/{path} holds something else: see tape verify on both sides"

    def _elsewhere(self, folder: str) -> None:
        """A target that is this very root holds no copies: a mark that is written here must not be seen there."""
        place = self.root / folder
        if self.target is None or not place.is_dir():
            return
        mark = place / f".same-{secrets.token_hex(8)}"
        try:
            mark.touch()
            seen = self.target.stats([f"{folder}/{mark.name}"])[0] is not None
        except OSError as error:
            raise failure(mark, error) from None
        finally:
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)
        if seen:
            raise SettingsError(f"{self.target.url} is {self.root} itself: what lies there is no copy; name another --target")

    # -- deleting --------------------------------------------------------------------------------------------------------------

    def _delete(self, some: list[Pruned], gone: Callable[[Pruned], None]) -> None:
        if some and not self.dry_run:
            folder = (self.root / some[0].path).parent
            names = [Path(one.path).name for one in some]
            if (folder / manifest.NAME).exists():
                forget(folder, names)
            else:
                _unlink(folder, names)
            _leave(folder, self.root)
        for one in some:
            gone(one)
        some.clear()


def _unlink(folder: Path, names: Sequence[str]) -> None:
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise failure(folder, error) from None


def _leave(folder: Path, root: Path) -> None:
    """Remove folders that hold nothing any more but an empty manifest."""
    with contextlib.suppress(OSError, TapeError):
        if [path.name for path in folder.iterdir()] == [manifest.NAME] and not manifest.read(folder):
            (folder / manifest.NAME).unlink()
        while folder.parent not in (root, root.parent):
            folder.rmdir()
            folder = folder.parent


def _ends_sealed(path: Path) -> bool:
    """Whether the last line is a seal: a run that was killed had taken it from the manifest already."""
    try:
        last = deque(read_lines(path, sealed=True), maxlen=1)
        return bool(last) and parse(last[0]).mark == "seal"
    except TapeError:
        return False


def _sum(name: str, chunks: Iterator[bytes]) -> str:
    """Of the content, however it is compressed."""
    one = hashlib.sha256()
    for piece in plain(name, chunks):
        one.update(piece)
    return one.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
    except OSError as error:
        raise failure(path, error) from None
