"""Connections grow and shrink with the streams, and no message of a stream that stays is lost on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets import ConnectionClosed
from websockets.asyncio.server import ServerConnection, serve

from tape_collectors.runtime.dial import Dial
from tape_collectors.runtime.fleet import Fleet
from tape_collectors.runtime.pool import Pool
from tape_collectors.venues.protocol import NOTHING, Group, Output, Send, Stream
from tests.support.servers import Book, Numbers, until


class Named(Numbers):
    """Streams that come and go; ``name:number`` frames, ``ok:name`` acks."""

    def __init__(self) -> None:
        super().__init__(())

    def want(self, t: int, names: Any) -> Output:
        new, old = [name for name in names if name not in self.streams], [name for name in self.streams if name not in names]
        for name in old:
            del self.streams[name]
        for name in new:
            self.streams[name] = Stream(name, name, "trade")
        return (), [Send(f"{verb} {' '.join(some)}") for verb, some in (("sub", new), ("unsub", old)) if some]

    def receive(self, t: int, data: bytes) -> Output:
        if data.startswith(b"ok:"):
            for name in data[3:].decode().split():
                if name in self.streams:
                    self.streams[name].acked_t = t
            return NOTHING
        return super().receive(t, data)


class Market:
    """A venue: every stream counts up, and each socket is told what it subscribed."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.sockets: dict[ServerConnection, set[str]] = {}
        self.most = 0
        self.refuse = False
        self.quiet: set[str] = set()

    async def serve(self, socket: ServerConnection) -> None:
        if self.refuse:
            return
        self.sockets[socket] = set()
        try:
            with suppress(ConnectionClosed):
                await self._told(socket)
        finally:
            del self.sockets[socket]

    async def _told(self, socket: ServerConnection) -> None:
        async for message in socket:
            verb, *names = str(message).split()
            mine = self.sockets[socket]
            if verb == "sub":
                mine.update(names)
            else:
                mine.difference_update(names)
            self.most = max(self.most, len(mine))
            await socket.send(f"ok:{' '.join(names)}")

    async def trade(self) -> None:
        chance = random.Random(3)
        while True:
            names = sorted({name for mine in self.sockets.values() for name in mine} - self.quiet)
            for name in chance.sample(names, min(len(names), 20)):
                self.numbers[name] = number = self.numbers.get(name, 0) + 1
                for socket, mine in list(self.sockets.items()):
                    if name in mine:
                        # A client may leave between two messages; the market goes on for the others.
                        with suppress(ConnectionClosed):
                            await socket.send(f"{name}:{number}")
            await asyncio.sleep(0.001)


class Keeper:
    def __init__(self, book: Book) -> None:
        self.book = book
        self.pools: dict[str, Pool] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def pool(self, group: Group) -> Pool:
        pool = Pool(group, self.book, None, cap_s=0.05, dial=Dial(0.0), chance=random.Random(1), first_s=60, least_s=60)  # type: ignore[arg-type]
        self.pools[group.name] = pool
        self.tasks.append(asyncio.create_task(pool.run()))
        return pool

    def drop(self, pool: Pool) -> None:
        del self.pools[pool.group.name]


@asynccontextmanager
async def fleet(market: Market, most: int, **settings: float) -> AsyncIterator[tuple[Fleet, Book]]:
    book = Book(Named)
    keeper = Keeper(book)
    book.act = lambda s, commands: keeper.pools[s.rpartition("-")[0]].act(s, commands) if s.rpartition("-")[0] in keeper.pools else None
    async with serve(market.serve, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        trading = asyncio.create_task(market.trade())
        one = Fleet(Group("public", url, (), sends_per_s=1000.0), most, book, keeper, **settings)
        try:
            yield one, book
        finally:
            for pool in keeper.pools.values():
                pool.stop()
            await asyncio.gather(*(pool.stopped() for pool in keeper.pools.values()))
            for task in (trading, *keeper.tasks):
                task.cancel()
            await asyncio.gather(trading, *keeper.tasks, return_exceptions=True)


def numbers(book: Book, name: str) -> list[int]:
    """What came of a stream, each number once, in the order of coming."""
    came = (data.decode().partition(":") for _, data in book.frames if data.startswith(f"{name}:".encode()))
    return list(dict.fromkeys(int(number) for _, _, number in came))


def whole(book: Book, names: Sequence[str]) -> None:
    for name in names:
        came = sorted(numbers(book, name))
        assert came == list(range(came[0], came[-1] + 1)), name


def spoken(one: Fleet, book: Book) -> bool:
    feeds = [feed for pool in one.pools.values() for s in pool.open if (feed := book.feed(s)) is not None]
    return len(feeds) == len(one.pools) and all(stream.first_t for feed in feeds for stream in feed.streams.values())


async def test_symbols_come_and_go_and_no_number_is_missed() -> None:
    market = Market()
    names = [f"s{at}" for at in range(40)]
    async with fleet(market, 10) as (one, book):
        for size in (20, 40, 15, 33, 8):
            await one.carry(names[:size])
            assert len(one.pools) == -(-size // 10)
            assert sorted(stream for streams in one.carried.values() for stream in streams) == sorted(names[:size])
            await until(lambda: spoken(one, book))
            await until(lambda size=size: len(market.sockets) == -(-size // 10))
        # These were wanted all the time: not one number is missing, whichever connection brought it.
        whole(book, names[:8])
        assert one.moved > 0


async def test_a_connection_that_cannot_be_made_takes_nothing_from_the_old_one() -> None:
    market = Market()
    names = [f"s{at}" for at in range(12)]
    async with fleet(market, 6, ready_s=0.05) as (one, book):
        await one.carry(names)
        await until(lambda: spoken(one, book))
        # Fifteen streams need a third connection, and the venue refuses new ones.
        market.refuse = True
        growing = asyncio.create_task(one.carry([f"t{at}" for at in range(6)] + names[3:]))
        await asyncio.sleep(0.3)
        assert not growing.done()
        assert all(any(name in mine for mine in market.sockets.values()) for name in names[3:]), "still carried"
        market.refuse = False
        await growing
        await until(lambda: spoken(one, book))
        whole(book, names[3:])


async def test_a_quiet_stream_moves_as_well() -> None:
    market = Market()
    market.quiet = {"s9"}
    names = [f"s{at}" for at in range(10)]
    async with fleet(market, 5, ready_s=0.2) as (one, _):
        await one.carry(names)
        await until(lambda: market.numbers.get("s0"))
        await one.carry(["s9", "s8", "s7", "s0"])
        assert one.carried == {next(iter(one.carried)): tuple(next(iter(one.carried.values())))}
        await until(lambda: len(market.sockets) == 1)
        assert set(next(iter(market.sockets.values()))) == {"s9", "s8", "s7", "s0"}
