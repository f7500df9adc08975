"""Gate.io spot v4: addresses, limits, default channels.

Source: the project's venue sheet, section 6, read 2026-11-20. USDT futures are not built yet: their frames are told as another product's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.gate.feed import GateFeed
from tape_collectors.venues.gate.symbols import check_channel, check_symbols, instruments, native
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.protocol import Group, Limits

#: streams on one connection; the venue names no limit
_STREAMS = 200


class Gate(msgspec.Struct, frozen=True):
    """Spot."""

    name: str
    default: tuple[str, ...]
    hosts: Mapping[str, str]
    sockets: Mapping[str, str]
    limits: Mapping[str, Limits]
    info: str

    def groups(self, symbols: Sequence[str], channels: Sequence[str], sockets: Mapping[str, str]) -> list[Group]:
        """The connections."""
        chosen = tuple(dict.fromkeys(channels or self.default))
        for channel in chosen:
            check_channel(channel)
        if len(books := [channel for channel in chosen if channel.startswith(("obu", "order_book"))]) > 1:
            raise SettingsError(f"{self.name}: {' and '.join(books)} are one book in several forms; choose one")
        names = [f"{channel}:{native(symbol)}" for symbol in dict.fromkeys(symbols) for channel in chosen]
        if not names:
            raise SettingsError(f"{self.name}: no symbols; name some, e.g. --symbols BTC_USDT,ETH_USDT")
        url = sockets.get("spot", self.sockets["spot"]) + "/ws/v4/"
        return [
            Group(f"spot.{part + 1}" if part else "spot", url, tuple(names[at : at + _STREAMS]), sends_per_s=10.0, silence_s=60.0)
            for part, at in enumerate(range(0, len(names), _STREAMS))
        ]

    def native(self, symbol: str) -> str:
        """The venue's own name of a symbol in any common form. Raises SettingsError."""
        return native(symbol)

    def carries(self, channel: str) -> bool:
        """Whether it has the channel. Raises SettingsError for one that cannot exist."""
        check_channel(channel)
        return True

    def check(self, symbols: Sequence[str], info: bytes) -> None:
        """Refuse markets that the venue does not list. Raises SettingsError, VenueProtocolError."""
        check_symbols(symbols, info, self.name)

    def instruments(self, info: bytes) -> dict[str, Instrument]:
        """What the venue lists, by its own names. Raises VenueProtocolError."""
        return instruments(info)

    def feed(self, group: str, *, books: bool = True) -> GateFeed:
        """A feed for one connection."""
        return GateFeed(books=books)


SPOT = Gate(
    name="gate_spot",
    default=("trades", "obu.400", "book_ticker", "tickers"),
    hosts={"rest": "https://api.gateio.ws"},
    sockets={"spot": "wss://api.gateio.ws"},
    #: 200 requests in 10 s for an endpoint and an address
    limits={"rest": Limits(200, 10.0)},
    info="GET /api/v4/spot/currency_pairs",
)
