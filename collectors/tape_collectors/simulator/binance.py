"""Binance spot and USD-M as the protocol sheet (2026-11-20) describes them; written without the decoders.

The futures have three roots; a stream on a wrong root is acked and never speaks. Depth updates of the futures are batched for each
connection on its own, so ``U``/``u`` differ between connections, while ``pu`` always names the last ``u`` of the same connection.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass, field

from aiohttp import web

from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.market import Change, Fill, Instrument, Market
from tape_collectors.simulator.server import Client, Handler, VenueServer

PRICES = {"BTCUSDT": 84000.0, "ETHUSDT": 2680.0, "SOLUSDT": 190.0, "XRPUSDT": 15.2}
_MARKET_ROOT = ("aggTrade", "markPrice", "kline", "miniTicker", "ticker", "forceOrder")


@dataclass
class _Depth:
    """A depth stream of one connection: what changed since its last update."""

    last: int = 0
    first: int = 0
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    due: int = 0


class Binance(VenueServer):
    """``futures``: USD-M. ``step`` is driven by the world's clock."""

    def __init__(self, faults: Faults, market: Market, *, futures: bool, host: str = "127.0.0.1", weight: int = 0) -> None:
        super().__init__(faults, host)
        self.futures = futures
        self.name = "binance_usdm" if futures else "binance_spot"
        self.ping_s = 180.0 if futures else 20.0
        self.market = market
        self.weight_limit = weight or (2400 if futures else 6000)
        self.messages_per_s = 10 if futures else 5
        self.depth_played: Handler | None = None
        self._weights: deque[tuple[float, int]] = deque()
        self._old: dict[str, tuple[int, list[tuple[str, str]], list[tuple[str, str]]]] = {}

    # -- REST ------------------------------------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        root = "/fapi/v1" if self.futures else "/api/v3"
        app.router.add_get(f"{root}/depth", self._depth_reply)
        app.router.add_get(f"{root}/exchangeInfo", self._info)
        app.router.add_get(f"{root}/time", self._time)
        app.router.add_get(f"{root}/ping", self._ping)
        if self.futures:
            app.router.add_get(f"{root}/openInterest", self._open_interest)
            app.router.add_get(f"{root}/premiumIndex", self._premium)

    def _counted(self, weight: int) -> web.Response | dict[str, str]:
        now = time.monotonic()
        while self._weights and self._weights[0][0] < now - 60:
            self._weights.popleft()
        used = sum(some for _, some in self._weights) + weight
        if used > self.weight_limit:
            return web.json_response({"code": -1003, "msg": "Too much request weight used"}, status=429, headers={"Retry-After": "5"})
        self._weights.append((now, weight))
        return {"X-MBX-USED-WEIGHT-1M": str(used)}

    async def _depth_reply(self, request: web.Request) -> web.StreamResponse:
        if self.depth_played is not None:
            return await self.depth_played(request)
        limit = int(request.query.get("limit", "100"))
        steps = ((50, 2), (100, 5), (500, 10), (1000, 20)) if self.futures else ((100, 5), (500, 25), (1000, 50), (5000, 250))
        headers = self._counted(next((weight for most, weight in steps if limit <= most), 250))
        if isinstance(headers, web.Response):
            return headers
        instrument = self.market.instruments.get(request.query.get("symbol", ""))
        if instrument is None:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400, headers=headers)
        ms = int(time.time() * 1000)
        stale = self.faults.first("stale_snapshot", self.name, instrument.symbol)
        if stale and instrument.symbol in self._old:
            last, bids, asks = self._old[instrument.symbol]
        else:
            last, bids, asks = _levels(instrument, limit)
        body: dict[str, object] = {"lastUpdateId": last}
        if self.futures:
            body |= {"E": ms, "T": ms}
        return web.json_response(body | {"bids": bids, "asks": asks}, headers=headers)

    async def _info(self, request: web.Request) -> web.StreamResponse:
        rows = [
            {"symbol": symbol, "status": "TRADING", "baseAsset": symbol.removesuffix("USDT"), "quoteAsset": "USDT"}
            | ({"contractType": "PERPETUAL", "pair": symbol} if self.futures else {})
            for symbol in self.market.instruments
        ]
        return web.json_response({"timezone": "UTC", "serverTime": int(time.time() * 1000), "symbols": rows})

    async def _time(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"serverTime": int(time.time() * 1000)})

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async def _open_interest(self, request: web.Request) -> web.StreamResponse:
        symbol = request.query.get("symbol", "")
        return web.json_response({"openInterest": "10659.509", "symbol": symbol, "time": int(time.time() * 1000)})

    async def _premium(self, request: web.Request) -> web.StreamResponse:
        return web.json_response([self._mark(one, int(time.time() * 1000)) for one in self.market.instruments.values()])

    # -- websocket -------------------------------------------------------------------------------------------------------

    async def joined(self, client: Client) -> None:
        path, _, query = client.path.partition("?")
        client.state |= {"combined": path.endswith("/stream"), "root": path.strip("/").partition("/")[0], "times": deque(), "depths": {}}
        if query.startswith("streams="):
            client.names |= set(query[8:].split("/"))
        elif "/ws/" in path:
            client.names |= set(path.partition("/ws/")[2].split("/"))

    async def message(self, client: Client, text: str) -> None:
        times: deque[float] = client.state["times"]
        now = time.monotonic()
        times.append(now)
        while times[0] < now - 1:
            times.popleft()
        if len(times) > self.messages_per_s:
            await client.socket.close(1008, "Too many requests")
            return
        try:
            ask = json.loads(text)
            method, names, number = ask["method"], ask.get("params", []), ask.get("id")
        except (ValueError, KeyError, TypeError):
            self.write(client, '{"code":3,"msg":"Invalid JSON"}')
            return
        if method == "SUBSCRIBE":
            if len(client.names) + len(names) > 1024:
                await client.socket.close(1008, "too many streams")
                return
            client.names |= set(names)
        elif method == "UNSUBSCRIBE":
            client.names -= set(names)
            for name in names:
                client.state["depths"].pop(name, None)
        elif method == "LIST_SUBSCRIPTIONS":
            self.write(client, json.dumps({"result": sorted(client.names), "id": number}))
            return
        else:
            reply = {"code": 2, "msg": f"Invalid request: unknown variant {method}, expected one of SUBSCRIBE", "id": number}
            self.write(client, json.dumps(reply))
            return
        self.write(client, json.dumps({"result": None, "id": number}, separators=(",", ":")))

    def _speaks(self, client: Client, channel: str) -> bool:
        """The routed roots of the futures: a stream elsewhere is silent."""
        if not self.futures:
            return True
        return bool(client.state["root"] == ("market" if channel.startswith(_MARKET_ROOT) else "public"))

    def announce_shutdown(self) -> None:
        """serverShutdown on every connection."""
        ms = int(time.time() * 1000)
        event = json.dumps({"e": "serverShutdown", "E": ms}, separators=(",", ":"))
        for client in self.clients:
            self.write(client, f'{{"stream":"!serverShutdown","data":{event}}}' if client.state["combined"] else event)

    def step(self, ms: int, events: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        """Send what the market did at venue time ``ms``."""
        for symbol, (changes, fills) in events.items():
            instrument = self.market.instruments[symbol]
            if self.market.random.random() < 0.01 or symbol not in self._old:
                self._old[symbol] = _levels(instrument, 1000)
            for client in list(self.clients):
                for name in list(client.names):
                    lower, _, channel = name.partition("@")
                    if lower.upper() == symbol and self._speaks(client, channel):
                        self._stream(client, name, channel, instrument, ms, changes, fills)

    def _stream(self, client: Client, name: str, channel: str, one: Instrument, ms: int, changes: list[Change], fills: list[Fill]) -> None:
        out: list[dict[str, object]] = []
        if channel.startswith("depth") and channel[5:6] in ("", "@"):
            out = self._depth(client, name, channel, one, ms, changes)
        elif channel == "bookTicker":
            out = [self._ticker(one, ms, changes[-1].id)] if any(change.best for change in changes) else []
        elif channel == "trade":
            out = [self._trade(one, fill) for fill in fills]
        elif channel == "aggTrade":
            out = [self._agg(one, fill) for fill in fills]
        elif channel.startswith("markPrice") and client.state.setdefault(name, 0) <= ms:
            client.state[name] = ms + (1000 if channel.endswith("1s") else 3000)
            out = [self._mark(one, ms)]
        for event in out:
            text = json.dumps(event, separators=(",", ":"))
            self.send(client, name, f'{{"stream":"{name}","data":{text}}}' if client.state["combined"] else text)

    def _depth(self, client: Client, name: str, channel: str, one: Instrument, ms: int, changes: list[Change]) -> list[dict[str, object]]:
        depths: dict[str, _Depth] = client.state["depths"]
        state = depths.get(name)
        if state is None:
            state = depths[name] = _Depth(last=(changes[0].id - 1) if changes else one.id)
        for change in changes:
            state.first = state.first or change.id
            state.bids |= dict(change.bids)
            state.asks |= dict(change.asks)
        if ms < state.due or not state.first:
            return []
        speed = channel.partition("@")[2].removesuffix("ms") or ("250" if self.futures else "1000")
        state.due = ms + int(speed)
        event: dict[str, object] = {"e": "depthUpdate", "E": ms}
        if self.futures:
            event |= {"T": ms - 1, "s": one.symbol, "ps": one.symbol, "U": state.first, "u": one.id, "pu": state.last}
        else:
            event |= {"s": one.symbol, "U": state.first, "u": one.id}
        event["b"] = [[one.price_text(price), one.size_text(size)] for price, size in state.bids.items()]
        event["a"] = [[one.price_text(price), one.size_text(size)] for price, size in state.asks.items()]
        state.last, state.first = one.id, 0
        state.bids, state.asks = {}, {}
        return [event | {"st": 1} if self.futures else event]

    def _ticker(self, one: Instrument, ms: int, update: int) -> dict[str, object]:
        bid, bid_size, ask, ask_size = one.best()
        quote = {"b": one.price_text(bid), "B": one.size_text(bid_size), "a": one.price_text(ask), "A": one.size_text(ask_size)}
        if not self.futures:
            return {"u": update, "s": one.symbol, **quote}
        return {"e": "bookTicker", "u": update, "s": one.symbol, "ps": one.symbol, **quote, "T": ms - 1, "E": ms, "st": 1}

    def _trade(self, one: Instrument, fill: Fill) -> dict[str, object]:
        event: dict[str, object] = {"e": "trade", "E": fill.ms}
        if self.futures:
            event["T"] = fill.ms
        event |= {"s": one.symbol, "t": fill.id, "p": one.price_text(fill.price), "q": one.size_text(fill.size)}
        return event | ({"X": "MARKET", "m": fill.taker_sells} if self.futures else {"T": fill.ms, "m": fill.taker_sells, "M": True})

    def _agg(self, one: Instrument, fill: Fill) -> dict[str, object]:
        size = one.size_text(fill.size)
        event: dict[str, object] = {
            "e": "aggTrade",
            "E": fill.ms,
            "a": fill.id,
            "s": one.symbol,
            "p": one.price_text(fill.price),
            "q": size,
        }
        event |= {"f": fill.id, "l": fill.id, "T": fill.ms, "m": fill.taker_sells}
        return event | ({"nq": size, "st": 1} if self.futures else {"M": True})

    def _mark(self, one: Instrument, ms: int) -> dict[str, object]:
        bid, _, ask, _ = one.best()
        price = one.price_text((bid + ask) // 2)
        hours = 8 * 3_600_000
        event: dict[str, object] = {"e": "markPriceUpdate", "E": ms, "s": one.symbol, "p": price, "i": price, "P": price}
        return event | {"r": "0.00010000", "T": (ms // hours + 1) * hours, "st": 1}


def _levels(one: Instrument, limit: int) -> tuple[int, list[tuple[str, str]], list[tuple[str, str]]]:
    bids = [(one.price_text(price), one.size_text(one.bids[price])) for price in sorted(one.bids, reverse=True)[:limit]]
    asks = [(one.price_text(price), one.size_text(one.asks[price])) for price in sorted(one.asks)[:limit]]
    return one.id, bids, asks
