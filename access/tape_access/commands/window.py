"""``tape window``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from tape_access.accessor import DataAccessor
from tape_archive.human import moment, size


class Summary(msgspec.Struct):
    """A window in a few numbers."""

    slug: str
    path: str
    bytes: int
    frames: int
    trades: int
    book_snapshots: int
    book_changes: int
    prices: int
    strike: float | None
    result: str | None
    sources: list[str]
    marks: dict[str, int]
    gaps: int


@click.command("window")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--coin", default="btc", show_default=True)
@click.option("--timeframe", default="15m", show_default=True)
@click.option("--json", "as_json", is_flag=True)
@click.argument("start", metavar="SLUG|START")
def command(root: str, coin: str, timeframe: str, as_json: bool, start: str) -> int:
    """One Polymarket window, read back: strike, result, trades, books, gaps."""
    data = DataAccessor(Path(root)).read_window(int(start) if start.isdecimal() else start, coin, timeframe)
    books = data.books.drop_duplicates(["ts_recv", "outcome", "kind"])["kind"].value_counts().to_dict() if len(data.books) else {}
    marks: dict[str, int] = {}
    for line in data.marks:
        marks[str(line.mark)] = marks.get(str(line.mark), 0) + 1
    summary = Summary(
        slug=data.path.name.partition(".jsonl")[0],
        path=str(data.path),
        bytes=data.path.stat().st_size,
        frames=data.frames,
        trades=len(data.trades),
        book_snapshots=books.get("snapshot", 0),
        book_changes=books.get("delta", 0),
        prices=len(data.prices),
        strike=data.strike,
        result=data.result,
        sources=[str(mark.get("source", mark.get("rpc", ""))) for mark in [*data.strikes, *data.results]],
        marks=marks,
        gaps=len(data.gaps),
    )
    if as_json:
        click.echo(msgspec.json.encode(summary).decode())
        return 0
    first, last = data.marks[0].t, data.marks[-1].t
    click.echo(f"{summary.slug}  {size(summary.bytes)}  {moment(first)} to {moment(last)} UTC")
    click.echo(f"  strike {summary.strike}  result {summary.result}  ({', '.join(summary.sources)})")
    click.echo(
        f"  {summary.frames:,} frames: {summary.trades:,} trades, {summary.book_snapshots:,} books, {summary.book_changes:,} changes"
    )
    click.echo(f"  {summary.prices:,} reference prices, {summary.gaps} gaps")
    return 0
