"""Small scripted servers on the loopback, and an intake that writes down what it is given."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve

from tape_collectors.venues.protocol import NOTHING, Command, Feed, Group, Output, Send, Stream

Script = Callable[[ServerConnection, int], Awaitable[None]]


class Venue:
    """A websocket server. ``script(socket, number)`` is run for each connection, numbered from 1; it is closed when the script ends."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connects = 0
        self.open = 0
        self.most = 0
        self.times: list[float] = []
        self.url = ""

    async def _serve(self, socket: ServerConnection) -> None:
        self.connects += 1
        self.open += 1
        self.most = max(self.most, self.open)
        self.times.append(asyncio.get_running_loop().time())
        try:
            await self.script(socket, self.connects)
        finally:
            self.open -= 1

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Venue]:
        """While it runs."""
        options = {"ping_interval": None, "compression": None, "close_timeout": 0.2, "max_size": None, **options}
        async with serve(self._serve, "127.0.0.1", 0, **options) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
            yield self


@asynccontextmanager
async def raw(first: bytes, script: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that writes bytes, and answers nothing: ``first`` in one packet with the end of the handshake. Gives its address."""
    serving: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = next(line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
            accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
            answer = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
            writer.write(answer + b"\r\n\r\n" + first)
            await script(writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()
        await asyncio.sleep(0)


@asynccontextmanager
async def rest(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A REST server; gives its root."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Numbers:
    """A feed of frames ``name:number``: contiguous numbers, as the venues' own ids."""

    def __init__(self, names: Sequence[str] = ("a",), dense: bool = True) -> None:
        self.streams = {name: Stream(name, name, "trade", dense=dense) for name in names}
        self.resubscribed: list[str] = []
        self.asks: list[Command] = []

    def opened(self, t: int) -> Output:
        return NOTHING

    def want(self, t: int, names: Any) -> Output:
        for name in names:
            self.streams[name].requested_t = t
        return (), [Send(f"sub {' '.join(names)}")]

    def receive(self, t: int, data: bytes) -> Output:
        name, _, number = data.decode("utf-8", "replace").partition(":")
        stream = self.streams.get(name)
        if stream is not None and number.isdigit():
            stream.frames += 1
            stream.first_t = stream.first_t or t
            stream.first_id = stream.first_id or int(number)
            stream.last_t, stream.last_id = t, int(number)
        return NOTHING

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        return NOTHING

    def restore(self, t: int, checkpoint: Mapping[str, object]) -> Output:
        return NOTHING

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        return ()

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        self.resubscribed += names
        return [Send(f"again {' '.join(names)}")]

    def tick(self, t: int) -> Sequence[Command]:
        asks, self.asks = self.asks, []
        return asks


class Book:
    """An intake that decodes at once and keeps everything, in order."""

    venue = "test"

    def __init__(self, make: Callable[[], Numbers] = Numbers) -> None:
        self.make = make
        self.feeds: dict[str, Numbers] = {}
        self.every: dict[str, Numbers] = {}
        self.events: list[tuple[str, str, Any]] = []
        self.frames: list[tuple[str, bytes]] = []
        self.replies: list[tuple[str, int, bytes]] = []
        self.act: Callable[[str, Sequence[Command]], None] = lambda s, commands: None
        self.fail: Exception | None = None
        self.now = 1

    def opened(self, s: str, group: Group) -> Sequence[Command]:
        feed = self.feeds[s] = self.every[s] = self.make()
        self.events.append(("open", s, None))
        return feed.want(self.now, group.names)[1] if group.names else []

    def frame(self, s: str, data: bytes) -> None:
        if self.fail is not None:
            raise self.fail
        self.frames.append((s, data))
        self.feeds[s].receive(self.now, data)

    def closed(self, s: str, why: str, code: int) -> None:
        self.events.append(("close", s, (why, code)))
        self.feeds.pop(s, None)

    def reply(self, request: str, status: int, data: bytes) -> None:
        self.replies.append((request, status, data))

    def feed(self, s: str) -> Feed | None:
        return self.feeds.get(s)

    def commands(self, s: str, commands: Sequence[Command]) -> None:
        self.act(s, commands)

    def mark(self, s: str, kind: str, fields: Mapping[str, object]) -> int:
        self.events.append((kind, s, fields))
        return self.now

    def closes(self) -> list[tuple[str, int]]:
        """Why each epoch ended, and its code."""
        return [what for kind, _, what in self.events if kind == "close"]


async def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something to be so; fails if it does not come to be."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
