"""freqtrade's own files of Binance's futures, layout of 2026.9: names, columns, types, and the bytes.

``<folder>/futures/BTC_USDT_USDT-5m-futures.feather`` has ``date`` (when the candle opens, UTC, microseconds), ``open``, ``high``, ``low``,
``close``, ``volume`` (base currency), all float64; ``…-1h-mark.feather`` the same of the mark price, its volume 0;
``…-1h-funding_rate.feather`` has ``date`` and ``funding_rate``. A futures backtest loads these three. Arrow IPC, lz4.

Source: freqtrade 2026.9, ``candle_columns.py`` and ``data/history/datahandlers``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather

from tape_archive.format.errors import Corrupt, SettingsError
from tape_archive.tables.laws import SECOND, Ints

Kind = Literal["futures", "mark", "funding_rate"]
_CANDLE = ("open", "high", "low", "close", "volume")
#: the columns behind ``date``
COLUMNS: Mapping[Kind, tuple[str, ...]] = {"futures": _CANDLE, "mark": _CANDLE, "funding_rate": ("funding_rate",)}
#: of mark prices and of funding rates, whatever hours lie between settlements
HOURLY = "1h"
#: an hour in which no mark price came for longer has no candle
QUIET_S = 10
_HOUR = 3600 * SECOND
_PERPETUAL = "-PERP"


def pair(symbol: str) -> str:
    """``BTC-USDT-PERP`` -> ``BTC/USDT:USDT``. Raises SettingsError."""
    base, _, quote = symbol.removesuffix(_PERPETUAL).rpartition("-")
    if not symbol.endswith(_PERPETUAL) or not base or not quote:
        raise SettingsError(f"{symbol!r} is no perpetual; name one as the tables do: BTC-USDT-PERP")
    return f"{base}/{quote}:{quote}"


def file_of(folder: Path, symbol: str, timeframe: str, kind: Kind) -> Path:
    """Where freqtrade looks for it. ``folder``: ``user_data/data/binance``."""
    name = pair(symbol)
    for sign in "/ .@$+:":
        name = name.replace(sign, "_")
    return folder / "futures" / f"{name}-{timeframe}-{kind}.feather"


def frame(kind: Kind, rows: pa.Table) -> pd.DataFrame:
    """Rows (a time, then the columns of the kind) as freqtrade holds them."""
    types: dict[str, pa.DataType] = {"date": pa.timestamp("us", tz="UTC"), **{name: pa.float64() for name in COLUMNS[kind]}}
    found: pd.DataFrame = rows.rename_columns(list(types)).cast(pa.schema(types)).to_pandas()
    return found


def encode(data: pd.DataFrame) -> bytes:
    """The file's bytes, as freqtrade would write them."""
    out = io.BytesIO()
    data.reset_index(drop=True).to_feather(out, compression="lz4", compression_level=9)
    return out.getvalue()


def stored(path: Path, kind: Kind) -> pd.DataFrame | None:
    """What a file has, whoever wrote it; None if it is not there. Raises Corrupt."""
    fix = "move it away, or write it anew with --replace"
    names = ["date", *COLUMNS[kind]]
    try:
        rows = feather.read_table(path)
        if kind == "funding_rate" and kind not in rows.column_names:
            # Before 2026 freqtrade kept the rate as the open of a candle.
            rows = rows.rename_columns(["funding_rate" if name == "open" else name for name in rows.column_names])
        found = frame(kind, rows.select(names))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, pa.ArrowException) as error:
        raise Corrupt(f"{path} is no file of freqtrade's {kind}: {error}; {fix}") from None
    # As freqtrade does when it loads: the venue settles some ms late.
    return found.assign(date=found["date"].dt.floor("s")) if kind == "funding_rate" else found


def joined(old: pd.DataFrame | None, new: pd.DataFrame) -> pd.DataFrame:
    """Both, by time; where both have a time the new one stands."""
    if old is None or not len(old):
        return new
    kept = old[~old["date"].isin(new["date"])]
    return pd.concat([kept, new]).sort_values("date", kind="stable", ignore_index=True) if len(kept) else new


def times(data: pd.DataFrame) -> Ints:
    """Its dates as unix ns."""
    return data["date"].to_numpy("datetime64[us]").astype(np.int64) * 1000


def hours(at: Ints, prices: np.ndarray[tuple[int], np.dtype[np.float64]]) -> pa.Table:
    """Mark prices (``at``: unix ns, rising, of whole hours) as candles of an hour. An hour that lacks a price for more than ``QUIET_S``,
    its beginning and its end included, has none: what the price did then nobody knows."""
    hour = at // _HOUR
    first = np.flatnonzero(np.diff(hour, prepend=-1)) if len(at) else np.empty(0, np.int64)
    last = np.append(first[1:], len(at)) - 1 if len(first) else first
    step = np.diff(at, prepend=at[:1])
    step[first] = at[first] - hour[first] * _HOUR
    longest = np.maximum.reduceat(step, first) if len(first) else step
    whole = np.maximum(longest, (hour[first] + 1) * _HOUR - at[last]) <= QUIET_S * SECOND
    high, low = (np.maximum.reduceat(prices, first), np.minimum.reduceat(prices, first)) if len(first) else (prices, prices)
    opened = pa.array(hour[first][whole] * (_HOUR // 1000)).cast(pa.timestamp("us", tz="UTC"))
    values = [prices[first][whole], high[whole], low[whole], prices[last][whole], np.zeros(int(whole.sum()))]
    return pa.table([opened, *map(pa.array, values)], names=["date", *_CANDLE])
