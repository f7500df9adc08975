"""What Parquet files have of their own: names, what counts, merging, what a crash leaves."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tape_archive.format.errors import Corrupt
from tape_archive.tables import Cursor, merging, parts
from tape_archive.tables.batch import conform, digest, latest
from tape_archive.tables.parquet import ParquetTables
from tape_archive.tables.part_files import encode, scan, whole
from tape_archive.tables.parts import Part
from tape_archive.tables.schema import SPECS
from tests.support.rows import DAY, MIDNIGHT, SECOND, rows

TRADES = SPECS["trades"]
FAN = parts.fan(TRADES)


def put(store: ParquetTables, number: int, start: int = MIDNIGHT, count: int = 3, step: int = SECOND, writer: str = "venue/tape") -> bool:
    batch = rows(TRADES, count, start=start + number * 10 * SECOND, step=step, seed=number)
    took = store.insert("trades", batch, Cursor(writer, number, str(number)))
    store.settle()
    return took


def found(root: Path) -> list[Part]:
    return [part for folder in sorted((root / "market" / "table=trades").glob("date=*")) for part in parts.parts_in(folder)]


def counting(root: Path) -> list[Path]:
    table = root / "market" / "table=trades"
    return [Path(path) for folder in sorted(table.glob("date=*")) for path in parts.counting(folder, parts.ledger_of(table))]


def test_each_row_is_in_one_part_that_counts(tmp_path: Path) -> None:
    """Whatever number of batches, and whether merged parts are still beside what they were made of."""
    store = ParquetTables(tmp_path)
    for number in range(1, 140):
        put(store, number)
        assert sum(pq.read_metadata(path).num_rows for path in counting(tmp_path)) == 3 * number
        assert len(counting(tmp_path)) <= 2 * FAN
    store.close()
    assert any(part.first < part.last for part in found(tmp_path))


def test_merged_parts_become_one_again(tmp_path: Path) -> None:
    """32 of 32: a day of small batches is a handful of files."""
    store = ParquetTables(tmp_path)
    for number in range(1, 1060):
        put(store, number, count=1)
    assert [level for level in (parts.level(part, FAN) for part in parts.uncovered(found(tmp_path))) if level == 2] == [2]
    assert store.count("trades") == 1059 == sum(pq.read_metadata(path).num_rows for path in counting(tmp_path))
    store.close()


def test_what_a_crash_left_never_counts(tmp_path: Path) -> None:
    """The rows of a batch are on the disk, its cursor is not; then a shorter batch follows under its number."""
    store = ParquetTables(tmp_path)
    put(store, 1)

    class Cut(ParquetTables):
        def _move(self, spec: Any, cursor: Cursor) -> None:
            raise KeyboardInterrupt

    store.close()
    cut = Cut(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        put(cut, 2, count=40, step=DAY // 10)
    assert len({Path(part.path).parent for part in found(tmp_path)}) == 4 and cut.count("trades") == 3
    cut.close()
    store = ParquetTables(tmp_path)
    put(store, 2)
    assert store.count("trades") == 6 and len({Path(part.path).parent for part in found(tmp_path)}) == 1
    # The same process may go on after such a failure, too.
    store._move = Cut._move.__get__(store)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        put(store, 3, count=40, step=DAY // 10)
    del store._move
    put(store, 3)
    assert store.count("trades") == 9 and len({Path(part.path).parent for part in found(tmp_path)}) == 1
    store.close()


def test_a_folder_that_is_over_becomes_one_part(tmp_path: Path) -> None:
    """Who reads a month of a table opens one file a day, not dozens."""
    store = ParquetTables(tmp_path)
    for number in range(1, 46):
        put(store, number)
    for number in range(46, 46 + FAN):
        put(store, number, start=MIDNIGHT + DAY)
    before, after = sorted((tmp_path / "market" / "table=trades").glob("date=*"))
    ledger = parts.ledger_of(before.parent)
    assert len(parts.counting(before, ledger)) == 1 == len(parts.counting(after, ledger))
    assert store.count("trades") == 3 * (45 + FAN)
    # What comes late is a part beside it, and is merged with the next one that is over.
    put(store, 46 + FAN, start=MIDNIGHT - 46 * 10 * SECOND)
    assert len(parts.counting(before, parts.ledger_of(before.parent))) == 2
    store.close()


@given(st.lists(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 40)), max_size=30), min_size=1, max_size=6), st.integers(1, 7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merging_by_pieces_is_sorting_everything(tmp_path: Path, given: list[list[tuple[str, int]]], piece: int) -> None:
    """However the rows lie in the parts, and however few of them are in memory."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    tables = [conform(TRADES, _trades(number, chosen)) for number, chosen in enumerate(given)]
    files = [folder / f"{number}.parquet" for number in range(len(tables))]
    for file, table in zip(files, tables, strict=True):
        file.write_bytes(encode(TRADES, table))
    held: list[int] = []

    class Watched(merging.Source):
        def more(self) -> None:
            super().more()
            held.append(len(self.rows))

    with pytest.MonkeyPatch.context() as patch, (folder / "merged.parquet").open("wb") as out:
        patch.setattr(merging, "_PIECE", piece)
        patch.setattr(merging, "Source", Watched)
        merging._write(TRADES, out, [str(file) for file in files])
    # Also where all rows are of one symbol.
    assert max(held) <= 2 * piece
    assert digest(whole(TRADES, str(folder / "merged.parquet"))) == digest(latest(TRADES, pa.concat_tables(tables)))


def _trades(batch: int, chosen: list[tuple[str, int]]) -> dict[str, list[Any]]:
    """A later batch has later receipt times: of equal keys its rows stand."""
    return {
        "timestamp": [MIDNIGHT + second * SECOND for _, second in chosen],
        "receipt_timestamp": [MIDNIGHT + batch * DAY + place * SECOND for place in range(len(chosen))],
        "exchange": ["BINANCE_FUTURES"] * len(chosen),
        "symbol": [f"{symbol}-USDT-PERP" for symbol, _ in chosen],
        "side": ["buy"] * len(chosen),
        "amount": [float(batch)] * len(chosen),
        "price": [float(place) for place in range(len(chosen))],
        "trade_id": [second for _, second in chosen],
    }


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), pa.ArrowInvalid("damaged")])
def test_a_merge_that_fails_costs_no_row_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    store = ParquetTables(tmp_path)

    def failing(spec: Any, out: Any, files: Any) -> None:
        out.write(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(merging, "_write", failing)
        for number in range(1, FAN + 5):
            assert put(store, number)
    assert "merged later" in caplog.text and store.count("trades") == 3 * (FAN + 4)
    assert not list(tmp_path.rglob(".*.tmp")) and all(part.first == part.last for part in found(tmp_path))
    for number in range(FAN + 5, 2 * FAN + 5):
        put(store, number)
    assert store.count("trades") == 3 * (2 * FAN + 4) and any(part.first < part.last for part in found(tmp_path))
    store.close()


def test_one_symbol_is_read_without_the_others(tmp_path: Path) -> None:
    """Row groups that have others only are not read: such a group is damaged here, and nobody sees it."""
    many = 3 * 4096
    names = [f"S{number % 300:03}-USDT-PERP" for number in range(many)]
    batch = conform(TRADES, _trades(0, [("A", number // 300) for number in range(many)]) | {"symbol": names})
    path = tmp_path / "part.parquet"
    path.write_bytes(encode(TRADES, batch))
    group = pq.read_metadata(path).row_group(1).column(TRADES.names.index("price"))
    content = bytearray(path.read_bytes())
    content[group.data_page_offset : group.data_page_offset + 64] = bytes(64)
    path.write_bytes(content)
    for symbol, count in (("S000-USDT-PERP", 41), ("S299-USDT-PERP", 40), ("T", 0), ("A", 0)):
        rows = scan([str(path)], TRADES, TRADES.names, {"symbol": [symbol]}, None, None)
        assert len(rows) == count and set(rows["symbol"].to_pylist()) <= {symbol}
        rows = scan([str(path)], TRADES, ("trade_id",), {"symbol": [symbol]}, MIDNIGHT + 5 * SECOND, MIDNIGHT + 7 * SECOND)
        assert rows["trade_id"].to_pylist() == ([5, 6] if count else [])
    with pytest.raises((Corrupt, OSError)):
        scan([str(path)], TRADES, TRADES.names, {"symbol": ["S150-USDT-PERP"]}, None, None)


def _write(root: str, batches: int) -> None:
    with contextlib.closing(ParquetTables(Path(root))) as store:
        for number in range(1, batches + 1):
            put(store, number)


def test_a_reader_beside_a_writer(tmp_path: Path) -> None:
    """Parts come, merge and go while another process reads: each row once, and never fewer."""
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(str(tmp_path), 300))
    writer.start()
    store, before, looks = ParquetTables(tmp_path), 0, 0
    while before < 900:
        alive = writer.is_alive()
        table = tmp_path / "market" / "table=trades"
        if table.is_dir():
            got = store._again(lambda: store._scan(TRADES, None, None, ("symbol", "timestamp", "trade_id"), {}))
            assert len(got) >= before and len(got) % 3 == 0
            keys = set(zip(*(got[name].to_pylist() for name in got.column_names), strict=True))
            assert len(keys) == len(got), "a row stands in two parts that count"
            before, looks = len(got), looks + 1
        assert alive or before == 900
    writer.join()
    assert writer.exitcode == 0 and looks > 3


def test_pruning_beside_a_writer_that_merges(tmp_path: Path) -> None:
    store, cleaner = ParquetTables(tmp_path), ParquetTables(tmp_path)
    removed = 0
    for number in range(1, 100):
        put(store, number, start=MIDNIGHT + DAY - 500 * SECOND)
        if number % 9 == 0:
            removed += cleaner.prune("trades", MIDNIGHT + DAY - 500 * SECOND + number * 10 * SECOND)
            assert store.count("trades") == 3 and removed == 3 * (number - 1)
    store.close()


NAMES = st.tuples(st.sampled_from("ab"), st.integers(1, 12), st.integers(0, 5))


@given(st.sets(NAMES))
def test_a_part_counts_unless_another_has_its_rows(names: set[tuple[str, int, int]]) -> None:
    made = [Part(writer, first, first + more, f"{writer}{first}{more}") for writer, first, more in names]
    kept = parts.uncovered(made)
    for part in made:
        inside = [other for other in made if part.within(other)]
        assert (part in kept) == (not inside)


@pytest.mark.parametrize("partition", ["day", "month", "year", "none"])
def test_folders_and_their_times(partition: Any) -> None:
    for time in (0, MIDNIGHT, MIDNIGHT - 1, 951_782_400 * SECOND, 1_798_761_599 * SECOND, 7_258_118_399 * SECOND):
        span = parts.span_of(partition, parts.folder_name(partition, time))
        assert span is not None and span[0] <= time < span[1]
        if partition != "none":
            assert parts.folder_name(partition, span[1]) != parts.folder_name(partition, time) == parts.folder_name(partition, span[0])
            assert parts.folder_name(partition, span[1] - 1) == parts.folder_name(partition, time)
    assert parts.span_of(partition, "date=nothing") is None


def test_a_part_or_a_ledger_that_is_damaged_is_named(tmp_path: Path) -> None:
    store = ParquetTables(tmp_path)
    put(store, 1)
    (path,) = counting(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(Corrupt, match="restore"):
        store.read("trades")
    path.write_bytes(whole)
    ledger = parts.cursor_path(tmp_path / "market" / "table=trades", "venue/tape")
    ledger.write_bytes(b"{")
    with pytest.raises(Corrupt, match=ledger.name):
        store.read("trades")
    store.close()


def test_names_of_writers_are_no_paths(tmp_path: Path) -> None:
    store = ParquetTables(tmp_path / "root")
    for number, writer in enumerate(("../../out", "a-b", "a-b-000000000001", "x" * 500, "ü/")):
        put(store, 1, start=MIDNIGHT + number * DAY, writer=writer)
        assert store.cursors(writer)["trades"].batch == 1 and store.cursors(writer)["trades"].writer == writer
    assert store.count("trades") == 15 and [path.name for path in tmp_path.iterdir()] == ["root"]
    store.close()
