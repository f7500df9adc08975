"""Binance spot and USD-M futures: addresses, limits, default channels.

Sources: the project's venue sheet, sections 2 and 3, read 2026-11-20 (binance-spot-api-docs at 2026-07-21; the futures notice on the
three websocket roots, 2026-03-06, in force since 2026-04-23).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.binance.depth import SPOT as SPOT_RULE
from tape_collectors.venues.binance.depth import USDM as USDM_RULE
from tape_collectors.venues.binance.depth import Rule
from tape_collectors.venues.binance.feed import BinanceFeed
from tape_collectors.venues.binance.market import POLL, Anchored, Polls, Whole
from tape_collectors.venues.binance.symbols import (
    SPOT_CHANNELS,
    USDM_CHANNELS,
    check_channel,
    check_symbols,
    instruments,
    listed,
    native,
    stream_name,
)
from tape_collectors.venues.instruments import Instrument
from tape_collectors.venues.protocol import Group, Limits

#: what the futures' /market root carries; everything else is on /public (sheet 3.1)
_MARKET = ("aggTrade", "markPrice", "kline", "miniTicker", "ticker", "forceOrder", "compositeIndex")


class Binance(msgspec.Struct, frozen=True):
    """One product of Binance."""

    name: str
    hosts: Mapping[str, str]
    sockets: Mapping[str, str]
    limits: Mapping[str, Limits]
    rule: Rule
    default: tuple[str, ...]
    channels: re.Pattern[str]
    snapshot: tuple[str, int, int]
    info: str
    paths: Mapping[str, str]
    streams: int
    sends_per_s: float
    #: the venue cuts a connection after 24 h
    lifetime_s: float = 86_400.0
    #: it pings every 20 s (spot) or 3 min (futures); with books and quotes subscribed, a minute without any frame is a dead link
    silence_s: float = 60.0
    #: channels whose batches differ from connection to connection (sheet 1, rule 6): copies of two sockets are not the same frames
    apart: tuple[str, ...] = ()

    def root_of(self, channel: str) -> str:
        """The group that carries a channel: on the futures a wrong root is acked and silent (sheet 3.1)."""
        if len(self.sockets) == 1:
            return next(iter(self.sockets))
        return "market" if channel.startswith(_MARKET) else "public"

    def groups(self, symbols: Sequence[str], channels: Sequence[str], sockets: Mapping[str, str]) -> list[Group]:
        """The connections, at most ``streams`` streams on each."""
        names: dict[str, dict[str, None]] = {}
        chosen = tuple(dict.fromkeys(channels or self.default))
        for channel in chosen:
            if not self.carries(channel):
                raise SettingsError(f"{self.name} has no channel {channel!r}; by default it records {', '.join(self.default)}")
            for symbol in symbols:
                names.setdefault(self.root_of(channel), {})[stream_name(native(symbol), channel)] = None
        if len(books := [channel for channel in chosen if channel.partition("@")[0] == "depth"]) > 1:
            raise SettingsError(f"{self.name}: {' and '.join(books)} are one book at several speeds; choose one")
        if not names:
            raise SettingsError(f"{self.name}: no symbols; name some, e.g. --symbols BTCUSDT,ETHUSDT")
        out = []
        for root, unique in names.items():
            wanted = list(unique)
            url = sockets.get(root, self.sockets[root]) + self.paths[root]
            for part, at in enumerate(range(0, len(wanted), self.streams)):
                name = f"{root}.{part + 1}" if part else root
                some = tuple(wanted[at : at + self.streams])
                out.append(Group(name, url, some, self.lifetime_s, self.sends_per_s, self.silence_s))
        return out

    def native(self, symbol: str) -> str:
        """The venue's own name of a symbol in any common form. Raises SettingsError."""
        return native(symbol)

    def carries(self, channel: str) -> bool:
        """Whether this product has the channel. Raises SettingsError for one that no product has."""
        check_channel(channel)
        return self.channels.fullmatch(channel) is not None

    def check(self, symbols: Sequence[str], info: bytes) -> None:
        """Refuse symbols that the venue does not list. Raises SettingsError, VenueProtocolError."""
        check_symbols(symbols, listed(info), self.name)

    def instruments(self, info: bytes) -> dict[str, Instrument]:
        """What the venue lists, by its own names. Raises VenueProtocolError."""
        return instruments(info)

    def feed(self, group: str, *, books: bool = True) -> BinanceFeed | Polls:
        """A feed for one connection."""
        return Polls() if group == POLL else BinanceFeed(self.rule, self.snapshot, books=books)

    def anchored(self, group: str) -> BinanceFeed:
        """A feed for a recorder that keeps no books: sequences and snapshots."""
        return Anchored(self.rule, self.snapshot)

    def whole(self, group: str) -> BinanceFeed | Polls:
        """A feed for a reader of such a tape: every delta and snapshot."""
        return Polls() if group == POLL else Whole(self.rule, self.snapshot)


SPOT = Binance(
    name="binance_spot",
    hosts={"rest": "https://api.binance.com"},
    sockets={"spot": "wss://stream.binance.com:9443"},
    limits={"rest": Limits(6000, 60.0, "X-MBX-USED-WEIGHT-1M")},
    rule=SPOT_RULE,
    default=("trade", "depth@100ms", "bookTicker"),
    channels=SPOT_CHANNELS,
    snapshot=("/api/v3/depth", 5000, 250),
    info="GET /api/v3/exchangeInfo",
    paths={"spot": "/stream"},
    streams=1000,
    sends_per_s=4.0,
)
USDM = Binance(
    name="binance_usdm",
    hosts={"rest": "https://fapi.binance.com", "archive": "https://data.binance.vision"},
    sockets={"public": "wss://fstream.binance.com", "market": "wss://fstream.binance.com"},
    # The archive names no limit; this is what we allow ourselves.
    limits={"rest": Limits(2400, 60.0, "X-MBX-USED-WEIGHT-1M"), "archive": Limits(600, 60.0)},
    rule=USDM_RULE,
    default=("aggTrade", "depth@100ms", "bookTicker", "markPrice@1s", "forceOrder"),
    channels=USDM_CHANNELS,
    snapshot=("/fapi/v1/depth", 1000, 20),
    info="GET /fapi/v1/exchangeInfo",
    paths={"public": "/public/stream", "market": "/market/stream"},
    streams=200,
    sends_per_s=8.0,
    apart=("depth",),
)
