"""``DataAccessor.features``: the right rows of every kind, here and from a remote root, from no more files than needed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tape_access import DataAccessor, FormatError, NotFound, SettingsError
from tape_archive.format import harvest as layout
from tape_archive.format.harvest import KINDS, Kind, names
from tape_collectors.sinks import harvest
from tests.collectors.market.test_harvest import SECOND, T0, Tape, busy

DAY = 86_400
Stored = tuple[Path, dict[Kind, list[dict[str, object]]]]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Two days, a hole between them."""
    root = tmp_path_factory.mktemp("features")
    tape = Tape()
    busy(tape, 130)
    busy(tape, 130, begin=DAY - 60)
    made = {kind: tape.rows(kind) for kind in KINDS}
    for part in tape.parts:
        harvest.write(root, part)
    return root, made


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_of_a_kind(stored: Stored, kind: Kind) -> None:
    root, made = stored
    table = DataAccessor(root).features(kind, "S", arrow=True)
    assert table.column_names == names(kind) and table.to_pylist() == made[kind] and len(made[kind]) > 0


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_range_is_exactly_its_rows(stored: Stored, data: st.DataObject) -> None:
    root, made = stored
    times = [int(str(row["recv_ns"])) for row in made["ofi"]]
    edge = st.sampled_from(times) | st.integers(T0 - SECOND, T0 + (DAY + 200) * SECOND)
    moment = st.none() | st.builds(lambda at, step: at + step, edge, st.sampled_from([-1, 0, 1]))
    begin, end = data.draw(moment), data.draw(moment)
    wanted = [time for time in times if (begin is None or time >= begin) and (end is None or time <= end)]
    if not wanted:
        with pytest.raises(NotFound, match="no ofi of S in that time"):
            DataAccessor(root).features("ofi", "S", begin, end)
        return
    assert DataAccessor(root).features("ofi", "S", begin, end, ["recv_ns"], arrow=True)["recv_ns"].to_pylist() == wanted


def test_a_frame(stored: Stored) -> None:
    root, made = stored
    frame = DataAccessor(root).features("cvd", "s", T0, T0 + 130 * SECOND)
    assert list(frame.columns) == names("cvd") and len(frame) == 1300
    assert frame["recv_ns"].dtype == "int64" and frame["cvd"].dtype == "float64" and frame["floor_used"].dtype == "boolean"
    assert frame["z_cvd"].isna().sum() == 49 and set(frame["why"].dropna()) == {"warm-up"}
    events = DataAccessor(root).features("events", "S")
    assert events["event_ts_ms"].dtype == pd.Int64Dtype() and events["event_ts_ms"].isna().any()
    assert len(made["events"]) == len(events)


def test_what_is_not_there_says_what_is(stored: Stored, tmp_path: Path) -> None:
    root, _ = stored
    for kind, symbol, columns, error, text in (
        ("ofis", "S", None, SettingsError, "did you mean 'ofi'?"),
        ("ofi", "T", None, NotFound, "(there: S)"),
        ("ofi", "S", ["ofi_valu"], SettingsError, "did you mean 'ofi_value'?"),
    ):
        with pytest.raises(error) as raised:
            DataAccessor(root).features(kind, symbol, columns=columns)
        assert text in str(raised.value)
    with pytest.raises(NotFound, match="record with ofi-record"):
        DataAccessor(tmp_path).features("ofi", "S")


def test_a_remote_root_gives_the_same_and_brings_no_more_than_needed(stored: Stored, tmp_path: Path) -> None:
    root, made = stored
    with DataAccessor(tmp_path / "here", tmp_path / "cache", remote=str(root)) as data:
        some = data.features("fusion", "S", T0 + 5 * SECOND, T0 + 20 * SECOND, arrow=True)
        assert len(list((tmp_path / "cache").rglob("part-*.parquet"))) == 1
        assert some.to_pylist() == [row for row in made["fusion"] if 5 * SECOND <= int(str(row["recv_ns"])) - T0 <= 20 * SECOND]
        assert data.features("fusion", "S", arrow=True).to_pylist() == made["fusion"]
        with pytest.raises(NotFound, match="there: S"):
            data.features("ofi", "T")


def test_a_damaged_part_is_named(stored: Stored, tmp_path: Path) -> None:
    tape = Tape()
    busy(tape, 5)
    tape.harvest.end()
    path = next(harvest.write(tmp_path, part) for part in tape.parts if part.kind == "ofi")
    assert layout.parts(tmp_path, "ofi", "S")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FormatError, match="part-"):
        DataAccessor(tmp_path).features("ofi", "S")


def test_a_part_of_an_earlier_version_has_nulls_where_it_lacks_columns(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    tape = Tape()
    busy(tape, 5)
    tape.harvest.end()
    path = next(harvest.write(tmp_path, part) for part in tape.parts if part.kind == "prices")
    pq.write_table(pq.ParquetFile(path).read().drop(["sent_ts_ms"]), path)
    table = DataAccessor(tmp_path).features("prices", "S", arrow=True)
    assert isinstance(table, pa.Table) and table["sent_ts_ms"].null_count == table.num_rows
