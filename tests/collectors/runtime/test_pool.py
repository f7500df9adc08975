"""A group stays connected whatever the venue does, and a replacement loses nothing."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tape_archive.format.errors import DiskFull, LocalError
from tape_collectors.runtime.dial import Dial
from tape_collectors.runtime.pool import Pool, joined, ready
from tape_collectors.venues.protocol import Fetch, Group, Reconnect, Send
from tests.support.servers import Book, Numbers, Venue, until

SECOND = 10**9


class Asked:
    """A fetcher that writes down what it is asked."""

    def __init__(self) -> None:
        self.commands: list[object] = []

    def fetch(self, intake: object, command: object) -> None:
        self.commands.append(command)


@asynccontextmanager
async def running(venue: Venue, book: Book, group: Group | None = None, **settings: object) -> AsyncIterator[Pool]:
    """A pool at work; it is stopped in order at the end, and must have left no socket and no open epoch."""
    group = group or Group("g", venue.url, ("a",), sends_per_s=1000.0)
    defaults: dict[str, object] = {"cap_s": 0.05, "healthy_s": 0.0, "dial": Dial(0.0), "chance": random.Random(1)}
    pool = Pool(group, book, Asked(), **{**defaults, **settings})  # type: ignore[arg-type]
    book.act = pool.act
    task = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        pool.stop()
        await pool.stopped()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        kinds = [kind for kind, _, _ in book.events]
        assert not pool.open and kinds.count("open") == kinds.count("close"), "every epoch has its end"


class Counting:
    """A server whose sockets all carry one stream of numbered frames, as a venue's do."""

    def __init__(self, pause: float = 0.001) -> None:
        self.number = 0
        self.sockets: set[ServerConnection] = set()
        self.pause = pause
        self.refuse: Callable[[int], bool] = lambda number: False
        self.deaf: Callable[[int], bool] = lambda number: False

    async def script(self, socket: ServerConnection, number: int) -> None:
        if self.refuse(number):
            return
        await socket.recv()
        if not self.deaf(number):
            self.sockets.add(socket)
        try:
            await socket.wait_closed()
        finally:
            self.sockets.discard(socket)

    @asynccontextmanager
    async def speaking(self) -> AsyncIterator[Venue]:
        async with Venue(self.script).running() as venue:
            task = asyncio.create_task(self._speak())
            try:
                yield venue
            finally:
                task.cancel()

    async def _speak(self) -> None:
        while True:
            self.number += 1
            for socket in list(self.sockets):
                try:
                    await socket.send(f"a:{self.number}")
                except ConnectionClosed:
                    self.sockets.discard(socket)
            await asyncio.sleep(self.pause)


def numbers(book: Book) -> list[int]:
    return [int(data.partition(b":")[2]) for _, data in book.frames]


@pytest.mark.parametrize("how", ["close", "reset", "half-open"])
async def test_it_connects_again_after_any_end(how: str) -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await socket.send(f"a:{number}")
        if number > 3:
            await socket.wait_closed()
        elif how == "close":
            await socket.close(1012, "restart")
        elif how == "reset":
            socket.transport.abort()
        else:
            socket.transport.pause_reading()
            await asyncio.sleep(0.5)
            socket.transport.abort()

    async with Venue(script).running() as venue:
        book = Book()
        async with running(venue, book, Group("g", venue.url, (), silence_s=0.2)) as pool:
            await until(lambda: len(book.frames) == 4)
            assert numbers(book) == [1, 2, 3, 4] and pool.reconnects == 3
            assert pool.reasons == {{"close": "closed 1012", "reset": "lost", "half-open": "half-open"}[how]: 3}
    assert [s for kind, s, _ in book.events if kind == "open"] == ["g-1", "g-2", "g-3", "g-4"]
    order = [(kind, s) for kind, s, _ in book.events]
    assert all(order.index(("close", f"g-{n}")) < order.index(("open", f"g-{n + 1}")) for n in (1, 2, 3))


async def test_connects_without_data_do_not_reset_the_delays() -> None:
    async def accept_and_close(socket: ServerConnection, number: int) -> None:
        return

    async with Venue(accept_and_close).running() as venue:
        async with running(venue, Book(), cap_s=60.0, healthy_s=0.0):
            await until(lambda: venue.connects == 5)
        pauses = [b - a for a, b in zip(venue.times, venue.times[1:], strict=False)]
    # The ceilings are 0.25, 0.5, 1, 2; the floors a quarter of each.
    assert pauses[0] < 0.5 and pauses[2] >= 0.25 and pauses[3] >= 0.5, pauses


async def test_data_that_did_not_last_does_not_reset_them_either() -> None:
    async def one_error_and_close(socket: ServerConnection, number: int) -> None:
        await socket.send('{"error":"invalid subscription"}')

    async with Venue(one_error_and_close).running() as venue:
        async with running(venue, Book(), cap_s=60.0, healthy_s=5.0):
            await until(lambda: venue.connects == 5)
        pauses = [b - a for a, b in zip(venue.times, venue.times[1:], strict=False)]
    assert pauses[2] >= 0.25 and pauses[3] >= 0.5, pauses


async def test_data_resets_them() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await socket.send("a:1")

    async with Venue(script).running() as venue:
        async with running(venue, Book(), cap_s=60.0, healthy_s=0.0):
            await until(lambda: venue.connects == 8)
        assert venue.times[-1] - venue.times[0] < 7 * 0.3, "each pause is a first one"


async def test_a_venue_that_is_away_or_refuses_is_tried_on() -> None:
    refused = 0

    async def refuse(socket: ServerConnection, request: object) -> object:
        nonlocal refused
        refused += 1
        return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "maintenance") if refused <= 3 else None

    counting = Counting()
    async with Venue(counting.script).running(process_request=refuse) as venue:
        book = Book()
        async with running(venue, book) as pool:
            await until(lambda: counting.sockets)
            assert pool.failures == 3 and [kind for kind, _, _ in book.events] == ["unconnected"] * 3 + ["open"], (
                "an attempt that failed is said, and no epoch"
            )


async def test_a_ban_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(socket: ServerConnection, request: object) -> object:
        return socket.respond(HTTPStatus.TOO_MANY_REQUESTS, "slow down")

    async with Venue(Counting().script).running(process_request=refuse) as venue:
        with caplog.at_level(logging.WARNING, "tape_collectors"):
            async with running(venue, Book()) as pool:
                await until(lambda: pool.failures == 1)
                await asyncio.sleep(0.3)
                assert pool.failures == 1 and caplog.records[-1].least_s == 30.0  # type: ignore[attr-defined]


async def test_a_planned_replacement_loses_nothing_and_never_has_two_spares() -> None:
    counting = Counting()
    async with counting.speaking() as venue:
        book = Book()
        group = Group("g", venue.url, ("a",), lifetime_s=0.5, sends_per_s=1000.0)
        async with running(venue, book, group, sockets=2):
            await until(lambda: len(book.closes()) >= 6)
    assert {why for why, _ in book.closes()} == {"replaced", "stopped"}
    seen = set(numbers(book))
    assert seen == set(range(min(seen), max(seen) + 1)), "the union of the epochs is complete"
    assert venue.most <= 3, "two sockets and one spare"


async def test_the_old_epoch_goes_on_until_a_new_one_is_in_sequence() -> None:
    counting = Counting()
    counting.deaf = lambda number: number in (2, 3)
    async with counting.speaking() as venue:
        book = Book()
        async with running(venue, book, ready_s=0.15) as pool:
            await until(lambda: book.frames)
            pool.act("g-1", [Reconnect("notice", overlap=True)])
            await until(lambda: ("replaced", 1000) in book.closes())
            assert list(pool.open) == ["g-4"]
    why = {s: what[0] for kind, s, what in book.events if kind == "close"}
    assert why == {"g-1": "replaced", "g-2": "did not get in sequence", "g-3": "did not get in sequence", "g-4": "stopped"}
    seen = set(numbers(book))
    assert seen == set(range(min(seen), max(seen) + 1)) and venue.most == 2


async def test_a_replacement_that_cannot_connect_backs_off_and_is_not_forgotten() -> None:
    tries = 0

    async def refuse(socket: ServerConnection, request: object) -> object:
        nonlocal tries
        tries += 1
        return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "no") if 1 < tries < 6 else None

    counting = Counting()
    async with Venue(counting.script).running(process_request=refuse) as venue:
        book = Book()
        async with running(venue, book, cap_s=60.0) as pool:
            await until(lambda: counting.sockets)
            await next(iter(counting.sockets)).send("a:1")
            await until(lambda: book.frames)
            begun = asyncio.get_running_loop().time()
            pool.act("g-1", [Reconnect("notice", overlap=True)])
            await until(lambda: len(counting.sockets) == 2)
            # Four refusals: at least 0 + 0.125 + 0.25 + 0.5 s; without backoff it was eight tries a second for ever.
            assert asyncio.get_running_loop().time() - begun >= 0.8 and not book.closes()
            for socket in counting.sockets:
                await socket.send("a:2")
            await until(lambda: book.closes() == [("replaced", 1000)])


async def test_an_old_epoch_that_dies_is_not_waited_for() -> None:
    counting = Counting()
    counting.deaf = lambda number: number > 1
    async with counting.speaking() as venue:
        book = Book()
        async with running(venue, book, ready_s=60.0) as pool:
            await until(lambda: book.frames)
            pool.act("g-1", [Reconnect("notice", overlap=True)])
            await until(lambda: len(pool.open) == 2)
            for socket in list(counting.sockets):
                socket.transport.abort()
            await until(lambda: list(pool.open) == ["g-2"])
            await asyncio.sleep(0.1)
            assert list(pool.open) == ["g-2"] and venue.connects == 2, "the new one takes its place at once"


async def test_a_reconnect_at_once_and_the_other_commands() -> None:
    counting = Counting()
    async with counting.speaking() as venue:
        book = Book()
        async with running(venue, book) as pool:
            await until(lambda: book.frames)
            pool.act("g-1", [Fetch("GET /depth"), Reconnect("too deep")])
            pool.act("g-99", [Send("to nobody"), Reconnect("nobody")])
            await until(lambda: "g-2" in pool.open)
            assert book.closes() == [("too deep", 1000)] and pool.reasons == {"asked": 1}


async def test_a_silent_stream_is_asked_for_again_then_the_connection_is_replaced() -> None:
    got: list[str] = []

    async def script(socket: ServerConnection, number: int) -> None:
        await socket.send("b:1")
        async for text in socket:
            got.append(str(text))

    async with Venue(script).running() as venue:
        book = Book(lambda: Numbers(("a", "b")))
        group = Group("g", venue.url, ("a", "b"), sends_per_s=1000.0)
        async with running(venue, book, group, first_s=10.0) as pool:
            await until(lambda: book.frames)
            for second in range(1, 36):
                pool.tick(book.now + second * SECOND)
                if second == 12:
                    assert book.feeds["g-1"].resubscribed == ["a"] and "a" in pool.silent
            await until(lambda: "g-2" in pool.open)
            assert book.every["g-1"].resubscribed == ["a", "a"] and book.closes() == [("silent", 1000)]
            assert pool.resubscribes == 2 and pool.reasons == {"silent": 1}
            assert "a" in pool.silent, "still not heard of"
            book.feeds["g-2"].receive(book.now + 40 * SECOND, b"a:1")
            pool.tick(book.now + 41 * SECOND)
            assert not pool.silent
    marks = [fields for kind, _, fields in book.events if kind == "silent"]
    assert [(mark["symbol"], mark["first"]) for mark in marks] == [("a", True)] * 3


async def test_silence_of_all_at_once_is_the_connection() -> None:
    names = tuple("abcdefgh")
    async with Venue(Counting().script).running() as venue:
        book = Book(lambda: Numbers(names))
        async with running(venue, book, Group("g", venue.url, names, sends_per_s=1000.0), first_s=60.0) as pool:
            await until(lambda: pool.open)
            feed = book.feeds["g-1"]
            for second in range(1, 300):
                for index, name in enumerate(names):
                    if not second % (1 + 3 * index):  # every second ... every 22 seconds
                        feed.receive(second * SECOND, f"{name}:{second}".encode())
                pool.tick(second * SECOND)
            assert not feed.resubscribed and not book.closes()
            for second in range(300, 320):
                pool.tick(second * SECOND)
            await until(lambda: book.closes() == [("silent", 1000)])
            assert len(feed.resubscribed) < 3, "not one resubscription for each stream"


@pytest.mark.parametrize(("raised", "expected"), [(DiskFull("no space"), DiskFull), (ValueError("bug"), LocalError)])
async def test_an_error_of_ours_ends_the_pool_and_no_epoch_stays_open(raised: Exception, expected: type[Exception]) -> None:
    counting = Counting()
    async with counting.speaking() as venue:
        book = Book()
        pool = Pool(Group("g", venue.url, ("a",), sends_per_s=1000.0), book, Asked(), sockets=2, dial=Dial(0.0))
        book.act = pool.act
        task = asyncio.create_task(pool.run())
        await until(lambda: len(pool.open) == 2 and book.frames)
        book.fail = raised
        with pytest.raises(BaseExceptionGroup) as caught:
            await task
        assert caught.group_contains(expected) and not pool.open and len(book.closes()) == 2
        await until(lambda: venue.open == 0)


async def test_stopping_while_connecting_opens_nothing() -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(socket: ServerConnection, request: object) -> None:
        reached.set()
        await go.wait()

    async with Venue(Counting().script).running(process_request=slow) as venue:
        book = Book()
        async with running(venue, book) as pool:
            await reached.wait()
            pool.stop()
            go.set()
            await until(lambda: venue.connects == 1 and venue.open == 0)
    assert not book.events and not book.frames


async def test_attempts_at_one_host_are_apart_whichever_pool_makes_them() -> None:
    counting = Counting()
    async with Venue(counting.script).running() as venue:
        dial = Dial(0.1)
        async with running(venue, Book(), dial=dial, sockets=2), running(venue, Book(), dial=dial):
            await until(lambda: venue.connects == 3)
    # A little less than twice the pause: the server sees an attempt some milliseconds after it was made.
    assert venue.times[2] - venue.times[0] >= 0.15


async def test_a_slow_consumer_loses_nothing() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        for n in range(1, 3001):
            await socket.send(f"a:{n}" + " " * 500)
        await socket.wait_closed()

    class Slow(Book):
        def frame(self, s: str, data: bytes) -> None:
            super().frame(s, data)
            if not len(self.frames) % 300:
                import time

                time.sleep(0.03)

    async with Venue(script).running() as venue:
        book = Slow()
        async with running(venue, book):
            await until(lambda: len(book.frames) == 3000)
    assert numbers(book) == list(range(1, 3001))


def test_ready_and_joined() -> None:
    class Proving(Numbers):
        proven = True

        def ready(self) -> bool:
            return self.proven

    old, new = Proving(("a", "gone")), Proving(("a", "gone"))
    assert ready(old, new) and not ready(old, None)
    new.proven = False
    assert not ready(old, new), "the old one proves more"
    old.proven = False
    for n in range(1, 11):
        old.receive(n, f"a:{n}".encode())
    assert not ready(old, new), "a spoke on the old one"
    new.receive(12, b"a:12")
    assert ready(old, new), "gone never spoke on either"
    assert not joined(old, new), "11 may be lost"
    old.receive(13, b"a:11")
    assert joined(old, new) and joined(None, new)
