"""``tape tables``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

import click
import msgspec

from tape_archive.format.errors import TapeError
from tape_archive.human import moment, parse_time
from tape_archive.tables import open_tables
from tape_archive.tables.schema import SPECS, spec_of
from tape_archive.tables.tables import Tables

_URL = click.option(
    *("--store", "--url", "url"),
    required=True,
    metavar="URL",
    envvar="TAPE_STORE",
    help="parquet://, chdb://, clickhouse:// or postgresql://. One with a password belongs into TAPE_STORE.",
)
_TABLES = click.option("--table", "names", multiple=True, metavar="NAME", help="Only this table; may be given several times.")
_JSON = click.option("--json", "as_json", is_flag=True)


class Result(msgspec.Struct):
    """One table. ``before``: unix ns, of a clean-up."""

    table: str
    rows: int
    before: int = 0
    error: str = ""


@click.group("tables")
def command() -> None:
    """Tables in Parquet files or a database: make, count, clean up."""


@command.command("create")
@_URL
def create(url: str) -> int:
    """Make the tables and views that are not there. What is there is left as it is."""
    with contextlib.closing(open_tables(url)) as store:
        store.create()
        click.echo(f"{len(SPECS)} tables in {store.url}")
    return 0


@command.command("count")
@_URL
@_TABLES
@_JSON
def count(url: str, names: tuple[str, ...], as_json: bool) -> int:
    """How many rows each table has."""
    return _each(url, names, as_json, lambda store, table: Result(table, store.count(table)))


@command.command("prune")
@_URL
@_TABLES
@click.option("--before", metavar="TIME", help="Remove rows older than this, instead of what each table keeps.")
@_JSON
def prune(url: str, names: tuple[str, ...], before: str | None, as_json: bool) -> int:
    """Remove rows that are older than their table keeps them. Writers and readers go on meanwhile.

    Exit code 1 if a table could not be cleaned up; the others are.
    """
    now = time.time_ns()
    given = None if before is None else parse_time(before)
    if given is not None and not names:
        raise click.UsageError("--before needs --table: instruments and days are kept for ever")

    def one(store: Tables, table: str) -> Result | None:
        edge = spec_of(table).expired(now) if given is None else given
        return None if edge is None else Result(table, store.prune(table, edge), edge)

    return _each(url, names, as_json, one)


def _each(url: str, names: tuple[str, ...], as_json: bool, call: Callable[[Tables, str], Result | None]) -> int:
    chosen = [spec_of(name).name for name in names] or list(SPECS)
    found: list[Result] = []
    bar = click.progressbar(chosen, label="tables", hidden=as_json or not sys.stderr.isatty(), file=sys.stderr)
    with contextlib.closing(open_tables(url)) as store, bar as shown:
        for table in shown:
            try:
                result = call(store, table)
            except TapeError as error:
                if len(chosen) == 1 or error.retry:
                    raise
                result = Result(table, 0, error=str(error))
            found += [result] if result else []
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    else:
        for result in found:
            older = f"  older than {moment(result.before)}" if result.before else ""
            click.echo(f"{result.table:18} {result.rows:>15,} rows{older}{'  ' + result.error if result.error else ''}")
        click.echo(f"{len(found)} tables, {sum(result.rows for result in found):,} rows")
    return 1 if any(result.error for result in found) else 0
