"""Binance's public archive of the futures (sheet 3.6): zip files of a day or a month, each with its ``.CHECKSUM``.

Older files have no header, and some programs of the exchange wrote microseconds: here the seed says which file is of which kind, and which
is not there. ``faults`` maps a pattern of paths to ``missing``, ``checksum`` (a wrong one) or ``torn`` (a cut zip of the right checksum).
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatch
from functools import lru_cache

from aiohttp import web

from tape_collectors.simulator.history import DAY, HOUR, INTERVALS, MINUTE, History, key

ROOT = "/data/futures/um"
_HEADERS = {
    "klines": "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
    "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
    "fundingRate": "calc_time,funding_interval_hours,last_funding_rate",
    "metrics": "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio",
}
_PATH = re.compile(
    r"/(?P<span>daily|monthly)/(?P<kind>klines|aggTrades|fundingRate|metrics)/(?P<symbol>\w+)(?:/(?P<interval>\w+))?"
    r"/(?P=symbol)-(?P<name>\w+)-(?P<date>\d{4}-\d\d(?:-\d\d)?)\.zip"
)
#: a day's file is there so long after its end
_LATE = 6 * HOUR
#: of the files, one in so many is missing
_MISSING = 40


class Archive:
    """``served``: the paths that were asked for and given."""

    def __init__(self, history: History, now_ms: Callable[[], int]) -> None:
        self.history = history
        self.now_ms = now_ms
        self.faults: dict[str, str] = {}
        self.served: list[str] = []
        self._zip = lru_cache(maxsize=128)(self._made)

    def routes(self, app: web.Application) -> None:
        """Everything below the archive's folder."""
        app.router.add_get(ROOT + "/{path:.*}", self._get)

    def fault(self, path: str) -> str:
        """What is wrong with a file, by its path below the archive's folder; empty: nothing."""
        for pattern, kind in self.faults.items():
            if fnmatch(path, pattern):
                return kind
        return "missing" if key(self.history.seed, "archive", path) % _MISSING == 0 else ""

    def file(self, path: str) -> bytes | None:
        """A zip file, by its path below the archive's folder; None: it is not there (yet)."""
        match = _PATH.fullmatch("/" + path)
        if match is None or match["symbol"] not in self.history.listings or self.fault(path) == "missing":
            return None
        first, until = span(match["date"])
        if (match["span"] == "daily") != (match["date"].count("-") == 2) or self.now_ms() < until + _LATE:
            return None
        if match["span"] == "monthly" and self.now_ms() < _published(until):
            return None
        return self._zip(match["kind"], match["symbol"], match["interval"] or "", match["span"], first, until, path)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        body = self.file(path.removesuffix(".CHECKSUM"))
        if body is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>", content_type="application/xml")
        self.served.append(path)
        if not path.endswith(".CHECKSUM"):
            return web.Response(body=body, content_type="application/zip")
        digest = hashlib.sha256(body + (b"?" if self.fault(path.removesuffix(".CHECKSUM")) == "checksum" else b"")).hexdigest()
        return web.Response(text=f"{digest}  {path.rpartition('/')[2].removesuffix('.CHECKSUM')}\n")

    def _made(self, kind: str, symbol: str, interval: str, spanned: str, first: int, until: int, path: str) -> bytes | None:
        style = key(self.history.seed, "style", path)
        scale = 1000 if style // 2 % 3 == 0 else 1
        rows = list(self._rows(kind, symbol, interval, first, until, scale))
        if not rows:
            return None
        text = "\n".join([*([_HEADERS[kind]] if style % 2 or kind in ("fundingRate", "metrics") else []), *rows]) + "\n"
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(zipfile.ZipInfo(path.rpartition("/")[2].replace(".zip", ".csv")), text)
        body = out.getvalue()
        return body[: len(body) // 2] if self.fault(path) == "torn" else body

    def _rows(self, kind: str, symbol: str, interval: str, first: int, until: int, scale: int) -> Iterable[str]:
        from tape_collectors.simulator.binance_history import agg_rows, kline_rows

        one, history = self.history.listings[symbol], self.history
        if kind == "klines":
            every = INTERVALS[interval]
            for row in kline_rows(one, history.bars(symbol, every, first, until - 1, until), every):
                # A candle's end in microseconds is its last microsecond.
                row[0], row[6] = row[0] * scale, (row[6] + 1) * scale - 1
                yield ",".join(map(str, row))
        elif kind == "aggTrades":
            for each in agg_rows(one, history.fills(symbol, first, until)):
                maker = "true" if each["m"] else "false"
                yield f"{each['a']},{each['p']},{each['q']},{each['f']},{each['l']},{each['T'] * scale},{maker}"
        elif kind == "fundingRate":
            for ms, rate, _ in history.funding(symbol, first, until - 1):
                yield f"{ms * scale},{history.funding_ms(symbol) // HOUR},{rate}"
        else:
            for ms, size, value in history.open_interest(symbol, 5 * MINUTE, first, until - 1):
                yield f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S},{symbol},{size},{value},1.1,1.2,1.3,1.4"


def span(text: str) -> tuple[int, int]:
    """First ms of a day or month, and of the next."""
    if text.count("-") == 2:
        begun = _ms(date.fromisoformat(text))
        return begun, begun + DAY
    begun_day = date.fromisoformat(text + "-01")
    return _ms(begun_day), _ms((begun_day + timedelta(days=32)).replace(day=1))


def _published(month_end: int) -> int:
    """A month's file is there on the first Monday after it."""
    day = datetime.fromtimestamp(month_end / 1000, UTC).date()
    return _ms(day + timedelta(days=-day.weekday() % 7))


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
