"""``tape prune``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from tape_archive import human
from tape_archive import settings as configured
from tape_archive.archiver.prune import Pruned, Pruner, old
from tape_archive.format.errors import NotFound, SettingsError, TapeError
from tape_archive.format.lock import Lock
from tape_archive.stores import open_store

SECOND = 1_000_000_000


class Report(msgspec.Struct):
    """What a run did, or (``dry_run``) would do. ``newest``: files that stay since they are the newest of their series. ``error``: why it
    ended early; what is told was done."""

    deleted: list[Pruned] = []
    stayed: list[Pruned] = []
    young: int = 0
    newest: int = 0
    dry_run: bool = True
    error: str = ""


@click.command("prune")
@click.option("--root", default=".", show_default=True, metavar="DIR", help="Where the recorders write.")
@click.option("--config", metavar="FILE", help="YAML file: section archiver, keys retention and target.  [default: TAPE_CONFIG]")
@click.option("--keep", multiple=True, metavar="TABLE=DAYS", help="How long a table is kept; beats the file. May be given again.")
@click.option("--target", metavar="URL", help="Where copies lie: a folder, sftp://[user@]host/path or s3://bucket/prefix.")
@click.option("--allow-loss", multiple=True, metavar="TABLE", help="This table may go without a copy. May be given again.")
@click.option("--apply", is_flag=True, help="Delete. Without it nothing changes: it is said what would be deleted.")
@click.option("--now", type=float, hidden=True, help="Unix seconds; for tests.")
@click.option("--json", "as_json", is_flag=True, help="The result, file by file, as JSON.")
def command(**options: Any) -> int:
    """Delete what is older than its table is kept, if its copy elsewhere was read and is the same, or its loss is allowed.

    Tables: windows (the archived ones), raw, logs, orderbook_ticks, ofi_cvd; or one part of a table, as raw/binance_spot. The tables of
    market-record keep their own time. What is not named is kept for ever. The newest of each series always stays.

    Exit code 3: some files that are old enough stayed, and why is said.
    """
    settings = configured.load(options["config"])
    retention = settings.retention | configured.retention(options["keep"])
    if not retention:
        raise SettingsError("say how long what is kept: --keep raw=90, or archiver: retention: in --config")
    lossy = [_lossy(name) for name in options["allow_loss"]]
    root = Path(options["root"]).expanduser()
    if not root.is_dir():
        raise NotFound(f"{root} is not there; give the --root of the recorders")
    report = Report(dry_run=not options["apply"])
    with working(root):
        problem = run(report, root, msgspec.structs.replace(settings, retention=retention), options["target"], lossy, options)
    if options["as_json"]:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    else:
        show(report)
    if problem is not None:
        raise problem
    return 3 if report.stayed else 0


def working(root: Path) -> Lock:
    """Only one archiver works on a root, whatever it does."""
    return Lock(root / "state" / "archiver.lock", "the archiver is at work here already", "wait until it has ended")


def _lossy(name: str) -> str:
    if configured.table(name, "--allow-loss") != name:
        raise SettingsError(f"--allow-loss {name!r}: give the whole table; --keep chooses which part of it is old")
    return name


def run(
    report: Report, root: Path, settings: configured.ArchiverSettings, url: str | None, lossy: Sequence[str], options: dict[str, Any]
) -> TapeError | None:
    """Delete, or (``report.dry_run``) say what would be; gives what ended it early. Raises SettingsError, Corrupt (a cursor)."""
    url = url or settings.target
    pruner = Pruner(root, open_store(url) if url else None, lossy, report.dry_run)
    found = old(root, settings.retention, options["now"] or time.time())
    report.young, report.newest = found.young, found.newest
    hidden = options["as_json"] or not sys.stderr.isatty()
    with click.progressbar(length=sum(item.bytes for item in found.items), label="verifying", hidden=hidden) as bar:

        def told(into: list[Pruned], one: Pruned) -> None:
            into.append(one)
            bar.update(one.bytes)

        try:
            pruner.run(found.items, lambda one: told(report.deleted, one), lambda one: told(report.stayed, one))
        except TapeError as error:
            report.error = str(error)
            return error
    return None


def show(report: Report) -> None:
    """One line for each table and reason."""
    verb = "would delete" if report.dry_run else "deleted"
    for what, some in ((verb, report.deleted), ("stays", report.stayed)):
        for table, why in sorted({(one.table, one.why) for one in some}):
            these = [one for one in some if (one.table, one.why) == (table, why)]
            dates = " to ".join(sorted({human.moment(round(one.end) * SECOND)[:10] for one in (these[0], these[-1])}))
            total = human.size(sum(one.bytes for one in these))
            click.echo(f"{what:13}{table:16}{len(these):>8,} files{total:>11}  of {dates:24}  {why}")
            if what == "stays":
                click.echo(f"{'':13}{these[0].path}{f' and {len(these) - 1:,} more' if len(these) > 1 else ''}")
    size = human.size(sum(one.bytes for one in report.deleted))
    rest = f"{len(report.stayed):,} stay, {report.newest:,} are the newest of their series, {report.young:,} are not old enough"
    click.echo(f"{verb} {len(report.deleted):,} files, {size}; {rest}{'; --apply deletes' if report.dry_run and report.deleted else ''}")
