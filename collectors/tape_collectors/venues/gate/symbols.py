"""Gate.io's names: markets, the streams made of them, and what currency_pairs and contracts list.

Sources: sheet sections 6.2 to 6.4 and 8.1, read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.venues.gate import wire
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.numbers import exact
from tape_collectors.venues.session import BROKEN

_BARS = "10s|1m|5m|15m|30m|1h|4h|8h|1d|7d"
CHANNELS = re.compile(rf"obu\.(50|400)|order_book_update\.(20ms|100ms)|trades|book_ticker|tickers|candlesticks\.({_BARS})")
FUTURES = re.compile(rf"obu\.(50|400)|order_book_update\.(20ms|100ms)|trades|book_ticker|tickers|public_liquidates|candlesticks\.({_BARS})")
_EXAMPLES = ("obu.400", "obu.50", "order_book_update.100ms", "trades", "book_ticker", "tickers", "public_liquidates", "candlesticks.1m")
_SYMBOL = re.compile(r"[A-Z0-9]{1,20}_[A-Z0-9]{1,20}")


def native(name: str) -> str:
    """A symbol in any common form as Gate.io writes it: ``BTCUSDT``, ``btc-usdt`` -> ``BTC_USDT``. A joined name is cut before USDT or USDC
    only; ``check`` compares with the list. Raises SettingsError."""
    text = re.sub(r"[/-]", "_", name.strip().upper()).removesuffix("_PERP").removesuffix("_SWAP")
    if "_" not in text and (joined := re.fullmatch(r"([A-Z0-9]+)(USDT|USDC)", text)):
        text = f"{joined[1]}_{joined[2]}"
    if not _SYMBOL.fullmatch(text):
        raise SettingsError(f"{name!r} cannot be a Gate.io market; write it like BTC_USDT")
    return text


def check_channel(channel: str) -> None:
    """Raise SettingsError, with the nearest one, for a channel that Gate.io does not have."""
    if not CHANNELS.fullmatch(channel) and not FUTURES.fullmatch(channel):
        near = get_close_matches(channel, _EXAMPLES, n=1, cutoff=0.3)
        raise SettingsError(
            f"unknown channel {channel!r}" + (f"; did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(_EXAMPLES)})"
        )


def wire_of(name: str, product: str = "spot") -> tuple[str, list[str]]:
    """(channel, payload) of a subscription: ``obu.400:BTC_USDT`` -> (``spot.obu``, [``ob.BTC_USDT.400``]). The futures' books of changes
    name their depth too."""
    channel, _, symbol = name.partition(":")
    base, _, detail = channel.partition(".")
    if base == "obu":
        return f"{product}.obu", [f"ob.{symbol}.{detail}"]
    if base == "order_book_update":
        depth = [] if product == "spot" else ["20" if detail == "20ms" else "100"]
        return f"{product}.order_book_update", [symbol, detail, *depth]
    if base == "candlesticks":
        return f"{product}.candlesticks", [detail, symbol]
    return f"{product}.{base}", [symbol]


def name_of(channel: str, payload: Any) -> str:
    """The other way round; "" for what cannot be one."""
    if not isinstance(payload, list) or not payload or not all(isinstance(one, str) for one in payload):
        return ""
    base = channel.partition(".")[2]
    if base == "obu":
        _, _, rest = payload[0].partition(".")
        symbol, _, levels = rest.rpartition(".")
        return f"obu.{levels}:{symbol}"
    if base == "order_book_update":
        return f"order_book_update.{payload[1] if len(payload) > 1 else ''}:{payload[0]}"
    if base == "candlesticks":
        return f"candlesticks.{payload[0]}:{payload[-1]}"
    return f"{base}:{payload[0]}"


def rows(data: bytes) -> list[wire.Pair]:
    """currency_pairs. Raises VenueProtocolError."""
    try:
        return wire.pairs(data)
    except BROKEN as error:
        raise VenueProtocolError(f"gate currency_pairs: {error}") from None


def instruments(data: bytes) -> dict[str, Instrument]:
    """What currency_pairs lists, by market. Raises VenueProtocolError."""
    return {
        row.id: Instrument(
            *(row.id, f"{row.base}-{row.quote}", row.trade_status, row.trade_status in ("tradable", "buyable", "sellable")),
            *(_step(row.precision), _step(row.amount_precision)),
        )
        for row in rows(data)
    }


def contract(row: wire.Contract) -> str:
    """The base-coin value of one contract; without a multiplier a contract is one dollar (gateapi-python#137)."""
    value = exact(row.quanto_multiplier)
    return f"{value.normalize():f}" if value else "/1"


def contracts(data: bytes) -> dict[str, Instrument]:
    """What the list of contracts holds, by its names. Raises VenueProtocolError."""
    try:
        found = wire.contracts(data)
        return {row.name: _contract(row) for row in found}
    except BROKEN as error:
        raise VenueProtocolError(f"gate contracts: {error}") from None


def _contract(row: wire.Contract) -> Instrument:
    base, _, quote = row.name.partition("_")
    status = "delisting" if row.in_delisting else row.status or "trading"
    lot = wire.text(row.order_size_min)
    return Instrument(row.name, f"{base}-{quote}-PERP", status, status == "trading", row.order_price_round, lot, contract(row))


def _step(decimals: int) -> str:
    return f"{10.0 ** -min(max(decimals, 0), 30):.{min(max(decimals, 0), 30)}f}"


def check_symbols(symbols: Sequence[str], data: bytes, venue: str) -> None:
    """Raise SettingsError, with the nearest name, for a market that is not listed."""
    known = list(contracts(data) if venue.endswith("usdt") else instruments(data))
    for symbol in symbols:
        if symbol not in known:
            near = get_close_matches(symbol, known, n=1)
            raise SettingsError(f"{venue} does not list {symbol!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
