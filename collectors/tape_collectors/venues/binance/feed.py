"""One Binance connection: subscriptions, acks, decoding, sequence checks, snapshots.

The streams are told by the name in the combined wrapper, never by the payload's ``e`` alone: a partial depth frame and a depth update of
the futures look the same (sheet 3.3). A SUBSCRIBE on a wrong root is acked and then silent for ever, so an ack proves nothing:
the watchdog waits for each stream's first frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import (
    BookSnapshot,
    Candle,
    Funding,
    Gap,
    Liquidation,
    Notice,
    Quote,
    Record,
    Reset,
    Trade,
    Unknown,
)
from tape_collectors.venues.binance import wire
from tape_collectors.venues.binance.depth import DepthBook, Rule
from tape_collectors.venues.binance.symbols import stream_of
from tape_collectors.venues.binance.wire import MS
from tape_collectors.venues.protocol import NOTHING, Command, Fetch, Mark, Output, Reconnect, Send, Stream

SECOND = 1_000_000_000
_PER_REQUEST = 100
_STATISTICS = ("miniTicker", "ticker", "avgPrice", "referencePrice", "contractInfo", "assetIndex", "compositeIndex", "blockTrade")
_SPARSE = ("forceOrder", "contractInfo", "blockTrade", "referencePrice")
_NOTICED = frozenset(
    (
        *("24hrMiniTicker", "24hrTicker", "1hTicker", "4hTicker", "1dTicker", "avgPrice", "referencePrice", "blockTrade"),
        *("contractInfo", "compositeIndex", "assetIndexUpdate", "continuous_kline", "tradingSession", "trade_all", "indexPriceUpdate"),
    )
)
Handler = Callable[[int, Stream, bytes], Output]


class BinanceFeed:
    """Spot and USD-M differ by ``rule`` and by the snapshot's address."""

    def __init__(self, rule: Rule, snapshot: tuple[str, int, int], *, books: bool = True, st: int = 1) -> None:
        self.streams: dict[str, Stream] = {}
        self._rule = rule
        self._path, self._limit, self._weight = snapshot
        self._books = books
        self._depths: dict[str, DepthBook] = {}
        self._handlers: dict[bytes, tuple[Stream, Handler]] = {}
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
        for name in new:
            self._stream(name).requested_t = t
        for name in old:
            self.streams.pop(name, None)
        return (), [*self._requests("UNSUBSCRIBE", old), *self._requests("SUBSCRIBE", new)]

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """Only these streams."""
        known = [name for name in names if name in self._wanted]
        for name in known:
            stream = self.streams[name]
            stream.requested_t, stream.acked_t = t, 0
        return [*self._requests("UNSUBSCRIBE", known), *self._requests("SUBSCRIBE", known)]

    def tick(self, t: int) -> Sequence[Command]:
        """The runtime retries fetches and answers pings; nothing else is due."""
        return ()

    def ready(self) -> bool:
        """Whether every dense stream has spoken and every book that has deltas is proven."""
        return all(stream.first_t or not stream.dense for stream in self.streams.values()) and all(
            depth.live or not self._books for depth in self._depths.values()
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

    def _stream(self, name: str) -> Stream:
        stream = self.streams.get(name)
        if stream is None:
            symbol, channel = stream_of(name)
            stream = self.streams[name] = Stream(name, symbol, channel, dense=not channel.startswith(_SPARSE))
        return stream

    # -- frames ----------------------------------------------------------------------------------------------------------

    def receive(self, t: int, data: bytes) -> Output:
        """One frame of a combined or raw connection."""
        try:
            if data.startswith(b'{"stream":"'):
                end = data.find(b'"', 11)
                if data.startswith(b'","data":', end) and data.endswith(b"}"):
                    return self._streamed(t, data[11:end], data[end + 9 : -1])
            return self._other(t, data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return [Unknown(t, f"binance: {str(error)[:120]}")], ()

    def _streamed(self, t: int, name: bytes, payload: bytes) -> Output:
        known = self._handlers.get(name)
        if known is None:
            text = msgspec.json.decode(b'"' + name + b'"', type=str)
            if text == "!serverShutdown":
                return self._shutdown(t)
            stream = self._stream(text)
            known = self._handlers[name] = (stream, self._handler(stream.channel))
        stream, handler = known
        output = handler(t, stream, payload)
        stream.frames += 1
        stream.last_t = t
        if not stream.first_t:
            stream.first_t = t
        return output

    def _handler(self, channel: str) -> Handler:
        if channel.startswith("depth") and channel[5:6] in ("", "@"):
            return self._depth if self._books else self._depth_header
        base = channel.partition("@")[0].partition("_")[0]
        if not self._books and base in wire.NUMBER:
            return self._number_header
        table: dict[str, Handler] = {
            "trade": self._trade,
            "aggTrade": self._agg_trade,
            "bookTicker": self._quote,
            "markPrice": self._mark_price,
            "kline": self._kline,
            "forceOrder": self._force_order,
            "depth5": self._partial,
            "depth10": self._partial,
            "depth20": self._partial,
        }
        return table.get(base, self._statistic)

    def _other(self, t: int, data: bytes) -> Output:
        wrapped = data.lstrip()[:1] == b"{" and b'"stream"' in data
        if wrapped:
            try:
                frame = wire.combined(data)
            except msgspec.ValidationError:
                return self._control(t, data)
            return self._streamed(t, msgspec.json.encode(frame.stream)[1:-1], bytes(frame.data))
        if data[:1] == b"[":
            out: list[Record] = []
            for part in wire.raw_list(data):
                out += self._raw(t, bytes(part))[0]
            return out, ()
        return self._raw(t, data)

    def _raw(self, t: int, data: bytes) -> Output:
        """A frame without the wrapper: the type is in ``e``; spot's bookTicker and partial depth have none."""
        try:
            event = wire.event(data)
        except msgspec.ValidationError:
            return self._control(t, data)
        names = {
            "depthUpdate": "depth",
            "trade": "trade",
            "aggTrade": "aggTrade",
            "bookTicker": "bookTicker",
            "markPriceUpdate": "markPrice",
            "kline": "kline",
        }
        kind = names.get(event.e)
        if kind is None and not event.e and event.s and event.u:
            kind = "bookTicker"
        if kind and event.s:
            return self._streamed(t, f"{event.s.lower()}@{kind}".encode(), data)
        if event.e == "forceOrder":
            order = wire.force_order(data)
            return self._streamed(t, f"{order.o.s.lower()}@forceOrder".encode(), data)
        if event.e in _NOTICED:
            return [Notice(t, "statistic", f"{event.s} {event.e}")], ()
        return self._control(t, data)

    def _control(self, t: int, data: bytes) -> Output:
        message = wire.control(data)
        if message.e == "serverShutdown":
            return self._shutdown(t)
        if message.id is not None and message.result is not msgspec.UNSET and message.error is None:
            for name in self._asked.pop(message.id, ()) if isinstance(message.id, int) else ():
                if name in self.streams:
                    self.streams[name].acked_t = t
            return [Notice(t, "ack", str(message.id))], ()
        if message.error is not None or message.code is not None:
            return [Notice(t, "error", f"{message.code} {message.msg} {message.error or ''}".strip()[:200])], ()
        return [Unknown(t, f"binance: no known frame: {data[:100].decode('utf-8', 'replace')}")], ()

    def _shutdown(self, t: int) -> Output:
        return [Notice(t, "shutdown", "serverShutdown")], [Reconnect("serverShutdown", overlap=True)]

    # -- streams ---------------------------------------------------------------------------------------------------------

    def _depth(self, t: int, stream: Stream, payload: bytes) -> Output:
        event = wire.depth(payload)
        book = self._depths.get(stream.symbol)
        if book is None:
            book = self._depths[stream.symbol] = DepthBook(self._rule, stream.symbol, stream.channel)
        if not stream.first_id:
            stream.first_id = event.pu + 1 if event.pu >= 0 else event.U
        if event.u > stream.last_id:
            stream.last_id = event.u
        records = book.event(t, event)
        if book.live:
            return records, ()
        return records, [*self._told(records), *self._snapshot_wanted(t, book)]

    def _depth_header(self, t: int, stream: Stream, payload: bytes) -> Output:
        header = wire.HEADER(payload)
        if header is None:
            event = wire.depth(payload)
            first, last, previous = event.U, event.u, event.pu
        else:
            first, last, previous = int(header[1]), int(header[2]), int(header[3] or -1)
        book = self._depths.get(stream.symbol)
        if book is None:
            book = self._depths[stream.symbol] = DepthBook(self._rule, stream.symbol, stream.channel)
        if not stream.first_id:
            stream.first_id = previous + 1 if previous >= 0 else first
        if last > stream.last_id:
            stream.last_id = last
        records = book.check(t, first, last, previous)
        return (records, self._told(records)) if records else NOTHING

    def _number_header(self, t: int, stream: Stream, payload: bytes) -> Output:
        """Ids of trades and quotes without decoding them: what a recorder that keeps no books needs."""
        base = stream.channel.partition("@")[0]
        found = wire.NUMBER[base](payload)
        if found is None:
            return {"trade": self._trade, "aggTrade": self._agg_trade, "bookTicker": self._quote}[base](t, stream, payload)
        number, last = int(found[1]), stream.last_id
        if number == last + 1 or (number > last and (not last or base == "bookTicker")):
            stream.last_id = number
            if base != "bookTicker":
                # Quotes have the book's ids, which leap: they order, they do not count.
                stream.first_id = stream.first_id or number
            return NOTHING
        if number <= last:
            return NOTHING
        stream.last_id = number
        gap = Gap(t, stream.symbol, stream.channel, stream.last_t, last + 1, number - 1, "ids")
        return [gap], self._told([gap])

    def _partial(self, t: int, stream: Stream, payload: bytes) -> Output:
        book = wire.partial(payload)
        levels = (book.bids or book.b, book.asks or book.a)
        return [BookSnapshot(t, book.E * MS, stream.symbol, stream.channel, book.lastUpdateId or book.u, *levels)], ()

    def _trade(self, t: int, stream: Stream, payload: bytes) -> Output:
        event = wire.trade(payload)
        side = "sell" if event.m else "buy"
        trade = Trade(t, event.T * MS, stream.symbol, stream.channel, str(event.t), event.p, event.q, side)
        return self._numbered(t, stream, event.t, trade)

    def _agg_trade(self, t: int, stream: Stream, payload: bytes) -> Output:
        event = wire.agg_trade(payload)
        if event.st == 2:
            return [Notice(t, "foreign", f"{event.s} is COIN-M")], ()
        side = "sell" if event.m else "buy"
        trade = Trade(t, event.T * MS, stream.symbol, stream.channel, str(event.a), event.p, event.q, side)
        return self._numbered(t, stream, event.a, trade)

    def _numbered(self, t: int, stream: Stream, number: int, record: Record) -> Output:
        """Trade ids are contiguous for each symbol (sheet 8.3): a hole is a gap, an old id a double."""
        last = stream.last_id
        if number <= last:
            return [Notice(t, "duplicate", f"{stream.name} {number}")], ()
        stream.last_id = number
        if not last:
            stream.first_id = number
        elif number != last + 1:
            gap = Gap(t, stream.symbol, stream.channel, stream.last_t, last + 1, number - 1, "ids")
            return [gap, record], self._told([gap])
        return (record,), ()

    def _quote(self, t: int, stream: Stream, payload: bytes) -> Output:
        event = wire.book_ticker(payload)
        if event.st == 2:
            return [Notice(t, "foreign", f"{event.s} is COIN-M")], ()
        if event.u <= stream.last_id and stream.symbol:
            return [Notice(t, "duplicate", f"{stream.name} u={event.u}")], ()
        stream.last_id = event.u
        symbol = stream.symbol or event.s
        return (Quote(t, (event.T or event.E) * MS, symbol, stream.channel, event.u, event.b, event.B, event.a, event.A),), ()

    def _mark_price(self, t: int, stream: Stream, payload: bytes) -> Output:
        events = wire.raw_list(payload) if payload[:1] == b"[" else [payload]
        out: list[Record] = []
        for raw in events:
            event = wire.mark_price(raw)
            if event.st != 2:
                out.append(Funding(t, event.E * MS, event.s, stream.channel, event.p, event.i, event.r, event.T * MS))
        return out or [Notice(t, "foreign", "COIN-M")], ()

    def _kline(self, t: int, stream: Stream, payload: bytes) -> Output:
        event = wire.kline(payload)
        bar = event.k
        symbol = stream.symbol or event.s
        candle = Candle(t, event.E * MS, symbol, stream.channel, bar.t * MS, bar.i, bar.o, bar.h, bar.l, bar.c, bar.v, bar.x)
        return [candle], ()

    def _force_order(self, t: int, stream: Stream, payload: bytes) -> Output:
        order = wire.force_order(payload).o
        if order.st == 2:
            return [Notice(t, "foreign", f"{order.s} is COIN-M")], ()
        return [Liquidation(t, order.T * MS, order.s, stream.channel, order.ap or order.p, order.q, order.S.lower())], ()

    def _statistic(self, t: int, stream: Stream, payload: bytes) -> Output:
        base = stream.channel.partition("@")[0].partition("_")[0]
        if base.isupper():
            # TRADE_ALL, TICKER_ALL: the options API of 2021, another product.
            return [Notice(t, "foreign", stream.name)], ()
        if base in _STATISTICS or wire.event(payload).e in _NOTICED:
            return [Notice(t, "statistic", stream.name)], ()
        return [Unknown(t, f"binance: stream {stream.name!r} has no decoder")], ()

    # -- snapshots -------------------------------------------------------------------------------------------------------

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """A depth snapshot, asked by this feed or by another of the same tape."""
        head, _, query = request.partition("?")
        if head != f"GET {self._path}" or not self._books:
            return NOTHING
        symbol = next((part[7:] for part in query.split("&") if part.startswith("symbol=")), "")
        book = self._depths.get(symbol)
        if book is None or book.live:
            return NOTHING
        book.asked_t = 0
        try:
            snapshot = wire.snapshot(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return [Unknown(t, f"binance: snapshot of {symbol}: {str(error)[:100]}")], self._snapshot_wanted(t, book)
        records = book.snapshot(t, snapshot)
        if records is None:
            return [Notice(t, "stale", f"snapshot {snapshot.lastUpdateId} of {symbol} is older than the stream")], self._snapshot_wanted(
                t, book
            )
        return records, ()

    def _snapshot_wanted(self, t: int, book: DepthBook) -> list[Command]:
        if book.asked_t or not self._books:
            return []
        book.asked_t = t
        delay = min(8.0, 0.25 * 2 ** min(book.attempts, 6)) if book.attempts else 0.0
        book.attempts += 1
        return [Fetch(f"GET {self._path}?symbol={book.symbol}&limit={self._limit}", weight=self._weight, delay_s=delay)]

    def _told(self, records: Sequence[Record]) -> list[Command]:
        """Gaps and losses as marks: a gap is a record."""
        out: list[Command] = []
        for record in records:
            fields = msgspec.structs.asdict(record)
            kind = type(record).__name__
            if isinstance(record, Gap | Reset) or kind == "BookLost":
                fields.pop("t")
                out.append(Mark("lost" if kind == "BookLost" else kind.lower(), fields))
        return out

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """Where each stream's sequence stands; the levels of the books are the consumer's to add."""
        out: dict[str, dict[str, object]] = {}
        for stream in self.streams.values():
            fields = out.setdefault(stream.symbol, {"symbol": stream.symbol, "ids": {}})
            ids: dict[str, object] = fields["ids"]  # type: ignore[assignment]
            ids[stream.name] = [stream.first_id, stream.last_id, stream.first_t, stream.last_t]
        for symbol, book in self._depths.items():
            state = {"last": book.last, "last_t": book.last_t, "live": book.live, "joining": book.joining, "channel": book.channel}
            out[symbol]["state"] = state
        return list(out.values())

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """Go on from a checkpoint. Without the levels (``bids``, ``asks``) the book waits for the next snapshot."""
        symbol = str(checkpoint["symbol"])
        for name, ids in checkpoint["ids"].items():
            stream = self._stream(name)
            stream.first_id, stream.last_id, stream.first_t, stream.last_t = ids
        out: list[Record] = []
        if state := checkpoint.get("state"):
            book = self._depths[symbol] = DepthBook(self._rule, symbol, str(state["channel"]))
            book.last, book.last_t = state["last"], state["last_t"]
            if state["live"] and "bids" in checkpoint:
                book.live, book.joining = True, state["joining"]
                bids, asks = ([(p, s) for p, s in checkpoint[side]] for side in ("bids", "asks"))
                at, ts, last = checkpoint["book"]
                out.append(BookSnapshot(at, ts, symbol, book.channel, last, bids, asks, "checkpoint"))
        if quote := checkpoint.get("quote"):
            out.append(Quote(*quote))
        return out, ()
