"""Order book ticks between two times: only the parts and row groups that can hold them are read.

Rows stand in the order of the tape; ``ts_recv`` (ours) never falls, so a range is cut out of its first and last row group by search.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tape_archive.format.errors import Corrupt, NotFound, SettingsError, StoreDenied, StoreUnavailable
from tape_archive.format.ticks import PartFile, exchanges, market_folder, parts, symbols

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMNS = ("ts_event", "ts_recv", "U", "u", "snapshot", "side", "price", "amount")
#: names that earlier tools gave to exchanges
_EARLIER = {
    **{"gate_io": "gate_spot", "gateio": "gate_spot", "gate": "gate_spot", "gate_perp": "gate_usdt", "gate_futures": "gate_usdt"},
    **{"mexc": "mexc_spot", "okx": "okx_spot", "bybit": "bybit_spot"},
    **{"okx_perp": "okx_swap", "bybit_perp": "bybit_linear"},
}
_LAST = 1 << 62
#: the parts of a day are merged once: more looks than this are no accident
_LOOKS = 20


class Gone(NotFound):
    """A part that was there a moment ago: the archiver has made one larger part of it and others. Look again."""


def read(
    find: Callable[[], Sequence[PartFile]], market: str, start: int | None, end: int | None, columns: Sequence[str] | None
) -> pa.Table:
    """The rows with ``start <= ts_recv <= end`` (unix ns), ``price`` and ``amount`` as float64, of the parts that ``find`` gives. Raises
    NotFound where there is none, SettingsError for an unknown column, Corrupt."""
    import pyarrow as pa

    wanted = _columns(columns)
    begin, last = start or 0, _LAST if end is None else end
    for left in reversed(range(_LOOKS)):
        try:
            tables = [_part(part, begin, last, wanted) for part in find() if part.last >= begin and part.first <= last]
            break
        except Gone:
            if not left:
                raise
    tables = [table for table in tables if table.num_rows]
    if not tables:
        raise NotFound(f"no ticks of {market} in that time")
    return pa.concat_tables(tables, promote_options="permissive").select(wanted)


def _columns(columns: Sequence[str] | None) -> list[str]:
    for name in columns or ():
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=1)
            raise SettingsError(f"ticks have no column {name!r}" + (f"; did you mean {near[0]!r}?" if near else f" ({', '.join(COLUMNS)})"))
    return list(COLUMNS if columns is None else columns)


# -- which market ------------------------------------------------------------------------------------------------------------------


def here(root: Path, exchange: str, symbol: str, begin: int, last: int) -> list[PartFile]:
    """The parts of a market under a root on this machine, of the days of these times. Raises as ``market``."""
    found = market(exchange, symbol, exchanges(root), lambda name: symbols(root, name), str(root))
    return parts(market_folder(root, *found), begin, last)


def market(exchange: str, symbol: str, known: Sequence[str], symbols_of: Callable[[str], Sequence[str]], where: str) -> tuple[str, str]:
    """The names, as they are stored, of a market that somebody names in their own way. Raises NotFound, SettingsError."""
    from tape_collectors.venues import ALIASES

    lower = exchange.strip().lower()
    found = next((name for name in (exchange, lower, ALIASES.get(lower), _EARLIER.get(lower)) if name in known), None)
    if found is None:
        raise NotFound(f"no ticks of {exchange!r} under {where} (there: {', '.join(known) or 'none; record with cex-record --ticks'})")
    there = symbols_of(found)
    matching = [symbol] if symbol in there else [name for name in there if _plain(name) == _plain(symbol)]
    if len(matching) > 1:
        raise SettingsError(f"{symbol!r} may be any of {', '.join(matching)}: write it as one of these")
    if not matching:
        near = get_close_matches(symbol, there, n=3, cutoff=0.3)
        raise NotFound(f"no ticks of {found} {symbol!r}" + (f"; there is {', '.join(near)}" if near else ""))
    return found, matching[0]


def _plain(symbol: str) -> str:
    """``VIRTUAL-USDT``, ``VIRTUAL_USDT`` and ``VIRTUALUSDT`` are one market, with or without the word for a perpetual."""
    return re.sub(r"[-_/:]", "", re.sub(r"[-_/:](PERP|SWAP)$", "", symbol.strip().upper()))


# -- one part ----------------------------------------------------------------------------------------------------------------------


def _part(part: PartFile, begin: int, last: int, wanted: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tape_archive.format.columns import floats

    whole = begin <= part.first and part.last <= last
    needed = wanted if whole or "ts_recv" in wanted else [*wanted, "ts_recv"]
    try:
        with pq.ParquetFile(part.path) as file:
            chosen = list(range(file.metadata.num_row_groups)) if whole else _groups(file, begin, last)
            table = file.read_row_groups(chosen, columns=needed)
    except FileNotFoundError:
        raise Gone(f"{part.path} is gone") from None
    except PermissionError as error:
        raise StoreDenied(f"cannot read {part.path}: {error.strerror}") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise Corrupt(f"{part.path}: {' '.join(str(error).split())}; make it again with tape rebuild --kind ticks") from None
    except OSError as error:
        # Arrow tells a damaged page by the same error as a disk that fails.
        kind = StoreUnavailable if error.errno else Corrupt
        raise kind(f"cannot read {part.path}: {' '.join(str(error).split())}") from None
    if not whole:
        table = _cut(table, begin, last)
    for name in ("price", "amount"):
        if name in wanted:
            table = table.set_column(table.schema.get_field_index(name), name, floats(table[name]))
    return table


def _groups(file: pq.ParquetFile, begin: int, last: int) -> list[int]:
    """The row groups that may hold rows of these times, by their statistics."""
    at = file.schema_arrow.get_field_index("ts_recv")
    chosen = []
    for group in range(file.metadata.num_row_groups):
        statistics: Any = file.metadata.row_group(group).column(at).statistics
        if statistics is None or not statistics.has_min_max or (statistics.max_raw >= begin and statistics.min_raw <= last):
            chosen.append(group)
    return chosen


def _cut(table: pa.Table, begin: int, last: int) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    times = table["ts_recv"].cast(pa.int64()).to_numpy()
    first, end = int(np.searchsorted(times, begin, "left")), int(np.searchsorted(times, last, "right"))
    return table.slice(first, end - first)
