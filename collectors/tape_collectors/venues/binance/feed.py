"""One Binance connection: subscriptions, acks, which decoder a frame goes to, snapshots, checkpoints.

The streams are told by the name in the combined wrapper, never by the payload's ``e`` alone: a partial depth frame and a depth update of
the futures look the same (sheet 3.3). A SUBSCRIBE on a wrong root is acked and then silent for ever, so an ack proves nothing:
the watchdog waits for each stream's first frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import BookSnapshot, Notice, Quote, Record, Reset, Unknown
from tape_collectors.venues.binance import events, wire
from tape_collectors.venues.binance.depth import SECOND, DepthBook, Rule
from tape_collectors.venues.binance.events import Counted, Handler
from tape_collectors.venues.binance.symbols import stream_name, stream_of
from tape_collectors.venues.protocol import NOTHING, Command, Fetch, Output, Reconnect, Send, Stream
from tape_collectors.venues.session import BROKEN, told

_PER_REQUEST = 100
#: a connection carries 1024 streams; more names than this are garbage
_MOST_NAMES = 4096
#: a snapshot that was asked for and never came is asked again: 600 snapshots take 25 minutes of the spot budget
ASK_AGAIN_NS = 1800 * SECOND
_SPARSE = ("forceOrder", "contractInfo", "blockTrade", "referencePrice")
_HEAD, _DATA = b'{"stream":"', b'","data":'
#: channel of a frame that has no stream name, by its ``e``
_RAW = {
    "depthUpdate": "depth",
    "trade": "trade",
    "aggTrade": "aggTrade",
    "blockTrade": "blockTrade",
    "bookTicker": "bookTicker",
    "markPriceUpdate": "markPrice",
    "kline": "kline",
}


class BinanceFeed:
    """Spot and USD-M differ by ``rule`` and by the snapshot's address."""

    def __init__(self, rule: Rule, snapshot: tuple[str, int, int], *, books: bool = True) -> None:
        self.streams: dict[str, Stream] = {}
        self._rule = rule
        self._path, self._limit, self._weight = snapshot
        self._books = books
        self._header = wire.HEADER_PU if rule.by_pu else wire.HEADER
        self._depths: dict[str, DepthBook] = {}
        self._by_symbol: dict[str, list[DepthBook]] = {}
        #: by all that stands before the payload in a combined frame
        self._handlers: dict[bytes, tuple[Counted, Handler]] = {}
        #: every stream that ever was: one that is left and wanted again goes on with its sequence, as a replay (which knows no wants) does
        self._known: dict[str, Counted] = {}
        self._wanted: set[str] = set()
        self._asked: dict[int, tuple[str, ...]] = {}
        self._message = 0

    # -- subscriptions ---------------------------------------------------------------------------------------------------

    def opened(self, t: int) -> Output:
        """Nothing is sent before somebody wants something."""
        return NOTHING

    def want(self, t: int, names: Iterable[str]) -> Output:
        """Subscribe and unsubscribe by lists: each message counts against 5 (spot) or 10 (futures) a second."""
        wanted = dict.fromkeys(names)
        new = [name for name in wanted if name not in self._wanted]
        old = [name for name in sorted(self._wanted) if name not in wanted]
        self._wanted = set(wanted)
        for name in old:
            self.streams.pop(name, None)
        for name in new:
            stream = self.streams[name] = self._stream(name)
            stream.requested_t, stream.acked_t, stream.first_t, stream.frames = t, 0, 0, 0
        return (), [*self._requests("UNSUBSCRIBE", old), *self._requests("SUBSCRIBE", new)]

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """Only these streams."""
        known = [name for name in names if name in self._wanted]
        for name in known:
            stream = self.streams[name]
            stream.requested_t, stream.acked_t = t, 0
        return [*self._requests("UNSUBSCRIBE", known), *self._requests("SUBSCRIBE", known)]

    def tick(self, t: int) -> Sequence[Command]:
        """Snapshots that never came; the runtime answers pings and repeats failed requests."""
        out: list[Command] = []
        for books in self._by_symbol.values():
            for book in books:
                if not book.live and book.asked_t and t - book.asked_t > ASK_AGAIN_NS:
                    book.asked_t = 0
                    out += self._snapshot_wanted(t, book)
        return out

    def ready(self) -> bool:
        """Whether every dense stream has spoken and every book that has deltas is proven."""
        return all(stream.first_t or not stream.dense for stream in self.streams.values()) and all(
            depth.live or not self._books for name, depth in self._depths.items() if name in self.streams
        )

    def _requests(self, method: str, names: list[str]) -> list[Command]:
        out: list[Command] = []
        for at in range(0, len(names), _PER_REQUEST):
            self._message += 1
            some = tuple(names[at : at + _PER_REQUEST])
            if method == "SUBSCRIBE":
                self._asked[self._message] = some
            body = {"method": method, "params": list(some), "id": self._message}
            out.append(Send(msgspec.json.encode(body).decode()))
        return out

    def _stream(self, name: str) -> Counted:
        stream = self._known.get(name)
        if stream is None:
            if len(self._known) >= _MOST_NAMES and name not in self._wanted:
                raise ValueError(f"more than {_MOST_NAMES} stream names on one connection")
            symbol, channel = stream_of(name)
            stream = self._known[name] = Counted(name, symbol, channel, dense=not channel.startswith(_SPARSE))
        return stream

    # -- frames ----------------------------------------------------------------------------------------------------------

    def receive(self, t: int, data: bytes) -> Output:
        """One frame of a combined or raw connection."""
        try:
            # All that stands before the payload of a combined frame tells the stream: what is known is not looked at any closer.
            at = data.find(b'"', 11) + 9
            known = self._handlers.get(data[:at])
            if data.endswith(b"}") and (known is not None or (data.startswith(_HEAD) and data.startswith(_DATA, at - 9))):
                try:
                    if known is None:
                        return self._streamed(t, data[11 : at - 9], data[at:-1])
                    # The usual case of ``_streamed``, without a call: this runs for every frame.
                    stream, handler = known
                    output = handler(t, stream, data[at:-1])
                    stream.frames += 1
                    stream.last_t = t
                    if not stream.first_t:
                        stream.first_t = t
                    return output
                except msgspec.DecodeError:
                    # Perhaps a wrapper with more keys: look at it as a whole.
                    return self._other(t, data)
            return self._other(t, data)
        except BROKEN as error:
            return [Unknown(t, f"binance: {str(error)[:120]}")], ()

    def _streamed(self, t: int, name: bytes, payload: bytes) -> Output:
        head = _HEAD + name + _DATA
        known = self._handlers.get(head)
        if known is None:
            text = msgspec.json.decode(b'"' + name + b'"', type=str)
            if text == "!serverShutdown":
                return self._shutdown(t)
            known = self._known_handler(head, text)
        stream, handler = known
        output = handler(t, stream, payload)
        stream.frames += 1
        stream.last_t = t
        if not stream.first_t:
            stream.first_t = t
        return output

    def _known_handler(self, head: bytes, text: str) -> tuple[Counted, Handler]:
        stream = self._stream(text)
        self.streams.setdefault(text, stream)
        known = stream, self._handler(stream.channel)
        if len(self._handlers) < 2 * _MOST_NAMES:
            self._handlers[head] = known
        return known

    def _handler(self, channel: str) -> Handler:
        base = events.base_of(channel)
        if base == "depth":
            return self._depth if self._books else self._depth_header
        if base == "rpiDepth":
            return self._depth_header
        if not self._books and base in wire.NUMBER:
            return events.number_header(base)
        return events.DECODED.get(base, events.statistic)

    def _other(self, t: int, data: bytes) -> Output:
        if data.lstrip()[:1] == b"[":
            records: list[Record] = []
            commands: list[Command] = []
            for part in wire.raw_list(data):
                more, asked = self._raw(t, bytes(part))
                records += more
                commands += asked
            return records, commands
        if b'"stream"' in data:
            try:
                frame = wire.combined(data)
            except msgspec.ValidationError:
                return self._control(t, data)
            return self._streamed(t, msgspec.json.encode(frame.stream)[1:-1], bytes(frame.data))
        return self._raw(t, data)

    def _raw(self, t: int, data: bytes) -> Output:
        """A frame without the wrapper: the type is in ``e``. Spot's bookTicker has none, and is told by its keys; spot's partial depth has
        no symbol either, so nobody can say whose it is."""
        try:
            event = wire.event(data)
        except msgspec.ValidationError:
            return self._control(t, data)
        kind = _RAW.get(event.e) or ("bookTicker" if not event.e and event.s and event.u else "")
        if kind and event.s:
            return self._streamed(t, f"{event.s.lower()}@{kind}".encode(), data)
        if event.e == "forceOrder":
            return self._streamed(t, f"{wire.force_order(data).o.s.lower()}@forceOrder".encode(), data)
        if event.e == "contractInfo":
            return self._streamed(t, b"!contractInfo", data)
        if event.e in events.STATISTICS:
            return [Notice(t, "statistic", f"{event.s} {event.e}")], ()
        return self._control(t, data)

    def _control(self, t: int, data: bytes) -> Output:
        message = wire.control(data)
        if message.e == "serverShutdown":
            return self._shutdown(t)
        names = self._asked.get(message.id, ()) if type(message.id) is int else ()
        if message.error is not None or message.code is not None:
            self._asked.pop(message.id if names else 0, None)
            what = f"{message.code} {message.msg} {message.error or ''}".strip()[:150]
            return [Notice(t, "error", f"{what} (for {', '.join(names)[:100]})" if names else what)], ()
        if message.id is not None and message.result is not msgspec.UNSET:
            self._asked.pop(message.id if names else 0, None)
            for name in names:
                if name in self.streams:
                    self.streams[name].acked_t = t
            return [Notice(t, "ack", str(message.id)[:40])], ()
        return [Unknown(t, f"binance: no known frame: {data[:100].decode('utf-8', 'replace')}")], ()

    def _shutdown(self, t: int) -> Output:
        return [Notice(t, "shutdown", "serverShutdown")], [Reconnect("serverShutdown", overlap=True)]

    # -- depth -----------------------------------------------------------------------------------------------------------

    def _depth(self, t: int, stream: Counted, payload: bytes) -> Output:
        event = wire.depth(payload)
        book = self._depths.get(stream.name) or self._book(stream)
        delta = book.proven(t, event, payload)
        if delta is not None:
            stream.last_id = event.u
            return (delta,), ()
        if not self._rule.sane(event):
            raise ValueError(f"{stream.name}: update ids U={event.U} u={event.u} pu={event.pu}")
        if not stream.first_id:
            stream.first_id = event.pu + 1 if event.pu >= 0 else event.U
        records = book.event(t, event, payload)
        stream.last_id, stream.at = book.last, event.u
        if book.live and len(records) == 1:
            return records, ()
        if any(isinstance(record, Reset) for record in records):
            stream.first_id = event.U
            self._began_anew(stream.symbol)
        return records, [*told(records), *self._snapshot_wanted(t, book)]

    def _depth_header(self, t: int, stream: Counted, payload: bytes) -> Output:
        book = self._depths.get(stream.name) or self._book(stream)
        header = self._header(payload)
        if header is not None:
            first, last = int(header[1]), int(header[2])
            if book.check(t, first, last, int(header[3]) if self._rule.by_pu else -1, payload):
                stream.last_id = last
                return NOTHING
        event = wire.depth(payload)
        if not self._rule.sane(event):
            raise ValueError(f"{stream.name}: update ids U={event.U} u={event.u} pu={event.pu}")
        if not stream.first_id:
            stream.first_id = event.pu + 1 if event.pu >= 0 else event.U
        records = book.event(t, event, payload)
        book.kept.clear()
        stream.last_id, stream.at = book.last, event.u
        return (records, told(records)) if records else NOTHING

    def _book(self, stream: Counted) -> DepthBook:
        book = self._depths[stream.name] = DepthBook(self._rule, stream.symbol, stream.channel)
        if events.base_of(stream.channel) == "depth":
            # The book with RPI orders is another one: its sequence is checked, but no snapshot of ours is its own.
            self._by_symbol.setdefault(stream.symbol, []).append(book)
        return book

    def _began_anew(self, symbol: str) -> None:
        """Spot's quotes have the depth's ids and no time: with the depth they begin anew."""
        for stream in self._known.values():
            if stream.symbol == symbol and stream.channel == "bookTicker" and not stream.time():
                stream.last_id = 0

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """A depth snapshot, asked by this feed or by another of the same tape."""
        symbol = self._asked_for(request)
        if not symbol or not self._books:
            return NOTHING
        waiting = [book for book in self._by_symbol.get(symbol, ()) if not book.live]
        if not waiting:
            return NOTHING
        for book in waiting:
            book.asked_t = 0
        try:
            snapshot = wire.snapshot(data)
        except BROKEN as error:
            return [Unknown(t, f"binance: snapshot of {symbol[:40]}: {str(error)[:100]}")], self._snapshot_wanted(t, waiting[0])
        records: list[Record] = []
        commands: list[Command] = []
        for book in waiting:
            joined = book.snapshot(t, snapshot)
            if joined is None:
                records.append(Notice(t, "stale", f"snapshot {snapshot.lastUpdateId} of {symbol[:40]} does not join {book.channel}"))
                commands += self._snapshot_wanted(t, book)
            else:
                records += joined
        return records, commands

    def _asked_for(self, request: str) -> str:
        head, _, query = request.partition("?")
        return next((part[7:] for part in query.split("&") if part.startswith("symbol=")), "") if head == f"GET {self._path}" else ""

    def anchor(self, symbol: str) -> Fetch | None:
        """The best 1,000 levels, to compare the book with (weight 50 on spot, 20 on the futures)."""
        books = [book for book in self._by_symbol.get(symbol, ()) if book.live]
        return Fetch(f"GET {self._path}?symbol={symbol}&limit=1000", weight=min(50, self._weight), retries=0) if books else None

    def anchored(self, t: int, request: str, data: bytes) -> BookSnapshot | None:
        """The reply to it, or to any request for a book."""
        symbol = self._asked_for(request)
        if not symbol:
            return None
        try:
            snapshot = wire.snapshot(data)
        except BROKEN:
            return None
        return BookSnapshot(t, snapshot.T * 1_000_000, symbol, "depth", snapshot.lastUpdateId, snapshot.bids, snapshot.asks, "rest")

    def _snapshot_wanted(self, t: int, book: DepthBook) -> list[Command]:
        """One request at a time for a symbol; after each vain one a longer pause."""
        if book.live or not self._books or any(one.asked_t for one in self._by_symbol[book.symbol]):
            return []
        book.asked_t = t
        delay = min(8.0, 0.25 * 2 ** min(book.attempts, 6)) if book.attempts else 0.0
        book.attempts += 1
        return [Fetch(f"GET {self._path}?symbol={book.symbol}&limit={self._limit}", weight=self._weight, delay_s=delay)]

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """Where each stream's sequence stands; the levels are the consumer's to add. ``state`` is that of the book which has them;
        further depth streams of the symbol are ``others``."""
        out: dict[str, dict[str, Any]] = {}
        for stream in self._known.values():
            fields = out.setdefault(stream.symbol, {"symbol": stream.symbol, "ids": {}})
            if stream.last_t:
                fields["ids"][stream.name] = [stream.first_id, stream.last_id, stream.first_t, stream.last_t, stream.time()]
        for symbol in {book.symbol: None for book in self._depths.values()}:
            books = [book for book in self._depths.values() if book.symbol == symbol]
            books.sort(key=lambda book: (not book.live, events.base_of(book.channel) != "depth"))
            if events.base_of(books[0].channel) == "depth":
                out[symbol]["state"] = books.pop(0).state()
            if books:
                out[symbol]["others"] = [book.state() for book in books]
        return list(out.values())

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """Go on from a checkpoint. Without the levels (``bids``, ``asks``) the book waits for the next snapshot."""
        symbol = str(checkpoint["symbol"])
        for name, (first_id, last_id, first_t, last_t, *time) in checkpoint["ids"].items():
            stream = self._stream(name)
            self.streams.setdefault(name, stream)
            stream.first_id, stream.last_id, stream.first_t, stream.last_t = first_id, last_id, first_t, last_t
            stream.tail = b'{"E":%d}' % time[0] if time and time[0] else b""
        out: list[Record] = []
        state = checkpoint.get("state")
        for one in (*((state,) if state else ()), *checkpoint.get("others", ())):
            stream = self._stream(stream_name(symbol, one["channel"]))
            book = self._depths.get(stream.name) or self._book(stream)
            book.restore(t, one, levels=one is state and self._books and "bids" in checkpoint)
            if book.live:
                at, ts, last = checkpoint["book"]
                bids, asks = ([(p, s) for p, s in checkpoint[side]] for side in ("bids", "asks"))
                out.append(BookSnapshot(at, ts, book.symbol, book.channel, last, bids, asks, "checkpoint"))
        if quote := checkpoint.get("quote"):
            out.append(Quote(*quote))
        return out, ()
