"""OKX v5 spot and swaps as the protocol sheet (section 4, 2026-11-20) describes them; written without the decoders.

``seqId`` jumps and is the same on every connection. ``restart``: the next update of every book bridges to a lower number. ``resend``:
snapshots come again. ``blocked``: topics are refused with 60018. ``shutdown``: notice 64008. ``no_snapshot``: books begin with updates, as
the venue planned in 2026-02.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from tape_collectors.simulator.binance_events import FUNDING_MS, Day
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.market import Change, Fill, Instrument, Market
from tape_collectors.simulator.pushed import PushedBook
from tape_collectors.simulator.server import Client, Exchange

#: channel -> (levels, ms between pushes)
BOOKS = {"books": (400, 100), "books5": (5, 100), "bbo-tbt": (1, 10)}
_CONTRACTS = {"BTC": "0.01", "ETH": "0.1"}
_DERIVATIVES = ("mark-price", "funding-rate", "open-interest", "liquidation-orders")
_EVERY_MS = {"mark-price": 200, "index-tickers": 100, "open-interest": 3000, "funding-rate": 30_000, "tickers": 100}
_HEARTBEAT_MS = 60_000
_IDLE_S = 30.0
_REQUESTS_AN_HOUR = 480
_encode = msgspec.json.Encoder().encode


class Okx(Exchange):
    """One product. ``idle_s``: a connection without data or client frames for so long is cut (4004)."""

    def __init__(self, faults: Faults, market: Market, *, swap: bool, host: str = "127.0.0.1", journal: Journal | None = None) -> None:
        super().__init__(faults, host, journal)
        self.name = "okx_swap" if swap else "okx_spot"
        self.product = "SWAP" if swap else "SPOT"
        self.ping_s = None
        self.idle_s = _IDLE_S
        self.requests_an_hour = _REQUESTS_AN_HOUR
        self.market = market
        self.days = {symbol: Day() for symbol in market.instruments}
        self.books: dict[tuple[str, str], PushedBook] = {}
        self._last: dict[tuple[str, str], tuple[int, int]] = {}
        self._shift = 0
        self._whole: set[tuple[str, str]] = set()
        self._sent_ms: dict[tuple[str, str], int] = {}

    def endpoints(self) -> dict[str, str]:
        return {"rest": self.rest, "public": self.ws, "business": self.ws}

    # -- names and sizes -------------------------------------------------------------------------------------------------

    def named(self, one: Instrument) -> str:
        """BTCUSDT of the market is BTC-USDT or BTC-USDT-SWAP here."""
        return f"{one.symbol.removesuffix('USDT')}-USDT" + ("-SWAP" if self.product == "SWAP" else "")

    def instrument(self, name: str) -> Instrument | None:
        """The market's instrument of a name."""
        return next((one for one in self.market.instruments.values() if self.named(one) == name), None)

    def contract(self, one: Instrument) -> str:
        """The base-coin value of one unit of size."""
        return _CONTRACTS.get(one.symbol.removesuffix("USDT"), "1") if self.product == "SWAP" else "1"

    def size(self, one: Instrument, size: int) -> str:
        """A size in the venue's units."""
        return f"{(Decimal(one.size_text(size)) / Decimal(self.contract(one))).normalize():f}"

    def rows(self, one: Instrument, levels: dict[int, int]) -> list[list[str]]:
        """Levels on the wire."""
        return [[one.price_text(price), self.size(one, size), "0", "1" if size else "0"] for price, size in levels.items()]

    # -- websocket -------------------------------------------------------------------------------------------------------

    async def joined(self, client: Client) -> None:
        client.state |= {"heard": time.monotonic(), "requests": []}
        if client.path.rstrip("/") not in ("/ws/v5/public", "/ws/v5/business"):
            self.close(client, 1008, "no such path")

    async def message(self, client: Client, text: str) -> None:
        client.state["heard"] = time.monotonic()
        if text == "ping":
            self.write(client, "pong")
            return
        try:
            ask = msgspec.json.decode(text)
            op, args, number = ask["op"], ask["args"], str(ask.get("id", ""))
        except (msgspec.DecodeError, KeyError, TypeError):
            self._say(client, {"event": "error", "code": "60012", "msg": f"Invalid request: {text[:60]}", "connId": str(client.number)})
            return
        if "-" in number or len(number) > 32:
            self._error(client, "", "60033", "Illegal id")
            return
        requests: list[float] = client.state["requests"]
        requests.append(time.monotonic())
        if sum(at > time.monotonic() - 3600 for at in requests) > self.requests_an_hour:
            self.close(client, 4008, "too many requests")
            return
        for arg in args:
            self._topic(client, op, arg, number)

    def _topic(self, client: Client, op: str, arg: dict[str, str], number: str) -> None:
        channel, instrument = arg.get("channel", ""), arg.get("instId") or arg.get("instType", "")
        name = f"{channel}:{instrument}"
        if op == "unsubscribe":
            client.names.discard(name)
        elif not self._exists(client, channel, arg) or self.faults.first("blocked", self.name, name):
            why = f"Subscribe failed, wrong URL or channel:{channel},instId:{instrument} doesn't exist."
            self._error(client, number, "60018", why)
            return
        self._say(client, {"id": number, "event": op, "arg": arg, "connId": str(client.number)})
        if op == "subscribe":
            client.names.add(name)
            if channel == "books" and not self.faults.first("no_snapshot", self.name, name):
                self._send_book(client, channel, instrument)
            self._sent_ms.pop((channel, instrument), None)

    def _exists(self, client: Client, channel: str, arg: dict[str, str]) -> bool:
        business = channel == "trades-all" or channel.startswith("candle")
        if business != client.path.startswith("/ws/v5/business"):
            return False
        if channel in _DERIVATIVES and self.product != "SWAP":
            return False
        if channel == "liquidation-orders":
            return arg.get("instType") == self.product and "instId" not in arg
        if channel == "index-tickers":
            return any(f"{one.removesuffix('USDT')}-USDT" == arg.get("instId") for one in self.market.instruments)
        known = business or channel in BOOKS or channel in ("trades", *_EVERY_MS)
        return known and self.instrument(arg.get("instId", "")) is not None

    def _say(self, client: Client, answer: dict[str, Any]) -> None:
        self.write(client, _encode(answer).decode())

    def _error(self, client: Client, number: str, code: str, why: str) -> None:
        self._say(client, {"id": number, "event": "error", "code": code, "msg": why, "connId": str(client.number)})

    def announce_shutdown(self) -> None:
        """Notice 64008."""
        for client in self.clients:
            why = "The connection will soon be closed for a service upgrade. Please reconnect."
            self._say(client, {"event": "notice", "code": "64008", "msg": why, "connId": str(client.number)})

    # -- books -----------------------------------------------------------------------------------------------------------

    def book(self, channel: str, name: str) -> PushedBook:
        """The state of a book channel; its number at the last push is in ``_last``."""
        found = self.books.get((channel, name))
        if found is None:
            one = self.instrument(name)
            assert one is not None
            found = self.books[channel, name] = PushedBook(one, BOOKS[channel][0])
            self._last[channel, name] = (one.id - self._shift, -1)
        return found

    def _frame(self, channel: str, name: str, action: str, ids: dict[str, int], bids: Any, asks: Any) -> str:
        data = {"asks": asks, "bids": bids, "ts": str(int(time.time() * 1000)), **({"checksum": 0} if channel == "books" else {}), **ids}
        return _encode({"arg": {"channel": channel, "instId": name}, **({"action": action} if action else {}), "data": [data]}).decode()

    def _send_book(self, client: Client, channel: str, name: str) -> None:
        book = self.book(channel, name)
        ids = {"seqId": self._last[channel, name][0], "prevSeqId": -1}
        text = self._frame(channel, name, "snapshot", ids, self.rows(book.one, book.bids), self.rows(book.one, book.asks))
        self.send(client, f"{channel}:{name}", text)

    def _step_book(self, channel: str, name: str, ms: int) -> None:
        key = channel, name
        book = self.book(channel, name)
        if ms < book.due:
            return
        every = BOOKS[channel][1]
        book.due = ms - ms % every + every
        bids, asks = book.step()
        previous = self._last[key][0]
        if key in self._whole:
            self._whole.discard(key)
            self._last[key] = (book.one.id - self._shift, -1)
            for client in self.clients:
                if f"{channel}:{name}" in client.names:
                    self._send_book(client, channel, name)
            return
        if channel != "books":
            if bids or asks:
                ids = {"seqId": book.one.id - self._shift}
                self.publish(f"{channel}:{name}", self._frame(channel, name, "", ids, *self._whole_rows(book)))
            return
        if not bids and not asks:
            if ms - self._last[key][1] > _HEARTBEAT_MS > 0 and self._last[key][1] > 0:
                self._last[key] = (previous, ms)
                self.publish(f"books:{name}", self._frame("books", name, "update", {"seqId": previous, "prevSeqId": previous}, [], []))
            return
        self._last[key] = (book.one.id - self._shift, ms)
        ids = {"seqId": self._last[key][0], "prevSeqId": previous}
        self.publish(f"books:{name}", self._frame("books", name, "update", ids, self.rows(book.one, bids), self.rows(book.one, asks)))

    def _whole_rows(self, book: PushedBook) -> tuple[Any, Any]:
        return self.rows(book.one, book.bids), self.rows(book.one, book.asks)

    def restart(self) -> int:
        """From the next update on every number is lower; that update says so by its ``prevSeqId``."""
        self._shift += 10**6
        return len(self.books)

    def resend(self) -> int:
        """Every book is sent whole again."""
        self._whole |= {key for key in self.books if key[0] == "books"}
        return len(self._whole)

    # -- the other channels ----------------------------------------------------------------------------------------------

    def step(self, ms: int, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        """Send what the market did at venue time ``ms``."""
        now = time.monotonic()
        for client in list(self.clients):
            if now - client.state.get("heard", now) > self.idle_s and not client.names:
                self.close(client, 4004, "no data received in 30s")
        for symbol, (_, fills) in moves.items():
            self.days[symbol].add(self.market.instruments[symbol], ms, fills)
        for topic in sorted({topic for client in self.clients for topic in client.names}):
            channel, _, name = topic.partition(":")
            if channel in BOOKS:
                self._step_book(channel, name, ms)
            elif channel in ("trades", "trades-all"):
                self._step_trades(channel, name, moves)
            elif channel == "liquidation-orders":
                self._step_forced(moves)
            elif ms - self._sent_ms.get((channel, name), 0) >= _EVERY_MS.get(channel, 1000):
                self._sent_ms[channel, name] = ms
                self._step_price(channel, name, ms)

    def _step_trades(self, channel: str, name: str, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        one = self.instrument(name)
        if one is None:
            return
        for fill in moves[one.symbol][1]:
            row = {"instId": name, "tradeId": str(fill.id), "px": one.price_text(fill.price), "sz": self.size(one, fill.size)}
            row |= {"side": "sell" if fill.taker_sells else "buy", "ts": str(fill.ms), "source": "0"}
            extra: dict[str, Any] = {"count": "1", "seqId": fill.update - self._shift} if channel == "trades" else {}
            self.publish(f"{channel}:{name}", _encode({"arg": {"channel": channel, "instId": name}, "data": [row | extra]}).decode())

    def _step_forced(self, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        for symbol, (_, fills) in moves.items():
            one = self.market.instruments[symbol]
            for fill in fills:
                if not fill.forced:
                    continue
                side = "sell" if fill.taker_sells else "buy"
                detail = {"bkLoss": "0", "bkPx": one.price_text(fill.price), "ccy": "", "posSide": "long" if fill.taker_sells else "short"}
                detail |= {"side": side, "sz": self.size(one, fill.size), "ts": str(fill.ms)}
                base = f"{symbol.removesuffix('USDT')}-USDT"
                row = {"details": [detail], "instFamily": base, "instId": self.named(one), "instType": "SWAP", "uly": base}
                frame = {"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [row]}
                self.publish("liquidation-orders:SWAP", _encode(frame).decode())

    def _step_price(self, channel: str, name: str, ms: int) -> None:
        base = name.removesuffix("-SWAP").removesuffix("-USDT")
        one = self.market.instruments[f"{base}USDT"]
        bid, _, ask, _ = one.best()
        middle, ts = one.price_text((bid + ask) // 2), str(ms)
        data: Any
        if channel == "mark-price":
            data = {"instType": "SWAP", "instId": name, "markPx": middle, "ts": ts}
        elif channel == "index-tickers":
            data = {"instId": name, "idxPx": middle, "ts": ts}
        elif channel == "funding-rate":
            due = (ms // FUNDING_MS + 1) * FUNDING_MS
            data = {
                "instId": name,
                "instType": "SWAP",
                "fundingRate": "0.0001",
                "fundingTime": str(due),
                "nextFundingTime": str(due + FUNDING_MS),
            }
            data |= {"ts": ts}
        elif channel == "open-interest":
            data = {"instId": name, "instType": "SWAP", "oi": "2216113.01", "oiCcy": "22161.13", "oiUsd": "1939251795.5", "ts": ts}
        elif channel == "tickers":
            data = {"instType": self.product, "instId": name, "last": middle, "ts": ts}
        else:
            opened, high, low, last = (one.price_text(price) for price in self.days[one.symbol].ohlc)
            data = [str(self.days[one.symbol].minute * 60_000), opened, high, low, last, "1", "1", "1", "0"]
        self.publish(f"{channel}:{name}", _encode({"arg": {"channel": channel, "instId": name}, "data": [data]}).decode())

    # -- REST ------------------------------------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/api/v5/market/books", self._rest_book)
        app.router.add_get("/api/v5/public/instruments", self._rest_info)
        app.router.add_get("/api/v5/public/time", self._rest_time)

    async def _rest_book(self, request: web.Request) -> web.StreamResponse:
        """As of the last push of ``books``."""
        name = request.query.get("instId", "")
        if self.instrument(name) is None:
            return _reply([], "51001", "Instrument ID does not exist")
        book = self.book("books", name)
        if not any(f"books:{name}" in client.names for client in self.clients):
            book.step()
            self._last["books", name] = (book.one.id - self._shift, -1)
        limit = int(request.query.get("sz", "1"))
        bids, asks = self._whole_rows(book)
        row = {"asks": asks[:limit], "bids": bids[:limit], "ts": str(int(time.time() * 1000)), "seqId": self._last["books", name][0]}
        return _reply([row])

    async def _rest_info(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("instType") != self.product:
            return _reply([], "51000", "Parameter instType error")
        wanted = request.query.get("instId")
        rows = []
        for one in self.market.instruments.values():
            if wanted in (None, self.named(one)):
                tick, lot = f"{10**-one.tick:.{one.tick}f}", self.size(one, 1)
                row = {"instId": self.named(one), "instType": self.product, "state": "live", "tickSz": tick, "lotSz": lot, "minSz": lot}
                base = one.symbol.removesuffix("USDT")
                if self.product == "SWAP":
                    row |= {
                        "ctVal": self.contract(one),
                        "ctMult": "1",
                        "ctType": "linear",
                        "ctValCcy": base,
                        "settleCcy": "USDT",
                        "uly": f"{base}-USDT",
                    }
                else:
                    row |= {"baseCcy": base, "quoteCcy": "USDT", "ctVal": "", "ctMult": "", "ctType": ""}
                rows.append(row)
        return _reply(rows) if rows else _reply([], "51001", "Instrument ID does not exist")

    async def _rest_time(self, request: web.Request) -> web.StreamResponse:
        return _reply([{"ts": str(int(time.time() * 1000))}])


def _reply(data: list[Any], code: str = "0", message: str = "") -> web.Response:
    return web.json_response({"code": code, "msg": message, "data": data})


def spot(faults: Faults, market: Market, *, host: str, journal: Journal) -> Okx:
    """OKX spot."""
    return Okx(faults, market, swap=False, host=host, journal=journal)


def swap(faults: Faults, market: Market, *, host: str, journal: Journal) -> Okx:
    """OKX perpetual swaps."""
    return Okx(faults, market, swap=True, host=host, journal=journal)
