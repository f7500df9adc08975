"""``tape ls``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from tape_archive.format import manifest
from tape_archive.format.errors import FormatError, NotFound
from tape_archive.format.layout import segments, windows
from tape_archive.format.lines import is_mark, time_of
from tape_archive.format.read import last_line, read_lines
from tape_archive.human import duration, moment, size


class Row(msgspec.Struct):
    """One file. Times are tape time, unix ns."""

    path: str
    kind: str
    bytes: int
    first_ns: int
    last_ns: int
    sealed: bool
    lines: int | None = None
    damaged: bool = False

    @property
    def state(self) -> str:
        """In one word."""
        if self.damaged:
            return "damaged"
        return "csv" if self.kind == "csv" else "sealed" if self.sealed else "live"


def rows(root: Path) -> list[Row]:
    """Every tape, window and CSV under a root."""
    found: list[Row] = []
    entries: dict[Path, dict[str, manifest.Entry]] = {}
    for path in [*(segment.file for segment in segments(root)), *windows(root)]:
        known = entries.setdefault(path.parent, manifest.read(path.parent)).get(path.name)
        kind = "window" if "raw" not in path.relative_to(root).parts[:1] else "tape"
        if known is not None and known.bytes == path.stat().st_size:
            row = Row("", kind, known.bytes, known.first_ns, known.last_ns, True, known.lines)
        else:
            row = _look(path, kind)
        row.path = str(path.relative_to(root))
        found.append(row)
    for path in sorted((root / "logs").glob("*.csv")):
        found.append(Row(str(path.relative_to(root)), "csv", path.stat().st_size, 0, path.stat().st_mtime_ns, False))
    return found


def _look(path: Path, kind: str) -> Row:
    row = Row("", kind, path.stat().st_size, 0, 0, False)
    try:
        if (first := next(read_lines(path), None)) is not None:
            row.first_ns = row.last_ns = time_of(first)
        if (last := last_line(path)) is not None:
            row.last_ns = time_of(last)
            row.sealed = is_mark(last, "seal")
    except FormatError:
        row.damaged = True
    return row


@click.command("ls")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--json", "as_json", is_flag=True)
def command(root: str, as_json: bool) -> int:
    """What is recorded under a root: files, sizes, times, live or sealed."""
    folder = Path(root)
    if not folder.is_dir():
        raise NotFound(f"{root} is no folder")
    found = rows(folder)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return 0
    if not found:
        raise NotFound(f"nothing is recorded under {root}")
    width = min(80, max(len(row.path) for row in found))
    lines = []
    for row in found:
        times = f"{moment(row.first_ns)}  {duration(row.last_ns - row.first_ns):>9}" if row.first_ns else " " * 30
        count = f"{row.lines:,} lines" if row.lines is not None else ""
        lines.append(f"{row.path:{width}}  {size(row.bytes):>10}  {times}  {row.state:7}  {count}".rstrip())
    lines.append(f"{len(found)} files, {size(sum(row.bytes for row in found))}")
    if any(row.damaged for row in found):
        lines.append(f"some are damaged: tape verify --root {root} says how")
    text = "\n".join(lines)
    if len(lines) > 40 and sys.stdout.isatty():
        click.echo_via_pager(text + "\n")
    else:
        click.echo(text)
    return 0
