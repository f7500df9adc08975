"""Parts as files: exact, whole, never twice, never elsewhere."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_access import DataAccessor
from tape_archive.format import ticks as layout
from tape_archive.format.errors import DiskFull
from tape_archive.format.records import Levels
from tape_collectors.market.sampler import TickSetup
from tape_collectors.market.ticks import Part
from tape_collectors.sinks import ticks
from tests.support.captures import captures
from tests.support.decimals import contents, digits, levels, numbers

T0 = 1_768_046_400 * 10**9


def part(
    bids: Levels, asks: Levels | None = None, symbol: str = "BTCUSDT", venue: str = "binance_spot", at: int = T0, group: int = 1 << 18
) -> Part:
    one = Part(venue, symbol, group)
    one.add(at, at - 5, (7, 9), bids, asks or [])
    return one


def columns(one: Part) -> tuple[list[Decimal | float], list[Decimal | float]]:
    rows = pq.read_table(pa.BufferReader(ticks.encode(ticks.table(one), one.group_rows)))
    return rows["price"].to_pylist(), rows["amount"].to_pylist()


# -- exactness -----------------------------------------------------------------------------------------------------------------------


def _text(value: Decimal | float, places: int) -> str:
    return f"{Decimal(repr(value)) if isinstance(value, float) else value:.{places}f}"


@pytest.mark.captures
def test_every_price_and_size_of_the_captures_comes_back_as_the_same_text(tmp_path: Path) -> None:
    """Decimal text → table → decimal text, for everything in the captures that 15 digits hold: all levels of all books are among it."""
    seen = 0
    for number, (name, data) in enumerate(contents(captures())):
        books = levels(data)
        assert all(digits(text) <= 15 for text in books), name
        by_places: dict[int, list[str]] = {}
        for text in books | {text for text in numbers(data) if digits(text) <= 15}:
            by_places.setdefault(len(text.partition(".")[2]), []).append(text)
        for places, texts in by_places.items():
            texts.sort(key=float)
            back = texts[::-1]
            one = part(list(zip(texts, back, strict=True)), symbol=f"{number}-{places}")
            ticks.write(tmp_path, one)
            rows = DataAccessor(tmp_path).ticks("binance_spot", one.symbol, arrow=True)
            for column, wanted in (("price", texts), ("amount", back)):
                assert [_text(value, places) for value in rows[column].to_pylist()] == wanted, name
            for stored, wanted in zip(columns(one), (texts, back), strict=True):
                assert [_text(value, places) for value in stored] == wanted, name
            seen += len(texts)
    assert seen > 250_000


def _decimal(whole: int, places: int) -> str:
    text = f"{whole:0{places + 1}d}"
    return f"{text[:-places]}.{text[-places:]}" if places else text


@settings(deadline=None, max_examples=200)
@given(st.lists(st.builds(_decimal, st.integers(0, 10**15 - 1), st.integers(0, 12)), min_size=1, max_size=40))
def test_any_decimals_of_fifteen_digits(texts: list[str]) -> None:
    texts.sort(key=float)
    prices, _ = columns(part([(text, "1") for text in texts]))
    assert [float(price) for price in prices] == [float(text) for text in texts]
    assert [Decimal(repr(float(price))) for price in prices] == [Decimal(text) for text in texts]


def test_a_column_is_as_wide_as_its_longest_number_needs() -> None:
    rows = ticks.table(part([("0.07", "3"), ("64000.1", "12.0"), ("100", "0")]))
    assert rows.schema.field("price").type == pa.decimal128(18, 2)
    assert rows.schema.field("amount").type == pa.decimal128(18, 0)
    assert ticks.table(part([("0.000000000001", "0.12345678")])).schema.field("price").type == pa.decimal128(18, 12)
    assert rows["price"].to_pylist() == [Decimal("0.07"), Decimal("100.00"), Decimal("64000.10")]


@pytest.mark.parametrize("text", ["123456789.12345678", "0.00000000012345678901", "1e22", "1e-20"])
def test_what_fifteen_digits_do_not_hold_stays_the_nearest_float(text: str) -> None:
    rows = ticks.table(part([("1", text), ("2", "0.5")]))
    assert rows.schema.field("amount").type == pa.float64()
    assert rows["amount"].to_pylist() == [float(text), 0.5]


# -- the file ------------------------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_part(tmp_path: Path) -> None:
    one = part([("10", "1"), ("9.5", "0")], [("11", "2")])
    one.add(T0 + 3, 0, (10, 10), [], [("12", "4")], True)
    path = ticks.write(tmp_path, one)
    assert path == tmp_path / f"orderbook_ticks/exchange=binance_spot/symbol=BTCUSDT/date=2026-01-10/part-{T0}-{T0 + 3}.parquet"
    rows = pq.ParquetFile(path).read()
    assert rows.column_names == ["ts_event", "ts_recv", "U", "u", "snapshot", "side", "price", "amount"]
    assert rows["ts_event"].cast(pa.int64()).to_pylist() == [T0 - 5] * 3 + [None]
    assert rows["ts_recv"].cast(pa.int64()).to_pylist() == [T0] * 3 + [T0 + 3]
    assert (rows["U"].to_pylist(), rows["u"].to_pylist()) == ([7, 7, 7, 10], [9, 9, 9, 10])
    assert rows["snapshot"].to_pylist() == [False] * 3 + [True]
    assert rows["side"].to_pylist() == ["bid", "bid", "ask", "ask"]
    assert [float(price) for price in rows["price"].to_pylist()] == [9.5, 10, 11, 12]
    assert [float(amount) for amount in rows["amount"].to_pylist()] == [0, 1, 2, 4]


def test_how_it_is_stored() -> None:
    one = part([(f"{price}.5", "1") for price in range(1000)], group=400)
    file = pq.ParquetFile(pa.BufferReader(ticks.encode(ticks.table(one), one.group_rows)))
    assert [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)] == [400, 400, 200]
    price, recv = file.metadata.row_group(0).column(6), file.metadata.row_group(0).column(1)
    assert "BYTE_STREAM_SPLIT" in price.encodings and price.compression == "ZSTD" and price.physical_type == "INT64"
    assert recv.statistics.has_min_max and (recv.statistics.min_raw, recv.statistics.max_raw) == (T0, T0)
    assert file.schema_arrow.metadata[b"tapeline.format"] == b"ticks 1"


def test_prices_rise_within_a_side_and_the_later_of_two_equal_ones_stays_later() -> None:
    prices, amounts = np.array([3.0, 1, 1, 2, 9, 8]), np.array([30.0, 10, 11, 20, 90, 80])
    got = ticks.rising(prices, amounts, np.array([4, 1, 1], np.int64))
    assert got[0].tolist() == [1, 1, 2, 3, 9, 8] and got[1].tolist() == [10, 11, 20, 30, 90, 80]
    assert ticks.rising(got[0], got[1], np.array([4, 1, 1], np.int64))[0] is got[0], "nothing is copied that is in order"


@pytest.mark.parametrize("far", [1e17, 1.7e308])
def test_prices_that_one_key_cannot_tell_apart_rise_too(far: float) -> None:
    prices, each = np.array([2.0, 1, far, -far, 2, 1.5]), np.array([3, 3], np.int64)
    assert ticks.rising(prices, prices, each)[0].tolist() == [1, 2, far, -far, 1.5, 2]


def test_a_part_that_is_there_is_left(tmp_path: Path) -> None:
    path = ticks.write(tmp_path, part([("1", "1")]))
    path.write_bytes(b"as it was")
    ticks.write(tmp_path, part([("1", "1")]))
    assert path.read_bytes() == b"as it was"
    assert [found.name for found in path.parent.iterdir()] == [path.name], "no temporary file stays"


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    path = ticks.write(tmp_path, part([("1", "1")]))
    torn = path.with_name(f".{path.name}.999999999.tmp")
    torn.write_bytes(b"PAR1")
    assert ticks.clean(tmp_path) == 1 and not torn.exists() and path.exists()


# -- names ---------------------------------------------------------------------------------------------------------------------------

HOSTILE = [
    "../../etc",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "a=b/c",
    "\x00",
    "币安",
    "x" * 200,
    "ü" * 200,
    "symbol=BTC",
    " ",
    "~",
    "%2e%2e",
    "\udc80",
]


def _inside(root: Path, venue: str, symbol: str) -> None:
    path = ticks.place(root, part([("1", "1")], venue=venue, symbol=symbol))
    assert path.resolve().is_relative_to(root.resolve()) and len(path.relative_to(root).parts) == 5
    assert all(len(name.encode()) <= 255 for name in path.parts)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_inside_and_come_back(tmp_path: Path, name: str) -> None:
    for venue, symbol in ((name, "BTCUSDT"), ("binance_spot", name), (name, name)):
        _inside(tmp_path, venue, symbol)
    path = ticks.write(tmp_path, part([("1", "2")], symbol=name))
    assert path.resolve().is_relative_to(tmp_path / "orderbook_ticks")
    if len(name.encode("utf-8", "surrogatepass")) <= 66 or name.isascii():
        assert layout.symbols(tmp_path, "binance_spot") == [name]
        assert len(DataAccessor(tmp_path).ticks("binance_spot", name)) == 1


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=220), st.text(max_size=220))
def test_no_name_leaves_the_root(venue: str, symbol: str) -> None:
    _inside(Path("/nowhere/data"), venue, symbol)


def test_files_of_other_names_are_no_parts(tmp_path: Path) -> None:
    path = ticks.write(tmp_path, part([("1", "1")]))
    for name in ("part-1.parquet", "part-000.parquet", "notes.txt"):
        (path.parent / name).write_bytes(b"")
    (tmp_path / "orderbook_ticks" / "exchange=%80").mkdir()
    folder = layout.market_folder(tmp_path, "binance_spot", "BTCUSDT")
    assert [found.path for found in layout.parts(folder)] == [str(path)]
    assert layout.exchanges(tmp_path) == ["binance_spot"]


# -- the writing thread --------------------------------------------------------------------------------------------------------------


def test_the_tape_is_on_the_disk_before_a_part_is(tmp_path: Path) -> None:
    order: list[str] = []
    files = ticks.TickFiles(tmp_path, 1000, lambda: order.append(f"tape, {len(list(tmp_path.rglob('*.parquet')))} parts"))
    for at in range(3):
        files.take(part([("1", "1")], at=T0 + at))
    files.then(lambda: order.append("cursor"))
    files.close()
    assert order == ["tape, 0 parts", "tape, 1 parts", "tape, 2 parts", "cursor"] and (files.files, files.rows) == (3, 3)


def test_a_part_that_cannot_be_written_stops_all_that_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise DiskFull(f"{path}: no space")

    files = ticks.TickFiles(tmp_path, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(ticks, "write_atomic", full)
        files.take(part([("1", "1")]))
        done: list[int] = []
        with pytest.raises(DiskFull):
            files.then(lambda: done.append(1))
            files.close()
    assert not done, "a cursor would be ahead of the part"


def test_a_slow_disk_leaves_no_room_and_holds_up_nobody(tmp_path: Path) -> None:
    gate = threading.Event()
    files = ticks.TickFiles(tmp_path, 2, lambda: (gate.wait(), None)[1])
    # Whoever lets go of the disk here is the one that takes: it would wait for itself.
    for at in range(4):
        files.take(part([("1", "1")], at=T0 + at))
    assert not files.room()
    gate.set()
    while not files.room():
        pass
    files.close()
    assert files.files == 4


def test_defaults_are_what_the_benchmark_chose() -> None:
    assert (TickSetup().group_rows, ticks.OPTIONS["compression_level"], ticks.OPTIONS["compression"]) == (1 << 18, 6, "zstd")
