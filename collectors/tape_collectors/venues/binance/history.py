"""Binance USD-M's past: what to ask, and what the answers say. Pure: requests and bytes go in, rows come out.

Sources: the project's sheet, sections 3.5 (REST: weights, most rows, how far back) and 3.6 (public archive: paths, columns, headers,
time units), read 2026-11-20. Rows come as columns, named as in the tables (``tape_archive.tables.schema``): times in unix ns, numbers as
float64 and int64, a list for each column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs

import msgspec

from tape_archive.format.errors import VenueProtocolError
from tape_collectors.venues.binance.wire import MS
from tape_collectors.venues.protocol import Fetch, Limits

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: candle lengths in ms
INTERVALS = {
    **{f"{count}m": count * MINUTE for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": count * HOUR for count in (1, 2, 4, 6, 8, 12)},
    "1d": DAY,
}
#: most rows of one answer
KLINES = 1500
AGG_TRADES = 1000
FUNDINGS = 1000
INTERESTS = 500
#: limit -> weight of klines
_WEIGHTS = ((99, 1), (499, 2), (1000, 5), (KLINES, 10))
AGG_WEIGHT = 20
#: aggregate trades are told for 48 h, open interest for a month; an hour, and a day, less is asked for
AGG_KEPT = 47 * HOUR
INTERESTS_KEPT = 29 * DAY
#: a range of times in one request for aggregate trades
AGG_RANGE = HOUR - 1
#: what counts apart from the weights: requests in five minutes, by the host's name in ``Fetch``
LIMITS = {"funding": Limits(500, 300.0), "interest": Limits(1000, 300.0)}
#: below the archive's address
ARCHIVE = "/data/futures/um"

Columns = dict[str, list[Any]]


def klines_weight(rows: int) -> int:
    """What a request for so many candles weighs."""
    return next(weight for most, weight in _WEIGHTS if rows <= most)


def klines(symbol: str, interval: str, first_ms: int, last_ms: int) -> Fetch:
    """The candles that open in ``first_ms..last_ms``, at most 1500."""
    rows = (last_ms - first_ms) // INTERVALS[interval] + 1
    query = f"symbol={symbol}&interval={interval}&startTime={first_ms}&endTime={last_ms}&limit={rows}"
    return Fetch(f"GET /fapi/v1/klines?{query}", weight=klines_weight(rows), retries=0)


def agg_trades(symbol: str, first_id: int) -> Fetch:
    """A thousand aggregate trades from an id on."""
    return Fetch(f"GET /fapi/v1/aggTrades?symbol={symbol}&fromId={first_id}&limit={AGG_TRADES}", weight=AGG_WEIGHT, retries=0)


def agg_trades_at(symbol: str, first_ms: int, last_ms: int) -> Fetch:
    """The first aggregate trades of a time, which is less than an hour."""
    query = f"symbol={symbol}&startTime={first_ms}&endTime={last_ms}&limit={AGG_TRADES}"
    return Fetch(f"GET /fapi/v1/aggTrades?{query}", weight=AGG_WEIGHT, retries=0)


def fundings(symbol: str, first_ms: int, last_ms: int) -> Fetch:
    """Settled funding rates, at most a thousand."""
    query = f"symbol={symbol}&startTime={first_ms}&endTime={last_ms}&limit={FUNDINGS}"
    return Fetch(f"GET /fapi/v1/fundingRate?{query}", host="funding", retries=0)


def interests(symbol: str, period: str, first_ms: int, last_ms: int) -> Fetch:
    """Open interest on the grid of a period, at most 500."""
    query = f"symbol={symbol}&period={period}&startTime={first_ms}&endTime={last_ms}&limit={INTERESTS}"
    return Fetch(f"GET /futures/data/openInterestHist?{query}", host="interest", retries=0)


def archive_path(kind: str, symbol: str, interval: str, date: str) -> str:
    """A file of the archive, below its address. ``kind``: klines, aggTrades, fundingRate, metrics; ``date``: 2026-01-31 or 2026-01."""
    span = "daily" if date.count("-") == 2 else "monthly"
    folder = f"{kind}/{symbol}/{interval}" if interval else f"{kind}/{symbol}"
    return f"{ARCHIVE}/{span}/{folder}/{symbol}-{interval or kind}-{date}.zip"


# -- rows --------------------------------------------------------------------------------------------------------------------

CANDLES = (*("timestamp", "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_volume", "taker_quote_volume"),)
TRADES = ("timestamp", "side", "amount", "price", "trade_id", "first_id", "last_id")
FUNDING = ("timestamp", "rate", "mark_price")
OPEN_INTEREST = ("timestamp", "open_interest", "value")


def _candle(row: Any) -> tuple[Any, ...]:
    """From the twelve columns that REST and the archive share."""
    opened, first, high, low, last, volume, _, quote, trades, taker, taker_quote = row[:11]
    prices = (float(first), float(high), float(low), float(last))
    return (_ns(opened), *prices, float(volume), float(quote), int(trades), float(taker), float(taker_quote))


def _ns(value: int | str) -> int:
    """ms or us, by the magnitude."""
    number = int(value)
    return number * 1000 if number > 10**14 else number * MS


def _columns(names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Columns:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return dict(zip(names, columns or [[] for _ in names], strict=True))


# -- answers of REST ---------------------------------------------------------------------------------------------------------


class _AggTrade(msgspec.Struct):
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741
    T: int
    m: bool


class _Funding(msgspec.Struct):
    symbol: str
    fundingTime: int
    fundingRate: str
    markPrice: str = ""


class _Interest(msgspec.Struct):
    symbol: str
    sumOpenInterest: str
    sumOpenInterestValue: str
    timestamp: int | str


class _Refusal(msgspec.Struct):
    code: int = 0
    msg: str = ""


_Kline = tuple[int, str, str, str, str, str, int, str, int, str, str, str]
_klines = msgspec.json.Decoder(list[_Kline]).decode
_agg_trades = msgspec.json.Decoder(list[_AggTrade]).decode
_fundings = msgspec.json.Decoder(list[_Funding]).decode
_interests = msgspec.json.Decoder(list[_Interest]).decode


def answer(t: int, request: str, data: bytes) -> Columns:
    """What an answer to one of the requests above says, by rising time. A candle that has not closed by ``t`` (unix ns) is left out.

    Raises VenueProtocolError for anything else, also for a row of another time or symbol than was asked for.
    """
    path, query = parts(request)
    decode = _ANSWERS.get(path)
    if decode is None:
        raise VenueProtocolError(f"binance: no request of history: {request[:100]}")
    try:
        return decode(t, query, data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise VenueProtocolError(f"binance: {path} of {query.get('symbol', '')}: {str(error)[:100]}") from None


def parts(request: str) -> tuple[str, dict[str, str]]:
    """Path and query of a request."""
    path, _, text = request.removeprefix("GET ").partition("?")
    return path, {key: values[0] for key, values in parse_qs(text).items()}


def refusal(data: bytes) -> str:
    """What an error answer says."""
    try:
        said = msgspec.json.decode(data, type=_Refusal)
    except (msgspec.DecodeError, ValueError):
        return data[:100].decode("utf-8", "replace")
    return f"{said.code} {said.msg}"


def _kline_answer(t: int, query: dict[str, str], data: bytes) -> Columns:
    rows = [row for row in _klines(data) if row[6] * MS < t]
    _check([row[0] for row in rows], query)
    return _columns(CANDLES, map(_candle, rows))


def _agg_answer(t: int, query: dict[str, str], data: bytes) -> Columns:
    rows = _agg_trades(data)
    if "fromId" in query and rows and rows[0].a < int(query["fromId"]):
        raise ValueError(f"id {rows[0].a} is before the one asked for")
    if any(after.a <= before.a for before, after in pairwise(rows)):
        raise ValueError("ids do not ascend")
    _check([row.T for row in rows], query)
    return _columns(TRADES, ((row.T * MS, "sell" if row.m else "buy", float(row.q), float(row.p), row.a, row.f, row.l) for row in rows))


def _funding_answer(t: int, query: dict[str, str], data: bytes) -> Columns:
    rows = _fundings(data)
    _check([row.fundingTime for row in rows], query, {row.symbol for row in rows})
    return _columns(FUNDING, ((_settled(row.fundingTime * MS), float(row.fundingRate), _maybe(row.markPrice)) for row in rows))


def _interest_answer(t: int, query: dict[str, str], data: bytes) -> Columns:
    rows = _interests(data)
    _check([int(row.timestamp) for row in rows], query, {row.symbol for row in rows})
    made = ((int(row.timestamp) * MS, float(row.sumOpenInterest), float(row.sumOpenInterestValue)) for row in rows)
    return _columns(OPEN_INTEREST, made)


def _settled(ns: int) -> int:
    """The time of a settlement without the milliseconds by which it was late: as the streams announce it."""
    return ns // (MINUTE * MS) * MINUTE * MS


def _maybe(text: str) -> float | None:
    return float(text) if text else None


def _check(times: list[int], query: dict[str, str], symbols: set[str] | None = None) -> None:
    if symbols and symbols != {query["symbol"]}:
        raise ValueError("rows of another symbol")
    if any(after < before for before, after in pairwise(times)):
        raise ValueError("rows do not ascend")
    if "startTime" in query and times and not int(query["startTime"]) <= times[0] <= times[-1] <= int(query["endTime"]):
        raise ValueError("rows of another time than was asked for")


_ANSWERS: dict[str, Callable[[int, dict[str, str], bytes], Columns]] = {
    "/fapi/v1/klines": _kline_answer,
    "/fapi/v1/aggTrades": _agg_answer,
    "/fapi/v1/fundingRate": _funding_answer,
    "/futures/data/openInterestHist": _interest_answer,
}


# -- files of the archive ----------------------------------------------------------------------------------------------------


def archived(kind: str, lines: Iterable[str]) -> Columns:
    """The rows of a file's CSV: with a header or without, times in ms or in us, each row by its magnitude. ``kind`` as in its path.

    Raises VenueProtocolError, naming the line.
    """
    names, make = _FILES[kind]
    rows = []
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            if number > 1 or line[:1].isdigit():
                rows.append(make(line.rstrip("\r\n").split(",")))
    except (ValueError, IndexError, KeyError) as error:
        raise VenueProtocolError(f"binance archive: {kind}, line {number}: {str(error)[:80]}") from None
    return _columns(names, rows)


_SIDES = {"true": "sell", "false": "buy", "True": "sell", "False": "buy"}


def _agg_row(row: list[str]) -> tuple[Any, ...]:
    return _ns(row[5]), _SIDES[row[6]], float(row[2]), float(row[1]), int(row[0]), int(row[3]), int(row[4])


def _funding_row(row: list[str]) -> tuple[Any, ...]:
    return _settled(_ns(row[0])), float(row[2]), None


def _metrics_row(row: list[str]) -> tuple[Any, ...]:
    at = datetime.strptime(row[0], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return round(at.timestamp()) * 1000 * MS, float(row[2]), float(row[3])


_FILES: dict[str, tuple[tuple[str, ...], Callable[[list[str]], tuple[Any, ...]]]] = {
    "klines": (CANDLES, _candle),
    "aggTrades": (TRADES, _agg_row),
    "fundingRate": (FUNDING, _funding_row),
    "metrics": (OPEN_INTEREST, _metrics_row),
}
