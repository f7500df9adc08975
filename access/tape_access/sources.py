"""What a reader reads: the remote side that was named, and where what it gives is kept."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import tempfile
from pathlib import Path

from tape_access.cache import Homeless
from tape_archive.format.errors import DiskFull, SettingsError
from tape_archive.format.layout import element
from tape_archive.stores import Store, open_store

log = logging.getLogger(__name__)


def remote_store(remote: str | Store | None, user: str | None = None, host: str | None = None, archive: str | None = None) -> Store | None:
    """The remote side that the caller or the environment names."""
    if remote is not None and not isinstance(remote, str):
        return remote
    given = remote or (None if host else os.environ.get("TAPE_REMOTE"))
    if given:
        return open_store(given)
    host = host or os.environ.get("VPS_HOST")
    if not host:
        return None
    from tape_archive.stores.sftp import SftpStore, Target

    path = (archive or os.environ.get("VPS_PATH") or "polymarket").rstrip("/").removesuffix("/real_archive")
    port = os.environ.get("VPS_PORT", "0")
    if not port.isdecimal():
        raise SettingsError(f"VPS_PORT={port}: expected a number")
    target = Target(host, user or os.environ.get("VPS_USER", ""), int(port), os.environ.get("VPS_PEM_KEY", ""))
    return SftpStore(target, path.removeprefix("~/") if path != "~" else ".")


def cache_folder(given: str | os.PathLike[str] | None, store: Store | None, root: Path) -> Path:
    """One folder for each place that is read: the same window of two machines are two files."""
    if given is not None:
        return Path(given).expanduser()
    base = os.environ.get("TAPE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tapeline"
    name = store.url if store is not None else os.path.abspath(root)  # noqa: PTH100
    last = element(name.rstrip("/").rpartition("/")[2] or "root")[:40]
    return Path(base).expanduser() / f"{last}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def temporary(slug: str, error: Homeless) -> Path:
    """What found no room in the cache, as a file of this process."""
    log.warning("%s: %s is kept for this process only", error, slug)
    try:
        path = scratch() / f"{element(slug)}.jsonl"
        path.write_bytes(error.content)
    except OSError as full:
        raise DiskFull(f"{error}; and nowhere else is room for {slug}: {full.strerror}") from None
    return path


def scratch() -> Path:
    """A folder of this process, which goes with it."""
    return Path(_scratch(os.getpid()).name)


@functools.cache
def _scratch(pid: int) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tape-")
