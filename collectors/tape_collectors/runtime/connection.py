"""One websocket for one epoch of a group. The listener does the least that can be done with a frame: hand it over."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque

import picows

from tape_archive.format.errors import RemoteError
from tape_collectors.runtime.intake import Intake
from tape_collectors.venues.protocol import Group

FRAME_LIMIT = 32 * 1024 * 1024
_CONTROL = (picows.WSMsgType.PONG, picows.WSMsgType.PING)


class _Listener(picows.WSListener):
    """picows calls this for each frame, several times in one wake-up."""

    def __init__(self, intake: Intake, s: str) -> None:
        self.take = intake.frame
        self.s = s
        self.frames = 0
        self.seen = time.monotonic()
        self.parts: list[bytes] = []
        self.code = 1006
        self.why = "connection lost"
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if (kind == picows.WSMsgType.TEXT or kind == picows.WSMsgType.BINARY) and frame.fin:
            self.frames += 1
            self.take(self.s, frame.get_payload_as_bytes())
        elif kind == picows.WSMsgType.CLOSE:
            code = frame.get_close_code()
            self.code = 1005 if code is None else int.from_bytes(frame.get_payload_as_bytes()[:2], "big")
            said = (frame.get_close_message() or b"").decode("utf-8", "replace")
            self.why = f"closed by the venue: {self.code} {said}".strip()[:200]
            transport.send_close(frame.get_close_code() or picows.WSCloseCode.OK)
            transport.disconnect()
        elif kind in _CONTROL:
            return
        else:
            self.parts.append(frame.get_payload_as_bytes())
            if frame.fin:
                self.frames += 1
                data, self.parts = b"".join(self.parts), []
                self.take(self.s, data)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


class Connection:
    """An open socket: ``send`` is paced by the venue's limit, ``wait`` returns when it is gone."""

    def __init__(self, group: Group, intake: Intake, s: str, tls: ssl.SSLContext | None = None) -> None:
        self.group = group
        self.s = s
        self.opened_at = 0.0
        self._intake = intake
        self._tls = tls
        self._listener: _Listener | None = None
        self._transport: picows.WSTransport | None = None
        self._queue: deque[str] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._why = ""

    async def open(self, timeout_s: float = 15.0) -> None:
        """Connect. Raises RemoteError, OSError, TimeoutError or a WSError."""
        group = self.group
        async with asyncio.timeout(timeout_s):
            listener = _Listener(self._intake, self.s)
            self._transport, _ = await picows.ws_connect(
                lambda: listener,
                group.url,
                ssl_context=self._tls,
                websocket_handshake_timeout=timeout_s,
                enable_auto_ping=True,
                auto_ping_idle_timeout=max(1.0, min(20.0, group.silence_s / 2)),
                auto_ping_reply_timeout=max(1.0, min(10.0, group.silence_s / 2)),
                enable_auto_pong=True,
                max_frame_size=FRAME_LIMIT,
                extra_headers={"User-Agent": "tapeline"},
            )
        self._listener = listener
        self.opened_at = time.monotonic()

    @property
    def frames(self) -> int:
        """Data frames read so far."""
        return self._listener.frames if self._listener else 0

    def send(self, text: str) -> None:
        """Send soon, no faster than ``sends_per_s``."""
        self._queue.append(text)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._drain(), name=f"send {self.s}")

    async def _drain(self) -> None:
        while self._queue and self._transport is not None and not self.gone:
            self._transport.send(picows.WSMsgType.TEXT, self._queue.popleft().encode())
            await asyncio.sleep(1 / self.group.sends_per_s)

    @property
    def gone(self) -> bool:
        """Whether the socket is closed."""
        return self._listener is None or self._listener.gone.done()

    async def wait(self) -> tuple[str, int]:
        """Until the socket is gone; gives why, and the close code."""
        if self._listener is None:
            raise RemoteError("not connected")
        await self._listener.gone
        return self._why or self._listener.why, 1000 if self._why else self._listener.code

    def close(self, why: str) -> None:
        """Leave, now; ``wait`` then gives this reason."""
        if self._transport is None or self.gone:
            return
        self._why = why
        try:
            self._transport.send_close(picows.WSCloseCode.OK)
        finally:
            self._transport.disconnect()
