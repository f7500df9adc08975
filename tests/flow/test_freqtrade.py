"""``tape export freqtrade``: what freqtrade itself would have written of the same candles; and the real freqtrade lists and trades it."""

from __future__ import annotations

import asyncio
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from aiohttp import web
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tape_access import freqtrade as layout
from tape_access.commands.export import Report, command
from tape_archive.format.errors import Corrupt, NotFound, SettingsError, TapeError
from tests.support import freqtrade as real
from tests.support.candles import BEGIN, DAY, END, HOUR, MINUTE, SECOND, STEPS, SYMBOLS, Given, candles, mark, rate
from tests.support.postgres import Postgres
from tests.support.servers import rest

#: written by freqtrade 2026.9 (``ohlcv_to_dataframe``, ``ohlcv_store``) of ``candles(0, …)`` of the first day
GOLDEN = Path(__file__).parent / "freqtrade_2026_9"


def export(*words: str) -> tuple[int, Report]:
    done = CliRunner().invoke(command, ["freqtrade", "--to", str(END), *words, "--json"], standalone_mode=False)
    if isinstance(done.exception, TapeError):
        raise done.exception
    assert done.exception is None, done.exception
    return done.return_value, msgspec.json.decode(done.stdout, type=Report)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Given]:
    found = Given(f"parquet://{tmp_path}/root")
    yield found
    found.store.close()


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return ["--root", str(tmp_path / "root"), "--out", str(tmp_path / "data")]


def same_columns(ours: Path, theirs: Path) -> None:
    """Names, types, pieces, and every byte of every column; the whole file where both were written by the same libraries."""
    one, other = (pa.ipc.open_file(path.read_bytes()) for path in (ours, theirs))
    assert one.schema.equals(other.schema) and one.num_record_batches == other.num_record_batches
    for number in range(one.num_record_batches):
        for mine, yours in zip(one.get_batch(number).columns, other.get_batch(number).columns, strict=True):
            buffers = [[None if part is None else part.to_pybytes() for part in column.buffers()] for column in (mine, yours)]
            assert buffers[0] == buffers[1] and mine.null_count == yours.null_count == 0
    made = [json.loads(file.schema.metadata[b"pandas"]) for file in (one, other)]
    pd.testing.assert_frame_equal(pd.read_feather(ours), pd.read_feather(theirs))
    if made[0]["creator"] == made[1]["creator"] and made[0]["pandas_version"] == made[1]["pandas_version"]:
        assert ours.read_bytes() == theirs.read_bytes()


# -- the layout -------------------------------------------------------------------------------------------------------------------


def test_files_are_those_that_freqtrade_writes(tables: Given, words: list[str], tmp_path: Path) -> None:
    tables.all(end=BEGIN + DAY)
    code, made = export(*words, "--to", str(BEGIN + DAY))
    assert code == 0 and made.complete and not made.missing
    names = {f"{base}_USDT_USDT-{rest}.feather" for base in ("BTC", "ETH") for rest in ("5m-futures", "15m-futures", "4h-futures")}
    names |= {f"{base}_USDT_USDT-1h-{rest}.feather" for base in ("BTC", "ETH") for rest in ("mark", "funding_rate")}
    folder = tmp_path / "data" / "binance" / "futures"
    assert {path.name for path in folder.iterdir()} == names == {Path(one.path).name for one in made.files}
    golden = sorted(GOLDEN.glob("*.feather"))
    assert len(golden) == 3
    for path in golden:
        same_columns(folder / path.name, path)


def test_pairs_and_files_are_named_as_there(tmp_path: Path) -> None:
    assert layout.pair("1000PEPE-USDT-PERP") == "1000PEPE/USDT:USDT" and layout.pair("币安人生-USDC-PERP") == "币安人生/USDC:USDC"
    assert layout.file_of(tmp_path, "BTC-USDT-PERP", "5m", "futures") == tmp_path / "futures" / "BTC_USDT_USDT-5m-futures.feather"
    assert layout.file_of(tmp_path, "../../x-USDT-PERP", "5m", "mark").parent == tmp_path / "futures"
    with pytest.raises(SettingsError, match="no perpetual"):
        layout.pair("BTC-USDT")


@given(
    st.lists(st.integers(0, 5 * 3600 - 1), unique=True, max_size=40), st.lists(st.tuples(st.integers(0, 4), st.integers(1, 14)), max_size=5)
)
def test_an_hour_of_mark_prices_is_a_candle_if_it_has_no_hole(odd: list[int], full: list[tuple[int, int]]) -> None:
    """``full``: hours with a price each so many seconds."""
    seconds = sorted({*odd, *(hour * 3600 + at for hour, every in full for at in range(0, 3600, every))})
    prices = [100.0 + second * 7919 % 1000 for second in seconds]
    found = layout.hours(BEGIN + np.array(seconds, np.int64) * SECOND, np.array(prices))
    wanted = []
    for hour in range(5):
        inside = [(at, price) for at, price in zip(seconds, prices, strict=True) if at // 3600 == hour]
        edges = [hour * 3600, *(at for at, _ in inside), hour * 3600 + 3600]
        if inside and max(b - a for a, b in zip(edges, edges[1:], strict=False)) <= layout.QUIET_S:
            values = [price for _, price in inside]
            wanted.append((BEGIN // 1000 + hour * 3_600_000_000, values[0], max(values), min(values), values[-1], 0.0))
    columns = [found["date"].cast(pa.int64()).to_pylist(), *(found[name].to_pylist() for name in found.column_names[1:])]
    assert list(zip(*columns, strict=True)) == wanted


# -- what is missing --------------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_and_not_made_up(tables: Given, words: list[str], tmp_path: Path) -> None:
    rows = candles(0, "5m")
    tables.candles("BTC-USDT-PERP", "5m", rows[10:100] + rows[103:500] + rows[501:-2])
    tables.candles("ETH-USDT-PERP", "5m", candles(1, "5m"))
    code, made = export(*words, "--no-funding", "--from", str(BEGIN))
    one, other = made.files
    assert code == 3 and not made.complete and (one.missing, made.missing, other.missing) == (16, 16, 0)
    assert [(gap.start, gap.end, gap.rows) for gap in one.gaps] == [
        (rows[a][0], rows[b - 1][0] + 5 * MINUTE, b - a) for a, b in ((0, 10), (100, 103), (500, 501), (len(rows) - 2, len(rows)))
    ]
    found = pd.read_feather(one.path)
    assert len(found) == one.candles == len(rows) - 16
    assert found["date"].astype("int64").tolist() == [row[0] // 1000 for row in rows[10:100] + rows[103:500] + rows[501:-2]]
    # Without --from nothing is missing before the first row that there is.
    assert export(*words, "--no-funding", "--symbols", "BTC/USDT:USDT")[1].missing == 6
    said = CliRunner().invoke(
        command, ["freqtrade", *words, "--to", str(END), "--no-funding", "--symbols", "BTCUSDT"], standalone_mode=False
    )
    assert said.return_value == 3 and "2026-11-15 08:20:00 to 2026-11-15 08:35:00 UTC     15m 0s  3 missing" in said.stdout
    assert said.stdout.splitlines()[-1].endswith("6 missing")


def test_before_a_listing_and_after_a_delisting_nothing_is_missing(tables: Given, words: list[str]) -> None:
    tables.candles("BTC-USDT-PERP", "5m", candles(0, "5m", BEGIN + DAY, END - DAY))
    assert export(*words, "--no-funding", "--from", str(BEGIN))[1].missing == 2 * 288
    texts = {name: ["x"] for name in ("native", "status", "base", "quote")}
    seen = {"timestamp": [BEGIN], "multiplier": [1.0], "first_seen": [BEGIN], "last_seen": [BEGIN]}
    tables.put("instruments", "BTC-USDT-PERP", {**seen, **texts, "listed": [BEGIN + DAY], "delisted": [END - DAY]})
    code, made = export(*words, "--no-funding", "--from", str(BEGIN))
    assert code == 0 and made.complete


def test_funding_that_is_not_there_is_missing(tables: Given, words: list[str]) -> None:
    """A backtest would count no fees, and not say so."""
    tables.candles("BTC-USDT-PERP", "5m", candles(0, "5m"))
    code, made = export(*words)
    assert code == 3 and [(one.kind, bool(one.why), one.missing) for one in made.files[1:]] == [
        ("funding_rate", True, 0),
        ("mark", False, 72),
    ]
    assert export(*words, "--no-funding")[0] == 0
    settled = [at for at in range(BEGIN, END, 4 * HOUR) if at != BEGIN + 4 * HOUR]
    tables.put("funding", "BTC-USDT-PERP", {"timestamp": settled, "rate": [0.0001] * len(settled)})
    tables.marks("BTC-USDT-PERP", 0, BEGIN, END - 90 * MINUTE, 10)
    made = export(*words)[1]
    assert [(one.kind, [(gap.start, gap.rows) for gap in one.gaps]) for one in made.files[1:]] == [
        ("funding_rate", [(BEGIN + 4 * HOUR, 1)]),
        ("mark", [(END - 2 * HOUR, 2)]),
    ]


# -- files that are there ---------------------------------------------------------------------------------------------------------


def test_history_grows_while_the_tables_forget(tables: Given, words: list[str], tmp_path: Path) -> None:
    tables.all(end=BEGIN + 2 * DAY)
    export(*words, "--to", str(BEGIN + 2 * DAY))
    for seed, symbol in enumerate(SYMBOLS):
        for timeframe in STEPS:
            tables.candles(symbol, timeframe, candles(seed, timeframe, BEGIN + 2 * DAY))
        settled = range(BEGIN + 2 * DAY, END, 8 * HOUR)
        tables.put("funding", symbol, {"timestamp": list(settled), "rate": [rate(6 + n) for n in range(len(settled))]})
        tables.marks(symbol, seed, BEGIN + 2 * DAY, END, 5)
    for table in ("candles_5m", "funding", "index"):
        tables.store.prune(table, BEGIN + DAY)
    code, made = export(*words)
    assert code == 0 and {one.first for one in made.files} == {BEGIN}
    assert {(one.kind, one.exported) for one in made.files if one.kind == "mark"} == {("mark", 24)}, (
        "hours that are there are not made again"
    )
    fresh = Given(f"parquet://{tmp_path}/fresh")
    fresh.all()
    export("--root", str(tmp_path / "fresh"), "--out", str(tmp_path / "whole"))
    fresh.store.close()
    names = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.feather"))
    assert len(names) == 10 and all((tmp_path / "whole" / name).read_bytes() == (tmp_path / "data" / name).read_bytes() for name in names)
    made = export(*words, "--replace", "--timeframes", "5m", "--no-funding")[1]
    assert {(one.candles, one.first) for one in made.files} == {(2 * 288, BEGIN + DAY)}


def test_what_freqtrade_downloaded_stays_and_the_tables_rows_win(tables: Given, words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "binance" / "futures"
    folder.mkdir(parents=True)
    dates = pd.to_datetime([BEGIN - HOUR, BEGIN], unit="ns", utc=True)
    old = pd.DataFrame({"date": dates.as_unit("ms"), "open": [1.0, 2.0], "high": 1.0, "low": 1.0, "close": 1.0, "volume": 0})
    old.to_feather(folder / "BTC_USDT_USDT-5m-futures.feather")
    # As freqtrade kept rates before 2026, some ms late.
    late = old.assign(date=(dates + pd.Timedelta(milliseconds=3)).as_unit("ns"))
    late.to_feather(folder / "BTC_USDT_USDT-1h-funding_rate.feather")
    tables.candles("BTC-USDT-PERP", "5m", candles(0, "5m"))
    tables.put("funding", "BTC-USDT-PERP", {"timestamp": [BEGIN], "rate": [0.25]})
    export(*words)
    found = pd.read_feather(folder / "BTC_USDT_USDT-5m-futures.feather")
    assert len(found) == 1 + 3 * 288 and found["open"][:2].tolist() == [1.0, candles(0, "5m")[0][1]]
    rates = pd.read_feather(folder / "BTC_USDT_USDT-1h-funding_rate.feather")
    assert rates.columns.tolist() == ["date", "funding_rate"] and rates["funding_rate"].tolist() == [1.0, 0.25]
    assert rates["date"].dtype == found["date"].dtype == "datetime64[us, UTC]"


@pytest.mark.parametrize("content", [b"", b"ARROW1 and then nothing", b"x" * 5000])
def test_a_file_that_is_none_is_not_replaced_unasked(tables: Given, words: list[str], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data" / "binance" / "futures" / "BTC_USDT_USDT-5m-futures.feather"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    tables.candles("BTC-USDT-PERP", "5m", candles(0, "5m"))
    with pytest.raises(Corrupt, match="--replace"):
        export(*words, "--no-funding")
    assert path.read_bytes() == content
    assert export(*words, "--no-funding", "--replace")[0] == 0


def test_what_cannot_be_meant_is_one_line(tables: Given, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no tables under"):
        export("--root", str(tmp_path / "elsewhere"))
    with pytest.raises(NotFound, match="market-record"):
        export(*words)
    tables.candles("BTC-USDT-PERP", "5m", candles(0, "5m"))
    with pytest.raises(NotFound, match=r"DOGE.*BTC-USDT-PERP"):
        export(*words, "--symbols", "DOGE*")
    with pytest.raises(SettingsError, match="no interval"):
        export(*words, "--timeframes", "5x")
    with pytest.raises(SettingsError, match="not before"):
        export(*words, "--from", str(END))
    with pytest.raises(NotFound, match="no candles of 1d"):
        export(*words, "--timeframes", "1d")
    with pytest.raises(NotFound, match="nothing was written"):
        export(*words, "--from", str(END - MINUTE), "--no-funding")
    assert not (tmp_path / "data").exists()


# -- PostgreSQL -------------------------------------------------------------------------------------------------------------------


def test_postgresql_gives_the_same_files_and_the_briefs_rows(tables: Given, words: list[str], tmp_path: Path) -> None:
    server = Postgres()
    server.start()
    try:
        other = Given(server.url("market"))
        for given in (tables, other):
            given.all(end=BEGIN + DAY, every_s=10)
        export(*words, "--to", str(BEGIN + DAY))
        export("--store", server.url("market"), "--out", str(tmp_path / "other"), "--to", str(BEGIN + DAY))
        names = sorted(path.relative_to(tmp_path / "data") for path in (tmp_path / "data").rglob("*.feather"))
        assert len(names) == 10
        assert all((tmp_path / "other" / name).read_bytes() == (tmp_path / "data" / name).read_bytes() for name in names)
        other.store.close()
        brief = Given(server.url("brief"))
        asyncio.run(_brief(brief, server.url()))
        brief.store.close()
    finally:
        server.stop()


async def _brief(tables: Given, url: str) -> None:
    """Its own words, on candles of the last forty days by the server's clock."""
    db = await asyncpg.connect(url.partition("?")[0], server_settings={"search_path": "brief"})
    try:
        now = int(await db.fetchval("SELECT extract(epoch FROM now())::bigint")) * SECOND
        begin = (now - 40 * DAY) // DAY * DAY
        rows = candles(3, "4h", begin, now)
        await asyncio.to_thread(tables.candles, "BTC-USDT-PERP", "5m", rows)
        await asyncio.to_thread(tables.candles, "ETH-USDT-PERP", "5m", rows[::2])
        found = await db.fetch(
            """
            SELECT * FROM candles_5m
            WHERE symbol = 'BTC-USDT-PERP'
              AND timestamp > NOW() - INTERVAL '30 days'
            ORDER BY timestamp DESC
            """
        )
        after = int(await db.fetchval("SELECT extract(epoch FROM now())::bigint")) * SECOND
    finally:
        await db.close()
    got = [
        (round(row["timestamp"].timestamp()) * SECOND, *(row[name] for name in ("open", "high", "low", "close", "volume"))) for row in found
    ]
    assert got == sorted(got, reverse=True) and len(got) == len(set(got))
    assert {row for row in rows if row[0] > after - 30 * DAY} <= set(got) <= {row for row in rows if row[0] > now - 30 * DAY}


# -- the real one -----------------------------------------------------------------------------------------------------------------

STORE = """
import json, sys
from pathlib import Path
from freqtrade.data.converter import ohlcv_to_dataframe
from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for pair, timeframe, kind, rows in json.loads(Path(sys.argv[2]).read_text()):
    kind = CandleType.from_string(kind)
    data = ohlcv_to_dataframe(rows, timeframe, pair, fill_missing=False, drop_incomplete=False, candle_type=kind)
    get_datahandler(folder, "feather").ohlcv_store(pair, timeframe, data, kind)
"""
STRATEGY = """
from freqtrade.strategy import IStrategy


class EachSettlement(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "5m"
    minimal_roi = {"0": 100}
    stoploss = -0.99
    startup_candle_count = 0

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        date = dataframe["date"].dt
        dataframe.loc[(date.hour % 8 == 7) & (date.minute == 40), "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        date = dataframe["date"].dt
        dataframe.loc[(date.hour % 8 == 0) & (date.minute == 40), "exit_long"] = 1
        return dataframe
"""


def answers(seed: int, timeframe: str, end: int) -> list[list[float]]:
    """Candles as freqtrade gets them from the exchange, in ms."""
    return [[row[0] // 1_000_000, *row[1:]] for row in candles(seed, timeframe, end=end)]


def wanted(end: int) -> list[tuple[str, str, str, list[list[float]]]]:
    """What freqtrade is given to store."""
    hours = [[mark(0, at + n * 5 * SECOND) for n in range(720)] for at in range(BEGIN, end, HOUR)]
    marks = [[(BEGIN + n * HOUR) // 1_000_000, one[0], max(one), min(one), one[-1], 0.0] for n, one in enumerate(hours)]
    rates = [[at // 1_000_000 + 3, rate(n)] for n, at in enumerate(range(BEGIN, end, 8 * HOUR))]
    return [
        ("BTC/USDT:USDT", "5m", "futures", answers(0, "5m", end)),
        ("BTC/USDT:USDT", "1h", "mark", marks),
        ("BTC/USDT:USDT", "1h", "funding_rate", rates),
    ]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real.environment(tmp_path_factory.mktemp("freqtrade"))


@pytest.mark.long
def test_freqtrade_still_writes_such_files(place: Path, tables: Given, words: list[str], tmp_path: Path) -> None:
    """Also long ones, which are in several pieces."""
    (tmp_path / "rows.json").write_text(json.dumps(wanted(BEGIN + DAY)))
    real.python(place, STORE, str(tmp_path / "theirs"), str(tmp_path / "rows.json"))
    golden = sorted(GOLDEN.glob("*.feather"))
    assert sorted(path.name for path in (tmp_path / "theirs" / "futures").iterdir()) == [path.name for path in golden]
    for path in golden:
        same_columns(tmp_path / "theirs" / "futures" / path.name, path)
    end = BEGIN + 240 * DAY
    (tmp_path / "rows.json").write_text(json.dumps([("BTC/USDT:USDT", "5m", "futures", answers(0, "5m", end))]))
    real.python(place, STORE, str(tmp_path / "theirs"), str(tmp_path / "rows.json"))
    tables.candles("BTC-USDT-PERP", "5m", candles(0, "5m", end=end))
    assert export(*words, "--no-funding", "--to", str(end))[1].candles == 69_120
    name = "BTC_USDT_USDT-5m-futures.feather"
    same_columns(tmp_path / "data" / "binance" / "futures" / name, tmp_path / "theirs" / "futures" / name)


@pytest.mark.long
async def test_freqtrade_lists_and_trades_it(place: Path, tables: Given, tmp_path: Path) -> None:
    tables.all()
    user = tmp_path / "user_data"
    (user / "strategies").mkdir(parents=True)
    (user / "strategies" / "settlement.py").write_text(STRATEGY)
    assert export("--root", str(tmp_path / "root"), "--out", str(user / "data"))[0] == 0
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.Response(text=real.instruments({"BTC": "0.01", "ETH": "0.01"}), content_type="application/json")

    async with rest(answer) as root:
        config = tmp_path / "config.json"
        config.write_text(json.dumps(real.configuration(root, ["BTC/USDT:USDT", "ETH/USDT:USDT"])))
        common = ("--userdir", str(user), "--config", str(config))
        listed = await real.run(place, "list-data", *common, "--show-timerange")
        assert not asked, "list-data asks nobody"
        span = ("--strategy", "EachSettlement", "--cache", "none", "--export", "trades", "--timerange", "20261115-20261118")
        await real.run(place, "backtesting", *common, *span)
    assert set(asked) == {"/fapi/v1/exchangeInfo"}
    found = {tuple(cell.strip() for cell in line.split("│")[1:-1]) for line in listed.splitlines() if line.startswith("│")}
    sizes = {
        ("5m", "futures"): "864",
        ("15m", "futures"): "288",
        ("4h", "futures"): "18",
        ("1h", "mark"): "72",
        ("1h", "funding_rate"): "9",
    }
    assert {(row[0], row[1], row[2], row[5]) for row in found} == {
        (f"{base}/USDT:USDT", *key, size) for base in ("BTC", "ETH") for key, size in sizes.items()
    }
    check_trades(trades_of(user))


def trades_of(user: Path) -> list[dict[str, Any]]:
    """Those of the one backtest."""
    (path,) = (user / "backtest_results").glob("*.zip")
    with zipfile.ZipFile(path) as file:
        result = json.loads(file.read(f"{path.stem}.json"))
    found: list[dict[str, Any]] = result["strategy"]["EachSettlement"]["trades"]
    return found


def check_trades(trades: list[dict[str, Any]]) -> None:
    """Opened and closed at the prices of the candles, and charged for the settlement between."""
    opens = {(f"{symbol[:3]}/USDT:USDT", row[0]): row[1] for seed, symbol in enumerate(SYMBOLS) for row in candles(seed, "5m")}
    whole = [trade for trade in trades if trade["exit_reason"] == "exit_signal"]
    times = {(trade["pair"], trade["open_timestamp"] * 1_000_000) for trade in whole}
    settled = range(BEGIN + 8 * HOUR, END, 8 * HOUR)
    assert times == {(pair, at - 15 * MINUTE) for pair in ("BTC/USDT:USDT", "ETH/USDT:USDT") for at in settled}
    for trade in whole:
        opened, closed = (trade[f"{end}_timestamp"] * 1_000_000 for end in ("open", "close"))
        assert closed - opened == HOUR
        assert (trade["open_rate"], trade["close_rate"]) == (opens[trade["pair"], opened], opens[trade["pair"], closed])
        at = opened + 15 * MINUTE
        seed = ("BTC/USDT:USDT", "ETH/USDT:USDT").index(trade["pair"])
        fee = trade["amount"] * mark(seed, at) * rate((at - BEGIN) // (8 * HOUR))
        assert math.isclose(trade["funding_fees"], -fee, rel_tol=1e-9, abs_tol=1e-12)
