"""MEXC's names: symbols, the channels made of them, and what exchangeInfo lists.

Sources: sheet sections 7.1, 7.2, 7.5 and 8.1, read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.mexc import wire
from tape_collectors.venues.session import BROKEN

_BARS = "Min1|Min5|Min15|Min30|Min60|Hour4|Hour8|Day1|Week1|Month1"
CHANNELS = re.compile(rf"aggre\.(depth|deals|bookTicker)@(10|100)ms|limit\.depth@(5|10|20)|kline@({_BARS})")
_EXAMPLES = ("aggre.depth@100ms", "aggre.deals@100ms", "aggre.bookTicker@100ms", "aggre.depth@10ms", "limit.depth@20", "kline@Min1")
_SYMBOL = re.compile(r"[A-Z0-9]{2,40}")
_AGGRE = re.compile(r"spot@public\.(aggre\.\w+)\.v3\.api\.pb@(\w+)@([A-Z0-9]+)")
_LATER = re.compile(r"spot@public\.(limit\.depth|kline)\.v3\.api\.pb@([A-Z0-9]+)@(\w+)")


def native(name: str) -> str:
    """A symbol in any common form as MEXC writes it: ``btc-usdt`` -> ``BTCUSDT``. Raises SettingsError."""
    text = re.sub(r"[-/_]", "", name.strip().upper().removesuffix("-PERP").removesuffix("-SWAP"))
    if not _SYMBOL.fullmatch(text):
        raise SettingsError(f"{name!r} cannot be a MEXC symbol; write it like BTCUSDT")
    return text


def check_channel(channel: str) -> None:
    """Raise SettingsError, with the nearest one, for a channel that MEXC does not have any more, or never had."""
    if not CHANNELS.fullmatch(channel):
        near = get_close_matches(channel, _EXAMPLES, n=1, cutoff=0.3)
        raise SettingsError(
            f"unknown channel {channel!r}" + (f"; did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(_EXAMPLES)})"
        )


def name_of(channel: str, symbol: str) -> str:
    """("aggre.depth@100ms", "BTCUSDT") -> ``spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT``, the venue's own word."""
    base, _, detail = channel.partition("@")
    order = (symbol, detail) if base in ("limit.depth", "kline") else (detail, symbol)
    return f"spot@public.{base}.v3.api.pb@{order[0]}@{order[1]}"


def stream_of(name: str) -> tuple[str, str]:
    """The other way round: (symbol, channel). Raises ValueError."""
    if match := _AGGRE.fullmatch(name):
        return match[3], f"{match[1]}@{match[2]}"
    if match := _LATER.fullmatch(name):
        return match[2], f"{match[1]}@{match[3]}"
    raise ValueError(f"no channel: {name[:80]!r}")


def _rows(data: bytes) -> list[wire.Pair]:
    try:
        return wire.info(data).symbols
    except BROKEN as error:
        raise VenueProtocolError(f"mexc exchangeInfo: {error}") from None


def instruments(data: bytes) -> dict[str, Instrument]:
    """What exchangeInfo lists, by symbol. Raises VenueProtocolError."""
    return {row.symbol: _instrument(row) for row in _rows(data)}


def _instrument(row: wire.Pair) -> Instrument:
    decimals = min(max(row.quotePrecision, 0), 30)
    tick = f"{10.0**-decimals:.{decimals}f}"
    return Instrument(
        row.symbol, f"{row.baseAsset}-{row.quoteAsset}", row.status, row.status in ("1", "ENABLED"), tick, row.baseSizePrecision
    )


def check_symbols(symbols: Sequence[str], data: bytes, venue: str) -> None:
    """Raise SettingsError, with the nearest name, for a symbol that the venue does not list."""
    known = [row.symbol for row in _rows(data)]
    for symbol in symbols:
        if symbol not in known:
            near = get_close_matches(symbol, known, n=1)
            raise SettingsError(f"{venue} does not list {symbol!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
