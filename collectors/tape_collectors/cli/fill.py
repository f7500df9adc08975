"""``tape fill``: tables made from the tapes of ``market-record``."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_archive.format.errors import Busy, NotFound
from tape_archive.format.layout import element
from tape_archive.format.lock import Lock
from tape_archive.service import collect_seldom, log_setup
from tape_collectors.cli.options import addressed, listed

if TYPE_CHECKING:
    from tape_collectors.whole_market.writer import TableWriter

#: of a recorder that was killed the writer goes on until it has read up to the next recorder's tape
_WRITTEN = ("another process writes these tables", "the writer of a recorder that was killed ends by itself when it has caught up")
#: whether the lock is free is looked at so often
_AGAIN_S = 0.5

log = logging.getLogger(__name__)


@click.command("fill")
@click.option("--root", metavar="DIR", default=".", show_default=True, help="Where market-record writes.")
@click.option(
    "--store", metavar="URL", envvar="TAPE_STORE", help="parquet://, chdb:///path, clickhouse://, postgresql://  [default: parquet://]"
)
@click.option("--venue", default="binance_usdm", show_default=True)
@click.option("--types", callback=listed, metavar="A,B", help="Of the tables.  [default: what the recorder was told]")
@click.option("--custom", callback=listed, metavar="A,B", help="Candles of other lengths, e.g. 3m,45m.  [default: as recorded]")
@click.option("--shard", metavar="I/N", default="1/1", show_default=True, help="As of the recorder.")
@click.option("--tapes", callback=listed, metavar="A,B", help="Of these tapes alone (public, market, poll).  [default: all]")
@click.option("--follow", is_flag=True, help="Go on while it is recorded, until standard input ends or SIGTERM comes.")
@click.option(
    "--drain-seconds", "drain_s", type=float, default=30.0, show_default=True, help="With --follow: at the end, finish within this time."
)
@click.option(
    "--backfill-seconds", "backfill_s", type=float, default=0.0, help="With --follow: fill what the tables lack so often; 0: never."
)
@click.option("--endpoint", "endpoints", multiple=True, callback=addressed, metavar="NAME=URL", help="For that: another address.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
@click.option("--log-level", default="info", show_default=True)
@click.option("--log-json", is_flag=True)
def command(
    root: str,
    store: str | None,
    venue: str,
    types: tuple[str, ...] | None,
    custom: tuple[str, ...] | None,
    shard: str,
    tapes: tuple[str, ...] | None,
    follow: bool,
    drain_s: float,
    backfill_s: float,
    endpoints: dict[str, str] | None,
    as_json: bool,
    log_level: str,
    log_json: bool,
) -> int:
    """Write what the tapes hold into tables. What is there already is not written twice, so it can be run at any time, also with another
    store.

    The password of a store belongs into TAPE_STORE, not onto the command line. Exit code 3: not everything is in the store yet.
    """
    log_setup(log_level, as_json=log_json)
    from tape_archive.tables.tables import open_tables
    from tape_collectors.venues.binance.market import POLL
    from tape_collectors.whole_market.processes import status_of
    from tape_collectors.whole_market.retention import Retention
    from tape_collectors.whole_market.writer import TableWriter, open_tapes, streams_of

    if not (Path(root) / "raw").is_dir() and not follow:
        raise NotFound(f"no tape under {root}; give the --root of market-record")
    if follow:
        _beside_a_recorder()
    state, url = Path(root) / "state", store or f"parquet://{root}"
    tables = open_tables(url)
    streams = streams_of(venue, shard, tapes or ())
    with ExitStack() as locks:
        for stream in streams.values():
            lock = Lock(state / f"tables-{element(venue)}-{element(stream)}.lock", *_WRITTEN)
            locks.enter_context(_waited(lock) if follow else lock)
        made = open_tapes(Path(root), tables, venue, types or (), custom or (), shard, tuple(streams))
        writer = TableWriter(made, drain_s, status=status_of(state, shard.replace("/", "-of-"), tuple(streams)))
        if follow:
            _until_told(writer)
            if POLL in streams:
                # One of several writers cleans up for all.
                Retention(tables).start()
            if backfill_s > 0:
                from tape_collectors.whole_market.fills import Fills

                Fills(root, url, backfill_s, endpoints or {}).start()
        collect_seldom()
        try:
            whole = writer.run(once=not follow)
        finally:
            writer.close()
            tables.close()
    rows = sum(tape.inserted for tape in made)
    click.echo(json.dumps({"rows": rows, "whole": whole, "why": writer.why}) if as_json else f"{rows:,} rows written to {tables.url}")
    return 0 if whole else 3


@contextmanager
def _waited(lock: Lock) -> Iterator[None]:
    """The next recorder's writer has patience with that of the one that was killed, as long as its own recorder lives."""
    told = over = False
    while True:
        try:
            lock.__enter__()
            break
        except Busy as error:
            if over:
                raise
            if not told:
                log.warning("this writer of tables waits for the one before", extra={"why": str(error)})
            told = True
            over = bool(select.select([sys.stdin], [], [], _AGAIN_S)[0])
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _beside_a_recorder() -> None:
    """Memory counts, and pandas is not needed. Ctrl-C, which reaches the whole terminal, is the recorder's: it seals its tapes first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.meta_path.insert(0, _WithoutPandas)


class _WithoutPandas:
    """pyarrow imports pandas wherever it is installed, which takes half a second and 50 MiB; this process uses none of it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """See importlib.abc.MetaPathFinder: the next one is asked."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=name)


def _until_told(writer: TableWriter) -> None:
    """The recorder's own process ends: standard input ends with it, however it dies."""
    signal.signal(signal.SIGTERM, lambda *_: writer.stop())

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        writer.stop()

    threading.Thread(target=watch, name="stdin", daemon=True).start()
