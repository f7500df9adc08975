"""SFTP (version 3) spoken through the system's own ``ssh``: one process, any number of requests in flight.

OpenSSH does what it is best at: keys, agents, ``~/.ssh/config``, jump hosts, host keys, encryption. This side only frames requests and
matches replies, so a file costs two round trips (open, read) whatever its size, and no cryptography runs in Python.

Source: draft-ietf-secsh-filexfer-02; OpenSSH PROTOCOL, sections 4.3 to 4.10 (posix-rename, fsync, limits); read 2026-11-21.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import struct
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import IO, NamedTuple
from weakref import WeakSet

from tape_archive.format.errors import DiskFull, NotFound, StoreDenied, StoreError, StoreUnavailable, TapeError

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT = 1, 2, 3, 4, 5, 6, 7, 8
OPENDIR, READDIR, REMOVE, MKDIR, REALPATH, STAT = 11, 12, 13, 14, 16, 17
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED = 101, 102, 103, 104, 105, 200
OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED = 0, 1, 2, 3
FOR_READING, FOR_WRITING, CREATE, TRUNCATE = 0x01, 0x02, 0x08, 0x10
#: a server may send so much in one packet; more is no SFTP server (a login banner, say)
_MOST = 1 << 20
_U32 = struct.Struct(">I")
Reply = tuple[int, bytes]


class Attributes(NamedTuple):
    """What a server says of a file. ``mode`` 0: not said."""

    bytes: int
    mode: int
    mtime: int


class Channel:
    """One SFTP session. Requests may be sent from any thread; each gives a future of (packet type, payload after the id)."""

    def __init__(self, command: Sequence[str], target: str, words: str) -> None:
        self.target = target
        self._words = words
        #: extensions that the server has; known as soon as anything was answered
        self.limits: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Reply]] = {}
        self._number = 0
        self._lost: TapeError | None = None
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, start_new_session=True
            )
        except FileNotFoundError:
            raise StoreError(f"{command[0]} is not installed: it carries the connection to {target}") from None
        self._hello: Future[Reply] = Future()
        _open.add(self)
        self._write(struct.pack(">IBI", 5, INIT, 3))
        self._reader = threading.Thread(target=self._read, name=f"sftp {target}", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether requests may be sent."""
        return self._lost is None

    @property
    def greeted(self) -> bool:
        """Whether the server ever answered. Nobody waits for that: requests are sent before, which saves a round trip."""
        return self._hello.done() and self._hello.exception() is None

    def ready(self, seconds: float) -> None:
        """Wait until the server has answered at all. Raises what ``wait`` raises."""
        if not self.greeted:
            wait(self._hello, seconds, self.target)

    def send(self, kind: int, payload: bytes) -> Future[Reply]:
        """One request. Raises StoreUnavailable or StoreDenied when the session is over."""
        future: Future[Reply] = Future()
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._number = (self._number + 1) & 0xFFFFFFFF
            self._waiting[self._number] = future
            packet = struct.pack(">IBI", len(payload) + 5, kind, self._number) + payload
            self._write(packet)
        return future

    def close(self) -> None:
        """End the session; what still waits fails."""
        self._end(StoreUnavailable(f"the connection to {self.target} was closed"))
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if threading.current_thread() is not self._reader:
            self._reader.join(5.0)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._complaints.close()

    def kill(self) -> None:
        """End it without waiting for the server; whoever writes or reads is let go."""
        self._process.kill()

    # -- the process -----------------------------------------------------------------------------------------------------

    def _write(self, packet: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(packet)
            self._process.stdin.flush()
        except (OSError, ValueError):
            # The reader tells why, as soon as it sees the end.
            return

    def _read(self) -> None:
        assert self._process.stdout is not None
        read = self._process.stdout.read
        try:
            while len(head := read(4)) == 4:
                size = _U32.unpack(head)[0]
                if not 1 <= size <= _MOST:
                    self._end(StoreUnavailable(f"{self.target} does not speak SFTP (it said {head!r}); does its shell print a greeting?"))
                    return
                packet = read(size)
                if len(packet) < size:
                    break
                self._take(packet)
        except (OSError, ValueError, struct.error):
            pass
        if self._lost is None:
            self._end(self._why())

    def _take(self, packet: bytes) -> None:
        if packet[0] == VERSION:
            rest = packet[5:]
            while rest:
                name, rest = _text(rest)
                value, rest = _text(rest)
                self.limits[name.decode("latin-1")] = value
            self._hello.set_result((VERSION, packet[5:]))
            return
        future = self._waiting.pop(_U32.unpack_from(packet, 1)[0], None)
        if future is not None:
            future.set_result((packet[0], packet[5:]))

    def _end(self, error: TapeError) -> None:
        with self._lock:
            self._lost = self._lost or error
            waiting, self._waiting = list(self._waiting.values()), {}
        for future in [self._hello, *waiting]:
            if not future.done():
                future.set_exception(error)

    def _why(self) -> TapeError:
        """What ssh said before it left."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        self._complaints.seek(0)
        return complaint(self.target, self._words, self._complaints.read(65536).decode("utf-8", "replace"))


class _Open:
    """The sessions of this process. They end before the interpreter does: afterwards a thread that still reads makes it abort."""

    def __init__(self) -> None:
        self.forked()
        self._leaving = False

    def add(self, channel: Channel) -> None:
        with self._lock:
            self._channels.add(channel)
            if self._leaving:
                channel.kill()

    def leave(self) -> None:
        with self._lock:
            self._leaving = True
            channels = list(self._channels)
        for channel in channels:
            channel.kill()
            channel.close()

    def forked(self) -> None:
        """A child has none of its own yet."""
        self._lock = threading.Lock()
        self._channels: WeakSet[Channel] = WeakSet()


_open = _Open()
atexit.register(_open.leave)
os.register_at_fork(after_in_child=_open.forked)


def complaint(target: str, command: str, text: str) -> TapeError:
    """The error that tells what ssh's own words mean for the user. ``command``: how the target is written behind ``ssh``."""
    words = text.lower()
    if "identification has changed" in words:
        found = re.search(r"ssh-keygen -f \S+ -R \S+", text)
        forget = found[0] if found else "ssh-keygen -R with its name"
        return StoreDenied(
            f"the host key of {target} is not the one that is known: somebody may stand in between. Only if the machine was set up anew: "
            f"forget the old key ({forget}), compare the new one and accept it by: ssh {command}"
        )
    if "host key verification failed" in words or "no matching host key" in words:
        return StoreDenied(
            f"the host key of {target} is not known yet: compare its fingerprint with the one that the server has "
            f"(there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and accept it once by: ssh {command}"
        )
    if "permission denied" in words or "too many authentication failures" in words:
        return StoreDenied(
            f"{target} refused our key: give it there by: ssh-copy-id {command} (a key with a passphrase must be in the agent: ssh-add; "
            "VPS_PEM_KEY names another key)"
        )
    if "bad permissions" in words or "bad owner" in words:
        return StoreDenied(f"ssh to {target}: {_last(text)}")
    if "could not resolve hostname" in words:
        return StoreUnavailable(f"no machine has the name of {target}: give its address, or a Host of ~/.ssh/config ({_last(text)})")
    return StoreUnavailable(f"cannot reach {target}: {_last(text) or 'the connection was lost'}")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def wait(future: Future[Reply], seconds: float, target: str) -> Reply:
    """A reply. Raises StoreUnavailable when none comes in that time."""
    try:
        return future.result(seconds)
    except TimeoutError:
        raise StoreUnavailable(f"{target} did not answer within {seconds:g} s") from None


# -- payloads ----------------------------------------------------------------------------------------------------------------


def text(value: bytes) -> bytes:
    """A string as it goes over the wire."""
    return _U32.pack(len(value)) + value


def _text(payload: bytes) -> tuple[bytes, bytes]:
    size = _U32.unpack_from(payload)[0]
    return payload[4 : 4 + size], payload[4 + size :]


def expect(reply: Reply, kind: int, path: str) -> bytes:
    """The payload of a reply of this kind. Raises what a status says: NotFound, StoreDenied, DiskFull, StoreError."""
    got, payload = reply
    if got == kind:
        return payload
    if got != STATUS:
        raise StoreError(f"{path}: the server answered with packet {got}, {kind} was expected")
    raise failure(payload, path)


def failure(payload: bytes, path: str) -> TapeError:
    """The error that a status packet tells."""
    code = _U32.unpack_from(payload)[0]
    said = _text(payload[4:])[0].decode("utf-8", "replace") if len(payload) > 8 else ""
    if code == NO_SUCH_FILE:
        return NotFound(f"{path} is not there")
    if code == PERMISSION_DENIED:
        return StoreDenied(f"{path}: {said or 'permission denied'}")
    if "space" in said.lower() or "quota" in said.lower():
        return DiskFull(f"{path}: {said}")
    return StoreError(f"{path}: {said or 'failure'}")


def done(reply: Reply, path: str) -> None:
    """Raise unless a status says that all is well."""
    payload = expect(reply, STATUS, path)
    if _U32.unpack_from(payload)[0] != OK:
        raise failure(payload, path)


def handle(reply: Reply, path: str) -> bytes:
    """The handle that an open gave, ready to be sent."""
    return text(_text(expect(reply, HANDLE, path))[0])


def data(reply: Reply, path: str) -> bytes | None:
    """What a read gave; None at the end of the file."""
    if reply[0] == STATUS and _U32.unpack_from(reply[1])[0] == EOF:
        return None
    payload = expect(reply, DATA, path)
    return payload[4:]


def names(reply: Reply, path: str) -> list[tuple[str, Attributes]] | None:
    """What a readdir or realpath gave; None at the end of the folder."""
    if reply[0] == STATUS and _U32.unpack_from(reply[1])[0] == EOF:
        return None
    payload = expect(reply, NAME, path)
    count, rest = _U32.unpack_from(payload)[0], payload[4:]
    found = []
    for _ in range(count):
        name, rest = _text(rest)
        _, rest = _text(rest)
        attributes, rest = _attributes(rest)
        found.append((name.decode("utf-8", "surrogateescape"), attributes))
    return found


def attributes(reply: Reply, path: str) -> Attributes:
    """What a stat gave."""
    return _attributes(expect(reply, ATTRS, path))[0]


def _attributes(payload: bytes) -> tuple[Attributes, bytes]:
    flags, rest = _U32.unpack_from(payload)[0], payload[4:]
    size = mode = mtime = 0
    if flags & 0x1:
        size, rest = struct.unpack_from(">Q", rest)[0], rest[8:]
    if flags & 0x2:
        rest = rest[8:]
    if flags & 0x4:
        mode, rest = _U32.unpack_from(rest)[0], rest[4:]
    if flags & 0x8:
        mtime, rest = _U32.unpack_from(rest, 4)[0], rest[8:]
    if flags & 0x80000000:
        count, rest = _U32.unpack_from(rest)[0], rest[4:]
        for _ in range(2 * count):
            _, rest = _text(rest)
    return Attributes(size, mode, mtime), rest
