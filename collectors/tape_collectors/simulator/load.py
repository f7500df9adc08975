"""Load: Binance frames built once, sent as fast as a socket takes them, or at a set rate. For benchmarks and crash campaigns.

The frames are in sequence (each depth update continues the one before), carry their websocket header already, and lie in chunks,
so that sending is one ``write`` of a chunk and costs next to nothing. REST answers the book from before the first frame.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from dataclasses import dataclass, field

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve

CHUNK = 64


def framed(payload: bytes) -> bytes:
    """A payload as an unmasked websocket text frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


@dataclass
class Frames:
    """Pre-built frames in chunks of ``CHUNK``; ``books`` are the REST bodies by symbol."""

    symbols: list[str]
    count: int
    chunks: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    books: dict[str, bytes] = field(default_factory=dict)
    bytes: int = 0


def build(symbols: int = 20, count: int = 100_000, levels: int = 24, seed: int = 1, futures: bool = True) -> Frames:
    """Depth updates, quotes and trades in the proportions of a busy market (1 : 8 : 2), mean about 600 bytes with 24 levels a side."""
    chance = random.Random(seed)
    names = [f"SYM{number}USDT" for number in range(symbols)]
    out = Frames(names, count)
    ids = dict.fromkeys(names, 1_000_000)
    depths = dict(ids)
    trades = dict.fromkeys(names, 5000)
    ms = 1_795_000_000_000
    for name in names:
        sides = {
            side: [[f"{1000 + sign * level / 100:.2f}", "5.000"] for level in range(1, 501)] for side, sign in (("bids", -1), ("asks", 1))
        }
        out.books[name] = json.dumps({"lastUpdateId": ids[name], "E": ms, "T": ms, **sides}).encode()
    pending: list[bytes] = []
    for number in range(count):
        name = chance.choice(names)
        ms += chance.random() < 0.2
        dice = chance.random()
        if dice < 0.33:
            payload = _depth(chance, name, ids, depths, levels, ms, futures)
        elif dice < 0.75:
            ids[name] += 1
            bid = 1000 - chance.randint(1, 40) / 100
            quote = {"u": ids[name], "s": name, "b": f"{bid:.2f}", "B": "1.250", "a": f"{bid + 0.01:.2f}", "A": "3.500"}
            payload = _wrapped(name, "bookTicker", {"e": "bookTicker", **quote, "T": ms, "E": ms, "st": 1} if futures else quote)
        else:
            trades[name] += 1
            trade = {
                "e": "trade",
                "E": ms,
                "T": ms,
                "s": name,
                "t": trades[name],
                "p": "999.95",
                "q": "0.120",
                "X": "MARKET",
                "m": bool(number & 1),
            }
            payload = _wrapped(name, "trade", trade)
        pending.append(framed(payload))
        out.bytes += len(payload)
        if len(pending) == CHUNK:
            out.chunks.append(b"".join(pending))
            out.sizes.append(len(pending))
            pending = []
    if pending:
        out.chunks.append(b"".join(pending))
        out.sizes.append(len(pending))
    return out


def _depth(chance: random.Random, name: str, ids: dict[str, int], depths: dict[str, int], levels: int, ms: int, futures: bool) -> bytes:
    # An update covers every id since the last one, those of the quotes between them too.
    previous, depths[name] = depths[name], ids[name] + chance.randint(1, 4)
    ids[name] = depths[name]
    sides = [
        [[f"{1000 + sign * chance.randint(41, 460) / 100:.2f}", chance.choice(("0.000", "1.250", "7.113"))] for _ in range(levels)]
        for sign in (-1, 1)
    ]
    event: dict[str, object] = {"e": "depthUpdate", "E": ms}
    if futures:
        event |= {"T": ms, "s": name, "U": previous + 1, "u": ids[name], "pu": previous, "b": sides[0], "a": sides[1], "st": 1}
    else:
        event |= {"s": name, "U": previous + 1, "u": ids[name], "b": sides[0], "a": sides[1]}
    return _wrapped(name, "depth@100ms", event)


def _wrapped(name: str, channel: str, event: dict[str, object]) -> bytes:
    return json.dumps({"stream": f"{name.lower()}@{channel}", "data": event}, separators=(",", ":")).encode()


class LoadServer:
    """Serves one set of frames to each client that subscribes (or connects with streams in its address)."""

    def __init__(self, frames: Frames, *, rate: float = 0.0, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.frames = frames
        self.rate = rate
        self.sent = 0
        self.rest = self.ws = ""
        self._tls = tls
        self._host = host
        self._server: Server | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on free ports."""
        app = web.Application()
        app.router.add_get("/{root:(api|fapi)}/{version}/depth", self._depth)
        app.router.add_get("/{root:(api|fapi)}/{version}/exchangeInfo", self._info)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0, ssl_context=self._tls).start()
        scheme = "s" if self._tls else ""
        self.rest = f"http{scheme}://{self._host}:{self._runner.addresses[0][1]}"
        self._server = await serve(self._client, self._host, 0, ssl=self._tls, compression=None, ping_interval=None, max_size=2**22)
        self.ws = f"ws{scheme}://{self._host}:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def stop(self) -> None:
        """Close."""
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _depth(self, request: web.Request) -> web.Response:
        return web.Response(body=self.frames.books.get(request.query.get("symbol", ""), b"{}"), content_type="application/json")

    async def _info(self, request: web.Request) -> web.Response:
        rows = []
        for name in self.frames.symbols:
            row = {"symbol": name, "status": "TRADING", "baseAsset": name.removesuffix("USDT"), "quoteAsset": "USDT", "marginAsset": "USDT"}
            row |= {"contractType": "PERPETUAL", "pair": name, "deliveryDate": "4133404800000"}
            filters = [{"filterType": "PRICE_FILTER", "tickSize": "0.01"}, {"filterType": "LOT_SIZE", "stepSize": "0.001"}]
            rows.append(row | {"filters": filters})
        return web.json_response({"timezone": "UTC", "serverTime": 0, "rateLimits": [], "symbols": rows})

    async def _client(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        if "streams=" not in socket.request.path:
            ask = json.loads(await socket.recv())
            if ask.get("method") != "SUBSCRIBE":
                return
            await socket.send(json.dumps({"result": None, "id": ask["id"]}))
        await asyncio.sleep(0.5)
        await self._pour(socket)
        await asyncio.sleep(3600)

    async def _pour(self, socket: ServerConnection) -> None:
        transport = socket.transport
        begun, sent = time.monotonic(), 0
        for chunk, size in zip(self.frames.chunks, self.frames.sizes, strict=True):
            transport.write(chunk)
            sent += size
            self.sent += size
            if self.rate:
                ahead = sent / self.rate - (time.monotonic() - begun)
                if ahead > 0:
                    await asyncio.sleep(ahead)
            full = transport.get_write_buffer_size() > 1 << 20
            while full:
                await asyncio.sleep(0)
                full = transport.get_write_buffer_size() > 1 << 20
            if transport.is_closing():
                return
