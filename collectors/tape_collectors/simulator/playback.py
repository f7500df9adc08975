"""A recording, played on the venue's own wire: the frames byte for byte, at their own pace times ``speed``."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import zstandard
from aiohttp import web

from tape_archive.format.errors import FormatError, SettingsError
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_collectors.simulator.binance import Binance
from tape_collectors.simulator.server import Client, VenueServer

SECOND = 1_000_000_000
WAITS = ("all", "first", "no")
_BUFFER = 8 * 2**20


def _hftbacktest(path: Path) -> Iterator[tuple[int, str, bytes]]:
    with gzip.open(path, "rb") as file:
        for line in file:
            ns, _, payload = line.rstrip(b"\n").partition(b" ")
            yield int(ns), "" if b'"lastUpdateId"' in payload[:40] else "ws", payload


def _reply_kind(target: str) -> str:
    """The symbol of a depth reply, "info" for exchangeInfo, "rest" for what is not played."""
    path, _, query = target.rpartition(" ")[2].partition("?")
    if path.endswith("/exchangeInfo"):
        return "info"
    return dict(parse_qsl(query)).get("symbol", "rest") if path.endswith("/depth") else "rest"


def _cryptofeed(path: Path) -> Iterator[tuple[int, str, bytes]]:
    with path.open("rb") as file:
        for line in zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read().splitlines():
            entry = json.loads(line)
            if entry["kind"] == "recv":
                yield entry["ns"], "ws", entry["raw"].encode()
            elif entry["kind"] == "http":
                yield entry["ns"], _reply_kind(entry["url"]), entry["raw"].encode()


def _tape(path: Path) -> Iterator[tuple[int, str, bytes]]:
    for raw in read_lines(path):
        line = parse(raw)
        if line.data is not None:
            yield line.t, "ws" if line.request is None else _reply_kind(line.request), line.data


def frames(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """(ns, kind, payload), kind being "ws", the symbol of a REST depth reply (blank where the recording does not name it), "info" or
    "rest", of any recording that is known. Raises SettingsError."""
    if not path.exists():
        raise SettingsError(f"{path} is not there to be played")
    if path.name.endswith("ndjson.zst"):
        return _cryptofeed(path)
    if path.name.endswith((".jsonl", ".jsonl.zst", ".jsonl.gz")):
        return _tape(path)
    if path.suffix == ".gz":
        return _hftbacktest(path)
    raise SettingsError(f"{path}: not a recording that can be played (.gz of hftbacktest, frames.ndjson.zst, a tape)")


class Playback:
    """Plays one recording of one venue. ``done`` is set at its end.

    ``wait``: begin when every stream in it has a subscriber (``all``), when any has (``first``), or at once (``no``).
    """

    takes_over = True

    def __init__(self, venue: str, path: Path, speed: float = 1.0, most: int = 0, wait: str = "all") -> None:
        if wait not in WAITS:
            raise SettingsError(f"a playback waits for {', '.join(WAITS)}, not {wait!r}")
        self.wait = wait
        self.venue = venue
        self.path = path
        self.speed = speed
        self.sent: Counter[str] = Counter()
        self.digest = hashlib.sha256()
        self.digests: dict[str, hashlib._Hash] = {}
        self.done = asyncio.Event()
        self._frames: list[tuple[int, str, str]] = []
        self._replies: dict[str, tuple[int, bytes]] = {}
        self._depths: list[tuple[str, int, bytes]] = []
        self.info: bytes | None = None
        self._names: set[str] = set()
        self._position = 0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._load(most)

    def _load(self, most: int) -> None:
        for number, (ns, kind, payload) in enumerate(frames(self.path)):
            if most and number >= most:
                break
            if kind == "ws":
                text = payload.decode()
                name = text[11 : text.find('"', 11)] if text.startswith('{"stream":"') else ""
                self._frames.append((ns, name, text))
                if name:
                    self._names.add(name)
            elif kind == "info":
                self.info = self.info or payload
            elif kind != "rest":
                self._depths.append((kind, ns, payload))
        for symbol, ns, payload in self._depths:
            self._replies.setdefault(symbol or self._symbol(), (ns, payload))
        if not self._frames:
            raise FormatError(f"{self.path} holds no frame to play")

    def _symbol(self) -> str:
        """hftbacktest files hold one symbol, and its REST reply does not name it."""
        return next(iter(sorted(self._names)), "").partition("@")[0].upper()

    def attach(self, server: VenueServer) -> None:
        """Take the place of the market: REST depth and the streams come from the recording."""
        self._server = server
        if isinstance(server, Binance):
            server.api.depth_played, server.api.info_played = self._depth, self.info
        self._task = asyncio.create_task(self._play(), name=f"play {self.path.name}")

    def stop(self) -> None:
        """End now."""
        if self._task is not None:
            self._task.cancel()

    @property
    def names(self) -> set[str]:
        """The streams in it."""
        return set(self._names)

    @property
    def symbols(self) -> list[str]:
        """The symbols in it."""
        return sorted({name.partition("@")[0].upper() for name in self._names})

    async def _depth(self, request: web.Request) -> web.Response:
        """The recording's own REST reply: at once if its moment has passed, else when it comes."""
        symbol = request.query.get("symbol", "")
        if symbol not in self._replies:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        ns, body = self._replies[symbol]
        while self._position < ns and not self.done.is_set():
            self._moved.clear()
            await self._moved.wait()
        return web.Response(body=body, content_type="application/json", headers={"X-MBX-USED-WEIGHT-1M": "1"})

    def _listener(self, name: str) -> list[Client]:
        return [client for client in self._server.clients if not name or name in client.names]

    async def _audience(self) -> None:
        """Until who is waited for has subscribed."""
        ready = self.wait == "no"
        enough = all if self.wait == "all" else any
        while not ready:
            await asyncio.sleep(0.01)
            ready = bool(self._server.clients) and enough(self._listener(name) for name in self._names or {""})

    async def _room(self) -> None:
        """At a pace that a client cannot follow, its reading sets the pace."""
        full = True
        while full:
            await asyncio.sleep(0)
            full = any(not one.dead and one.socket.transport.get_write_buffer_size() > _BUFFER for one in self._server.clients)
            if full:
                await asyncio.sleep(0.001)

    def report(self) -> dict[str, Any]:
        """What was played: frames and the sha256 of the payloads (each ended by a line break), in all and by stream."""
        streams = {name: {"frames": self.sent[name], "sha256": self.digests[name].hexdigest()} for name in sorted(self.digests)}
        return {"path": str(self.path), "frames": sum(self.sent.values()), "sha256": self.digest.hexdigest(), "streams": streams}

    async def _play(self) -> None:
        await self._audience()
        first, begun = self._frames[0][0], time.monotonic()
        for ns, name, text in self._frames:
            self._position = ns
            self._moved.set()
            ahead = (ns - first) / SECOND / self.speed - (time.monotonic() - begun)
            if ahead > 0.001:
                await asyncio.sleep(ahead)
            for client in self._listener(name):
                self._server.send(client, name, text)
            self.sent[name] += 1
            line = text.encode() + b"\n"
            self.digest.update(line)
            self.digests.setdefault(name, hashlib.sha256()).update(line)
            if not sum(self.sent.values()) & 63:
                await self._room()
        self._position = self._frames[-1][0] + SECOND
        self._moved.set()
        self.done.set()
