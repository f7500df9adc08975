"""MEXC spot v3 (protobuf): addresses, limits, default channels.

Source: the project's venue sheet, section 7, read 2026-11-20. The JSON service ended on 2025-08-04.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.mexc.feed import MexcFeed
from tape_collectors.venues.mexc.symbols import check_channel, check_symbols, instruments, name_of, native
from tape_collectors.venues.protocol import Group, Limits

#: the venue's limit of subscriptions on a connection
STREAMS = 30


class Mexc(msgspec.Struct, frozen=True):
    """Spot."""

    name: str
    default: tuple[str, ...]
    hosts: Mapping[str, str]
    sockets: Mapping[str, str]
    limits: Mapping[str, Limits]
    info: str
    #: the venue cuts a connection after 24 h
    lifetime_s: float = 86_400.0

    def groups(self, symbols: Sequence[str], channels: Sequence[str], sockets: Mapping[str, str]) -> list[Group]:
        """The connections: thirty streams on each, all streams of a symbol on the same one."""
        chosen = tuple(dict.fromkeys(channels or self.default))
        for channel in chosen:
            check_channel(channel)
        if len(books := [channel for channel in chosen if channel.startswith("aggre.depth")]) > 1:
            raise SettingsError(f"{self.name}: {' and '.join(books)} are one book at two speeds; choose one")
        wanted = [native(symbol) for symbol in dict.fromkeys(symbols)]
        if not wanted:
            raise SettingsError(f"{self.name}: no symbols; name some, e.g. --symbols BTCUSDT,ETHUSDT")
        url = sockets.get("spot", self.sockets["spot"]) + "/ws"
        each = max(1, STREAMS // len(chosen))
        out = []
        for part, at in enumerate(range(0, len(wanted), each)):
            names = tuple(name_of(channel, symbol) for symbol in wanted[at : at + each] for channel in chosen)
            out.append(Group(f"spot.{part + 1}" if part else "spot", url, names, self.lifetime_s, 20.0, 50.0))
        return out

    def native(self, symbol: str) -> str:
        """The venue's own name of a symbol in any common form. Raises SettingsError."""
        return native(symbol)

    def carries(self, channel: str) -> bool:
        """Whether it has the channel. Raises SettingsError for one that cannot exist."""
        check_channel(channel)
        return True

    def check(self, symbols: Sequence[str], info: bytes) -> None:
        """Refuse symbols that the venue does not list. Raises SettingsError, VenueProtocolError."""
        check_symbols(symbols, info, self.name)

    def instruments(self, info: bytes) -> dict[str, Instrument]:
        """What the venue lists, by its own names. Raises VenueProtocolError."""
        return instruments(info)

    def feed(self, group: str, *, books: bool = True) -> MexcFeed:
        """A feed for one connection."""
        return MexcFeed(books=books)


SPOT = Mexc(
    name="mexc_spot",
    default=("aggre.deals@100ms", "aggre.depth@100ms", "aggre.bookTicker@100ms"),
    hosts={"rest": "https://api.mexc.com"},
    sockets={"spot": "wss://wbs-api.mexc.com"},
    #: 500 in 10 s are promised, and 403 of the proxy before it comes at 20 to 30 a second
    limits={"rest": Limits(150, 10.0)},
    info="GET /api/v3/exchangeInfo",
)
