"""Names: Binance's own, the streams made of them, and what exchangeInfo lists.

Sources: sheet sections 2.2, 3.1 and 3.3 (streams), 2.4 and 3.5 (statuses), 8.1 (names), read 2026-11-20. Binance has symbols outside ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import msgspec

from tape_archive.format.errors import SettingsError, VenueProtocolError
from tape_collectors.venues.instruments import Instrument

_BOTH = r"trade|aggTrade|bookTicker|miniTicker|ticker|depth(5|10|20)?(@100ms)?"
SPOT_CHANNELS = re.compile(
    rf"({_BOTH}|blockTrade|avgPrice|referencePrice|ticker_(1h|4h|1d)|depth(5|10|20)?@1000ms"
    r"|kline_(1s|[135]m|15m|30m|[12468]h|12h|[13]d|1w|1M)(@\+08:00)?)"
)
USDM_CHANNELS = re.compile(
    rf"({_BOTH}|forceOrder|markPrice(@1s)?|compositeIndex|depth@0ms|depth(5|10|20)?@(250|500)ms|rpiDepth@500ms"
    r"|kline_([135]m|15m|30m|[12468]h|12h|[13]d|1w|1M))"
)
_EXAMPLES = (
    *("trade", "aggTrade", "bookTicker", "depth@100ms", "depth@500ms", "depth", "depth5@100ms", "depth20@100ms"),
    *("markPrice@1s", "forceOrder", "kline_1m", "miniTicker", "ticker"),
)
#: a symbol with one of these is listed and silent: spot BREAK (delisted, or closed for now), futures before listing and after delivery
SILENT = frozenset(("BREAK", "HALT", "PENDING_TRADING", "PRE_DELIVERING", "DELIVERING", "DELIVERED", "PRE_SETTLE", "SETTLING", "CLOSE"))
#: futures: of these no stream speaks again
ENDED = frozenset(("DELIVERING", "DELIVERED", "PRE_SETTLE", "SETTLING", "CLOSE"))
#: a coin whose price is told of so many (sheet 8.2): 1000PEPE, 1000000MOG, 1MBABYDOGE
_MULTIPLE = re.compile(r"(10{3,6}|1M(?=[A-Z]{3}))(\D.*)")
#: a delivery date that is none
_NEVER_MS = 4_000_000_000_000


def stream_of(name: str) -> tuple[str, str]:
    """``btcusdt@depth@100ms`` -> ("BTCUSDT", "depth@100ms"); ``!bookTicker`` -> ("", "bookTicker")."""
    if name.startswith("!"):
        return "", name[1:].removesuffix("@arr")
    symbol, _, channel = name.partition("@")
    return symbol.upper(), channel


def stream_name(symbol: str, channel: str) -> str:
    """("BTCUSDT", "depth@100ms") -> ``btcusdt@depth@100ms``."""
    return f"{symbol.lower()}@{channel}"


def native(name: str) -> str:
    """A symbol in any common form as Binance writes it: ``eth-usdt-perp``, ``ETH/USDT``, ``ethusdt`` -> ``ETHUSDT``. Raises
    SettingsError."""
    text = name.strip().upper().removesuffix("-PERP").removesuffix("-SWAP")
    text = re.sub(r"[-/]", "", text)
    if not text or len(text) > 40 or re.search(r"[\s@!?&#%,\"\\\x00-\x1f\x7f]", text):
        raise SettingsError(f"{name!r} cannot be a Binance symbol; write it like BTCUSDT")
    return text


def check_channel(channel: str) -> None:
    """Raise SettingsError, with the nearest one, for a channel that no product of Binance has."""
    if not (SPOT_CHANNELS.fullmatch(channel) or USDM_CHANNELS.fullmatch(channel)):
        near = get_close_matches(channel, _EXAMPLES, n=1, cutoff=0.3)
        raise SettingsError(
            f"unknown channel {channel!r}" + (f"; did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(_EXAMPLES)})"
        )


class _Filter(msgspec.Struct):
    filterType: str = ""
    tickSize: str = ""
    stepSize: str = ""


class Listed(msgspec.Struct):
    """A row of exchangeInfo. ``status``: TRADING, HALT, BREAK, CANCEL_ONLY (spot); PENDING_TRADING, SETTLING, CLOSE … (futures)."""

    symbol: str
    status: str = ""
    baseAsset: str = ""
    quoteAsset: str = ""
    contractType: str = ""
    #: ms; 0 where it is not told (spot)
    onboardDate: int = 0
    deliveryDate: int = 0
    filters: list[_Filter] = []

    @property
    def silent(self) -> bool:
        """Whether its streams are expected to say nothing."""
        return self.status in SILENT

    @property
    def name(self) -> str:
        """In the form of all venues."""
        name = f"{self.baseAsset}-{self.quoteAsset}"
        if not self.contractType:
            return name
        return f"{name}-PERP" if self.contractType == "PERPETUAL" else f"{name}-{self.symbol.rpartition('_')[2]}"

    @property
    def multiple(self) -> tuple[str, str]:
        """(multiplier, coin): ``1000PEPE`` is a thousand PEPE."""
        found = _MULTIPLE.fullmatch(self.baseAsset)
        return (found[1].replace("1M", "1000000"), found[2]) if found else ("1", self.baseAsset)

    @property
    def tick(self) -> str:
        """The step of prices."""
        return next((one.tickSize for one in self.filters if one.filterType == "PRICE_FILTER"), "")

    @property
    def lot(self) -> str:
        """The step of sizes."""
        return next((one.stepSize for one in self.filters if one.filterType == "LOT_SIZE"), "")


class _Info(msgspec.Struct):
    symbols: list[Listed]


def instruments(data: bytes) -> dict[str, Instrument]:
    """What exchangeInfo lists, by symbol. Raises VenueProtocolError."""
    return {row.symbol: _instrument(row) for row in listed(data).values()}


def _instrument(row: Listed) -> Instrument:
    multiplier, coin = row.multiple
    until = row.deliveryDate if row.deliveryDate < _NEVER_MS else 0
    return Instrument(
        row.symbol,
        row.name,
        row.status,
        not row.silent,
        row.tick,
        row.lot,
        coin=coin,
        multiplier=multiplier,
        ended=row.status in ENDED,
        since=row.onboardDate * 1_000_000,
        until=until * 1_000_000,
    )


def listed(data: bytes) -> dict[str, Listed]:
    """exchangeInfo by symbol. Raises VenueProtocolError."""
    try:
        return {row.symbol: row for row in msgspec.json.decode(data, type=_Info).symbols}
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise VenueProtocolError(f"binance exchangeInfo: {error}") from None


def resolve(name: str, known: Mapping[str, Listed], venue: str) -> Listed:
    """The listed instrument that ``name``, in any form, means: base and quote are compared as exchangeInfo tells them, never guessed from a
    joined name. Raises SettingsError, with the nearest name."""
    wanted = native(name)
    perpetual = name.strip().upper().endswith(("-PERP", "-SWAP"))
    if wanted in known and (not perpetual or known[wanted].contractType == "PERPETUAL"):
        return known[wanted]
    base, _, quote = re.sub("-(PERP|SWAP)$", "", name.strip().upper()).replace("/", "-").partition("-")
    for row in known.values():
        if (
            (base, quote) == (row.baseAsset, row.quoteAsset)
            and row.contractType in ("", "PERPETUAL")
            and (row.contractType or not perpetual)
        ):
            return row
    near = get_close_matches(wanted, known, n=1)
    raise SettingsError(f"{venue} does not list {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def check_symbols(symbols: Sequence[str], known: Mapping[str, Listed], venue: str) -> None:
    """Raise SettingsError, with the nearest name, for a symbol that the venue does not list."""
    for symbol in symbols:
        resolve(symbol, known, venue)
