"""Binance's REST: the depth snapshot and its weight, and the small public answers (sheet 2.4, 3.5)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tape_collectors.simulator import binance_events as events
from tape_collectors.simulator.binance_events import Day
from tape_collectors.simulator.binance_history import Past, listings
from tape_collectors.simulator.candles import Candle
from tape_collectors.simulator.history import History, Listing
from tape_collectors.simulator.market import Fill, Instrument
from tape_collectors.simulator.meter import Meter

if TYPE_CHECKING:
    from tape_collectors.simulator.binance import Binance

_SPOT_WEIGHT = ((100, 5), (500, 25), (1000, 50), (5000, 250))
_FUTURES_WEIGHT = ((50, 2), (100, 5), (500, 10), (1000, 20))
#: trades of each future that are told after they happened
_LIVED = 20_000
#: the delivery date of a perpetual
_NEVER = 4_133_404_800_000


class BinanceRest:
    """Requests cost weight; over the limit 429, and who goes on is banned with 418 for ``ban_s``."""

    def __init__(self, venue: Binance, weight_limit: int, ban_s: float) -> None:
        self.venue = venue
        self.meter = Meter(weight_limit, 60.0, ban_s)
        #: a recording's own answers, in place of the market's
        self.info_played: bytes | None = None
        self.depth_played: Callable[[web.Request], Any] | None = None
        self._had: set[str] = set()
        kept = _LIVED if venue.futures else 1000
        self.fills: dict[str, deque[Fill]] = {symbol: deque(maxlen=kept) for symbol in venue.market.instruments}
        self.past = Past(self, _history(venue), lambda: self.venue.now_ms()) if venue.futures else None

    def routes(self, app: web.Application) -> None:
        """The paths of this venue."""
        root = "/fapi/v1" if self.venue.futures else "/api/v3"
        paths: dict[str, Callable[[web.Request], Any]] = {
            "depth": self._depth,
            "exchangeInfo": self._info,
            "time": self._time,
            "ping": self._ping,
            "trades": self._trades,
        }
        if self.past is not None:
            paths |= {"openInterest": self._open_interest, "premiumIndex": self._premium}
            self.past.routes(app)
        else:
            paths["aggTrades"] = self._agg_trades
        for path, handler in paths.items():
            app.router.add_get(f"{root}/{path}", handler)

    def counted(self, weight: int, meter: Meter | None = None) -> web.Response | dict[str, str]:
        """The headers of an answer that may be given, or the refusal."""
        counting = meter or self.meter
        status, wait_s = counting.count(weight)
        headers = {} if meter else {"X-MBX-USED-WEIGHT-1M": str(counting.used)}
        return headers if status == 200 else _refused(status, wait_s, headers)

    def lived_minute(self, symbol: str, ms: int, bar: Day | Candle) -> None:
        """A candle of the market closed."""
        if self.past is not None:
            numbers = (*bar.ohlc, bar.volume, bar.quote, bar.trades, bar.bought, bar.quote_bought)
            self.past.history.lived(symbol, ms, numbers)

    def listed(self, one: Instrument, onboard_ms: int) -> None:
        """The market has one more instrument, which has no past before this."""
        if self.past is not None and one.symbol not in self.past.history.listings:
            price = one.mid / 10**one.tick
            self.past.history.listings[one.symbol] = Listing(one.symbol, price, one.tick, one.lot, onboard_ms)

    def lived_agg(self, symbol: str) -> list[dict[str, Any]]:
        """The last aggregate trades that the market itself made, as REST tells them."""
        one = self.venue.market.instruments.get(symbol)
        return [_agg_row(one, fill, futures=True) for fill in self.fills[symbol]] if one is not None else []

    def _asked(self, request: web.Request, weight: int) -> tuple[Instrument, dict[str, str]] | web.Response:
        headers = self.counted(weight)
        if isinstance(headers, web.Response):
            return headers
        one = self.venue.market.instruments.get(request.query.get("symbol", ""))
        if one is None:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400, headers=headers)
        return one, headers

    async def _depth(self, request: web.Request) -> web.StreamResponse:
        if self.depth_played is not None:
            played: web.StreamResponse = await self.depth_played(request)
            return played
        steps = _FUTURES_WEIGHT if self.venue.futures else _SPOT_WEIGHT
        limit = _limit(request, 500 if self.venue.futures else 100)
        if not 0 < limit <= steps[-1][0]:
            return web.json_response({"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}, status=400)
        asked = self._asked(request, next(weight for most, weight in steps if limit <= most))
        if isinstance(asked, web.Response):
            return asked
        one, headers = asked
        if self.venue.faults.first("stale_snapshot", self.venue.name, one.symbol):
            last, bids, asks = _first(one, limit)
        else:
            last, bids, asks = events.top(one, limit)
        ms = self.venue.now_ms()
        times = {"E": ms, "T": ms} if self.venue.futures else {}
        return web.json_response({"lastUpdateId": last, **times, "bids": bids, "asks": asks}, headers=headers)

    async def _info(self, request: web.Request) -> web.StreamResponse:
        headers = self.counted(1 if self.venue.futures else 20)
        if isinstance(headers, web.Response):
            return headers
        if self.info_played is not None:
            return web.Response(body=self.info_played, content_type="application/json", headers=headers)
        wanted = request.query.get("symbol")
        listed: Mapping[str, Instrument | Listing] = self.past.history.listings if self.past else self.venue.market.instruments
        if wanted is not None and wanted not in listed:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400, headers=headers)
        rows = [self._symbol(one) for one in listed.values() if wanted in (None, one.symbol) and not self._gone(one.symbol)]
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.meter.limit}
        body = {"timezone": "UTC", "serverTime": int(time.time() * 1000), "rateLimits": [limit], "exchangeFilters": [], "symbols": rows}
        return web.json_response(body, headers=headers)

    def _gone(self, symbol: str) -> bool:
        """Whether it was taken from the market that is live, of which the past knows nothing."""
        now = self.venue.market.instruments
        self._had.update(now)
        return symbol in self._had and symbol not in now

    def _symbol(self, one: Instrument | Listing) -> dict[str, Any]:
        live = self.venue.market.instruments.get(one.symbol, one)
        tick, lot = f"{10**-live.tick:.{live.tick}f}", f"{10**-live.lot:.{live.lot}f}"
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000.000", "stepSize": lot},
        ]
        base = {"symbol": one.symbol, "status": "TRADING", "baseAsset": one.symbol.removesuffix("USDT"), "quoteAsset": "USDT"}
        if not isinstance(one, Listing):
            return {**base, "isSpotTradingAllowed": True, "filters": filters}
        kind = {"contractType": "PERPETUAL", "pair": one.symbol}
        times = {"onboardDate": one.onboard_ms, "deliveryDate": one.delisted_ms or _NEVER}
        if one.delisted_ms and one.delisted_ms <= (self.past.now_ms() if self.past else 0):
            base["status"] = "SETTLING"
        return {**base, **kind, **times, "filters": filters}

    async def _time(self, request: web.Request) -> web.StreamResponse:
        headers = self.counted(1)
        return headers if isinstance(headers, web.Response) else web.json_response({"serverTime": int(time.time() * 1000)}, headers=headers)

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        headers = self.counted(1)
        return headers if isinstance(headers, web.Response) else web.json_response({}, headers=headers)

    async def _trades(self, request: web.Request) -> web.StreamResponse:
        asked = self._asked(request, 5 if self.venue.futures else 25)
        if isinstance(asked, web.Response):
            return asked
        one, headers = asked
        rows = []
        for fill in list(self.fills[one.symbol])[-_limit(request, 500) :]:
            quote = f"{fill.price * fill.size / 10 ** (one.tick + one.lot):.8f}"
            row = {"id": fill.id, "price": one.price_text(fill.price), "qty": one.size_text(fill.size), "quoteQty": quote}
            rows.append(row | {"time": fill.ms, "isBuyerMaker": fill.taker_sells} | ({} if self.venue.futures else {"isBestMatch": True}))
        return web.json_response(rows, headers=headers)

    async def _agg_trades(self, request: web.Request) -> web.StreamResponse:
        asked = self._asked(request, 4)
        if isinstance(asked, web.Response):
            return asked
        one, headers = asked
        rows = [_agg_row(one, fill) for fill in self.fills[one.symbol]]
        if "fromId" in request.query:
            first = int(request.query["fromId"])
            rows = [row for row in rows if row["a"] >= first][: _limit(request, 500)]
        return web.json_response(rows[-_limit(request, 500) :], headers=headers)

    async def _open_interest(self, request: web.Request) -> web.StreamResponse:
        asked = self._asked(request, 1)
        if isinstance(asked, web.Response):
            return asked
        one, headers = asked
        ms = self.venue.now_ms()
        self.venue.polled(one, ms)
        body = {"openInterest": one.size_text(one.open_interest), "symbol": one.symbol, "time": ms}
        return web.json_response(body, headers=headers)

    async def _premium(self, request: web.Request) -> web.StreamResponse:
        symbol = request.query.get("symbol")
        if symbol is None:
            headers = self.counted(10)
            rows = [_premium(one, self.venue.now_ms()) for one in self.venue.market.instruments.values()]
            return headers if isinstance(headers, web.Response) else web.json_response(rows, headers=headers)
        asked = self._asked(request, 1)
        return asked if isinstance(asked, web.Response) else web.json_response(_premium(asked[0], self.venue.now_ms()), headers=asked[1])


def _limit(request: web.Request, default: int) -> int:
    text = request.query.get("limit", "")
    return int(text) if text.isdigit() else default


def _refused(status: int, wait_s: float, headers: dict[str, str]) -> web.Response:
    body = {"code": -1003, "msg": "Too much request weight used; please use WebSocket Streams for live updates to avoid bans."}
    return web.json_response(body, status=status, headers={**headers, "Retry-After": str(max(1, round(wait_s)))})


def _first(one: Instrument, limit: int) -> tuple[int, events.Rows, events.Rows]:
    """The book before anything was streamed: older than every stream."""
    update, bids, asks = one.first
    best = {price: bids[price] for price in sorted(bids, reverse=True)[:limit]}, {price: asks[price] for price in sorted(asks)[:limit]}
    return update, events.rows(one, best[0]), events.rows(one, best[1])


def _agg_row(one: Instrument, fill: Fill, *, futures: bool = False) -> dict[str, Any]:
    """As on the stream, without its envelope."""
    event: dict[str, Any] = events.agg_trade(one, fill, futures=False)
    return {key: event[key] for key in ("a", "p", "q", "f", "l", "T", "m", *(() if futures else ("M",)))}


def _history(venue: Binance) -> History:
    """The past of the market's instruments, up to now: from here on it lives."""
    now = int(time.time() * 1000)
    found = {symbol: (one.mid / 10**one.tick, one.tick, one.lot) for symbol, one in venue.market.instruments.items()}
    history = History(listings(found, venue.market.seed, now), seed=venue.market.seed)
    history.lives_from(now, {symbol: one.agg_id for symbol, one in venue.market.instruments.items()})
    return history


def _premium(one: Instrument, ms: int) -> dict[str, Any]:
    mark = events.mark(one, ms)
    prices = {"markPrice": mark["p"], "indexPrice": mark["i"], "estimatedSettlePrice": mark["P"], "lastFundingRate": mark["r"]}
    return {"symbol": one.symbol, **prices, "interestRate": "0.00010000", "nextFundingTime": mark["T"], "time": mark["E"]}
