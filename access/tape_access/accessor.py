"""``DataAccessor``: what a strategy asks, answered from the files of a root."""

from __future__ import annotations

import bisect
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import msgspec

from tape_archive.format.errors import NotFound, SettingsError, StoreDenied, StoreUnavailable
from tape_archive.format.layout import name_of
from tape_archive.format.layout import windows as window_files

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tape_access.coverage import Coverage
    from tape_access.window import WindowData

Moment = int | float | str | datetime
SECOND = 1_000_000_000


class Window(msgspec.Struct, frozen=True, order=True):
    """One recorded window. ``start`` and ``end`` in epoch seconds."""

    start: int
    end: int
    coin: str
    timeframe: str
    slug: str
    path: str


class DataAccessor:
    """Recorded windows and series under ``root`` (default: ``TAPE_ROOT``, else the current folder).

    ``hot_dir`` names the folder of hot windows, as older scripts do; its parent is then the root. Safe to use from several threads.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, *, hot_dir: str | os.PathLike[str] | None = None) -> None:
        if hot_dir is not None and root is None:
            root = Path(hot_dir).expanduser().resolve().parent
        self.root = Path(root or os.environ.get("TAPE_ROOT") or ".").expanduser()
        self._hot = Path(hot_dir).name if hot_dir is not None else "real_hot"
        if not _reachable(self.root):
            raise NotFound(f"{self.root} is no folder; give the --root of the recorders")

    # -- windows ---------------------------------------------------------------------------------------------------------------

    def windows(self, coin: str | None = None, timeframe: str | None = None) -> list[Window]:
        """Every recorded window, by start. Files that are no windows are not listed. Raises NotFound where no window ever was recorded,
        StoreDenied and StoreUnavailable for a folder that cannot be read: never an empty list in their place."""
        from tape_collectors.venues.polymarket.symbols import parse

        there = [_reachable(self.root / name) for name in (self._hot, "real_archive")]
        if not any(there):
            asked = " ".join(word for word in ("no", coin, timeframe, "window") if word)
            raise NotFound(f"{asked} is recorded: {self.root} has neither {self._hot} nor real_archive; is it the --root of poly-record?")
        found = []
        for path in window_files(self.root, self._hot):
            try:
                one = parse(name_of(path.name.partition(".jsonl")[0]))
            except SettingsError:
                continue
            if coin in (None, one.coin) and timeframe in (None, one.timeframe):
                found.append(Window(one.start, one.end, one.coin, one.timeframe, one.slug, str(path)))
        return sorted(found)

    def list_all_windows(self, coin: str = "btc", timeframe: str = "15m", use_cache: bool = True) -> list[int]:
        """The starts (epoch seconds) of the recorded windows of one coin and time frame, rising. ``use_cache`` is accepted for older
        scripts."""
        return [window.start for window in self.windows(coin, timeframe)]

    def get_window_jsonl(self, start: Moment, coin: str = "btc", timeframe: str = "15m", prefetch: bool = True) -> Path:
        """The file of the window that starts at ``start`` (epoch seconds, datetime, ISO-8601, or a slug). Raises NotFound.

        A hot window is plain JSONL and may still grow; a cold one ends in ``.zst`` or ``.gz``.
        """
        return Path(self._window(start, coin, timeframe).path)

    def read_window(self, start: Moment, coin: str = "btc", timeframe: str = "15m", *, duplicates: bool = False) -> WindowData:
        """A window, decoded: see ``window.WindowData``. ``duplicates``: also the events that the venue sent again. Raises NotFound."""
        from tape_access.window import WindowData

        return WindowData(Path(self._window(start, coin, timeframe).path), duplicates=duplicates)

    def _window(self, start: Moment, coin: str, timeframe: str) -> Window:
        from tape_collectors.venues.polymarket.symbols import check, parse

        if isinstance(start, str) and "up" in start:
            named = parse(start)
            start, coin, timeframe = named.start, named.coin, named.timeframe
        check(coin, timeframe)
        second = _ns(start) // SECOND
        known = self.windows(coin, timeframe)
        at = bisect.bisect_left(known, second, key=lambda window: window.start)
        if at < len(known) and known[at].start == second:
            return known[at]
        if not known:
            raise NotFound(f"no {coin} {timeframe} window is recorded under {self.root / self._hot}")
        near = min(known[max(0, at - 1) : at + 1], key=lambda window: abs(window.start - second))
        raise NotFound(f"no {coin} {timeframe} window starts at {second}; the nearest recorded one starts at {near.start} ({near.slug})")

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

        _reachable((self.root / out).parent)
        bounds = [None if moment is None else _ns(moment) for moment in (start, end)]
        return read(self.root / out, bounds[0], bounds[1], venue=venue, symbol=symbol, columns=columns)

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

        _reachable(self.root / "orderbook_ticks")
        bounds = [None if moment is None else _ns(moment) for moment in (start, end)]
        table = read(self.root, exchange, symbol, bounds[0], bounds[1], columns)
        return table if arrow else table.to_pandas()

    def coverage(self, venue: str | None = None, start: Moment | None = None, end: Moment | None = None) -> list[Coverage]:
        """What is complete, what is missing and why: one entry a stream (see docs/reference/coverage.md). Raises NotFound for no tape."""
        from tape_access.coverage import of_root
        from tape_collectors.venues import canonical

        bounds = [0 if moment is None else _ns(moment) for moment in (start, end)]
        rows = of_root(self.root, venue=canonical(venue) if venue else None, from_ns=bounds[0], to_ns=bounds[1])
        if not rows:
            raise NotFound(f"no tape under {self.root}" + (f" of {venue}" if venue else "") + (" in that time" if any(bounds) else ""))
        return rows


def _ns(at: Moment) -> int:
    """A time in unix ns: epoch seconds, milliseconds or nanoseconds, ISO-8601, or a datetime (UTC if it names no zone)."""
    from tape_archive.human import parse_time

    if isinstance(at, datetime):
        whole = at if at.tzinfo else at.replace(tzinfo=UTC)
        return round(whole.timestamp() * 1_000_000) * 1000
    return parse_time(str(at))


def _reachable(folder: Path) -> bool:
    """Whether a folder is there. Raises StoreDenied or StoreUnavailable where nobody can tell: a mount that is gone is no empty folder."""
    try:
        with os.scandir(folder):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise StoreDenied(f"cannot read {folder}: {error.strerror}; ask its owner for the right to read it") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot reach {folder}: {error.strerror}; is it mounted?") from None
