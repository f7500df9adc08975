"""Listings as pure functions: one form for all venues, and what changed."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tape_archive.format.errors import SettingsError
from tape_archive.format.layout import element, name_of
from tape_collectors.series.recorder import carried
from tape_collectors.venues import VENUES, load
from tape_collectors.venues.instruments import Change, Instrument, changes
from tests.support.captures import captures

BTC = Instrument("BTCUSDT", "BTC-USDT", "TRADING", True, "0.01", "0.001")


def test_what_changed_between_two_looks() -> None:
    before = {"BTCUSDT": BTC, "OLDUSDT": msgspec.structs.replace(BTC, symbol="OLDUSDT")}
    after = {"BTCUSDT": msgspec.structs.replace(BTC, status="BREAK", trading=False, contract="10"), "NEWUSDT": BTC}
    assert changes(before, after, ["BTCUSDT", "OLDUSDT", "NEWUSDT", "NEVER"]) == [
        Change("BTCUSDT", "status", "TRADING", "BREAK"),
        Change("BTCUSDT", "contract", "1", "10"),
        Change("OLDUSDT", "gone", "TRADING", ""),
        Change("NEWUSDT", "listed", "", "TRADING"),
    ]


@pytest.mark.captures
def test_binance_lists_as_it_was_recorded() -> None:
    path = captures() / "binance" / "gocryptotrader-http-mock" / "market_data_rest.jsonl"
    bodies = {
        entry["kind"]: entry["raw"].encode() for entry in map(json.loads, path.read_bytes().splitlines()) if "exchangeInfo" in entry["kind"]
    }
    for kind, body in bodies.items():
        venue = load("binance_usdm" if "fapi" in kind else "binance_spot")
        if "dapi" in kind:
            continue
        found = venue.instruments(body)
        assert found and all(one.tick and one.lot and one.name for one in found.values())
        assert found["BTCUSDT"].name == ("BTC-USDT-PERP" if "fapi" in kind else "BTC-USDT")


@pytest.mark.parametrize("venue", [name for name in VENUES if name != "polymarket"])
def test_a_normal_name_is_the_venues_own_and_back(venue: str) -> None:
    one = load(venue)
    derivative = not venue.endswith("_spot")
    assert one.native("BTC-USDT" + ("-PERP" if derivative else "")) == one.native("BTCUSDT")


HOSTILE = [
    "../../etc/passwd",
    "BTC/../../x-USDT",
    "..",
    ".",
    "/abs",
    "A" * 200,
    "币" * 70,
    "BTC\x00USDT",
    "BTC USDT",
    "CON",
    "a\\b",
    "~root",
    "$(id)",
    "",
]


@pytest.mark.parametrize("venue", [name for name in VENUES if name != "polymarket"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_or_stay_inside_the_root(venue: str, name: str, tmp_path: Path) -> None:
    one = load(venue)
    try:
        native = one.native(name)
        groups = one.groups([name], [], {})
    except SettingsError as error:
        assert "\n" not in str(error)
        return
    for word in (native, *(stream for group in groups for stream in group.names)):
        path = (tmp_path / element(word) / "part.parquet").resolve()
        assert path.is_relative_to(tmp_path) and path.parent.parent == tmp_path and len(path.parent.name.encode()) <= 255
        assert name_of(element(word)) == word


def test_channels_are_each_venues_own_and_one_that_nobody_has_is_refused() -> None:
    venues = [load(name) for name in ("okx_spot", "bybit_linear", "mexc_spot")]
    found = carried(venues, ["books", "trades", "orderbook.50"])
    assert found == {"okx_spot": ["books", "trades"], "bybit_linear": ["orderbook.50"], "mexc_spot": []}
    with pytest.raises(SettingsError, match="unknown channel 'bookz'"):
        carried(venues, ["books", "bookz"])
