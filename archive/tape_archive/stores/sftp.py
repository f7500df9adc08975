"""A folder of an SSH server: one connection, kept alive, shared by all threads, made anew when it breaks."""

from __future__ import annotations

import builtins
import contextlib
import os
import re
import shlex
import stat as modes
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import BinaryIO, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from tape_archive.format.errors import NotFound, SettingsError, StoreDenied, StoreUnavailable
from tape_archive.stores import ssh
from tape_archive.stores.ssh import Attributes, Channel, Reply, wait
from tape_archive.stores.store import Entry, hidden, inside, there

T = TypeVar("T")
#: every server takes 32 KiB a request; OpenSSH says (limits@openssh.com) that it takes more
_BLOCK = 32_768
#: requests in flight for one file: with 32 KiB blocks 4 MiB, which is more than ssh's own window
_FLIGHT = 128
_LISTS = 16
_URL = re.compile(r"^sftp://(?:([^@/]+)@)?(\[[0-9a-fA-F:.%]+\]|[^:/]+)(?::(\d+))?(/.*)?$")


class Target(msgspec.Struct, frozen=True):
    """Whom to reach. ``user`` and ``port`` empty: what ``~/.ssh/config`` says. ``options``: further ``-o`` words for ssh."""

    host: str
    user: str = ""
    port: int = 0
    key: str = ""
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.user + '@' if self.user else ''}{self.host}{f':{self.port}' if self.port else ''}"

    @property
    def words(self) -> str:
        """As the user would write it behind ``ssh``."""
        words = [f"-p {self.port}"] if self.port else []
        words += [f"-i {shlex.quote(self.key)}"] if self.key else []
        return " ".join([*words, f"{self.user + '@' if self.user else ''}{self.host}"])

    def check(self) -> None:
        """What stands on a command line must be what it says it is. Raises SettingsError."""
        for word in (self.host, self.user):
            if word.startswith("-") or re.search(r"[\s\0]", word):
                raise SettingsError(f"{word!r} is no name of a host or user")
        if self.key and not os.path.isfile(os.path.expanduser(self.key)):  # noqa: PTH111, PTH113
            raise SettingsError(f"there is no key {self.key} (VPS_PEM_KEY); make one by: ssh-keygen -t ed25519 -f {shlex.quote(self.key)}")

    def command(self) -> list[str]:
        """The ssh that carries an SFTP session. Nothing is ever asked at a terminal; unknown hosts are refused."""
        self.check()
        fixed: tuple[str, ...] = (
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
        )
        # Methods that would ask somebody cost round trips and cannot succeed.
        fixed += ("PreferredAuthentications=publickey", "GSSAPIAuthentication=no")
        command = ["ssh", "-T", "-x", "-a"]
        for option in (*self.options, *fixed, "LogLevel=ERROR", "ClearAllForwardings=yes", "PermitLocalCommand=no"):
            command += ["-o", option]
        if self.port:
            command += ["-p", str(self.port)]
        if self.key:
            command += ["-i", os.path.expanduser(self.key), "-o", "IdentitiesOnly=yes"]  # noqa: PTH111
        if self.user:
            command += ["-l", self.user]
        return [*command, "-s", "--", self.host, "sftp"]


class SftpStore:
    """Files under ``root`` of a server (relative: under the user's home).

    ``seconds`` is how long one answer may take. A connection that breaks is made anew once for each call, and a transfer goes on from
    where it stood. Paths that lead out of the root, by ``..`` or by links, are refused.
    """

    def __init__(self, target: Target, root: str, *, seconds: float = 20.0) -> None:
        self.target = target
        self.root = root.rstrip("/") or "/"
        self.url = f"sftp://{target}{'' if self.root.startswith('/') else '/~/'}{self.root}"
        self.seconds = seconds
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._roots: WeakKeyDictionary[Channel, Future[Reply]] = WeakKeyDictionary()
        self._pid = 0

    @classmethod
    def of_url(cls, url: str) -> SftpStore:
        """``sftp://[user@]host[:port]/path``; ``/~/path`` is under the user's home. Raises SettingsError."""
        match = _URL.match(url)
        if match is None:
            raise SettingsError(f"{url}: expected sftp://[user@]host[:port]/path")
        if ":" in (match[1] or ""):
            raise SettingsError("a password does not belong into a URL; use a key")
        root = match[4] or "."
        root = root[3:] or "." if root.startswith("/~/") else root
        return cls(Target(match[2].strip("[]"), match[1] or "", int(match[3] or 0), os.environ.get("VPS_PEM_KEY", "")), root)

    # -- Store -----------------------------------------------------------------------------------------------------------

    def stat(self, path: str) -> Entry:
        """See Store."""
        path = inside(path)

        return self._call(lambda channel: self._stated(channel, path)())

    def stats(self, paths: Sequence[str]) -> builtins.list[Entry | None]:
        """See Store. One round trip."""
        wanted = [inside(path) for path in paths]

        def ask(channel: Channel) -> builtins.list[Entry | None]:
            asked = [self._stated(channel, path) for path in wanted]
            return [there(lambda _, one=one: one(), "") for one in asked]  # type: ignore[misc]

        return self._call(ask)

    def _stated(self, channel: Channel, path: str) -> Callable[[], Entry]:
        """Ask; the answer is there when the returned call is made."""
        real, got = channel.send(ssh.REALPATH, self._at(path)), channel.send(ssh.STAT, self._at(path))

        def answer() -> Entry:
            found = ssh.attributes(self._wait(channel, got), self._name(path))
            self._kept(channel, real, path)
            return _entry(path, found)

        return answer

    def list(self, folder: str = "") -> list[Entry]:
        """See Store."""
        folder = inside(folder)
        return sorted(self._call(lambda channel: self._list(channel, folder)), key=lambda entry: entry.path)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        return b"".join(self._again(path, offset, None if length is None else offset + length, None))

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """See Store."""
        return self._again(path, offset, None, size)

    def put(self, path: str, source: BinaryIO) -> Entry:
        """See Store."""
        path = inside(path)
        start = source.tell()

        def write(channel: Channel) -> Entry:
            source.seek(start)
            return self._put(channel, path, source)

        return self._call(write)

    def delete(self, path: str) -> None:
        """See Store."""
        path = inside(path)

        def remove(channel: Channel) -> None:
            with contextlib.suppress(NotFound):
                self._kept(channel, channel.send(ssh.REALPATH, self._at(path.rpartition("/")[0])), path)
                ssh.done(self._wait(channel, channel.send(ssh.REMOVE, self._at(path))), self._name(path))

        self._call(remove)

    def close(self) -> None:
        """See Store."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None and self._pid == os.getpid():
            channel.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    # -- the connection --------------------------------------------------------------------------------------------------

    def _connected(self) -> Channel:
        with self._lock:
            if self._channel is not None and self._channel.alive and self._pid == os.getpid():
                return self._channel
            if self._channel is not None and self._pid == os.getpid():
                self._channel.close()
            channel = Channel(self.target.command(), str(self.target), self.target.words)
            self._channel, self._pid = channel, os.getpid()
            # Nothing is awaited before asking: that saves two round trips.
            self._roots[channel] = channel.send(ssh.REALPATH, ssh.text(self.root.encode()))
            return channel

    def _call(self, ask: Callable[[Channel], T]) -> T:
        """Ask; once more on a new connection when the old one is found broken."""
        channel = self._connected()
        try:
            return ask(channel)
        except StoreUnavailable:
            if not self._broke(channel):
                raise
        return ask(self._connected())

    def _broke(self, channel: Channel) -> bool:
        """Whether a connection that once worked is broken. One that never did is given up."""
        if not channel.greeted:
            with self._lock:
                self._channel = None if self._channel is channel else self._channel
            channel.close()
            return False
        return not channel.alive

    def _wait(self, channel: Channel, future: Future[Reply]) -> Reply:
        # Connecting has a time of its own.
        channel.ready(self.seconds)
        return wait(future, self.seconds, str(self.target))

    # -- paths -----------------------------------------------------------------------------------------------------------

    def _name(self, path: str) -> str:
        return f"{self.url}/{path}" if path else self.url

    def _at(self, path: str) -> bytes:
        whole = f"{self.root.rstrip('/')}/{path}" if path else self.root
        return ssh.text(whole.encode("utf-8", "surrogateescape"))

    def _kept(self, channel: Channel, real: Future[Reply], path: str) -> None:
        """Refuse what a link leads out of the root."""
        found, roots = (
            ssh.names(self._wait(channel, real), self._name(path)),
            ssh.names(self._wait(channel, self._roots[channel]), self.url),
        )
        root = roots[0][0] if roots else self.root
        if not found or (found[0][0] != root and not found[0][0].startswith(root.rstrip("/") + "/")):
            raise StoreDenied(f"{self._name(path)} leads out of {self.root}; it is refused")

    # -- reading ---------------------------------------------------------------------------------------------------------

    def _again(self, path: str, at: int, end: int | None, size: int | None) -> Iterator[bytes]:
        """The file from ``at``; where the connection breaks it goes on from there, as long as something comes."""
        path = inside(path)
        again = True
        while True:
            channel = self._connected()
            try:
                for chunk in self._chunks(channel, path, at, end, size):
                    at += len(chunk)
                    again = True
                    yield chunk
                return
            except StoreUnavailable:
                if not self._broke(channel) or not again:
                    raise
                again = False

    def _chunks(self, channel: Channel, path: str, at: int, end: int | None, size: int | None) -> Iterator[bytes]:
        name = self._name(path)
        real, opened = (
            channel.send(ssh.REALPATH, self._at(path)),
            channel.send(ssh.OPEN, self._at(path) + struct.pack(">II", ssh.FOR_READING, 0)),
        )
        handle = ssh.handle(self._wait(channel, opened), name)
        try:
            self._kept(channel, real, path)
            if size is None:
                size = ssh.attributes(self._wait(channel, channel.send(ssh.FSTAT, handle)), name).bytes
            # One block past the end: whether the file has grown is told by what comes, not by what was said of it.
            last = size + 1 if end is None else end
            flight: deque[tuple[int, int, Future[Reply]]] = deque()
            asked = at
            block = self._block(channel)
            while True:
                while asked < last and len(flight) < _FLIGHT:
                    count = min(block, last - asked)
                    flight.append((asked, count, channel.send(ssh.READ, handle + struct.pack(">QI", asked, count))))
                    asked += count
                if not flight:
                    return
                offset, count, future = flight.popleft()
                got = ssh.data(self._wait(channel, future), name)
                if got is None:
                    return
                yield got
                if len(got) < count:
                    if offset + len(got) >= size and end is None:
                        return
                    # A short read in the middle: ask for the rest before all else.
                    rest = offset + len(got), count - len(got)
                    flight.appendleft((*rest, channel.send(ssh.READ, handle + struct.pack(">QI", *rest))))
                elif asked >= last and end is None and not flight:
                    last, size = last + block, last + block
        finally:
            with contextlib.suppress(StoreUnavailable, StoreDenied):
                channel.send(ssh.CLOSE, handle)

    @staticmethod
    def _block(channel: Channel) -> int:
        return _BLOCK if "limits@openssh.com" not in channel.limits else 8 * _BLOCK - 1024

    def _list(self, channel: Channel, folder: str) -> Sequence[Entry]:
        name = self._name(folder)
        real, opened = channel.send(ssh.REALPATH, self._at(folder)), channel.send(ssh.OPENDIR, self._at(folder))
        handle = ssh.handle(self._wait(channel, opened), name)
        found = []
        try:
            self._kept(channel, real, folder)
            flight = deque(channel.send(ssh.READDIR, handle) for _ in range(_LISTS))
            while flight:
                some = ssh.names(self._wait(channel, flight.popleft()), name)
                if some is None:
                    break
                flight.append(channel.send(ssh.READDIR, handle))
                found += [_entry(f"{folder}/{one}" if folder else one, what) for one, what in some if _shown(one, what)]
        finally:
            with contextlib.suppress(StoreUnavailable, StoreDenied):
                channel.send(ssh.CLOSE, handle)
        return found

    # -- writing ---------------------------------------------------------------------------------------------------------

    def _put(self, channel: Channel, path: str, source: BinaryIO) -> Entry:
        folder, _, last = path.rpartition("/")
        self._make(channel, folder)
        self._kept(channel, channel.send(ssh.REALPATH, self._at(folder)), folder)
        part = f"{folder}/.{last}.{os.urandom(6).hex()}.tmp".lstrip("/")
        flags = ssh.FOR_WRITING | ssh.CREATE | ssh.TRUNCATE
        handle = ssh.handle(self._wait(channel, channel.send(ssh.OPEN, self._at(part) + struct.pack(">II", flags, 0))), self._name(part))
        try:
            try:
                self._write(channel, handle, source, path)
                if "fsync@openssh.com" in channel.limits:
                    ssh.done(self._wait(channel, channel.send(ssh.EXTENDED, ssh.text(b"fsync@openssh.com") + handle)), self._name(path))
            finally:
                closed = channel.send(ssh.CLOSE, handle)
            ssh.done(self._wait(channel, closed), self._name(path))
            rename = ssh.text(b"posix-rename@openssh.com") + self._at(part) + self._at(path)
            ssh.done(self._wait(channel, channel.send(ssh.EXTENDED, rename)), self._name(path))
        except BaseException:
            with contextlib.suppress(StoreUnavailable, StoreDenied):
                channel.send(ssh.REMOVE, self._at(part))
            raise
        return _entry(path, ssh.attributes(self._wait(channel, channel.send(ssh.STAT, self._at(path))), self._name(path)))

    def _write(self, channel: Channel, handle: bytes, source: BinaryIO, path: str) -> None:
        flight: deque[Future[Reply]] = deque()
        at = 0
        while chunk := source.read(_BLOCK):
            flight.append(channel.send(ssh.WRITE, handle + struct.pack(">Q", at) + ssh.text(chunk)))
            at += len(chunk)
            if len(flight) >= _FLIGHT // 2:
                ssh.done(self._wait(channel, flight.popleft()), self._name(path))
        for future in flight:
            ssh.done(self._wait(channel, future), self._name(path))

    def _make(self, channel: Channel, folder: str) -> None:
        """The folder and its parents; those that are there answer with a failure that says nothing."""
        elements = folder.split("/") if folder else []
        made = [channel.send(ssh.MKDIR, self._at("/".join(elements[: n + 1])) + struct.pack(">I", 0)) for n in range(len(elements))]
        for future in made:
            self._wait(channel, future)


def _entry(path: str, found: Attributes) -> Entry:
    return Entry(path, found.bytes, found.mtime * 1_000_000_000, modes.S_ISDIR(found.mode))


def _shown(name: str, found: Attributes) -> bool:
    return name not in (".", "..") and "/" not in name and not hidden(name) and not modes.S_ISLNK(found.mode)
