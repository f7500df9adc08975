"""``DataAccessor``: what a strategy asks, answered from the files of a root."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from tape_access.cache import MEGABYTE, Cache, Homeless
from tape_access.files import Files
from tape_access.mounted import MountStore, mount_of
from tape_access.places import Places, Window, reachable
from tape_access.remote import Remote
from tape_access.sources import cache_folder, remote_store, temporary
from tape_archive.format.errors import Busy, NotFound, SettingsError
from tape_archive.stores import Store
from tape_archive.stores.fallback import Fallback

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tape_access.coverage import Coverage
    from tape_access.window import WindowData
    from tape_collectors.venues.polymarket.symbols import Window as Named

log = logging.getLogger(__name__)
Moment = int | float | str | datetime
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
__all__ = ["DataAccessor", "Window"]


class DataAccessor:
    """Recorded windows and series under ``root`` (default: ``TAPE_ROOT``, else the current folder), and of a ``remote`` machine.

    ``remote``: ``sftp://[user@]host[:port]/path``, ``s3://bucket/prefix``, another folder, or a Store; default: ``TAPE_REMOTE``, else
    ``VPS_HOST`` with ``VPS_USER`` and ``VPS_PATH``. It is the --root of the recorders there. A window is looked for among the hot files
    here (or in a mount), then in the cache, then in the archive, here and there. ``hot_dir``, ``vps_user``, ``vps_host``,
    ``vps_archive_path`` name the same things as older scripts do.

    ``cache_dir`` (default: ``TAPE_CACHE``, else ``~/.cache/tapeline``) holds at most ``cache_max_size_mb`` of what was fetched, least
    recently used first out; other processes may share it. ``prefetch``: how many windows are fetched ahead (0: none). A hot folder that is
    mounted (sshfs) is read with a deadline and copied into the cache: a mount that hangs never hangs who asks, the remote side is asked
    instead. Safe to use from several threads.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        vps_user: str | None = None,
        vps_host: str | None = None,
        vps_archive_path: str | None = None,
        cache_max_size_mb: float = 1024,
        *,
        hot_dir: str | os.PathLike[str] | None = None,
        remote: str | Store | None = None,
        prefetch: int = 3,
    ) -> None:
        if hot_dir is not None and root is None:
            # Not resolve(): the hot folder may be a mount that hangs.
            root = Path(os.path.abspath(Path(hot_dir).expanduser())).parent  # noqa: PTH100
        self.root = Path(root or os.environ.get("TAPE_ROOT") or ".").expanduser()
        hot = Path(hot_dir).name if hot_dir is not None else "real_hot"
        store = remote_store(remote, vps_user, vps_host, vps_archive_path)
        mounted = mount_of(self.root / hot)
        self._mount = MountStore(self.root) if mounted else None
        if self._mount is not None:
            store = Fallback(self._mount, store) if store is not None else self._mount
        elif store is None and not reachable(self.root):
            raise NotFound(f"{self.root} is no folder; give the --root of the recorders")
        self.cache = Cache(cache_folder(cache_dir, store, self.root), round(cache_max_size_mb * MEGABYTE))
        self.remote = Remote(store, self.cache, self.cache.folder / ".index", hot) if store is not None else None
        self._files = Files(None if mounted else self.root, self.remote)
        self.places = Places(None if mounted else self.root, hot, self.cache, self.remote, prefetch)

    def close(self) -> None:
        """Let go of the connection; it is made anew when it is needed."""
        if self.remote is not None:
            self.remote.store.close()

    def __enter__(self) -> DataAccessor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- windows ---------------------------------------------------------------------------------------------------------------

    def windows(self, coin: str | None = None, timeframe: str | None = None) -> list[Window]:
        """Every recorded window, by start. Files that are no windows are not listed. Raises NotFound where no window ever was recorded,
        StoreDenied and StoreUnavailable for what cannot be read: never an empty list in their place. A remote list that was seen once is
        served while the remote side is away, with a warning that says how old it is."""
        found = self.places.windows()
        if coin is None and timeframe is None:
            return list(found)
        return [one for one in found if coin in (None, one.coin) and timeframe in (None, one.timeframe)]

    def list_all_windows(self, coin: str = "btc", timeframe: str = "15m", use_cache: bool = True) -> list[int]:
        """The starts (epoch seconds) of the recorded windows of one coin and time frame, rising; empty where windows are recorded, but none
        of these. ``use_cache=False`` looks at the remote side now, even if it was looked at in the last seconds. Raises as ``windows``, and
        SettingsError for a coin or time frame that has no windows."""
        from tape_collectors.venues.polymarket.symbols import check

        check(coin, timeframe)
        if not use_cache and self.remote is not None:
            self.remote.windows(0.0)
        return list(self.places.starts((coin, timeframe)))

    def get_window_jsonl(self, start: Moment, coin: str = "btc", timeframe: str = "15m", prefetch: bool = True) -> Path:
        """The file of the window that starts at ``start`` (epoch seconds, datetime, ISO-8601, or a slug), as plain JSONL.

        A hot window may still grow. What was compressed or lies elsewhere is brought into the cache, verified; the file given last to a
        thread is not evicted until the thread asks for the next. Without room in the cache the file is a temporary one of this process.
        Raises NotFound (it is not there), StoreUnavailable (nobody can tell), StoreDenied, Corrupt.
        """
        return self._file(start, coin, timeframe, plain=True, prefetch=prefetch)

    def read_window(self, start: Moment, coin: str = "btc", timeframe: str = "15m", *, duplicates: bool = False) -> WindowData:
        """A window, decoded: see ``window.WindowData``. ``duplicates``: also the events that the venue sent again. Raises as
        ``get_window_jsonl``."""
        from tape_access.window import WindowData

        return WindowData(self._file(start, coin, timeframe, plain=False, prefetch=True), duplicates=duplicates)

    def get_cache_stats(self) -> dict[str, object]:
        """cache_dir, file_count, total_size_mb, max_size_mb, usage_percent; hits and misses of this object."""
        return self.cache.stats()

    def prefetch(self, starts: Iterable[Moment], coin: str = "btc", timeframe: str = "15m") -> None:
        """Bring these windows into the cache, in the background. Raises as ``get_window_jsonl`` for a start that is none."""
        for start in starts:
            window = self._named(start, coin, timeframe)
            self.places.soon((window.coin, window.timeframe), window.start)

    def _named(self, start: Moment, coin: str, timeframe: str) -> Named:
        from tape_collectors.venues.polymarket.symbols import at, check, parse

        if isinstance(start, str) and "up" in start:
            return parse(start)
        check(coin, timeframe)
        second = start if isinstance(start, int) and 0 < start < 100_000_000_000 else _ns(start) // SECOND
        window = at(coin, timeframe, second)
        if window.start != second:
            raise self._nearest(window.coin, window.timeframe, second)
        return window

    def _file(self, start: Moment, coin: str, timeframe: str, *, plain: bool, prefetch: bool) -> Path:
        window = self._named(start, coin, timeframe)
        kind = window.coin, window.timeframe
        if prefetch:
            self.places.walked(kind, window.start)
        for _ in range(3):
            try:
                path = self.places.file(window.slug, window.start, plain=plain)
            except NotFound:
                raise self._nearest(*kind, window.start) from None
            except Homeless as error:
                return temporary(window.slug, error)
            # Evicted by another process before it could be held: once more.
            if not self.cache.holds(path) or self.cache.keep(path):
                return path
        raise Busy(f"the cache {self.cache.folder} is too small for the processes that share it; give it more (cache_max_size_mb)")

    def _nearest(self, coin: str, timeframe: str, second: int) -> NotFound:
        near = self.places.near((coin, timeframe), second)
        if near is None:
            return NotFound(f"no {coin} {timeframe} window is recorded under {self.places.names}")
        from tape_collectors.venues.polymarket.symbols import at

        slug = at(coin, timeframe, near).slug
        return NotFound(f"no {coin} {timeframe} window starts at {second}; the nearest recorded one starts at {near} ({slug})")

    # -- series ----------------------------------------------------------------------------------------------------------------

    def cex(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        venue: str | None = None,
        symbol: str | None = None,
        columns: list[str] | None = None,
        out: str = "logs/cex.csv",
    ) -> pd.DataFrame:
        """The CEX time series between two times (both inclusive): a DataFrame, one row a market and tick, in file order.

        Columns as in the file's header. Numbers are float64; ``sample_id``, ``ts_venue_ns`` and ``sequence`` Int64 (exact); empty cells
        are NaN or NA and ``err`` says why. Columns that an older file lacks are empty. Raises NotFound where no row is, Corrupt,
        SettingsError for a column that no file has.
        """
        from tape_access.series import read

        bounds = [None if moment is None else _ns(moment) for moment in (start, end)]
        with self._files.series(out, bounds[0], bounds[1]) as base:
            return read(base, bounds[0], bounds[1], venue=venue, symbol=symbol, columns=columns)

    @overload
    def ticks(
        self,
        exchange: str,
        symbol: str,
        start: Moment | None = None,
        end: Moment | None = None,
        columns: Sequence[str] | None = None,
        *,
        arrow: Literal[False] = False,
    ) -> pd.DataFrame: ...

    @overload
    def ticks(
        self,
        exchange: str,
        symbol: str,
        start: Moment | None = None,
        end: Moment | None = None,
        columns: Sequence[str] | None = None,
        *,
        arrow: Literal[True],
    ) -> pa.Table: ...

    def ticks(
        self,
        exchange: str,
        symbol: str,
        start: Moment | None = None,
        end: Moment | None = None,
        columns: Sequence[str] | None = None,
        *,
        arrow: bool = False,
    ) -> pd.DataFrame | pa.Table:
        """Order book ticks of one market between two receive times (both inclusive): one row a changed level, in the order of the tape.

        ``ts_event`` (venue) and ``ts_recv`` (ours) datetime64[ns, UTC]; ``U`` and ``u`` first and last update id; ``snapshot``: the row is
        part of a whole book, which replaces what was known; ``side`` bid or ask; ``price`` and ``amount`` float64, amount 0 removes the
        level. The hour that is being recorded is not there yet. A DataFrame, or (``arrow``) a pyarrow Table. Names of earlier tools
        (``gate_io``, ``VIRTUAL-USDT``) are understood. Raises NotFound where no row is, SettingsError for an unknown column, Corrupt.
        """
        from tape_access.ticks import read

        bounds = [None if moment is None else _ns(moment) for moment in (start, end)]
        table = read(lambda: self._files.ticks(exchange, symbol, *bounds), f"{exchange} {symbol}", bounds[0], bounds[1], columns)
        return table if arrow else table.to_pandas()

    @overload
    def features(
        self,
        kind: str,
        symbol: str,
        start: Moment | None = None,
        end: Moment | None = None,
        columns: Sequence[str] | None = None,
        *,
        arrow: Literal[False] = False,
    ) -> pd.DataFrame: ...

    @overload
    def features(
        self,
        kind: str,
        symbol: str,
        start: Moment | None = None,
        end: Moment | None = None,
        columns: Sequence[str] | None = None,
        *,
        arrow: Literal[True],
    ) -> pa.Table: ...

    def features(
        self,
        kind: str,
        symbol: str,
        start: Moment | None = None,
        end: Moment | None = None,
        columns: Sequence[str] | None = None,
        *,
        arrow: bool = False,
    ) -> pd.DataFrame | pa.Table:
        """What ``ofi-record`` made of one symbol between two receive times (both inclusive), in the order of the tape.

        ``kind``: prices, ofi, cvd, fusion, events or book; columns: docs/reference/ofi-cvd.md. ``ts_ms`` and ``recv_ns`` are ours,
        ``event_ts_ms`` is the venue's; integers that may be missing are Int64. The minute that is being recorded is not there yet. A
        DataFrame, or (``arrow``) a pyarrow Table. Raises NotFound where no row is, SettingsError for an unknown kind or column, Corrupt.
        """
        from tape_access.features import frame, read

        bounds = [None if moment is None else _ns(moment) for moment in (start, end)]
        with self._files.features(kind, symbol, bounds[0], bounds[1]) as root:
            table = read(root, kind, symbol, bounds[0], bounds[1], columns)
        return table if arrow else frame(table)

    def coverage(self, venue: str | None = None, start: Moment | None = None, end: Moment | None = None) -> list[Coverage]:
        """What is complete, what is missing and why: one entry a stream (see docs/reference/coverage.md). What is told is read from the
        tapes themselves: of a remote side those of the asked hours are brought into the cache, so both times are needed. Raises NotFound
        for no tape, SettingsError."""
        from tape_access.coverage import of_root
        from tape_collectors.venues import canonical

        name = canonical(venue) if venue else None
        bounds = [0 if moment is None else _ns(moment) for moment in (start, end)]
        if self._files.far and not all(bounds):
            raise SettingsError("coverage of a remote side reads its tapes: give start and end")
        with self._files.tapes(name, *bounds) as root:
            rows = of_root(root, venue=name, from_ns=bounds[0], to_ns=bounds[1])
        if self._files.far and name in (None, "polymarket"):
            rows += self._window_coverage(*bounds)
        if not rows:
            raise NotFound(
                f"no tape under {self.places.names}" + (f" of {venue}" if venue else "") + (" in that time" if any(bounds) else "")
            )
        return rows

    def _window_coverage(self, start: int, end: int) -> list[Coverage]:
        from tape_access.coverage import of_file

        # A window's file begins before the window does, and goes on until its result is there.
        some = [one for one in self.windows() if one.start * SECOND - HOUR <= end and one.end * SECOND + HOUR >= start]
        files = (self._file(one.slug, one.coin, one.timeframe, plain=False, prefetch=False) for one in some)
        return [row for file in files for row in of_file(file, "polymarket", from_ns=start, to_ns=end)]


def _ns(at: Moment) -> int:
    """A time in unix ns: epoch seconds, milliseconds or nanoseconds, ISO-8601, or a datetime (UTC if it names no zone)."""
    from tape_archive.human import parse_time

    if isinstance(at, datetime):
        whole = at if at.tzinfo else at.replace(tzinfo=UTC)
        return round(whole.timestamp() * 1_000_000) * 1000
    return parse_time(str(at))
