"""``tape merge``: several recordings of the same streams as one."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from tape_collectors.merging import merge_roots


@click.command("merge")
@click.argument("roots", nargs=-1, required=True, metavar="ROOT ROOT…")
@click.option("--out", required=True, metavar="DIR", help="The root to make; it must not be there yet.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def command(roots: tuple[str, ...], out: str, as_json: bool) -> int:
    """Make one recording of several of the same streams (two machines): each frame once, gaps only where all of them miss.

    Raw tapes are merged; windows of Polymarket are not, and derived files are made of the result by tape rebuild. The recordings are read
    up to where they are written whole; nothing is changed in them. Exit code 3: gaps remain.
    """
    seen = 0

    def progress(lines: int) -> None:
        nonlocal seen
        seen += lines
        if sys.stderr.isatty() and seen % 51_200 == 0:
            click.echo(f"\r{seen:,} lines", nl=False, err=True)

    done = merge_roots([Path(root).expanduser() for root in roots], Path(out).expanduser(), progress)
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
    else:
        for one in done:
            alone = ", ".join(f"{count:,} of recording {number} alone" for number, count in enumerate(one.only, 1))
            gaps = " and ".join(map(str, one.gaps))
            click.echo(f"{one.venue}/{one.stream}: {one.frames:,} frames, {one.both:,} of several, {alone}")
            click.echo(f"  gaps {gaps}: {one.filled:,} filled, {one.gaps_left:,} left")
    return 3 if any(one.gaps_left for one in done) else 0
