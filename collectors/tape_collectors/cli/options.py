"""Options that several recorders share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tape_collectors.settings import endpoints, names

F = TypeVar("F", bound=Callable[..., Any])


def listed(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """``a,b`` -> ("a", "b")."""
    return names(value)


def addressed(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str] | None:
    """``name=url`` pairs."""
    return endpoints(value)


def common(function: F) -> F:
    """The options of every recorder. Each is None when it was not given, so that the environment and the file may speak."""
    options = [
        click.option("--config", "config", metavar="FILE", help="YAML file with settings."),
        click.option("--root", metavar="DIR", help="Folder of everything that is written.  [default: .]"),
        click.option("--sockets", type=int, metavar="N", help="Redundant sockets for each group of streams."),
        click.option(
            "--endpoint",
            "endpoints",
            multiple=True,
            callback=addressed,
            metavar="NAME=URL",
            help="Another address, e.g. binance_spot.rest=http://127.0.0.1:8080.",
        ),
        click.option("--run-seconds", "run_s", type=float, metavar="S", help="Stop after so long; 0: never."),
        click.option(
            "--stall-seconds", "stall_s", type=float, metavar="S", help="Leave with code 13 if nothing at all moves for so long; 0: never."
        ),
        click.option(
            "--fsync-seconds", "fsync_s", type=float, metavar="S", help="On the disk at most so long after written.  [default: 1]"
        ),
        click.option("--metrics-port", type=int, metavar="PORT", help="/metrics and /health; 0: any free port, -1: none."),
        click.option("--metrics-host", metavar="HOST", help="[default: 127.0.0.1]"),
        click.option("--ca-file", metavar="PEM", help="Private certificate authority."),
        click.option("--log-level", metavar="LEVEL", help="debug, info, warning, error."),
        click.option("--log-json/--log-text", "log_json", default=None, help="Log lines as JSON."),
    ]
    for option in reversed(options):
        function = option(function)
    return function
