"""One websocket against real servers: every frame whole, every end with its reason, sends no faster than allowed."""

from __future__ import annotations

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection

from tape_archive.format.errors import DiskFull, LocalError, SettingsError
from tape_collectors.runtime import connection as module
from tape_collectors.runtime.connection import Connection, Pace
from tape_collectors.venues.protocol import Group
from tests.support.servers import Book, Venue, raw, until


async def connect(to: Venue | Group, book: Book, **options: object) -> Connection:
    group = Group("g", to.url, ()) if isinstance(to, Venue) else to
    connection = Connection(group, book, "g-1", **options)  # type: ignore[arg-type]
    await connection.open(5.0, lambda one: book.act(one.s, book.opened(one.s, group)))
    return connection


async def forever(socket: ServerConnection, number: int) -> None:
    await socket.wait_closed()


async def test_frames_that_come_with_the_handshake_come_after_the_opening() -> None:
    async def leave(writer: asyncio.StreamWriter) -> None:
        await until(lambda: len(book.frames) == 2)

    book = Book()
    async with raw(b"\x81\x03a:1\x81\x03a:2", leave) as url:
        connection = await connect(Group("g", url, ()), book)
        assert await connection.wait() == ("connection lost", 1006)
    assert book.events[0][0] == "open" and book.every["g-1"].streams["a"].frames == 2, "the feed was there before its first frame"


async def test_fragments_binary_and_large_frames_are_whole() -> None:
    large = bytes(range(256)) * 8192  # 2 MiB
    sent = [b"a:1", b"a:23", large, b"\x00\xff", b"x" * 70_000, b""]

    async def script(socket: ServerConnection, number: int) -> None:
        await socket.send("a:1")
        await socket.send(["a:", "2", "3"])
        await socket.ping()
        await socket.send([large[:1000], large[1000:1_500_000], large[1_500_000:]])
        await socket.send(b"\x00\xff")
        await socket.send("x" * 70_000)
        await socket.send("")
        await socket.close(4001, "done")

    async with Venue(script).running() as venue:
        book = Book()
        connection = await connect(venue, book)
        assert await connection.wait() == ("closed by the venue: 4001 done", 4001)
    assert [data for _, data in book.frames] == sent and connection.frames == len(sent) and connection.reason == "closed 4001"


async def test_coalesced_reads_bring_every_frame() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        for n in range(1, 2001):
            await socket.send(f"a:{n}")
            if not n % 50:
                await asyncio.sleep(0)
        await socket.close(1001)

    async with Venue(script).running() as venue:
        book = Book()
        connection = await connect(venue, book, coalesce_ms=2.0)
        assert (await connection.wait())[1] == 1001
    assert [data for _, data in book.frames] == [f"a:{n}".encode() for n in range(1, 2001)]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (1008, "policy"), (1013, "later"), (4999, "own")])
async def test_close_codes_and_reasons_are_kept(code: int, reason: str) -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await socket.close(code, reason)

    async with Venue(script).running() as venue:
        why, got = await (await connect(venue, Book())).wait()
    assert got == code and why == f"closed by the venue: {code} {reason}".strip()


async def test_a_reset_is_a_lost_connection() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        socket.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        socket.transport.abort()

    async with Venue(script).running() as venue:
        connection = await connect(venue, Book())
        assert await connection.wait() == ("connection lost", 1006) and connection.reason == "lost"


async def test_a_half_open_link_is_found_and_an_idle_one_is_kept() -> None:
    async with Venue(forever).running() as venue:
        group = Group("g", venue.url, (), silence_s=0.4)
        idle = await connect(group, Book())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.2):
                await idle.wait()  # the server answers pings: three silences pass
        idle.abort("done")

    async def deaf(socket: ServerConnection, number: int) -> None:
        socket.transport.pause_reading()
        await stop.wait()
        socket.transport.abort()

    stop = asyncio.Event()
    async with Venue(deaf).running() as venue:
        connection = await connect(Group("g", venue.url, (), silence_s=0.4), Book())
        async with asyncio.timeout(2):
            why, code = await connection.wait()
        stop.set()
    assert code == 1006 and why.startswith("half-open") and connection.reason == "half-open"


async def test_frames_prove_a_link_whose_venue_answers_no_pings() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        for n in range(8):
            await asyncio.sleep(0.15)  # longer than the idle time (a ping is sent), within the time for an answer
            writer.write(b"\x81\x03a:%d" % n)
        await asyncio.Event().wait()

    book = Book()
    async with raw(b"", script) as url:
        connection = await connect(Group("g", url, (), silence_s=0.25), book)
        why, _ = await connection.wait()
    assert len(book.frames) == 8 and why.startswith("half-open"), "kept while frames came, left when none did"


async def test_sends_keep_their_order_and_the_venues_limit() -> None:
    got: list[tuple[float, str]] = []

    async def script(socket: ServerConnection, number: int) -> None:
        async for text in socket:
            got.append((asyncio.get_running_loop().time(), str(text)))

    async with Venue(script).running() as venue:
        connection = await connect(Group("g", venue.url, (), sends_per_s=50.0), Book())
        for n in range(20):
            connection.send(str(n))
        await until(lambda: len(got) == 20)
        connection.close("done")
        assert await connection.wait() == ("done", 1000)
    assert [text for _, text in got] == [str(n) for n in range(20)]
    assert got[-1][0] - got[0][0] >= 19 / 50.0 * 0.95


@given(st.floats(0.5, 100), st.lists(st.floats(0, 2), min_size=5, max_size=60))
def test_no_second_ever_holds_more_sends_than_the_rate(rate: float, pauses: list[float]) -> None:
    pace, now, sent = Pace(rate), 0.0, []
    for pause in pauses:
        now += pause
        now += pace.wait(now)
        pace.take(now)
        sent.append(now)
    for at in sent:
        assert sum(at <= other < at + 1.0 - 1e-6 for other in sent) <= rate + 1


async def test_too_many_sends_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SENDS", 10)
    async with Venue(forever).running() as venue:
        connection = await connect(Group("g", venue.url, (), sends_per_s=1.0), Book())
        for n in range(20):
            connection.send(str(n))
        why, _ = await connection.wait()
    assert why == "more than 10 frames wait to be sent" and connection.reason == "sends"


async def test_a_message_past_the_limit_is_a_protocol_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_LIMIT", 100_000)

    async def script(socket: ServerConnection, number: int) -> None:
        await socket.send("x" * 200_000 if number == 1 else ["x" * 60_000, "y" * 60_000])
        await socket.wait_closed()

    async with Venue(script).running() as venue:
        for _ in range(2):
            book = Book()
            connection = await connect(venue, book)
            why, code = await connection.wait()
            assert code == 1009 and why.startswith("protocol error") and not book.frames and connection.reason == "protocol"


@pytest.mark.parametrize(("raised", "expected"), [(DiskFull("no space"), DiskFull), (ValueError("bug"), LocalError)])
async def test_an_error_of_ours_is_not_taken_for_the_venues(raised: Exception, expected: type[Exception]) -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await socket.send("a:1")
        await socket.wait_closed()

    async with Venue(script).running() as venue:
        book = Book()
        book.fail = raised
        connection = await connect(venue, book)
        with pytest.raises(expected):
            await connection.wait()


async def test_an_address_that_is_none_is_a_setting() -> None:
    with pytest.raises(SettingsError, match="mend the endpoint of g"):
        await Connection(Group("g", "http://127.0.0.1:1/", ()), Book(), "g-1").open()


async def test_closing_does_not_wait_for_a_peer_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.1)
    stop = asyncio.Event()

    async def deaf(socket: ServerConnection, number: int) -> None:
        socket.transport.pause_reading()
        await stop.wait()
        socket.transport.abort()

    async with Venue(deaf).running() as venue:
        connection = await connect(Group("g", venue.url, (), sends_per_s=1e9), Book())
        for _ in range(200):
            connection.send("x" * 65536)  # more than the kernel takes
        await until(lambda: not connection._queue)
        connection.close("silent")
        async with asyncio.timeout(2):
            assert await connection.wait() == ("silent", 1000)
        stop.set()
