"""``tape rebuild``: derived files again from the tape, and whether they are what the live recorder wrote."""

from __future__ import annotations

import filecmp
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from tape_archive.format import harvest
from tape_archive.format.errors import FormatError, NotFound
from tape_archive.format.layout import segments
from tape_archive.format.ticks import FOLDER, cover, part_name, part_of, parts
from tape_collectors.harvest import derive as derive_harvest
from tape_collectors.series import derive

#: the archiver made one file of the day: the same rows in the same order
COMPACTED = "same rows, compacted"
_GOOD = ("identical", "same rows", COMPACTED, "")
#: more files than this are counted; of them only those that differ are named
MOST_NAMED = 40
_MAKERS: dict[str, Callable[[Path, Path, Callable[[int], None]], dict[str, int]]] = {
    "csv": lambda root, to, progress: derive.write(root, to, progress=progress),
    "ticks": derive.write_ticks,
    "ofi_cvd": derive_harvest.write,
}


@click.command("rebuild")
@click.option("--root", default=".", show_default=True, metavar="DIR", help="Where the tapes lie.")
@click.option("--kind", type=click.Choice([*_MAKERS]), default="csv", show_default=True, help="What to make.")
@click.option("--to", metavar="DIR", help="Write the derived files there (same names).")
@click.option("--check", is_flag=True, help="Compare with the files under the root, byte for byte; exit 1 if any differs.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def command(root: str, kind: str, to: str | None, check: bool, as_json: bool) -> int:
    """Make the CSV series, the tick Parquet, or OFI and CVD, again from the tape.

    Parquet that another version of pyarrow wrote may be other bytes for the same rows: that is said, and is no difference.
    """
    if to is None and not check:
        raise click.UsageError("say where to write (--to DIR), or --check to compare with what is there")
    with tempfile.TemporaryDirectory(prefix="tape-rebuild-") as spare:
        target = Path(to) if to else Path(spare)
        if to and any(target.rglob("*.csv" if kind == "csv" else "*.parquet")):
            raise click.UsageError(f"{to} holds such files already; give an empty folder")
        begun = time.monotonic()
        shown = _Progress()
        rows = _MAKERS[kind](Path(root), target, shown.add)
        shown.done()
        files = [_result(Path(root), target, name, count, check) for name, count in sorted(rows.items())]
    if check and kind != "csv":
        files += _not_made(Path(root), kind, rows)
    differing = [file for file in files if file["verdict"] not in _GOOD]
    if as_json:
        click.echo(json.dumps(files, indent=1))
    else:
        for file in files if len(files) <= MOST_NAMED else differing:
            click.echo(f"{file['path']}  {file['rows']:,} rows  {file['verdict']}".rstrip())
        if len(files) > MOST_NAMED:
            counts = Counter(str(file["verdict"]) or "written" for file in files)
            click.echo(f"{len(files):,} files: " + ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common()))
        click.echo(f"{sum(rows.values()):,} rows in {time.monotonic() - begun:.1f} s")
    return 1 if differing else 0


def _result(root: Path, target: Path, name: str, rows: int, check: bool) -> dict[str, object]:
    live, made = root / name, target / name
    if not check:
        return {"path": name, "rows": rows, "identical": None, "verdict": ""}
    if live.exists():
        verdict = "identical" if filecmp.cmp(live, made, shallow=False) else _rows(live, made)
    elif made.suffix == ".csv":
        raise NotFound(f"{live} is not there to compare with")
    else:
        verdict = _compacted(live, made)
    return {"path": name, "rows": rows, "identical": verdict == "identical", "verdict": verdict}


def _rows(live: Path, made: Path) -> str:
    """What two files that are not the same bytes are: the same rows by another writer, or different."""
    if made.suffix == ".csv":
        return "DIFFERENT"
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        one, other = pq.ParquetFile(live), pq.ParquetFile(made)
        same = one.metadata.created_by != other.metadata.created_by and one.read().equals(other.read())
    except (pa.ArrowInvalid, OSError):
        return "DIFFERENT"
    return "same rows" if same else "DIFFERENT"


def _compacted(live: Path, made: Path) -> str:
    """Whether the file that the archiver made of the day has the rows of a part."""
    from tape_archive.format.parquet import lacks

    larger, part = cover(live), part_of(str(made))
    if larger is None or part is None:
        return "MISSING"
    try:
        return "DIFFERENT" if lacks(larger, part) else COMPACTED
    except FormatError:
        return "DIFFERENT"


def _not_made(root: Path, kind: str, rows: dict[str, int]) -> list[dict[str, object]]:
    """Parts that are there, alone or in a day's file, of a time of which there are tapes, and that no tape makes."""
    from tape_archive.format.parquet import made_of

    since = min((segment.hour for segment in segments(root)), default=0)
    names: list[str] = []
    if kind == "ticks":
        found = [part for folder in (root / FOLDER).glob("exchange=*/symbol=*") for part in parts(folder)]
    else:
        found = [part for symbol in harvest.symbols(root) for one in harvest.KINDS for part in harvest.parts(root, one, symbol)]
    for part in (part for part in found if part.last >= since):
        path = Path(part.path).relative_to(root)
        if str(path) in rows:
            continue
        try:
            held = made_of(part.path)
        except FormatError:
            held = [(part.first, part.last, 0)]
        names += [str(path.with_name(part_name(first, last))) for first, last, _ in held if first >= since]
    return [{"path": name, "rows": 0, "identical": False, "verdict": "NOT ON THE TAPE"} for name in sorted(names) if name not in rows]


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
