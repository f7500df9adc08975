"""Only the last frames of a file are looked at when it is mended, and what was never written is told from what was damaged."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format import zstd
from tape_archive.format.errors import Corrupt
from tape_archive.format.read import last_line, read_lines
from tape_archive.format.segment import Appender


def line(n: int, size: int = 20) -> bytes:
    return b'{"t":%d,"s":"x-1","m":{"pad":"%b"}}\n' % (n, random.Random(n).randbytes(size).hex().encode())


def frame(content: bytes, *, checksum: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=checksum).compress(content)


def raw_frame(content: bytes) -> bytes:
    """A frame of one raw block without checksum: its content stands in the file as it is."""
    header = zstd.MAGIC.to_bytes(4, "little") + b"\x00\x58"
    return header + (len(content) << 3 | 1).to_bytes(3, "little") + content


def open_frame(lines: list[bytes], *, checksum: bool = True) -> bytes:
    """A frame with a block a line, and no end."""
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=checksum).compressobj()
    return b"".join(compressor.compress(one) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for one in lines)


def proven(path: Path) -> list[bytes]:
    """The lines, once the zstd command and another reader agree that the file is whole."""
    if shutil.which("zstd") and path.stat().st_size:
        subprocess.run(["zstd", "-tq", str(path)], check=True)
    with path.open("rb") as file:
        other = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    lines = list(read_lines(path, sealed=True))
    assert b"".join(one + b"\n" for one in lines) == other
    return lines


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("between", [b"", b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"])
def test_frames_of_other_writers_are_mended_at_every_cut(tmp_path: Path, checksum: bool, between: bytes) -> None:
    whole = frame(line(1) + line(2), checksum=checksum) + between
    lines = [line(n) for n in range(3, 6)]
    data = whole + open_frame(lines, checksum=checksum)
    path = tmp_path / "a.jsonl.zst"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        zstd.mend(path)
        assert zstd.mend(path) == 0
        got = list(read_lines(path, sealed=True))
        assert len(got) >= (2 if cut >= len(whole) - len(between) else 0)
        if cut % 29 == 0 or cut == len(data):
            proven(path)
    assert len(got) == 5


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 9000))
def test_a_power_cut_that_leaves_zeros_costs_only_what_was_not_synced(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject, zeros: int
) -> None:
    path = tmp_path_factory.mktemp("z") / "a.jsonl.zst"
    lines = [line(n, 50) for n in range(12)]
    synced = frame(b"".join(lines[:4]))
    data = synced + open_frame(lines[4:])
    cut = draw.draw(st.integers(len(synced), len(data)))
    path.write_bytes(data[:cut] + bytes(zeros))
    zstd.mend(path)
    got = [one + b"\n" for one in proven(path)]
    assert len(got) >= 4 and got == lines[: len(got)]
    appender = Appender(path)
    appender.append(line(99), 1)
    appender.close()
    assert len(proven(path)) == len(got) + 1


def test_damage_in_the_middle_does_not_stop_a_recorder_and_is_named_by_readers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    first, second = frame(line(1) * 50), frame(line(2) * 50)
    damaged = bytearray(first + second + open_frame([line(3)]))
    damaged[len(first) + 30] ^= 0xFF
    path.write_bytes(damaged)
    assert zstd.mend(path) == 0
    appender = Appender(path)
    appender.append(b'{"t":4,"s":"x-1","m":{}}\n', 1)
    appender.close()
    assert last_line(path) == b'{"t":4,"s":"x-1","m":{}}'
    with pytest.raises(Corrupt, match=rf"a\.jsonl\.zst: zstd frame at byte {len(first)}: "):
        list(read_lines(path))


def test_bytes_that_somebody_wrote_are_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    whole = frame(line(1))
    path.write_bytes(whole + b"something else")
    with pytest.raises(Corrupt, match=f"no zstd frame at byte {len(whole)}"):
        zstd.mend(path)
    assert path.read_bytes() == whole + b"something else"


def test_a_magic_that_stands_in_the_data_by_chance_is_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    magic = zstd.MAGIC.to_bytes(4, "little")
    content = b'{"t":1,"m":"' + magic + b"\x04\x58\xff\xff\xff" + b'"}\n{"t":2,"m":"' + magic + b'"}\n'
    data = raw_frame(content)
    assert zstd.tail(data) == 0 and zstd.tail(data + data) == len(data)
    torn = data + data + magic
    path.write_bytes(torn)
    assert zstd.mend(path) == 4 and path.read_bytes() == data + data
    assert last_line(path) == content.splitlines()[-1]


def test_the_size_of_a_file_does_not_count(tmp_path: Path) -> None:
    data = frame(line(1) * 20) * 3
    assert zstd.tail(data) == len(data) // 3 * 2
    assert zstd.tail(data + open_frame([line(2)])) == len(data)
    assert zstd.tail(data + zstd.MAGIC.to_bytes(4, "little") + b"\x04") == len(data) // 3 * 2
    path = tmp_path / "empty.jsonl.zst"
    path.touch()
    assert zstd.mend(path) == 0 and last_line(path) is None
