"""``tape import``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from tape_archive.format.atomic import make_folder
from tape_archive.human import duration, moment
from tape_collectors.importers import FORMATS
from tape_collectors.importing import import_file


@click.command("import")
@click.option("--format", "kind", required=True, metavar="NAME", help=", ".join(FORMATS))
@click.option("--venue", required=True, metavar="NAME", help="binance_spot, binance_usdm, polymarket")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--json", "as_json", is_flag=True)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
def command(kind: str, venue: str, root: str, as_json: bool, paths: tuple[str, ...]) -> int:
    """Bring recordings of other tools in: frames byte for byte, with their own receive times."""
    make_folder(Path(root))
    done = []
    for path in paths:
        result = import_file(Path(path), kind, venue, Path(root))
        done.append(result)
        if not as_json:
            span = f"{moment(result.first_ns)}, {duration(result.last_ns - result.first_ns)}"
            moved = f", {result.moved} times moved by 1 ns or more to keep order" if result.moved else ""
            click.echo(f"{path}: {result.frames:,} frames, {result.replies} replies, {span}{moved}")
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(done), indent=1).decode())
    return 0
