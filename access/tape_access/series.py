"""The CSV series as a DataFrame: only the files that can hold the asked time are opened."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from tape_archive.format.errors import Corrupt, NotFound, SettingsError, StoreDenied, StoreUnavailable

if TYPE_CHECKING:
    import pandas as pd

SECOND = 1_000_000_000
DAY = 86_400
_TEXT = ("ts_sample_utc", "venue", "top_bids_json", "top_asks_json", "err", "symbol")
#: int64 with empty cells: as float64, nanoseconds would lose their last digits
_WHOLE = ("sample_id", "ts_venue_ns", "sequence")
_SPAN = re.compile(r"_(\d{8})(?:_(\d\d))?$")


def files(base: Path, start: float | None, end: float | None) -> list[Path]:
    """The files of a series (``cex.csv``: also ``cex_20260110_12.csv``) that may hold ticks between two epoch seconds."""
    return select(base, base.parent.glob(f"{base.stem}*{base.suffix}"), start, end)


def select(base: Path, paths: Iterable[Path], start: float | None, end: float | None) -> list[Path]:
    """Those of a folder's files that belong to the series and may hold ticks between two epoch seconds. By names alone."""
    found = [path for path in paths if path.suffix == base.suffix and (path.stem == base.stem or _dated(base, path))]
    begins = sorted((_start(path), path) for path in found)
    chosen = []
    for at, (begin, path) in enumerate(begins):
        # A file ends where the next one begins, at most a day later. One without a date may hold any time.
        following = next((other for other, _ in begins[at + 1 :] if other > begin), begin + DAY)
        whole = path.stem == base.stem
        if whole or ((end is None or begin <= end) and (start is None or min(following, begin + DAY) > start)):
            chosen.append(path)
    return chosen


def _dated(base: Path, path: Path) -> bool:
    match = _SPAN.search(path.stem)
    return match is not None and path.stem[: match.start()] == base.stem


def _start(path: Path) -> int:
    match = _SPAN.search(path.stem)
    if match is None:
        return 0
    try:
        day = datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(day.timestamp()) + int(match[2] or 0) * 3600


def get_output_path(base: str, split_hours: int = 12) -> str:
    """The file that a row of now goes to: ``logs/cex.csv`` -> ``logs/cex_20260110_12.csv`` (UTC). ``split_hours`` 0, 1, 6, 12 or 24; other
    values raise ValueError, as the helper of older scripts does."""
    import time

    from tape_archive.format.layout import csv_path

    try:
        return str(csv_path(Path(base), split_hours, time.time_ns()))
    except SettingsError as error:
        raise ValueError(str(error)) from None


def read(
    base: Path, start: int | None, end: int | None, *, venue: str | None, symbol: str | None, columns: list[str] | None
) -> pd.DataFrame:
    """See ``DataAccessor.cex``."""
    import pandas as pd

    chosen = files(base, *(None if at is None else at / SECOND for at in (start, end)))
    if not chosen:
        raise NotFound(f"no series {base.name} in {base.parent}" + (" for that time" if start or end else ""))
    frames = [_file(path, columns) for path in chosen]
    known = list(dict.fromkeys(name for frame in frames for name in frame.attrs["header"]))
    for name in columns or ():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise SettingsError(f"{base.name} has no column {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    kept = [frame[rows] for frame in frames if (rows := _matching(frame, start, end, venue, symbol)).any()]
    if not kept:
        asked = [("venue", venue), ("symbol", symbol)]
        there = {name: sorted({str(value) for frame in frames if name in frame for value in frame[name].dropna()}) for name, _ in asked}
        said = " and ".join(f"{name} {wanted!r} (there: {', '.join(there[name])})" for name, wanted in asked if wanted)
        raise NotFound(f"no row of {base.name}" + (f" of {said}" if said else "") + (" in that time" if start or end else ""))
    for frame in kept:
        frame.attrs = {}
    whole = pd.concat(kept, ignore_index=True)
    return whole.reindex(columns=known if columns is None else columns)


def _matching(frame: pd.DataFrame, start: int | None, end: int | None, venue: str | None, symbol: str | None) -> pd.Series[bool]:
    # Ticks have whole microseconds; the bounds are exact to that.
    tick = (frame["t_sample_unix"] * 1e6).round().astype("int64") * 1000
    rows = (tick >= (start or 0)) & (tick <= (end if end is not None else 1 << 62))
    for name, wanted in (("venue", venue), ("symbol", symbol)):
        if wanted is not None:
            rows &= frame[name] == wanted if name in frame else False
    return rows


def _file(path: Path, columns: list[str] | None) -> pd.DataFrame:
    """One file; a last row that is still being written, or was torn, is not there yet."""
    import pandas as pd

    try:
        content = path.read_bytes()
    except PermissionError as error:
        raise StoreDenied(f"cannot read {path}: {error.strerror}") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {path}: {error.strerror}") from None
    content = content[: content.rfind(b"\n") + 1]
    header = content.partition(b"\n")[0].decode("utf-8", "replace").rstrip("\r").split(",") if content else []
    if "t_sample_unix" not in header:
        raise Corrupt(f"{path} does not begin with the header of a CEX series")
    wanted = header if columns is None else [name for name in header if name in {*columns, "t_sample_unix", "venue", "symbol"}]
    types = {name: "object" if name in _TEXT else "Int64" if name in _WHOLE else "float64" for name in header}
    try:
        frame = pd.read_csv(io.BytesIO(content), dtype=types, usecols=wanted)
    except (ValueError, pd.errors.ParserError) as error:
        raise Corrupt(f"{path}: {' '.join(str(error).split())}; make it again with tape rebuild") from None
    if frame["t_sample_unix"].isna().any():
        raise Corrupt(f"{path}: a row without a time; make it again with tape rebuild")
    frame.attrs["header"] = header
    return frame
