"""``tape verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from tape_archive.format import manifest
from tape_archive.format.errors import Corrupt, NotFound, StoreError, TornTail, UnknownVersion
from tape_archive.format.layout import segments, windows
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines

#: what a file may be, and the exit code that it makes
STATES = {"sealed": 0, "live": 0, "torn": 3, "corrupt": 1, "missing": 1, "newer": 1}


class Verdict(msgspec.Struct):
    """One file. ``state``: sealed (and as its manifest says), live, torn (a recorder mends it when it goes on), corrupt, newer
    (written by a later version), or missing (its manifest names it, and it is not there)."""

    path: str
    state: str
    lines: int = 0
    why: str = ""


def examine(path: Path, root: Path, known: manifest.Entry | None) -> Verdict:
    """Read every line of a file."""
    verdict = Verdict(str(path.relative_to(root)), "live")
    try:
        if _read(path, verdict):
            verdict.state = "sealed"
        if known is not None and (known.bytes != path.stat().st_size or known.sha256 != manifest.sha256(path)):
            raise Corrupt("not the file that the manifest names")
    except TornTail as error:
        verdict.state, verdict.why = "torn", str(error).removeprefix(f"{path} ")
        if known is not None:
            verdict.state, verdict.why = "corrupt", f"{verdict.why}, but was whole when it was sealed"
    except UnknownVersion as error:
        verdict.state, verdict.why = "newer", str(error)
    except (Corrupt, StoreError, OSError) as error:
        verdict.state, verdict.why = "corrupt", str(error).removeprefix(f"{path}: ")
    return verdict


def _read(path: Path, verdict: Verdict) -> bool:
    """Count the lines of a file; gives whether it is sealed. Raises FormatError for what is not as the format says."""
    last_t, seal, head = 0, False, 0
    for raw in read_lines(path, sealed=True):
        number = verdict.lines + 1
        try:
            line = parse(raw)
        except Corrupt as error:
            raise Corrupt(f"line {number}: {error}") from None
        if line.t <= last_t:
            raise Corrupt(f"time goes back at line {number}")
        if seal:
            raise Corrupt(f"line {number} stands behind the seal")
        if line.mark == "tape":
            head = verdict.lines
        elif line.mark == "seal":
            seal = True
            if line.fields.get("lines") != verdict.lines - head:
                raise Corrupt(f"sealed with {line.fields.get('lines')} lines of the last run, {verdict.lines - head} are there")
        last_t = line.t
        verdict.lines = number
    return seal


def _missing(folders: dict[Path, dict[str, manifest.Entry]], root: Path) -> list[Verdict]:
    return [
        Verdict(str((folder / name).relative_to(root)), "missing", why="the manifest names it, and it is not there")
        for folder, entries in folders.items()
        for name in sorted(entries)
        if not (folder / name).exists()
    ]


@click.command("verify")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--json", "as_json", is_flag=True)
def command(root: str, as_json: bool) -> int:
    """Check every tape: checksums, the manifest's sha256, every line, strictly rising time, torn tails, files that are gone.

    Exit code 0: all is well; 3: some tails are torn (nothing is lost); 1: something is corrupt, missing, or newer than this program.
    """
    folder = Path(root)
    paths = [*(segment.file for segment in segments(folder)), *windows(folder)]
    entries = {path.parent: manifest.read(path.parent) for path in folder.glob(f"**/{manifest.NAME}")}
    verdicts = _missing(entries, folder)
    if not paths and not verdicts:
        raise NotFound(f"nothing is recorded under {root}")
    with click.progressbar(paths, label="verifying", hidden=as_json or not sys.stderr.isatty()) as shown:
        for path in shown:
            known = entries.get(path.parent, {}).get(path.name)
            verdicts.append(examine(path, folder, known))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(verdicts), indent=1).decode())
    else:
        for verdict in verdicts:
            if verdict.why:
                click.echo(f"{verdict.state:8} {verdict.path}: {verdict.why}")
        states = [verdict.state for verdict in verdicts]
        told = [state for state in STATES if state in states or state not in ("missing", "newer")]
        counts = ", ".join(f"{states.count(state)} {state}" for state in told)
        click.echo(f"{len(verdicts)} files, {sum(v.lines for v in verdicts):,} lines: {counts}")
    return max((STATES[verdict.state] for verdict in verdicts), key=(0, 3, 1).index)
