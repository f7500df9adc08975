"""What the tables lack: the laws of the tables, asked for the instruments that are in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tape_archive.format.errors import SettingsError
from tape_archive.tables import laws
from tape_archive.tables.laws import SECOND, Gap
from tape_archive.tables.search import nanoseconds
from tape_archive.tables.tables import Tables
from tape_collectors.backfill.holes import Hole
from tape_collectors.backfill.plan import Life

#: tables that the venue can give the past of
FILLABLE = ("candles_1m", "candles_5m", "candles_30m", "candles_4h", "candles_1d", "trades", "funding", "open_interest")
#: of open interest the finest period that the venue tells
PERIOD_S = 300
#: trades that are younger than this at the end of the span are not missed yet
_QUIET = 120 * SECOND
_HOUR = 3600 * SECOND


class Known(msgspec.Struct, frozen=True):
    """An instrument: the venue's name, and when it was traded (unix ns; None: not known). ``rest``: REST still tells of it. ``fresh``: it
    was listed while others were recorded, so its first row should be there."""

    native: str
    listed: int | None = None
    delisted: int | None = None
    rest: bool = True
    fresh: bool = False

    def life(self) -> laws.Life:
        """For a search."""
        return laws.Life(self.listed, self.delisted)


class Scan:
    """``tables``: of which tables; ``names``: of which symbols, as the tables have them; None: those that each table has, and ``fresh``
    ones, of which it may have nothing yet."""

    def __init__(
        self, store: Tables, tables: Iterable[str], names: Iterable[str] | None, start: int, end: int, fresh: Iterable[str] = ()
    ) -> None:
        self.store = store
        self.tables = tuple(tables)
        self.start = start
        self.end = end
        self._names = None if names is None else tuple(names)
        self._fresh = tuple(fresh)
        self._there: dict[str, list[str]] = {}
        for table in self.tables:
            if table not in FILLABLE:
                raise SettingsError(f"table {table!r} cannot be filled from the venue's past; these can: {', '.join(FILLABLE)}")

    def symbols(self, table: str) -> list[str]:
        """The symbols that are looked at in a table."""
        if self._names is not None:
            return list(self._names)
        if table not in self._there:
            there = self.store.symbols(table)
            self._there[table] = sorted({*there, *self._fresh}) if there else []
        return self._there[table]

    def all_symbols(self) -> list[str]:
        """Those of all tables."""
        return sorted({name for table in self.tables for name in self.symbols(table)})

    def holes(self, known: Mapping[str, Known], only: Iterable[tuple[str, str]] | None = None) -> list[Hole]:
        """What is missing, with the venue's names of the symbols. ``only``: look at these (table, symbol as the table has it) alone."""
        found: list[Hole] = []
        chosen = None if only is None else set(only)
        for table in self.tables:
            names = [name for name in self.symbols(table) if name in known and (chosen is None or (table, name) in chosen)]
            if names:
                found += self._table(table, {name: known[name] for name in names})
        return [msgspec.structs.replace(hole, symbol=known[hole.symbol].native) for hole in found]

    def _table(self, table: str, known: Mapping[str, Known]) -> list[Hole]:
        lives = {name: one.life() for name, one in known.items()}
        if table == "funding":
            found: list[Hole] = []
            for hours, names in self._by_hours(known).items():
                law = laws.funding(hours)
                gaps = self.store.missing(table, {name: lives[name] for name in names}, self.start, self.end, law)
                found += _grid(table, "", law.step, gaps)
            return found
        if table == "trades":
            gaps = self.store.missing(table, lives, self.start, self.end, laws.Ids())
            holes = [_ids(name, gap) for name, some in gaps.items() for gap in some]
            return holes + self._heads(known) + self._ends(known)
        if table == "open_interest":
            law = laws.polled(PERIOD_S)
            return _grid(table, f"{PERIOD_S // 60}m", law.step, self.store.missing(table, lives, self.start, self.end, law))
        interval = table.removeprefix("candles_")
        law = laws.candles(interval)
        return _grid(table, interval, law.step, self.store.missing(table, lives, self.start, self.end, law))

    def _by_hours(self, known: Mapping[str, Known]) -> dict[int, list[str]]:
        """Symbols by the hours between their settlements, as the rows that are there tell; eight where they do not."""
        rows = self.store.read("funding", None, self.start - 14 * 24 * _HOUR, self.end, columns=("symbol", "timestamp"))
        hours = nanoseconds(rows["timestamp"]) // _HOUR
        steps: dict[str, int] = {}
        before: tuple[str, int] = ("", 0)
        names = [str(name) for name in rows["symbol"].to_pylist()]
        for name, hour in zip(names, hours.tolist(), strict=True):
            if name == before[0] and hour > before[1]:
                steps[name] = min(steps.get(name, 8), hour - before[1])
            before = name, hour
        found: dict[int, list[str]] = {}
        for name in known:
            found.setdefault(steps.get(name, 8), []).append(name)
        return found

    def _heads(self, known: Mapping[str, Known]) -> list[Hole]:
        """Trades before the first one that is there, of instruments that were listed in the span."""
        found = []
        for name, one in known.items():
            if not one.fresh or one.listed is None or one.listed < self.start:
                continue
            number, time = self._oldest(name, one.listed)
            if number > 1:
                found.append(Hole("trades", name, "", 1, 0, number - 1, one.listed, time))
        return found

    def _oldest(self, name: str, since: int) -> tuple[int, int]:
        """(id, time) of the first trade since then, looked for further and further on; zeros: there is none."""
        width = _HOUR
        while since < self.end:
            until = min(self.end, since + width)
            rows = self.store.read("trades", name, since, until, columns=("timestamp", "trade_id"))
            if len(rows):
                return rows["trade_id"][0].as_py(), int(nanoseconds(rows["timestamp"][:1])[0])
            since, width = until, width * 6
        return 0, 0

    def _ends(self, known: Mapping[str, Known]) -> list[Hole]:
        """Trades after the last one that is there, or where there is none at all: how many nobody knows."""
        newest = self._newest(set(known))
        found = []
        for name, one in known.items():
            begun, ended = max(self.start, one.listed or 0), min(self.end, one.delisted or self.end)
            # Of one that is no longer traded none is still on its way.
            quiet = 0 if ended + _QUIET < self.end else _QUIET
            if name in newest:
                number, time = newest[name]
                if ended - time > quiet:
                    found.append(Hole("trades", name, "", 1, number + 1, 0, time, ended))
            elif (self._names is not None or (one.fresh and begun == one.listed)) and begun < ended:
                found.append(Hole("trades", name, "", 1, 0, 0, begun, ended))
        return found

    def _newest(self, names: set[str]) -> dict[str, tuple[int, int]]:
        """(id, time) of the last trade of each symbol in the span, looked for further and further back."""
        found: dict[str, tuple[int, int]] = {}
        until, width = self.end, _HOUR
        while until > self.start and names - found.keys():
            since = max(self.start, until - width)
            rows = self.store.read("trades", None, since, until, columns=("symbol", "timestamp", "trade_id"))
            last = rows.group_by("symbol").aggregate([("trade_id", "max"), ("timestamp", "max")])
            times = nanoseconds(last["timestamp_max"]).tolist()
            for row, time in zip(last.select(["symbol", "trade_id_max"]).to_pylist(), times, strict=True):
                found.setdefault(row["symbol"], (row["trade_id_max"], time))
            until, width = since, width * 6
        return found


def _grid(table: str, interval: str, step: int, gaps: Mapping[str, Iterable[Gap]]) -> list[Hole]:
    return [
        Hole(table, name, interval, step, gap.start, gap.end - step, gap.start, gap.end - step)
        for name, some in gaps.items()
        for gap in some
    ]


def _ids(name: str, gap: Gap) -> Hole:
    return Hole("trades", name, "", 1, gap.first or 0, gap.last or 0, gap.start, gap.end)


def lives(known: Mapping[str, Known]) -> dict[str, Life]:
    """For the plan, by the venue's names."""
    return {one.native: Life(one.listed or 0, one.delisted or 0, one.rest) for one in known.values()}
