"""What every simulated venue has: a REST server, a websocket server, connections with their subscriptions, and the journal of what was
sent."""

from __future__ import annotations

import asyncio
import itertools
import socket as sockets
import ssl
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tape_collectors.simulator.faults import Faults, Frame
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.market import Change, Fill, Market

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def reset(transport: asyncio.BaseTransport) -> None:
    """End a connection by RST, as a machine that is switched off and on again would."""
    socket = transport.get_extra_info("socket")
    if socket is not None:
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()  # type: ignore[attr-defined]


class Client:
    """One open websocket. ``dead``: half-open for good."""

    _numbers = itertools.count(1)

    def __init__(self, socket: ServerConnection, path: str) -> None:
        self.socket = socket
        self.path = path
        self.number = next(self._numbers)
        self.names: set[str] = set()
        self.dead = self.closing = False
        self.state: dict[str, Any] = {}
        self.sent: Counter[str] = Counter()


class _DeadTransport:
    """The transport of a half-open socket: what is written is lost, everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Into the void."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class VenueServer:
    """Base of the venues. ``rest`` and ``ws`` are their addresses once started. ``slow_bytes``: a client that lets so much lie unread
    is closed with ``slow_code``."""

    name = ""
    ping_s: float | None = 20.0
    slow_bytes = 64 * 2**20
    slow_code = 1008

    def __init__(self, faults: Faults, host: str = "127.0.0.1", journal: Journal | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.faults = faults
        self.host = host
        self.journal = journal or Journal()
        self.clients: list[Client] = []
        self.sent: Counter[str] = Counter()
        self.rest = self.ws = ""
        self._closing: set[asyncio.Future[None]] = set()
        self._runner: web.AppRunner | None = None
        self._server: Server | None = None

    def endpoints(self) -> dict[str, str]:
        """Where it listens, by the names that the venue's settings have."""
        return {"rest": self.rest, "public": self.ws}

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
        await web.TCPSite(self._runner, self.host, 0, ssl_context=self.tls).start()
        secure = "s" if self.tls else ""
        self.rest = f"http{secure}://{self.host}:{self._runner.addresses[0][1]}"
        self._server = await serve(
            self._client,
            self.host,
            0,
            process_request=self._admit,
            ping_interval=self.ping_s,
            max_size=2**20,
            compression=None,
            ssl=self.tls,
        )
        self.ws = f"ws{secure}://{self.host}:{next(iter(self._server.sockets)).getsockname()[1]}"

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
        if self.faults.active and self.faults.first("half_open", self.name, stream):
            self._deaden(client)
        out = [] if client.dead else self.faults.frames(self.name, client.number, stream, text)
        for late, frame in out:
            if late:
                asyncio.get_running_loop().call_later(late, self.write, client, frame)
            else:
                self.write(client, frame)
            client.sent[stream] += 1
        self.sent[stream] += 1
        self.journal.add(self.name, client.number, stream, text, tuple(frame for _, frame in out))

    def write(self, client: Client, frame: Frame) -> None:
        """A frame onto the socket, now, without waiting for the reader. A socket that is gone is left alone."""
        socket = client.socket
        if client.dead or client.closing:
            return
        if socket.transport.get_write_buffer_size() > self.slow_bytes:
            self.close(client, self.slow_code, "slow consumer: send buffer full")
            return
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

    def close(self, client: Client, code: int, why: str = "") -> None:
        """The closing handshake, begun by the venue. Frames after it are not sent."""
        client.closing = True
        task = asyncio.ensure_future(client.socket.close(code, why))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def cut(self, kind: str, code: int = 1001, count: int = 0) -> int:
        """disconnect or close ``count`` sockets (0: all) now; gives how many it was."""
        clients = [client for client in self.clients if not client.closing]
        clients = self.faults.random.sample(clients, min(count, len(clients))) if count else clients
        for client in clients:
            if kind == "disconnect":
                reset(client.socket.transport)
            elif kind == "close":
                self.close(client, code, "slow consumer: send buffer full" if code in (1013, 4002) else "")
        return len(clients)

    def apply(self) -> None:
        """A fault was switched on: do at once what needs no frame to happen."""
        for client in self.clients:
            if not client.dead and self.faults.first("half_open", self.name):
                self._deaden(client)

    def _deaden(self, client: Client) -> None:
        """From now on like a peer whose machine is gone: nothing is read, nothing is written, the socket stays open."""
        if not client.dead:
            client.dead = True
            if client.socket.keepalive_task is not None:
                client.socket.keepalive_task.cancel()
            client.socket.transport.pause_reading()
            client.socket.transport = _DeadTransport(client.socket.transport)  # type: ignore[assignment]

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        if self.faults.first("unreachable", self.name):
            reset(socket.transport)
        if self.faults.first("refuse", self.name):
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "no\n")
        return None

    async def _client(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        client = Client(socket, socket.request.path)
        self.clients.append(client)
        try:
            await self.joined(client)
            if self.faults.first("half_open", self.name):
                self._deaden(client)
            async for text in socket:
                if client.closing or client.dead:
                    continue
                await self.message(client, text if isinstance(text, str) else text.decode("utf-8", "replace"))
        except ConnectionClosed:
            pass
        finally:
            self.clients.remove(client)
            self.faults.forget(client.number)
            self.left(client)

    async def joined(self, client: Client) -> None:
        """A socket is open."""

    def left(self, client: Client) -> None:
        """A socket is gone."""

    def restart(self) -> int:
        """Begin every sequence anew, where the venue may; gives how many."""
        return 0

    def resend(self) -> int:
        """Send every book whole again, where the venue may; gives how many."""
        return 0

    def announce_shutdown(self) -> None:
        """Tell every client that the venue goes down, where the venue has a way to say so."""

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        if path.startswith("/control/"):
            return await handler(request)
        if self.faults.first("unreachable", self.name, path) and request.transport is not None:
            reset(request.transport)
            return web.Response()
        for kind, status in (("rest_429", 429), ("rest_418", 418)):
            if fault := self.faults.first(kind, self.name, path):
                return web.json_response(
                    {"code": -1003, "msg": "Too many requests"}, status=status, headers={"Retry-After": f"{fault.delay_s:g}"}
                )
        if self.faults.first("rest_html", self.name, path):
            return web.Response(text="<html><body>Forbidden</body></html>", content_type="text/html", status=403)
        if self.faults.first("rest_empty", self.name, path):
            return web.Response(text="")
        if self.faults.first("rest_down", self.name, path):
            return web.Response(text="", status=500)
        if fault := self.faults.first("rest_slow", self.name, path):
            await asyncio.sleep(fault.delay_s)
        return await handler(request)


class Exchange(VenueServer, ABC):
    """A venue that serves one market, stepped by the world's clock."""

    market: Market

    @abstractmethod
    def step(self, ms: int, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        """Send what the market did at venue time ``ms``."""
