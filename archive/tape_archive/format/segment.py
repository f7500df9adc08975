"""One file of a tape: appended, flushed, synced, sealed; its torn tail mended before the first append."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import zstandard

from tape_archive.format import zstd
from tape_archive.format.atomic import failure, make_folder, sync_folder
from tape_archive.format.errors import DiskFull, TapeError

FRAME_BYTES = 4 * 1024 * 1024
#: log2 of the bytes that zstd looks back at. Its own choice for level 1 (19) finds no more in a tape, and pushes the books that are decoded
#: next out of the processor's cache (measured: as small on real captures, 8 to 25 % less time)
_WINDOW = 17
_BLOCK = zstandard.COMPRESSOBJ_FLUSH_BLOCK
_FINISH = zstandard.COMPRESSOBJ_FLUSH_FINISH


def mend(path: Path) -> int:
    """Cut what is unfinished at the end of a tape file; gives the bytes cut. A file that is not there needs no mending."""
    if not path.exists() or path.suffix == ".gz":
        return 0
    if path.suffix == ".zst":
        return zstd.mend(path)
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep, step = size, 1 << 16
        while keep > 0:
            start = max(0, keep - step)
            file.seek(start)
            found = file.read(keep - start).rfind(b"\n")
            if found >= 0:
                keep = start + found + 1
                break
            keep = start
        if keep < size:
            os.ftruncate(file.fileno(), keep)
            os.fsync(file.fileno())
    return size - keep


def _compressor(level: int) -> zstandard.ZstdCompressor:
    parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=_WINDOW, write_checksum=True)
    return zstandard.ZstdCompressor(compression_params=parameters)


class Appender:
    """Appends whole lines to one file. The encoding follows the name: ``.jsonl`` plain, ``.jsonl.zst`` zstd.

    ``append`` has written when it returns; ``sync`` puts it on the disk and may run in another thread.
    """

    def __init__(self, path: Path, level: int = 1) -> None:
        self.path = path
        self.cut = 0
        make_folder(path.parent)
        try:
            self.cut = mend(path)
            new = not path.exists()
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            if new:
                sync_folder(path.parent)
        except OSError as error:
            raise failure(path, error) from None
        self.size = os.fstat(self._fd).st_size
        self.frame_at = self.size
        self.frame_lines = 0
        self._frame_bytes = 0
        self._closing = threading.Lock()
        self._zstd = _compressor(level) if path.suffix == ".zst" else None
        self._open: zstandard.ZstdCompressionObj | None = None
        self._unfinished = False

    def append(self, data: bytes, lines: int) -> None:
        """Whole lines, by one ``write``. Raises DiskFull; the file then ends where it ended before."""
        if self._zstd is None:
            self._write(data)
            self.frame_at, self.frame_lines = self.size, 0
            return
        if self._unfinished:
            self._mend()
        if self._open is None:
            self._open = self._zstd.compressobj()
            self.frame_at, self.frame_lines, self._frame_bytes = self.size, 0, 0
        out = self._open.compress(data)
        try:
            self._write(out + self._open.flush(_BLOCK))
        except BaseException:
            # What the compressor remembers is not in the file: this frame can only be closed as recovery does it.
            self._abandon()
            raise
        self.frame_lines += lines
        self._frame_bytes += len(data)
        if self._frame_bytes >= FRAME_BYTES:
            self.roll()

    def roll(self) -> None:
        """End the zstd frame, with its checksum: readers need not start before it, and recovery never looks further back."""
        if self._open is not None:
            end, self._open = self._open.flush(_FINISH), None
            try:
                self._write(end)
            except BaseException:
                self._abandon()
                raise
            self.frame_at, self.frame_lines = self.size, 0

    def sync(self) -> None:
        """To the disk. A file that was closed meanwhile is there already."""
        with self._closing:
            if self._fd < 0:
                return
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise failure(self.path, error) from None

    def close(self) -> None:
        """End the frame, to the disk, done. The file is let go of even where the disk is full."""
        if self._fd < 0:
            return
        try:
            if self._unfinished:
                self._mend()
            self.roll()
            self.sync()
        finally:
            with self._closing:
                os.close(self._fd)
                self._fd = -1

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                more = os.write(self._fd, data[written:])
                if more == 0:
                    raise DiskFull(f"{self.path}: the disk took only {written} of {len(data)} bytes")
                written += more
        except (OSError, DiskFull) as error:
            if written:
                os.ftruncate(self._fd, self.size)
            if isinstance(error, OSError):
                raise failure(self.path, error) from None
            raise
        self.size += len(data)

    def _abandon(self) -> None:
        self._open = None
        self._unfinished = True
        # The disk may have no room even for the end of a frame; then the next append, or the next run, sees to it first.
        with contextlib.suppress(TapeError):
            self._mend()

    def _mend(self) -> None:
        try:
            zstd.mend(self.path)
        except OSError as error:
            raise failure(self.path, error) from None
        self._unfinished = False
        self.size = os.fstat(self._fd).st_size
        self.frame_at, self.frame_lines = self.size, 0
