"""Names, channels, connections, and the list of instruments."""

from __future__ import annotations

import msgspec
import pytest

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.venues.bybit import LINEAR, SPOT
from tape_collectors.venues.bybit.symbols import topic_of


@pytest.mark.parametrize("text", ["BTCUSDT", "btc-usdt", "BTC/USDT", "BTC-USDT-PERP", " btc_usdt "])
def test_any_common_form_is_the_venues_name(text: str) -> None:
    assert LINEAR.native(text) == "BTCUSDT"


@pytest.mark.parametrize("text", ["", "../../etc", "BTC USDT", "б" * 5, "A" * 200, "X.Y"])
def test_what_cannot_be_a_symbol_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="cannot be a Bybit symbol"):
        SPOT.native(text)


def test_channels() -> None:
    assert topic_of("kline.1.BTCUSDT") == ("BTCUSDT", "kline.1")
    assert LINEAR.carries("allLiquidation") and not SPOT.carries("allLiquidation")
    with pytest.raises(SettingsError, match=r"did you mean 'orderbook\.50'"):
        SPOT.carries("orderbook.500")
    with pytest.raises(SettingsError, match="one book at several depths"):
        SPOT.groups(["BTCUSDT"], ["orderbook.50", "orderbook.200"], {})


def test_a_connection_carries_what_its_characters_allow() -> None:
    symbols = [f"SYMBOL{number:04d}USDT" for number in range(600)]
    groups = LINEAR.groups(symbols, [], {"public": "wss://here"})
    assert [group.name for group in groups] == ["public", *(f"public.{number}" for number in range(2, 6))]
    assert all(sum(len(name) + 3 for name in group.names) < 21_000 for group in groups)
    assert sum(len(group.names) for group in groups) == 600 * len(LINEAR.default) and groups[0].url == "wss://here/v5/public/linear"


def info(*names: str, cursor: str = "") -> bytes:
    rows = [
        {"symbol": name, "status": "Trading", "baseCoin": "B", "quoteCoin": "USDT", "lotSizeFilter": {"qtyStep": "0.001"}} for name in names
    ]
    return msgspec.json.encode({"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": rows, "nextPageCursor": cursor}})


def test_what_is_not_listed_is_refused_with_the_nearest_name_unless_there_are_more_pages() -> None:
    LINEAR.check(["BTCUSDT"], info("BTCUSDT", "ETHUSDT"))
    with pytest.raises(SettingsError, match="did you mean 'BTCUSDT'"):
        LINEAR.check(["BTCUSD"], info("BTCUSDT", "ETHUSDT"))
    LINEAR.check(["BTCUSD"], info("BTCUSDT", cursor="first%3D"))
    with pytest.raises(VenueProtocolError):
        LINEAR.check(["BTCUSDT"], b'{"retCode":10001,"retMsg":"params error"}')
    with pytest.raises(VenueProtocolError):
        LINEAR.check(["BTCUSDT"], b"<html>")
