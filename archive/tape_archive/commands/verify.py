"""``tape verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from tape_archive.format import manifest
from tape_archive.format.errors import Corrupt, NotFound, TornTail
from tape_archive.format.layout import segments, windows
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines


class Verdict(msgspec.Struct):
    """One file. ``state``: sealed (and as its manifest says), live, torn (a recorder mends it when it goes on), or corrupt."""

    path: str
    state: str
    lines: int = 0
    why: str = ""


def examine(path: Path, root: Path, known: manifest.Entry | None) -> Verdict:
    """Read every line of a file."""
    verdict = Verdict(str(path.relative_to(root)), "live")
    last_t, last_mark = 0, None
    try:
        for raw in read_lines(path, sealed=True):
            line = parse(raw)
            if line.t <= last_t:
                raise Corrupt(f"time goes back at line {verdict.lines + 1}")
            last_t, last_mark = line.t, line.mark
            verdict.lines += 1
    except TornTail as error:
        verdict.state, verdict.why = "torn", str(error).removeprefix(f"{path} ")
        return verdict
    except Corrupt as error:
        verdict.state, verdict.why = "corrupt", str(error)
        return verdict
    if last_mark == "seal":
        verdict.state = "sealed"
    if known is not None and (known.bytes != path.stat().st_size or known.sha256 != manifest.sha256(path)):
        verdict.state, verdict.why = "corrupt", "not the file that the manifest names"
    return verdict


@click.command("verify")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--json", "as_json", is_flag=True)
def command(root: str, as_json: bool) -> int:
    """Check every tape: checksums, the manifest's sha256, every line, strictly rising time, torn tails.

    Exit code 0: all is well; 3: some tails are torn (nothing is lost); 1: something is corrupt.
    """
    folder = Path(root)
    paths = [*(segment.file for segment in segments(folder)), *windows(folder)]
    if not paths:
        raise NotFound(f"nothing is recorded under {root}")
    entries: dict[Path, dict[str, manifest.Entry]] = {}
    verdicts = []
    with click.progressbar(paths, label="verifying", hidden=as_json or not sys.stderr.isatty()) as shown:
        for path in shown:
            known = entries.setdefault(path.parent, manifest.read(path.parent)).get(path.name)
            verdicts.append(examine(path, folder, known))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(verdicts), indent=1).decode())
    else:
        for verdict in verdicts:
            if verdict.why:
                click.echo(f"{verdict.state:8} {verdict.path}: {verdict.why}")
        counts = ", ".join(f"{sum(v.state == state for v in verdicts)} {state}" for state in ("sealed", "live", "torn", "corrupt"))
        click.echo(f"{len(verdicts)} files, {sum(v.lines for v in verdicts):,} lines: {counts}")
    if any(verdict.state == "corrupt" for verdict in verdicts):
        return 1
    return 3 if any(verdict.state == "torn" for verdict in verdicts) else 0
