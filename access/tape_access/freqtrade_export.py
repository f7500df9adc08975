"""Candles, funding and mark prices of the tables into freqtrade's files, one pair and timeframe in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tape_access import freqtrade
from tape_access.freqtrade import Kind
from tape_archive.format.atomic import sweep, write_atomic
from tape_archive.format.errors import NotFound
from tape_archive.tables import laws
from tape_archive.tables.laws import SECOND, Grid, Life
from tape_archive.tables.schema import EXCHANGE, INTERVALS
from tape_archive.tables.search import nanoseconds
from tape_archive.tables.tables import Tables

_HOUR = 3600 * SECOND
#: mark prices in memory: of so much time, one a second
_STRETCH = 7 * 24 * _HOUR
_CANDLE = ("timestamp", "open", "high", "low", "close", "volume")


class Missing(msgspec.Struct):
    """``rows`` that lack from ``start`` to ``end`` (exclusive), unix ns."""

    start: int
    end: int
    rows: int


class Written(msgspec.Struct):
    """One file. ``candles``: in it, from ``first`` to ``last``; ``exported``: of them written from the tables now. ``start``, ``end``: the
    span that ``gaps`` are about, and ``missing`` counts. ``why``: what else is not whole. Times in unix ns, 0: none."""

    pair: str
    symbol: str
    timeframe: str
    kind: Kind
    path: str
    candles: int
    exported: int
    first: int = 0
    last: int = 0
    start: int = 0
    end: int = 0
    missing: int = 0
    gaps: list[Missing] = []
    why: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is all there."""
        return not self.gaps and not self.why


class Export:
    """``files`` writes them. ``folder``: ``user_data/data/binance``. ``start`` None: from the first row that there is. ``replace``: what
    files have that the tables lack is not kept. Times in unix ns; ``end`` is exclusive."""

    def __init__(self, store: Tables, folder: Path, start: int | None, end: int, *, replace: bool = False) -> None:
        self.store = store
        self.folder = folder
        self.start = start
        self.end = end
        self.replace = replace
        self._lives = _lives(store)

    def symbols(self, wanted: Sequence[str], timeframes: Sequence[str]) -> list[str]:
        """The perpetuals with candles of these timeframes (none: any) that are meant: names in any form, or patterns; all if none is
        named. Raises NotFound."""
        tables = dict.fromkeys(_table(one)[0] for one in timeframes) or [*(f"candles_{one}" for one in INTERVALS), "custom_candles"]
        there = sorted({name for table in tables for name in self.store.symbols(table) if name.endswith("-PERP")})
        if not there:
            what = f" of {', '.join(timeframes)}" if timeframes else ""
            raise NotFound(f"{self.store.url} has no candles{what}; market-record writes them (--store and --root as there)")
        found: dict[str, None] = {}
        for one in wanted:
            plain = _plain(one)
            some = [name for name in there if fnmatchcase(_plain(name), plain)]
            if not some:
                raise NotFound(f"{self.store.url} has no candles of {one!r}; there are {', '.join(there[:8])}{' …' * (len(there) > 8)}")
            found |= dict.fromkeys(some)
        return list(found) or there

    def files(self, symbol: str, timeframes: Sequence[str], *, funding: bool = True) -> Iterator[Written]:
        """Write the files of one symbol. No ``timeframes``: those that the tables have."""
        sweep(self.folder / "futures")
        firsts: list[int] = []
        for timeframe in timeframes or self._timeframes(symbol):
            table, where = _table(timeframe)
            rows = self._read(table, symbol, self.start, self.end, _CANDLE, where)
            law = laws.candles(timeframe)
            firsts += nanoseconds(rows["timestamp"][:1]).tolist() if law.step <= _HOUR else []
            yield self._write(symbol, timeframe, "futures", freqtrade.frame("futures", rows), law)
        if funding:
            rows = self._read("funding", symbol, self.start, self.end, ("timestamp", "rate"))
            at = nanoseconds(rows["timestamp"])
            yield self._write(symbol, freqtrade.HOURLY, "funding_rate", freqtrade.frame("funding_rate", rows), _settlements(at))
            # freqtrade multiplies the two, so marks from the first rate on are what counts.
            yield self._mark(symbol, next(iter(at.tolist() or sorted(firsts)), None) if self.start is None else self.start)

    def _timeframes(self, symbol: str) -> list[str]:
        custom = self._read("custom_candles", symbol, self.start, self.end, ("interval",))
        others = [str(name) for name in pc.unique(custom["interval"].cast(pa.string())).to_pylist()]
        return sorted({*INTERVALS, *others}, key=laws.interval_ns)

    def _mark(self, symbol: str, since: int | None) -> Written:
        """Hours that the file has are made again only if the span was named: there are 3,600 times as many prices as hours."""
        law = laws.candles(freqtrade.HOURLY)
        old = self._stored(symbol, freqtrade.HOURLY, "mark") if self.start is None else None
        pieces = [freqtrade.hours(np.empty(0, np.int64), np.empty(0))]
        for gap in () if since is None else self._gaps(symbol, law, old, since):
            for at in range(gap.start, gap.end, _STRETCH):
                rows = self._read("index", symbol, at, min(at + _STRETCH, gap.end), ("timestamp", "mark_price"))
                rows = rows.filter(pc.is_valid(rows["mark_price"]))
                pieces.append(freqtrade.hours(nanoseconds(rows["timestamp"]), rows["mark_price"].to_numpy()))
        return self._write(symbol, freqtrade.HOURLY, "mark", freqtrade.frame("mark", pa.concat_tables(pieces)), law, since)

    def _gaps(self, symbol: str, law: Grid, data: pd.DataFrame | None, start: int) -> list[Missing]:
        """What these candles lack from ``start`` on, by the law of the tables."""
        at = np.empty(0, np.int64) if data is None else freqtrade.times(data)
        found = laws.found_in(law.numbers(at[(at >= start) & (at < self.end)]))
        gaps = law.gaps(found, start, self.end, self._lives.get(symbol, laws.ALWAYS)) if start < self.end else []
        return [Missing(gap.start, gap.end, gap.rows) for gap in gaps]

    def _read(
        self, table: str, symbol: str, start: int | None, end: int, columns: tuple[str, ...], where: Mapping[str, str] | None = None
    ) -> pa.Table:
        return self.store.read(table, symbol, start, end, columns=columns, where={"exchange": EXCHANGE, **(where or {})})

    def _stored(self, symbol: str, timeframe: str, kind: Kind) -> pd.DataFrame | None:
        return None if self.replace else freqtrade.stored(freqtrade.file_of(self.folder, symbol, timeframe, kind), kind)

    def _write(self, symbol: str, timeframe: str, kind: Kind, new: pd.DataFrame, law: Grid, since: int | None = None) -> Written:
        path = freqtrade.file_of(self.folder, symbol, timeframe, kind)
        whole = freqtrade.joined(self._stored(symbol, timeframe, kind), new)
        if len(new):
            write_atomic(path, freqtrade.encode(whole))
        at = freqtrade.times(whole)
        made = Written(freqtrade.pair(symbol), symbol, timeframe, kind, str(path) if len(at) else "", len(at), len(new), end=self.end)
        if len(at):
            made.first, made.last = int(at[0]), int(at[-1])
        known = [self.start, since, int(freqtrade.times(new[:1])[0]) if len(new) else None]
        start = next((one for one in known if one is not None), None)
        if start is None:
            made.why = "the tables have none"
            return made
        made.start = start
        made.gaps = self._gaps(symbol, law, whole, start)
        made.missing = sum(gap.rows for gap in made.gaps)
        return made


def _table(timeframe: str) -> tuple[str, Mapping[str, str]]:
    laws.interval_ns(timeframe)
    return (f"candles_{timeframe}", {}) if timeframe in INTERVALS else ("custom_candles", {"interval": timeframe})


def _settlements(at: laws.Ints) -> Grid:
    """As often as the rows tell; each eight hours where they do not."""
    steps = np.diff(at // _HOUR)
    steps = steps[steps > 0]
    return laws.funding(min(int(steps.min()), 8) if len(steps) else 8)


def _plain(name: str) -> str:
    """``BTC/USDT:USDT``, ``btc-usdt-perp`` and ``BTCUSDT`` are one."""
    return name.strip().upper().partition(":")[0].removesuffix("-PERP").replace("-", "").replace("/", "")


def _lives(store: Tables) -> dict[str, Life]:
    """When each instrument was traded, as far as the ledger tells."""
    rows = store.read("instruments", columns=("symbol", "listed", "delisted"), where={"exchange": EXCHANGE})
    found: dict[str, Life] = {}
    names = [str(name) for name in rows["symbol"].to_pylist()]
    listed, delisted = (
        [None if one is None else one * 1000 for one in rows[name].cast(pa.int64()).to_pylist()] for name in rows.column_names[1:]
    )
    for name, since, until in zip(names, listed, delisted, strict=True):
        known = found.get(name, laws.ALWAYS)
        found[name] = Life(known.listed if since is None else since, known.delisted if until is None else until)
    return found
