"""A cursor comes back as it was, and a damaged one says what to do."""

from pathlib import Path

import pytest

from tape_archive.format import cursor
from tape_archive.format.errors import Corrupt
from tape_archive.format.read import Position


def test_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cex.cursor"
    assert cursor.load(path) is None
    saved = cursor.Cursor(run="r1", t=5, tapes={"raw/a.jsonl.zst": Position(7, 3)}, outputs={"logs/cex.csv": 100})
    cursor.save(path, saved)
    assert cursor.load(path) == saved


@pytest.mark.parametrize("content", [b"", b"{", b'{"tapes":[]}', b"\0\0\0"])
def test_a_damaged_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cex.cursor"
    path.write_bytes(content)
    with pytest.raises(Corrupt, match="remove it to begin anew"):
        cursor.load(path)
