"""Gate.io's USDT perpetuals as the protocol sheet (section 6, 2026-11-20) describes them; written without the decoders.

Sizes are contracts. A client that did not send ``X-Gate-Size-Decimal: 1`` when it connected gets whole numbers, rounded down; the others
text that may have decimals. The faults are spot's.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from aiohttp import web

from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.gate import Gate
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.market import Fill, Instrument, Market
from tape_collectors.simulator.pushed import PushedBook
from tape_collectors.simulator.server import Client

HEADER = "X-Gate-Size-Decimal"
_CONTRACTS = {"BTC": "0.0001", "ETH": "0.01"}


class GateFutures(Gate):
    """USDT-margined perpetuals."""

    product = "futures"
    path = "/v4/ws/usdt"
    channels = ("trades", "book_ticker", "tickers", "candlesticks", "public_liquidates")

    async def joined(self, client: Client) -> None:
        request = client.socket.request
        client.state["decimals"] = request is not None and request.headers.get(HEADER) == "1"
        await super().joined(client)

    # -- sizes -----------------------------------------------------------------------------------------------------------

    def multiplier(self, one: Instrument) -> str:
        """Base coins of one contract."""
        return _CONTRACTS.get(one.symbol.removesuffix("USDT"), "1")

    def size(self, one: Instrument, size: int, *, decimals: bool) -> str | int:
        """A size in contracts."""
        number = Decimal(one.size_text(size)) / Decimal(self.multiplier(one))
        return f"{number.normalize():f}" if decimals else int(number)

    def rows(self, one: Instrument, levels: dict[int, int], key: str, *, decimals: bool) -> Any:
        """Pairs in ``obu``, objects in ``order_book_update``."""
        pairs = [(one.price_text(price), self.size(one, size, decimals=decimals)) for price, size in levels.items()]
        return [[*pair] for pair in pairs] if key.startswith("obu.") else [{"p": price, "s": size} for price, size in pairs]

    # -- streams ---------------------------------------------------------------------------------------------------------

    def step_other(self, key: str, base: str, one: Instrument, ms: int, fills: list[Fill], *, ticked: bool) -> None:
        """A stream that is no book."""
        if base == "trades" and fills:
            self.out(key, lambda decimals: self._frame(key, [self._trade(one, fill, decimals=decimals) for fill in fills]))
        elif base == "public_liquidates":
            forced = [fill for fill in fills if fill.forced]
            if forced:
                self.out(key, lambda decimals: self._frame(key, [self._forced(one, fill, decimals=decimals) for fill in forced]))
        elif base == "book_ticker" and self.best_moved(key, one):
            self.out(key, lambda decimals: self._frame(key, self._best_frame(one, ms, decimals=decimals)))
        elif base == "tickers" and ticked:
            self.publish(key, self._frame(key, [self._prices(one)]))
        elif base == "candlesticks" and ticked:
            self.out(key, lambda decimals: self._frame(key, [self._candle(one, key.partition(":")[0], decimals=decimals)]))

    def _signed(self, one: Instrument, fill: Fill, *, decimals: bool) -> str | int:
        size = self.size(one, fill.size, decimals=decimals)
        return (f"-{size}" if isinstance(size, str) else -size) if fill.taker_sells else size

    def _trade(self, one: Instrument, fill: Fill, *, decimals: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"size": self._signed(one, fill, decimals=decimals), "id": fill.id, "create_time": fill.ms // 1000}
        return row | {"create_time_ms": fill.ms, "price": one.price_text(fill.price), "contract": self.named(one)}

    def _forced(self, one: Instrument, fill: Fill, *, decimals: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"price": float(one.price_text(fill.price)), "size": self._signed(one, fill, decimals=decimals)}
        return row | {"time_ms": fill.ms, "time": fill.ms // 1000, "contract": self.named(one)}

    def _best_frame(self, one: Instrument, ms: int, *, decimals: bool) -> dict[str, Any]:
        bid, bid_size, ask, ask_size = one.best()
        row: dict[str, Any] = {"t": ms, "u": self.update(one), "s": self.named(one), "b": one.price_text(bid), "a": one.price_text(ask)}
        return row | {"B": self.size(one, bid_size, decimals=decimals), "A": self.size(one, ask_size, decimals=decimals)}

    def _prices(self, one: Instrument) -> dict[str, str]:
        mark, index, _, rate = one.premium()
        row = {"contract": self.named(one), "last": mark, "mark_price": mark, "index_price": index, "funding_rate": rate}
        return row | {"total_size": str(one.open_interest), "volume_24h": "0"}

    def _candle(self, one: Instrument, channel: str, *, decimals: bool) -> dict[str, Any]:
        day = self.days[one.symbol]
        opened, high, low, last = (one.price_text(price) for price in day.ohlc)
        row = {"t": day.minute * 60, "v": self.size(one, day.volume, decimals=decimals), "c": last, "h": high, "l": low, "o": opened}
        return row | {"n": f"{channel.partition('.')[2]}_{self.named(one)}", "a": one.size_text(day.volume), "w": False}

    # -- REST ------------------------------------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/api/v4/futures/usdt/order_book", self._order_book)
        app.router.add_get("/api/v4/futures/usdt/contracts", self._contracts)
        app.router.add_get("/api/v4/futures/usdt/contracts/{name}", self._contract)

    async def _order_book(self, request: web.Request) -> web.StreamResponse:
        """As the market is now; the id only if it is asked for; times in seconds."""
        one = self.instrument(request.query.get("contract", ""))
        if one is None:
            return web.json_response({"label": "CONTRACT_NOT_FOUND", "message": "contract not found"}, status=400)
        book = PushedBook(one, int(request.query.get("limit", "10")))
        decimals = request.headers.get(HEADER) == "1"
        bids, asks = (self.rows(one, levels, "", decimals=decimals) for levels in (book.bids, book.asks))
        now = time.time()
        body: dict[str, Any] = {"current": round(now, 3), "update": round(now - 0.001, 3), "asks": asks, "bids": bids}
        return web.json_response(({"id": self.update(one)} if request.query.get("with_id") == "true" else {}) | body)

    def _listed(self, one: Instrument, *, decimals: bool) -> dict[str, Any]:
        least = self.size(one, 1, decimals=decimals)
        row: dict[str, Any] = {"name": self.named(one), "type": "direct", "quanto_multiplier": self.multiplier(one), "status": "trading"}
        row |= {"order_price_round": f"{10**-one.tick:.{one.tick}f}", "order_size_min": least or 1, "in_delisting": False}
        return row | ({"enable_decimal": True} if decimals else {})

    async def _contracts(self, request: web.Request) -> web.StreamResponse:
        decimals = request.headers.get(HEADER) == "1"
        return web.json_response([self._listed(one, decimals=decimals) for one in self.market.instruments.values()])

    async def _contract(self, request: web.Request) -> web.StreamResponse:
        one = self.instrument(request.match_info["name"])
        if one is None:
            return web.json_response({"label": "CONTRACT_NOT_FOUND", "message": "contract not found"}, status=400)
        return web.json_response(self._listed(one, decimals=request.headers.get(HEADER) == "1"))


def usdt(faults: Faults, market: Market, *, host: str, journal: Journal) -> GateFutures:
    """Gate.io's USDT perpetuals."""
    return GateFutures(faults, market, host=host, journal=journal)
