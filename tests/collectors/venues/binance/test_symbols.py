"""Names, groups and exchangeInfo."""

from __future__ import annotations

import json

import pytest

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.venues.binance import SPOT, USDM
from tape_collectors.venues.binance.symbols import listed, native, resolve, stream_name, stream_of

INFO = json.dumps(
    {
        "symbols": [
            {"symbol": "ETHUSDT", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "USDT", "contractType": "PERPETUAL"},
            {"symbol": "ETHUSDT_261225", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "USDT", "contractType": "CURRENT_QUARTER"},
            {"symbol": "OLDUSDT", "status": "SETTLING", "baseAsset": "OLD", "quoteAsset": "USDT", "contractType": "PERPETUAL"},
            {"symbol": "币安人生USDT", "status": "TRADING", "baseAsset": "币安人生", "quoteAsset": "USDT", "contractType": "PERPETUAL"},
        ]
    }
).encode()


@pytest.mark.parametrize("name", ["ETHUSDT", "ethusdt", "ETH-USDT", "eth/usdt", "ETH-USDT-PERP", " eth-usdt-swap "])
def test_every_form_of_a_symbol(name: str) -> None:
    assert native(name) == "ETHUSDT" and resolve(name, listed(INFO), "binance_usdm").symbol == "ETHUSDT"


def test_forms_are_told_by_the_listing_not_guessed() -> None:
    known = listed(INFO)
    assert (
        resolve("ethusdt_261225", known, "v").symbol == "ETHUSDT_261225" and resolve("币安人生-usdt", known, "v").symbol == "币安人生USDT"
    )
    assert known["OLDUSDT"].silent and not known["ETHUSDT"].silent
    spot = listed(INFO.replace(b'"PERPETUAL"', b'""'))
    assert resolve("ETH-USDT", spot, "binance_spot").symbol == "ETHUSDT"
    with pytest.raises(SettingsError, match="binance_spot does not list 'ETH-USDT-PERP'"):
        resolve("ETH-USDT-PERP", spot, "binance_spot")
    with pytest.raises(SettingsError, match=r"does not list 'ETHUSDC'; did you mean 'ETHUSDT'\?"):
        USDM.check(["ETHUSDC"], INFO)
    USDM.check(["ETHUSDT", "币安人生USDT"], INFO)


@pytest.mark.parametrize("name", ["", " ", "BTC USDT", "BTC@USDT", "BTC?x", "a,b", 'x"y', "a\nb", "-PERP"])
def test_an_impossible_symbol_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be a Binance symbol"):
        SPOT.groups([name], [], SPOT.sockets)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"symbols":[{}]}', b"[" * 5000, b'{"symbols":5}', b"\xff"])
def test_a_broken_listing_is_the_venues_fault(body: bytes) -> None:
    with pytest.raises(VenueProtocolError):
        listed(body)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT_261225", "币安人生USDT", "1000PEPEUSDT"])
@pytest.mark.parametrize("channel", ["trade", "depth@100ms", "kline_1m@+08:00", "markPrice@1s"])
def test_stream_names_go_both_ways(symbol: str, channel: str) -> None:
    assert stream_of(stream_name(symbol, channel)) == (symbol, channel)


def test_futures_streams_go_to_their_own_roots() -> None:
    channels = ["aggTrade", "depth@100ms", "trade", "kline_1m", "forceOrder", "bookTicker", "markPrice@1s", "rpiDepth@500ms", "ticker"]
    groups = {group.name: group for group in USDM.groups(["BTCUSDT"], channels, USDM.sockets)}
    assert (
        groups["market"].url == "wss://fstream.binance.com/market/stream"
        and groups["public"].url == "wss://fstream.binance.com/public/stream"
    )
    assert {name.partition("@")[2] for name in groups["public"].names} == {"depth@100ms", "trade", "bookTicker", "rpiDepth@500ms"}
    (spot,) = SPOT.groups(["btc-usdt", "BTCUSDT"], [], SPOT.sockets)
    assert spot.url == "wss://stream.binance.com:9443/stream" and spot.names == (
        "btcusdt@trade",
        "btcusdt@depth@100ms",
        "btcusdt@bookTicker",
    )


def test_a_connection_carries_so_many_streams() -> None:
    many = USDM.groups([f"S{n}USDT" for n in range(450)], ["depth"], USDM.sockets)
    assert [(group.name, len(group.names)) for group in many] == [("public", 200), ("public.2", 200), ("public.3", 50)]
    spot = SPOT.groups([f"S{n}USDT" for n in range(600)], [], SPOT.sockets)
    assert sum(len(group.names) for group in spot) == 1800 and max(len(group.names) for group in spot) <= 1024
    assert all(group.name.rpartition("-")[0] == "" for group in (*many, *spot)), "epochs are <group>-<n>"


@pytest.mark.parametrize(
    ("channel", "hint"), [("depht@100ms", "depth"), ("trades", "trade"), ("bookticker", "bookTicker"), ("depth@150ms", "depth")]
)
def test_an_unknown_channel_names_the_nearest(channel: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=rf"unknown channel '{channel}'; did you mean '{hint}"):
        SPOT.groups(["BTCUSDT"], [channel], SPOT.sockets)


def test_a_channel_of_the_other_product_is_refused() -> None:
    assert (
        not SPOT.carries("markPrice@1s")
        and USDM.carries("markPrice@1s")
        and not USDM.carries("avgPrice")
        and not SPOT.carries("depth@500ms")
    )
    with pytest.raises(SettingsError, match="binance_spot has no channel 'forceOrder'"):
        SPOT.groups(["BTCUSDT"], ["forceOrder"], SPOT.sockets)
    with pytest.raises(SettingsError, match="depth and depth@100ms are one book at several speeds"):
        SPOT.groups(["BTCUSDT"], ["depth", "trade", "depth@100ms"], SPOT.sockets)
    with pytest.raises(SettingsError, match="no symbols"):
        SPOT.groups([], [], SPOT.sockets)
