"""Prices, OFI, CVD, fusion, events and books of ``ofi-record`` between two times: only the parts that can hold them are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tape_archive.format.errors import Corrupt, NotFound, SettingsError, StoreDenied, StoreUnavailable
from tape_archive.format.harvest import KINDS, Kind, names, parts, schema, symbols

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_LAST = 1 << 62


def read(root: Path, kind: str, symbol: str, start: int | None, end: int | None, columns: Sequence[str] | None) -> pa.Table:
    """The rows with ``start <= recv_ns <= end`` (unix ns), in the order of the tape. Columns that an older part lacks are null. Raises
    NotFound where no row is, SettingsError for an unknown kind or column, Corrupt."""
    of = check(kind)
    wanted = _columns(of, columns)
    name = market(symbol, symbols(root), str(root))
    begin, last = start or 0, _LAST if end is None else end
    chosen = [part for part in parts(root, of, name) if part.last >= begin and part.first <= last]
    table = _rows([part.path for part in chosen], of, begin, last, wanted) if chosen else None
    if table is None or not table.num_rows:
        raise NotFound(f"no {kind} of {name} in that time")
    return table


def check(kind: str) -> Kind:
    """The kind of that name. Raises SettingsError."""
    for known in KINDS:
        if kind == known:
            return known
    near = get_close_matches(kind, KINDS, n=1)
    raise SettingsError(f"no kind {kind!r}" + (f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(KINDS)})"))


def market(symbol: str, there: Sequence[str], where: str) -> str:
    """The symbol as it is stored: ``BTC-USDT``, ``btcusdt`` and ``BTCUSDT`` are one. Raises NotFound."""
    plain = re.sub(r"[-_/:]", "", symbol.strip().upper())
    found = next((name for name in (symbol, plain) if name in there), None)
    if found is None:
        raise NotFound(f"no OFI and CVD of {symbol!r} under {where} (there: {', '.join(there) or 'none; record with ofi-record'})")
    return found


def frame(table: pa.Table) -> pd.DataFrame:
    """A DataFrame. Integers that may be missing are Int64, truth values that may be missing ``boolean``, texts categories."""
    import pandas as pd
    import pyarrow as pa

    kinds: dict[Any, Any] = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    out = table.to_pandas()
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.nullable and field.type in kinds:
            out[field.name] = column.to_pandas(types_mapper=kinds.get)
    return out


def _columns(kind: Kind, columns: Sequence[str] | None) -> list[str]:
    known = names(kind)
    for name in columns or ():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise SettingsError(f"{kind} has no column {name!r}" + (f"; did you mean {near[0]!r}?" if near else f" ({', '.join(known)})"))
    return list(known if columns is None else columns)


def _rows(paths: list[str], kind: Kind, begin: int, last: int, wanted: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.dataset as ds

    time = ds.field("recv_ns")
    fields = schema(kind)
    try:
        table = ds.dataset(paths, schema=fields, format="parquet").to_table(columns=wanted, filter=(time >= begin) & (time <= last))
    except PermissionError as error:
        raise StoreDenied(f"cannot read the parts: {error.strerror}") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise Corrupt(f"{' '.join(str(error).split())}; make it again with tape rebuild --kind ofi_cvd") from None
    except OSError as error:
        # Arrow tells a damaged page by the same error as a disk that fails.
        raise (StoreUnavailable if error.errno else Corrupt)(f"cannot read the parts: {' '.join(str(error).split())}") from None
    return table.unify_dictionaries().cast(pa.schema([fields.field(name) for name in wanted]))
