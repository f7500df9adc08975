"""The two books of Gate.io; the rules are numbered in ``venues.joined.JoinedBook``.

Source: v4 docs, *Order book V2* and *Changed order book levels* (2026), announcements 44678 and 44722 (2026-05-06); read 2026-11-20 from
the project's sheet, section 6.2. docs/venues/gate.md names the test that fails without each rule.

``obu``: begun by a whole book in the stream (rule 3), which may come again at any time; ``U == u + 1`` strictly (rule 1); a lost book is
asked for by unsubscribing and subscribing.
``order_book_update``: joined to REST (rules 4 to 6), unless a whole book comes in the stream (since 2026-05-06, rule 3); an event that
begins earlier is accepted (rule 1, overlaps). REST with more than 100 levels is cached for long, and levels beyond 100 are never updated.
"""

from __future__ import annotations

from tape_collectors.venues.gate import wire
from tape_collectors.venues.joined import Event, JoinedBook
from tape_collectors.venues.session import MS


def book(symbol: str, channel: str) -> JoinedBook:
    """The book of a channel."""
    return JoinedBook(symbol, channel, overlaps=not channel.startswith("obu"))


def event(one: wire.Obu | wire.Update) -> Event:
    """A push as an event. Without ``U`` a whole book counts as of ``u``."""
    if not one.full and not 0 < one.U <= one.u:
        raise ValueError(f"{one.s[:40]}: update ids U={one.U} u={one.u}")
    return Event(one.U or one.u, one.u, one.t * MS, one.b, one.a, one.full)
