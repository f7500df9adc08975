"""Missing intervals -> the requests that fill them. Pure: the time comes in.

Neighbouring holes of one key share a request where that takes less time than two. Time is what both limits leave: the weight a minute, and
the distance between requests. So long holes of candles are cut into 499 rows (weight 2), not 1,500 (weight 10), and holes of one row that
lie within 1,500 rows of each other are one request. A file of the archive is taken where it saves ten requests, or where REST no longer
reaches. What lies before a listing, after a delisting or in the future is no hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from tape_collectors.backfill.holes import SETTLED_NS, Hole, cut_to, last_over
from tape_collectors.venues.binance import history
from tape_collectors.venues.binance.history import DAY, HOUR
from tape_collectors.venues.binance.wire import MS
from tape_collectors.venues.protocol import Fetch

#: classes by the age of the end of what is missing
CLASSES = ("urgent", "recent", "historical")
HOUR_NS, DAY_NS = HOUR * MS, DAY * MS
_AGES_NS = (HOUR_NS, DAY_NS)
#: between two requests
SPACING_S = 0.05
#: weight a second that REST leaves (``runtime.budget.MARGIN`` of 2,400 a minute)
_RATE = 36.0
#: an answer with less rows than the limit of weight 2
_CUT = 499
#: a file of the archive is worth so many requests
_WORTH = 10
#: a file is asked for so long after the end of its day or month
_PUBLISHED_MS = 12 * HOUR
_MONTH_LATE_MS = 8 * DAY
_UNPUBLISHED = "its archive is not published yet"
#: how late a settlement of funding may come
_FUNDING_LATE = 60_000


class Life(msgspec.Struct, frozen=True):
    """When an instrument was traded, unix ns; ``until_ns`` 0: it still is. ``rest``: REST still tells of it."""

    since_ns: int = 0
    until_ns: int = 0
    rest: bool = True


class Piece(msgspec.Struct, frozen=True):
    """One request (``fetch``) or one file (``path``) and the holes, cut to what it tells, that it fills. ``rows``: as many are missing
    there, 0 where nobody can know. ``times``: trades by time, which go on by id until the end of the hole."""

    age: int
    holes: tuple[Hole, ...]
    rows: int
    fetch: Fetch | None = None
    path: str = ""
    times: bool = False

    @property
    def what(self) -> str:
        """The request or file, as people read it."""
        return self.fetch.request if self.fetch else self.path


class Refused(msgspec.Struct, frozen=True):
    """A hole, or a part of one, that nothing can be asked for, and why. ``later``: it may be there another time."""

    hole: Hole
    why: str
    later: bool


class Plan(msgspec.Struct, frozen=True):
    """What to do, in this order, and what cannot be done."""

    pieces: tuple[Piece, ...]
    refused: tuple[Refused, ...]

    @property
    def weight(self) -> int:
        """Of all requests that weigh."""
        return sum(piece.fetch.weight for piece in self.pieces if piece.fetch and piece.fetch.host == "rest")

    def eta_s(self) -> float:
        """How long it takes at least."""
        return max(self.weight / _RATE, SPACING_S * len(self.pieces))


def age_of(end_ns: int, now_ns: int) -> int:
    """The class of what is missing up to ``end_ns``: an index into CLASSES."""
    return sum(now_ns - end_ns >= limit for limit in _AGES_NS)


def plan(holes: Iterable[Hole], now_ns: int, lives: Mapping[str, Life], absent: Mapping[str, str] | None = None) -> Plan:
    """The requests for these holes. ``absent``: files that are not there or wrong, and why; symbols without a life are refused."""
    absent = absent or {}
    keyed: dict[tuple[str, str, str], list[Hole]] = {}
    refused: list[Refused] = []
    for hole in holes:
        life = lives.get(hole.symbol)
        if life is None:
            refused.append(Refused(hole, "the venue does not list it", later=False))
        elif (cut := _lived(hole, life, now_ns)) is not None:
            keyed.setdefault((hole.table, hole.symbol, hole.interval), []).append(cut)
    pieces: list[Piece] = []
    for (table, symbol, _), some in keyed.items():
        for made in _MAKERS[table.partition("_")[0]](sorted(some), now_ns, lives[symbol], absent):
            pieces.append(made) if isinstance(made, Piece) else refused.append(made)
    pieces = _once(pieces)
    pieces.sort(key=lambda piece: (piece.age, -max(hole.to_ns for hole in piece.holes), piece.what))
    return Plan(tuple(pieces), tuple(refused))


def _once(pieces: list[Piece]) -> list[Piece]:
    """Each file is read once for all holes of it."""
    files: dict[str, Piece] = {}
    for piece in pieces:
        if piece.path in files:
            one = files[piece.path]
            rows = one.rows + piece.rows if one.rows and piece.rows else 0
            piece = Piece(min(one.age, piece.age), one.holes + piece.holes, rows, path=piece.path)
        if piece.path:
            files[piece.path] = piece
    return [piece for piece in pieces if not piece.path] + list(files.values())


def _lived(hole: Hole, life: Life, now_ns: int) -> Hole | None:
    """The part that the instrument was there for, and that is over."""
    until = min(life.until_ns - 1 if life.until_ns else now_ns, now_ns - SETTLED_NS)
    if hole.table == "trades":
        return hole if hole.to_ns >= life.since_ns and hole.from_ns <= until else None
    step = hole.step
    first = hole.first + max(0, -(-(life.since_ns // step * step - hole.first) // step)) * step
    # The candle in which it was delisted is one, though it ended with the instrument.
    last = min(last_over(hole, now_ns - SETTLED_NS), hole.first + (until - hole.first) // step * step)
    return cut_to(hole, first, last) if first <= last else None


Made = Iterator[Piece | Refused]


def _candles(holes: Sequence[Hole], now_ns: int, life: Life, absent: Mapping[str, str]) -> Made:
    rest: list[Hole] = []
    for hole in holes:
        for part, path in _filed(hole, "klines", now_ns, life, absent):
            if path:
                yield _piece((part,), now_ns, path=path)
            elif life.rest:
                rest.append(part)
            else:
                yield _gone(part, "klines", now_ns, absent)
    for some in _shared(rest, history.KLINES, _CUT):
        one = some[0]
        yield _piece(some, now_ns, history.klines(one.symbol, one.interval, one.first // MS, some[-1].last // MS))


def _interests(holes: Sequence[Hole], now_ns: int, life: Life, absent: Mapping[str, str]) -> Made:
    kept = now_ns - history.INTERESTS_KEPT * MS
    rest: list[Hole] = []
    for hole in holes:
        for part in _split(hole, kept if life.rest else now_ns):
            if part.first >= kept and life.rest:
                rest.append(part)
                continue
            for file, path in _by_days(part, "metrics", now_ns, absent):
                if path:
                    yield _piece((file,), now_ns, path=path)
                else:
                    yield _gone(file, "metrics", now_ns, absent)
    for some in _shared(rest, history.INTERESTS, history.INTERESTS):
        one = some[0]
        yield _piece(some, now_ns, history.interests(one.symbol, one.interval, one.first // MS, some[-1].last // MS))


def _fundings(holes: Sequence[Hole], now_ns: int, life: Life, absent: Mapping[str, str]) -> Made:
    rest: list[Hole] = []
    for hole in holes:
        if life.rest:
            rest.append(hole)
            continue
        for part, path in _filed(hole, "fundingRate", now_ns, life, absent):
            if path:
                yield _piece((part,), now_ns, path=path)
            else:
                yield _gone(part, "fundingRate", now_ns, absent)
    for some in _shared(rest, history.FUNDINGS, history.FUNDINGS):
        yield _piece(some, now_ns, history.fundings(some[0].symbol, some[0].first // MS, some[-1].last // MS + _FUNDING_LATE))


def _shared(holes: Sequence[Hole], most: int, cut: int) -> Iterator[tuple[Hole, ...]]:
    """Holes of one key, cut and put together into requests of at most ``most`` rows, so that all take the least time."""
    parts = [part for hole in sorted(holes) for part in _cut(hole, cut)]
    best: list[tuple[float, int]] = [(0.0, 0)]
    for at, part in enumerate(parts):
        step = part.step
        choices = []
        for begin in range(at, -1, -1):
            rows = (part.last - parts[begin].first) // step + 1
            if rows > most:
                break
            choices.append((best[begin][0] + _seconds(part, rows), begin))
        best.append(min(choices))
    found: list[tuple[Hole, ...]] = []
    at = len(parts)
    while at:
        found.append(tuple(parts[best[at][1] : at]))
        at = best[at][1]
    return reversed(found)


def _seconds(hole: Hole, rows: int) -> float:
    """What a request for so many rows takes of the time; more rows a little more, so that none are asked for in vain."""
    weight = history.klines_weight(rows) if hole.table.startswith("candles") else 0
    return max(weight / _RATE, SPACING_S) + rows * 1e-9


def _cut(hole: Hole, rows: int) -> Iterator[Hole]:
    step = hole.step
    for first in range(hole.first, hole.last + 1, rows * step):
        yield cut_to(hole, first, min(hole.last, first + (rows - 1) * step))


def _split(hole: Hole, at_ns: int) -> list[Hole]:
    """The part before a time, and the one after."""
    step = hole.step
    if not hole.first < at_ns <= hole.last:
        return [hole]
    second = hole.first + -(-(at_ns - hole.first) // step) * step
    return [cut_to(hole, hole.first, second - step), cut_to(hole, second, hole.last)]


def _trades(holes: Sequence[Hole], now_ns: int, life: Life, absent: Mapping[str, str]) -> Made:
    kept = now_ns - history.AGG_KEPT * MS
    ids: list[Hole] = []
    for hole in holes:
        known = bool(hole.first and hole.last)
        if life.rest and hole.from_ns >= kept and (not known or hole.last - hole.first < _WORTH * history.AGG_TRADES):
            if hole.first:
                ids.append(hole)
            else:
                yield _piece((hole,), now_ns, _first_hour(hole), times=True)
            continue
        yield from _trade_files(hole, now_ns, life, kept, absent)
    for some in _runs(ids):
        yield _piece(some, now_ns, history.agg_trades(some[0].symbol, some[0].first))


def _trade_files(hole: Hole, now_ns: int, life: Life, kept: int, absent: Mapping[str, str]) -> Made:
    """By days. What is younger than the files comes in the next round, when it is known which ids are still missing."""
    young = None
    for day in _days(hole.from_ns, hole.to_ns):
        begun, until = _span(day)
        path = history.archive_path("aggTrades", hole.symbol, "", day)
        part = msgspec.structs.replace(hole, from_ns=max(hole.from_ns, begun), to_ns=min(hole.to_ns, until - 1))
        if path not in absent and until + _PUBLISHED_MS * MS <= now_ns:
            made = _piece((part,), now_ns, path=path)
            # Which of its ids are in which day nobody knows.
            yield made if (part.from_ns, part.to_ns) == (hole.from_ns, hole.to_ns) else msgspec.structs.replace(made, rows=0)
        elif life.rest and part.from_ns >= kept:
            young = young or part
        elif path in absent:
            yield Refused(part, absent[path], later=False)
        else:
            yield Refused(part, _UNPUBLISHED, later=True)
    if young is not None:
        rest = msgspec.structs.replace(young, to_ns=hole.to_ns)
        if rest.from_ns == hole.from_ns and rest.first:
            yield _piece((rest,), now_ns, history.agg_trades(rest.symbol, rest.first))
        else:
            yield _piece((rest,), now_ns, _first_hour(rest), times=True)


def _first_hour(hole: Hole) -> Fetch:
    first = hole.from_ns // MS
    return history.agg_trades_at(hole.symbol, first, min(hole.to_ns // MS, first + history.AGG_RANGE))


def _runs(holes: Sequence[Hole]) -> Iterator[tuple[Hole, ...]]:
    """Holes that one answer of a thousand trades can fill, together. A longer one begins a run, and goes on from answer to answer."""
    run: list[Hole] = []
    for hole in sorted(holes):
        if run and (not hole.last or not run[0].last or hole.last - run[0].first >= history.AGG_TRADES):
            yield tuple(run)
            run = []
        run.append(hole)
    if run:
        yield tuple(run)


def _filed(hole: Hole, kind: str, now_ns: int, life: Life, absent: Mapping[str, str]) -> Iterator[tuple[Hole, str]]:
    """The months, or where REST tells nothing any more the days, of a hole that a file gives, with its path; the rest without."""
    step = hole.step
    month_rows = _WORTH * _CUT if life.rest else 1
    left = hole.first
    for month in _months(hole.first, hole.last):
        begun, until = _span(month)
        first = hole.first + max(0, -(-(begun - hole.first) // step)) * step
        last = hole.first + (min(hole.last, until - 1) - hole.first) // step * step
        path = history.archive_path(kind, hole.symbol, hole.interval, month)
        if first > last or (last - first) // step + 1 < month_rows or path in absent or until + _MONTH_LATE_MS * MS > now_ns:
            continue
        if first > left:
            yield from _unfiled(cut_to(hole, left, first - step), kind, now_ns, life, absent)
        yield cut_to(hole, first, last), path
        left = last + step
    if left <= hole.last:
        yield from _unfiled(cut_to(hole, left, hole.last), kind, now_ns, life, absent)


def _unfiled(hole: Hole, kind: str, now_ns: int, life: Life, absent: Mapping[str, str]) -> Iterator[tuple[Hole, str]]:
    if life.rest or kind == "fundingRate":
        yield hole, ""
    else:
        yield from _by_days(hole, kind, now_ns, absent)


def _by_days(hole: Hole, kind: str, now_ns: int, absent: Mapping[str, str]) -> Iterator[tuple[Hole, str]]:
    step = hole.step
    for day in _days(hole.first, hole.last):
        begun, until = _span(day)
        first = hole.first + max(0, -(-(begun - hole.first) // step)) * step
        last = hole.first + (min(hole.last, until - 1) - hole.first) // step * step
        path = history.archive_path(kind, hole.symbol, hole.interval if kind == "klines" else "", day)
        if first <= last:
            yield cut_to(hole, first, last), path if path not in absent and until + _PUBLISHED_MS * MS <= now_ns else ""


def _gone(hole: Hole, kind: str, now_ns: int, absent: Mapping[str, str]) -> Refused:
    """Why there is neither REST nor a file for it."""
    month, day = _date(hole.from_ns, "%Y-%m"), _date(hole.from_ns, "%Y-%m-%d")
    dates = {"fundingRate": [month], "metrics": [day]}.get(kind, [day, month])
    for date in dates:
        path = history.archive_path(kind, hole.symbol, hole.interval if kind == "klines" else "", date)
        if path in absent:
            return Refused(hole, absent[path], later=False)
    late = _MONTH_LATE_MS if dates[0] == month else _PUBLISHED_MS
    later = _span(dates[0])[1] + late * MS > now_ns
    return Refused(hole, _UNPUBLISHED if later else "REST does not reach so far back, and the archive has no file", later)


def _piece(holes: tuple[Hole, ...], now_ns: int, fetch: Fetch | None = None, path: str = "", *, times: bool = False) -> Piece:
    rows = 0
    for hole in holes:
        known = hole.table != "trades" or (hole.first and hole.last)
        rows += (hole.last - hole.first) // hole.step + 1 if known else 0
    return Piece(min(age_of(hole.to_ns, now_ns) for hole in holes), holes, rows, fetch, path, times)


def _date(ns: int, form: str) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime(form)


def _days(first_ns: int, last_ns: int) -> list[str]:
    return [_date(day * DAY * MS, "%Y-%m-%d") for day in range(first_ns // (DAY * MS), last_ns // (DAY * MS) + 1)]


def _months(first_ns: int, last_ns: int) -> list[str]:
    return sorted({day[:7] for day in _days(first_ns, last_ns)})


def _span(date: str) -> tuple[int, int]:
    """First ns of a day or a month, and of the next one."""
    begun = datetime.fromisoformat(date if date.count("-") == 2 else date + "-01").replace(tzinfo=UTC)
    until = begun + timedelta(days=1) if date.count("-") == 2 else (begun + timedelta(days=32)).replace(day=1)
    return round(begun.timestamp()) * 10**9, round(until.timestamp()) * 10**9


#: by the first word of the table
_MAKERS = {"candles": _candles, "open": _interests, "funding": _fundings, "trades": _trades}
