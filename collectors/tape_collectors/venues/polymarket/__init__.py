"""Polymarket's up/down windows: addresses, limits, feeds (project's sheet polymarket.md, read 2026-11-20)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.polymarket.feed import BriefFeed, ClobFeed
from tape_collectors.venues.polymarket.prices import PolyBoltFeed, RtdsFeed
from tape_collectors.venues.protocol import Feed, Group, Limits

#: sheet 1.4: sliding windows of 10 s
_LIMITS = {
    "gamma": Limits(300, 10.0),
    "clob": Limits(1000, 10.0),
    "data": Limits(200, 10.0),
}


class Polymarket(msgspec.Struct, frozen=True):
    """The venue. Groups: ``clob``, and one of ``polybolt`` or ``rtds`` for the reference price."""

    name: str
    hosts: Mapping[str, str]
    sockets: Mapping[str, str]
    limits: Mapping[str, Limits]

    def groups(self, symbols: Sequence[str], channels: Sequence[str], sockets: Mapping[str, str]) -> list[Group]:
        """``channels``: clob, and rtds or polybolt; ``symbols`` are coins, for the prices."""
        out = []
        for channel in channels:
            if channel == "clob":
                out.append(Group("clob", sockets["ws"] + "/ws/market", (), sends_per_s=20.0, silence_s=30.0))
            elif channel == "rtds":
                names = tuple(f"crypto_prices_twap_sixty/{coin}/usd" for coin in symbols)
                out.append(Group("rtds", sockets["rtds"], names, sends_per_s=10.0, silence_s=60.0, lifetime_s=1800.0))
            elif channel == "polybolt":
                names = tuple(f"price.crypto.twap/{coin}usd" for coin in symbols)
                out.append(Group("polybolt", sockets["polybolt"] + "/ws", names, sends_per_s=10.0, silence_s=60.0))
            else:
                raise SettingsError(f"polymarket has no channel {channel!r} (known: clob, rtds, polybolt)")
        return out

    def feed(self, group: str, *, credentials: tuple[str, str, str] | None = None) -> Feed:
        """A feed for one connection. A reader of tapes needs no credentials."""
        if group.startswith("rtds"):
            return RtdsFeed()
        if group.startswith("brief"):
            return BriefFeed()
        if group.startswith("polybolt"):
            return PolyBoltFeed(credentials or ("", "", ""))
        return ClobFeed()


POLYMARKET = Polymarket(
    name="polymarket",
    hosts={
        "gamma": "https://gamma-api.polymarket.com",
        "clob": "https://clob.polymarket.com",
        "data": "https://data-api.polymarket.com",
        "rpc": "https://polygon.drpc.org",
    },
    sockets={
        "ws": "wss://ws-subscriptions-clob.polymarket.com",
        "rtds": "wss://ws-live-data.polymarket.com",
        "polybolt": "wss://ws-live-v2.polymarket.com",
    },
    limits=_LIMITS,
)
