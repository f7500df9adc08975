"""``tape mount``, ``tape unmount``, ``tape mount-status``: the recorders' root of the VPS as a folder here, by sshfs.

A mount is a convenience for people and their tools. ``DataAccessor`` reads it with a deadline, and does without it just as well.
"""

from __future__ import annotations

import shlex

import click
import msgspec

from tape_access import mount as mounts
from tape_access.sources import remote_store
from tape_archive.format.errors import NotFound, StoreUnavailable

_place = click.argument("place", metavar="[DIR]", default="~/polymarket", envvar="TAPE_MOUNT")


@click.command("mount")
@_place
@click.option("--remote", metavar="URL", help="sftp://[user@]host[:port]/path.  [default: TAPE_REMOTE, or VPS_HOST …]")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="A further option of sshfs or ssh.")
@click.option("--write", is_flag=True, help="Not only for reading.")
@click.option("--dry-run", is_flag=True, help="Print the command.")
def mount(place: str, remote: str | None, options: tuple[str, ...], write: bool, dry_run: bool) -> int:
    """Mount the root of the recorders on the VPS at DIR (default: TAPE_MOUNT, else ~/polymarket).

    A mount that hangs is taken down first; one that answers is left as it is. The host key must be known.
    """
    here, store = mounts.place_of(place), mounts.as_store(remote_store(remote))
    if dry_run:
        click.echo(shlex.join(mounts.sshfs(store, here, options, write=write)))
        return 0
    made = mounts.mount(store, here, options, write=write)
    click.echo(f"{store.url} is mounted at {here}" if made else f"{here} is mounted already")
    return 0


@click.command("unmount")
@_place
@click.option("--force", is_flag=True, help="Even if it is in use; whoever reads from it gets an error.")
def unmount(place: str, force: bool) -> int:
    """Take the mount at DIR down (default: TAPE_MOUNT, else ~/polymarket), also one that hangs.

    Where nothing is mounted, nothing is done.
    """
    here = mounts.place_of(place)
    done = mounts.unmount(here, force=force)
    click.echo(f"{here} is not mounted any more" if done else f"{here} is not mounted")
    return 0


@click.command("mount-status")
@_place
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="How long an answer may take.")
@click.option("--json", "as_json", is_flag=True, help="One object: place, state, source, kind, answered_ms.")
def status(place: str, seconds: float, as_json: bool) -> int:
    """Whether DIR is mounted and answers. Exit code 0: it does; 10: it hangs; 1: nothing is mounted there."""
    found = mounts.state_of(mounts.place_of(place), seconds)
    told = {
        "mounted": f"{found.place}: {found.source} is mounted and answered in {found.answered_ms} ms",
        "hung": f"{found.place}: {found.source} is mounted and does not answer; tape mount mends it",
        "absent": f"{found.place}: nothing is mounted; tape mount mounts it",
    }
    click.echo(msgspec.json.encode(found).decode() if as_json else told[found.state])
    return {"mounted": 0, "hung": StoreUnavailable.exit_code, "absent": NotFound.exit_code}[found.state]
