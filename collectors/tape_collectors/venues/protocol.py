"""The seam between a venue's rules and the I/O around them.

A venue is pure: frames and their times go in, records and commands come out. It has no socket, clock, log or random,
so the live recorder, ``tape rebuild`` and a strategy's replay run the very same object over the very same bytes.

The runtime promises: ``opened`` first, then any order of the other calls, ``closed`` last; times never go back; a
frame is on the tape before ``receive`` sees it. A feed lives as long as one connection (one *epoch*).

The feed promises: only ``opened``, ``want``, ``receive``, ``fetched``, ``resubscribe`` and ``tick`` give commands;
``tick`` and ``resubscribe`` never change what later records say, so a replay, which does not call them, agrees with
the live run. A frame that cannot be decoded becomes an ``Unknown`` record, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from tape_archive.format.records import BookSnapshot, Record
from tape_collectors.venues.instruments import Instrument


class Send(msgspec.Struct, frozen=True):
    """Send this text frame on the connection."""

    data: str


class Fetch(msgspec.Struct, frozen=True):
    """Ask by REST; the reply goes to every live feed of the tape as ``fetched(t, request, reply)``.

    ``request`` is ``METHOD path?query`` with an optional body behind a blank (``POST /books [...]``): it is written to
    the tape with the reply, without the host. ``host`` names an entry of ``Venue.hosts``; ``weight`` is what the venue
    counts; ``delay_s`` asks the runtime to wait first; ``retries`` how often a failure is asked again (-1: for ever).
    """

    request: str
    host: str = "rest"
    weight: int = 1
    delay_s: float = 0.0
    retries: int = -1


class Reconnect(msgspec.Struct, frozen=True):
    """Open a new connection, and close this one: at once, or (``overlap``) only when the new one is in sequence."""

    why: str
    overlap: bool = False


class Mark(msgspec.Struct, frozen=True):
    """Write a mark: ``{"mark": kind, **fields}``. ``key`` routes it as ``Venue.route`` would (empty: the stream's own tape)."""

    kind: str
    fields: Mapping[str, object]
    key: str = ""


Command = Send | Fetch | Reconnect | Mark
Output = tuple[Sequence[Record], Sequence[Command]]
NOTHING: Output = ((), ())


class Stream:
    """One subscription on one connection: requested -> acked -> first frame seen, and how often it speaks.

    The feed counts (``frames``, ``last_t``); the watchdog reads. ``dense`` streams must speak soon after subscribing;
    sparse ones (liquidations, lifecycle) may be silent for ever. ``first_id`` and ``last_id`` are the ends of what came, where the venue
    counts its events: another connection that begins at or before ``last_id + 1`` goes on without a hole. 0: not counted. ``at`` is the
    last update id of a book's newest frame where no record tells it: the book waits for a snapshot, or the frame was old.
    """

    __slots__ = (
        *("acked_t", "at", "channel", "dense", "first_id", "first_t", "frames", "last_id", "last_t", "name", "requested_t", "symbol"),
    )

    def __init__(self, name: str, symbol: str, channel: str, *, dense: bool = True) -> None:
        self.name = name
        self.symbol = symbol
        self.channel = channel
        self.dense = dense
        self.requested_t = 0
        self.acked_t = 0
        self.first_t = 0
        self.last_t = 0
        self.frames = 0
        self.first_id = 0
        self.last_id = 0
        self.at = 0


class Feed(Protocol):
    """One connection's protocol. All times are unix ns of receive; ``data`` is the frame exactly as received."""

    streams: dict[str, Stream]

    def opened(self, t: int) -> Output:
        """The socket is up: what to send, what to fetch."""
        ...

    def want(self, t: int, names: Iterable[str]) -> Output:
        """The stream names that should be subscribed from now on; gives the frames that make it so."""
        ...

    def receive(self, t: int, data: bytes) -> Output:
        """Decode one frame and check its sequence. Never raises."""
        ...

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """A REST reply of this tape (perhaps asked by another feed: use it if it serves, else ignore it). Never raises."""
        ...

    def restore(self, t: int, checkpoint: Mapping[str, object]) -> Output:
        """Take over a ``book`` mark (see the format): state that a reader who starts in mid-tape needs."""
        ...

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """The fields of the ``book`` marks that let ``restore`` continue from here."""
        ...

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """These streams fell silent: ask for them again, and for nothing else."""
        ...

    def tick(self, t: int) -> Sequence[Command]:
        """Called about once a second: application pings, deadlines."""
        ...


@runtime_checkable
class Anchored(Protocol):
    """A feed whose books can be compared with the venue's REST books from time to time (see ``market.anchor``)."""

    def anchor(self, symbol: str) -> Fetch | None:
        """The request for the book of a symbol that is proven on this feed; None if it is not, or there is no such request."""
        ...

    def anchored(self, t: int, request: str, data: bytes) -> BookSnapshot | None:
        """What the reply to such a request says, in the units of the feed's own records; ``id`` 0 if REST counts otherwise than the
        stream. None: another request, or no book."""
        ...


class Group(msgspec.Struct, frozen=True):
    """One kind of connection: ``name`` is its tape stream (``public``), ``url`` where, ``names`` the streams to carry.

    ``lifetime_s`` > 0: the venue cuts the connection then, so the runtime replaces it, overlapping, well before.
    ``sends_per_s`` is the venue's limit on our frames; ``silence_s`` > 0: with no frame of any kind for so long the
    link is dead (half-open socket). ``ping_s``: we ping when nothing came for so long. ``headers``: what the venue wants in the handshake.
    """

    name: str
    url: str
    names: tuple[str, ...]
    lifetime_s: float = 0.0
    sends_per_s: float = 5.0
    silence_s: float = 60.0
    ping_s: float = 20.0
    headers: tuple[tuple[str, str], ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """REST budget of one host: ``weight`` per ``interval_s``; header that tells what the venue has counted; headers of our requests."""

    weight: int
    interval_s: float
    used_header: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Venue(Protocol):
    """What a venue is: addresses, limits, and the feeds that speak its protocol. All of it data or pure."""

    name: str
    #: REST roots by host name; settings may point each elsewhere (a mirror, the simulator).
    hosts: Mapping[str, str]
    #: websocket roots by group name; likewise.
    sockets: Mapping[str, str]
    limits: Mapping[str, Limits]
    #: the request on host ``rest`` whose reply lists the instruments
    info: str

    def groups(self, symbols: Sequence[str], channels: Sequence[str], sockets: Mapping[str, str]) -> list[Group]:
        """The connections that carry ``channels`` of ``symbols`` (venue names); empty ``channels`` means the default set.

        Raises SettingsError for a symbol or channel that cannot exist.
        """
        ...

    def native(self, symbol: str) -> str:
        """The venue's own name of a symbol in any common form. Raises SettingsError."""
        ...

    def carries(self, channel: str) -> bool:
        """Whether it has the channel. Raises SettingsError for one that cannot exist."""
        ...

    def check(self, symbols: Sequence[str], info: bytes) -> None:
        """Refuse symbols that the reply to ``info`` does not list. Raises SettingsError, VenueProtocolError."""
        ...

    def instruments(self, info: bytes) -> Mapping[str, Instrument]:
        """What the reply to ``info`` lists, by the venue's own names. Raises VenueProtocolError."""
        ...

    def feed(self, group: str) -> Feed:
        """A new feed for one connection of ``group``."""
        ...
