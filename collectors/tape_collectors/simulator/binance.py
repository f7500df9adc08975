"""Binance spot and USD-M as the protocol sheet (2026-11-20) describes them; written without the decoders.

The futures have routed roots; a stream on a wrong or legacy root is acked and never speaks (sheet 3.1). Depth updates of the futures
are batched for each connection on its own, so ``U``/``u`` differ between connections, while ``pu`` always names the last ``u`` of the
same connection; spot sends the same frame to all.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import web

from tape_collectors.simulator import binance_events as events
from tape_collectors.simulator.binance_events import Batch, Day, Event
from tape_collectors.simulator.binance_rest import BinanceRest
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.market import Change, Fill, Instrument, Market
from tape_collectors.simulator.server import Client, Exchange

STREAMS_MOST = 1024
_MARKET_ROOT = ("aggTrade", "markPrice", "kline", "miniTicker", "ticker", "forceOrder")
_FUTURES_ONLY = ("markPrice", "forceOrder")
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_encode = msgspec.json.Encoder().encode


def dumps(value: object) -> str:
    """Compact JSON."""
    return _encode(value).decode()


class Binance(Exchange):
    """``futures``: USD-M. ``step`` is driven by the world's clock."""

    def __init__(
        self,
        faults: Faults,
        market: Market,
        *,
        futures: bool,
        host: str = "127.0.0.1",
        weight: int = 0,
        ban_s: float = 120.0,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(faults, host, journal)
        self.futures = futures
        self.name = "binance_usdm" if futures else "binance_spot"
        self.ping_s = 180.0 if futures else 20.0
        self.market = market
        self.messages_per_s = 10 if futures else 5
        self.days = {symbol: Day() for symbol in market.instruments}
        self.api = BinanceRest(self, weight or (2400 if futures else 6000), ban_s)
        self._shared: dict[str, Batch] = {}
        self._listeners: dict[str, list[tuple[Client, str, str]]] | None = None

    def routes(self, app: web.Application) -> None:
        self.api.routes(app)

    def endpoints(self) -> dict[str, str]:
        if not self.futures:
            return {"rest": self.rest, "spot": self.ws}
        return {"rest": self.rest, "archive": self.rest, "public": self.ws, "market": self.ws}

    def now_ms(self) -> int:
        """The venue's time."""
        return int(time.time() * 1000)

    def polled(self, one: Instrument, ms: int) -> None:
        """The open interest of venue time ``ms`` was answered."""

    # -- websocket -------------------------------------------------------------------------------------------------------

    async def joined(self, client: Client) -> None:
        path, _, query = unquote(client.path).partition("?")
        root = path.strip("/").partition("/")[0]
        client.state |= {"combined": path.rstrip("/").endswith("/stream"), "root": root, "times": deque(), "batches": {}, "due": {}}
        names: list[str] = []
        for part in query.split("&"):
            if part.startswith("streams="):
                names += part[8:].split("/")
        if "/ws/" in path:
            names += path.partition("/ws/")[2].split("/")
        self._listeners = None
        if len(names) > STREAMS_MOST:
            self.close(client, 1008, "too many streams")
            return
        client.names |= set(filter(None, names))

    def left(self, client: Client) -> None:
        self._listeners = None

    async def message(self, client: Client, text: str) -> None:
        times: deque[float] = client.state["times"]
        now = time.monotonic()
        times.append(now)
        while times[0] < now - 1:
            times.popleft()
        if len(times) > self.messages_per_s:
            self.close(client, 1008, "Too many requests")
            return
        try:
            ask = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            self.write(client, dumps({"code": 3, "msg": f"Invalid JSON: {error}"}))
            return
        reply = self._answer(client, ask)
        if reply is not None:
            self.write(client, dumps(reply))

    def _answer(self, client: Client, ask: Any) -> dict[str, Any] | None:
        if not isinstance(ask, dict) or not _is_id(number := ask.get("id")):
            return {"code": 2, "msg": "Invalid request: id must be an integer, an alphanumeric text of at most 36 or null"}
        method, params = ask.get("method"), ask.get("params", [])
        if method not in _METHODS:
            known = ", ".join(f"`{name}`" for name in _METHODS)
            return {"code": 2, "msg": f"Invalid request: unknown variant `{method}`, expected one of {known}", "id": number}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": sorted(client.names), "id": number}
        if method == "GET_PROPERTY":
            return {"result": client.state["combined"], "id": number}
        if method == "SET_PROPERTY":
            if not (isinstance(params, list) and len(params) == 2 and params[0] == "combined" and isinstance(params[1], bool)):
                return {"code": 0, "msg": "Unknown property", "id": number}
            client.state["combined"] = params[1]
            self._listeners = None
            return {"result": None, "id": number}
        if not (isinstance(params, list) and all(isinstance(name, str) for name in params)):
            return {"code": 2, "msg": "Invalid request: params must be a list of stream names", "id": number}
        return self._subscribe(client, method == "SUBSCRIBE", params, number)

    def _subscribe(self, client: Client, more: bool, names: list[str], number: Any) -> dict[str, Any] | None:
        wanted = client.names | set(names) if more else client.names - set(names)
        if len(wanted) > STREAMS_MOST:
            self.close(client, 1008, "too many streams")
            return None
        client.names = wanted
        for name in () if more else names:
            client.state["batches"].pop(name, None)
        self._listeners = None
        return {"result": None, "id": number}

    def _speaks(self, client: Client, channel: str) -> bool:
        """The routed roots of the futures: a stream elsewhere is silent."""
        if not self.futures:
            return not channel.startswith(_FUTURES_ONLY)
        return bool(client.state["root"] == ("market" if channel.startswith(_MARKET_ROOT) else "public"))

    def announce_shutdown(self) -> None:
        """serverShutdown on every connection."""
        event = {"e": "serverShutdown", "E": int(time.time() * 1000)}
        for client in self.clients:
            self.write(client, dumps({"stream": "!serverShutdown", "data": event} if client.state["combined"] else event))

    # -- streams ---------------------------------------------------------------------------------------------------------

    def _audience(self) -> dict[str, list[tuple[Client, str, str]]]:
        if self._listeners is None:
            found: dict[str, list[tuple[Client, str, str]]] = {}
            for client in self.clients:
                for name in sorted(client.names):
                    lower, _, channel = name.partition("@")
                    if self._speaks(client, channel):
                        found.setdefault(lower.upper(), []).append((client, name, channel))
            self._listeners = found
            heard = {name for rows in found.values() for _, name, _ in rows}
            self._shared = {name: batch for name, batch in self._shared.items() if name in heard}
        return self._listeners

    def step(self, ms: int, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        """Send what the market did at venue time ``ms``."""
        audience = self._audience()
        for symbol, (changes, fills) in moves.items():
            one = self.market.instruments[symbol]
            closed = self._count(one, ms, fills)
            step = _Step(self, one, ms, changes, fills, closed)
            for client, name, channel in audience.get(symbol, ()):
                for text in step.texts(client, name, channel):
                    self.send(client, name, f'{{"stream":"{name}","data":{text}}}' if client.state["combined"] else text)

    def _count(self, one: Instrument, ms: int, fills: list[Fill]) -> Event | None:
        """The candle that ends with this step, if one does."""
        day = self.days[one.symbol]
        ended = day.minute and ms // 60_000 != day.minute
        closed = events.kline(one, day, ms, closed=True) if ended else None
        if ended:
            self.api.lived_minute(one.symbol, day.minute * 60_000, day)
        day.add(one, ms, fills)
        self.api.fills[one.symbol].extend(fills)
        return closed

    def batch(self, client: Client, name: str, one: Instrument, ms: int, every_ms: int, before: int) -> Batch:
        """The diff-depth batch that a frame of this stream for this client comes from."""
        batches: dict[str, Batch] = client.state["batches"] if self.futures else self._shared
        found = batches.get(name)
        if found is None:
            phase = client.number * 37 % (every_ms or 1) if self.futures else every_ms - ms % (every_ms or 1)
            found = batches[name] = Batch(last=before, due=ms + phase if every_ms else 0)
        return found


class _Step:
    """One step of one instrument. Each event is made and encoded once, however many listen."""

    def __init__(self, venue: Binance, one: Instrument, ms: int, changes: list[Change], fills: list[Fill], closed: Event | None) -> None:
        self.venue, self.one, self.ms, self.changes, self.fills, self.closed = venue, one, ms, changes, fills, closed
        self.before = changes[0].id - 1 if changes else one.id
        self._made: dict[str, list[str]] = {}

    def texts(self, client: Client, name: str, channel: str) -> list[str]:
        """The payloads that a stream has for a client now."""
        kind, _, speed = channel.partition("@")
        if kind == "depth":
            return self._diff(client, name, speed)
        every = _EVERY.get(kind)
        if every is None:
            if channel not in self._made:
                self._made[channel] = [dumps(event) for event in self._events(kind)]
            return self._made[channel]
        return self._timed(client, name, channel, every[0] if speed == "1s" else _ms(speed, every[1 if self.venue.futures else 0]))

    def _diff(self, client: Client, name: str, speed: str) -> list[str]:
        key = name if not self.venue.futures else f"{name}/{client.number}"
        if key not in self._made:
            every = _ms(speed, 250 if self.venue.futures else 1000)
            batch = self.venue.batch(client, name, self.one, self.ms, every, self.before)
            batch.add(self.changes)
            event = batch.take(self.one, self.ms, every, futures=self.venue.futures)
            self._made[key] = [dumps(event)] if event else []
        return self._made[key]

    def _events(self, kind: str) -> list[Event]:
        futures = self.venue.futures
        if kind == "bookTicker":
            moved = any(change.best for change in self.changes)
            return [events.ticker(self.one, self.ms, self.one.id, futures=futures)] if moved else []
        if kind == "trade":
            return [events.trade(self.one, fill, futures=futures) for fill in self.fills]
        if kind == "aggTrade":
            return [events.agg_trade(self.one, fill, futures=futures) for fill in self.fills]
        return []

    def _timed(self, client: Client, name: str, channel: str, every: int) -> list[str]:
        """Streams with a pace: the first frame at once, then one in each ``every`` ms."""
        due: dict[str, int] = client.state["due"]
        out: list[Event] = []
        if channel.startswith("kline") and self.closed is not None:
            out.append(self.closed)
        if channel == "forceOrder":
            # Only the latest liquidation of a symbol in each second is told (sheet 3.3).
            forced = [fill for fill in self.fills if fill.forced]
            if forced and self.ms >= due.get(name, 0):
                due[name] = self.ms + every
                out.append(events.force_order(self.one, forced[-1], self.ms))
        elif self.ms >= due.get(name, 0):
            due[name] = self.ms + every
            out.append(self._state(client, name, channel))
        return [dumps(event) for event in out]

    def _state(self, client: Client, name: str, channel: str) -> Event:
        futures, day = self.venue.futures, self.venue.days[self.one.symbol]
        if channel.startswith("markPrice"):
            return events.mark(self.one, self.ms)
        if channel.startswith("kline"):
            return events.kline(self.one, day, self.ms, closed=False)
        if channel == "miniTicker":
            return events.mini_ticker(self.one, day, self.ms, futures=futures)
        lasts: dict[str, int] = client.state.setdefault("partials", {})
        last = lasts.get(name, self.before)
        lasts[name] = self.one.id
        return events.partial(self.one, int(channel.partition("@")[0][5:]), self.ms, last, futures=futures)


#: pace in ms of streams that have one: (spot, futures)
_EVERY = {
    **{f"depth{levels}": (1000, 250) for levels in (5, 10, 20)},
    "markPrice": (1000, 3000),
    "kline_1m": (2000, 250),
    "miniTicker": (1000, 1000),
    "forceOrder": (1000, 1000),
}


def _ms(speed: str, default: int) -> int:
    return int(speed.removesuffix("ms")) if speed.endswith("ms") and speed[:-2].isdigit() else default


def _is_id(value: object) -> bool:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63):
        return True
    return isinstance(value, str) and len(value) <= 36 and (not value or value.isalnum())


def spot(faults: Faults, market: Market, *, host: str, journal: Journal) -> Binance:
    """Binance spot."""
    return Binance(faults, market, futures=False, host=host, journal=journal)


def usdm(faults: Faults, market: Market, *, host: str, journal: Journal) -> Binance:
    """Binance USD-M futures."""
    return Binance(faults, market, futures=True, host=host, journal=journal)
