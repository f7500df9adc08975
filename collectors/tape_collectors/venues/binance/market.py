"""The whole USD-M market: feeds that keep no book, and what only REST tells.

A book of every symbol would cost the recorder more than all else, and whoever reads the tape keeps the books that he wants. So the
recorder's feed (``Anchored``) looks at sequences alone, and has each one anchored by a REST snapshot; the reader's (``Whole``) gives every
delta with the id of the update before, and every snapshot. Both rest on the rules of ``depth``. Read 2026-11-20: sheet sections 3.3 to 3.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tape_archive.format.records import BookDelta, BookSnapshot, Gap, Notice, OpenInterest, Reset, Unknown
from tape_collectors.venues.binance import events, wire
from tape_collectors.venues.binance.depth import SECOND
from tape_collectors.venues.binance.events import Counted, Handler
from tape_collectors.venues.binance.feed import ASK_AGAIN_NS, BinanceFeed
from tape_collectors.venues.binance.symbols import stream_of
from tape_collectors.venues.binance.wire import MS
from tape_collectors.venues.protocol import NOTHING, Command, Fetch, Output, Stream
from tape_collectors.venues.session import BROKEN

#: the group, and the tape, of what is polled
POLL = "poll"
#: the recorder's data types and the streams that bring them; ``openInterest`` is polled
TYPES: Mapping[str, str] = {
    "trades": "aggTrade",
    "candles_1m": "kline_1m",
    "candles_5m": "kline_5m",
    "candles_30m": "kline_30m",
    "candles_4h": "kline_4h",
    "candles_1d": "kline_1d",
    "ticker": "ticker",
    "funding": "markPrice@1s",
    "index": "markPrice@1s",
    "l2_book": "depth@100ms",
    "liquidations": "forceOrder",
    "book_ticker": "bookTicker",
    "open_interest": "openInterest",
}
#: what speaks only when somebody trades
_TRADING = ("aggTrade", "kline", "ticker")
#: REST, sheet 3.5: weight 1 a symbol; an answer is given up after so long, and asked for again at its next turn
_OPEN_INTEREST = "/fapi/v1/openInterest"
_GIVEN_UP_NS = 60 * SECOND


class Anchored(BinanceFeed):
    """For a recorder that keeps the tape only: sequences are checked by their ids, and a snapshot is asked for every book that has none
    since its last gap."""

    def __init__(self, rule: Any, snapshot: tuple[str, int, int]) -> None:
        super().__init__(rule, snapshot, books=False)
        #: the update before the first event of each unbroken sequence; those that a snapshot anchors
        self._since: dict[str, int] = {}
        self._anchored: set[str] = set()
        self._asked_t: dict[str, int] = {}
        self._vain: dict[str, int] = {}

    def _stream(self, name: str) -> Counted:
        stream = super()._stream(name)
        stream.dense = stream.dense and events.base_of(stream.channel) not in _TRADING
        return stream

    def _depth_header(self, t: int, stream: Counted, payload: bytes) -> Output:
        before = stream.last_id
        output = super()._depth_header(t, stream, payload)
        if (before and output is NOTHING) or stream.last_id == before or events.base_of(stream.channel) != "depth":
            return output
        if not before or any(isinstance(record, Gap | Reset) for record in output[0]):
            event = wire.depth(payload)
            self._since[stream.symbol] = event.pu if event.pu >= 0 else event.U - 1
            self._anchored.discard(stream.symbol)
        return output[0], [*output[1], *self._ask(t, stream.symbol)]

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """A snapshot, asked by this feed or by another of the tape; it anchors the sequence if it is not older."""
        symbol = self._asked_for(request)
        if symbol not in self._since or symbol in self._anchored:
            return NOTHING
        self._asked_t.pop(symbol, None)
        try:
            number = wire.snapshot(data).lastUpdateId
        except BROKEN as error:
            return [Unknown(t, f"binance: snapshot of {symbol[:40]}: {str(error)[:100]}")], self._ask(t, symbol)
        if number < self._since.get(symbol, 0):
            return [Notice(t, "stale", f"snapshot {number} of {symbol[:40]} is older than the stream")], self._ask(t, symbol)
        self._anchored.add(symbol)
        self._vain.pop(symbol, None)
        return NOTHING

    def tick(self, t: int) -> Sequence[Command]:
        """Snapshots that never came."""
        out: list[Command] = []
        for symbol in [symbol for symbol, asked in self._asked_t.items() if t - asked > ASK_AGAIN_NS]:
            del self._asked_t[symbol]
            out += self._ask(t, symbol)
        return out

    def ready(self) -> bool:
        """Whether every dense stream has spoken: books are anchored when the weight budget comes to them."""
        return all(stream.first_t or not stream.dense for stream in self.streams.values())

    def unanchored(self) -> int:
        """Books that wait for a snapshot."""
        return len(self._since.keys() - self._anchored)

    def _ask(self, t: int, symbol: str) -> list[Command]:
        if symbol in self._anchored or symbol in self._asked_t:
            return []
        vain = self._vain[symbol] = self._vain.get(symbol, -1) + 1
        self._asked_t[symbol] = t
        delay = min(8.0, 0.25 * 2 ** min(vain, 6)) if vain else 0.0
        return [Fetch(f"GET {self._path}?symbol={symbol}&limit={self._limit}", weight=self._weight, delay_s=delay)]


class Whole(BinanceFeed):
    """For a reader of such a tape, from any line on: every delta is a record, proven or not, and every snapshot."""

    def __init__(self, rule: Any, snapshot: tuple[str, int, int]) -> None:
        super().__init__(rule, snapshot, books=True)

    def _handler(self, channel: str) -> Handler:
        return self._delta if events.base_of(channel) == "depth" else super()._handler(channel)

    def _delta(self, t: int, stream: Counted, payload: bytes) -> Output:
        event = wire.depth(payload)
        if not self._rule.sane(event):
            raise ValueError(f"{stream.name}: update ids U={event.U} u={event.u} pu={event.pu}")
        before, anew = stream.last_id, False
        if event.u <= before:
            anew = 0 < stream.time() < event.E
            if not anew:
                return [Notice(t, "duplicate", f"{stream.name} u={event.u}")], ()
        delta = BookDelta(t, event.E * MS, stream.symbol, stream.channel, event.U, event.u, event.b, event.a, event.pu)
        stream.last_id, stream.tail = event.u, payload
        if anew:
            return (Reset(t, stream.symbol, stream.channel, f"update ids went back from {before} to {event.u}"), delta), ()
        if before and not self._rule.follows(event, before):
            first, last = self._rule.missing(event, before)
            return (Gap(t, stream.symbol, stream.channel, stream.last_t, first, last, "sequence"), delta), ()
        return (delta,), ()

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """A snapshot. Every epoch of the tape is offered it: its id tells that it is the same."""
        symbol = self._asked_for(request)
        if not symbol:
            return NOTHING
        try:
            one = wire.snapshot(data)
        except BROKEN as error:
            return [Unknown(t, f"binance: snapshot of {symbol[:40]}: {str(error)[:100]}")], ()
        return [BookSnapshot(t, (one.E or one.T) * MS, symbol, "depth", one.lastUpdateId, one.bids, one.asks, "rest")], ()


class Polls:
    """What no stream tells, asked in turn: the open interest of each symbol, every ``every_s`` seconds or as often as ``weight`` a minute
    allows, whichever is longer. A group without a socket; its streams are ``btcusdt@openInterest``."""

    def __init__(self, every_s: float = 5.0, weight: int = 1200) -> None:
        self.streams: dict[str, Stream] = {}
        self._every_ns = int(every_s * SECOND)
        self._gap_ns = 60 * SECOND // weight
        self._turn: list[str] = []
        self._at = 0
        self._next = 0
        self._asked: dict[str, int] = {}

    def opened(self, t: int) -> Output:
        """Nothing is asked before somebody wants something."""
        return NOTHING

    def want(self, t: int, names: Iterable[str]) -> Output:
        """Ask for these from now on."""
        wanted = dict.fromkeys(names)
        for name in [name for name in self.streams if name not in wanted]:
            del self.streams[name]
        for name in wanted:
            if name not in self.streams:
                symbol, channel = stream_of(name)
                stream = self.streams[name] = Stream(name, symbol, channel, dense=False)
                stream.requested_t = t
        self._turn = list(self.streams)
        self._at = 0 if self._at >= len(self._turn) else self._at
        self._next = max(self._next, t)
        return NOTHING

    def period_ns(self) -> int:
        """How often each symbol is asked."""
        return max(self._every_ns, self._gap_ns * len(self._turn))

    def allow(self, weight: int) -> None:
        """So much weight a minute from now on."""
        self._gap_ns = 60 * SECOND // weight

    def tick(self, t: int) -> Sequence[Command]:
        """The requests that are due: evenly spread over the period. What was not asked in time is not asked in a burst."""
        out: list[Command] = []
        if not self._turn:
            return out
        step = self.period_ns() // len(self._turn)
        self._next = max(self._next, t - 2 * SECOND)
        while self._next <= t:
            self._next += step
            stream = self.streams[self._turn[self._at]]
            self._at = (self._at + 1) % len(self._turn)
            if t - self._asked.get(stream.symbol, -_GIVEN_UP_NS) >= _GIVEN_UP_NS:
                self._asked[stream.symbol] = t
                out.append(Fetch(f"GET {_OPEN_INTEREST}?symbol={stream.symbol}", retries=0))
        return out

    def receive(self, t: int, data: bytes) -> Output:
        """There is no socket."""
        return [Unknown(t, "binance: a frame on a connection that is none")], ()

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """A reply."""
        head, _, query = request.partition("?symbol=")
        if head != f"GET {_OPEN_INTEREST}":
            return NOTHING
        try:
            one = wire.open_interest(data)
        except BROKEN as error:
            return [Unknown(t, f"binance: open interest of {query[:40]}: {str(error)[:100]}")], ()
        self._asked.pop(one.symbol, None)
        name = f"{one.symbol.lower()}@openInterest"
        if (stream := self.streams.get(name)) is not None:
            stream.frames += 1
            stream.first_t, stream.last_t = stream.first_t or t, t
        return (OpenInterest(t, one.time * MS, one.symbol, "openInterest", one.openInterest),), ()

    def restore(self, t: int, checkpoint: Mapping[str, object]) -> Output:
        """Nothing depends on what was before."""
        return NOTHING

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """Nothing."""
        return ()

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """Each has its turn anyway."""
        return ()
