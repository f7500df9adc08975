"""``tape rebuild``: derived files again from the tape, and whether they are what the live recorder wrote."""

from __future__ import annotations

import filecmp
import json
import sys
import tempfile
import time
from pathlib import Path

import click

from tape_archive.format.errors import NotFound
from tape_collectors import derive


@click.command("rebuild")
@click.option("--root", default=".", show_default=True, metavar="DIR", help="Where the tapes lie.")
@click.option("--to", metavar="DIR", help="Write the derived files there (same names).")
@click.option("--check", is_flag=True, help="Compare with the files under the root, byte for byte; exit 1 if any differs.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def command(root: str, to: str | None, check: bool, as_json: bool) -> int:
    """Make the CSV series again from the tape."""
    if to is None and not check:
        raise click.UsageError("say where to write (--to DIR), or --check to compare with what is there")
    with tempfile.TemporaryDirectory(prefix="tape-rebuild-") as spare:
        target = Path(to) if to else Path(spare)
        if to and any(target.rglob("*.csv")):
            raise click.UsageError(f"{to} holds CSV files already; give an empty folder")
        begun = time.monotonic()
        shown = _Progress()
        rows = derive.write(Path(root), target, progress=shown.add)
        shown.done()
        files = [_result(Path(root), target, name, count, check) for name, count in sorted(rows.items())]
    differing = [file for file in files if check and not file["identical"]]
    if as_json:
        click.echo(json.dumps(files, indent=1))
    else:
        for file in files:
            verdict = "" if not check else "  identical" if file["identical"] else "  DIFFERENT"
            click.echo(f"{file['path']}  {file['rows']:,} rows{verdict}")
        click.echo(f"{sum(rows.values()):,} rows in {time.monotonic() - begun:.1f} s")
    return 1 if differing else 0


def _result(root: Path, target: Path, name: str, rows: int, check: bool) -> dict[str, object]:
    live, made = root / name, target / name
    if check and not live.exists():
        raise NotFound(f"{live} is not there to compare with")
    return {"path": name, "rows": rows, "identical": filecmp.cmp(live, made, shallow=False) if check else None}


class _Progress:
    """A count on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._rows = 0
        self._shown = time.monotonic()

    def add(self, rows: int) -> None:
        """More rows are made."""
        self._rows += rows
        if sys.stderr.isatty() and time.monotonic() - self._shown > 0.2:
            self._shown = time.monotonic()
            sys.stderr.write(f"\r{self._rows:,} rows")

    def done(self) -> None:
        """Clear the line."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
