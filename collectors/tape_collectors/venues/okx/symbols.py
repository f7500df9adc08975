"""OKX's names: instruments, the streams made of them, what ``instruments`` lists, and what one contract is.

Sources: sheet sections 4.1, 4.3, 4.4, 8.1 and 8.2, read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.numbers import exact
from tape_collectors.venues.okx import wire
from tape_collectors.venues.session import BROKEN

_BARS = "1s|1m|3m|5m|15m|30m|1H|2H|4H|(6H|12H|1D|2D|3D|1W|1M|3M)(utc)?"
CHANNELS = re.compile(
    rf"books|books5|bbo-tbt|trades|trades-all|tickers|funding-rate|open-interest|liquidation-orders|index-tickers|mark-price|candle({_BARS})"
)
BUSINESS = ("trades-all", "candle")
DERIVATIVES = ("funding-rate", "open-interest", "liquidation-orders", "mark-price")
_EXAMPLES = (
    "books",
    "books5",
    "bbo-tbt",
    "trades",
    "trades-all",
    "funding-rate",
    "open-interest",
    "liquidation-orders",
    "mark-price",
    "candle1m",
)
_SYMBOL = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}(-SWAP)?")


def name_of(arg: wire.Arg) -> str:
    """``books:BTC-USDT``, ``liquidation-orders:SWAP``."""
    return f"{arg.channel}:{arg.instId or arg.instType}"


def arg_of(name: str) -> dict[str, str]:
    """The argument of a subscription. Liquidations are of a whole product; by instrument they are refused (60018, live)."""
    channel, _, instrument = name.partition(":")
    if channel == "liquidation-orders":
        return {"channel": channel, "instType": instrument}
    return {"channel": channel, "instId": instrument}


def native(name: str, *, swap: bool) -> str:
    """A symbol in any common form as OKX writes it: ``BTCUSDT``, ``btc/usdt``, ``BTC-USDT-PERP`` -> ``BTC-USDT`` or ``BTC-USDT-SWAP``.
    A joined name is cut before USDT or USDC only; ``check`` compares with the list. Raises SettingsError."""
    text = re.sub(r"[/_]", "-", name.strip().upper()).removesuffix("-PERP").removesuffix("-SWAP")
    if "-" not in text and (joined := re.fullmatch(r"([A-Z0-9]+)(USDT|USDC)", text)):
        text = f"{joined[1]}-{joined[2]}"
    text += "-SWAP" if swap else ""
    if not _SYMBOL.fullmatch(text):
        raise SettingsError(f"{name!r} cannot be an OKX symbol; write it like BTC-USDT")
    return text


def check_channel(channel: str) -> None:
    """Raise SettingsError, with the nearest one, for a channel that OKX does not have (or not without an account)."""
    if not CHANNELS.fullmatch(channel):
        near = get_close_matches(channel, _EXAMPLES, n=1, cutoff=0.3)
        raise SettingsError(
            f"unknown channel {channel!r}" + (f"; did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(_EXAMPLES)})"
        )


def rows(data: bytes) -> list[wire.Listed]:
    """The rows of a reply of ``instruments``. Raises VenueProtocolError."""
    try:
        reply = wire.reply(data)
        if reply.code != "0":
            raise VenueProtocolError(f"okx instruments: {reply.code} {reply.msg[:80]}")
        return wire.listed(reply.data)
    except BROKEN as error:
        raise VenueProtocolError(f"okx instruments: {error}") from None


def instruments(data: bytes) -> dict[str, Instrument]:
    """What the reply lists, by symbol. Raises VenueProtocolError."""
    try:
        return {row.instId: _instrument(row) for row in rows(data)}
    except BROKEN as error:
        raise VenueProtocolError(f"okx instruments: {error}") from None


def _instrument(row: wire.Listed) -> Instrument:
    name = re.sub("-SWAP$", "-PERP", row.instId)
    return Instrument(row.instId, name, row.state, row.state == "live", row.tickSz, row.lotSz, contract(row))


def contract(row: wire.Listed) -> str:
    """The base-coin value of one unit of size: 1 on spot, ``ctVal`` x ``ctMult`` on linear contracts; ``/`` and dollars on inverse ones."""
    if not row.ctVal:
        return "1"
    value = exact(row.ctVal) * exact(row.ctMult or "1")
    return f"/{value.normalize():f}" if row.ctType == "inverse" else f"{value.normalize():f}"


def check_symbols(symbols: Sequence[str], data: bytes, venue: str) -> None:
    """Raise SettingsError, with the nearest name, for a symbol that the venue does not list."""
    known = [row.instId for row in rows(data)]
    for symbol in symbols:
        if symbol not in known:
            near = get_close_matches(symbol, known, n=1)
            raise SettingsError(f"{venue} does not list {symbol!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
