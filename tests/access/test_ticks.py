"""``DataAccessor.ticks``: the right rows, from no more files than needed."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tape_access import DataAccessor, FormatError, NotFound, SettingsError
from tape_archive.format.rotation import HOUR
from tape_collectors.market.ticks import Part
from tape_collectors.sinks import ticks

#: 2026-01-10T22:00:00Z
START = 1_768_082_400 * 10**9
ROWS = 300


def fill(
    root: Path, hours: int = 4, venue: str = "binance_spot", symbol: str = "BTCUSDT", digits: int = 2
) -> list[tuple[int, float, float]]:
    """Hours of one row each 12 s, and sometimes two at one time; gives (time, price, amount) in order."""
    chance, made = random.Random(f"{venue}{symbol}"), []
    for hour in range(hours):
        one = Part(venue, symbol, 50)
        for row in range(ROWS):
            t = START + hour * HOUR + row * 12 * 10**9
            prices = sorted(f"{chance.uniform(1, 9):.{digits}f}" for _ in range(chance.choice((1, 1, 2))))
            one.add(t, t - 7, (row, row), [(price, f"{row}.25") for price in prices], [])
            made += [(t, float(price), row + 0.25) for price in prices]
        ticks.write(root, one)
    return made


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, float, float]]]:
    root = tmp_path_factory.mktemp("ticks")
    fill(root, symbol="ETHUSDT")
    return root, fill(root)


Stored = tuple[Path, list[tuple[int, float, float]]]


def triples(table: pa.Table) -> list[tuple[int, float, float]]:
    return list(zip(table["ts_recv"].cast(pa.int64()).to_pylist(), table["price"].to_pylist(), table["amount"].to_pylist(), strict=True))


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_range_is_exactly_its_rows(stored: Stored, data: st.DataObject) -> None:
    root, made = stored
    edge = st.sampled_from([row[0] for row in made]) | st.integers(START - HOUR, START + 5 * HOUR)
    moment = st.none() | st.builds(lambda at, step: at + step, edge, st.sampled_from([-1, 0, 1]))
    begin, end = data.draw(moment), data.draw(moment)
    wanted = [row for row in made if (begin is None or row[0] >= begin) and (end is None or row[0] <= end)]
    if not wanted:
        with pytest.raises(NotFound, match="in that time"):
            DataAccessor(root).ticks("binance_spot", "BTCUSDT", begin, end)
        return
    assert triples(DataAccessor(root).ticks("binance_spot", "BTCUSDT", begin, end, arrow=True)) == wanted
    only = DataAccessor(root).ticks("binance_spot", "BTCUSDT", begin, end, ["amount"], arrow=True)
    assert only.column_names == ["amount"] and only["amount"].to_pylist() == [row[2] for row in wanted]


def test_a_frame(stored: Stored) -> None:
    root, made = stored
    frame = DataAccessor(root).ticks("binance_spot", "BTCUSDT", "2026-01-10T22:00:00Z", "2026-01-10T23:00:00Z")
    assert list(frame.columns) == ["ts_event", "ts_recv", "U", "u", "snapshot", "side", "price", "amount"]
    assert frame["ts_recv"].dtype == "datetime64[ns, UTC]" and frame["price"].dtype == frame["amount"].dtype == "float64"
    assert frame["ts_recv"].iloc[0] == pd.Timestamp(START, tz="UTC") and (frame["ts_recv"] - frame["ts_event"]).eq(pd.Timedelta(7)).all()
    assert len(frame) == len([row for row in made if row[0] <= START + HOUR]) and set(frame["side"]) == {"bid"}


def test_only_what_is_needed_is_read(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = stored
    opened: list[str] = []
    groups: list[int] = []
    columns: list[list[str]] = []

    class Watched(pq.ParquetFile):
        def __init__(self, path: str, **more: object) -> None:
            opened.append(path)
            super().__init__(path, **more)

        def read_row_groups(self, chosen: list[int], columns: list[str], **more: object) -> pa.Table:
            groups.append(len(chosen))
            asked.append(columns)
            return super().read_row_groups(chosen, columns=columns, **more)

    asked = columns
    monkeypatch.setattr(pq, "ParquetFile", Watched)
    half = HOUR // 2
    rows = DataAccessor(root).ticks("binance_spot", "BTCUSDT", START + HOUR + half, START + 2 * HOUR + half, ["price"], arrow=True)
    assert len(opened) == 2 and all("symbol=BTCUSDT" in path for path in opened)
    whole = [pq.ParquetFile.__mro__[1](path).metadata.num_row_groups for path in opened]
    assert all(0 < read <= all_ // 2 + 1 < all_ for read, all_ in zip(groups, whole, strict=True))
    assert columns == [["price", "ts_recv"]] * 2 and rows.column_names == ["price"]
    opened.clear()
    DataAccessor(root).ticks("binance_spot", "BTCUSDT", START, START + HOUR - 1, ["price"])
    assert len(opened) == 1 and columns[-1] == ["price"], "an hour that is wholly asked for needs no times"


def test_names_of_earlier_tools(tmp_path: Path) -> None:
    fill(tmp_path, 1, "gate_spot", "VIRTUAL_USDT")
    fill(tmp_path, 1, "mexc_spot", "VIRTUALUSDT")
    fill(tmp_path, 1, "okx_swap", "BTC-USDT-SWAP")
    fill(tmp_path, 1, "binance_usdm", "BTCUSDT")
    fill(tmp_path, 1, "binance_spot", "BTCUSDT")
    data = DataAccessor(tmp_path)
    for exchange, symbol in (
        *(("gate_io", "VIRTUAL-USDT"), ("gate_spot", "VIRTUAL_USDT"), ("Gate_IO", "virtual-usdt"), ("mexc", "VIRTUAL-USDT")),
        *(("okx_swap", "BTC-USDT-PERP"), ("binance", "BTC-USDT"), ("binance_perp", "BTC/USDT")),
    ):
        assert len(data.ticks(exchange, symbol)) >= ROWS, (exchange, symbol)
    assert not data.ticks("binance", "BTC-USDT").equals(data.ticks("binance_perp", "BTC-USDT"))


def test_a_name_that_may_be_two_markets(tmp_path: Path) -> None:
    for symbol in ("BTC-USDT", "BTC-USDT-SWAP"):
        fill(tmp_path, 1, "okx", symbol)
    data = DataAccessor(tmp_path)
    assert len(data.ticks("okx", "BTC-USDT-SWAP")) != len(data.ticks("okx", "BTC-USDT"))
    with pytest.raises(SettingsError, match="BTC-USDT, BTC-USDT-SWAP"):
        data.ticks("okx", "BTCUSDT")


def test_what_is_not_there(tmp_path: Path, stored: Stored) -> None:
    with pytest.raises(NotFound, match="--ticks"):
        DataAccessor(tmp_path).ticks("binance_spot", "BTCUSDT")
    data = DataAccessor(stored[0])
    with pytest.raises(NotFound, match="there: binance_spot"):
        data.ticks("kraken", "BTCUSDT")
    with pytest.raises(NotFound, match="there is ETHUSDT"):
        data.ticks("binance_spot", "ETHUSD")
    with pytest.raises(SettingsError, match="did you mean 'price'"):
        data.ticks("binance_spot", "BTCUSDT", columns=["prize"])


def test_parts_of_different_scales_and_kinds(tmp_path: Path) -> None:
    wanted = []
    for hour, texts in enumerate((["1.5", "2"], ["0.12345678"], ["12345678901234567.5", "3"], ["7"])):
        one = Part("binance_spot", "BTCUSDT", 50)
        texts.sort(key=float)
        one.add(START + hour * HOUR, 0, (1, 1), [(text, "1") for text in texts], [])
        ticks.write(tmp_path, one)
        wanted += [float(text) for text in texts]
    table = DataAccessor(tmp_path).ticks("binance_spot", "BTCUSDT", arrow=True)
    assert table["price"].to_pylist() == wanted and table.schema.field("price").type == pa.float64()
    assert table["ts_event"].null_count == len(wanted)


@pytest.mark.parametrize("harm", ["empty", "cut", "page", "other"])
def test_damage_is_told(tmp_path: Path, harm: str) -> None:
    fill(tmp_path, 2)
    path = sorted(tmp_path.rglob("*.parquet"))[1]
    content = bytearray(path.read_bytes())
    if harm == "page":
        # The first bytes of a page's compressed data: zstd refuses them.
        content[4:600] = bytes(596)
    path.write_bytes({"empty": b"", "cut": content[:-9], "page": content, "other": b"a,b\n1,2\n"}[harm])
    data = DataAccessor(tmp_path)
    with pytest.raises(FormatError, match=r"part-\d+"):
        data.ticks("binance_spot", "BTCUSDT")
    assert len(data.ticks("binance_spot", "BTCUSDT", START, START + HOUR - 1)) >= ROWS, "the other hour can be read"
