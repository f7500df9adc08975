"""The book of MEXC spot; the rules are numbered in ``venues.joined.JoinedBook``.

Source: MEXC API docs, *How to properly maintain a local copy of the order book* (2025-11), and the practice of a live-tested client; read
2026-11-20 from the project's sheet, section 7.4. docs/venues/mexc.md names the test that fails without each rule.

``fromVersion == toVersion + 1`` strictly (rule 1), which no client of the field checks to the end; joined to REST (rules 4 to 6), which may
lag: a snapshot that is too old is asked for again, ever more slowly.
"""

from __future__ import annotations

from typing import Any

from tape_collectors.venues.joined import Event, JoinedBook
from tape_collectors.venues.mexc import wire
from tape_collectors.venues.numbers import whole


def book(symbol: str, channel: str) -> JoinedBook:
    """The book of a channel."""
    return JoinedBook(symbol, channel)


def event(depth: Any, ts: int) -> Event:
    """An ``aggre.depth`` message as an event; either side may be left out."""
    first, last = whole(depth.fromVersion), whole(depth.toVersion)
    if not 0 < first <= last:
        raise ValueError(f"versions {first} to {last}")
    return Event(first, last, ts, wire.levels(depth.bids), wire.levels(depth.asks))
