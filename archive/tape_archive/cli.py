"""``tape``: one command, its parts imported only when they are asked for, so that a strategy's machine needs no recorder's packages."""

from __future__ import annotations

from importlib import import_module

import click

from tape_archive.format.errors import SettingsError
from tape_archive.service import command

#: name -> ("module:attribute", one line of help, the extra that it needs)
COMMANDS = {
    "ls": ("tape_archive.commands.ls:command", "What is recorded under a root.", ""),
    "cat": ("tape_archive.commands.cat:command", "Print the lines or frames of a tape; follow a live one.", ""),
    "verify": ("tape_archive.commands.verify:command", "Check every file: checksums, order, torn tails.", ""),
    "coverage": ("tape_access.commands.coverage:command", "What is complete, what is missing and why.", ""),
    "book": ("tape_access.commands.book:command", "The order book at a time, and whether it is proven.", ""),
    "window": ("tape_access.commands.window:command", "One Polymarket window, read back.", ""),
    "sync": ("tape_access.commands.sync:command", "Bring series and ticks from the VPS.", ""),
    "mount": ("tape_access.commands.mount:mount", "The VPS's recordings as a folder here.", ""),
    "unmount": ("tape_access.commands.mount:unmount", "Take that folder down, also if it hangs.", ""),
    "mount-status": ("tape_access.commands.mount:status", "Whether it is mounted and answers.", ""),
    "validate": ("tape_monitor.quality.command:command", "Data quality of an OFI and CVD output, as a report.", "monitor"),
    "rebuild": ("tape_collectors.cli.rebuild:command", "Make derived files again from the tape.", "collect"),
    "fill": ("tape_collectors.cli.fill:command", "Tables of the whole market from its tapes.", "collect"),
    "archive": ("tape_archive.commands.archive:command", "Old windows to the archive, old tapes packed, old days one file.", ""),
    "prune": ("tape_archive.commands.prune:command", "Delete what is old and safe elsewhere.", ""),
    "tables": ("tape_archive.commands.tables:command", "Tables in Parquet or a database: make, count, clean up.", ""),
    "merge": ("tape_collectors.cli.merge:command", "Several recordings of the same streams as one.", ""),
    "export": ("tape_access.commands.export:command", "Candles of the tables, as freqtrade's files.", ""),
    "import": ("tape_collectors.cli.import_:command", "Bring recordings of other tools in.", "collect"),
    "simulate": ("tape_collectors.cli.simulate:command", "Venue servers on this machine, with faults.", "collect"),
    "demo": ("tape_collectors.cli.demo:command", "A minute of everything, without a network.", "collect,polymarket"),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        target, _, extra = COMMANDS[cmd_name]
        module, attribute = target.split(":")
        try:
            found: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name and not error.name.startswith("tape_") and extra:
                raise SettingsError(f"tape {cmd_name} needs the package {error.name!r}: pip install 'tapeline[{extra}]'") from None
            raise
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text, _) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tapeline")
def tape() -> None:
    """Tapes of market data: list, read, check, derive, simulate.

    Exit codes: 0 done, 1 failed, 2 a setting is wrong, 3 gaps remain, 10 store, 11 busy, 12 disk full, 130 interrupted.
    """


main = command(tape)
