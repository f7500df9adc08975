"""Bybit's names: symbols, the topics made of them, and what instruments-info lists.

Sources: sheet sections 5.1 to 5.4 and 8.1, read 2026-11-20. The same text means spot in ``spot`` and the perpetual in ``linear``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.venues.bybit import wire
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.session import BROKEN

_INTERVALS = "1|3|5|15|30|60|120|240|360|720|D|W|M"
CHANNELS = re.compile(rf"orderbook\.(1|50|200|1000)|publicTrade|tickers|allLiquidation|kline\.({_INTERVALS})")
_EXAMPLES = ("orderbook.1", "orderbook.50", "orderbook.200", "orderbook.1000", "publicTrade", "tickers", "allLiquidation", "kline.1")
_SYMBOL = re.compile(r"[A-Z0-9]{2,40}")


def topic_of(name: str) -> tuple[str, str]:
    """``orderbook.50.BTCUSDT`` -> ("BTCUSDT", "orderbook.50"). Raises ValueError."""
    channel, dot, symbol = name.rpartition(".")
    if not dot or not channel or not symbol:
        raise ValueError(f"no topic: {name[:60]!r}")
    return symbol, channel


def native(name: str) -> str:
    """A symbol in any common form as Bybit writes it: ``btc-usdt-perp``, ``BTC/USDT`` -> ``BTCUSDT``. Raises SettingsError."""
    text = name.strip().upper().removesuffix("-PERP").removesuffix("-SWAP")
    text = re.sub(r"[-/_]", "", text)
    if not _SYMBOL.fullmatch(text):
        raise SettingsError(f"{name!r} cannot be a Bybit symbol; write it like BTCUSDT")
    return text


def check_channel(channel: str) -> None:
    """Raise SettingsError, with the nearest one, for a channel that Bybit does not have."""
    if not CHANNELS.fullmatch(channel):
        near = get_close_matches(channel, _EXAMPLES, n=1, cutoff=0.3)
        raise SettingsError(
            f"unknown channel {channel!r}" + (f"; did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(_EXAMPLES)})"
        )


def listing(data: bytes) -> wire.Listing:
    """instruments-info. Raises VenueProtocolError."""
    try:
        reply = wire.reply(data)
        if reply.retCode:
            raise VenueProtocolError(f"bybit instruments-info: {reply.retCode} {reply.retMsg[:80]}")
        return wire.listing(reply.result)
    except BROKEN as error:
        raise VenueProtocolError(f"bybit instruments-info: {error}") from None


def check_symbols(symbols: Sequence[str], data: bytes, venue: str) -> None:
    """Raise SettingsError, with the nearest name, for a symbol that is not listed. A list of several pages refuses nothing: its first
    page cannot say what the others hold."""
    found = listing(data)
    if found.nextPageCursor:
        return
    known = [row.symbol for row in found.rows]
    for symbol in symbols:
        if native(symbol) not in known:
            near = get_close_matches(native(symbol), known, n=1)
            raise SettingsError(f"{venue} does not list {symbol!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def instruments(data: bytes) -> dict[str, Instrument]:
    """What instruments-info lists on this page, by symbol. Raises VenueProtocolError."""
    return {row.symbol: _instrument(row) for row in listing(data).rows}


def _instrument(row: wire.Listed) -> Instrument:
    name = f"{row.baseCoin}-{row.quoteCoin}"
    if row.contractType:
        name += "-PERP" if row.contractType.endswith("Perpetual") else f"-{row.symbol.rpartition('-')[2]}"
    lot = row.lotSizeFilter.qtyStep or row.lotSizeFilter.basePrecision
    # A PreLaunch contract is silent until its continuous trading begins (sheet 5.2).
    return Instrument(row.symbol, name, row.status, row.status == "Trading", row.priceFilter.tickSize, lot)
