"""``tape mount``, ``tape unmount``, ``tape mount-status``: the recorders' root of the VPS as a folder here, by sshfs.

A mount is a convenience for people and their tools. ``DataAccessor`` reads it with a deadline, and does without it just as well.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from tape_access.mounted import MountStore, mount_of
from tape_access.sources import remote_store
from tape_archive.format.errors import SettingsError, StoreError, StoreUnavailable, TapeError
from tape_archive.stores.sftp import SftpStore
from tape_archive.stores.ssh import complaint

#: the brief's, and what keeps a dead line from hanging for ever
OPTIONS = (
    "reconnect",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "ConnectTimeout=10",
    "StrictHostKeyChecking=yes",
    "BatchMode=yes",
    "follow_symlinks",
    "auto_cache",
    "ro",
)
_LINUX = ("cache=yes", "kernel_cache")
_MAC = ("volname=polymarket", "defer_permissions", "noappledouble")

_place = click.argument("place", metavar="DIR", default="~/polymarket")
_remote = click.option("--remote", metavar="URL", help="sftp://[user@]host[:port]/path.  [default: TAPE_REMOTE, or VPS_HOST …]")


class State(msgspec.Struct):
    """``state``: mounted, hung (it is there and does not answer), absent."""

    place: str
    state: str


def state_of(place: Path) -> State:
    """Found out without ever waiting for a dead mount."""
    if mount_of(place) == "":
        return State(str(place), "absent")
    store = MountStore(place)
    try:
        return State(str(place), "mounted" if store.alive() else "hung")
    finally:
        store.close()


@click.command("mount")
@_place
@_remote
@click.option("--write", is_flag=True, help="Not only for reading.")
@click.option("--dry-run", is_flag=True, help="Print the command.")
def mount(place: str, remote: str | None, write: bool, dry_run: bool) -> int:
    """Mount the root of the recorders on the VPS at DIR. A mount that hangs is taken down first; one that answers is left as it is."""
    here, store = Path(place).expanduser(), _store(remote)
    command = sshfs(store, here, write)
    if dry_run:
        click.echo(" ".join(command))
        return 0
    found = state_of(here).state
    if found == "mounted":
        click.echo(f"{here} is mounted already")
        return 0
    if found == "hung":
        take_down(here)
    if not shutil.which("sshfs"):
        raise StoreError("sshfs is not installed: run deploy/setup_sshfs_mount.sh (or read without a mount: DataAccessor needs none)")
    here.mkdir(parents=True, exist_ok=True)
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if ran.returncode:
        raise _why(store, ran.stderr)
    click.echo(f"{store.url} is mounted at {here}")
    return 0


@click.command("unmount")
@_place
def unmount(place: str) -> int:
    """Take the mount at DIR down, also one that hangs."""
    here = Path(place).expanduser()
    if state_of(here).state == "absent":
        click.echo(f"{here} is not mounted")
        return 0
    take_down(here)
    click.echo(f"{here} is not mounted any more")
    return 0


@click.command("mount-status")
@_place
@click.option("--json", "as_json", is_flag=True)
def status(place: str, as_json: bool) -> int:
    """Whether DIR is mounted and answers. Exit code 0: it does; 10: it hangs, or is not there."""
    found = state_of(Path(place).expanduser())
    told = {"mounted": "is mounted and answers", "hung": "is mounted and does not answer: tape mount mends it", "absent": "is not mounted"}
    click.echo(msgspec.json.encode(found).decode() if as_json else f"{found.place} {told[found.state]}")
    return 0 if found.state == "mounted" else StoreUnavailable.exit_code


def sshfs(store: SftpStore, here: Path, write: bool = False) -> list[str]:
    """The command that mounts."""
    options = [one for one in OPTIONS if one != "ro" or not write] + list(_MAC if sys.platform == "darwin" else _LINUX)
    target = store.target
    options += target.options
    if target.key:
        options += [f"IdentityFile={Path(target.key).expanduser()}", "IdentitiesOnly=yes"]
    command = ["sshfs", f"{target.user + '@' if target.user else ''}{target.host}:{store.root}", str(here), "-o", ",".join(options)]
    return [*command, "-p", str(target.port)] if target.port else command


def take_down(place: Path) -> None:
    """Raises StoreError."""
    if sys.platform == "darwin":
        commands = [["/sbin/umount", "-f", str(place)], ["/usr/sbin/diskutil", "unmount", "force", str(place)]]
    else:
        tool = "fusermount3" if shutil.which("fusermount3") else "fusermount"
        commands = [[tool, "-u", str(place)], [tool, "-uz", str(place)]]
    said = ""
    for command in commands:
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        except subprocess.TimeoutExpired:
            continue
        if ran.returncode == 0:
            return
        said = ran.stderr.strip()
    raise StoreError(f"cannot unmount {place}: {said or 'it does not answer'}; end the programs that use it")


def _store(remote: str | None) -> SftpStore:
    store: Any = remote_store(remote)
    if not isinstance(store, SftpStore):
        raise SettingsError("say what to mount: --remote sftp://[user@]host/path, or TAPE_REMOTE, or VPS_HOST")
    return store


def _why(store: SftpStore, said: str) -> TapeError:
    if "read: Connection reset" in said or not said.strip():
        # sshfs hides what ssh said: ask by the same way.
        try:
            store.list()
        except TapeError as error:
            return error
    return complaint(str(store.target), store.target.words, said)
