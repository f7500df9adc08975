"""Binance at a set rate or flat out, from frames made beforehand: for benchmarks, where the server must not be what is measured.

A seeded market is run once and its frames are kept as one *cycle*. The last depth frame of a symbol in the cycle brings its book back to
where it began, so the cycle can be sent for ever: ids have a fixed width and are moved on in place by what a cycle uses up, and every
chain (``U``, ``u``, ``pu``, trade ids) goes on over the seam. A client gets the frames of the streams that it asked for.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from tape_collectors.simulator import binance_events as events
from tape_collectors.simulator.binance_events import Batch
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.market import Change, Instrument, Market
from tape_collectors.simulator.server import Client, VenueServer

_FIRST_ID = 10**12
_MS = 17 * 10**11
_IDS = re.compile(rb'"(U|u|pu|t|a|f|l|E|T)":(\d{11,13})(?=[,}])')
_TIMES = (b"E", b"T")
_TRADES = (b"t", b"a", b"f", b"l")
_CHUNK = 256
_BUFFER = 1 << 20
_encode = msgspec.json.Encoder().encode


@dataclass
class Template:
    """One frame of the cycle; a depth frame with the update id and the sizes that it leaves behind."""

    symbol: str
    stream: str
    payload: bytes
    update: int = 0
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)


class Cycle:
    """The frames of some symbols, in order. ``depth_every``: market steps in one depth frame; ``levels``: how many levels of each side it
    changes beside what trades and quotes did."""

    def __init__(
        self, symbols: int, *, futures: bool, seed: int = 1, frames: int = 20_000, depth_every: int = 4, levels: int = 0, speed: str = ""
    ) -> None:
        self.futures = futures
        self.speed = speed or ("@0ms" if futures else "@100ms")
        names = [f"L{number:04d}USDT" for number in range(symbols)]
        self.market = Market({name: 1000.0 + number for number, name in enumerate(names)}, seed=seed, first_id=_FIRST_ID)
        self.templates: list[Template] = []
        self.updates: dict[str, int] = {}
        self.trades: dict[str, int] = {}
        starts = {name: (one.id, one.trade_id) for name, one in self.market.instruments.items()}
        batches = {name: Batch(last=_FIRST_ID, due=0) for name in names}
        step = 0
        while len(self.templates) < frames or step % depth_every:
            step += 1
            for name, (changes, fills) in self.market.step(step).items():
                one = self.market.instruments[name]
                batches[name].add(changes)
                if any(change.best for change in changes):
                    self._add(name, "bookTicker", events.ticker(one, _MS, one.id, futures=futures))
                for fill in fills:
                    fill.ms = _MS
                    self._add(name, "trade", events.trade(one, fill, futures=futures))
                if step % depth_every == 0:
                    if levels:
                        batches[name].add([one.requote(0, levels)])
                    self._depth(one, batches[name])
        for name, one in self.market.instruments.items():
            batches[name].add([_back(one)])
            self._depth(one, batches[name])
            self._add(name, "bookTicker", events.ticker(one, _MS, one.id, futures=futures))
            self.updates[name], self.trades[name] = one.id - starts[name][0], one.trade_id - starts[name][1]

    def _add(self, symbol: str, channel: str, event: dict[str, object]) -> Template:
        template = Template(symbol, f"{symbol.lower()}@{channel}", _encode(event))
        self.templates.append(template)
        return template

    def _depth(self, one: Instrument, batch: Batch) -> None:
        bids, asks = dict(batch.bids), dict(batch.asks)
        event = batch.take(one, _MS, 0, futures=self.futures)
        if event is not None:
            template = self._add(one.symbol, f"depth{self.speed}", event)
            template.update, template.bids, template.asks = one.id, bids, asks

    def book(self, symbol: str, position: int, cycle: int) -> tuple[int, dict[int, int], dict[int, int]]:
        """(update id, bids, asks) as a client knows them that got all frames before ``position`` of the given cycle."""
        one = self.market.instruments[symbol]
        update, bids, asks = one.first[0], dict(one.first[1]), dict(one.first[2])
        for template in self.templates[:position]:
            if template.symbol == symbol and template.update:
                update = template.update
                bids |= template.bids
                asks |= template.asks
        return update + cycle * self.updates[symbol], _present(bids), _present(asks)


def _present(book: dict[int, int]) -> dict[int, int]:
    return {price: size for price, size in book.items() if size}


def _back(one: Instrument) -> Change:
    """One update that makes the book what it was at first."""
    changes: list[list[tuple[int, int]]] = []
    for now, first in ((one.bids, one.first[1]), (one.asks, one.first[2])):
        changes.append([(price, 0) for price in now if price not in first])
        changes[-1] += [(price, size) for price, size in first.items() if now.get(price) != size]
        now.clear()
        now.update(first)
    one.id += 1
    return Change(one.id, 0, changes[0], changes[1], best=True)


class Wire:
    """The cycle as bytes on one connection: only its streams, with websocket headers, ids patched just before they are sent."""

    def __init__(self, cycle: Cycle, names: set[str], *, combined: bool) -> None:
        self.index: list[int] = []
        self.ends: list[int] = []
        self.buffer = bytearray()
        self._fields: list[list[tuple[int, int, int, int]]] = []
        for number, template in enumerate(cycle.templates):
            if template.stream in names:
                head = f'{{"stream":"{template.stream}","data":'.encode() if combined else b""
                self._frame(cycle, template, head + template.payload + (b"}" if combined else b""), number)

    def _frame(self, cycle: Cycle, template: Template, payload: bytes, number: int) -> None:
        at = len(self.buffer)
        size = len(payload)
        if size < 126:
            head = bytes([0x81, size])
        elif size <= 0xFFFF:
            head = bytes([0x81, 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x81, 127]) + size.to_bytes(8, "big")
        self.buffer += head + payload
        fields = []
        for match in _IDS.finditer(payload):
            used = 0 if match[1] in _TIMES else cycle.trades[template.symbol] if match[1] in _TRADES else cycle.updates[template.symbol]
            start = at + len(head) + match.start(2)
            fields.append((start, start + len(match[2]), 0 if match[1] in _TIMES else int(match[2]), used))
        self.index.append(number)
        self.ends.append(len(self.buffer))
        self._fields.append(fields)

    def take(self, begin: int, end: int, cycle: int, ms: bytes) -> tuple[int, bytes]:
        """(frames, bytes) of the positions begin..end of the cycle."""
        first, last = bisect_left(self.index, begin), bisect_left(self.index, end)
        if first == last:
            return 0, b""
        buffer = self.buffer
        for fields in self._fields[first:last]:
            for start, stop, base, used in fields:
                buffer[start:stop] = b"%d" % (base + used * cycle) if base else ms
        return last - first, bytes(memoryview(buffer)[self.ends[first - 1] if first else 0 : self.ends[last - 1]])


class Load(VenueServer):
    """``rate``: frames a second over all streams (0: as fast as the slowest client reads). Begins with the first subscription, ends after
    ``most`` frames if given; ``done`` is set then."""

    def __init__(
        self, cycle: Cycle, *, rate: float = 0.0, most: int = 0, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(Faults(), host, tls=tls)
        self.name = "binance_usdm" if cycle.futures else "binance_spot"
        self.ping_s = None
        self.cycle = cycle
        self.rate = rate
        self.most = most
        self.frames = 0
        self.done = asyncio.Event()
        self._heard = asyncio.Event()
        self._at = 0
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await super().start()
        self._task = asyncio.create_task(self._run(), name="load")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await super().stop()

    # -- REST and commands -----------------------------------------------------------------------------------------------

    def endpoints(self) -> dict[str, str]:
        return {"rest": self.rest, **{name: self.ws for name in (("public", "market") if self.cycle.futures else ("spot",))}}

    def routes(self, app: web.Application) -> None:
        root = "/fapi/v1" if self.cycle.futures else "/api/v3"
        app.router.add_get(f"{root}/depth", self._depth)
        app.router.add_get(f"{root}/exchangeInfo", self._info)
        app.router.add_get(f"{root}/time", self._time)

    async def _depth(self, request: web.Request) -> web.StreamResponse:
        one = self.cycle.market.instruments.get(request.query.get("symbol", ""))
        if one is None:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        update, bids, asks = self.cycle.book(one.symbol, self._at, self._number)
        limit = int(request.query.get("limit", "1000"))
        best = sorted(bids.items(), reverse=True)[:limit], sorted(asks.items())[:limit]
        body = {"lastUpdateId": update, "bids": events.rows(one, dict(best[0])), "asks": events.rows(one, dict(best[1]))}
        return web.json_response(body, headers={"X-MBX-USED-WEIGHT-1M": "1"})

    async def _info(self, request: web.Request) -> web.StreamResponse:
        quote = {"status": "TRADING", "quoteAsset": "USDT", **({"contractType": "PERPETUAL"} if self.cycle.futures else {})}
        filters = [{"filterType": "PRICE_FILTER", "tickSize": "0.01"}, {"filterType": "LOT_SIZE", "stepSize": "0.001"}]
        rows = [
            {"symbol": name, "pair": name, "baseAsset": name.removesuffix("USDT"), **quote, "filters": filters}
            for name in self.cycle.market.instruments
        ]
        return web.json_response({"timezone": "UTC", "serverTime": int(time.time() * 1000), "symbols": rows})

    async def _time(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"serverTime": int(time.time() * 1000)})

    async def joined(self, client: Client) -> None:
        path, _, query = client.path.partition("?")
        client.state |= {"combined": path.rstrip("/").endswith("/stream"), "frames": 0}
        if query.startswith("streams="):
            self._want(client, set(query[8:].partition("&")[0].split("/")))

    async def message(self, client: Client, text: str) -> None:
        ask: dict[str, Any] = msgspec.json.decode(text)
        names = set(ask.get("params", ()))
        self.write(client, _encode({"result": None, "id": ask.get("id")}).decode())
        self._want(client, client.names | names if ask["method"] == "SUBSCRIBE" else client.names - names)

    def _want(self, client: Client, names: set[str]) -> None:
        client.names = names
        wire = client.state["wire"] = Wire(self.cycle, names, combined=client.state["combined"])
        if wire.index:
            self._heard.set()

    # -- sending ---------------------------------------------------------------------------------------------------------

    def _wires(self) -> list[tuple[Client, Wire]]:
        return [(client, client.state["wire"]) for client in self.clients if client.state.get("wire") is not None]

    async def _run(self) -> None:
        await self._heard.wait()
        begun = time.monotonic()
        positions = 0
        while not self.most or self.frames < self.most:
            due = int((time.monotonic() - begun) * self.rate) - positions if self.rate else _CHUNK
            if due <= 0 or any(client.socket.transport.get_write_buffer_size() > _BUFFER for client, _ in self._wires()):
                await asyncio.sleep(0.001)
                continue
            positions += self._advance(min(due, _CHUNK))
            if not self.rate or due <= _CHUNK:
                await asyncio.sleep(0)
        self.done.set()

    def _advance(self, count: int) -> int:
        """The next positions of the cycle to everybody; gives how many."""
        end = min(self._at + count, len(self.cycle.templates))
        ms = b"%d" % int(time.time() * 1000)
        for client, wire in self._wires():
            frames, data = wire.take(self._at, end, self._number, ms)
            if frames and not client.socket.transport.is_closing():
                client.socket.transport.write(data)
                client.state["frames"] += frames
                self.frames += frames
        went, self._at = end - self._at, end
        if end == len(self.cycle.templates):
            self._at, self._number = 0, self._number + 1
        return went
