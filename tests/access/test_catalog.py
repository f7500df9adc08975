"""The list of what a store holds, while others change it."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path

import pytest

from tape_access import DataAccessor
from tape_archive.archiver.move import Mover
from tape_archive.archiver.plan import Move, month
from tape_archive.format.compression import Compression
from tape_archive.stores import Entry, LocalStore
from tests.access.test_remote import archived
from tests.support.windows import FIRST, LENGTH, record, slug


class Between(LocalStore):
    """Something happens just before a folder is listed, or a file is read, for the first time since it was set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.at, self.what = "", lambda: None

    def then(self, at: str, what: Callable[[], None]) -> None:
        self.at, self.what = at, what

    def _maybe(self, path: str) -> None:
        if path == self.at:
            self.at = ""
            self.what()

    def list(self, folder: str = "") -> builtins.list[Entry]:
        self._maybe(folder)
        return super().list(folder)

    def stats(self, paths: builtins.list[str]) -> builtins.list[Entry | None]:  # type: ignore[override]
        found = super().stats(paths)
        self._maybe("stats")
        return found


@pytest.mark.parametrize("at", ["stats", "real_hot"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_window_that_is_moved_while_it_is_looked_for_is_there(tmp_path: Path, at: str, fresh: bool) -> None:
    root = tmp_path / "vps"
    (tmp_path / "mac").mkdir()
    archived(root, 1, FIRST - LENGTH)
    record(root, 4)
    store = Between(root)
    data = DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=store, prefetch=0)
    wanted = [FIRST + n * LENGTH for n in range(-1, 4)]
    assert data.list_all_windows() == wanted
    if fresh:
        data = DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=store, prefetch=0)

    def archive() -> None:
        moves = [Move(f"{slug(start)}.jsonl", 1, month(start)) for start in wanted[1:]]
        Mover(root / "real_hot", LocalStore(root / "real_archive"), "", Compression()).move(moves, lambda moved: None)

    store.then(at, archive)
    assert data.list_all_windows(use_cache=False) == wanted and not store.at
    assert data.list_all_windows(use_cache=False) == wanted
    # What is gone for good is gone.
    for path in [*(root / "real_archive").rglob(f"{slug(wanted[2])}*")]:
        path.unlink()
    manifest = root / "real_archive" / month(FIRST) / "_manifest.jsonl"
    manifest.write_text("".join(line for line in manifest.read_text().splitlines(True) if slug(wanted[2]) not in line))
    assert data.list_all_windows(use_cache=False) == [*wanted[:2], *wanted[3:]]
