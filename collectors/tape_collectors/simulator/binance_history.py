"""Binance USD-M's history by REST (sheet 3.5): klines, aggTrades, fundingRate and openInterestHist, over ``history.History``.

Past the minute in which the venue began to live, what it lived is told, not what the seed says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tape_collectors.simulator.binance_archive import Archive
from tape_collectors.simulator.history import DAY, HOUR, INTERVALS, Bars, Fills, History, Listing, key
from tape_collectors.simulator.meter import Meter

if TYPE_CHECKING:
    from tape_collectors.simulator.binance_rest import BinanceRest

#: limit -> weight of klines
_KLINES = ((99, 1), (499, 2), (1000, 5), (1500, 10))
_AGG_WEIGHT = 20
#: how far back aggregate trades can be asked for, and open interest
AGG_KEPT = 48 * HOUR
INTEREST_KEPT = 30 * DAY
_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")

Answer = Callable[["_Asked"], web.StreamResponse | list[Any]]


class _Asked:
    """One request: its symbol, its time range, how many rows."""

    def __init__(self, one: Listing, query: Any, most: int, default: int) -> None:
        self.one = one
        self.query = query
        self.limit = _number(query, "limit", default)
        self.first = _number(query, "startTime", -1)
        self.last = _number(query, "endTime", -1)
        self.bad = not 0 < self.limit <= most


class Past:
    """The paths of history. ``now_ms`` is the venue's clock; ``funding`` and ``interest`` count requests apart from the weights."""

    def __init__(self, api: BinanceRest, history: History, now_ms: Callable[[], int]) -> None:
        self.api = api
        self.history = history
        self.archive = Archive(history, lambda: self.now_ms())
        self.funding_meter = Meter(500, 300.0)
        self.interest_meter = Meter(1000, 300.0)
        self.now_ms = now_ms

    def routes(self, app: web.Application) -> None:
        """Add them."""
        app.router.add_get("/fapi/v1/klines", self._handler(lambda query: _klines_weight(query), self._klines, 1500, 500))
        app.router.add_get("/fapi/v1/aggTrades", self._handler(lambda query: _AGG_WEIGHT, self._agg_trades, 1000, 500))
        app.router.add_get("/fapi/v1/fundingRate", self._handler(lambda query: 1, self._funding, 1000, 100, self.funding_meter))
        app.router.add_get("/futures/data/openInterestHist", self._handler(lambda query: 1, self._interest, 500, 30, self.interest_meter))
        self.archive.routes(app)

    def _handler(
        self, weight: Callable[[Any], int], answer: Answer, most: int, default: int, meter: Meter | None = None
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            headers = self.api.counted(weight(request.query), meter)
            if isinstance(headers, web.Response):
                return headers
            one = self.history.listings.get(request.query.get("symbol", ""))
            if one is None:
                return _no(-1121, "Invalid symbol.")
            if one.delisted_ms and one.delisted_ms <= self.now_ms():
                return _no(-1122, "Invalid symbol status.")
            asked = _Asked(one, request.query, most, default)
            if asked.bad:
                return _no(-1130, "Data sent for parameter 'limit' is not valid.")
            body = answer(asked)
            return body if isinstance(body, web.StreamResponse) else web.json_response(body, headers=headers)

        return handle

    def _klines(self, asked: _Asked) -> web.StreamResponse | list[Any]:
        every = INTERVALS.get(asked.query.get("interval", ""))
        if every is None:
            return _no(-1120, "Invalid interval.")
        now = self.now_ms()
        last = now if asked.last < 0 else min(asked.last, now)
        # As many as there may be holes for, from the end that the venue counts from.
        first = last - asked.limit * every if asked.first < 0 else max(asked.first, asked.one.onboard_ms // every * every)
        rows: list[Any] = []
        span = every * asked.limit
        while len(rows) < asked.limit and first <= last:
            until = min(last, first + span) if asked.first >= 0 else last
            rows += kline_rows(asked.one, self.history.bars(asked.one.symbol, every, first, until, now), every)
            first = until + 1
        return rows[: asked.limit] if asked.first >= 0 else rows[-asked.limit :]

    def _agg_trades(self, asked: _Asked) -> web.StreamResponse | list[Any]:
        now, symbol = self.now_ms(), asked.one.symbol
        kept = now - AGG_KEPT
        timed = asked.first >= 0 or asked.last >= 0
        if "fromId" in asked.query:
            if timed:
                return _no(-1128, "Combination of optional parameters invalid.")
            wanted = _number(asked.query, "fromId", 0)
            known = self.history.fills(symbol, kept, min(now, kept + HOUR))
            return self._agg_rows(asked, max(wanted, int(known.id[0]) if len(known) else wanted), now)
        if not timed:
            return self._agg_rows(asked, 0, now, newest=True)
        if asked.first >= 0 and asked.last >= 0 and asked.last - asked.first >= HOUR:
            return _no(-4084, "startTime and endTime must be less than 1 hour apart.")
        first = max(kept, asked.first if asked.first >= 0 else asked.last - HOUR + 1)
        last = asked.last if asked.last >= 0 else first + HOUR - 1
        rows = agg_rows(asked.one, self.history.fills(symbol, first, min(last + 1, now)))
        rows += [row for row in self.api.lived_agg(symbol) if first <= row["T"] <= last]
        return rows[: asked.limit]

    def _agg_rows(self, asked: _Asked, first_id: int, now: int, *, newest: bool = False) -> list[Any]:
        symbol, lived = asked.one.symbol, self.api.lived_agg(asked.one.symbol)
        if newest:
            return (agg_rows(asked.one, self.history.fills(symbol, now - 10 * HOUR, now)) + lived)[-asked.limit :]
        rows = agg_rows(asked.one, self.history.fills_from(symbol, first_id, asked.limit, now))
        return (rows + [row for row in lived if row["a"] >= first_id])[: asked.limit]

    def _funding(self, asked: _Asked) -> web.StreamResponse | list[Any]:
        now, symbol = self.now_ms(), asked.one.symbol
        last = now if asked.last < 0 else min(asked.last, now)
        first = max(asked.first, asked.one.onboard_ms) if asked.first >= 0 else last - 200 * 8 * HOUR
        rows = [
            {"symbol": symbol, "fundingTime": ms, "fundingRate": rate, "markPrice": mark}
            for ms, rate, mark in self.history.funding(symbol, first, last)
        ]
        return rows[: asked.limit] if asked.first >= 0 else rows[-asked.limit :]

    def _interest(self, asked: _Asked) -> web.StreamResponse | list[Any]:
        period = asked.query.get("period", "")
        if period not in _PERIODS:
            return _no(-1130, "Data sent for parameter 'period' is not valid.")
        now, every = self.now_ms(), INTERVALS[period]
        if 0 <= asked.first < now - INTEREST_KEPT:
            return _no(-1130, "parameter 'startTime' is invalid.")
        last = now if asked.last < 0 else min(asked.last, now)
        first = asked.first if asked.first >= 0 else max(now - INTEREST_KEPT, last - asked.limit * every)
        rows = [
            {"symbol": asked.one.symbol, "sumOpenInterest": size, "sumOpenInterestValue": value, "timestamp": ms}
            for ms, size, value in self.history.open_interest(asked.one.symbol, every, first, last)
        ]
        return rows[: asked.limit] if asked.first >= 0 else rows[-asked.limit :]


def kline_rows(one: Listing, bars: Bars, every_ms: int) -> list[Any]:
    """Candles as the venue writes them."""
    price, size, quote = one.price_text, one.size_text, one.quote_text
    columns = (bars.ms, bars.open, bars.high, bars.low, bars.close, bars.volume, bars.quote, bars.trades, bars.taker, bars.taker_quote)
    return [
        [ms, price(o), price(h), price(low), price(c), size(v), ms + every_ms - 1, quote(q), n, size(taker), quote(taker_quote), "0"]
        for ms, o, h, low, c, v, q, n, taker, taker_quote in zip(*(column.tolist() for column in columns), strict=True)
    ]


def agg_rows(one: Listing, fills: Fills) -> list[Any]:
    """Aggregate trades as the venue writes them. Each is of three fills."""
    columns = (fills.id, fills.ms, fills.price, fills.size, fills.sells)
    return [
        {"a": number, "p": one.price_text(price), "q": one.size_text(size), "f": 3 * number, "l": 3 * number + 2, "T": ms, "m": sells}
        for number, ms, price, size, sells in zip(*(column.tolist() for column in columns), strict=True)
    ]


def listings(symbols: dict[str, tuple[float, int, int]], seed: int, now_ms: int) -> list[Listing]:
    """Instruments of a market as listings: symbol -> (price, decimals of price, of size). Listed some months ago, by the seed."""
    return [
        Listing(symbol, price, tick, lot, (now_ms // DAY - 120 - key(seed, symbol, "listed") % 900) * DAY + 7 * HOUR)
        for symbol, (price, tick, lot) in symbols.items()
    ]


def _klines_weight(query: Any) -> int:
    limit = _number(query, "limit", 500)
    return next((weight for most, weight in _KLINES if limit <= most), 10)


def _number(query: Any, name: str, default: int) -> int:
    text = str(query.get(name, ""))
    return int(text) if text.isdigit() else default


def _no(code: int, text: str) -> web.Response:
    return web.json_response({"code": code, "msg": text}, status=400)
