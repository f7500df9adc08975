"""One websocket for one epoch of a group. The listener does the least that can be done with a frame: hand it over."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable

import picows

from tape_archive.format.errors import LocalError, RemoteError, SettingsError, TapeError
from tape_collectors.runtime.intake import Intake
from tape_collectors.venues.protocol import Group

FRAME_LIMIT = 32 * 1024 * 1024
#: frames of ours that wait for the venue's limit; a feed that asks for more is broken
SENDS = 10_000
#: a socket that does not close by itself (TLS to a dead peer waits for an answer) is cut after so long
CLOSE_S = 1.0
#: this share of the venue's limit is used: it counts our pongs too, which picows sends by itself
SHARE = 0.9
_CONTROL = (picows.WSMsgType.PONG, picows.WSMsgType.PING)
#: bound once: looking members of an enum up costs as much as the rest of what a frame needs here
_DATA = (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY)


class Pace:
    """Evenly spaced sends, ``rate`` a second. Pure: times are passed in."""

    def __init__(self, rate: float) -> None:
        self._gap = 1.0 / rate if rate > 0 else 0.0
        self._free = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until the next send; 0: now."""
        return max(0.0, self._free - now)

    def take(self, now: float) -> None:
        """One is sent. Taking without waiting (a ping) makes those after it wait longer."""
        self._free = max(now, self._free) + self._gap


class _Listener(picows.WSListener):
    """picows calls this for each frame, several times in one wake-up."""

    def __init__(self, intake: Intake, s: str, up: Callable[[picows.WSTransport], None], pace: Pace) -> None:
        self.take = intake.frame
        self.s = s
        self.frames = 0
        self.parts: list[bytes] = []
        self.code = 1006
        self.why = "connection lost"
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: picows.WSTransport | None = None
        self._up = up
        self._pace = pace

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        # Frames may follow in the very bytes that ended the handshake: whoever waits for the connection would come too late.
        self.transport = transport
        self._up(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if transport.is_close_frame_sent:
            # picows parses on for a moment after a protocol error, perhaps from the middle of a frame.
            return
        kind = frame.msg_type
        if kind in _DATA and frame.fin:
            self.frames += 1
            self.take(self.s, frame.get_payload_as_bytes())
        elif kind == picows.WSMsgType.CLOSE:
            self._closed(transport, frame)
        elif kind in _CONTROL:
            return
        else:
            self._part(frame)

    def _part(self, frame: picows.WSFrame) -> None:
        if frame.msg_type != picows.WSMsgType.CONTINUATION:
            self.parts.clear()
        self.parts.append(frame.get_payload_as_bytes())
        if sum(map(len, self.parts)) > FRAME_LIMIT:
            raise picows.WSProtocolError(picows.WSCloseCode.MESSAGE_TOO_BIG, f"a message of more than {FRAME_LIMIT} bytes")
        if frame.fin:
            self.frames += 1
            data, self.parts = b"".join(self.parts), []
            self.take(self.s, data)

    def _closed(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        self.code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
        self.why = f"closed by the venue: {self.code} {payload[2:].decode('utf-8', 'replace')}".strip()[:200]
        transport.send_close(frame.get_close_code() or picows.WSCloseCode.OK)
        transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def send_user_specific_ping(self, transport: picows.WSTransport) -> None:
        self._pace.take(asyncio.get_running_loop().time())
        transport.send_ping()

    def is_user_specific_pong(self, frame: picows.WSFrame) -> bool:
        if frame.msg_type == picows.WSMsgType.PONG:
            return True
        # Asked only while a pong is due: any frame proves the link as well, and not every venue answers pings.
        if self.transport is not None:
            self.transport.notify_user_specific_pong_received()
        return False


class _Coalescing(_Listener):
    """Looks at the socket every ``pause_s`` instead of at every packet: fewer wake-ups, stamps no finer than that."""

    pause_s = 0.0

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        if frame.last_in_buffer:
            under = transport.underlying_transport
            if not under.is_closing():
                under.pause_reading()
                asyncio.get_running_loop().call_later(self.pause_s, self._resume, under)

    def _resume(self, under: asyncio.Transport) -> None:
        if not under.is_closing() and not self.gone.done():
            under.resume_reading()


class Connection:
    """A socket: ``send`` is paced by the venue's limit, ``wait`` returns when it is gone."""

    def __init__(
        self,
        group: Group,
        intake: Intake,
        s: str,
        tls: ssl.SSLContext | None = None,
        *,
        ipv4: bool = False,
        coalesce_ms: float = 0.0,
    ) -> None:
        self.group = group
        self.s = s
        self.opened_at = 0.0
        #: what ended it, as a word for the metrics
        self.reason = ""
        self._tls = tls
        self._ipv4 = ipv4
        self._pace = Pace(group.sends_per_s * SHARE)
        self._listener = (_Coalescing if coalesce_ms > 0 else _Listener)(intake, s, self._connected, self._pace)
        if isinstance(self._listener, _Coalescing):
            self._listener.pause_s = coalesce_ms / 1000
        self._up: Callable[[Connection], None] = lambda connection: None
        self._transport: picows.WSTransport | None = None
        self._queue: deque[str] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._why = ""

    async def open(self, timeout_s: float = 15.0, up: Callable[[Connection], None] | None = None) -> None:
        """Connect; ``up`` is called before any frame is. Raises RemoteError, SettingsError, OSError, TimeoutError or a WSError."""
        group, silence = self.group, self.group.silence_s
        self._up = up or self._up
        idle = min(group.ping_s, silence / 2)
        try:
            async with asyncio.timeout(timeout_s):
                await picows.ws_connect(
                    lambda: self._listener,
                    group.url,
                    ssl_context=self._tls,
                    websocket_handshake_timeout=timeout_s,
                    enable_auto_ping=silence > 0,
                    auto_ping_idle_timeout=idle,
                    auto_ping_reply_timeout=min(10.0, idle),
                    enable_auto_pong=True,
                    max_frame_size=FRAME_LIMIT,
                    extra_headers={"User-Agent": "tapeline", **dict(group.headers)},
                    family=socket.AF_INET if self._ipv4 else socket.AF_UNSPEC,
                )
        except picows.WSInvalidURL as error:
            raise SettingsError(f"{error}; mend the endpoint of {group.name}") from None
        except BaseException:
            if self._transport is not None:
                self._transport.disconnect(False)
            raise
        if self._transport is None:
            raise RemoteError("closed during the handshake")

    def _connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        self.opened_at = asyncio.get_running_loop().time()
        self._up(self)

    @property
    def frames(self) -> int:
        """Data frames read so far."""
        return self._listener.frames

    def send(self, text: str) -> None:
        """Send soon, no faster than ``sends_per_s``."""
        if len(self._queue) >= SENDS:
            self.close(f"more than {SENDS} frames wait to be sent", "sends")
            return
        self._queue.append(text)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._drain(), name=f"send {self.s}")

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._transport is not None and not self.gone:
            if wait := self._pace.wait(loop.time()):
                await asyncio.sleep(wait)
                continue
            self._pace.take(loop.time())
            self._transport.send(picows.WSMsgType.TEXT, self._queue.popleft().encode())

    @property
    def gone(self) -> bool:
        """Whether the socket is closed, or never was open."""
        return self._transport is None or self._listener.gone.done()

    async def rest(self, seconds: float) -> None:
        """Wait for so long, but not past the end of this epoch."""
        await asyncio.wait([self._listener.gone], timeout=seconds)

    async def wait(self) -> tuple[str, int]:
        """Until the socket is gone; gives why, and the close code. Raises what the intake raised: that is ours, not the venue's."""
        transport, listener = self._transport, self._listener
        if transport is None:
            raise RemoteError("not connected")
        await asyncio.shield(listener.gone)
        try:
            await transport.wait_disconnected()
        except picows.WSProtocolError as error:
            self.reason = self.reason or "protocol"
            return f"protocol error: {error.args[-1]}"[:200], int(error.args[0])
        except (TapeError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise LocalError(f"{self.s}: a frame could not be taken: {error!r}"[:300]) from error
        if self._why:
            return self._why, 1000
        sent = transport.close_handshake.sent if transport.close_handshake else None
        if listener.code == 1006 and sent is not None:
            self.reason = "half-open"
            return f"half-open: no frame of any kind for {self.group.silence_s:g} s", 1006
        self.reason = "lost" if listener.code == 1006 else f"closed {listener.code}"
        return listener.why, listener.code

    def close(self, why: str, reason: str = "") -> None:
        """Leave, now; ``wait`` then gives this reason. What the peer does not let go is cut after a second."""
        if self._transport is None or self.gone or self._why:
            return
        self._why, self.reason = why, reason or why
        try:
            self._transport.send_close(picows.WSCloseCode.OK)
        finally:
            self._transport.disconnect()
            asyncio.get_running_loop().call_later(CLOSE_S, self._cut)

    def _cut(self) -> None:
        if self._transport is not None and not self.gone:
            self._transport.disconnect(False)

    def abort(self, why: str) -> None:
        """Leave without a word; nothing that comes later is taken."""
        self._why, self.reason = why, why
        self._listener.take = _nothing
        if self._transport is not None:
            self._transport.disconnect(False)


def _nothing(s: str, data: bytes) -> None:
    """The intake of an aborted connection."""
