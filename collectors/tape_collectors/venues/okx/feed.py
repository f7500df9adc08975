"""One OKX connection: channels, pings, books, trades, prices of derivatives, contract sizes.

1. Sizes of derivatives are contracts on the wire and base coins in every record (see ``venues.contracts``). What one contract is comes
   from ``instruments``.
2. ``trades`` are aggregates: ``tradeId`` is the last of ``count`` fills, so ids step by ``count``; a larger step is a gap.
   ``trades-all`` are single fills: ids step by one.
3. An id that was there, or an older one, is doubled: a notice.
4. Text ``ping`` when nothing came for 15 s; the venue hangs up after 30.
5. Notice 64008: the connection will be closed for an upgrade within a minute; it is replaced at once, overlapping.
6. 480 requests an hour for a connection, subscriptions and their ends: near it the connection is replaced instead.
7. If no snapshot comes by push, it is asked by REST (the venue planned in 2026-02 to stop sending it; it was still sent on 2026-10-07).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.errors import VenueProtocolError
from tape_archive.format.records import (
    BookLost,
    BookSnapshot,
    Gap,
    Notice,
    Quote,
    Record,
    Reset,
    Trade,
    Unknown,
)
from tape_collectors.venues.contracts import Contracts, base
from tape_collectors.venues.numbers import exact, ms, whole
from tape_collectors.venues.okx import symbols, wire
from tape_collectors.venues.okx.depth import DepthBook
from tape_collectors.venues.okx.events import Events
from tape_collectors.venues.okx.symbols import arg_of, name_of
from tape_collectors.venues.protocol import NOTHING, Command, Fetch, Output, Reconnect, Send, Stream
from tape_collectors.venues.session import BROKEN, MS, SECOND, Session, told

QUIET_NS = 15 * SECOND
#: rule 6
BUDGET = 440
HOUR_NS = 3600 * SECOND
#: rule 7
REST_NS = 5 * SECOND
_SPARSE = ("trades", "liquidation-orders", "funding-rate", "open-interest", "index-tickers", "mark-price", "candle")
_BOOKS = "GET /api/v5/market/books"
_INSTRUMENTS = "GET /api/v5/public/instruments"


class OkxFeed(Session):
    """Spot and swaps differ by ``product`` (instType)."""

    per_request = 20

    def __init__(self, product: str, *, books: bool = True) -> None:
        super().__init__()
        self._product = product
        self._books = books
        self._contracts: Contracts[wire.Frame] = Contracts(self._ask, wire.frame)
        self._depths: dict[str, DepthBook] = {}
        self._events = Events(self._contracts.known)
        self._spent: deque[int] = deque()
        self._heard_t = 0
        self._rest_t: dict[str, int] = {}

    # -- subscriptions ---------------------------------------------------------------------------------------------------

    def request(self, id: str, subscribe: bool, names: Sequence[str]) -> str:
        """Ids have no hyphen (60033, live)."""
        body = {"id": id, "op": "subscribe" if subscribe else "unsubscribe", "args": [arg_of(name) for name in names]}
        return msgspec.json.encode(body).decode()

    def stream_of(self, name: str) -> Stream:
        """A channel of an instrument."""
        channel, colon, instrument = name.partition(":")
        if not colon or not channel or not instrument:
            raise ValueError(f"no stream: {name[:60]!r}")
        return Stream(name, instrument, channel, dense=not channel.startswith(_SPARSE))

    def want(self, t: int, names: Iterable[str]) -> Output:
        """Rule 6 counts what is asked."""
        records, commands = super().want(t, names)
        self._spend(t, len(commands))
        return records, commands

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """Rule 6."""
        commands = super().resubscribe(t, names)
        if len(self._spent) + len(commands) > BUDGET:
            return [Reconnect("the budget of subscriptions is spent", overlap=True)] if commands else ()
        self._spend(t, len(commands))
        return commands

    def _spend(self, t: int, requests: int) -> None:
        self._spent.extend([t] * requests)
        while self._spent and self._spent[0] < t - HOUR_NS:
            self._spent.popleft()

    def tick(self, t: int) -> Sequence[Command]:
        """Rules 4 and 7, and what the session repeats."""
        self._spend(t, 0)
        out = list(super().tick(t))
        if t - self._heard_t >= QUIET_NS:
            self._heard_t = t
            out.append(Send("ping"))
        for name, book in self._depths.items():
            if not book.live and book.kept and name in self._wanted and self._books:
                first = book.kept[0][0]
                if t - max(first, self._rest_t.get(name, 0)) >= REST_NS:
                    self._rest_t[name] = t
                    out.append(self._rest(book.symbol))
        return out

    def ready(self) -> bool:
        """Whether every dense stream has spoken and every book is proven."""
        return all(stream.first_t or not stream.dense for stream in self.streams.values()) and all(
            depth.live or not self._books for name, depth in self._depths.items() if name in self.streams
        )

    # -- frames ----------------------------------------------------------------------------------------------------------

    def frame(self, t: int, data: bytes) -> Output:
        """A channel's data, an event, or ``pong``."""
        self._heard_t = t
        if data == b"pong":
            return [Notice(t, "pong")], ()
        frame = wire.frame(data)
        if frame.event:
            return self._event(t, frame)
        if not frame.arg.channel:
            if frame.table or frame.code:
                return [Notice(t, "foreign", "a frame of v3, or a REST reply")], ()
            return [Unknown(t, "okx: no channel and no event")], ()
        self.spoke(t, name_of(frame.arg))
        return self._sized(t, frame)

    def _event(self, t: int, frame: wire.Frame) -> Output:
        if frame.event == "subscribe":
            # Each topic is confirmed alone, and named.
            self.stream(name_of(frame.arg)).acked_t = t
            return [Notice(t, "ack", name_of(frame.arg)[:60])], ()
        if frame.event == "unsubscribe":
            return [Notice(t, "ack", name_of(frame.arg)[:60])], ()
        if frame.event == "error":
            return self.refused(t, frame.id, f"{frame.code} {frame.msg}")
        if frame.event == "notice" and frame.code == "64008":
            return [Notice(t, "shutdown", "64008")], [Reconnect("notice 64008: service upgrade", overlap=True)]
        if frame.event in ("notice", "channel-conn-count"):
            return [Notice(t, "notice", f"{frame.code} {frame.msg}"[:100])], ()
        return [Unknown(t, f"okx: unknown event {frame.event[:30]!r}")], ()

    def _sized(self, t: int, frame: wire.Frame) -> Output:
        """Rule 1."""
        symbol = frame.arg.instId
        needs = self._product != "SPOT" and frame.arg.channel.startswith(("books", "bbo", "trades", "candle", "open-interest"))
        if not needs or symbol in self._contracts.known or not self._books:
            return self._decode(t, frame)
        return self._contracts.hold(t, symbol, frame)

    def _ask(self, symbol: str) -> Fetch:
        one = "" if symbol.startswith("*") else f"&instId={symbol}"
        return Fetch(f"{_INSTRUMENTS}?instType={self._product}{one}", weight=2)

    def _decode(self, t: int, frame: wire.Frame) -> Output:
        channel, name = frame.arg.channel, name_of(frame.arg)
        if channel in ("books", "books-l2-tbt", "books50-l2-tbt"):
            return self._depth(t, frame, name)
        if channel == "trades" or channel == "trades-all":
            records = self._trades(t, frame, name)
            return records, told(records)
        if channel == "bbo-tbt":
            return self._events.quotes(t, frame), ()
        if channel == "books5":
            return self._events.tops(t, frame), ()
        if channel == "tickers":
            return [Notice(t, "statistic", name[:60])], ()
        if channel == "open-interest":
            return self._events.interest(t, frame), ()
        if channel.startswith("candle"):
            return self._events.candles(t, frame), ()
        if channel == "liquidation-orders":
            return self._forced(t, frame)
        if channel in ("mark-price", "index-tickers", "funding-rate"):
            return self._events.prices(t, frame), ()
        return [Unknown(t, f"okx: no decoder for channel {channel[:40]!r}")], ()

    def _forced(self, t: int, frame: wire.Frame) -> Output:
        """Liquidations come for a whole product, also of instruments that are on other connections: its whole list is asked for, once."""
        every = f"*{self._product}"
        if self._books and every not in self._contracts.known and not self._events.knows(frame):
            return self._contracts.hold(t, every, frame)
        return self._events.forced(t, frame), ()

    def _depth(self, t: int, frame: wire.Frame, name: str) -> Output:
        book = self._depths.get(name)
        if book is None:
            book = self._depths[name] = DepthBook(frame.arg.instId, frame.arg.channel, self._events.row(frame.arg.instId))
        records: list[Record] = []
        commands: list[Command] = []
        stream = self.stream(name)
        for event in wire.books(frame.data):
            stream.at = event.seqId
            if frame.action == "snapshot":
                records += book.snapshot(t, event)
                self.found(name)
            else:
                was = book.live
                records += book.update(t, event)
                if was and not book.live:
                    commands += self.lost(t, name)
        commands = [*told(records), *commands]
        if not self._books:
            records = [record for record in records if isinstance(record, Notice | Gap | Reset | BookLost)]
        return records, commands

    def _trades(self, t: int, frame: wire.Frame, name: str) -> list[Record]:
        """Rules 2 and 3."""
        stream = self.stream(name)
        channel, out = frame.arg.channel, list[Record]()
        for fill in wire.fills(frame.data):
            number = whole(fill.tradeId)
            first = number - whole(fill.count or "1") + 1
            if number <= stream.last_id:
                out.append(Notice(t, "duplicate", f"{name} {number}"[:80]))
                continue
            if stream.last_id and first > stream.last_id + 1 and (fill.count or channel == "trades-all"):
                out.append(Gap(t, fill.instId, channel, stream.last_t, stream.last_id + 1, first - 1, "ids"))
            stream.first_id = stream.first_id or first
            stream.last_id = number
            size = base(fill.sz, self._contracts.known.get(fill.instId, "1"), fill.px)
            out.append(Trade(t, ms(fill.ts) * MS, fill.instId, channel, fill.tradeId, fill.px, size, fill.side))
        return out

    # -- REST ------------------------------------------------------------------------------------------------------------

    def _rest(self, symbol: str) -> Fetch:
        return Fetch(f"{_BOOKS}?instId={symbol}&sz=400", retries=2)

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """What one contract is (rule 1), or a book (rule 7)."""
        try:
            if request.startswith(f"{_INSTRUMENTS}?"):
                return self._told_contracts(request, data)
            if request.startswith(f"{_BOOKS}?"):
                return self._joined(t, request, data)
        except (*BROKEN, ArithmeticError, VenueProtocolError) as error:
            return [Unknown(t, f"okx: {request[:60]}: {str(error)[:100]}")], ()
        return NOTHING

    def _told_contracts(self, request: str, data: bytes) -> Output:
        positive = (row for row in symbols.rows(data) if exact(row.ctVal or "1") > 0 and exact(row.ctMult or "1") > 0)
        known = [(row.instId, symbols.contract(row)) for row in positive]
        if "&instId=" not in request:
            known.append((f"*{self._product}", "1"))
        records: list[Record] = []
        commands: list[Command] = []
        for at, frame in self._contracts.told(known):
            try:
                more, asked = self._decode(at, frame)
            except BROKEN as error:
                more, asked = [Unknown(at, f"okx: {str(error)[:120]}")], ()
            records += more
            commands += asked
        return records, commands

    def _joined(self, t: int, request: str, data: bytes) -> Output:
        symbol = request.partition("instId=")[2].partition("&")[0]
        books = [book for book in self._depths.values() if book.symbol == symbol and not book.live]
        if not books or not self._books:
            return NOTHING
        snapshot = self._rest_book(data)
        if snapshot is None:
            return NOTHING
        records: list[Record] = []
        for book in books:
            joined = book.join(t, snapshot)
            if joined:
                self.found(f"{book.channel}:{symbol}")
            records += [Notice(t, "stale", f"book {snapshot.seqId} of {symbol[:40]} does not join")] if joined is None else joined
        return records, told(records)

    def _rest_book(self, data: bytes) -> wire.Book | None:
        reply = wire.reply(data)
        found = wire.books(reply.data) if reply.code == "0" else []
        return found[0] if found else None

    def anchor(self, symbol: str) -> Fetch | None:
        """400 levels, of the same numbers as the channel."""
        return (
            Fetch(f"{_BOOKS}?instId={symbol}&sz=400", retries=0)
            if any(one.live and one.symbol == symbol for one in self._depths.values())
            else None
        )

    def anchored(self, t: int, request: str, data: bytes) -> BookSnapshot | None:
        """In base coins, as the feed's own records."""
        if not request.startswith(f"{_BOOKS}?"):
            return None
        symbol = request.partition("instId=")[2].partition("&")[0]
        row = self._events.row(symbol)
        try:
            book = self._rest_book(data)
            if book is None or book.seqId < 0:
                return None
            bids, asks = [row(one) for one in book.bids], [row(one) for one in book.asks]
            return BookSnapshot(t, ms(book.ts) * MS, symbol, "books", book.seqId, bids, asks, "rest")
        except BROKEN:
            return None

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """Of each symbol: streams, what a contract is, frames that wait for it, the book's sequence (levels are the consumer's to add)."""
        out: dict[str, dict[str, Any]] = {}
        for stream in self._known.values():
            fields = out.setdefault(stream.symbol, {"symbol": stream.symbol, "ids": {}})
            if stream.last_t:
                fields["ids"][stream.name] = [stream.first_id, stream.last_id, stream.first_t, stream.last_t]
        for name, book in self._depths.items():
            out[book.symbol].setdefault("states", {})[name] = book.state()
        for symbol, more in self._contracts.state().items():
            out.setdefault(symbol, {"symbol": symbol, "ids": {}}).update(more)
        for symbol, prices in self._events.fundings.items():
            out.setdefault(symbol, {"symbol": symbol, "ids": {}})["prices"] = prices
        return list(out.values())

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """Go on from a checkpoint. Without the levels the book waits for the next snapshot."""
        symbol = str(checkpoint["symbol"])
        for name, (first_id, last_id, first_t, last_t) in checkpoint["ids"].items():
            stream = self.streams.setdefault(name, self.stream(name))
            stream.first_id, stream.last_id, stream.first_t, stream.last_t = first_id, last_id, first_t, last_t
        self._contracts.restore(symbol, checkpoint)
        if "prices" in checkpoint:
            self._events.fundings[symbol] = dict(checkpoint["prices"])
        out: list[Record] = []
        states = dict(checkpoint.get("states", {}))
        with_levels = next((name for name, state in states.items() if state["live"]), "") if self._books and "bids" in checkpoint else ""
        for name, state in states.items():
            book = self._depths[name] = DepthBook(symbol, state["channel"], self._events.row(symbol))
            book.restore(state, levels=name == with_levels)
            if book.live:
                at, ts, last = checkpoint["book"]
                bids, asks = ([(p, s) for p, s in checkpoint[side]] for side in ("bids", "asks"))
                out.append(BookSnapshot(at, ts, symbol, book.channel, last, bids, asks, "checkpoint"))
        if quote := checkpoint.get("quote"):
            out.append(Quote(*quote))
        return out, ()
