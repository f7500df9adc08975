"""``tape mount``, ``unmount`` and ``mount-status`` with a real sshd, sshfs and FUSE; and how they fail."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tape_access.mount_table import Mounted, mount_of, mounted_at, parse_linux, parse_macos, plain_path, table
from tape_access.mounted import MountStore
from tests.support.recording import environment
from tests.support.sshd import Sshd, free_port, keygen, sshd
from tests.support.windows import FIRST, LENGTH, content, hot, slug

needs_fuse = pytest.mark.skipif(not shutil.which("sshfs") or not Path("/dev/fuse").exists(), reason="needs sshfs and /dev/fuse")


def until(what: Callable[[], bool]) -> None:
    for _ in range(600):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


class Mac:
    """A user of the server, with a mount point."""

    def __init__(self, server: Sshd, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.place = folder / "mac" / "polymarket"
        self.root = folder / "vps"
        self.remote = f"sftp://{server.user}@127.0.0.1:{server.port}{self.root}"
        self.key: Path = server.key
        self.known = server.known_hosts
        self.more: dict[str, str] = {}

    def tape(self, command: str, *words: str, place: Path | str | None = None) -> subprocess.CompletedProcess[str]:
        settings = environment(TAPE_REMOTE=self.remote, VPS_PEM_KEY=str(self.key), **self.more)
        trust = ["-o", f"UserKnownHostsFile={self.known}", "-o", "GlobalKnownHostsFile=/dev/null"] if command == "mount" else []
        whole = [sys.executable, "-m", "tape_archive", command, str(place or self.place), *trust, *words]
        return subprocess.run(whole, env=settings, capture_output=True, text=True, check=False, timeout=120)

    def mount(self, *words: str) -> None:
        ran = self.tape("mount", *words)
        assert ran.returncode == 0, ran.stderr

    def state(self) -> dict[str, object]:
        ran = self.tape("mount-status", "--json")
        found: dict[str, object] = json.loads(ran.stdout)
        assert ran.returncode == {"mounted": 0, "hung": 10, "absent": 1}[str(found["state"])]
        return found


@pytest.fixture
def mac(tmp_path: Path) -> Iterator[Mac]:
    hot(tmp_path / "vps", FIRST)
    with sshd(tmp_path / "sshd") as server:
        one = Mac(server, tmp_path)
        try:
            yield one
        finally:
            for pid in server.sessions("sftp-server"):
                os.kill(pid, signal.SIGCONT)
            for there in [one.point for one in table() if one.point.startswith(f"{tmp_path}/")]:
                subprocess.run(["fusermount3", "-uz", there], check=True)


def refused(ran: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One line that says what to do."""
    assert ran.returncode == code and ran.stdout == "" and ran.stderr.count("\n") == 1, (ran.returncode, ran.stdout, ran.stderr)
    assert all(word in ran.stderr for word in ("error: ", *words)), ran.stderr


@needs_fuse
def test_mount_look_unmount(mac: Mac) -> None:
    assert mac.state() == {"place": str(mac.place), "state": "absent", "source": "", "kind": "", "answered_ms": None}
    ran = mac.tape("mount")
    assert (ran.returncode, ran.stderr) == (0, "") and ran.stdout == f"{mac.remote} is mounted at {mac.place}\n"
    window = mac.place / "real_hot" / f"{slug(FIRST)}.jsonl"
    assert window.read_bytes() == content(FIRST)
    found = mac.state()
    assert found["state"] == "mounted" and found["kind"] == "fuse.sshfs" and float(str(found["answered_ms"])) >= 0
    assert found["source"] == f"{mac.server.user}@127.0.0.1:{mac.root}"
    assert "is mounted and answered in" in mac.tape("mount-status").stdout
    again = mac.tape("mount")
    assert (again.returncode, again.stdout) == (0, f"{mac.place} is mounted already\n")
    with pytest.raises(OSError) as error:
        window.write_bytes(b"")
    assert error.value.errno == errno.EROFS
    # Another root at the same place would be mistaken for this one.
    mac.remote += "/real_hot"
    refused(mac.tape("mount"), 10, f"{mac.server.user}@127.0.0.1:{mac.root} is mounted at {mac.place}", "tape unmount")
    ran = mac.tape("unmount")
    assert (ran.returncode, ran.stdout) == (0, f"{mac.place} is not mounted any more\n") and not mounted_at(mac.place)
    ran = mac.tape("unmount")
    assert (ran.returncode, ran.stdout) == (0, f"{mac.place} is not mounted\n")
    assert "nothing is mounted; tape mount mounts it" in mac.tape("mount-status").stdout


@needs_fuse
def test_what_is_new_and_what_grows_is_seen(mac: Mac) -> None:
    mac.mount()
    there, here = mac.root / "real_hot", mac.place / "real_hot"
    names = {one.name for one in here.iterdir()}
    hot(mac.root, FIRST + LENGTH)
    until(lambda: {one.name for one in here.iterdir()} > names)
    growing = here / f"{slug(FIRST)}.jsonl"
    before = growing.read_bytes()
    with (there / growing.name).open("ab") as file:
        file.write(b"one more\n")
    until(lambda: growing.read_bytes() == before + b"one more\n")


@needs_fuse
def test_names_with_blanks_commas_and_links(mac: Mac) -> None:
    """All three are separators to somebody: the shell, sshfs, ssh."""
    odd = mac.folder / "my, own"
    odd.mkdir()
    mac.root.rename(odd / "vps, root")
    mac.key = keygen(odd / "a, key")
    (mac.server.folder / "authorized").write_text((odd / "a, key.pub").read_text())
    mac.remote = f"sftp://{mac.server.user}@127.0.0.1:{mac.server.port}{odd}/vps, root"
    (mac.folder / "link").symlink_to(odd)
    place = mac.folder / "link" / "the place"
    ran = mac.tape("mount", place=place)
    assert ran.returncode == 0, ran.stderr
    assert (place / "real_hot" / f"{slug(FIRST)}.jsonl").read_bytes() == content(FIRST)
    assert mounted_at(odd / "the place") == mounted_at(place) != None  # noqa: E711
    (mac.folder / "straight").symlink_to(odd / "the place")
    assert mount_of(mac.folder / "straight" / "real_hot") == str(odd / "the place")
    assert mac.tape("mount-status", place=place).returncode == 0
    assert "mounted already" in mac.tape("mount", place=place).stdout
    assert mac.tape("unmount", place=place).returncode == 0 and not mounted_at(place)


@needs_fuse
def test_the_environment_names_the_place(mac: Mac) -> None:
    mac.more = {"TAPE_MOUNT": str(mac.place)}
    command = [sys.executable, "-m", "tape_archive", "mount-status"]
    ran = subprocess.run(command, env=environment(**mac.more), capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and ran.stdout.startswith(f"{mac.place}: nothing is mounted")


# -- hung ------------------------------------------------------------------------------------------------------------------------


def stop(mac: Mac) -> None:
    for pid in mac.server.sessions("sftp-server"):
        os.kill(pid, signal.SIGSTOP)


@needs_fuse
def test_a_hung_mount_is_told_and_taken_down(mac: Mac) -> None:
    mac.mount()
    stop(mac)
    # Somebody waits for it already; not even SIGKILL ends that before the mount is gone.
    reader = subprocess.Popen(["cat", str(mac.place / "real_hot" / f"{slug(FIRST)}.jsonl")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    found = mac.state()
    assert found["state"] == "hung" and found["answered_ms"] is None and reader.poll() is None
    assert "does not answer; tape mount mends it" in mac.tape("mount-status", "--seconds", "0.2").stdout
    ran = mac.tape("unmount")
    assert ran.returncode == 0 and not mounted_at(mac.place), ran.stderr
    _, said = reader.communicate(timeout=60)
    assert reader.returncode != 0 and said


@needs_fuse
def test_mount_mends_a_hung_one(mac: Mac) -> None:
    mac.mount()
    stop(mac)
    ran = mac.tape("mount")
    assert (ran.returncode, ran.stdout) == (0, f"{mac.remote} is mounted at {mac.place}\n"), ran.stderr
    assert (mac.place / "real_hot" / f"{slug(FIRST)}.jsonl").read_bytes() == content(FIRST)


@needs_fuse
def test_mount_mends_one_whose_sshfs_was_killed(mac: Mac) -> None:
    mac.mount()
    for folder in Path("/proc").glob("[0-9]*"):
        words = (folder / "cmdline").read_bytes().split(b"\0") if (folder / "cmdline").exists() else []
        if os.fsencode(mac.place) in words and words[0] == b"sshfs":
            os.kill(int(folder.name), signal.SIGKILL)
    until(lambda: mac.state()["state"] == "hung")
    assert mac.tape("mount").returncode == 0 and mac.state()["state"] == "mounted"


@needs_fuse
def test_whoever_stands_on_a_hung_mount_can_ask(mac: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder and a folder of the import path lie on it: the process that looks must not look there first."""
    mac.mount()
    code = f"import os, sys; os.chdir({str(mac.place)!r}); sys.path.insert(0, ''); print('there', flush=True); input()\n"
    code += f"from pathlib import Path; from tape_access.mount import state_of; print(state_of(Path({str(mac.place)!r}), 0.5).state)"
    pipe = subprocess.PIPE
    # What it needs is imported before: the script itself is somebody else's.
    child = subprocess.Popen(
        [sys.executable, "-c", f"import tape_access.mount\n{code}"], env=environment(), stdin=pipe, stdout=pipe, text=True
    )
    assert child.stdin and child.stdout and child.stdout.readline() == "there\n"
    stop(mac)
    assert child.communicate("\n", timeout=60)[0] == "hung\n"


@needs_fuse
def test_one_that_is_used_is_left_unless_forced(mac: Mac) -> None:
    mac.mount()
    file = os.open(mac.place / "real_hot" / f"{slug(FIRST)}.jsonl", os.O_RDONLY)
    try:
        refused(mac.tape("unmount"), 11, "is in use", "lsof", "--force")
        assert mounted_at(mac.place) and os.read(file, 1) == b"{"
        assert mac.tape("unmount", "--force").returncode == 0 and not mounted_at(mac.place)
        with pytest.raises(OSError):
            os.fstat(file)
    finally:
        with contextlib.suppress(OSError):
            os.close(file)


# -- refused ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("sshfs"), reason="needs sshfs")
def test_who_is_not_let_in_is_told_why(mac: Mac) -> None:
    mac.known = mac.folder / "none"
    mac.known.touch()
    how = f"ssh -p {mac.server.port} -i {mac.key} {mac.server.user}@127.0.0.1"
    refused(mac.tape("mount"), 10, "host key", "is not known yet", "fingerprint", how)
    # Nothing that is added makes an unknown host a known one.
    refused(mac.tape("mount", "-o", "StrictHostKeyChecking=no"), 10, "is not known yet")
    mac.known.write_text("* " + keygen(mac.folder / "another").with_suffix(".pub").read_text())
    refused(mac.tape("mount"), 10, "is not the one that is known", f'ssh-keygen -f "{mac.known}" -R "[127.0.0.1]:{mac.server.port}"', how)
    mac.known = mac.server.known_hosts
    mac.key = keygen(mac.folder / "stranger")
    refused(mac.tape("mount"), 10, "refused our key", f"ssh-copy-id -p {mac.server.port} -i {mac.key}", "ssh-add")
    mac.key = mac.folder / "no such key"
    refused(mac.tape("mount"), 2, "there is no key", "ssh-keygen -t ed25519")
    assert not mounted_at(mac.place)


@pytest.mark.skipif(not shutil.which("sshfs"), reason="needs sshfs")
def test_what_cannot_be_reached_is_told(mac: Mac) -> None:
    where = mac.remote
    mac.remote = where + "/nothing"
    refused(mac.tape("mount"), 1, f"has no folder {mac.root}/nothing", "VPS_PATH")
    mac.remote = f"sftp://127.0.0.1:{free_port()}/x"
    refused(mac.tape("mount"), 10, "cannot reach 127.0.0.1", "refused")
    mac.remote = "sftp://no-such-machine.invalid/x"
    refused(mac.tape("mount"), 10, "no machine has the name of no-such-machine.invalid", "~/.ssh/config")
    mac.remote = "sftp://-oProxyCommand=touch/x"
    refused(mac.tape("mount"), 2, "no name of a host")
    mac.remote = str(mac.folder)
    refused(mac.tape("mount"), 2, "say what to mount", "--remote", "TAPE_REMOTE", "VPS_HOST")
    mac.remote = where
    refused(mac.tape("mount", "-o", "no_such_option"), 10, "sshfs refuses", "no_such_option")
    assert not mounted_at(mac.place)


@pytest.mark.skipif(not shutil.which("sshfs"), reason="needs sshfs")
def test_a_folder_that_cannot_be_mounted_at(mac: Mac) -> None:
    mac.place.mkdir(parents=True)
    (mac.place / "mine").write_text("mine")
    refused(mac.tape("mount"), 10, "is not empty (it holds mine)", "choose another folder")
    (mac.place / "mine").unlink()
    refused(mac.tape("mount", place=mac.server.key), 10, f"cannot mount at {mac.server.key}", "choose another folder")
    refused(mac.tape("mount", place="/proc"), 10, "is mounted at /proc")
    refused(mac.tape("unmount", place="/proc"), 10, "/proc is no mount of ours")
    assert not mounted_at(mac.place)


def test_sshfs_is_missing(mac: Mac) -> None:
    (mac.folder / "bin").mkdir()
    for name in ("ssh", "fusermount3"):
        if found := shutil.which(name):
            (mac.folder / "bin" / name).symlink_to(found)
    mac.more["PATH"] = str(mac.folder / "bin")
    refused(mac.tape("mount"), 10, "sshfs is not installed", "setup_sshfs_mount.sh", "DataAccessor needs none")


def test_the_command_has_the_options_of_old(mac: Mac) -> None:
    told = mac.tape("mount", "--dry-run", "-o", "max_conns=4").stdout
    assert not mac.place.exists()
    wanted = (
        "reconnect",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=3",
        "cache=yes",
        "cache_timeout=1",
        "StrictHostKeyChecking=yes",
        "ro",
        "max_conns=4",
    )
    assert [f"-o {one} " in f"{told.strip()} " for one in wanted] == [True] * len(wanted), told
    assert "kernel_cache" in told or sys.platform == "darwin"
    assert " -o ro " not in mac.tape("mount", "--dry-run", "--write").stdout


# -- the table -------------------------------------------------------------------------------------------------------------------


def test_the_table_of_linux() -> None:
    text = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
98 22 0:47 / /home/me/my\040place rw,nosuid - fuse.sshfs me@vps:poly\040market rw,user_id=0
99 22 0:48 / /mnt/nfs rw master:3 propagate_from:2 - nfs4 nas:/x rw
torn line"""
    assert parse_linux(text) == [
        Mounted("/", "/dev/root", "ext4"),
        Mounted("/home/me/my place", "me@vps:poly market", "fuse.sshfs"),
        Mounted("/mnt/nfs", "nas:/x", "nfs4"),
    ]
    assert [one.foreign for one in parse_linux(text)] == [False, True, True]


def test_the_table_of_macos() -> None:
    text = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
me@vps:polymarket on /Users/me/poly market (macfuse, nodev, nosuid, read-only, mounted by me)
me@vps: on /Users/me/on (x) (osxfuse_sshfs)
"""
    assert parse_macos(text) == [
        Mounted("/", "/dev/disk3s1s1", "apfs"),
        Mounted("/System/Volumes/Data/home", "map auto_home", "autofs"),
        Mounted("/Users/me/poly market", "me@vps:polymarket", "macfuse"),
        Mounted("/Users/me/on (x)", "me@vps:", "osxfuse_sshfs"),
    ]
    assert [one.foreign for one in parse_macos(text)] == [False, False, True, True]


def test_a_path_without_links_is_that_of_the_system(tmp_path: Path) -> None:
    """Oracle: realpath, where nothing is mounted."""
    chance = random.Random(4)
    for n in range(300):
        folder = tmp_path / "/".join(chance.choice("abc") for _ in range(chance.randrange(1, 4)))
        to = "/".join(chance.choice(["a", "b", "c", "..", "."]) for _ in range(chance.randrange(1, 4)))
        if n % 3 == 0:
            folder.mkdir(parents=True, exist_ok=True) if not os.path.lexists(folder) else None
        elif folder.parent.is_dir() and not os.path.lexists(folder):
            folder.symlink_to(to if chance.random() < 0.5 else tmp_path / to)
    for _ in range(1000):
        path = tmp_path / "/".join(chance.choice("abcd") for _ in range(chance.randrange(1, 5)))
        try:
            os.path.realpath(path, strict=True)
        except OSError:
            continue
        # abspath first: what realpath makes of a link and '..' behind it is another thing than what people mean.
        assert plain_path(path, []) == os.path.realpath(os.path.abspath(path))  # noqa: PTH100


def test_nothing_on_a_mount_is_touched(tmp_path: Path) -> None:
    """A link on the mount, and the mount itself, are not followed."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "link").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("there")
    foreign = [Mounted(str(tmp_path / "there"), "x", "fuse.sshfs")]
    assert plain_path(tmp_path / "link" / "link" / "x", foreign) == f"{tmp_path}/there/link/x"
    assert plain_path(tmp_path / "link" / "link" / "x", []) == f"{tmp_path}/x"
    (tmp_path / "loop").symlink_to("loop")
    assert plain_path(tmp_path / "loop", []) == str(tmp_path / "loop")


def test_a_store_of_a_folder_that_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    store = MountStore(Path("a"))
    assert store.read("file") == b"x"
    store.close()


def test_a_process_with_many_open_files_reads_a_mount(tmp_path: Path) -> None:
    """Whose pipe to the child has a number above 1,023, as a strategy's may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    (tmp_path / "one").write_bytes(b"1")
    with contextlib.ExitStack() as many:
        many.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            many.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        store = MountStore(tmp_path)
        many.callback(store.close)
        assert [entry.name for entry in store.list("")] == ["one"]
