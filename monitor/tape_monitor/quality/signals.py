"""How many signals there are, and what the z-scores of CVD look like."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from tape_archive.format.harvest import CONFLICTS, DIVERGENCES
from tape_monitor.quality.parts import Columns

#: event types that are signals of the market; the others say what the recording itself went through
SIGNALS = (*DIVERGENCES, *CONFLICTS)


class Signals(msgspec.Struct):
    """Events of one symbol by type. ``signals``: those of the market."""

    symbol: str
    signals: int
    by_type: dict[str, int]


class Scores(msgspec.Struct):
    """Of ``cvd`` of one symbol; shares of the rows with a z. ``winsor_effect``: |z_raw| > |z_cvd|. ``above_2``, ``above_3``: |z_raw| above.
    ``floor``: share of the scales that were the floor. ``unknown``: rows without a z, by reason."""

    symbol: str
    rows: int
    known: int
    winsor_effect: float | None
    above_2: float | None
    above_3: float | None
    median: float | None
    floor: float | None
    unknown: dict[str, int]
    histogram: list[int] = []


#: bounds of the histogram of z_cvd
EDGES = np.linspace(-8.0, 8.0, 65)


def _counted(values: NDArray[np.object_]) -> dict[str, int]:
    names, counts = np.unique(values.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def signals(symbol: str, types: NDArray[np.object_]) -> Signals:
    """``types``: event_type of ``events``."""
    counts = _counted(types)
    return Signals(symbol, sum(counts.get(name, 0) for name in SIGNALS), counts)


def needed(hours: float, per_72h: int) -> int:
    """How many a window must have, of so many in 72 hours."""
    return int(np.ceil(per_72h * hours / 72.0))


def scores(symbol: str, columns: Columns) -> Scores:
    """``columns``: z_raw, z_cvd, scale, floor_used, why of ``cvd``."""
    raw, z = columns["z_raw"], columns["z_cvd"]
    known = ~(np.isnan(raw) | np.isnan(z))
    size = np.abs(raw[known])
    count = len(size)
    clipped, above_2, above_3 = (float(np.mean(one)) if count else None for one in (size > np.abs(z[known]), size > 2.0, size > 3.0))
    median = float(np.median(size)) if count else None
    scaled = ~np.isnan(columns["scale"])
    floor = float(np.mean(columns["floor_used"][scaled])) if scaled.any() else None
    reasons = {name or "unsaid": number for name, number in _counted(columns["why"][~known]).items()}
    histogram = np.histogram(np.clip(z[known], -8.0, 8.0), EDGES)[0].tolist()
    return Scores(symbol, len(raw), count, clipped, above_2, above_3, median, floor, reasons, histogram)
