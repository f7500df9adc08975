"""``tape import``."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import click
import msgspec

from tape_archive.format.atomic import make_folder
from tape_archive.format.errors import SettingsError
from tape_archive.human import duration, moment
from tape_collectors.importing.formats import FORMATS, recordings
from tape_collectors.importing.tapes import import_recording
from tape_collectors.venues import canonical


@click.command("import")
@click.option("--format", "kind", required=True, metavar="NAME", help=", ".join(FORMATS))
@click.option("--venue", required=True, metavar="NAME", help="binance_spot, binance_usdm, polymarket")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--json", "as_json", is_flag=True)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
def command(kind: str, venue: str, root: str, as_json: bool, paths: tuple[str, ...]) -> int:
    """Bring recordings of other tools in: frames byte for byte, with their own receive times. A folder means its files."""
    if kind not in FORMATS:
        near = get_close_matches(kind, FORMATS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"unknown format {kind!r}{hint} (known: {', '.join(FORMATS)})")
    canonical(venue)
    make_folder(Path(root))
    done, skipped = [], []
    for files in recordings(kind, map(Path, paths)):
        result = import_recording(files, kind, venue, Path(root))
        done.append(result)
        name = ", ".join(map(str, files))
        if result.skipped:
            skipped.append(f"{name} was imported here already, as {result.files[0] if result.files else result.source}")
        elif not as_json:
            span = f"{moment(result.first_ns)}, {duration(result.last_ns - result.first_ns)}"
            moved = f", {result.moved} times moved by 1 ns or more to keep order" if result.moved else ""
            click.echo(f"{name}: {result.frames:,} frames, {result.replies} replies, {span}{moved}")
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(done), indent=1).decode())
    if skipped:
        raise SettingsError(f"{'; '.join(skipped)}: nothing was done for it")
    return 0
