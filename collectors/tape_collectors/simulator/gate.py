"""Gate.io spot v4 as the protocol sheet (section 6, 2026-11-20) describes it; written without the decoders. See also ``gate_futures``.

``restart``: every book begins anew, whole, with lower ids. ``resend``: whole books come again. ``blocked``: subscriptions are refused.
``shutdown``: the upgrade notice. ``early``: the first push of a book comes before its ack, as on the testnet since 2026-03-31.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from tape_collectors.simulator.binance_events import Day
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.market import Change, Fill, Instrument, Market
from tape_collectors.simulator.pushed import PushedBook
from tape_collectors.simulator.server import Client, Exchange

#: (channel, detail) -> (levels, ms between pushes)
BOOKS = {
    ("obu", "400"): (400, 100),
    ("obu", "50"): (50, 20),
    ("order_book_update", "100ms"): (100, 100),
    ("order_book_update", "20ms"): (20, 20),
}
_CLOCK_S = 60
_encode = msgspec.json.Encoder().encode


class _Book(PushedBook):
    """A stream's view, with the id range of its next push."""

    shift = 0
    last = 0


class Gate(Exchange):
    """Spot."""

    product = "spot"
    path = "/ws/v4"
    channels: tuple[str, ...] = ("trades", "book_ticker", "tickers", "candlesticks")

    def __init__(self, faults: Faults, market: Market, *, host: str = "127.0.0.1", journal: Journal | None = None) -> None:
        super().__init__(faults, host, journal)
        self.name = "gate_spot" if self.product == "spot" else "gate_usdt"
        self.ping_s = 10.0
        self.market = market
        self.days = {symbol: Day() for symbol in market.instruments}
        self.books: dict[str, _Book] = {}
        self._shift = 0
        self._whole: set[str] = set()
        self._best: dict[str, tuple[int, int, int, int]] = {}
        self._ticked = 0

    def endpoints(self) -> dict[str, str]:
        return {"rest": self.rest, self.product: self.ws}

    def named(self, one: Instrument) -> str:
        """BTCUSDT of the market is BTC_USDT here."""
        return f"{one.symbol.removesuffix('USDT')}_USDT"

    def instrument(self, name: str) -> Instrument | None:
        """The market's instrument of a name."""
        return self.market.instruments.get(name.replace("_", ""))

    def update(self, one: Instrument) -> int:
        """The update id as the venue counts it now."""
        return one.id - self._shift

    def rows(self, one: Instrument, levels: dict[int, int], key: str, *, decimals: bool) -> Any:
        """Levels of a book's stream. ``decimals``: what the client asked for when it connected (futures)."""
        return [[one.price_text(price), one.size_text(size) if size else "0"] for price, size in levels.items()]

    def out(self, key: str, make: Callable[[bool], str]) -> None:
        """A frame to every client that asked for the stream, as each of them wants its sizes."""
        made: dict[bool, str] = {}
        for client in self.clients:
            if key in client.names:
                decimals = client.state.get("decimals", True)
                if decimals not in made:
                    made[decimals] = make(decimals)
                self.send(client, key, made[decimals])

    # -- websocket -------------------------------------------------------------------------------------------------------

    async def joined(self, client: Client) -> None:
        if client.path.rstrip("/") != self.path:
            self.close(client, 1008, "no such path")

    async def message(self, client: Client, text: str) -> None:
        try:
            ask = msgspec.json.decode(text)
            channel, event, payload = ask["channel"], ask.get("event", ""), ask.get("payload", [])
        except (msgspec.DecodeError, KeyError, TypeError):
            self._say(client, {"channel": "", "event": "", "error": {"code": 1, "message": "bad body"}, "result": {"status": "fail"}})
            return
        ms = int(time.time() * 1000)
        head = {"time": ms // 1000, "time_ms": ms, "conn_id": str(client.number), "channel": channel, "event": event}
        if channel == f"{self.product}.ping":
            self._say(client, head | {"channel": f"{self.product}.pong", "event": "", "result": None})
            return
        key = self._key(channel, payload)
        why = self._refusal(client, ask, key, event)
        if why:
            self._say(client, head | {"payload": payload, "error": {"code": 2, "message": why}, "result": {"status": "fail"}})
            return
        ack = head | {"payload": payload, "result": {"status": "success"}}
        if event == "unsubscribe":
            client.names.discard(key)
        early = key.startswith("obu.") and self.faults.first("early", self.name, key) is not None
        if not early:
            self._say(client, ack)
        if event == "subscribe":
            client.names.add(key)
            if key.startswith("obu."):
                self._push_whole(client, key)
        if early:
            self._say(client, ack)

    def _key(self, channel: str, payload: list[str]) -> str:
        product, _, base = channel.partition(".")
        if not payload or product != self.product:
            return ""
        if base == "obu":
            _, _, rest = payload[0].partition(".")
            symbol, _, levels = rest.rpartition(".")
            return f"obu.{levels}:{symbol}"
        if base == "order_book_update":
            return f"{base}.{payload[1] if len(payload) > 1 else ''}:{payload[0]}"
        if base == "candlesticks":
            return f"{base}.{payload[0]}:{payload[-1]}"
        return f"{base}:{payload[0]}"

    def _refusal(self, client: Client, ask: dict[str, Any], key: str, event: str) -> str:
        channel, _, symbol = key.partition(":")
        base, _, detail = channel.partition(".")
        known = (base, detail) in BOOKS or base in self.channels
        if abs(time.time() - int(ask.get("time", 0))) > _CLOCK_S:
            return "request time is out of range"
        if event not in ("subscribe", "unsubscribe") or not known or self.instrument(symbol) is None:
            return f"unknown currency pair or channel: {key}"
        if event == "subscribe" and self.faults.first("blocked", self.name, key):
            return f"blocked: {key}"
        if event == "subscribe" and base == "obu" and key in client.names:
            return f"Alert sub ob.{symbol}.{detail}"
        return ""

    def _say(self, client: Client, answer: dict[str, Any]) -> None:
        self.write(client, _encode(answer).decode())

    def announce_shutdown(self) -> None:
        """The upgrade notice; it has no channel."""
        for client in self.clients:
            self._say(client, {"type": "upgrade", "msg": "The connection will soon be closed for a service upgrade. Please reconnect."})

    # -- books -----------------------------------------------------------------------------------------------------------

    def book(self, key: str) -> _Book:
        """The state of a book's stream."""
        found = self.books.get(key)
        if found is None:
            channel, _, symbol = key.partition(":")
            base, _, detail = channel.partition(".")
            one = self.instrument(symbol)
            assert one is not None
            found = self.books[key] = _Book(one, BOOKS[base, detail][0])
            found.last = self.update(one)
        return found

    def _frame(self, key: str, result: Any) -> str:
        channel = key.partition(":")[0].partition(".")[0]
        ms = int(time.time() * 1000)
        return _encode({"channel": f"{self.product}.{channel}", "result": result, "time_ms": ms, "event": "update"}).decode()

    def _result(self, key: str, ids: dict[str, int], bids: Any, asks: Any, *, full: bool) -> dict[str, Any]:
        channel, _, symbol = key.partition(":")
        base, _, detail = channel.partition(".")
        sides = {name: rows for name, rows in (("b", bids), ("a", asks)) if rows or base != "obu"}
        head: dict[str, Any] = {"t": int(time.time() * 1000)} | ({"full": True} if full else {})
        head |= {"s": f"ob.{symbol}.{detail}"} if base == "obu" else {"e": "depthUpdate", "s": symbol, "l": "100"}
        return head | ids | sides

    def _push(self, key: str, ids: dict[str, int], bids: dict[int, int], asks: dict[int, int], *, decimals: bool, full: bool) -> str:
        one = self.book(key).one
        sides = (self.rows(one, levels, key, decimals=decimals) for levels in (bids, asks))
        return self._frame(key, self._result(key, ids, *sides, full=full))

    def _push_whole(self, client: Client, key: str) -> None:
        book = self.book(key)
        decimals = client.state.get("decimals", True)
        self.send(client, key, self._push(key, {"u": book.last}, book.bids, book.asks, decimals=decimals, full=True))

    def _step_book(self, key: str, ms: int) -> None:
        book = self.book(key)
        if ms < book.due:
            return
        channel = key.partition(":")[0]
        base, _, detail = channel.partition(".")
        every = BOOKS[base, detail][1]
        book.due = ms - ms % every + every
        before, now = book.last, self.update(book.one)
        bids, asks = book.step()
        book.last = now
        if key in self._whole:
            self._whole.discard(key)
            for client in self.clients:
                if key in client.names:
                    self._push_whole(client, key)
        elif now > before:
            # Ids of the market that changed nothing in view advance the ids all the same.
            ids = {"U": before + 1, "u": now}
            self.out(key, lambda decimals: self._push(key, ids, bids, asks, decimals=decimals, full=False))

    def restart(self) -> int:
        """Every book begins anew with lower ids, by a whole push."""
        self._shift += 10**6
        self._whole |= set(self.books)
        return len(self.books)

    def resend(self) -> int:
        """Whole books come again."""
        self._whole |= set(self.books)
        return len(self.books)

    # -- the other channels ----------------------------------------------------------------------------------------------

    def step(self, ms: int, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        """Send what the market did at venue time ``ms``."""
        for symbol, (_, fills) in moves.items():
            self.days[symbol].add(self.market.instruments[symbol], ms, fills)
        ticked = ms - self._ticked >= 1000
        self._ticked = ms if ticked else self._ticked
        for key in sorted({key for client in self.clients for key in client.names}):
            channel, _, name = key.partition(":")
            one = self.instrument(name)
            base = channel.partition(".")[0]
            if one is None:
                continue
            if base in ("obu", "order_book_update"):
                self._step_book(key, ms)
            else:
                self.step_other(key, base, one, ms, moves[one.symbol][1], ticked=ticked)

    def step_other(self, key: str, base: str, one: Instrument, ms: int, fills: list[Fill], *, ticked: bool) -> None:
        """A stream that is no book."""
        if base == "trades":
            # A burst is not in order (gatews#49).
            for fill in reversed(fills):
                self.publish(key, self._frame(key, self._fill(one, fill)))
        elif base == "book_ticker" and self.best_moved(key, one):
            self.publish(key, self._frame(key, self._quote(one, ms)))
        elif ticked and base in ("tickers", "candlesticks"):
            channel = key.partition(":")[0]
            self.publish(key, self._frame(key, self._bar(one, channel) if base == "candlesticks" else self._ticker(one)))

    def best_moved(self, key: str, one: Instrument) -> bool:
        """Whether the best levels are others than at the last look."""
        before, self._best[key] = self._best.get(key), one.best()
        return before != one.best()

    def _fill(self, one: Instrument, fill: Fill) -> dict[str, Any]:
        row: dict[str, Any] = {"id": fill.id * 3, "id_market": fill.id, "create_time": fill.ms // 1000, "create_time_ms": f"{fill.ms}.1234"}
        row |= {"side": "sell" if fill.taker_sells else "buy", "currency_pair": self.named(one)}
        return row | {"amount": one.size_text(fill.size), "price": one.price_text(fill.price), "range": f"{fill.id}-{fill.id}"}

    def _quote(self, one: Instrument, ms: int) -> dict[str, Any]:
        bid, bid_size, ask, ask_size = one.best()
        row = {"t": ms, "u": self.update(one), "s": self.named(one), "b": one.price_text(bid), "B": one.size_text(bid_size)}
        return row | {"a": one.price_text(ask), "A": one.size_text(ask_size)}

    def _ticker(self, one: Instrument) -> dict[str, Any]:
        bid, _, ask, _ = one.best()
        return {"currency_pair": self.named(one), "last": one.price_text(bid), "lowest_ask": one.price_text(ask)}

    def _bar(self, one: Instrument, channel: str) -> dict[str, Any]:
        day = self.days[one.symbol]
        opened, high, low, last = (one.price_text(price) for price in day.ohlc)
        name = f"{channel.partition('.')[2]}_{self.named(one)}"
        return {"t": str(day.minute * 60), "v": "0", "c": last, "h": high, "l": low, "o": opened, "n": name, "a": "0", "w": False}

    # -- REST ------------------------------------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/api/v4/spot/order_book", self._rest_book)
        app.router.add_get("/api/v4/spot/currency_pairs", self._rest_pairs)
        app.router.add_get("/api/v4/spot/time", self._rest_time)

    async def _rest_book(self, request: web.Request) -> web.StreamResponse:
        """As the market is now; the id only if it is asked for."""
        one = self.instrument(request.query.get("currency_pair", ""))
        if one is None:
            return web.json_response({"label": "INVALID_CURRENCY_PAIR", "message": "Invalid currency pair"}, status=400)
        limit = int(request.query.get("limit", "10"))
        book = PushedBook(one, limit)
        bids, asks = book.whole()
        ms = int(time.time() * 1000)
        body: dict[str, Any] = {"current": ms, "update": ms - 1, "asks": asks, "bids": bids}
        return web.json_response(({"id": self.update(one)} if request.query.get("with_id") == "true" else {}) | body)

    async def _rest_pairs(self, request: web.Request) -> web.StreamResponse:
        rows = []
        for one in self.market.instruments.values():
            base = one.symbol.removesuffix("USDT")
            row = {"id": self.named(one), "base": base, "quote": "USDT", "fee": "0.2", "precision": one.tick, "amount_precision": one.lot}
            rows.append(row | {"trade_status": "tradable"})
        return web.json_response(rows)

    async def _rest_time(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"server_time": int(time.time() * 1000)})


def spot(faults: Faults, market: Market, *, host: str, journal: Journal) -> Gate:
    """Gate.io spot."""
    return Gate(faults, market, host=host, journal=journal)
