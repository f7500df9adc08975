"""What every simulated venue has: a REST server, a websocket server, connections with their subscriptions, and the journal of what was
sent."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tape_collectors.simulator.faults import Faults

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Client:
    """One open websocket."""

    _numbers = itertools.count(1)

    def __init__(self, socket: ServerConnection, path: str) -> None:
        self.socket = socket
        self.path = path
        self.number = next(self._numbers)
        self.names: set[str] = set()
        self.state: dict[str, Any] = {}
        self.sent: Counter[str] = Counter()


class VenueServer:
    """Base of the venues. ``rest`` and ``ws`` are their addresses once started."""

    name = ""
    ping_s: float | None = 20.0

    def __init__(self, faults: Faults, host: str = "127.0.0.1") -> None:
        self.faults = faults
        self.host = host
        self.clients: list[Client] = []
        self.sent: Counter[str] = Counter()
        self.digests: dict[str, Any] = {}
        self.rest = self.ws = ""
        self._closing: set[asyncio.Future[None]] = set()
        self._runner: web.AppRunner | None = None
        self._server: Server | None = None

    def routes(self, app: web.Application) -> None:
        """Add the REST paths."""

    async def message(self, client: Client, text: str) -> None:
        """One frame of a client."""

    async def start(self) -> None:
        """Listen on free ports."""
        app = web.Application(middlewares=[self._faulty])
        self.routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, 0).start()
        self.rest = f"http://{self.host}:{self._runner.addresses[0][1]}"
        self._server = await serve(
            self._client, self.host, 0, process_request=self._admit, ping_interval=self.ping_s, max_size=2**20, compression=None
        )
        self.ws = f"ws://{self.host}:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def stop(self) -> None:
        """Close everything at once."""
        for client in self.clients:
            client.socket.transport.abort()
        if self._server is not None:
            self._server.close(close_connections=False)
        if self._runner is not None:
            await self._runner.cleanup()

    def send(self, client: Client, stream: str, text: str) -> None:
        """One frame of a stream, through the faults."""
        for out in self.faults.frames(self.name, client.number, stream, text):
            self.write(client, out)
            client.sent[stream] += 1
        self.sent[stream] += 1

    def write(self, client: Client, frame: str | bytes) -> None:
        """A frame onto the socket, now, without waiting for the reader. A socket that is gone is left alone."""
        socket = client.socket
        try:
            if isinstance(frame, str):
                socket.protocol.send_text(frame.encode())
            else:
                socket.protocol.send_text(frame)
            socket.send_data()
        except Exception:
            socket.transport.abort()

    def publish(self, stream: str, text: str) -> None:
        """To every client that asked for the stream. The digest of each stream's frames is kept."""
        for client in self.clients:
            if stream in client.names:
                self.send(client, stream, text)

    def journal(self, stream: str, text: str) -> None:
        """Remember what was sent, by stream."""
        self.digests.setdefault(stream, hashlib.sha256()).update(text.encode() + b"\n")

    def cut(self, kind: str, code: int = 1001, stream: str = "*") -> int:
        """disconnect, close or half_open now; gives how many sockets it was."""
        for client in list(self.clients):
            if kind == "disconnect":
                client.socket.transport.abort()
            elif kind == "close":
                self._closing.add(
                    asyncio.ensure_future(client.socket.close(code, "slow consumer: send buffer full" if code == 1013 else ""))
                )
        return len(self.clients)

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        if self.faults.first("refuse", self.name):
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "no\n")
        return None

    async def _client(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        client = Client(socket, socket.request.path)
        self.clients.append(client)
        try:
            await self.joined(client)
            async for text in socket:
                if self.faults.first("half_open", self.name):
                    continue
                await self.message(client, text if isinstance(text, str) else text.decode("utf-8", "replace"))
        except ConnectionClosed:
            pass
        finally:
            self.clients.remove(client)

    async def joined(self, client: Client) -> None:
        """A socket is open."""

    def announce_shutdown(self) -> None:
        """Tell every client that the venue goes down, where the venue has a way to say so."""

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        for kind, status in (("rest_429", 429), ("rest_418", 418)):
            if fault := self.faults.first(kind, self.name, path):
                return web.json_response(
                    {"code": -1003, "msg": "Too many requests"}, status=status, headers={"Retry-After": f"{fault.delay_s:g}"}
                )
        if self.faults.first("rest_html", self.name, path):
            return web.Response(text="<html><body>Forbidden</body></html>", content_type="text/html", status=403)
        if self.faults.first("rest_down", self.name, path):
            return web.Response(text="", status=500)
        if fault := self.faults.first("rest_slow", self.name, path):
            await asyncio.sleep(fault.delay_s)
        return await handler(request)
