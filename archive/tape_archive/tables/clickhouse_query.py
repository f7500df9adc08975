"""What is asked of ClickHouse: terms, and the search for what is missing. Statements only; ``clickhouse`` carries them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tape_archive.tables.laws import SECOND, Found, Gap, Grid, Hole, Ids, Law, Life, found_in
from tape_archive.tables.schema import Spec
from tape_archive.tables.search import columns_of, seen, verdict

#: symbols whose every row is kept while one statement runs: bounds its memory
_AT_ONCE = 20
#: of which only a bitmap is: 65 KB for a year of minutes
_COUNTED_AT_ONCE = 1000
#: ids that are counted together; only stretches with a hole are read
_STRETCH = 1 << 14


def quoted(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def terms_of(spec: Spec, start: int | None, end: int | None, wanted: Mapping[str, str]) -> str:
    """The rows of a span (unix ns) with these values, as SQL."""
    terms = [f"{name} = {quoted(value)}" for name, value in wanted.items()]
    for bound, sign in ((start, ">="), (end, "<")):
        if bound is not None:
            edge = min(max(-(-bound // 1000), 0), 7_258_118_400_000_000)
            terms.append(f"{spec.time} {sign} fromUnixTimestamp64Micro(toInt64({edge}), 'UTC')")
    return " AND ".join(terms) or "1"


class Search(NamedTuple):
    """The search in one table. ``rows`` and ``arrow`` run a statement, ``read`` is that of Tables for this table, ``name`` its name."""

    rows: Callable[[str], list[tuple[Any, ...]]]
    arrow: Callable[[str], Any]
    read: Callable[..., Any]
    name: str
    spec: Spec

    def missing(self, symbols: Mapping[str, Life], start: int, end: int, law: Law, wanted: Mapping[str, str]) -> dict[str, list[Gap]]:
        """The database finds the holes. See Tables."""
        found: dict[str, list[Found]] = {symbol: [] for symbol in symbols}
        span = terms_of(self.spec, start, end, wanted)
        if isinstance(law, Grid):
            self._periods(law, list(symbols), span, found)
            return verdict(law, symbols, found, start, end)
        for some in _pieces(list(symbols), _AT_ONCE):
            if isinstance(law, Ids):
                self._stretches(law, f"{_among(some)} AND {span}", found)
                self._beside(law, some, start, end, wanted, found)
                continue
            for symbol in some:
                one = seen(self.spec, law, self.read(symbol, start, end, columns=columns_of(self.spec, law), where=wanted))
                found[symbol] += [one] if one else []
        return verdict(law, symbols, found, start, end)

    def _periods(self, law: Grid, symbols: list[str], terms: str, found: dict[str, list[Found]]) -> None:
        """How many periods each symbol has, and the first and last of them; where it has fewer than lie between, which."""
        since, step = f"(toUnixTimestamp64Micro({self.spec.time}) - {law.offset // 1000})", law.step // 1000
        if law.slack == 0:
            terms += f" AND intDiv({since}, {step}) * {step} = {since}"
        elif law.slack < law.step - 1:
            terms += f" AND modulo({since}, {step}) <= {law.slack // 1000}"
        # A count of seconds fits until 2106, and is three times as fast.
        period = f"{'toUInt32' if law.step >= SECOND else 'toUInt64'}(intDiv({since}, {step}))"
        source, broken = f"FROM {self.name} WHERE {terms}", []
        for some in _pieces(symbols, _COUNTED_AT_ONCE):
            sql = f"SELECT symbol, min({period} AS n), max(n), groupBitmap(n) {source} AND {_among(some)} GROUP BY symbol"
            for symbol, low, high, count in self.rows(sql):
                if count == high - low + 1:
                    found[symbol].append(Found(low, high, 0, 0))
                else:
                    broken.append(symbol)
        for some in _pieces(broken, _AT_ONCE):
            sql = (
                f"WITH arraySort(bitmapToArray(groupBitmapState({period}))) AS n, arrayDifference(n) AS jump "
                f"SELECT symbol, n[1], n[-1], arrayFilter((one, by) -> by > 1, n, jump), arrayFilter(by -> by > 1, jump) "
                f"{source} AND {_among(some)} GROUP BY symbol"
            )
            for symbol, low, high, behind, jumps in self.rows(sql):
                holes = [Hole(int(after) - int(by) + 1, int(after)) for after, by in zip(behind, jumps, strict=True)]
                found[symbol].append(Found(low, high, 0, 0, holes))

    def _stretches(self, law: Ids, terms: str, found: dict[str, list[Found]]) -> None:
        """Ids are counted in stretches of some thousand; only those with a hole are read."""
        micro, size = f"toUnixTimestamp64Micro({self.spec.time})", _STRETCH
        sql = (
            f"SELECT symbol, intDiv({law.column} AS n, {size}) AS stretch, min(n), max(n), argMin({micro}, n), argMax({micro}, n), "
            f"groupBitmap(toUInt16(n - stretch * {size})) FROM {self.name} WHERE {terms} GROUP BY symbol, stretch"
        )
        broken: dict[str, list[int]] = {}
        for symbol, stretch, low, high, low_time, high_time, count in self.rows(sql):
            if count == high - low + 1:
                found[symbol].append(Found(low, high, low_time * 1000, high_time * 1000))
            else:
                broken.setdefault(symbol, []).append(stretch)
        for symbol, stretches in broken.items():
            sql = (
                f"SELECT {law.column} AS n, {micro} AS t FROM {self.name} WHERE symbol = {quoted(symbol)} AND {terms} "
                f"AND intDiv(n, {size}) IN ({', '.join(map(str, stretches))}) ORDER BY n"
            )
            rows = self.arrow(sql)
            numbers, clock = (np.asarray(rows[name].to_numpy(), np.int64) for name in ("n", "t"))
            for piece in np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers // size)) + 1):
                one = found_in(numbers[piece], clock[piece] * 1000)
                found[symbol] += [one] if one else []

    def _beside(self, law: Ids, symbols: list[str], start: int, end: int, wanted: Mapping[str, str], found: dict[str, list[Found]]) -> None:
        """The nearest rows before and after the span."""
        micro = f"toUnixTimestamp64Micro({self.spec.time})"
        for symbol in symbols:
            for bounds, order in (((None, start), "DESC"), ((end, None), "ASC")):
                terms = terms_of(self.spec, bounds[0], bounds[1], {**wanted, "symbol": symbol})
                rows = self.rows(
                    f"SELECT {law.column}, {micro} FROM {self.name} WHERE {terms} "
                    f"ORDER BY {self.spec.time} {order}, {law.column} {order} LIMIT 1"
                )
                found[symbol] += [Found(number, number, time * 1000, time * 1000) for number, time in rows]


def _among(symbols: list[str]) -> str:
    return f"symbol IN ({', '.join(map(quoted, symbols))})"


def _pieces(symbols: list[str], size: int) -> Iterator[list[str]]:
    return (symbols[at : at + size] for at in range(0, len(symbols), size))
