"""``tape export``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from tape_access.freqtrade_export import Export, Written
from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.human import duration, moment, parse_time
from tape_archive.tables.laws import SECOND, interval_ns
from tape_archive.tables.tables import open_tables

#: a row may come so late without being missed
_LATE = 60 * SECOND
_MOST = 5


class Report(msgspec.Struct):
    """``complete``: no candle is missing. Times in unix ns."""

    folder: str
    store: str
    complete: bool
    candles: int
    missing: int
    files: list[Written]


def _listed(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(one.strip() for one in (value or "").split(",") if one.strip())


@click.group("export")
def command() -> None:
    """What the tables hold, in the files of other programs."""


@command.command("freqtrade", short_help="Candles, funding and mark prices for freqtrade.")
@click.option(
    "--store",
    metavar="URL",
    envvar="TAPE_STORE",
    help="parquet://, chdb:///path, clickhouse://, postgresql://.  [default: parquet://<root>]",
)
@click.option("--root", metavar="DIR", envvar="TAPE_ROOT", default=".", show_default=True, help="Where market-record writes.")
@click.option("--out", metavar="DIR", default="user_data/data", show_default=True, help="freqtrade's folder of data.")
@click.option(
    "--exchange", type=click.Choice(["binance"]), default="binance", show_default=True, help="As freqtrade's configuration has it."
)
@click.option("--symbols", callback=_listed, metavar="A,B", help="BTCUSDT, BTC/USDT:USDT, or patterns such as '*DOGE*'.  [default: all]")
@click.option("--timeframes", callback=_listed, metavar="A,B", help="5m,4h; others are custom candles.  [default: those there are]")
@click.option("--from", "start", metavar="TIME", help="Epoch s, ms or ns, or ISO-8601.  [default: the first row]")
@click.option("--to", "end", metavar="TIME", help="[default: a minute ago]")
@click.option(
    "--funding/--no-funding", default=True, show_default=True, help="Also funding rates and mark prices, for the fees of a backtest."
)
@click.option("--replace", is_flag=True, help="Do not keep what files have that the tables lack.")
@click.option("--json", "as_json", is_flag=True, help="One object, with each file and each gap (stable).")
def freqtrade(
    store: str | None,
    root: str,
    out: str,
    exchange: str,
    symbols: tuple[str, ...],
    timeframes: tuple[str, ...],
    start: str | None,
    end: str | None,
    funding: bool,
    replace: bool,
    as_json: bool,
) -> int:
    """Candles for freqtrade, in its own feather files: <out>/<exchange>/futures/BTC_USDT_USDT-5m-futures.feather.

    What a file has beyond the tables is kept, so history grows while the tables forget. No candle is made up: what is missing is
    said, and freqtrade fills it with flat candles when it loads.

    \b
    The password of a store belongs into TAPE_STORE, not onto the command line.
    Exit codes: 0 all there, 3 candles are missing, 1 nothing to write, 2 a setting is wrong, 10 the store.
    """
    span = (parse_time(start) if start else None, parse_time(end) if end else time.time_ns() - _LATE)
    if span[0] is not None and span[0] >= span[1]:
        raise SettingsError(f"--from {start} is not before --to {end or 'now'}")
    for timeframe in timeframes:
        interval_ns(timeframe)
    if not store and not (Path(root) / "market").is_dir():
        raise NotFound(f"no tables under {root}; give the --root of market-record, or its --store")
    tables = open_tables(store or f"parquet://{root}")
    folder = Path(out) / exchange
    try:
        export = Export(tables, folder, *span, replace=replace)
        files = list(_progress(export, export.symbols(symbols, timeframes), timeframes, funding, shown=not as_json))
    finally:
        tables.close()
    made = Report(
        str(folder),
        tables.url,
        all(one.whole for one in files),
        sum(one.exported for one in files),
        sum(one.missing for one in files),
        files,
    )
    click.echo(msgspec.json.format(msgspec.json.encode(made), indent=1).decode() if as_json else "\n".join(_lines(made)))
    if not made.candles:
        raise NotFound(f"{tables.url} has no such candles from {moment(span[0] or 0)} to {moment(span[1])}; nothing was written")
    return 0 if made.complete else 3


def _progress(export: Export, symbols: list[str], timeframes: tuple[str, ...], funding: bool, *, shown: bool) -> Iterator[Written]:
    hidden = not shown or not sys.stderr.isatty()
    with click.progressbar(symbols, label="exporting", hidden=hidden, file=sys.stderr) as bar:
        for symbol in bar:
            made = list(export.files(symbol, timeframes, funding=funding))
            # Unless it was asked for by name, a timeframe that was never recorded is not missing.
            yield from (one for one in made if one.exported or timeframes or one.kind != "futures")


def _lines(made: Report) -> Iterator[str]:
    yield f"{'pair':18} {'timeframe':>9}  {'type':12} {'candles':>10} {'exported':>10}  {'first':19}  {'last':19}  missing"
    for one in made.files:
        name = one.pair if len(one.pair) <= 18 else one.pair[:17] + "…"
        state = one.why or (f"{one.missing:,}" if one.missing else "-")
        span = f"{moment(one.first):19}  {moment(one.last):19}"
        yield f"{name:18} {one.timeframe:>9}  {one.kind:12} {one.candles:>10,} {one.exported:>10,}  {span}  {state}"
        for gap in one.gaps[:_MOST]:
            yield f"    {moment(gap.start)} to {moment(gap.end)} UTC  {duration(gap.end - gap.start):>9}  {gap.rows:,} missing"
        if len(one.gaps) > _MOST:
            yield f"    … and {len(one.gaps) - _MOST:,} more (--json shows all)"
    files = sum(1 for one in made.files if one.exported)
    verdict = "all there" if made.complete else f"{made.missing:,} missing" if made.missing else "not all there"
    yield f"{made.candles:,} candles from {made.store} into {files:,} files under {made.folder}; {verdict}"
