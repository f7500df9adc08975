"""A TCP proxy on loopback that delays, cuts and freezes what passes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator


class Wire:
    """``delay_s``: one way. ``cut_after``: close both ends when so many bytes came from the server on one connection. ``frozen``: nothing passes.

    ``round_trips``: how many of them what has reached the client took, one after the other. A question takes one more than the newest answer that
    was there when it left; an answer as many as the newest question that was there when it left. Exact where the delay is long beside computing.
    """

    def __init__(self, to_port: int, delay_s: float = 0.0) -> None:
        self.to_port = to_port
        self.delay_s = delay_s
        self.cut_after: int | None = None
        self.refuse = False
        self.frozen = False
        self.port = 0
        self.connections = 0
        self.bytes_down = 0
        self.round_trips = 0
        self._asked = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Cut what is open now."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, up_writer}
        try:
            # The loop ends before the connection does: nobody waits for it any more.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(self._pass(reader, up_writer, False, writer), self._pass(up_reader, writer, True, up_writer))
        finally:
            self._open -= {writer, up_writer}
            for one in (writer, up_writer):
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, down: bool, other: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes, int]] = asyncio.Queue()

        async def leave() -> None:
            while True:
                due, chunk, trips = await queue.get()
                if (pause := due - loop.time()) > 0:
                    await asyncio.sleep(pause)
                while self.frozen:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                if not chunk:
                    writer.transport.abort()
                    return
                if down:
                    self.round_trips = max(self.round_trips, trips)
                else:
                    self._asked = max(self._asked, trips)
                with contextlib.suppress(OSError):
                    writer.write(chunk)
                    await writer.drain()

        task = asyncio.create_task(leave())
        seen = 0
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                seen += len(chunk)
                if down:
                    self.bytes_down += len(chunk)
                    if self.cut_after is not None and seen >= self.cut_after:
                        chunk = chunk[: len(chunk) - (seen - self.cut_after)]
                        writer.write(chunk)
                        await asyncio.sleep(0.005)
                        task.cancel()
                        writer.transport.abort()
                        other.transport.abort()
                        return
                queue.put_nowait((loop.time() + self.delay_s, chunk, self._asked if down else self.round_trips + 1))
        queue.put_nowait((loop.time() + self.delay_s, b"", 0))
        await task


@contextlib.contextmanager
def wire(to_port: int, delay_s: float = 0.0) -> Iterator[Wire]:
    """A proxy in a thread of its own."""
    one = Wire(to_port, delay_s)
    ready = threading.Event()

    async def main() -> None:
        server = await asyncio.start_server(one._serve, "127.0.0.1", 0)
        one.port = server.sockets[0].getsockname()[1]
        one._loop = asyncio.get_running_loop()
        ready.set()
        stop.loop, stop.event = one._loop, asyncio.Event()  # type: ignore[attr-defined]
        await stop.event.wait()  # type: ignore[attr-defined]
        one._cut()
        server.close()

    class stop:
        pass

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    ready.wait(60)
    try:
        yield one
    finally:
        stop.loop.call_soon_threadsafe(stop.event.set)  # type: ignore[attr-defined]
        thread.join(10)
