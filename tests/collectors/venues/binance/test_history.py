"""What Binance's answers about the past and the files of its archive say."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from tape_archive.format.errors import VenueProtocolError
from tape_collectors.backfill import archive
from tape_collectors.venues.binance import history
from tape_collectors.venues.binance.history import MINUTE
from tape_collectors.venues.binance.wire import MS
from tests.support.captures import captures

T = 1_795_000_000_000 * MS
#: the columns are those of the sheet, section 3.6
KLINE = "1727827200000,60800.00,60850.10,60790.20,60811.50,212.336,1727827259999,12914550.53470,3741,101.500,6173421.10250,0"
AGG = "2345678901,60811.5,0.104,5400000001,5400000003,1727827200123,true"
HEADS = {
    "klines": "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
    "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
}
CANDLE = (1_727_827_200_000 * MS, 60800.0, 60850.1, 60790.2, 60811.5, 212.336, 12914550.5347, 3741, 101.5, 6173421.1025)
TRADE = (1_727_827_200_123 * MS, "sell", 0.104, 60811.5, 2345678901, 5400000001, 5400000003)


def rows(columns: history.Columns) -> list[tuple[Any, ...]]:
    return list(zip(*columns.values(), strict=True))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("micro", [True, False])
def test_files_with_and_without_a_header_in_both_units(header: bool, micro: bool) -> None:
    for kind, first, want, names in (("klines", KLINE, CANDLE, history.CANDLES), ("aggTrades", AGG, TRADE, history.TRADES)):
        line = first
        for ms in ("1727827200000", "1727827200123") if micro else ():
            line = line.replace(ms, ms + "000")
        line = line.replace("1727827259999", "1727827259999999") if micro else line
        text = f"{HEADS[kind]}\n{line}\n" if header else f"{line}\n"
        found = history.archived(kind, io.StringIO(text))
        assert tuple(found) == names and rows(found) == [want]
        # Units may change within a file: each row tells its own.
        assert rows(history.archived(kind, io.StringIO(text + first + "\n"))) == [want, want]


def test_an_empty_file_and_one_of_a_header_have_no_rows() -> None:
    for text in ("", HEADS["klines"] + "\n"):
        assert rows(history.archived("klines", io.StringIO(text))) == []


@pytest.mark.parametrize("line", ["1727827200000,1", "x,2,3,4,5,6,7", AGG.replace("true", "maybe"), AGG.replace("0.104", "")])
def test_a_line_that_cannot_be_is_told_with_its_number(line: str) -> None:
    with pytest.raises(VenueProtocolError, match="line 2"):
        history.archived("aggTrades", io.StringIO(f"{AGG}\n{line}\n"))


def test_funding_and_metrics_files() -> None:
    found = history.archived("fundingRate", io.StringIO("calc_time,funding_interval_hours,last_funding_rate\n1727827200006,8,0.00005\n"))
    assert rows(found) == [(1_727_827_200_000 * MS, 0.00005, None)]
    line = "2024-10-02 00:05:00,BTCUSDT,84321.123,5130000000.5,1,2,3,4"
    assert rows(history.archived("metrics", io.StringIO(f"create_time,symbol,sum_open_interest\n{line}\n"))) == [
        (1_727_827_500_000 * MS, 84321.123, 5130000000.5)
    ]


def test_a_candle_that_has_not_closed_is_no_row() -> None:
    begun = T // MS // MINUTE * MINUTE
    row = [begun, "1", "2", "0.5", "1.5", "10", begun + MINUTE - 1, "15", 3, "4", "6", "0"]
    request = history.klines("BTCUSDT", "1m", begun, begun).request
    data = json.dumps([row]).encode()
    assert not rows(history.answer((begun + MINUTE - 1) * MS, request, data))
    assert len(rows(history.answer((begun + MINUTE) * MS, request, data))) == 1


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (history.klines("BTCUSDT", "1m", 0, 0).request, [[60000, "1", "2", "1", "1", "1", 119999, "1", 1, "1", "1", "0"]]),
        (history.agg_trades("BTCUSDT", 10).request, [{"a": 9, "p": "1", "q": "1", "f": 1, "l": 1, "T": 5, "m": True}]),
        (history.agg_trades("BTCUSDT", 1).request, [{"a": a, "p": "1", "q": "1", "f": 1, "l": 1, "T": 5, "m": True} for a in (3, 2)]),
        (history.fundings("BTCUSDT", 0, 9).request, [{"symbol": "ETHUSDT", "fundingTime": 5, "fundingRate": "1", "markPrice": "1"}]),
        (history.klines("BTCUSDT", "1m", 0, 0).request, {"code": -1121}),
        (history.klines("BTCUSDT", "1m", 0, 0).request, [[0, "NOT", "2", "1", "1", "1", 5, "1", 1, "1", "1", "0"]]),
        ("GET /fapi/v1/time", {}),
    ],
)
def test_an_answer_to_something_else_is_refused(request_: str, body: object) -> None:
    with pytest.raises(VenueProtocolError):
        history.answer(T, request_, json.dumps(body).encode())


def test_weights_and_limits_of_requests() -> None:
    for count, weight in ((1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10)):
        fetch = history.klines("BTCUSDT", "5m", 0, (count - 1) * 5 * MINUTE)
        assert fetch.weight == weight and fetch.request.endswith(f"limit={count}")
    assert history.archive_path("klines", "BTCUSDT", "1m", "2026-10").endswith("/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-10.zip")
    assert history.archive_path("aggTrades", "BTCUSDT", "", "2026-10-01").endswith(
        "/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-10-01.zip"
    )


PATHS = ("/fapi/v1/klines", "/fapi/v1/aggTrades", "/fapi/v1/fundingRate", "/futures/data/openInterestHist")


@pytest.mark.captures
@pytest.mark.parametrize("path", PATHS)
def test_recorded_answers(path: str) -> None:
    """Rows are compared one by one with what the JSON says. The source asked in seconds, so the times that were asked for are set right."""
    times = {"klines": 0, "aggTrades": "T", "fundingRate": "fundingTime", "openInterestHist": "timestamp"}
    key: Any = times[path.rpartition("/")[2]]
    seen = 0
    for entry in map(
        json.loads, (captures() / "binance" / "gocryptotrader-http-mock" / "market_data_rest.jsonl").read_bytes().splitlines()
    ):
        body = json.loads(entry["raw"])
        if entry["kind"] != f"GET {path}" or not body or (isinstance(body[0], dict) and "contractType" in body[0]):
            continue
        query = {name: values[0] for name, values in parse_qs(entry["query"]).items()} | {
            "startTime": body[0][key],
            "endTime": body[-1][key],
        }
        found = history.answer(T, f"GET {path}?{urlencode(query)}", entry["raw"].encode())
        assert len(rows(found)) == len(body)
        for row, said in zip(rows(found), body, strict=True):
            assert row[0] == (int(said[key]) // MINUTE * MINUTE if path.endswith("fundingRate") else int(said[key])) * MS
            if path.endswith("klines"):
                assert row[1:] == (*map(float, said[1:6]), float(said[7]), said[8], float(said[9]), float(said[10]))
            elif path.endswith("aggTrades"):
                assert row[1:] == ("sell" if said["m"] else "buy", float(said["q"]), float(said["p"]), said["a"], said["f"], said["l"])
            elif path.endswith("fundingRate"):
                assert row[1] == float(said["fundingRate"])
            else:
                assert row[1:] == (float(said["sumOpenInterest"]), float(said["sumOpenInterestValue"]))
        seen += len(body)
    assert seen >= 5


def _files() -> list[Path]:
    """Files of the public archive, if the captures hold some: <symbol>-<kind or interval>-<date>.zip or .csv."""
    return sorted(path for end in ("zip", "csv") for path in captures().glob(f"binance/**/*-20[0-9][0-9]-*.{end}"))


@pytest.mark.captures
def test_recorded_files_of_the_archive() -> None:
    found = _files()
    if not found:
        pytest.skip("these captures hold no file of the public archive")
    for path in found:
        middle = path.stem.split("-")[1]
        kind = middle if middle in ("aggTrades", "fundingRate", "metrics") else "klines"
        data = path.read_bytes()
        if path.suffix == ".csv":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as file:
                file.writestr(path.name, data)
            data = packed.getvalue()
        made = archive.rows(f"{history.ARCHIVE}/daily/{kind}/x", data)
        times = made["timestamp"]
        assert times and times == sorted(times) and all(10**18 < ns < 2 * 10**18 for ns in times), path
