"""Where tick Parquet lies: one folder a market and day, parts named by the tape times of their rows.

``orderbook_ticks/exchange=<E>/symbol=<S>/date=<YYYY-MM-DD>/part-<first>-<last>.parquet``: ``first`` and ``last`` are the ``ts_recv`` (unix
ns) of its first and last row. Tape time never repeats on a root, so no name does; and a reader knows from the names alone which parts a
range of time needs.

The archiver makes one part of a day's parts. It has their rows, and its name covers theirs: as soon as it is there, the parts that it
covers are no longer read, and they are deleted later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from tape_archive.format.layout import element, name_of

T = TypeVar("T")
FOLDER = "orderbook_ticks"
_LAST = 1 << 62
_PART = re.compile(r"^part-(\d{19})-(\d{19})\.parquet$")


class PartFile(msgspec.Struct, frozen=True, order=True):
    """One finished part: tape times of its first and last row, unix ns."""

    first: int
    last: int
    path: str


def market_folder(root: Path, exchange: str, symbol: str) -> Path:
    """The folder of one market; no name leaves the root."""
    return root / FOLDER / f"exchange={element(exchange)}" / f"symbol={element(symbol)}"


def part_path(root: Path, exchange: str, symbol: str, first: int, last: int) -> Path:
    """Where a part lies whose rows have tape times ``first`` to ``last`` (unix ns) of one UTC day."""
    date = datetime.fromtimestamp(first // 1_000_000_000, UTC)
    return market_folder(root, exchange, symbol) / f"date={date:%Y-%m-%d}" / part_name(first, last)


def part_name(first: int, last: int) -> str:
    """The name of a part."""
    return f"part-{first:019d}-{last:019d}.parquet"


def exchanges(root: Path) -> list[str]:
    """The exchanges that have ticks."""
    return _names(root / FOLDER, "exchange=")


def symbols(root: Path, exchange: str) -> list[str]:
    """The symbols of an exchange that have ticks."""
    return _names(root / FOLDER / f"exchange={element(exchange)}", "symbol=")


def parts(folder: Path, begin: int = 0, last: int = _LAST) -> list[PartFile]:
    """The finished parts of a market's folder that are to be read, by time; only of days that hold times from ``begin`` to ``last``. Files
    of other names are not ours."""
    found: list[PartFile] = []
    for day in folder.glob("date=????-??-??"):
        if meets(day_of(day.name), begin, last):
            found += settled(lambda day=day: of_folder(day))  # type: ignore[misc]
    return uncovered(found)


def of_folder(folder: Path) -> list[PartFile]:
    """All parts of one folder, by time; also those that a larger one covers."""
    return sorted(part for part in (part_of(str(path)) for path in folder.glob("part-*.parquet")) if part is not None)


def settled(look: Callable[[], T]) -> T:
    """What two looks in a row agree about. One that is made while the archiver puts a new file and deletes those that it covers may come
    too late for these and too early for that."""
    found = look()
    while (again := look()) != found:
        found = again
    return found


def cover(path: Path) -> PartFile | None:
    """The larger part, if there is one, whose name says that it has the rows of this one."""
    part = part_of(str(path))
    others = (one for one in of_folder(path.parent) if part is not None and one.first <= part.first and part.last <= one.last)
    return next((one for one in others if one.path != str(path)), None)


def meets(span: tuple[int, int] | None, begin: int, last: int) -> bool:
    """Whether a span of time (none: no) holds any moment from ``begin`` to ``last``."""
    return span is not None and span[1] >= begin and span[0] <= last


def part_of(path: str) -> PartFile | None:
    """What the name of a part tells; None for another file."""
    match = _PART.match(path.rpartition("/")[2])
    return PartFile(int(match[1]), int(match[2]), path) if match else None


def uncovered(found: Iterable[PartFile]) -> list[PartFile]:
    """Without the parts whose times lie within those of another one (of the same market): that one has their rows."""
    out: list[PartFile] = []
    for part in sorted(found, key=lambda part: (part.first, -part.last)):
        if not out or part.last > out[-1].last:
            out.append(part)
    return out


def day_of(name: str) -> tuple[int, int] | None:
    """The first and last unix ns of a ``date=`` folder; None for other folders."""
    try:
        begin = int(datetime.strptime(name, "date=%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    except ValueError:
        return None
    return begin, begin + 86_400_000_000_000 - 1


def _names(folder: Path, key: str) -> list[str]:
    found = []
    for path in folder.glob(f"{key}*"):
        try:
            found.append(name_of(path.name.removeprefix(key)))
        except ValueError:
            # Somebody else's folder: no name of ours.
            continue
    return sorted(found)
