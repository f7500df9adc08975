"""OKX v5, spot and perpetual swaps: addresses, limits, default channels.

Source: the project's venue sheet, section 4, read 2026-11-20. No port in the addresses: 8443 is closed since 2026-10-31.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.okx.feed import OkxFeed
from tape_collectors.venues.okx.symbols import BUSINESS, DERIVATIVES, check_channel, check_symbols, instruments, native
from tape_collectors.venues.protocol import Group, Limits

#: fewer than 30 deep books on a connection are advised
_BOOKS = 25
_PATHS = {"public": "/ws/v5/public", "business": "/ws/v5/business"}


class Okx(msgspec.Struct, frozen=True):
    """One product of OKX."""

    name: str
    product: str
    default: tuple[str, ...]
    hosts: Mapping[str, str]
    sockets: Mapping[str, str]
    limits: Mapping[str, Limits]

    @property
    def info(self) -> str:
        """The request for the list of instruments."""
        return f"GET /api/v5/public/instruments?instType={self.product}"

    def groups(self, symbols: Sequence[str], channels: Sequence[str], sockets: Mapping[str, str]) -> list[Group]:
        """The connections: the books of 25 instruments each, and trades-all and candles on their own root."""
        chosen = tuple(dict.fromkeys(channels or self.default))
        for channel in chosen:
            if not self.carries(channel):
                raise SettingsError(f"{self.name} has no channel {channel!r}; by default it records {', '.join(self.default)}")
        wanted = [self.native(symbol) for symbol in dict.fromkeys(symbols)]
        if not wanted:
            raise SettingsError(f"{self.name}: no symbols; name some, e.g. --symbols BTC-USDT,ETH-USDT")
        out: list[Group] = []
        for root, some in (("public", _here(chosen, business=False)), ("business", _here(chosen, business=True))):
            url = sockets.get(root, self.sockets[root]) + _PATHS[root]
            for part, at in enumerate(range(0, len(wanted) if some else 0, _BOOKS)):
                names = dict.fromkeys(self._name(channel, symbol) for symbol in wanted[at : at + _BOOKS] for channel in some)
                if part:
                    names.pop(f"liquidation-orders:{self.product}", None)
                out.append(Group(f"{root}.{part + 1}" if part else root, url, tuple(names), sends_per_s=2.0, silence_s=25.0))
        return out

    def _name(self, channel: str, symbol: str) -> str:
        if channel == "liquidation-orders":
            return f"{channel}:{self.product}"
        return f"{channel}:{symbol.removesuffix('-SWAP') if channel == 'index-tickers' else symbol}"

    def native(self, symbol: str) -> str:
        """The venue's own name of a symbol in any common form. Raises SettingsError."""
        return native(symbol, swap=self.product == "SWAP")

    def carries(self, channel: str) -> bool:
        """Whether this product has the channel. Raises SettingsError for one that no product has."""
        check_channel(channel)
        return not (self.product == "SPOT" and channel in DERIVATIVES)

    def check(self, symbols: Sequence[str], info: bytes) -> None:
        """Refuse symbols that the venue does not list. Raises SettingsError, VenueProtocolError."""
        check_symbols(symbols, info, self.name)

    def instruments(self, info: bytes) -> dict[str, Instrument]:
        """What the venue lists, by its own names. Raises VenueProtocolError."""
        return instruments(info)

    def feed(self, group: str, *, books: bool = True) -> OkxFeed:
        """A feed for one connection."""
        return OkxFeed(self.product, books=books)


def _here(channels: Sequence[str], *, business: bool) -> list[str]:
    return [channel for channel in channels if channel.startswith(BUSINESS) == business]


_HOSTS = {"rest": "https://openapi.okx.com"}
_SOCKETS = {"public": "wss://ws.okx.com", "business": "wss://ws.okx.com"}
#: 40 books in 2 s; the list of instruments counts as two
_LIMITS = {"rest": Limits(40, 2.0)}
SPOT = Okx("okx_spot", "SPOT", ("trades", "books", "bbo-tbt"), _HOSTS, _SOCKETS, _LIMITS)
SWAP = Okx(
    "okx_swap",
    "SWAP",
    ("trades", "books", "bbo-tbt", "mark-price", "index-tickers", "funding-rate", "open-interest", "liquidation-orders"),
    _HOSTS,
    _SOCKETS,
    _LIMITS,
)
