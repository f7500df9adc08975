"""Names: Binance's own, and the streams made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import msgspec

from tape_archive.format.errors import SettingsError, VenueProtocolError

CHANNELS = re.compile(
    r"^(trade|aggTrade|bookTicker|blockTrade|forceOrder|miniTicker|ticker|avgPrice|referencePrice|"
    r"depth(5|10|20)?(@(0|100|250|500|1000)ms)?|rpiDepth@500ms|markPrice(@1s)?|kline_\d+[smhdwM])$"
)
_EXAMPLES = (
    *("trade", "aggTrade", "bookTicker", "depth@100ms", "depth@500ms", "depth", "depth5@100ms", "depth20@100ms"),
    *("markPrice@1s", "forceOrder", "kline_1m", "miniTicker", "ticker"),
)


def stream_of(name: str) -> tuple[str, str]:
    """``btcusdt@depth@100ms`` -> ("BTCUSDT", "depth@100ms"); ``!bookTicker`` -> ("", "bookTicker")."""
    if name.startswith("!"):
        return "", name[1:].removesuffix("@arr")
    symbol, _, channel = name.partition("@")
    return symbol.upper(), channel


def native(name: str) -> str:
    """A symbol in any common form as Binance writes it: ``eth-usdt-perp``, ``ETH/USDT``, ``ethusdt`` -> ``ETHUSDT``. Raises
    SettingsError."""
    text = name.strip().upper().removesuffix("-PERP").removesuffix("-SWAP")
    text = re.sub(r"[-/]", "", text)
    if not text or re.search(r"[\s@!?&#%,]", text):
        raise SettingsError(f"{name!r} cannot be a Binance symbol; write it like BTCUSDT")
    return text


def check_channel(channel: str) -> None:
    """Raise SettingsError for a channel that Binance does not have."""
    if not CHANNELS.match(channel):
        near = get_close_matches(channel, _EXAMPLES, n=1, cutoff=0.3)
        raise SettingsError(
            f"unknown channel {channel!r}" + (f"; did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(_EXAMPLES)})"
        )


class Instrument(msgspec.Struct):
    """A row of exchangeInfo. ``status`` TRADING, HALT, BREAK, CANCEL_ONLY (spot), PENDING_TRADING, SETTLING … (futures)."""

    symbol: str
    status: str
    baseAsset: str
    quoteAsset: str
    contractType: str = ""


class _Info(msgspec.Struct):
    symbols: list[Instrument]


def instruments(data: bytes) -> dict[str, Instrument]:
    """exchangeInfo by symbol. Raises VenueProtocolError."""
    try:
        return {row.symbol: row for row in msgspec.json.decode(data, type=_Info).symbols}
    except msgspec.DecodeError as error:
        raise VenueProtocolError(f"binance exchangeInfo: {error}") from None


def check_symbols(symbols: Sequence[str], known: dict[str, Instrument], venue: str) -> None:
    """Raise SettingsError, with the nearest name, for a symbol that the venue does not list."""
    for symbol in symbols:
        if symbol not in known:
            near = get_close_matches(symbol, known, n=1)
            raise SettingsError(f"{venue} does not list {symbol!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
