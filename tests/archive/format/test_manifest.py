"""Entries are replaced, never lost, and a damaged or newer manifest says so."""

import threading
from pathlib import Path

import msgspec
import pytest

from tape_archive.format import manifest
from tape_archive.format.errors import Corrupt, UnknownVersion


def entry(name: str, lines: int = 1) -> manifest.Entry:
    return manifest.Entry(name=name, bytes=1, sha256="0", lines=lines, frames=0, first_ns=1, last_ns=2, gaps=0)


def test_the_last_entry_for_a_name_wins_and_others_stay(tmp_path: Path) -> None:
    for one in (entry("a"), entry("b"), entry("a", 7)):
        manifest.put(tmp_path, one)
    assert {name: one.lines for name, one in manifest.read(tmp_path).items()} == {"a": 7, "b": 1}
    assert [path.name for path in tmp_path.iterdir()] == [manifest.NAME]


def test_many_at_once(tmp_path: Path) -> None:
    threads = [threading.Thread(target=manifest.put, args=(tmp_path, entry(str(n)))) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manifest.read(tmp_path)) == 16


@pytest.mark.parametrize("content", [b'{"name":\n', b'{"name":1}\n', b"\xff\n", b'{"name":"a"}\n'])
def test_a_damaged_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / manifest.NAME).write_bytes(content)
    with pytest.raises(Corrupt, match=manifest.NAME):
        manifest.read(tmp_path)


def test_a_newer_one(tmp_path: Path) -> None:
    newer = msgspec.structs.replace(entry("a"), format=2)
    (tmp_path / manifest.NAME).write_bytes(msgspec.json.encode(newer))
    with pytest.raises(UnknownVersion, match="format 2"):
        manifest.read(tmp_path)
