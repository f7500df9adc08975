"""Bybit v5, spot and USDT/USDC linear: addresses, limits, default channels.

Source: the project's venue sheet, section 5, read 2026-11-20 (v5 docs of 2026-07).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.bybit.feed import BybitFeed
from tape_collectors.venues.bybit.symbols import check_channel, check_symbols, instruments, native
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.protocol import Group, Limits

_HOSTS = {"rest": "https://api.bybit.com"}
#: 600 requests in 5 s for an address; past it, ten minutes of 403
_LIMITS = {"rest": Limits(600, 5.0)}
#: the venue's limit is 21,000 characters of topics on a connection
_CHARACTERS = 20_000


class Bybit(msgspec.Struct, frozen=True):
    """One product of Bybit."""

    name: str
    category: str
    default: tuple[str, ...]
    sockets: Mapping[str, str]
    hosts: Mapping[str, str]
    limits: Mapping[str, Limits]

    @property
    def info(self) -> str:
        """The request for the list of instruments."""
        return f"GET /v5/market/instruments-info?category={self.category}&limit=1000"

    def groups(self, symbols: Sequence[str], channels: Sequence[str], sockets: Mapping[str, str]) -> list[Group]:
        """The connections, as many topics on each as the venue takes."""
        chosen = tuple(dict.fromkeys(channels or self.default))
        for channel in chosen:
            if not self.carries(channel):
                raise SettingsError(f"{self.name} has no channel {channel!r}; by default it records {', '.join(self.default)}")
        if len(books := [channel for channel in chosen if channel.startswith("orderbook.") and channel != "orderbook.1"]) > 1:
            raise SettingsError(f"{self.name}: {' and '.join(books)} are one book at several depths; choose one")
        names = [f"{channel}.{native(symbol)}" for symbol in dict.fromkeys(symbols) for channel in chosen]
        if not names:
            raise SettingsError(f"{self.name}: no symbols; name some, e.g. --symbols BTCUSDT,ETHUSDT")
        url = f"{sockets.get('public', self.sockets['public'])}/v5/public/{self.category}"
        parts: list[list[str]] = [[]]
        size = 0
        for name in names:
            size += len(name) + 3
            if size > _CHARACTERS:
                parts.append([])
                size = len(name) + 3
            parts[-1].append(name)
        return [
            Group(f"public.{number + 1}" if number else "public", url, tuple(part), sends_per_s=5.0, silence_s=60.0)
            for number, part in enumerate(parts)
        ]

    def native(self, symbol: str) -> str:
        """The venue's own name of a symbol in any common form. Raises SettingsError."""
        return native(symbol)

    def carries(self, channel: str) -> bool:
        """Whether this product has the channel. Raises SettingsError for one that no product has."""
        check_channel(channel)
        return not (self.category == "spot" and channel == "allLiquidation")

    def check(self, symbols: Sequence[str], info: bytes) -> None:
        """Refuse symbols that the venue does not list. Raises SettingsError, VenueProtocolError."""
        check_symbols(symbols, info, self.name)

    def instruments(self, info: bytes) -> dict[str, Instrument]:
        """What the venue lists, by its own names. Raises VenueProtocolError."""
        return instruments(info)

    def feed(self, group: str, *, books: bool = True) -> BybitFeed:
        """A feed for one connection."""
        return BybitFeed(self.category, books=books)


SPOT = Bybit(
    name="bybit_spot",
    category="spot",
    default=("publicTrade", "orderbook.200", "orderbook.1", "tickers"),
    sockets={"public": "wss://stream.bybit.com"},
    hosts=_HOSTS,
    limits=_LIMITS,
)
LINEAR = Bybit(
    name="bybit_linear",
    category="linear",
    default=("publicTrade", "orderbook.200", "orderbook.1", "tickers", "allLiquidation"),
    sockets={"public": "wss://stream.bybit.com"},
    hosts=_HOSTS,
    limits=_LIMITS,
)
