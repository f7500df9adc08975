"""The interface of stores.

Paths are relative to the store's root, ``/`` between elements. A path that would leave the root (absolute, ``..``, a link that leads out)
is refused with ``StoreDenied``, wherever it came from. "Not there" (``NotFound``) and "cannot tell" (``StoreUnavailable``) are two things.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from tape_archive.format.errors import NotFound, SettingsError, StoreDenied

CHUNK = 1 << 20


class Entry(msgspec.Struct, frozen=True):
    """A file or folder. ``path`` from the store's root; ``mtime_ns`` unix ns, as exact as the store keeps it."""

    path: str
    bytes: int
    mtime_ns: int
    folder: bool = False

    @property
    def name(self) -> str:
        """The last element."""
        return self.path.rpartition("/")[2]


class Store(Protocol):
    """What every store does. All calls may raise StoreUnavailable (worth a retry) and StoreDenied; safe to use from several threads."""

    #: for people: says where, holds no secret
    url: str

    def stat(self, path: str) -> Entry:
        """One file or folder. Raises NotFound."""

    def stats(self, paths: Sequence[str]) -> builtins.list[Entry | None]:
        """Several at once, for the price of one where the store can; None for what is not there."""

    def list(self, folder: str = "") -> list[Entry]:
        """What is directly in a folder, by name; temporary files (``.*.tmp``) are not shown. Raises NotFound."""

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file, from ``offset``, at most ``length`` (None: to its end). Raises NotFound."""

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The file from ``offset`` to its end, in pieces. ``size``: how large the file is, where that is known; it saves asking. Raises
        NotFound."""

    def put(self, path: str, source: BinaryIO) -> Entry:
        """Write a file whole or not at all, lasting when this returns; replaces what was there. Raises DiskFull."""

    def delete(self, path: str) -> None:
        """Remove a file. One that is not there is no error."""

    def close(self) -> None:
        """Let go of connections; the store may be used again."""


def inside(path: str) -> str:
    """A path that stays inside the root, in its plain form. Raises StoreDenied."""
    elements = [one for one in path.split("/") if one not in ("", ".")]
    if path.startswith("/") or ".." in elements or "\0" in path or "\\" in path:
        raise StoreDenied(f"{path!r} leads out of the store; it is refused")
    return "/".join(elements)


def there(stat: Callable[[str], Entry], path: str) -> Entry | None:
    """A stat that says None for what is not there."""
    try:
        return stat(path)
    except NotFound:
        return None


def hidden(name: str) -> bool:
    """Whether a name is that of a file in the making."""
    return name.startswith(".") and name.endswith(".tmp")


_SCHEME = re.compile(r"^([a-z][a-z0-9+]+)://")


def open_store(url: str) -> Store:
    """The store that a URL names: a folder (or ``file://``), ``sftp://[user@]host[:port]/path``, ``s3://bucket/prefix``.

    Raises SettingsError for a URL that no store understands. Nothing is connected before the first use.
    """
    from tape_archive.stores.local import LocalStore

    match = _SCHEME.match(url)
    scheme = match[1] if match else "file"
    if match is None and (scp := re.match(r"^([^/:]+):(?!/)(.*)$", url)) and not Path(url).exists():
        raise SettingsError(f"{url}: expected sftp://[user@]host[:port]/path; do you mean sftp://{scp[1]}/~/{scp[2].removeprefix('~/')}?")
    if scheme == "file":
        return LocalStore(Path(url.removeprefix("file://")).expanduser())
    if scheme == "sftp":
        from tape_archive.stores.sftp import SftpStore

        return SftpStore.of_url(url)
    if scheme == "s3":
        from tape_archive.stores.s3 import S3Store

        return S3Store.of_url(url)
    raise SettingsError(f"{url}: no store of kind {scheme!r}; use a folder, sftp://[user@]host[:port]/path or s3://bucket/prefix")
