"""Frames to many sockets at once: each is made once, gathered for each connection, and written with one call a step."""

from __future__ import annotations

import contextlib
import struct
import time
from typing import Any

from tape_collectors.simulator.faults import Frame
from tape_collectors.simulator.ledger import Row
from tape_collectors.simulator.server import Client


def framed(text: str) -> bytes:
    """A whole text frame as a server sends it, unmasked (RFC 6455, 5.2)."""
    data = text.encode()
    size = len(data)
    if size < 126:
        return b"\x81" + bytes((size,)) + data
    if size <= 0xFFFF:
        return struct.pack("!BBH", 0x81, 126, size) + data
    return struct.pack("!BBQ", 0x81, 127, size) + data


class Outlet:
    """What one connection is sent in a step."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.buffer = bytearray()
        self.combined = bool(client.state["combined"])
        self.streams: set[str] = set()
        self.since = time.monotonic()

    def put(self, frame: Frame) -> None:
        """A frame that a fault may have changed; bytes that are no text go as they are, in a text frame."""
        self.buffer += framed(frame) if isinstance(frame, str) else _raw(frame)

    def flush(self) -> None:
        """Write what was gathered. A socket that is gone is left alone."""
        if self.buffer and not self.client.closing and not self.client.socket.transport.is_closing():
            # Between a peer's close and ours the transport takes no more, and is not closing yet.
            with contextlib.suppress(RuntimeError):
                self.client.socket.transport.write(bytes(self.buffer))
        self.buffer.clear()


def _raw(data: bytes) -> bytes:
    head = framed("x" * len(data))
    return head[: len(head) - len(data)] + data


class Channel:
    """One stream of one symbol, and who hears it."""

    __slots__ = ("combined", "head", "kind", "name", "raw", "row", "state")

    def __init__(self, name: str, kind: str, row: Row) -> None:
        self.name = name
        self.kind = kind
        self.row = row
        self.head = f'{{"stream":"{name}","data":'
        self.combined: list[Outlet] = []
        self.raw: list[Outlet] = []
        self.state: Any = None

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self.combined or self.raw)

    def join(self, outlet: Outlet) -> None:
        """A connection wants it."""
        (self.combined if outlet.combined else self.raw).append(outlet)

    def leave(self, outlet: Outlet) -> None:
        """A connection is gone or wants it no more."""
        for rows in (self.combined, self.raw):
            if outlet in rows:
                rows.remove(outlet)
