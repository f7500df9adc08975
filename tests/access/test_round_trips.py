"""How often somebody waits for the other side, counted on the wire between a real sshd and its client, where computing is nothing beside the delay."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tape_access import DataAccessor
from tests.access.test_remote import Reader, archived, sha
from tests.support.sshd import Sshd, sshd
from tests.support.windows import FIRST, LENGTH, slug
from tests.support.wire import Wire, wire

DELAY_S = 0.25


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
def between(server: Sshd) -> Iterator[Wire]:
    with wire(server.port) as one:
        yield one


def trips(between: Wire, call: Callable[[], object]) -> int:
    """The round trips of a call on a connection that is open and quiet."""
    between.delay_s = 0.0
    time.sleep(0.5)
    before, between.delay_s = between.round_trips, DELAY_S
    call()
    return between.round_trips - before


def settled(root: Path) -> None:
    old = time.time() - 3600
    for path in [*root.rglob("*"), root]:
        os.utime(path, (old, old))


def test_a_cold_window_is_an_open_and_a_read(tmp_path: Path, server: Sshd, between: Wire) -> None:
    sums = archived(tmp_path / "vps", 8, kind="none", books=400)
    settled(tmp_path / "vps")
    assert len(sums) == 8 and (tmp_path / "vps/real_archive/2026-01" / f"{slug(FIRST)}.jsonl").stat().st_size > 300_000
    reader = Reader(server, tmp_path / "vps", tmp_path, between.port)
    data = reader.data
    data.get_window_jsonl(FIRST)
    assert trips(between, lambda: data.get_window_jsonl(FIRST + LENGTH)) == 2
    assert sha(data.get_window_jsonl(FIRST + LENGTH)) == sums[slug(FIRST + LENGTH)]
    # Four threads at once: no more of them.
    threads = [threading.Thread(target=data.get_window_jsonl, args=(FIRST + n * LENGTH,)) for n in range(2, 6)]

    def together() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert trips(between, together) <= 4 and between.connections == 1
    # What is cached asks nobody.
    assert trips(between, lambda: data.get_window_jsonl(FIRST + 2 * LENGTH)) == 0
    reader.store.close()


def test_a_list_that_has_not_changed_is_one_question(tmp_path: Path, server: Sshd, between: Wire) -> None:
    root = tmp_path / "vps"
    archived(root, 4)
    archived(root, 4, FIRST + 60 * 96 * LENGTH)
    settled(root)
    reader = Reader(server, root, tmp_path, between.port)
    data = reader.data
    assert len(data.list_all_windows()) == 8
    assert trips(between, lambda: data.list_all_windows(use_cache=False)) == 1
    assert trips(between, data.list_all_windows) == 0
    # One month changed: that question, and the manifest, opened and read.
    archived(root, 1, FIRST + 10 * LENGTH)
    for path in (root, root / "real_hot", root / "real_hot/_manifest.jsonl", root / "real_archive"):
        os.utime(path, (time.time() - 3600,) * 2)
    assert trips(between, lambda: data.list_all_windows(use_cache=False)) <= 3
    assert len(data.list_all_windows()) == 9
    reader.store.close()


def test_the_first_window_of_a_process_is_ssh_and_two(tmp_path: Path, server: Sshd, between: Wire) -> None:
    """Ten: OpenSSH's banners, key exchange, keys, channel and subsystem are eight; what is asked goes out with the greeting."""
    archived(tmp_path / "vps", 2)
    settled(tmp_path / "vps")
    reader = Reader(server, tmp_path / "vps", tmp_path, between.port)
    reader.data.list_all_windows()
    reader.store.close()
    again = DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=reader.store, prefetch=0)
    assert trips(between, lambda: again.get_window_jsonl(FIRST)) <= 10
    reader.store.close()
