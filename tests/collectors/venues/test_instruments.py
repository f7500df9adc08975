"""Listings as pure functions: one form for all venues, and what changed."""

from __future__ import annotations

import json

import msgspec
import pytest

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
