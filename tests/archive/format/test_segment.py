"""A crash at any byte loses nothing that ``write`` had returned for, and leaves a file that can be read and appended to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format import zstd
from tape_archive.format.errors import Corrupt, DiskFull, TornTail
from tape_archive.format.read import Follower, Position, last_line, read_lines
from tape_archive.format.segment import Appender, mend


def lines(start: int, count: int) -> list[bytes]:
    return [b'{"t":%d,"s":"x-1","m":{"pad":"%b"}}\n' % (n, b"ab" * (n % 7)) for n in range(start, start + count)]


def written(path: Path, batches: list[tuple[int, bool]]) -> list[tuple[int, int]]:
    """Append batches; gives (file size, lines) after each append."""
    out, total = [], 0
    appender = Appender(path)
    for count, roll in batches:
        appender.append(b"".join(lines(total, count)), count)
        total += count
        out.append((appender.size, total))
        if roll:
            appender.roll()
    size = appender.size
    appender.close()
    if not batches[-1][1]:
        with path.open("r+b") as file:
            file.truncate(size)
    return out


def test_the_window_leaves_the_cache_to_the_books(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    written(path, [(20_000, False), (1, True)])
    assert zstandard.get_frame_parameters(path.read_bytes()).window_size == 128 * 1024


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_cut_at_every_byte(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"a{suffix}"
    marks = written(whole, [(1, False), (3, False), (2, True), (4, False), (1, True), (5, False), (2, False)])
    data = whole.read_bytes()
    everything = b"".join(lines(0, marks[-1][1]))
    path = tmp_path / f"b{suffix}"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        mend(path)
        got = b"".join(line + b"\n" for line in read_lines(path, sealed=True))
        assert everything.startswith(got)
        promised = max((count for size, count in marks if size <= cut), default=0)
        assert got.count(b"\n") >= promised
        assert mend(path) == 0
        if suffix.endswith(".zst") and cut % 37 == 0:
            subprocess.run(["zstd", "-tq", str(path)], check=True) if shutil.which("zstd") and path.stat().st_size else None
            with path.open("rb") as file:
                assert zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read() == got
        if cut % 11 == 0:
            again = Appender(path)
            again.append(b'{"t":999,"s":"y-1","m":1}\n', 1)
            again.close()
            assert b"".join(line + b"\n" for line in read_lines(path)) == got + b'{"t":999,"s":"y-1","m":1}\n'


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=12), st.data())
def test_positions_and_followers(tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[int, bool]], draw: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("p") / "a.jsonl.zst"
    follower = Follower(path)
    followed: list[bytes] = []
    positions = []
    appender, total = Appender(path), 0
    for count, roll in batches:
        positions.append((total, Position(appender.frame_at if appender._open else appender.size, appender.frame_lines)))
        appender.append(b"".join(lines(total, count)), count)
        total += count
        followed += follower.poll()
        assert len(followed) == total
        if roll:
            appender.roll()
    appender.close()
    everything = [line[:-1] for line in lines(0, total)]
    assert followed + follower.poll() == everything == [*read_lines(path)]
    before, position = draw.draw(st.sampled_from(positions))
    assert [*read_lines(path, position)] == everything[before:]
    assert last_line(path) == everything[-1]


def test_a_torn_tail_is_told_from_corruption(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    written(path, [(50, True), (50, False)])
    with pytest.raises(TornTail):
        list(read_lines(path, sealed=True))
    assert len(list(read_lines(path))) == 100
    data = bytearray(path.read_bytes())
    data[30] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        list(read_lines(path))
    path.write_bytes(b"not zstd at all")
    with pytest.raises(Corrupt):
        list(zstd.frames(path.read_bytes()))


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_a_full_disk_tears_nothing_and_recording_goes_on_when_there_is_room(small_disk: Path, suffix: str) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 100_000)
    appender = Appender(small_disk / f"a{suffix}")
    total = 0
    with pytest.raises(DiskFull, match=r"free some space|took only"):
        while True:
            appender.append(b'{"t":%d,"s":"x","m":"%b"}\n' % (total, os.urandom(2000).hex().encode()), 1)
            total += 1
    assert len(list(read_lines(appender.path))) == total
    ballast.unlink()
    appender.append(b'{"t":1,"s":"x","m":"after"}\n', 1)
    appender.close()
    assert len(list(read_lines(appender.path, sealed=True))) == total + 1


FULL = """
import os, resource, signal, sys
from pathlib import Path
from tape_archive.format.errors import DiskFull
from tape_archive.format.segment import Appender
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, room = Path(sys.argv[1]), int(sys.argv[2])
line = lambda n: b'{"t":%d,"s":"x-1","m":"%b"}\\n' % (n, os.urandom(40).hex().encode())
a = Appender(path)
good = []
def append(n):
    one = line(n)
    try:
        a.append(one, 1)
        good.append(one)
        return True
    except DiskFull:
        return False
append(1), append(2)
resource.setrlimit(resource.RLIMIT_FSIZE, (a.size + room, resource.RLIM_INFINITY))
full = [append(3), append(4)]
try:
    a.roll()
except DiskFull:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert append(5)
assert a.size == path.stat().st_size
a.close()
assert room > 40 or not full[1]
sys.stdout.buffer.write(b"".join(good))
"""


@pytest.mark.parametrize("room", [0, 1, 3, 6, 7, 8, 12, 40, 90, 110, 130])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_a_disk_that_is_full_to_the_last_byte(tmp_path: Path, suffix: str, room: int) -> None:
    path = tmp_path / f"a{suffix}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", FULL, str(path), str(room)], stdout=subprocess.PIPE, env=environment, check=True)
    got = b"".join(line + b"\n" for line in read_lines(path, sealed=True))
    assert got == child.stdout and got.count(b"\n") >= 3


WRITER = """
import sys
from pathlib import Path
from tape_archive.format.segment import Appender
a = Appender(Path(sys.argv[1])); n = int(sys.argv[2])
while True:
    a.append(b'{"t":%d,"s":"x-1","m":{}}\\n' % n, 1); n += 1
    sys.stdout.write(f"{n}\\n"); sys.stdout.flush()
    if n % 97 == 0: a.roll()
"""


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, suffix: str) -> None:
    path, acknowledged = tmp_path / f"a{suffix}", 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for kill in range(20):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(acknowledged)], stdout=subprocess.PIPE, env=environment, text=True
        )
        assert child.stdout is not None
        for _ in range(20 + 31 * kill):
            acknowledged = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else acknowledged
        child.wait()
        child.stdout.close()
        mend(path)
        got = list(read_lines(path, sealed=True))
        assert len(got) >= acknowledged
        assert got == [b'{"t":%d,"s":"x-1","m":{}}' % n for n in range(len(got))]
        acknowledged = len(got)
