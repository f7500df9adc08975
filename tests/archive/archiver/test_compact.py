"""Parts of a day become one file: the same rows, in order, whatever happens on the way; nothing that a recorder may still write."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tape_access import DataAccessor
from tape_archive.archiver import days
from tape_archive.archiver.compact import Compactor
from tape_archive.archiver.days import TREES, Compacted, Day, Reach, stays
from tape_archive.format import cursor, parquet, ticks
from tape_archive.format.errors import Corrupt, DiskFull
from tape_archive.format.lock import Lock
from tape_archive.format.ticks import of_folder, part_name, part_of, uncovered
from tape_archive.stores import Entry, LocalStore
from tape_collectors.market.ticks import Part
from tape_collectors.sinks import ticks as sink
from tests.support.parts import DAY, MIDNIGHT, SECOND, contents, day, harvest
from tests.support.recording import environment

LATER = (MIDNIGHT + 30 * DAY) / SECOND


def run(root: Path, *options: str, now: float = LATER, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tape_archive", "archive", "--compact", "--root", str(root), "--now", str(now), *options]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, **more)


def done(root: Path, **more: Any) -> list[Compacted]:
    told: list[Compacted] = []
    Compactor(root, **more).run(list(days.days(root)), told.append)
    return told


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.parametrize("wild", [False, True])
def test_the_same_rows_in_one_file(tmp_path: Path, wild: bool) -> None:
    folder = day(tmp_path, wild=wild)
    rows, first = contents(folder), of_folder(folder)
    before = DataAccessor(tmp_path).ticks("binance_spot", "BTCUSDT", arrow=True)
    kinds = {str(pq.ParquetFile(part.path).schema_arrow.field("amount").type) for part in first}
    assert len(kinds) > 2 and ("double" in kinds) == wild, "the parts have several scales"
    ran = run(tmp_path, "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)["compacted"]
    assert [path.name for path in folder.iterdir()] == [part_name(first[0].first, first[-1].last)]
    assert contents(folder) == rows and DataAccessor(tmp_path).ticks("binance_spot", "BTCUSDT", arrow=True).equals(before)
    merged = next(folder.iterdir())
    assert told[0] | {"bytes": 0} == {
        "folder": str(folder.relative_to(tmp_path)),
        "parts": 24,
        "rows": len(rows),
        "bytes": 0,
        "stored": merged.stat().st_size,
        "why": "",
    }
    assert told[0]["stored"] < told[0]["bytes"]
    again = run(tmp_path, "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["compacted"] == []


def test_the_file_is_as_the_recorder_writes_it(tmp_path: Path) -> None:
    folder = day(tmp_path)
    small = pq.ParquetFile(of_folder(folder)[0].path)
    done(tmp_path)
    large = pq.ParquetFile(next(folder.iterdir()))
    assert large.schema_arrow.names == small.schema_arrow.names and large.schema_arrow.metadata == small.schema_arrow.metadata
    assert large.schema_arrow.field("price").type == pa.decimal128(18, 5) and not large.schema_arrow.field("price").nullable
    one, other = (
        [(group.column(at).physical_type, set(group.column(at).encodings), group.column(at).compression) for at in range(8)]
        for group in (small.metadata.row_group(0), large.metadata.row_group(0))
    )
    assert one == other


def test_row_groups_are_bounded_and_memory_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 100)
    folder = day(tmp_path, parts=7, rows=50)
    rows = contents(folder)
    done(tmp_path)
    made = pq.ParquetFile(next(folder.iterdir())).metadata
    assert {made.row_group(at).num_rows for at in range(made.num_row_groups - 1)} == {100} and made.num_row_groups == -(-len(rows) // 100)
    assert contents(folder) == rows


PEAK = """
import resource, sys
from pathlib import Path
from tape_archive.archiver import days
from tape_archive.archiver.compact import Compactor
told = []
Compactor(Path(sys.argv[1]), 1).run(list(days.days(Path(sys.argv[1]))), told.append)
assert told[0].parts == int(sys.argv[2]) and not told[0].why, told
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_day(tmp_path: Path) -> None:
    many = 1 << 17
    part = Part("binance_spot", "BTCUSDT", many)
    for row in range(many // 64):
        part.add(MIDNIGHT + row, row, (row, row), [(f"{row * 7 % 10_007 + level}.5", "1.25") for level in range(64)], [])
    table = sink.table(part)
    peaks = []
    for count in (4, 24):
        folder = tmp_path / str(count) / "orderbook_ticks" / "exchange=x" / "symbol=y" / "date=2026-01-10"
        folder.mkdir(parents=True)
        for number in range(count):
            times = pa.compute.add(table["ts_recv"].cast(pa.int64()), number * many).cast(table.schema.field("ts_recv").type)
            moved = table.set_column(1, table.schema.field("ts_recv"), times)
            first = MIDNIGHT + number * many
            (folder / part_name(first, first + many // 64 - 1)).write_bytes(sink.encode(moved, many))
        ran = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path / str(count)), str(count)],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        peaks.append(int(ran.stdout) / 1024)
    # Twenty more parts are 170 MB of columns.
    assert peaks[1] - peaks[0] < 60, peaks


def test_other_tables_of_the_same_name_law(tmp_path: Path) -> None:
    folders = [harvest(tmp_path, kind, 30) for kind in ("prices", "ofi")]
    before = [pa.concat_tables([pq.read_table(part.path) for part in of_folder(folder)]).cast(_plain(folder)) for folder in folders]
    ran = run(tmp_path, "--json")
    assert ran.returncode == 0, ran.stderr
    for folder, rows in zip(folders, before, strict=True):
        (path,) = folder.iterdir()
        after = pq.read_table(path).cast(rows.schema)
        assert after.drop(["z"]).equals(rows.drop(["z"])) and len(after) == 1800
        assert after["z"].combine_chunks().buffers()[1] == rows["z"].combine_chunks().buffers()[1], "NaN and -0.0 are themselves"


def _plain(folder: Path) -> pa.Schema:
    schema = pq.read_schema(of_folder(folder)[0].path)
    return schema.set(2, pa.field("why", pa.string()))


def test_a_dry_run_measures_and_changes_nothing(tmp_path: Path) -> None:
    folder = day(tmp_path)
    before = sizes(folder)
    told = json.loads(run(tmp_path, "--dry-run", "--json").stdout)
    assert sizes(folder) == before and told["dry_run"]
    assert told["compacted"] == json.loads(run(tmp_path, "--json").stdout)["compacted"]
    shown = run(tmp_path / ".." / tmp_path.name)
    assert shown.returncode == 0 and "days" not in shown.stdout


# -- which days ------------------------------------------------------------------------------------------------------------------

OVER = Day("x", MIDNIGHT + DAY, TREES[0])


@pytest.mark.parametrize(
    "now,reached,unsealed,said",
    [
        (6.9, Reach(MIDNIGHT + 9 * DAY), False, None),
        (7.0, Reach(MIDNIGHT + DAY), False, ""),
        (7.0, Reach(MIDNIGHT + DAY, True), False, ""),
        (7.0, Reach(MIDNIGHT + DAY - 1), False, "the next cex-record --ticks does"),
        (7.0, Reach(MIDNIGHT + DAY - 1), True, ""),
        (7.0, Reach(MIDNIGHT + DAY - 1, True), True, "still making it"),
        (7.0, Reach(None, True), True, "is running and no state/ticks.cursor"),
        (7.0, Reach(), False, ""),
    ],
)
def test_which_days(now: float, reached: Reach, unsealed: bool, said: str | None) -> None:
    why = stays(OVER, (MIDNIGHT + DAY) / SECOND + now * 86_400, 7, reached, unsealed)
    assert why == said if not said else said in (why or "")


def test_a_day_that_a_recorder_may_still_write_is_not_touched(tmp_path: Path) -> None:
    folder = day(tmp_path)
    before = sizes(folder)
    path = tmp_path / "state" / "ticks.cursor"
    cursor.save(path, cursor.Cursor(t=MIDNIGHT + DAY - 3600 * SECOND))
    for options in ((), ("--unsealed",)):
        with Lock(tmp_path / "state" / "cex.lock"):
            ran = run(tmp_path, *options, "--json")
        assert ran.returncode == 3 and "cex-record is still making it" in json.loads(ran.stdout)["stayed"][0]["why"]
    assert run(tmp_path).returncode == 3 and sizes(folder) == before
    assert json.loads(run(tmp_path, "--days", "31", "--json").stdout)["stayed"] == [] and sizes(folder) == before
    cursor.save(path, cursor.Cursor(t=MIDNIGHT + DAY))
    with Lock(tmp_path / "state" / "cex.lock"):
        assert run(tmp_path).returncode == 0 and len(sizes(folder)) == 1, "the recorder is far beyond it"


# -- what may go wrong -----------------------------------------------------------------------------------------------------------


def test_what_a_killed_run_left_is_finished(tmp_path: Path) -> None:
    """Between any two steps: a torn temporary file; the merged file and all, some, or one of its parts."""
    folder = day(tmp_path / "a")
    parts = {path.name: path.read_bytes() for path in folder.iterdir()}
    rows = contents(folder)
    done(tmp_path / "a")
    merged = next(folder.iterdir())
    whole = merged.read_bytes()
    for left in (24, 11, 1):
        for name in sorted(parts)[-left:]:
            (folder / name).write_bytes(parts[name])
        (folder / f".{merged.name}.99999999.tmp").write_bytes(b"PAR1")
        assert contents(folder) == rows, "readers take the merged one"
        (told,) = done(tmp_path / "a")
        assert told.why == "" and told.bytes == sum(len(parts[name]) for name in sorted(parts)[-left:])
        assert sizes(folder) == {merged.name: len(whole)} and merged.read_bytes() == whole


def test_a_part_that_the_merged_file_does_not_have_is_never_deleted(tmp_path: Path) -> None:
    folder = day(tmp_path)
    keep = {path.name: path.read_bytes() for path in folder.iterdir()}
    gone = sorted(keep)[5]
    (folder / gone).unlink()
    done(tmp_path)
    (folder / gone).write_bytes(keep[gone])
    ran = run(tmp_path, "--json")
    assert ran.returncode == 3 and "it was not made of it" in json.loads(ran.stdout)["stayed"][0]["why"]
    other = sorted(keep)[6]
    table = pq.ParquetFile(pa.BufferReader(keep[other])).read()
    (folder / gone).unlink()
    pq.write_table(table.set_column(2, table.schema.field(2), pa.array([9] * len(table))), folder / other)
    (told,) = done(tmp_path)
    assert "column 'U' differs" in told.why and (folder / other).exists()
    # Nor does a recorder take it for its own.
    first, last = part_of(gone).first, part_of(gone).last  # type: ignore[union-attr]
    part = Part("binance_spot", "BTCUSDT", 50)
    part.add(first, 0, (1, 1), [("1", "1")], [])
    part.add(last, 0, (2, 2), [("1", "1")], [])
    with pytest.raises(Corrupt, match="was made without"):
        sink.write(tmp_path, part)


def test_a_recorder_does_not_write_again_what_is_compacted(tmp_path: Path) -> None:
    folder = day(tmp_path)
    done(tmp_path)
    before = sizes(folder)
    assert day(tmp_path) == folder and sizes(folder) == before


def test_a_later_part_of_the_day_joins(tmp_path: Path) -> None:
    folder = day(tmp_path)
    names = sorted(path.name for path in folder.iterdir())
    rows = contents(folder)
    late = (folder / names[-1]).read_bytes()
    (folder / names[-1]).unlink()
    done(tmp_path)
    (folder / names[-1]).write_bytes(late)
    (told,) = done(tmp_path)
    assert told.parts == 2 and len(sizes(folder)) == 1 and contents(folder) == rows
    assert [part_name(first, last) for first, last, _ in parquet.made_of(str(next(folder.iterdir())))] == names


def test_what_is_read_back_wrong_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = day(tmp_path)
    before = sizes(folder)
    real = parquet._cast

    def wrong(table: pa.Table, schema: pa.Schema) -> pa.Table:
        cast = real(table, schema)
        return cast.set_column(3, cast.schema.field(3), pa.compute.add(cast["u"], pa.scalar(int(cast["u"][0].as_py() == 0))))

    monkeypatch.setattr(parquet, "_cast", wrong)
    (told,) = done(tmp_path)
    assert "column 'u' differs" in told.why and sizes(folder) == before


@pytest.mark.parametrize("harm", ["cut", "columns", "overlap", "version"])
def test_what_cannot_be_merged_stays_and_says_why(tmp_path: Path, harm: str) -> None:
    folder = day(tmp_path)
    victim = of_folder(folder)[3]
    table = pq.ParquetFile(victim.path).read()
    if harm == "cut":
        Path(victim.path).write_bytes(Path(victim.path).read_bytes()[:-9])
    elif harm == "columns":
        pq.write_table(table.drop(["U"]), victim.path)
    elif harm == "version":
        pq.write_table(table.replace_schema_metadata({"tapeline.format": "ticks 2"}), victim.path)
    else:
        Path(victim.path).rename(folder / part_name(victim.first, victim.last + DAY // 48))
    day(tmp_path, symbol="ETHUSDT")
    before = sizes(folder)
    ran = run(tmp_path, "--json")
    report = json.loads(ran.stdout)
    assert ran.returncode == 3 and len(report["compacted"]) == 1, "the other market is done"
    said = {"cut": Path(victim.path).name, "columns": "different columns", "version": "different versions", "overlap": "overlap"}[harm]
    assert said in report["stayed"][0]["why"] and sizes(folder) == before


def test_a_full_disk_stops_it_and_loses_nothing(tmp_path: Path) -> None:
    folder = day(tmp_path, rows=400)
    before = sizes(folder)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    ran = run(tmp_path, preexec_fn=limit)
    assert ran.returncode == DiskFull.exit_code and "Traceback" not in ran.stderr and "free some space" in ran.stderr, ran.stderr
    assert sizes(folder) == before
    assert run(tmp_path).returncode == 0 and len(sizes(folder)) == 1


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.sets(st.integers(1, 199), max_size=12),
    places=st.lists(st.integers(0, 8), min_size=13, max_size=13),
    level=st.sampled_from([1, 12]),
)
def test_any_cut_of_a_day_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], places: list[int], level: int
) -> None:
    """However a recorder cut its parts, the one file has the rows of all of them."""
    root = tmp_path_factory.mktemp("day")
    bounds = [0, *sorted(cuts), 200]
    for begin, end, scale in zip(bounds, bounds[1:], places, strict=False):
        part = Part("binance_spot", "BTCUSDT", 16)
        for row in range(begin, end):
            part.add(MIDNIGHT + row * SECOND, row, (row, row), [(f"{row * 1.37:.{scale}f}", f"{row * 0.11:.{scale}f}")], [])
        sink.write(root, part)
    folder = root / days_of(root)
    rows = contents(folder)
    told: list[Compacted] = []
    Compactor(root, level).run(list(days.days(root)), told.append)
    assert contents(folder) == rows and len(uncovered(of_folder(folder))) == 1 and told[0].why == ""


def days_of(root: Path) -> str:
    (one,) = days.days(root)
    return one.folder


def test_the_comparison_finds_every_kind_of_difference() -> None:
    base = pa.table({"t": [1, 2, 3], "x": [0.0, float("nan"), 2.0], "s": pa.array(["a", None, "a"]).dictionary_encode()})
    same = [base.slice(0, 1), base.slice(1)]
    assert parquet.difference([base], same) == "" == parquet.difference(same, [base])
    for at, column, name in (
        (0, pa.array([1, 2, 4]), "t"),
        (1, pa.array([-0.0, float("nan"), 2.0]), "x"),
        (1, pa.array([0.0, None, 2.0]), "x"),
        (2, pa.array(["a", "a", "a"]).dictionary_encode(), "s"),
    ):
        other = base.set_column(at, base.column_names[at], column)
        assert f"{name!r} differs" in parquet.difference([base], [other]), name
    assert "more" in parquet.difference([base], [base.slice(0, 2)]) and "fewer" in parquet.difference([base.slice(0, 2)], [base])
    narrow, wide = (pa.table({"p": pa.array(["1.5", "2"]).cast(pa.decimal128(18, scale))}) for scale in (1, 3))
    assert parquet.difference([wide], [narrow]) == ""
    assert parquet.difference([pa.table({"p": pa.array(["1.501", "2"]).cast(pa.decimal128(18, 3))})], [narrow])


def test_only_what_dead_processes_left_is_swept(tmp_path: Path) -> None:
    folder = day(tmp_path)
    mine = folder / f".{part_name(1, 2)}.{os.getpid()}.tmp"
    mine.write_bytes(b"another thread of a living process")
    done(tmp_path)
    assert mine.exists() and len(of_folder(folder)) == 1


# -- who reads at the same time ----------------------------------------------------------------------------------------------------


class Torn(LocalStore):
    """Its first listing of a day is made while the archiver works: too early for the new file, too late for the parts that it covers."""

    left = 1

    def list(self, folder: str = "") -> list[Entry]:
        found = super().list(folder)
        if "date=" in folder and self.left:
            self.left -= 1
            return [entry for entry in found if part_of(entry.path) is None or entry.bytes < 0]
        return found


def test_a_listing_that_is_made_at_the_wrong_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = day(tmp_path / "there")
    wanted = DataAccessor(tmp_path / "there").ticks("binance_spot", "BTCUSDT", arrow=True)
    with DataAccessor(tmp_path / "none", tmp_path / "cache", remote=Torn(tmp_path / "there")) as data:
        assert data.ticks("binance_spot", "BTCUSDT", arrow=True).equals(wanted)
    whole, looks = of_folder(folder), iter([of_folder(folder)[4:9]])
    monkeypatch.setattr(ticks, "of_folder", lambda folder: next(looks, whole))
    assert DataAccessor(tmp_path / "there").ticks("binance_spot", "BTCUSDT", arrow=True).equals(wanted)
    assert next(looks, None) is None


def test_a_store_whose_parts_are_merged_between_listing_and_fetching(tmp_path: Path) -> None:
    root = tmp_path / "there"
    folder = day(root)
    wanted = DataAccessor(root).ticks("binance_spot", "BTCUSDT", arrow=True)

    class Late(LocalStore):
        def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
            if len(of_folder(folder)) > 1 and part_of(path) == part_of(of_folder(folder)[7].path.removeprefix(f"{root}/")):
                done(root)
            return super().chunks(path, offset, size)

    with DataAccessor(tmp_path / "none", tmp_path / "cache", remote=Late(root)) as data:
        assert data.ticks("binance_spot", "BTCUSDT", arrow=True).equals(wanted)
    assert len(of_folder(folder)) == 1


def test_rebuild_accepts_a_compacted_day_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import storage

    from tape_collectors.market.sampler import TickSetup
    from tape_collectors.series import derive

    monkeypatch.setattr(storage, "TickSetup", lambda: TickSetup(part_rows=800))
    storage.simulate(tmp_path, 0.02, 0, ("BTCUSDT",))
    names = sorted(derive.write_ticks(tmp_path, tmp_path))
    assert len(names) > 4

    def check() -> tuple[int, set[str]]:
        command = [sys.executable, "-m", "tape_archive", "rebuild", "--kind", "ticks", "--check", "--json", "--root", str(tmp_path)]
        ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        return ran.returncode, {one["verdict"] for one in json.loads(ran.stdout)}

    assert check() == (0, {"identical"})
    assert run(tmp_path).returncode == 0
    assert check() == (0, {"same rows, compacted"})
    (merged,) = tmp_path.glob("orderbook_ticks/*/*/*/*.parquet")
    content = merged.read_bytes()
    table = pq.ParquetFile(merged).read()
    changed = table.set_column(2, table.schema.field(2), pa.array([*table["U"].to_pylist()[:-1], 1]))
    told = pq.ParquetFile(merged).metadata.metadata[parquet.PARTS]
    with pq.ParquetWriter(merged, changed.schema) as writer:
        writer.write_table(changed)
        writer.add_key_value_metadata({parquet.PARTS.decode(): told.decode()})
    assert check() == (1, {"same rows, compacted", "DIFFERENT"})
    merged.write_bytes(content)
    first, last = part_of(str(merged)).first, part_of(str(merged)).last  # type: ignore[union-attr]
    merged.rename(merged.with_name(part_name(first - 5, last)))
    assert check() == (1, {"DIFFERENT", "NOT ON THE TAPE"}), "it was renamed"
    merged.with_name(part_name(first - 5, last)).rename(merged)
    (merged.parent / part_name(last + 1, last + 2)).write_bytes(content)
    assert check() == (1, {"same rows, compacted", "NOT ON THE TAPE"}), "a part that no tape makes"
