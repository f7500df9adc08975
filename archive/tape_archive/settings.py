"""Settings of the archive: section ``archiver`` of the YAML file that the recorders read too (``--config``, ``TAPE_CONFIG``)."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

import msgspec

from tape_archive.format.errors import SettingsError

#: what retention may name; ``<table>/<part>`` names one venue of raw, one table of market, one kind of ofi_cvd, one exchange of ticks
TABLES = ("windows", "raw", "logs", "orderbook_ticks", "ofi_cvd", "market")


class ArchiverSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``retention``: days that a table is kept, counted from the end of each file's content; a table that is not named is kept for ever.
    ``target``: where copies lie, as ``archiver --target``."""

    retention: dict[str, float] = {}
    target: str = ""


def load(file: str | None) -> ArchiverSettings:
    """The settings of a file, or of ``TAPE_CONFIG``, or the defaults. Raises SettingsError in one line that names the fix."""
    file = file or os.environ.get("TAPE_CONFIG")
    if not file:
        return ArchiverSettings()
    try:
        import yaml
    except ImportError:
        raise SettingsError("a settings file needs pyyaml: pip install 'tapeline[collect]'") from None
    try:
        content = yaml.safe_load(Path(file).read_text())
        section = (content or {}).get("archiver") or {}
        settings = msgspec.convert(section, ArchiverSettings)
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, AttributeError) as error:
        raise SettingsError(f"{file} is not YAML of sections: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise SettingsError(f"{file}, section 'archiver': {error}") from None
    check(settings.retention, file)
    return settings


def retention(pairs: tuple[str, ...]) -> dict[str, float]:
    """``("raw=90", "market/trades=7")`` -> {name: days}. Raises SettingsError."""
    found: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            found[name] = float(text)
        except ValueError:
            raise SettingsError(f"--keep {pair!r}: expected <table>=<days>, e.g. raw=90") from None
    check(found, "--keep")
    return found


def check(found: dict[str, float], where: str) -> None:
    """Raise SettingsError for a table that is not known or a number of days that is none."""
    for name, days in found.items():
        table(name, where)
        if not 0 <= days < 1e6:
            raise SettingsError(f"{where}: {name}: {days} are no days to keep it")


def table(name: str, where: str) -> str:
    """The table of a name of retention. Raises SettingsError."""
    first = name.partition("/")[0]
    if first not in TABLES:
        near = get_close_matches(first, TABLES, n=1)
        raise SettingsError(f"unknown table {first!r} in {where}" + (f"; did you mean {near[0]!r}?" if near else f" ({', '.join(TABLES)})"))
    return first
