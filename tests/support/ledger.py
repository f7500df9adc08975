"""A client's own count of what came, in the way of the simulator's ledger, from the frames' JSON alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from xxhash import xxh3_64_intdigest

from tape_collectors.simulator.ledger import key, number

PATIENCE_S = 20.0


class Listener:
    """Every frame of one connection, as (stream, payload)."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.news = asyncio.Condition()
        self.task = asyncio.create_task(self.read())

    async def read(self) -> None:
        async for text in self.socket:
            frame = json.loads(text)
            if "stream" in frame:
                self.got.append((frame["stream"], frame["data"]))
                async with self.news:
                    self.news.notify_all()

    async def wait(self, enough: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S), self.news:
            await self.news.wait_for(lambda: bool(enough()))


def told(name: str, event: dict[str, Any]) -> tuple[str, str, int, str]:
    """(stream, symbol, id, text) of an event, by the ledger's documentation and from the JSON alone."""
    channel = name.partition("@")[2] or name
    symbol, e = event.get("s", ""), event
    if channel == "openInterest":
        return channel, e["symbol"], e["time"], key(e["symbol"], e["time"], number(e["openInterest"]))
    if channel == "aggTrade":
        return channel, symbol, e["a"], key(symbol, e["a"], number(e["p"]), number(e["q"]), e["T"], e["m"])
    if channel == "bookTicker":
        return channel, symbol, e["u"], key(symbol, e["u"], *(number(e[field]) for field in "bBaA"))
    if channel.startswith("depth"):
        bids, asks = (
            ",".join(f"{number(price)}:{number(size)}" for price, size in sorted(e[side], key=lambda row: sign * float(row[0])))
            for side, sign in (("b", -1), ("a", 1))
        )
        return channel, symbol, e["u"], key(symbol, e["u"], e["pu"], bids, asks)
    if channel.startswith("markPrice"):
        return channel, symbol, e["E"], key(symbol, e["E"], *(number(e[field]) for field in "pir"), e["T"])
    if channel.startswith("kline"):
        k = e["k"]
        if k["x"]:
            values = [number(k[field]) for field in "ohlcvqnVQ"]
            return channel, symbol, k["t"], key(symbol, k["t"], *values)
        return f"{channel}:open", symbol, e["E"], key(symbol, e["E"], k["t"], *(number(k[field]) for field in "ohlcvn"))
    if channel == "ticker":
        return channel, symbol, e["E"], key(symbol, e["E"], *(number(e[field]) for field in "cQohlwvqn"))
    if channel == "forceOrder":
        o = e["o"]
        return channel, o["s"], o["T"], key(o["s"], o["T"], o["S"], number(o["ap"]), number(o["q"]))
    return channel, "", e["E"], key(symbol, e["E"], e["cs"], e["ct"])


def counted(rows: list[tuple[str, dict[str, Any]]], since: int, before: int) -> dict[tuple[str, str], dict[str, Any]]:
    """The ledger as a client would write it."""
    sums: dict[tuple[str, str], list[int]] = {}
    for name, event in rows:
        if since <= event.get("E", event.get("time", 0)) < before:
            channel, symbol, id, text = told(name, event)
            found = sums.setdefault((channel, symbol), [0, id, id, 0])
            found[0] += 1
            found[2] = id
            found[3] += xxh3_64_intdigest(text.encode())
    return {
        of: {"count": count, "first": first, "last": last, "hash": f"{total % 2**64:016x}"}
        for of, (count, first, last, total) in sums.items()
    }


def by_stream(ledger: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (row["stream"], row["symbol"]): {name: row[name] for name in ("count", "first", "last", "hash")}
        for row in ledger["rows"]
        if row["count"]
    }
