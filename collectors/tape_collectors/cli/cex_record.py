"""``cex-record``: record exchanges to tapes, keep their books, and write the CSV time series."""

from __future__ import annotations

import click

from tape_archive.service import command, log_setup, run_async
from tape_collectors.cli.options import common, listed
from tape_collectors.settings import CexSettings, load
from tape_collectors.venues import VENUES

_VENUES = ", ".join(name for name in VENUES if name != "polymarket")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--venues", callback=listed, metavar="A,B", help=f"Of {_VENUES}.  [default: binance_spot,binance_usdm]")
@click.option("--symbols", callback=listed, metavar="A,B", help="BTCUSDT or BTC-USDT.  [default: BTCUSDT,ETHUSDT]")
@click.option(
    "--channels",
    callback=listed,
    metavar="A,B",
    help="Stream names without the symbol, e.g. trade,depth@100ms,books. A venue with none of them: its default set.",
)
@click.option("--out", metavar="FILE", help="CSV file, below --root.  [default: logs/cex.csv]")
@click.option("--hz", type=float, help="Rows a second for each market.  [default: 1]")
@click.option("--split-hours", type=int, help="A new CSV file every 1, 6, 12 or 24 hours; 0: one file.  [default: 12]")
@click.option("--band-bps", type=float, help="Width of the notional band around mid.  [default: 10]")
@click.option("--top", type=int, help="Levels in top_bids_json and top_asks_json.  [default: 5]")
@click.option(
    "--rest-every", "rest_every_s", type=float, help="Compare each book with REST every so many seconds; 0: never.  [default: 300]"
)
@click.option("--tape-only", is_flag=True, default=None, help="Only record and check sequences: no books, no CSV.")
@click.option("--ticks", is_flag=True, default=None, help="Also one Parquet row for each changed level: orderbook_ticks/….")
@common
def cex_record(config: str | None, **flags: object) -> int:
    """Record order books, quotes and trades of exchanges, around the clock.

    Every frame is on the tape (raw/…) before anything decodes it; the CSV and the ticks are made from the tape and can be made again:
    tape rebuild.

    \b
    Exit codes: 0 stopped, 1 failed, 2 a setting is wrong, 11 already recording here, 12 disk full, 13 nothing moved, 130 Ctrl-C.
    """
    settings = load(CexSettings, "cex", flags, config)
    log_setup(settings.log_level, as_json=settings.log_json)
    from tape_collectors.series.recorder import record

    return run_async(record(settings))


main = command(cex_record)

if __name__ == "__main__":
    main()
