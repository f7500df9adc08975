"""``backfill``: fill what is missing in the tables from the venue's past."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click
import msgspec

from tape_archive.service import command, log_setup, run_async
from tape_collectors.cli.options import addressed, listed
from tape_collectors.settings import BackfillSettings, load

if TYPE_CHECKING:
    from tape_collectors.backfill.run import Outcome
    from tape_collectors.backfill.session import Session


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", "mode", flag_value="check", default="check", help="Tell what is missing; ask the venue for nothing.  [default]")
@click.option("--run", "mode", flag_value="run", help="Fill it.")
@click.option("--dry-run", "mode", flag_value="plan", help="Tell each request that --run would make.")
@click.option("--scope", metavar="WHY", help="restart (2d), network (6h), manual or scheduled (7d).  [default: manual]")
@click.option("--lookback", metavar="SPAN", help="7d, 36h.  [default: as the scope says]")
@click.option("--until", metavar="TIME", help="Where the span ends.  [default: now]")
@click.option("--tables", callback=listed, metavar="A,B", help="candles_1m, trades, funding, …  [default: all that can be filled]")
@click.option("--symbols", callback=listed, metavar="A,B", help="all that are there, names, or patterns such as '*DOGE*'.  [default: all]")
@click.option("--store", metavar="URL", help="parquet://, chdb:///path, clickhouse://, postgresql://.  [default: parquet://<root>]")
@click.option("--root", metavar="DIR", help="Where the tape of the answers goes.  [default: .]")
@click.option(
    "--endpoint", "endpoints", multiple=True, callback=addressed, metavar="NAME=URL", help="Another address, e.g. binance_usdm.rest=…"
)
@click.option("--config", metavar="FILE", help="YAML file with settings.")
@click.option("--ca-file", metavar="PEM", help="Private certificate authority.")
@click.option("--log-json/--log-text", "log_json", default=None, help="Log lines as JSON.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning, error.  [default: warning]")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def backfill(config: str | None, mode: str, as_json: bool, **flags: object) -> int:
    """Find the rows that tables lack, to the row, and fill exactly these.

    Candles, trades, funding and open interest of Binance's USDT perpetuals: by REST within its weight budget, or from its public archive.
    Every answer is on the tape (raw/binance_usdm/backfill) before its rows are made. What the venue cannot give is logged with the reason
    in gap_detection_log, and is not asked for again.

    \b
    Exit codes: 0 all there, 3 something is missing, 1 failed, 2 a setting is wrong, 10 the store, 11 another backfill runs, 130 Ctrl-C.
    """
    settings = load(BackfillSettings, "backfill", flags, config)
    log_setup(settings.log_level, as_json=settings.log_json)
    from tape_collectors.backfill.report import lines, of_look, of_run
    from tape_collectors.backfill.session import Session

    with Session(settings) as session:
        made = of_run(_filled(session), session.start, session.end) if mode == "run" else of_look(session.look())
    click.echo(msgspec.json.encode(made).decode() if as_json else "\n".join(lines(made, mode)))
    return 0 if made.complete else 3


def _filled(session: Session) -> Outcome:
    found: list[Outcome] = []
    shown = _Progress()

    async def fill() -> int:
        found.append(await session.fill(shown.show))
        return 0

    run_async(fill())
    shown.clear()
    return found[0]


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = 0.0

    def show(self, done: int, of: int, rows: int) -> None:
        """So much is done."""
        if sys.stderr.isatty() and (time.monotonic() - self._shown > 0.1 or done == of):
            self._shown = time.monotonic()
            part = done * 30 // max(of, 1)
            sys.stderr.write(f"\r[{'#' * part}{'.' * (30 - part)}] {done:,} of {of:,} requests, {rows:,} rows\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Away with it."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


main = command(backfill)

if __name__ == "__main__":
    main()
