"""``tape coverage``."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path

import click
import msgspec

from tape_access import coverage
from tape_archive.format.errors import NotFound
from tape_archive.human import duration, moment, parse_time
from tape_collectors.venues import canonical


@click.command("coverage")
@click.option("--root", default=".", show_default=True, metavar="DIR")
@click.option("--venue", metavar="NAME", help="Only this venue.")
@click.option("--symbol", metavar="NAME", help="Only this symbol, as the venue writes it.")
@click.option("--from", "start", metavar="TIME", help="Epoch s, ms or ns, or ISO-8601.")
@click.option("--to", "end", metavar="TIME")
@click.option("--json", "as_json", is_flag=True, help="An array, one object a stream (stable).")
def command(root: str, venue: str | None, symbol: str | None, start: str | None, end: str | None, as_json: bool) -> int:
    """What is complete, what is missing and why, for each stream. Exit code 3 if gaps remain."""
    if not Path(root).is_dir():
        raise NotFound(f"{root} is no folder")
    window = (parse_time(start) if start else 0, parse_time(end) if end else 0)
    rows = coverage.of_root(Path(root), venue=canonical(venue) if venue else None, from_ns=window[0], to_ns=window[1])
    if symbol:
        rows = _of_symbol(rows, symbol)
    if not rows:
        there = "in that time " if start or end else ""
        raise NotFound(f"no tape {there}under {root}" + (f" of {venue}" if venue else "") + f"; tape ls --root {root} shows what is there")
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(coverage.builtins(rows)), indent=1).decode())
    else:
        _table(rows)
    return 3 if any(row.gaps for row in rows) else 0


def _of_symbol(rows: list[coverage.Coverage], symbol: str) -> list[coverage.Coverage]:
    """The rows of a symbol in any common form, a token id, or a window's slug."""
    plain = symbol.strip().upper().removesuffix("-PERP").removesuffix("-SWAP").replace("-", "").replace("/", "")
    found = [row for row in rows if row.symbol == symbol or row.slug == symbol or row.symbol.upper() == plain]
    if rows and not found:
        names = sorted({row.symbol for row in rows} | {row.slug for row in rows if row.slug})
        near = get_close_matches(symbol.upper(), names, n=1) or get_close_matches(plain, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f" (there: {', '.join(names[:10])})"
        raise NotFound(f"no stream of {symbol!r} on these tapes{hint}")
    return found


def _name(row: coverage.Coverage) -> str:
    """The symbol; of a token with seventy digits its window and its end, which tells Up from Down."""
    short = row.symbol if len(row.symbol) <= 20 else f"{row.symbol[:9]}…{row.symbol[-8:]}"
    return f"{row.slug} …{row.symbol[-6:]}" if row.slug and row.slug != row.symbol else short


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _table(rows: list[coverage.Coverage]) -> None:
    named = [(_name(row), row) for row in rows]
    width = max(len(name) for name, _ in named)
    lines = [f"{'venue':13} {'stream':{width}} {'channel':24} {'frames':>10}  {'from (UTC)':19}  {'length':>9}  state"]
    for name, row in named:
        span, state = duration(row.last_ns - row.first_ns), "complete" if row.complete else _counted(len(row.gaps), "gap")
        lines.append(f"{row.venue:13} {name:{width}} {row.channel:24} {row.frames:>10,}  {moment(row.first_ns)}  {span:>9}  {state}")
        for gap in row.gaps[:5]:
            ids = f"  ids {gap.from_id}..{gap.to_id}" if gap.from_id else ""
            lines.append(f"    {moment(gap.from_ns)}  {duration(gap.to_ns - gap.from_ns):>9}  {gap.why}{ids}")
        if len(row.gaps) > 5:
            lines.append(f"    … and {len(row.gaps) - 5} more (--json shows all)")
    gaps = sum(len(row.gaps) for row in rows)
    lines.append(
        f"{_counted(len(rows), 'stream')}, {_counted(sum(row.frames for row in rows), 'frame')}, "
        + (_counted(gaps, "gap") if gaps else "all complete")
    )
    text = "\n".join(lines)
    click.echo_via_pager(text + "\n") if len(lines) > 40 and sys.stdout.isatty() else click.echo(text)
