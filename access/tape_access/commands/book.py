"""``tape book``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from tape_access import book
from tape_archive.human import moment, parse_time
from tape_collectors.venues import canonical


@click.command("book")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--venue", required=True, metavar="NAME")
@click.option("--symbol", required=True, metavar="NAME", help="ETHUSDT or ETH-USDT; Polymarket: token id, or <slug>/<outcome>.")
@click.option("--at", "at", metavar="TIME", help="Epoch s, ms or ns, or ISO-8601.  [default: the end of the tape]")
@click.option("--depth", default=10, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One object (stable).")
def command(root: str, venue: str, symbol: str, at: str | None, depth: int, as_json: bool) -> int:
    """The order book at a time, and whether it is proven. Exit code 3 if it is not."""
    view = book.at(Path(root), canonical(venue), symbol, parse_time(at) if at else 0, depth)
    if as_json:
        fields = msgspec.to_builtins(view)
        if not fields["why"]:
            del fields["why"]
        click.echo(msgspec.json.encode(fields).decode())
    else:
        click.echo(f"{view.venue} {view.symbol}  {moment(view.t)} UTC  {'proven' if view.proven else f'not proven: {view.why}'}")
        for price, size in reversed(view.asks):
            click.echo(f"{'':>18} {price:>16} {size:>18}")
        for price, size in view.bids:
            click.echo(f"{size:>18} {price:>16}")
    return 0 if view.proven else 3
