"""Bybit v5 spot and linear as the protocol sheet (section 5, 2026-11-20) describes them; written without the decoders.

Every ``orderbook`` topic counts its own ``u``, the same for all connections. ``restart``: the service begins anew, the next frame of
every book is a snapshot with ``u`` 1. ``resend``: snapshots come again. ``blocked``: a request with such a topic fails as a whole.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgspec
from aiohttp import web

from tape_collectors.simulator.binance_events import FUNDING_MS, Day
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.market import Change, Fill, Instrument, Market
from tape_collectors.simulator.pushed import PushedBook
from tape_collectors.simulator.server import Client, Exchange

#: topic depth -> ms between pushes, spot and linear (spot's 200 levels since 2026-03-19)
SPEEDS = {1: 10, 50: 20, 200: 100, 1000: 200}
_RESEND_MS = 3000
_TICKER_MS = 100
_ARGS_SPOT = 10
_IDLE_S = 600.0
_encode = msgspec.json.Encoder().encode


class Bybit(Exchange):
    """One product. ``idle_s``: a client that sends nothing for so long is cut."""

    def __init__(self, faults: Faults, market: Market, *, linear: bool, host: str = "127.0.0.1", journal: Journal | None = None) -> None:
        super().__init__(faults, host, journal)
        self.name = "bybit_linear" if linear else "bybit_spot"
        self.linear = linear
        self.ping_s = None
        self.idle_s = _IDLE_S
        self.market = market
        self.days = {symbol: Day() for symbol in market.instruments}
        self.books: dict[str, PushedBook] = {}
        #: topics whose next frame is a snapshot, and whether with ``u`` 1
        self._whole: dict[str, bool] = {}
        self._tickers: dict[str, dict[str, str]] = {}
        self._ticked = 0
        self._best_sent: dict[str, int] = {}

    # -- websocket -------------------------------------------------------------------------------------------------------

    async def joined(self, client: Client) -> None:
        client.state["heard"] = time.monotonic()
        if client.path.rstrip("/") != f"/v5/public/{'linear' if self.linear else 'spot'}":
            self.close(client, 1008, "no such path")

    async def message(self, client: Client, text: str) -> None:
        client.state["heard"] = time.monotonic()
        try:
            ask = msgspec.json.decode(text)
            op, args = ask["op"], ask.get("args", [])
        except (msgspec.DecodeError, KeyError, TypeError):
            self._say(client, {"success": False, "ret_msg": "error:invalid json", "conn_id": str(client.number), "op": ""})
            return
        answer: dict[str, Any] = {"success": True, "ret_msg": "" if self.linear else op, "conn_id": str(client.number)}
        answer |= {"req_id": ask.get("req_id", ""), "op": op}
        if op == "ping":
            self._say(client, answer | {"ret_msg": "pong"})
            return
        why = self._refusal(op, args)
        if why:
            # Spot repeats no req_id in a refusal (captured 2026-09).
            told = {key: value for key, value in answer.items() if self.linear or key != "req_id"}
            self._say(client, told | {"success": False, "ret_msg": why})
            return
        self._say(client, answer)
        if op == "unsubscribe":
            client.names -= set(args)
            return
        for topic in args:
            client.names.add(topic)
            if topic.startswith("orderbook."):
                self._snapshot(client, topic)
            elif topic.startswith("tickers."):
                self._ticker_snapshot(client, topic)

    def _refusal(self, op: str, args: list[str]) -> str:
        if op not in ("subscribe", "unsubscribe"):
            return "error:handler not found"
        if not self.linear and len(args) > _ARGS_SPOT:
            return "args size >10"
        for topic in args:
            channel, _, symbol = topic.rpartition(".")
            base, _, depth = channel.partition(".")
            known = base in ("publicTrade", "tickers", "kline") or (base == "orderbook" and depth.isdigit() and int(depth) in SPEEDS)
            known = known or (base == "allLiquidation" and self.linear)
            if not known or symbol not in self.market.instruments or self.faults.first("blocked", self.name, topic):
                return f"error:handler not found,topic:{topic}"
        return ""

    def _say(self, client: Client, answer: dict[str, Any]) -> None:
        self.write(client, _encode(answer).decode())

    # -- books -----------------------------------------------------------------------------------------------------------

    def book(self, topic: str) -> PushedBook:
        """The state of an ``orderbook`` topic."""
        found = self.books.get(topic)
        if found is None:
            _, depth, symbol = topic.split(".")
            found = self.books[topic] = PushedBook(self.market.instruments[symbol], int(depth), int(time.time()) % 10**8)
        return found

    def _book_frame(self, topic: str, kind: str, book: PushedBook, bids: Any, asks: Any) -> str:
        ms = int(time.time() * 1000)
        data = {"s": book.one.symbol, "b": bids, "a": asks, "u": book.number, "seq": book.one.id}
        head: dict[str, Any] = {"topic": topic, "type": kind, "ts": ms} if self.linear else {"topic": topic, "ts": ms, "type": kind}
        return _encode(head | {"data": data, "cts": ms - 1}).decode()

    def _snapshot(self, client: Client, topic: str) -> None:
        book = self.book(topic)
        self.send(client, topic, self._book_frame(topic, "snapshot", book, *book.whole()))

    def _step_book(self, topic: str, ms: int) -> None:
        book = self.book(topic)
        if ms < book.due and topic not in self._whole:
            return
        book.due = ms - ms % SPEEDS[book.depth] + SPEEDS[book.depth]
        bids, asks = map(book.text, book.step())
        if topic in self._whole:
            book.number = 1 if self._whole.pop(topic) else book.number
            self.publish(topic, self._book_frame(topic, "snapshot", book, *book.whole()))
        elif book.depth == 1 and (bids or asks or ms - self._best_sent.get(topic, 0) > _RESEND_MS):
            self._best_sent[topic] = ms
            self.publish(topic, self._book_frame(topic, "snapshot", book, *book.whole()))
        elif book.depth > 1 and (bids or asks):
            self.publish(topic, self._book_frame(topic, "delta", book, bids, asks))

    def restart(self) -> int:
        """Every book begins anew with a snapshot of ``u`` 1."""
        self._whole |= dict.fromkeys(self.books, True)
        return len(self.books)

    def resend(self) -> int:
        """Every book is sent whole again."""
        self._whole |= dict.fromkeys(self.books, False)
        return len(self.books)

    # -- the other topics ------------------------------------------------------------------------------------------------

    def step(self, ms: int, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        """Send what the market did at venue time ``ms``."""
        now = time.monotonic()
        for client in list(self.clients):
            if now - client.state.get("heard", now) > self.idle_s:
                self.close(client, 1000, "idle")
        heard = sorted({topic for client in self.clients for topic in client.names})
        for symbol, (_, fills) in moves.items():
            self.days[symbol].add(self.market.instruments[symbol], ms, fills)
        ticked = ms - self._ticked >= _TICKER_MS
        self._ticked = ms if ticked else self._ticked
        for topic in heard:
            base, symbol = topic.partition(".")[0], topic.rpartition(".")[2]
            if base == "orderbook":
                self._step_book(topic, ms)
            elif base in ("publicTrade", "allLiquidation"):
                self._step_fills(topic, ms, moves[symbol][1])
            elif ticked and base == "tickers":
                self._step_ticker(topic, ms)
            elif ticked:
                self._step_kline(topic, ms)

    def _step_fills(self, topic: str, ms: int, fills: list[Fill]) -> None:
        one = self.market.instruments[topic.rpartition(".")[2]]
        if topic.startswith("publicTrade"):
            rows = [self._fill(one, fill) for fill in fills]
        else:
            rows = [self._forced(one, fill) for fill in fills if fill.forced]
        if rows:
            self.publish(topic, _encode({"topic": topic, "type": "snapshot", "ts": ms, "data": rows}).decode())

    def _fill(self, one: Instrument, fill: Fill) -> dict[str, Any]:
        number = str(uuid.UUID(int=fill.id, version=4)) if self.linear else str(fill.id)
        price, size, side = one.price_text(fill.price), one.size_text(fill.size), "Sell" if fill.taker_sells else "Buy"
        row: dict[str, Any] = {"T": fill.ms, "s": one.symbol, "S": side, "v": size, "p": price, "L": "PlusTick", "i": number}
        return row | {"BT": False, "RPI": False, "seq": fill.update}

    def _forced(self, one: Instrument, fill: Fill) -> dict[str, Any]:
        # The side of the position: a forced sell ends a long.
        side = "Buy" if fill.taker_sells else "Sell"
        return {"T": fill.ms, "s": one.symbol, "S": side, "v": one.size_text(fill.size), "p": one.price_text(fill.price)}

    def _ticker(self, symbol: str, ms: int) -> dict[str, str]:
        one = self.market.instruments[symbol]
        bid, bid_size, ask, ask_size = one.best()
        last = one.price_text(self.days[symbol].ohlc[3] or bid)
        fields = {"lastPrice": last, "volume24h": one.size_text(self.days[symbol].day_volume)}
        if not self.linear:
            return fields
        mark = one.price_text((bid + ask) // 2)
        fields |= {"markPrice": mark, "indexPrice": mark, "openInterest": "68744.761", "fundingRate": "0.0001"}
        fields |= {"nextFundingTime": str((ms // FUNDING_MS + 1) * FUNDING_MS), "bid1Price": one.price_text(bid)}
        return fields | {"bid1Size": one.size_text(bid_size), "ask1Price": one.price_text(ask), "ask1Size": one.size_text(ask_size)}

    def _ticker_snapshot(self, client: Client, topic: str) -> None:
        symbol, ms = topic.rpartition(".")[2], int(time.time() * 1000)
        fields = self._tickers.setdefault(topic, self._ticker(symbol, ms))
        data = {"symbol": symbol, **fields}
        self.send(client, topic, _encode({"topic": topic, "type": "snapshot", "data": data, "cs": 1, "ts": ms}).decode())

    def _step_ticker(self, topic: str, ms: int) -> None:
        symbol = topic.rpartition(".")[2]
        before, after = self._tickers.get(topic, {}), self._ticker(symbol, ms)
        self._tickers[topic] = after
        changed = {key: value for key, value in after.items() if before.get(key) != value} if self.linear else after
        if changed:
            frame = {
                "topic": topic,
                "type": "delta" if self.linear else "snapshot",
                "data": {"symbol": symbol, **changed},
                "cs": ms,
                "ts": ms,
            }
            self.publish(topic, _encode(frame).decode())

    def _step_kline(self, topic: str, ms: int) -> None:
        _, interval, symbol = topic.split(".")
        one, day = self.market.instruments[symbol], self.days[symbol]
        opened, high, low, last = (one.price_text(price) for price in day.ohlc)
        start = day.minute * 60_000
        bar: dict[str, Any] = {"start": start, "end": start + 59_999, "interval": interval, "open": opened, "close": last, "high": high}
        bar |= {"low": low, "volume": one.size_text(day.volume), "turnover": "0", "confirm": False, "timestamp": ms}
        self.publish(topic, _encode({"topic": topic, "data": [bar], "ts": ms, "type": "snapshot"}).decode())

    # -- REST ------------------------------------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/v5/market/orderbook", self._rest_book)
        app.router.add_get("/v5/market/instruments-info", self._rest_info)
        app.router.add_get("/v5/market/time", self._rest_time)

    def _ours(self, request: web.Request) -> bool:
        return request.query.get("category") == ("linear" if self.linear else "spot")

    async def _rest_book(self, request: web.Request) -> web.StreamResponse:
        """``u`` is that of the 1,000-level topic, as of its last push."""
        symbol = request.query.get("symbol", "")
        if not self._ours(request) or symbol not in self.market.instruments:
            return _reply({}, 10001, "params error: symbol invalid")
        limit = int(request.query.get("limit", "25" if self.linear else "1"))
        book = self.book(f"orderbook.1000.{symbol}")
        if not any(f"orderbook.1000.{symbol}" in client.names for client in self.clients):
            book.step()
        bids, asks = book.whole()
        ms = int(time.time() * 1000)
        result = {"s": symbol, "b": bids[:limit], "a": asks[:limit], "ts": ms, "u": book.number, "seq": book.one.id, "cts": ms - 1}
        return _reply(result)

    async def _rest_info(self, request: web.Request) -> web.StreamResponse:
        if not self._ours(request):
            return _reply({}, 10001, "params error: category invalid")
        rows = []
        for one in self.market.instruments.values():
            tick, lot = f"{10**-one.tick:.{one.tick}f}", f"{10**-one.lot:.{one.lot}f}"
            row: dict[str, Any] = {
                "symbol": one.symbol,
                "baseCoin": one.symbol.removesuffix("USDT"),
                "quoteCoin": "USDT",
                "status": "Trading",
            }
            if self.linear:
                row |= {"contractType": "LinearPerpetual", "lotSizeFilter": {"qtyStep": lot}}
            else:
                row |= {"lotSizeFilter": {"basePrecision": lot}}
            rows.append(row | {"priceFilter": {"tickSize": tick}})
        return _reply({"category": request.query["category"], "list": rows, "nextPageCursor": ""})

    async def _rest_time(self, request: web.Request) -> web.StreamResponse:
        return _reply({"timeSecond": str(int(time.time())), "timeNano": str(time.time_ns())})


def _reply(result: dict[str, Any], code: int = 0, message: str = "OK") -> web.Response:
    body = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": int(time.time() * 1000)}
    return web.json_response(body)


def spot(faults: Faults, market: Market, *, host: str, journal: Journal) -> Bybit:
    """Bybit spot."""
    return Bybit(faults, market, linear=False, host=host, journal=journal)


def linear(faults: Faults, market: Market, *, host: str, journal: Journal) -> Bybit:
    """Bybit USDT perpetuals."""
    return Bybit(faults, market, linear=True, host=host, journal=journal)
