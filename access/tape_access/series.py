"""The CSV series as a DataFrame: only the files that can hold the asked time are opened."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tape_archive.format.errors import NotFound

if TYPE_CHECKING:
    import pandas as pd

_TEXT = ("ts_sample_utc", "venue", "top_bids_json", "top_asks_json", "err", "symbol")
_SPAN = re.compile(r"_(\d{8})(?:_(\d\d))?$")


def files(base: Path, start: int | None, end: int | None) -> list[Path]:
    """The files of a series that may hold ticks between two epoch seconds."""
    found = sorted(path for path in base.parent.glob(f"{base.stem}*{base.suffix}") if path.stem == base.stem or _SPAN.search(path.stem))
    starts = [_start(path) for path in found]
    chosen = []
    for at, path in enumerate(found):
        # A file ends where the next one begins, at most a day later.
        following = next((other for other in starts[at + 1 :] if other > starts[at]), starts[at] + 86_400) if starts[at] else 1 << 62
        if (end is None or starts[at] <= end) and (start is None or following > start):
            chosen.append(path)
    return chosen


def _start(path: Path) -> int:
    match = _SPAN.search(path.stem)
    if match is None:
        return 0
    day = datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC)
    return int(day.timestamp()) + int(match[2] or 0) * 3600


def read(
    base: Path, start: int | None, end: int | None, *, venue: str | None, symbol: str | None, columns: list[str] | None
) -> pd.DataFrame:
    """See ``DataAccessor.cex``."""
    import pandas as pd

    chosen = files(base, start, end)
    if not chosen:
        raise NotFound(f"no series {base.name} in {base.parent}" + (" for that time" if start or end else ""))
    types = dict.fromkeys(_TEXT, "object")
    needed = None if columns is None else list(dict.fromkeys([*columns, "t_sample_unix", "venue", "symbol"]))
    frames = []
    for path in chosen:
        frame = pd.read_csv(path, dtype=types, usecols=needed, on_bad_lines="skip")
        if start is not None:
            frame = frame[frame["t_sample_unix"] >= start]
        if end is not None:
            frame = frame[frame["t_sample_unix"] <= end]
        if venue is not None:
            frame = frame[frame["venue"] == venue]
        if symbol is not None:
            frame = frame[frame["symbol"] == symbol]
        frames.append(frame)
    whole = pd.concat(frames, ignore_index=True)
    return whole if columns is None else whole[columns]
