"""A session is cut behind every tenth byte of what the server says: what is given is what was recorded, or an error that says so."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from tape_access import DataAccessor, StoreUnavailable
from tape_archive.stores.sftp import SftpStore, Target
from tests.access.test_remote import archived, sha
from tests.support.sshd import SFTP_SERVER
from tests.support.windows import FIRST, LENGTH, slug

pytestmark = pytest.mark.skipif(not Path(SFTP_SERVER).exists(), reason="needs OpenSSH's sftp-server")


class Cut(Target, frozen=True):
    """OpenSSH's sftp-server without ssh around it: so a cut is as exact as a byte. ``after``: of each connection, how many bytes come from
    the server before it is gone; what follows the last of them is whole."""

    after: list[int] = msgspec.field(default_factory=list)

    def command(self) -> list[str]:
        """The server, or its first bytes."""
        if not self.after:
            return [SFTP_SERVER]
        return ["bash", "-c", f"exec dd bs=1 count={self.after.pop(0)} status=none < <(exec {SFTP_SERVER})"]


def accessor(folder: Path, cuts: list[int], name: str) -> tuple[DataAccessor, Cut]:
    target = Cut("vps", after=cuts)
    (folder / "mac").mkdir(exist_ok=True)
    store = SftpStore(target, str(folder / "vps"), seconds=20.0)
    return DataAccessor(folder / "mac", folder / f"cache-{name}", remote=store, prefetch=0), target


def session(folder: Path) -> int:
    """Bytes that a server says while one window is listed and fetched: the least that is enough."""
    least, most = 0, 1 << 20
    while most - least > 1:
        middle = (least + most) // 2
        data, _ = accessor(folder, [middle] * 9, f"size-{middle}")
        try:
            data.get_window_jsonl(FIRST)
            most = middle
        except StoreUnavailable:
            least = middle
        finally:
            data.close()
    return most


def campaign(folder: Path, boundaries: Iterable[int], sums: dict[str, str]) -> tuple[list[int], list[int], int]:
    """Gives the cuts that were felt, those that were not, and how many were mended without a word."""
    felt: list[int] = []
    unfelt: list[int] = []
    mended = 0
    for at in boundaries:
        # A line that breaks each time at the same byte: an error, and nothing of the window is in the cache.
        data, target = accessor(folder, [at] * 9, f"always-{at}")
        with contextlib.closing(data):
            try:
                assert sha(data.get_window_jsonl(FIRST)) == sums[slug(FIRST)], at
                unfelt.append(at)
            except StoreUnavailable:
                felt.append(at)
                assert data.cache.get(f"2026-01/{slug(FIRST)}.jsonl") is None, at
            assert not [path for path in data.cache.folder.rglob("*.tmp")], at
            # And when it is whole again everything is as if nothing had been.
            target.after.clear()
            assert data.remote is not None
            data.remote._down = None
            data.close()
            assert sha(data.get_window_jsonl(FIRST)) == sums[slug(FIRST)], at
        # One that breaks once, after it had worked.
        data, target = accessor(folder, [], f"once-{at}")
        with contextlib.closing(data):
            data.list_all_windows()
            data.close()
            target.after.append(at)
            with contextlib.suppress(StoreUnavailable):
                assert sha(data.get_window_jsonl(FIRST + LENGTH)) == sums[slug(FIRST + LENGTH)], at
                mended += not target.after
            assert not [path for path in data.cache.folder.rglob("*.tmp")], at
    return felt, unfelt, mended


def prepared(folder: Path) -> tuple[dict[str, str], int]:
    sums = archived(folder / "vps", 2, kind="none", books=1)
    old = 1_700_000_000
    for path in [*(folder / "vps").rglob("*"), folder / "vps"]:
        os.utime(path, (old, old))
    return sums, session(folder)


def test_cut_at_sampled_boundaries(tmp_path: Path) -> None:
    sums, size = prepared(tmp_path)
    boundaries = random.Random(1).sample(range(0, size, 10), 25)
    judge(*campaign(tmp_path, boundaries, sums))


def judge(felt: list[int], unfelt: list[int], mended: int) -> None:
    # A session may need fewer bytes than the first did: a cut behind its last is none. Any other is felt.
    assert len(felt) > 5 * len(unfelt) and max(felt) < min(unfelt, default=max(felt) + 1)
    assert mended > len(felt) / 5


@pytest.mark.long
def test_cut_at_every_tenth_byte(tmp_path: Path) -> None:
    sums, size = prepared(tmp_path)
    judge(*campaign(tmp_path, range(0, size, 10), sums))
