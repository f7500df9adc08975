"""MEXC spot v3 as the protocol sheet (section 7, 2026-11-20) describes it; its protobuf is written here by hand, without the decoders.

``restart``: versions begin anew, lower. ``blocked``: a channel is refused, with code 0. A 31st subscription is refused too. ``empty``: a
quote comes without its body.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from aiohttp import web

from tape_collectors.simulator.binance_events import Day
from tape_collectors.simulator.faults import Faults, Frame
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.market import Change, Fill, Instrument, Market
from tape_collectors.simulator.server import Client, Exchange

MOST = 30
_KINDS = tuple(f"public.{name}.v3.api.pb" for name in ("aggre.depth", "aggre.deals", "aggre.bookTicker"))
#: channels whose symbol comes before the detail -> (details, ms between pushes)
_LATER = {
    "public.limit.depth.v3.api.pb": (("5", "10", "20"), 100),
    "public.kline.v3.api.pb": (("Min1", "Min5", "Min15", "Min30", "Min60", "Hour4", "Hour8", "Day1", "Week1", "Month1"), 1000),
}
_encode = msgspec.json.Encoder().encode


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def field(number: int, value: int | str | bytes) -> bytes:
    """One field: a number, a text, or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


class Mexc(Exchange):
    """Spot."""

    def __init__(self, faults: Faults, market: Market, *, host: str = "127.0.0.1", journal: Journal | None = None) -> None:
        super().__init__(faults, host, journal)
        self.name = "mexc_spot"
        self.ping_s = None
        self.idle_s = 60.0
        self.market = market
        self._shift = 0
        self._pending: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
        self._pushed: dict[str, int] = {}
        self._best: dict[str, tuple[int, int, int, int]] = {}
        self._due: dict[str, int] = {}
        self.days = {symbol: Day() for symbol in market.instruments}

    def endpoints(self) -> dict[str, str]:
        return {"rest": self.rest, "spot": self.ws}

    def write(self, client: Client, frame: Frame) -> None:
        """Market data are binary frames; text that stands for bytes is latin-1 here."""
        if isinstance(frame, str) and frame.startswith("{"):
            super().write(client, frame)
            return
        if client.dead or client.closing:
            return
        try:
            client.socket.protocol.send_binary(frame.encode("latin-1") if isinstance(frame, str) else frame)
            client.socket.send_data()
        except Exception:
            client.socket.transport.abort()

    # -- websocket -------------------------------------------------------------------------------------------------------

    async def joined(self, client: Client) -> None:
        client.state["heard"] = time.monotonic()
        if client.path.rstrip("/") != "/ws":
            self.close(client, 1008, "no such path")

    async def message(self, client: Client, text: str) -> None:
        client.state["heard"] = time.monotonic()
        try:
            ask = msgspec.json.decode(text)
            method, params = ask["method"], ask.get("params", [])
        except (msgspec.DecodeError, KeyError, TypeError):
            self._say(client, "Invalid request", 1)
            return
        if method == "PING":
            self._say(client, "PONG")
        elif method == "UNSUBSCRIPTION":
            client.names -= set(params)
            self._say(client, ",".join(params))
        else:
            refused = [name for name in params if not self._takes(client, name)]
            taken = [name for name in params if name not in refused]
            client.names |= set(taken)
            if taken:
                self._say(client, ",".join(taken))
            for name in refused:
                # The colon is a full-width one, and the code is 0.
                self._say(client, f"Not Subscribed successfully! [{name}].  Reason\uff1a Blocked! ")

    def _takes(self, client: Client, name: str) -> bool:
        parts = name.split("@")
        if len(parts) != 4 or parts[1] not in (*_KINDS, *_LATER):
            return False
        details = _LATER[parts[1]][0] if parts[1] in _LATER else ("10ms", "100ms")
        symbol, detail = (parts[2], parts[3]) if parts[1] in _LATER else (parts[3], parts[2])
        if detail not in details or symbol not in self.market.instruments:
            return False
        return len(client.names | {name}) <= MOST and not self.faults.first("blocked", self.name, name)

    def _say(self, client: Client, text: str, code: int = 0) -> None:
        self.write(client, _encode({"id": 0, "code": code, "msg": text}).decode())

    # -- streams ---------------------------------------------------------------------------------------------------------

    def _wrapped(self, name: str, symbol: str, ms: int, body: bytes) -> str:
        return (field(1, name) + field(3, symbol) + field(6, ms) + body).decode("latin-1")

    def step(self, ms: int, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        """Send what the market did at venue time ``ms``."""
        now = time.monotonic()
        for client in list(self.clients):
            if now - client.state.get("heard", now) > self.idle_s:
                self.close(client, 1000, "no data for a minute")
        for symbol, (_, fills) in moves.items():
            self.days[symbol].add(self.market.instruments[symbol], ms, fills)
        for name in sorted({name for client in self.clients for name in client.names}):
            _, kind, detail, symbol = name.split("@")
            if kind in _LATER:
                self._step_later(name, kind, detail, symbol, ms)
            else:
                self._step(name, kind, detail, ms, self.market.instruments[symbol], *moves[symbol])

    def _step(self, name: str, kind: str, speed: str, ms: int, one: Instrument, changes: list[Change], fills: list[Fill]) -> None:
        if ".deals." in kind:
            if fills:
                self.publish(name, self._wrapped(name, one.symbol, ms, field(314, b"".join(self._deal(one, fill) for fill in fills))))
            return
        if ".depth." in kind:
            self._gather(name, changes)
        if ms >= self._due.get(name, 0):
            every = int(speed.removesuffix("ms"))
            self._due[name] = ms - ms % every + every
            if ".depth." in kind:
                self._step_depth(name, one, ms)
            else:
                self._step_quote(name, one, ms)

    def _step_later(self, name: str, kind: str, symbol: str, detail: str, ms: int) -> None:
        """The best levels whole, or a candle."""
        if ms < self._due.get(name, 0):
            return
        every = _LATER[kind][1]
        self._due[name] = ms - ms % every + every
        one = self.market.instruments[symbol]
        self.publish(name, self._wrapped(name, symbol, ms, self._candle(one, detail) if "kline" in kind else self._limit(one, int(detail))))

    def _limit(self, one: Instrument, depth: int) -> bytes:
        asks = [field(1, self._level(one, price, one.asks[price])) for price in sorted(one.asks)[:depth]]
        bids = [field(2, self._level(one, price, one.bids[price])) for price in sorted(one.bids, reverse=True)[:depth]]
        return field(303, b"".join(asks) + b"".join(bids) + field(3, "spot@public.limit.depth") + field(4, str(one.id - self._shift)))

    def _candle(self, one: Instrument, interval: str) -> bytes:
        day = self.days[one.symbol]
        opened, high, low, last = (one.price_text(price) for price in day.ohlc)
        # Close comes before high and low; the windows are in seconds.
        body = field(1, interval) + field(2, day.minute * 60) + field(3, opened) + field(4, last) + field(5, high) + field(6, low)
        return field(308, body + field(7, one.size_text(day.volume)) + field(8, "0") + field(9, day.minute * 60 + 60))

    def _gather(self, name: str, changes: list[Change]) -> None:
        bids, asks = self._pending.setdefault(name, ({}, {}))
        for change in changes:
            bids |= dict(change.bids)
            asks |= dict(change.asks)

    def _step_quote(self, name: str, one: Instrument, ms: int) -> None:
        if self._best.get(name) != one.best():
            self._best[name] = one.best()
            empty = self.faults.first("empty", self.name, name) is not None
            self.publish(name, self._wrapped(name, one.symbol, ms, b"" if empty else self._quote(one)))

    def _deal(self, one: Instrument, fill: Fill) -> bytes:
        parts = field(1, one.price_text(fill.price)) + field(2, one.size_text(fill.size)) + field(3, 2 if fill.taker_sells else 1)
        return field(1, parts + field(4, fill.ms) + field(5, f"{fill.id}X0_{fill.id + 1}X0"))

    def _quote(self, one: Instrument) -> bytes:
        bid, bid_size, ask, ask_size = one.best()
        # Prices of quotes have no trailing zeros here, those of depth have.
        parts = field(1, f"{float(one.price_text(bid)):g}" if bid % 10**one.tick == 0 else one.price_text(bid)) + field(
            2, one.size_text(bid_size)
        )
        return field(315, parts + field(3, one.price_text(ask)) + field(4, one.size_text(ask_size)) + field(5, str(one.id * 2)))

    def _step_depth(self, name: str, one: Instrument, ms: int) -> None:
        before = self._pushed.get(name, one.id - self._shift)
        now = one.id - self._shift
        bids, asks = self._pending.pop(name, ({}, {}))
        self._pushed[name] = now
        if not bids and not asks and now == before:
            return
        first = before + 1 if now > before else now
        body = b"".join(field(1, self._level(one, price, size)) for price, size in asks.items())
        body += b"".join(field(2, self._level(one, price, size)) for price, size in bids.items())
        body += field(3, "spot@public.aggre.depth") + field(4, str(first)) + field(5, str(now))
        self.publish(name, self._wrapped(name, one.symbol, ms, field(313, body)))

    def _level(self, one: Instrument, price: int, size: int) -> bytes:
        return field(1, one.price_text(price)) + field(2, one.size_text(size))

    def restart(self) -> int:
        """Versions begin anew, lower."""
        self._shift += 10**6
        return len(self._pushed)

    # -- REST ------------------------------------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/api/v3/depth", self._rest_book)
        app.router.add_get("/api/v3/exchangeInfo", self._rest_info)
        app.router.add_get("/api/v3/time", self._rest_time)

    async def _rest_book(self, request: web.Request) -> web.StreamResponse:
        one = self.market.instruments.get(request.query.get("symbol", ""))
        if one is None:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        limit = int(request.query.get("limit", "100"))
        bids = [[one.price_text(price), one.size_text(one.bids[price])] for price in sorted(one.bids, reverse=True)[:limit]]
        asks = [[one.price_text(price), one.size_text(one.asks[price])] for price in sorted(one.asks)[:limit]]
        ms = int(time.time() * 1000)
        return web.json_response({"lastUpdateId": one.id - self._shift, "bids": bids, "asks": asks, "timestamp": ms})

    async def _rest_info(self, request: web.Request) -> web.StreamResponse:
        rows: list[dict[str, Any]] = []
        for one in self.market.instruments.values():
            row = {"symbol": one.symbol, "status": "1", "baseAsset": one.symbol.removesuffix("USDT"), "quoteAsset": "USDT"}
            rows.append(row | {"quotePrecision": one.tick, "baseSizePrecision": f"{10**-one.lot:.{one.lot}f}"})
        return web.json_response({"timezone": "CST", "serverTime": int(time.time() * 1000), "symbols": rows})

    async def _rest_time(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"serverTime": int(time.time() * 1000)})


def spot(faults: Faults, market: Market, *, host: str, journal: Journal) -> Mexc:
    """MEXC spot."""
    return Mexc(faults, market, host=host, journal=journal)
