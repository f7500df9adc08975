"""Gate.io v4, spot and USDT perpetuals: addresses, limits, default channels.

Source: the project's venue sheet, section 6, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.gate.feed import GateFeed
from tape_collectors.venues.gate.futures import CONTRACTS, FuturesFeed
from tape_collectors.venues.gate.symbols import CHANNELS, FUTURES, check_channel, check_symbols, contracts, instruments, native
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.protocol import Group, Limits

#: streams on one connection; the venue names no limit
_STREAMS = 200


#: without it sizes of the futures are whole numbers, rounded down (since 2025-12-09)
_DECIMALS = (("X-Gate-Size-Decimal", "1"),)


class Gate(msgspec.Struct, frozen=True):
    """One product of Gate.io. ``path``: of the socket; ``headers``: what a connection must send."""

    name: str
    product: str
    path: str
    default: tuple[str, ...]
    hosts: Mapping[str, str]
    sockets: Mapping[str, str]
    limits: Mapping[str, Limits]
    info: str
    headers: tuple[tuple[str, str], ...] = ()

    def groups(self, symbols: Sequence[str], channels: Sequence[str], sockets: Mapping[str, str]) -> list[Group]:
        """The connections."""
        chosen = tuple(dict.fromkeys(channels or self.default))
        for channel in chosen:
            if not self.carries(channel):
                raise SettingsError(f"{self.name} has no channel {channel!r}; by default it records {', '.join(self.default)}")
        if len(books := [channel for channel in chosen if channel.startswith(("obu", "order_book"))]) > 1:
            raise SettingsError(f"{self.name}: {' and '.join(books)} are one book in several forms; choose one")
        names = [f"{channel}:{native(symbol)}" for symbol in dict.fromkeys(symbols) for channel in chosen]
        if not names:
            raise SettingsError(f"{self.name}: no symbols; name some, e.g. --symbols BTC_USDT,ETH_USDT")
        root = self.product
        url = sockets.get(root, self.sockets[root]) + self.path
        return [
            Group(f"{root}.{part + 1}" if part else root, url, tuple(names[at : at + _STREAMS]), sends_per_s=10.0, headers=self.headers)
            for part, at in enumerate(range(0, len(names), _STREAMS))
        ]

    def native(self, symbol: str) -> str:
        """The venue's own name of a symbol in any common form. Raises SettingsError."""
        return native(symbol)

    def carries(self, channel: str) -> bool:
        """Whether this product has the channel. Raises SettingsError for one that no product has."""
        check_channel(channel)
        return (CHANNELS if self.product == "spot" else FUTURES).fullmatch(channel) is not None

    def check(self, symbols: Sequence[str], info: bytes) -> None:
        """Refuse markets that the venue does not list. Raises SettingsError, VenueProtocolError."""
        check_symbols(symbols, info, self.name)

    def instruments(self, info: bytes) -> dict[str, Instrument]:
        """What the venue lists, by its own names. Raises VenueProtocolError."""
        return instruments(info) if self.product == "spot" else contracts(info)

    def feed(self, group: str, *, books: bool = True) -> GateFeed:
        """A feed for one connection."""
        return (GateFeed if self.product == "spot" else FuturesFeed)(books=books)


#: 200 requests in 10 s for an endpoint and an address
SPOT = Gate(
    name="gate_spot",
    product="spot",
    path="/ws/v4/",
    default=("trades", "obu.400", "book_ticker", "tickers"),
    hosts={"rest": "https://api.gateio.ws"},
    sockets={"spot": "wss://api.gateio.ws"},
    limits={"rest": Limits(200, 10.0)},
    info="GET /api/v4/spot/currency_pairs",
)
USDT = Gate(
    name="gate_usdt",
    product="futures",
    path="/v4/ws/usdt",
    default=("trades", "obu.400", "book_ticker", "tickers", "public_liquidates"),
    hosts={"rest": "https://api.gateio.ws"},
    sockets={"futures": "wss://fx-ws.gateio.ws"},
    limits={"rest": Limits(200, 10.0, headers=_DECIMALS)},
    info=CONTRACTS,
    headers=_DECIMALS,
)
