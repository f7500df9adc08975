"""Independent clients for the simulator: the ``websockets`` client and aiohttp, and plain code for the rules of the sheets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 10.0


@asynccontextmanager
async def stream(url: str) -> AsyncIterator[ClientConnection]:
    """A websocket without keepalive of its own, dropped at the end without a handshake (the peer may be dead)."""
    async with asyncio.timeout(PATIENCE_S):
        socket = await connect(url, ping_interval=None, close_timeout=0.1, max_size=2**24, proxy=None)
    try:
        yield socket
    finally:
        await socket.close()


async def receive(socket: ClientConnection) -> Any:
    """The next frame, decoded."""
    return json.loads(await text(socket))


async def text(socket: ClientConnection) -> str:
    """The next frame."""
    async with asyncio.timeout(PATIENCE_S):
        frame = await socket.recv()
    return frame if isinstance(frame, str) else frame.decode()


async def several(socket: ClientConnection, count: int) -> list[Any]:
    """The next frames, decoded."""
    return [await receive(socket) for _ in range(count)]


async def ask(socket: ClientConnection, **message: Any) -> Any:
    """Send a command and give its answer; frames of streams before it are skipped."""
    await socket.send(json.dumps(message))
    while True:
        answer = await receive(socket)
        if "stream" not in answer and "e" not in answer and "u" not in answer and "lastUpdateId" not in answer:
            return answer


async def quiet(socket: ClientConnection, seconds: float = 0.4) -> bool:
    """Whether nothing comes for a while, on a market that otherwise speaks fifty times a second."""
    try:
        async with asyncio.timeout(seconds):
            await socket.recv()
    except TimeoutError:
        return True
    return False


async def get(url: str, **query: Any) -> tuple[int, Any, dict[str, str]]:
    """(status, body (JSON if it is), headers)."""
    async with aiohttp.ClientSession() as session, session.get(url, params=query) as reply:
        body = await reply.text()
        try:
            return reply.status, json.loads(body), dict(reply.headers)
        except ValueError:
            return reply.status, body, dict(reply.headers)


Book = dict[str, str]


def apply(bids: Book, asks: Book, event: dict[str, Any]) -> None:
    """One depth update onto a book of text."""
    for book, rows in ((bids, event["b"]), (asks, event["a"])):
        for price, size in rows:
            if float(size):
                book[price] = size
            else:
                book.pop(price, None)
