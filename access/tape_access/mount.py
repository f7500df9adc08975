"""A folder of an SSH server as a folder here, by sshfs: made, taken down, asked whether it answers. Nothing here waits for a dead mount."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from tape_access.mount_table import mounted_at, plain_path
from tape_access.mounted import MountStore
from tape_archive.format.errors import Busy, NotFound, SettingsError, StoreError, StoreUnavailable, TapeError
from tape_archive.stores.sftp import SftpStore
from tape_archive.stores.ssh import complaint

#: A host key that is not known is refused; nothing asks for a password; a line that is dead is given up after 45 s.
SSH_OPTIONS = (
    "StrictHostKeyChecking=yes",
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
)
#: Measured with sshfs 3.7.3: by its own 20 s of cache a new window is seen after 20 s, with 1 s after 1 s. Links are followed by the
#: server, so that none of them can lead to files of this machine.
SSHFS_OPTIONS = ("reconnect", "cache=yes", "cache_timeout=1", "follow_symlinks", "nosuid", "nodev")
#: libfuse 3 forgets cached pages when size or time of a file change; that of macOS does so only with auto_cache.
LINUX = ("kernel_cache",)
MAC = ("auto_cache", "volname=polymarket", "defer_permissions", "noappledouble")
_START_S = 40.0
_STOP_S = 10.0


class State(msgspec.Struct, frozen=True):
    """What a mount point is. ``state``: ``mounted`` (and answers), ``hung`` (mounted, and does not answer in time), ``absent``.
    ``answered_ms`` is None where nothing answered."""

    place: str
    state: Literal["mounted", "hung", "absent"]
    source: str = ""
    kind: str = ""
    answered_ms: float | None = None


def place_of(given: str) -> Path:
    """A mount point as the system's table has it."""
    return Path(plain_path(Path(given).expanduser()))


def state_of(place: Path, seconds: float = 2.0) -> State:
    """What is there. Takes no longer than ``seconds``, and the start of a process."""
    here = mounted_at(place)
    if here is None:
        return State(str(place), "absent")
    store = MountStore(place, seconds)
    try:
        alive, took = store.alive(), store.answered_s
    finally:
        store.close()
    return State(str(place), "mounted" if alive else "hung", here.source, here.kind, round(took * 1000, 1) if alive else None)


# -- mount ---------------------------------------------------------------------------------------------------------------------


def sshfs(store: SftpStore, place: Path, extra: Sequence[str] = (), *, write: bool = False) -> list[str]:
    """The command that mounts. ``extra``: further options; ours come first, and ssh takes the first of each, so they cannot weaken ours."""
    target = store.target
    target.check()
    options = [*SSHFS_OPTIONS, *(() if write else ("ro",)), *(MAC if sys.platform == "darwin" else LINUX), *SSH_OPTIONS, *target.options]
    if target.port:
        options.append(f"Port={target.port}")
    if target.key:
        options += [f'IdentityFile="{Path(target.key).expanduser()}"', "IdentitiesOnly=yes"]
    words = [word for one in (*options, *extra) for word in ("-o", one.replace("\\", "\\\\").replace(",", "\\,"))]
    return ["sshfs", source_of(store), str(place), *words]


def source_of(store: SftpStore) -> str:
    """``user@host:path``, as sshfs takes it and the table of mounts shows it."""
    host = f"[{store.target.host}]" if ":" in store.target.host else store.target.host
    return f"{store.target.user + '@' if store.target.user else ''}{host}:{'' if store.root == '.' else store.root}"


def mount(store: SftpStore, place: Path, extra: Sequence[str] = (), *, write: bool = False) -> bool:
    """Mount, and come back when the mount answers; False if it did so already. One that hangs is taken down first.

    Raises SettingsError, StoreDenied (host key, key), StoreUnavailable, NotFound (no such folder there), StoreError.
    """
    command = sshfs(store, place, extra, write=write)
    if _is_mounted(store, place):
        return False
    if not shutil.which("sshfs"):
        raise StoreError("sshfs is not installed: run deploy/setup_sshfs_mount.sh (or read without a mount: DataAccessor needs none)")
    _make_ready(place)
    # A pipe would stay open in what lives on.
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        try:
            code = child.wait(_START_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            unmount(place, force=True)
            raise StoreUnavailable(f"{store.target} did not answer within {_START_S:g} s") from None
        said.seek(0)
        words = said.read().decode("utf-8", "replace")
    if code:
        raise _why(store, extra, words)
    if state_of(place, _STOP_S).state != "mounted":
        raise StoreUnavailable(f"{store.url} is mounted at {place} and does not answer")
    return True


def _is_mounted(store: SftpStore, place: Path) -> bool:
    found = state_of(place)
    if found.state == "absent":
        return False
    if found.source != source_of(store):
        raise StoreError(f"{found.source} is mounted at {place}: unmount that first (tape unmount {place}), or choose another folder")
    if found.state == "hung":
        unmount(place)
        return False
    return True


def _make_ready(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        full = next((one for one in place.iterdir() if one.name != ".DS_Store"), None)
    except OSError as error:
        raise StoreError(f"cannot mount at {place}: {error.strerror}; choose another folder") from None
    if full is not None:
        raise StoreError(f"{place} is not empty (it holds {full.name}), and a mount would hide that: choose another folder")


def _why(store: SftpStore, extra: Sequence[str], words: str) -> TapeError:
    """What sshfs means. It hides what ssh said, so the same way is gone once more without it."""
    if "No such file" in words or "Not a directory" in words:
        return NotFound(f"{store.target} has no folder {store.root}; give the --root of the recorders (--remote, VPS_PATH)")
    if "unknown option" in words or "fuse:" in words or "fusermount" in words:
        return StoreError(f"sshfs refuses: {_last(words)}")
    # Options of ssh are written in capitals, those of sshfs are not.
    options = (*SSH_OPTIONS, *store.target.options, *(one for one in extra if one[:1].isupper()))
    again = SftpStore(msgspec.structs.replace(store.target, options=options), store.root)
    with contextlib.closing(again):
        try:
            again.list()
        except TapeError as error:
            return error
    return complaint(str(store.target), store.target.words, words)


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"


# -- unmount -------------------------------------------------------------------------------------------------------------------


def unmount(place: Path, *, force: bool = False) -> bool:
    """Take down what is mounted; False if nothing is. One that hangs is taken down in any case, and with ``force`` one that is in use is
    so too: whoever waits for it gets an error.

    Raises Busy (something uses it), StoreError.
    """
    here = mounted_at(place)
    if here is None:
        return False
    if not here.foreign:
        raise StoreError(f"{place} is no mount of ours ({here.kind}, {here.source})")
    hard = force or state_of(place).state == "hung"
    serving = _serving(place) if hard else []
    try:
        ran = subprocess.run(_down(place, hard), capture_output=True, text=True, check=False, timeout=_STOP_S)
    except FileNotFoundError as error:
        raise StoreError(f"{error.filename} is not installed: apt-get install fuse3") from None
    except subprocess.TimeoutExpired:
        raise StoreUnavailable(f"{place} does not answer; take it down by: tape unmount --force {place}") from None
    if ran.returncode and "busy" in (ran.stdout + ran.stderr).lower():
        raise Busy(f"{place} is in use: end what uses it (lsof {place}), or: tape unmount --force {place}")
    if ran.returncode:
        raise StoreError(f"cannot unmount {place}: {_last(ran.stderr)}")
    _end(serving)
    if not _until(lambda: mounted_at(place) is None, _STOP_S):
        raise StoreError(f"{place} is still mounted; is it mounted twice? Run tape unmount again")
    return True


def _down(place: Path, hard: bool) -> list[str]:
    if sys.platform == "darwin":
        return ["/sbin/umount", *(["-f"] if hard else []), str(place)]
    return ["fusermount3" if shutil.which("fusermount3") else "fusermount", "-uz" if hard else "-u", str(place)]


def _serving(place: Path) -> list[int]:
    """The sshfs processes of this user that serve a mount point (Linux; the umount of macOS lets go of everybody itself)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            mine = folder.stat().st_uid == os.getuid()
        except OSError:
            continue
        if mine and words[0].rpartition(b"/")[2] == b"sshfs" and os.fsencode(place) in words:
            found.append(int(folder.name))
    return found


def _end(serving: Sequence[int]) -> None:
    """Whoever waits for an answer is let go only when sshfs ends; and one that waits itself ends by force only."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in serving:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in serving), 1.0):
            return


def _until(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
    return True


def as_store(store: object) -> SftpStore:
    """The remote side, if it is an SSH server. Raises SettingsError."""
    if not isinstance(store, SftpStore):
        raise SettingsError("say what to mount: --remote sftp://[user@]host/path, or TAPE_REMOTE, or VPS_HOST")
    return store
