"""``/control/…`` beside the REST paths of a venue of many perpetuals: what a test asks and orders, and the plan that orders by the clock.

GET  /control/status                       what is connected, heard and sent
GET  /control/ledger?stream=&symbol=       what was sent (``ledger``); totals=1: by stream over all symbols; ids=1: the ids of one
POST /control/ledger/reset, …/stop         count from now on; count no more; reset?ids=1: and keep the ids
POST /control/list?count=40                new perpetuals; pending=1: announced, not yet traded; or symbol=A: begin trading A
POST /control/delist?count=15              perpetuals settle and fall silent; or symbol=A; gone=1: they leave exchangeInfo as well
POST /control/cut?count=3                  connections are reset; kind=close: closed with code=1001
POST /control/rate?count=100               so many frames a second from now on: the market also moves when nobody hears it
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tape_collectors.simulator.candles import Candles
from tape_collectors.simulator.perpetual_listing import Planned
from tape_collectors.simulator.perpetual_server import PerpetualVenue
from tape_collectors.simulator.perpetuals import PENDING, PERPETUAL, SETTLING, TRADING, Perpetual

#: a delisting takes what many trade and what few trade; the busiest few stay
_KEPT = 10


class PerpetualControl(PerpetualVenue):
    """The venue with its orders. ``plan``: what happens when."""

    def __init__(self, *arguments: Any, plan: Sequence[Planned] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.plan = sorted(plan, key=lambda planned: planned.at_s)
        self._started = time.monotonic()

    def routes(self, app: web.Application) -> None:
        super().routes(app)
        app.router.add_get("/control/status", self._status)
        app.router.add_get("/control/ledger", self._ledger)
        app.router.add_post("/control/ledger/{what:reset|stop}", self._interval)
        app.router.add_post("/control/{what:list|delist|cut|rate}", self._order)

    def step(self, ms: int, moves: dict[str, Any]) -> None:
        while self.plan and self.plan[0].at_s <= time.monotonic() - self._started:
            planned = self.plan.pop(0)
            if planned.what == "list":
                self.enlist(planned.count)
            elif planned.what == "delist":
                self.delist(planned.count)
            else:
                self.cut("disconnect" if planned.what == "cut" else "close", count=planned.count)
        super().step(ms, moves)

    # -- orders --------------------------------------------------------------------------------------------------------------

    def enlist(self, count: int, *, pending: bool = False) -> list[str]:
        """List new perpetuals; gives their symbols. A coin margined contract is told of too, as on the venue since 2026-06-30."""
        ms = self.clock.now()
        fresh = [self.market.make(ms, ms) for _ in range(count)]
        for one in fresh:
            one.status = PENDING if pending else TRADING
        self.tell(*fresh)
        self.tell_foreign("AAVEUSD_PERP")
        return [one.symbol for one in fresh]

    def begin(self, one: Perpetual) -> None:
        """An announced perpetual is traded from now on."""
        one.status, one.candles = TRADING, Candles(self.clock.now(), one.bid)
        self.tell(one)

    def delist(self, count: int, *, symbol: str = "", gone: bool = False) -> list[str]:
        """Settle some perpetuals, or one of a name; gives their symbols."""
        trading = [one for one in self.market.trading if one.contract == PERPETUAL]
        rest = trading[_KEPT:] if len(trading) > _KEPT + count else trading
        chosen = self.market.random.sample(rest, min(count, len(rest))) if not symbol else [self.market.instruments[symbol]]
        for one in chosen:
            one.status = SETTLING
        self.tell(*chosen)
        if gone:
            for one in chosen:
                del self.market.instruments[one.symbol]
            self.tell_listed()
        return [one.symbol for one in chosen]

    # -- requests ------------------------------------------------------------------------------------------------------------

    async def _status(self, request: web.Request) -> web.StreamResponse:
        self.attach()
        heard = [channel for channel in self.channels.values() if channel.heard]
        live = sum(len(channels) for channels in self.heard.values())
        body = {
            **{"now_ms": self.clock.now(), "connections": len(self.clients), "streams": len(heard), "speaking": live},
            **{"symbols": len(self.market.instruments), "trading": len(self.market.trading), "frames": self.frames},
        }
        return web.json_response(body)

    async def _ledger(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("totals"):
            return web.json_response(self.ledger.totals())
        stream, symbol = request.query.get("stream", ""), request.query.get("symbol", "")
        if request.query.get("ids"):
            return web.json_response(self.ledger.ids_of(stream, symbol))
        return web.json_response(self.ledger.shown(stream, symbol))

    async def _interval(self, request: web.Request) -> web.StreamResponse:
        # No step runs while a request is answered; whatever comes next has a later time than all before.
        if request.match_info["what"] == "reset":
            self.ledger.reset(self.clock.tick() + 1, ids=request.query.get("ids") == "1")
        else:
            self.ledger.stop(self.clock.tick() + 1)
        return web.json_response({"since_ms": self.ledger.since_ms, "until_ms": self.ledger.until_ms})

    async def _order(self, request: web.Request) -> web.StreamResponse:
        what, query = request.match_info["what"], request.query
        symbol, text = query.get("symbol", ""), query.get("count", "1")
        if not text.isdigit() or not 0 < int(text) <= 10_000:
            return web.json_response({"error": f"count={text!r}: expected a number from 1 to 10000"}, status=400)
        if symbol and symbol not in self.market.instruments:
            return web.json_response({"error": f"no symbol {symbol!r}"}, status=404)
        if what == "cut":
            kind, code = query.get("kind", "disconnect"), query.get("code", "1001")
            if kind not in ("disconnect", "close") or not code.isdigit():
                return web.json_response({"error": "expected kind=disconnect or kind=close, and code= a number"}, status=400)
            return web.json_response({"connections": self.cut(kind, int(code), int(text))})
        if what == "rate":
            self.rate = float(text)
            return web.json_response({"rate": self.rate})
        if what == "list" and symbol:
            self.begin(self.market.instruments[symbol])
            return web.json_response({"symbols": [symbol]})
        done = (
            self.enlist(int(text), pending=query.get("pending") == "1")
            if what == "list"
            else self.delist(int(text), symbol=symbol, gone=query.get("gone") == "1")
        )
        return web.json_response({"symbols": done})
