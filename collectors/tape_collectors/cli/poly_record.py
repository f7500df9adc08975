"""``poly-record``: record Polymarket's up/down windows, one file a window."""

from __future__ import annotations

import click

from tape_archive.service import command, log_setup, run_async
from tape_collectors.cli.options import common, listed
from tape_collectors.settings import PolySettings, load


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--coins", callback=listed, metavar="A,B", help="btc eth sol xrp doge bnb hype zec.  [default: btc,eth]")
@click.option("--timeframes", callback=listed, metavar="A,B", help="5m 15m 1h 4h 1d.  [default: 15m]")
@click.option("--output", metavar="DIR", help="Folder of the windows' files, below --root.  [default: real_hot]")
@click.option("--lead-seconds", "lead_s", type=float, metavar="S", help="Subscribe so long before a window opens.  [default: 90]")
@click.option("--linger-seconds", "linger_s", type=float, metavar="S", help="Keep a window at most so long after its end.  [default: 1800]")
@click.option("--result-after-seconds", "result_after_s", type=float, metavar="S", help="First look for a result.  [default: 50]")
@click.option("--check-every-seconds", "check_every_s", type=float, metavar="S", help="Compare the books with REST.  [default: 300]")
@click.option("--rpc", callback=listed, metavar="URL,URL", help="Confirm results on chain through these Polygon nodes.")
@common
def poly_record(config: str | None, **flags: object) -> int:
    """Record the order books, trades, reference price, strike and result of Polymarket's up/down windows.

    PolyBolt credentials come from the environment: POLY_API_KEY, POLY_API_SECRET, POLY_API_PASSPHRASE. Without them RTDS is tried.

    \b
    Exit codes: 0 stopped, 1 failed, 2 a setting is wrong, 11 already recording here, 12 disk full, 13 nothing moved, 130 Ctrl-C.
    """
    settings = load(PolySettings, "poly", flags, config)
    log_setup(settings.log_level, as_json=settings.log_json)
    from tape_collectors.windows.recorder import record

    return run_async(record(settings))


main = command(poly_record)

if __name__ == "__main__":
    main()
