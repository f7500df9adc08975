"""``archiver``, or ``tape archive``."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from tape_archive import human
from tape_archive import settings as configured
from tape_archive.archiver import days, look, tapes
from tape_archive.archiver.days import Compacted
from tape_archive.archiver.move import Moved, Mover
from tape_archive.archiver.plan import Plan, Rules, plan
from tape_archive.commands import prune
from tape_archive.format.atomic import sweep
from tape_archive.format.compression import KINDS, Compression, compression
from tape_archive.format.errors import NotFound, SettingsError, TapeError
from tape_archive.format.lock import held
from tape_archive.format.ticks import of_folder
from tape_archive.service import command as script
from tape_archive.service import log_to_file
from tape_archive.stores import LocalStore, Store, open_store

log = logging.getLogger(__name__)


class Report(msgspec.Struct):
    """What a run did. ``pruned``: what retention deleted, where it was asked. ``error``: why it ended early; what is told was done."""

    moved: list[Moved] = []
    stayed: list[Moved] = []
    packed: list[Moved] = []
    compacted: list[Compacted] = []
    pruned: prune.Report | None = None
    young: int = 0
    dry_run: bool = False
    error: str = ""


@click.command("archive")
@click.option("--root", metavar="DIR", help="Where the recorders write.  [default: the current folder]")
@click.option("--hot-dir", metavar="DIR", help="The folder of hot windows.  [default: <root>/real_hot]")
@click.option("--archive-dir", metavar="DIR", help="The folder of cold windows.  [default: <root>/real_archive]")
@click.option("--target", metavar="URL", help="Another place for the archive: sftp://[user@]host/path or s3://bucket/prefix.")
@click.option(
    "--days",
    type=click.FloatRange(0),
    default=7.0,
    show_default=True,
    help="How old: a window's start, the end of a tape or day.",
)
@click.option("--compress", type=click.Choice([*KINDS]), default="zstd", show_default=True)
@click.option("--level", type=int, default=0, help="Of the compression.  [default: zstd 19, gzip 9; of --compact zstd 7]")
@click.option(
    "--unresolved-after", type=click.FloatRange(0), metavar="DAYS", help="Also windows without a result, so many days after they began."
)
@click.option("--unsealed", is_flag=True, help="Also what no recorder sealed or finished; never while it runs.")
@click.option("--tapes/--no-tapes", default=True, show_default=True, help="Also pack raw tapes.")
@click.option("--compact", is_flag=True, help="Also merge the Parquet parts of each old day into one file.")
@click.option("--prune", "pruning", is_flag=True, help="Then delete what the retention in --config allows, as tape prune does.")
@click.option("--config", metavar="FILE", help="YAML file with the retention.  [default: TAPE_CONFIG]")
@click.option("--dry-run", is_flag=True, help="Say what would happen, with the true sizes; change nothing.")
@click.option("--now", type=float, hidden=True, help="Unix seconds; for tests.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def command(**options: Any) -> int:
    """Move old windows to the archive, compressed and verified, pack old tapes, and (--compact) make one Parquet file of each old day. Safe
    to kill at any moment and to run twice.

    What it does to each file is written to state/archiver.log. Exit code 3: some files that are old enough stayed, and why is said.
    """
    root, hot, target, folder = _places(options)
    rules = configured.load(options["config"]) if options["pruning"] else configured.ArchiverSettings()
    if options["pruning"] and not rules.retention:
        raise SettingsError("--prune needs to know how long what is kept: archiver: retention: in --config")
    report, problem = Report(dry_run=options["dry_run"]), None
    with prune.working(root), _logged(root, report):
        try:
            _run(report, root, hot, target, folder, options)
            if options["pruning"]:
                report.pruned = prune.Report(dry_run=report.dry_run)
                problem = prune.run(report.pruned, root, rules, options["target"], (), options)
        except TapeError as error:
            problem = error
        report.error = str(problem or "")
    if options["as_json"]:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    else:
        _show(report, hot, f"{target.url}/{folder}".rstrip("/"))
    if problem is not None:
        raise problem
    return 3 if report.stayed or (report.pruned and report.pruned.stayed) else 0


main = script(command)


def _places(options: dict[str, Any]) -> tuple[Path, Path, Store, str]:
    """(root, hot folder, store, folder in the store)."""
    given = options["hot_dir"]
    root = Path(options["root"] or (Path(given).expanduser().parent if given else ".")).expanduser()
    hot = Path(given).expanduser() if given else root / "real_hot"
    if not any((root / name).is_dir() for name in (hot.name, "raw", *(tree.folder for tree in days.TREES))) and not hot.is_dir():
        raise NotFound(f"{root} has neither {hot.name} nor raw; give the --root of the recorders")
    if options["target"]:
        return root, hot, open_store(options["target"]), "real_archive"
    archive = Path(options["archive_dir"]).expanduser() if options["archive_dir"] else root / "real_archive"
    return root, hot, LocalStore(archive), ""


@contextlib.contextmanager
def _logged(root: Path, report: Report) -> Iterator[None]:
    """What was done to each file, and why a run ended early, in a log that stays."""
    if report.dry_run:
        yield
        return
    log.setLevel(logging.INFO)
    with log_to_file(root / "state" / "archiver.log"):
        yield
        done = report.pruned or prune.Report()
        for gone in done.deleted:
            log.info("deleted %s: %s", gone.path, gone.why)
        for name, why in [(one.name, one.why) for one in report.stayed] + [(one.path, one.why) for one in done.stayed]:
            log.info("stays %s: %s", name, why)
        if report.error:
            log.error("ended early: %s", report.error)
        count = len(report.moved), len(report.packed), len(report.compacted), len(done.deleted)
        log.info("done: %d windows moved, %d tapes packed, %d days compacted, %d files deleted", *count)


def _told(what: str, name: str, before: int, after: int) -> None:
    log.info("%s %s: %s -> %s", what, name, human.size(before), human.size(after))


def _run(report: Report, root: Path, hot: Path, target: Store, folder: str, options: dict[str, Any]) -> None:
    now = options["now"] or time.time()
    packing = compression(options["compress"], options["level"])
    _tidy(hot, target)
    if hot.is_dir():
        rules = Rules(options["days"], options["unresolved_after"], options["unsealed"], held(root / "state" / "poly.lock"))
        _windows(report, hot, target, folder, now, rules, packing, options)
    if options["tapes"]:
        far = None if isinstance(target, LocalStore) else target
        _tapes(report, root, far, now, packing, options)
    if options["compact"]:
        _days(report, root, now, packing, options)


def _tidy(hot: Path, target: Store) -> None:
    """What killed runs left in the making."""
    sweep(hot)
    for month in target.root.glob("????-??") if isinstance(target, LocalStore) else ():
        sweep(month)


def _windows(
    report: Report, hot: Path, target: Store, folder: str, now: float, rules: Rules, packing: Compression, options: dict[str, Any]
) -> None:
    made = plan(list(look.windows(hot, target, folder, now, rules)), now, rules)
    report.young = made.young
    report.stayed += [Moved(one.name, "", one.bytes, one.bytes, one.why) for one in made.stays]
    mover = Mover(hot, target, folder, packing, options["dry_run"])
    with _bar(made, options) as bar:

        def told(moved: Moved) -> None:
            (report.stayed if moved.why else report.moved).append(moved)
            if not moved.why:
                _told("moved", f"{moved.name} to {moved.folder}", moved.bytes, moved.stored)
            bar.update(moved.bytes)

        mover.move(made.moves, told)


def _tapes(report: Report, root: Path, target: Store | None, now: float, packing: Compression, options: dict[str, Any]) -> None:
    found = tapes.old(root, now, options["days"], leaving=target is not None)
    packer = tapes.Packer(root, target, packing, options["dry_run"])
    hidden = options["as_json"] or not sys.stderr.isatty()
    with click.progressbar(length=sum(one.file.stat().st_size for one in found), label="packing tapes", hidden=hidden) as bar:

        def told(moved: Moved) -> None:
            if moved.why != tapes.PACKED:
                (report.stayed if moved.why else report.packed).append(moved)
            if not moved.why:
                _told("packed", moved.name, moved.bytes, moved.stored)
            bar.update(moved.bytes)

        packer.pack(found, told)


def _days(report: Report, root: Path, now: float, packing: Compression, options: dict[str, Any]) -> None:
    from tape_archive.archiver.compact import LEVEL, Compactor

    reached = {tree: days.reach(root, tree) for tree in days.TREES}
    chosen = []
    for day in days.days(root):
        why = days.stays(day, now, options["days"], reached[day.tree], options["unsealed"])
        if why:
            report.stayed.append(Moved(day.folder, day.folder, 0, 0, why))
        elif why is not None:
            chosen.append(day)
    level = packing.level if packing.kind == "zstd" and packing.level else LEVEL
    hidden = options["as_json"] or not sys.stderr.isatty()
    with click.progressbar(length=sum(days.size(of_folder(root / day.folder)) for day in chosen), label="compacting", hidden=hidden) as bar:

        def told(done: Compacted) -> None:
            if done.why:
                report.stayed.append(Moved(done.folder, done.folder, done.bytes, done.bytes, done.why))
            elif done.bytes:
                report.compacted.append(done)
                _told(f"compacted {done.parts} parts of", done.folder, done.bytes, done.stored)
            bar.update(done.bytes)

        Compactor(root, level, options["dry_run"]).run(chosen, told)


def _bar(made: Plan, options: dict[str, Any]) -> Any:
    hidden = options["as_json"] or not sys.stderr.isatty()
    label = "measuring" if options["dry_run"] else "archiving"
    return click.progressbar(length=sum(one.bytes for one in made.moves), label=label, hidden=hidden)


def _show(report: Report, hot: Path, where: str) -> None:
    """A table by month, and what stayed."""
    verb = "would move" if report.dry_run else "moved"
    if report.moved or report.packed or report.compacted:
        click.echo(f"{'month':10}{'files':>8}{'before':>12}{'after':>12}{'ratio':>8}")
    if report.moved:
        for month in sorted({one.folder for one in report.moved}):
            click.echo(_row(month.rpartition("/")[2], [one for one in report.moved if one.folder == month]))
    if report.packed:
        click.echo(_row("tapes", report.packed))
    if report.compacted:
        click.echo(_row("parts", report.compacted, sum(one.parts for one in report.compacted)))
    for one in report.stayed:
        click.echo(f"stays: {one.name}: {one.why}")
    total: list[Moved | Compacted] = [*report.moved, *report.packed, *report.compacted]
    before, after = sum(one.bytes for one in total), sum(one.stored for one in total)
    made = f", {'would make' if report.dry_run else 'made'} {len(report.compacted):,} days one file each" if report.compacted else ""
    click.echo(
        f"{verb} {len(report.moved):,} windows of {hot} to {where}, packed {len(report.packed):,} tapes{made}: "
        f"{human.size(before)} -> {human.size(after)}; {len(report.stayed):,} stay, {report.young:,} are not old enough"
    )
    if report.pruned is not None:
        prune.show(report.pruned)


def _row(name: str, some: Sequence[Moved | Compacted], count: int = 0) -> str:
    before, after = sum(one.bytes for one in some), sum(one.stored for one in some)
    return f"{name:10}{count or len(some):>8,}{human.size(before):>12}{human.size(after):>12}{before / max(after, 1):>7.1f}x"
