"""``ofi-record``: record Binance USD-M trades and books, and write prices, OFI, CVD, fusion and events."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec

from tape_archive.service import command, log_setup, run_async
from tape_collectors.cli.options import common, listed
from tape_collectors.settings import HarvestSettings, load


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--symbols", callback=listed, metavar="A,B", help="BTCUSDT or BTC-USDT.  [default: BTCUSDT,ETHUSDT]")
@click.option("--run-hours", type=float, metavar="H", help="Stop after so long; 0: never.  [default: 72]")
@click.option("--precheck-only", is_flag=True, help="Record for a few minutes, judge what came out, and leave: 0 good, 1 not.")
@click.option("--precheck-minutes", type=float, metavar="M", help="How long a precheck takes.  [default: 10]")
@click.option("--rotate-seconds", "parquet_rotate_sec", type=int, metavar="S", help="Tape time in one Parquet part.  [default: 60]")
@click.option("--depth", metavar="CHANNEL", help="Stream of the books: depth@100ms, depth@0ms.  [default: depth@100ms]")
@click.option("--z-mode", metavar="MODE", help="z of CVD: delta or level.  [default: delta]")
@click.option("--scale-mode", metavar="MODE", help="Scale of z: hybrid or ewma.  [default: hybrid]")
@click.option("--mad-multiplier", type=float, help="Of the floor of the scale.  [default: 1.8]")
@click.option("--scale-fast-weight", type=float, help="Weight of the fast average.  [default: 0.2]")
@click.option("--half-life-seconds", "half_life_sec", type=float, metavar="S", help="Of the slow average.  [default: 600]")
@click.option("--winsor-limit", type=float, help="z is within ± this.  [default: 8]")
@click.option("--dedup-lru", type=int, metavar="N", help="Missing trade ids that are remembered.  [default: 8192]")
@click.option("--wss-ping-interval", type=float, metavar="S", help="Ping when nothing came for so long.  [default: 20]")
@click.option(
    "--report-hours", type=float, metavar="H", help="A data-quality report so often, and when the hours are over; 0: none.  [default: 1]"
)
@click.option("--json", "as_json", is_flag=True, help="The verdict of a precheck as JSON.")
@common
def ofi_record(config: str | None, precheck_only: bool, as_json: bool, **flags: object) -> int:
    """Record aggregate trades and whole order books of Binance USD-M futures; write prices, OFI, CVD, their fusion and events.

    Every frame is on the tape (raw/…) before anything decodes it; data/ofi_cvd/… is made from the tape and can be made again:
    tape rebuild --kind ofi_cvd. Each option is also a variable of the environment (SYMBOLS, RUN_HOURS, PARQUET_ROTATE_SEC, …) and a line
    in section data_harvest of the --config file, or of config/system.yaml if that is there. Metrics: http://127.0.0.1:8009/metrics.

    \b
    Exit codes: 0 stopped, 1 failed (or the precheck did), 2 a setting is wrong, 11 already recording here, 12 disk full,
    13 nothing moved, 130 Ctrl-C.
    """
    settings = load(HarvestSettings, "data_harvest", flags, config)
    if precheck_only:
        changed = {"run_s": settings.run_s or settings.precheck_minutes * 60, "report_hours": 0.0}
        settings = msgspec.structs.replace(settings, **changed)
    log_setup(settings.log_level, as_json=settings.log_json)
    from tape_collectors.harvest.recorder import Result, record

    ended: list[Result] = []

    async def run() -> int:
        ended.append(await record(settings))
        return ended[0].code

    code = run_async(run())
    return _judge(settings, ended[0], as_json) if precheck_only and not code else code


def _judge(settings: HarvestSettings, ended: object, as_json: bool) -> int:
    from tape_collectors.harvest.precheck import judge
    from tape_collectors.harvest.recorder import Result

    assert isinstance(ended, Result)
    checks = judge(settings, ended.begun, ended.reconnects, ended.doubles, ended.errors)
    good = all(check.ok for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": good, "root": str(Path(settings.root)), "checks": [msgspec.to_builtins(check) for check in checks]}))
    else:
        for check in checks:
            click.echo(f"{'ok ' if check.ok else 'BAD'}  {check.what:28} {check.found:>12}   wanted: {check.wanted}")
        click.echo("ready to record" if good else "not ready: see the lines that say BAD")
    return 0 if good else 1


main = command(ofi_record)

if __name__ == "__main__":
    main()
