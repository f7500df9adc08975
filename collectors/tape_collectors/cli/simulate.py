"""``tape simulate``: venue servers on this machine."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tape_archive.format.atomic import write_atomic
from tape_archive.format.errors import SettingsError
from tape_archive.service import log_setup
from tape_collectors.cli.options import listed
from tape_collectors.simulator import perpetual_listing as listing
from tape_collectors.simulator.day import PolymarketDay
from tape_collectors.simulator.faults import KINDS, parse
from tape_collectors.simulator.perpetual_server import Clock
from tape_collectors.simulator.playback import WAITS, Playback
from tape_collectors.simulator.world import STEP_S, USUAL, VENUES, Simulator

PERPETUALS_MOST = 5000
#: a step must be shorter than a minute of the venue's time
SPEED_MOST = 1000


@click.command("simulate", epilog="Faults: " + "; ".join(f"{name}: {text}" for name, text in KINDS.items()))
@click.option("--venues", callback=listed, default=",".join(USUAL), show_default=True, help=f"Of {', '.join(VENUES)}.", metavar="A,B")
@click.option("--symbols", callback=listed, default="BTCUSDT,ETHUSDT,SOLUSDT,XRPUSDT", show_default=True, metavar="A,B")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same market.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback unless you know why not.")
@click.option("--window-seconds", "window_s", default=0.0, help="Also have Polymarket windows of this length (slug btc-updown-<n>s-…).")
@click.option("--resolve-seconds", "resolve_s", default=0.0, help="Windows resolve so long after their end.  [default: 53]")
@click.option("--credentials", metavar="KEY:SECRET:PASSPHRASE", help="What PolyBolt accepts.")
@click.option(
    "--fault", "faults", multiple=True, metavar="KIND(…)@<s>s+<s>s", help="e.g. 'silence(venue=binance_spot,stream=*depth*)@30s+10s'"
)
@click.option("--play", multiple=True, metavar="VENUE=PATH", help="Play a recording on the venue's own wire.")
@click.option("--day", nargs=2, metavar="MARKETS PRICES", help="Live a recorded Polymarket day again (.jsonl.gz, .csv.gz).")
@click.option(
    "--at",
    type=float,
    metavar="EPOCH",
    help="Where --day or the clock of --perpetuals begins.  [default: a minute before the first window; now]",
)
@click.option("--speed", default=1.0, show_default=True, help="Pace of --play, --day and the clock of --perpetuals.")
@click.option("--wait", type=click.Choice(WAITS), default="all", show_default=True, help="Subscribers that --play waits for.")
@click.option("--exit-when-played", is_flag=True, help="End after --play, with a report of what was sent.")
@click.option("--load", multiple=True, metavar="VENUE=SYMBOLS", help="Pre-built frames of so many symbols (L0000USDT, …).")
@click.option("--rate", default=0.0, help="Frames a second of --load or --perpetuals.  [default: as fast as they are read; 15000]")
@click.option("--perpetuals", default=0, metavar="N", help="Binance USD-M with so many perpetuals and all their streams.")
@click.option("--plan", "plans", multiple=True, metavar="'WHAT N@<s>s'", help="With --perpetuals: list, delist, cut or close N, then.")
@click.option("--weight-limit", "weight", default=0, help="With --perpetuals: REST weight a minute.  [default: 2400]")
@click.option("--life-seconds", "life_s", default=86_400.0, show_default=True, help="With --perpetuals: how long a connection lives.")
@click.option("--pace", default=1.0, show_default=True, help="Steps of the market, times fifty a second.")
@click.option("--port-file", metavar="FILE", help="Write the endpoints there as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the endpoints as JSON.")
def command(**options: Any) -> int:
    """Serve Binance and Polymarket on loopback, with real REST and websocket endpoints, until stopped."""
    log_setup("warning")
    return asyncio.run(_serve(**options))


async def _serve(*, port_file: str | None, as_json: bool, exit_when_played: bool, **market: Any) -> int:
    simulator, players = _simulator(**market)
    async with simulator:
        endpoints = simulator.endpoints
        if port_file:
            write_atomic(Path(port_file), json.dumps(endpoints).encode())
        click.echo(json.dumps(endpoints) if as_json else "\n".join(f"{name}={url}" for name, url in endpoints.items()))
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        played = asyncio.ensure_future(_played(players, stop)) if players and exit_when_played else None
        await stop.wait()
        if played is not None:
            played.cancel()
        if players:
            click.echo(json.dumps([player.report() for player in players]))
    return 0


def _simulator(
    *,
    venues: tuple[str, ...],
    credentials: str | None,
    faults: tuple[str, ...],
    play: tuple[str, ...],
    day: tuple[str, str] | None,
    at: float | None,
    speed: float,
    wait: str,
    load: tuple[str, ...],
    perpetuals: int,
    plans: tuple[str, ...],
    pace: float,
    **more: Any,
) -> tuple[Simulator, list[Playback]]:
    """The servers that the options ask for, and the recordings among them. Raises SettingsError."""
    secret = tuple(credentials.split(":")) if credentials else None
    if secret is not None and len(secret) != 3:
        raise SettingsError("--credentials: expected KEY:SECRET:PASSPHRASE")
    if perpetuals and click.get_current_context().get_parameter_source("venues") is ParameterSource.DEFAULT:
        venues = ("binance_usdm",)
    loads = dict(_load(text) for text in load)
    _check_perpetuals(venues, perpetuals, speed, plans, loads)
    players = [_playback(text, speed, wait) for text in play]
    days = [PolymarketDay(Path(day[0]), Path(day[1]), at, speed)] if day else []
    more["clock"] = Clock(speed, None if at is None else int(at * 1000)) if perpetuals else None
    simulator = Simulator(
        venues,
        planned=[parse(text) for text in faults],
        play=[*players, *days],
        credentials=secret,
        load=loads,
        step_s=STEP_S / pace,
        perpetuals=perpetuals,
        plan=[listing.parse(text) for text in plans],
        **more,
    )
    return simulator, players


def _check_perpetuals(venues: tuple[str, ...], perpetuals: int, speed: float, plans: tuple[str, ...], load: dict[str, int]) -> None:
    """Raise SettingsError for what --perpetuals cannot be or be with."""
    if not 0 <= perpetuals <= PERPETUALS_MOST:
        raise SettingsError(f"--perpetuals {perpetuals}: expected a number from 1 to {PERPETUALS_MOST}")
    if perpetuals and ("binance_usdm" not in venues or "binance_usdm" in load):
        raise SettingsError("--perpetuals serves binance_usdm: have it in --venues, and no --load of it")
    if perpetuals and not 0 < speed <= SPEED_MOST:
        raise SettingsError(f"--speed {speed:g}: the clock of --perpetuals goes up to {SPEED_MOST} times as fast as ours, and forwards")
    if plans and not perpetuals:
        raise SettingsError("--plan needs --perpetuals")


async def _played(players: list[Playback], stop: asyncio.Event) -> None:
    for player in players:
        await player.done.wait()
    stop.set()


def _playback(text: str, speed: float, wait: str) -> Playback:
    venue, equals, path = text.partition("=")
    if not equals or venue not in VENUES:
        raise SettingsError(f"--play {text!r}: expected <venue>=<path> with venue one of {', '.join(VENUES)}")
    return Playback(venue, Path(path), speed, wait=wait)


def _load(text: str) -> tuple[str, int]:
    venue, _, count = text.partition("=")
    if venue not in ("binance_spot", "binance_usdm") or not count.isdigit() or not int(count):
        raise SettingsError(f"--load {text!r}: expected binance_spot=<symbols> or binance_usdm=<symbols>")
    return venue, int(count)
