"""``market-record``: every USDT perpetual of a venue."""

from __future__ import annotations

import click

from tape_archive.service import command, log_setup, run_async
from tape_collectors.cli.options import common, listed
from tape_collectors.settings import MarketSettings, load


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--symbols", callback=listed, metavar="A,B", help="all, names, or patterns such as '*DOGE*'.  [default: all]")
@click.option("--types", callback=listed, metavar="A,B", help="trades, candles_1m, l2_book, …  [default: every type]")
@click.option("--custom", callback=listed, metavar="A,B", help="Also candles of other lengths, e.g. 3m,45m.")
@click.option("--store", metavar="URL", help="parquet://, chdb:///path, clickhouse://, postgresql://, or none.  [default: parquet://]")
@click.option("--shard", metavar="I/N", help="Record part I of N of the symbols.  [default: 1/1]")
@click.option("--workers", type=int, metavar="N", help="Processes that write tables, 1 to 3: one for each tape.  [default: 1]")
@click.option("--streams", type=int, metavar="N", help="Streams on one connection.  [default: 200]")
@click.option("--discovery-seconds", "discovery_s", type=float, metavar="S", help="Look for listings so often.  [default: 300]")
@common
def market_record(config: str | None, **flags: object) -> int:
    """Record every USDT perpetual, around the clock, and write tables.

    Every frame is on the tape (raw/…) before anything decodes it; the tables are made from the tape, by a process of its own, and can be
    made again: tape fill. A database that is down costs no row.

    \b
    Exit codes: 0 stopped, 1 failed, 2 a setting is wrong, 11 already recording here, 12 disk full, 13 nothing moved, 130 Ctrl-C.
    """
    settings = load(MarketSettings, "market", flags, config)
    log_setup(settings.log_level, as_json=settings.log_json)
    from tape_collectors.whole_market.recorder import record

    return run_async(record(settings))


main = command(market_record)

if __name__ == "__main__":
    main()
