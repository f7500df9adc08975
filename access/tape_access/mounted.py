"""Files of a mount, read with a deadline.

A call on a dead FUSE mount cannot be interrupted: the process that makes it waits for ever. So a child process makes every call, and is
killed when it does not answer in time; whoever asked gets ``StoreUnavailable``.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tape_access.mount_table import mount_of
from tape_archive.format import errors
from tape_archive.format.errors import LocalError, NotFound, StoreDenied, StoreError, StoreUnavailable
from tape_archive.stores.local import LocalStore
from tape_archive.stores.store import Entry, there

__all__ = ["MountStore", "mount_of"]
#: one answer; a file is asked for in pieces, each of which has the whole deadline: a slow line is no hung one
_PIECE = 1 << 20
#: killed, and not gone yet
_DYING: list[subprocess.Popen[bytes]] = []
_CHILD = "import sys; from tape_access.mounted import _serve; _serve(sys.argv[1])"
_HEAD = struct.Struct(">BQ")
_ERRORS = {kind.__name__: kind for kind in (NotFound, StoreDenied, StoreError, StoreUnavailable)}


class _Ask(msgspec.Struct, array_like=True):
    call: str
    path: str
    offset: int = 0
    length: int = 0


class MountStore:
    """A folder of a mount, as a Store that never waits longer than ``seconds`` for an answer. It is only read."""

    def __init__(self, root: Path, seconds: float = 2.0) -> None:
        self.root = root
        self.url = str(root)
        self.seconds = seconds
        #: how long the last ``alive`` took
        self.answered_s = 0.0
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def stat(self, path: str) -> Entry:
        """See Store."""
        return msgspec.convert(msgspec.json.decode(self._ask("stat", path)), Entry)

    def stats(self, paths: Sequence[str]) -> builtins.list[Entry | None]:
        """See Store."""
        return [there(self.stat, path) for path in paths]

    def list(self, folder: str = "") -> builtins.list[Entry]:
        """See Store."""
        return msgspec.json.decode(self._ask("list", folder), type=list[Entry])

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        parts = []
        while length is None or length > 0:
            piece = self._ask("read", path, offset, _PIECE if length is None else min(length, _PIECE))
            if not piece:
                break
            parts.append(piece)
            offset += len(piece)
            length = None if length is None else length - len(piece)
        return b"".join(parts)

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """See Store."""
        while piece := self._ask("read", path, offset, _PIECE):
            yield piece
            offset += len(piece)

    def put(self, path: str, source: BinaryIO) -> Entry:
        """Never."""
        raise StoreDenied(f"{self.url} is only read")

    def delete(self, path: str) -> None:
        """Never."""
        raise StoreDenied(f"{self.url} is only read")

    def close(self) -> None:
        """See Store."""
        with self._lock:
            self._end()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._end()

    def alive(self) -> bool:
        """Whether the mount answers in time."""
        with self._lock:
            self._started()
        begun = time.monotonic()
        try:
            # A stat may be answered by the kernel alone.
            self._ask("free", "")
        except (StoreUnavailable, NotFound):
            return False
        finally:
            self.answered_s = time.monotonic() - begun
        return True

    # -- the child -------------------------------------------------------------------------------------------------------

    def _ask(self, call: str, path: str, offset: int = 0, length: int = 0) -> bytes:
        with self._lock:
            child = self._started()
            assert child.stdin is not None and child.stdout is not None
            request = msgspec.json.encode(_Ask(call, path, offset, length))
            try:
                child.stdin.write(struct.pack(">I", len(request)) + request)
                child.stdin.flush()
                ok, size = _HEAD.unpack(self._answer(child.stdout, _HEAD.size))
                answer = self._answer(child.stdout, size)
            except (OSError, struct.error, TimeoutError):
                self._end()
                raise StoreUnavailable(f"{self.url} did not answer within {self.seconds:g} s; the mount hangs") from None
        if ok:
            return answer
        name, message = msgspec.json.decode(answer, type=tuple[str, str])
        raise _ERRORS.get(name, StoreError)(message)

    def _answer(self, stream: Any, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            # Not select(): it knows no descriptor above 1,023, and a strategy may have more files open.
            waiting = select.poll()
            waiting.register(stream, select.POLLIN)
            if not waiting.poll(self.seconds * 1000):
                raise TimeoutError
            part = os.read(stream.fileno(), min(size, 1 << 20))
            if not part:
                raise TimeoutError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._pid != os.getpid() or self._child.poll() is not None:
            self._end()
            command = [sys.executable, "-c", _CHILD, os.path.abspath(self.root)]  # noqa: PTH100
            # It finds what this process finds, however that was put on the path; but looks for nothing on the mount.
            mount = mount_of(self.root)
            path = os.pathsep.join(at for at in map(os.path.abspath, sys.path) if not mount or not f"{at}/".startswith(f"{mount}/"))
            environment = {**os.environ, "PYTHONPATH": path}
            pipe = subprocess.PIPE
            # Not in this folder, which may lie on the mount; and without our stderr: a child that cannot die would keep it open, and with
            # it whoever reads what we say.
            self._child = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, cwd="/", start_new_session=True
            )
            self._pid = os.getpid()
            # Its start is not the mount's time.
            assert self._child.stdout is not None
            if not os.read(self._child.stdout.fileno(), 1):
                self._end()
                raise LocalError(f"the process that reads {self.url} did not start")
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None or self._pid != os.getpid():
            return
        child.kill()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        # A process that waits for a dead mount may take its time to die; whoever asked does not wait for it.
        _DYING[:] = [one for one in [*_DYING, child] if one.poll() is None]


def _serve(root: str) -> None:
    """What the child does."""
    store = LocalStore(Path(root))
    inp, out = sys.stdin.buffer, sys.stdout.buffer
    out.write(b"\n")
    out.flush()
    while len(head := inp.read(4)) == 4:
        ask = msgspec.json.decode(inp.read(struct.unpack(">I", head)[0]), type=_Ask)
        try:
            if ask.call == "stat":
                answer = msgspec.json.encode(store.stat(ask.path))
            elif ask.call == "free":
                os.statvfs(root)
                answer = b""
            elif ask.call == "list":
                answer = msgspec.json.encode(store.list(ask.path))
            else:
                answer = store.read(ask.path, ask.offset, ask.length)
            ok = 1
        except (errors.TapeError, OSError) as error:
            kind = type(error).__name__ if isinstance(error, errors.TapeError) else "StoreUnavailable"
            ok, answer = 0, msgspec.json.encode((kind, str(error)))
        out.write(_HEAD.pack(ok, len(answer)) + answer)
        out.flush()
