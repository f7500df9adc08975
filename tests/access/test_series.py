"""The CSV series: only the files of the time, exact types, torn and older files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tape_access import DataAccessor, FormatError, NotFound, SettingsError
from tape_access.series import files
from tape_collectors.market.sampler import Sample
from tape_collectors.sinks.csv import HEADER, lines

DAY = 1_768_003_200  # 2026-01-10


def sample(second: int, number: int, venue: str = "binance_spot", err: str = "") -> Sample:
    """One row."""
    made = Sample(second * 10**9, number, venue, "BTCUSDT", err=err)
    if not err:
        made.best_bid, made.best_ask, made.bid_size, made.ask_size = "100.1", "100.3", "1", "3"
        made.ts, made.sequence, made.age_ns = 1_768_003_200_123_456_789, 9_007_199_254_740_993, 5_000_000
    return made


def write(root: Path, name: str, seconds: range, tail: bytes = b"") -> Path:
    """One file of two markets, the second of which has no book."""
    path = root / "logs" / name
    path.parent.mkdir(exist_ok=True)
    rows = b"".join(lines([sample(at, n), sample(at, n, "binance_usdm", "BookNotProven: no book yet")]) for n, at in enumerate(seconds, 1))
    path.write_bytes(HEADER + rows + tail)
    return path


def test_only_files_that_can_hold_the_time_are_read(tmp_path: Path) -> None:
    names = ["cex_20260109_12.csv", "cex_20260110_00.csv", "cex_20260110_12.csv", "cex_20260111_00.csv"]
    for name in names:
        at = int(datetime.strptime(name[4:15], "%Y%m%d_%H").replace(tzinfo=UTC).timestamp())
        write(tmp_path, name, range(at, at + 3))
    (tmp_path / "logs" / "cex_other_20260110.csv").write_text("of another series\n")
    (tmp_path / "logs" / "cexy.csv").write_text("of another series\n")
    base = tmp_path / "logs" / "cex.csv"
    hour, start = 3600, DAY
    assert [path.name for path in files(base, start + 13 * hour, start + 14 * hour)] == names[2:3]
    assert [path.name for path in files(base, start + 11 * hour, start + 12 * hour)] == names[1:3]
    assert [path.name for path in files(base, None, start - 1)] == names[:1]
    assert [path.name for path in files(base, None, None)] == names
    (tmp_path / "logs" / names[0]).write_bytes(b"damaged")
    frame = DataAccessor(tmp_path).cex(DAY, DAY + 1)
    assert frame["t_sample_unix"].tolist() == [DAY, DAY, DAY + 1, DAY + 1]


def test_columns_are_typed_and_exact_and_empty_cells_are_missing(tmp_path: Path) -> None:
    write(tmp_path, "cex.csv", range(DAY, DAY + 2))
    frame = DataAccessor(tmp_path).cex()
    assert frame.shape == (4, 23)
    assert frame["ts_venue_ns"].dropna().unique().tolist() == [1_768_003_200_123_456_789]
    assert frame["sequence"].dropna().unique().tolist() == [9_007_199_254_740_993]
    bad = frame[frame["venue"] == "binance_usdm"]
    assert bad["mid"].isna().all() and bad["err"].tolist() == ["BookNotProven: no book yet"] * 2
    assert frame["mid"].dropna().tolist() == [100.2, 100.2]


def test_filters_and_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "cex.csv", range(DAY, DAY + 5))
    accessor = DataAccessor(tmp_path)
    frame = accessor.cex(DAY + 1, DAY + 2, venue="binance_spot", columns=["mid", "err"])
    assert list(frame.columns) == ["mid", "err"] and len(frame) == 2
    assert len(accessor.cex(DAY + 0.5, DAY + 1.5)) == 2
    with pytest.raises(NotFound, match=r"venue 'okx_spot' \(there: binance_spot, binance_usdm\)"):
        accessor.cex(venue="okx_spot")
    with pytest.raises(NotFound, match="in that time"):
        accessor.cex(DAY + 100)
    with pytest.raises(SettingsError, match="did you mean 'mid'"):
        accessor.cex(columns=["midd"])


def test_a_row_that_is_still_being_written_is_not_there_yet(tmp_path: Path) -> None:
    write(tmp_path, "cex.csv", range(DAY, DAY + 2), tail=b"2026-01-10T00:00:02+00:00,17680")
    assert len(DataAccessor(tmp_path).cex()) == 4


def test_a_damaged_row_is_told_never_skipped(tmp_path: Path) -> None:
    write(tmp_path, "cex.csv", range(DAY, DAY + 2), tail=b"a,b," + b"c," * 40 + b"\n")
    with pytest.raises(FormatError, match="tape rebuild"):
        DataAccessor(tmp_path).cex()


def test_a_series_of_the_briefs_first_recorder_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "cex.csv", range(DAY, DAY + 1))
    rows = [",".join(line.split(",")[:4]) for line in path.read_text().splitlines()]
    path.write_text("\n".join(rows) + "\n")
    write(tmp_path, "cex_20260110_12.csv", range(DAY + 43_200, DAY + 43_201))
    frame = DataAccessor(tmp_path).cex()
    assert len(frame) == 4 and frame["symbol"].isna().tolist() == [True, True, False, False]
