"""``sync-cex``, or ``tape sync``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from tape_access.sources import remote_store
from tape_access.sync import Sync, Synced, find
from tape_archive import human
from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.format.lock import Lock
from tape_archive.service import command as script
from tape_archive.stores import Entry


@click.command("sync")
@click.option(
    "--remote", metavar="URL", help="The root there: sftp://[user@]host/path.  [default: TAPE_REMOTE, or VPS_HOST, VPS_USER, VPS_PATH]"
)
@click.option("--to", "here", metavar="DIR", default=".", show_default=True, envvar="LOCAL_CEX_DIR", help="The root here.")
@click.option("--folder", "folders", multiple=True, metavar="NAME", help="What is brought; may be given again.  [default: logs]")
@click.option("--ticks", is_flag=True, help="Also tick Parquet.")
@click.option("--days", type=click.FloatRange(0), help="Only files that changed in the last so many days.")
@click.option("--checksum", is_flag=True, help="Compare files that nobody brought by all of their content.")
@click.option("--dry-run", is_flag=True, help="Say what would be brought.")
@click.option("--json", "as_json", is_flag=True)
def command(**options: Any) -> int:
    """Bring the CSV series (and ticks) from the VPS, over SSH. What is equal is skipped, what has grown is appended to; it may be killed at
    any moment and run again.

    For cron, every half hour:  */30 * * * * sync-cex --remote sftp://me@vps/~/polymarket --to ~/polymarket
    """
    store = remote_store(options["remote"])
    if store is None:
        raise SettingsError("say where from: --remote sftp://[user@]host/path, or TAPE_REMOTE, or VPS_HOST")
    here = Path(options["here"]).expanduser()
    folders = list(options["folders"]) or ["logs"]
    folders += ["orderbook_ticks"] if options["ticks"] else []
    since = time.time() - options["days"] * 86_400 if options["days"] is not None else 0.0
    try:
        entries = [entry for folder in folders for entry in find(store, folder, lambda one: one.folder or one.mtime_ns / 1e9 >= since)]
    except NotFound as error:
        store.close()
        raise NotFound(f"{error}; give the --root of the recorders (--remote, VPS_PATH), or its folder (--folder)") from None
    try:
        with Lock(here / "state" / "sync.lock", "sync-cex is at work here already", "wait until it has ended, or give another --to"):
            done = _bring(Sync(store, here, checksum=options["checksum"]), entries, options)
    finally:
        store.close()
    if options["as_json"]:
        click.echo(msgspec.json.format(msgspec.json.encode(done), indent=1).decode())
    else:
        _show(done, options["dry_run"], store.url, here)
    return 0


main = script(command)


def _bring(sync: Sync, entries: list[Entry], options: dict[str, Any]) -> list[Synced]:
    if options["dry_run"]:
        return [Synced(entry.path, entry.bytes, 0, sync.would(entry)) for entry in entries]
    done = []
    hidden = options["as_json"] or not sys.stderr.isatty()
    wanted = [entry for entry in entries if sync.would(entry) != "same"]
    with click.progressbar(length=sum(entry.bytes for entry in wanted), label="fetching", hidden=hidden) as bar:
        for entry in entries:
            done.append(sync.bring(entry))
            if entry in wanted:
                bar.update(entry.bytes)
    sync.save()
    return done


def _show(done: list[Synced], dry_run: bool, url: str, here: Path) -> None:
    changed = [one for one in done if one.how != "same"]
    for one in changed:
        click.echo(f"{one.how:8}{human.size(one.bytes):>12}  {one.path}")
    fetched = sum(one.fetched for one in done)
    told = "would be brought" if dry_run else f"brought ({human.size(fetched)} travelled)"
    click.echo(f"{url} -> {here}: {len(changed):,} files {told}, {len(done) - len(changed):,} are the same")
