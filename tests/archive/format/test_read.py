"""Files are followed while they grow, through a crash and its mending; torn is told from damaged; tapes are merged by time."""

import gzip
import os
import random
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format import read
from tape_archive.format.errors import Corrupt, NotFound, TornTail
from tape_archive.format.read import Follower, Position, merge, read_lines
from tape_archive.format.segment import Appender, mend


def line(n: int, pad: bytes = b"") -> bytes:
    return b'{"t":%d,"s":"x-1","m":{"p":"%b"}}\n' % (n, pad)


def noise(seed: int, size: int) -> bytes:
    """What does not compress, and is the same each time."""
    return random.Random(seed).randbytes(size).hex().encode()


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([".jsonl", ".jsonl.zst"]), st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_a_follower_reads_on_through_a_crash_and_its_mending(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, before: int, batches: list[int], draw: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("f") / f"a{suffix}"
    appender = Appender(path)
    appender.append(b"".join(line(n) for n in range(before)), before)
    appender.roll()
    kept, n = appender.size, before
    for count in batches:
        appender.append(b"".join(line(k, noise(k, 9)) for k in range(n, n + count)), count)
        n += count
    size = appender.size
    os.close(appender._fd)
    os.truncate(path, draw.draw(st.integers(kept, size)))
    follower, seen = Follower(path), []
    polls = draw.draw(st.booleans())
    if polls:
        seen += follower.poll()
    appender = Appender(path)
    if draw.draw(st.booleans()):
        seen += follower.poll()
    appender.append(line(1000), 1)
    seen += follower.poll()
    appender.close()
    while more := follower.poll():
        seen += more
    assert seen == list(read_lines(path, sealed=True))
    assert seen[-1] + b"\n" == line(1000)


def test_a_follower_of_a_damaged_file_says_so_and_does_not_turn_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    appender = Appender(path)
    appender.append(b"".join(line(n) for n in range(50)), 50)
    appender.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Corrupt, match="zstd frame at byte 0"):
        Follower(path).poll()


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_a_follower_takes_a_large_file_in_pieces(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "POLL", 512)
    path = tmp_path / f"a{suffix}"
    lines = [line(n, noise(n, 20 if n % 9 else 700)) for n in range(60)]
    follower = Follower(path)
    assert follower.poll() == []
    appender = Appender(path)
    appender.append(b"".join(lines), 60)
    appender._write(b"" if suffix.endswith("zst") else b'{"t":61,')
    seen, polls = [], 0
    while more := follower.poll():
        seen += more
        polls += 1
    assert [one + b"\n" for one in seen] == lines
    assert polls > 5 or suffix == ".jsonl.zst"


def test_a_torn_gzip_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    data = gzip.compress(b"".join(line(n, noise(n, 30)) for n in range(2000)))
    path.write_bytes(data)
    assert len(list(read_lines(path, sealed=True))) == 2000
    path.write_bytes(data[: len(data) // 2])
    assert 500 < len(list(read_lines(path))) < 1500
    with pytest.raises(TornTail, match="gzip member"):
        list(read_lines(path, sealed=True))
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(Corrupt):
        list(read_lines(path))


def test_a_plain_line_without_its_break_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + line(2)[:-1])
    assert list(read_lines(path)) == [line(1)[:-1]]
    with pytest.raises(TornTail, match="middle of a line"):
        list(read_lines(path, sealed=True))
    assert mend(path) == len(line(2)) - 1 and path.read_bytes() == line(1)


def test_an_unsealed_zstd_file_of_many_frames_names_the_one_that_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    whole = zstandard.ZstdCompressor(write_checksum=True).compress(line(1))
    for cut in (1, 4, 9, len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        with pytest.raises(TornTail, match=f"begins at byte {len(whole)}"):
            list(read_lines(path, sealed=True))
    path.write_bytes(whole + whole)
    assert list(read_lines(path, Position(len(whole)), sealed=True)) == [line(1)[:-1]]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not there"):
        next(read_lines(tmp_path / "nothing.jsonl"))


@given(st.lists(st.lists(st.integers(0, 10**6), max_size=30), min_size=1, max_size=5))
def test_merge_is_sorting(tapes: list[list[int]]) -> None:
    sources = [[line(t)[:-1] for t in sorted(times)] for times in tapes]
    merged = list(merge(enumerate(sources)))
    assert merged == sorted(
        ((key, one) for key, lines in enumerate(sources) for one in lines), key=lambda e: (int(e[1][5:].split(b",")[0]), e[0])
    )
