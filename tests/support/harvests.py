"""What holds of every output of ``ofi-record``."""

from __future__ import annotations

import filecmp
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tape_archive.format import harvest as layout
from tape_archive.format.harvest import Kind
from tape_collectors.harvest import derive


def files(root: Path) -> list[str]:
    """Every part, by its name below the root."""
    return sorted(str(path.relative_to(root)) for path in (root / layout.FOLDER).rglob("*.parquet"))


def same(root: Path, name: str = "again") -> int:
    """The parts under the root are those that the tape makes, byte for byte, and nothing else lies there; gives the rows."""
    rows = derive.write(root, root / name)
    assert files(root) == sorted(rows)
    assert not [path for path in rows if not filecmp.cmp(root / path, root / name / path, shallow=False)]
    assert not [path for path in (root / layout.FOLDER).rglob("*") if path.is_file() and path.suffix != ".parquet"]
    return sum(rows.values())


def table(root: Path, kind: Kind, symbol: str = "BTCUSDT") -> pa.Table:
    """All rows of a kind, in the order of the tape."""
    return pa.concat_tables([pq.ParquetFile(part.path).read() for part in layout.parts(root, kind, symbol)])


def rows(root: Path, kind: Kind, symbol: str = "BTCUSDT") -> list[dict[str, object]]:
    """The same as dicts."""
    found: list[dict[str, object]] = table(root, kind, symbol).to_pylist()
    return found


def whole(root: Path, symbol: str = "BTCUSDT") -> int:
    """Each trade once and in order; holes are told; CVD adds up over every part, run and crash. Gives the trades."""
    trades = table(root, "prices", symbol)
    ids, missed = trades["agg_trade_id"].to_pylist(), trades["missed"].to_pylist()
    assert all(late - early == 1 + hole for early, late, hole in zip(ids, ids[1:], missed[1:], strict=False))
    times = trades["recv_ns"].to_pylist()
    assert times == sorted(times)
    flow = table(root, "cvd", symbol)
    assert flow["agg_trade_id"].to_pylist() == ids
    deltas, levels = flow["delta"].to_pylist(), flow["cvd"].to_pylist()
    begin = levels[0] - deltas[0]
    assert all(math.isclose(level, begin + math.fsum(deltas[: at + 1]), abs_tol=1e-6) for at, level in enumerate(levels) if at % 97 == 0)
    assert all(math.isclose(late - early, delta, abs_tol=1e-9) for early, late, delta in zip(levels, levels[1:], deltas[1:], strict=False))
    return len(ids)
