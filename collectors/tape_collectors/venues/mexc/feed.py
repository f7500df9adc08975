"""One MEXC spot connection: channels, pings, protobuf frames, books joined to REST.

1. Text frames are JSON answers, binary ones are market data (told by the first byte: a wrapper begins with its channel's tag).
2. A refusal has code 0 too: an answer that is not exactly the channels that were asked for, or says "Not Subscribed", refuses those that it
   names.
3. A deal has no number: its ``tradeId`` (since 2026-06) is a pair that nothing follows from. Doubles are known by the last ids seen; a hole
   cannot be seen, and cannot be filled later either.
4. ``bookTicker`` has a version of its own: the quote has no id, and is compared with the book by time.
5. A wrapper may have a channel and no body (a book without orders): a notice.
6. The client pings every 20 s; a connection without valid subscriptions is closed after 30 s, one without data after a minute.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import BookLost, BookSnapshot, Candle, Gap, Notice, Quote, Record, Reset, Trade, Unknown
from tape_collectors.venues.joined import Event, JoinedBook
from tape_collectors.venues.mexc import depth, wire
from tape_collectors.venues.mexc.symbols import stream_of
from tape_collectors.venues.numbers import stamp, whole
from tape_collectors.venues.protocol import NOTHING, Command, Fetch, Output, Send, Stream
from tape_collectors.venues.session import BROKEN, MS, SECOND, Session, told

PING_NS = 20 * SECOND
#: rule 3
IDS = 2000
_DEPTH = "GET /api/v3/depth"
_SIDES = {1: "buy", 2: "sell"}
_NAMED = re.compile(r"spot@[^\s\],\[]+")


class MexcFeed(Session):
    """Spot."""

    #: an answer of many channels is long, and a refusal of one is hard to read
    per_request = 5

    def __init__(self, *, books: bool = True) -> None:
        super().__init__()
        self._books = books
        self._depths: dict[str, JoinedBook] = {}
        self._ids: dict[str, OrderedDict[str, None]] = {}
        self._pinged = 0

    # -- subscriptions ---------------------------------------------------------------------------------------------------

    def request(self, id: str, subscribe: bool, names: Sequence[str]) -> str:
        """The venue repeats no id."""
        return msgspec.json.encode({"method": "SUBSCRIPTION" if subscribe else "UNSUBSCRIPTION", "params": list(names)}).decode()

    def stream_of(self, name: str) -> Stream:
        """A channel of a symbol."""
        symbol, channel = stream_of(name)
        return Stream(name, symbol, channel, dense=not channel.startswith(("aggre.deals", "kline")))

    def tick(self, t: int) -> Sequence[Command]:
        """Rule 6, snapshots that never came, and what the session repeats."""
        out = list(super().tick(t))
        if t - self._pinged >= PING_NS:
            self._pinged = t
            out.append(Send('{"method":"PING"}'))
        for book in self._depths.values():
            if not book.live and book.asked_t and t - book.asked_t > 60 * SECOND:
                book.asked_t = 0
                out += self._needed(t, book)
        return out

    def ready(self) -> bool:
        """Whether every dense stream has spoken and every book is proven."""
        return all(stream.first_t or not stream.dense for stream in self.streams.values()) and all(
            book.live or not self._books for name, book in self._depths.items() if name in self.streams
        )

    # -- frames ----------------------------------------------------------------------------------------------------------

    def frame(self, t: int, data: bytes) -> Output:
        """Rule 1."""
        if data.lstrip()[:1] == b"{":
            return self._answer(t, wire.answer(data))
        wrapper = wire.wrapper(data)
        name = wrapper.channel
        stream = self.spoke(t, name)
        if wrapper.HasField("depth"):
            return self._depth(t, stream, depth.event(wrapper.depth, stamp(wrapper.sendTime, MS)))
        if wrapper.HasField("deals"):
            return self._deals(t, stream, wrapper.deals.deals), ()
        ts = stamp(wrapper.sendTime, MS)
        if wrapper.HasField("best"):
            best = wrapper.best
            if not best.bidPrice or not best.askPrice:
                return [Notice(t, "one-sided", name[:80])], ()
            prices = best.bidPrice, best.bidQuantity, best.askPrice, best.askQuantity
            return [Quote(t, ts, stream.symbol, stream.channel, 0, *prices)], ()
        if wrapper.HasField("limit"):
            limit = wrapper.limit
            sides = wire.levels(limit.bids), wire.levels(limit.asks)
            return [BookSnapshot(t, ts, stream.symbol, stream.channel, whole(limit.version), *sides, "top")], ()
        if wrapper.HasField("bar"):
            bar = wrapper.bar
            opened, prices = stamp(bar.windowStart, SECOND), (bar.open, bar.high, bar.low, bar.close)
            # No bar says that it is closed: the first frame of the next one does.
            return [Candle(t, ts, stream.symbol, stream.channel, opened, bar.interval, *prices, bar.volume, False)], ()
        return [Notice(t, "empty", name[:80])], ()

    def _answer(self, t: int, answer: wire.Answer) -> Output:
        """Rule 2."""
        if answer.msg == "PONG":
            return [Notice(t, "pong")], ()
        if answer.channel:
            return [Notice(t, "foreign", answer.channel[:60])], ()
        names = _NAMED.findall(answer.msg)
        if names and answer.msg == ",".join(names):
            for name in names:
                if name in self._known:
                    self._known[name].acked_t = t
            return [Notice(t, "ack", answer.msg[:80])], ()
        if "ot Subscribed" in answer.msg or answer.code:
            return self._refusals(t, names, answer.msg)
        return [Notice(t, "notice", answer.msg[:80])], ()

    def _refusals(self, t: int, names: list[str], why: str) -> Output:
        records: list[Record] = []
        commands: list[Command] = []
        for name in names or [""]:
            id = next((id for id, some in self._asked.items() if name in some), "")
            if id and len(self._asked[id]) > 1:
                # Only those that are named are refused; the others of the request stand.
                self._asked[id] = tuple(one for one in self._asked[id] if one != name)
                self._message += 1
                id = str(self._message)
                self._asked[id] = (name,)
            more, asked = self.refused(t, id, why)
            records += more
            commands += asked
        return records, commands

    def _depth(self, t: int, stream: Stream, event: Event) -> Output:
        book = self._depths.get(stream.name)
        if book is None:
            book = self._depths[stream.name] = depth.book(stream.symbol, stream.channel)
        records = book.event(t, event)
        stream.first_id = stream.first_id or event.first
        stream.last_id, stream.at = book.last, event.last
        commands = [*told(records), *self._needed(t, book)]
        if not self._books:
            records = [record for record in records if isinstance(record, Notice | Gap | Reset | BookLost)]
        return records, commands

    def _needed(self, t: int, book: JoinedBook) -> list[Command]:
        """A REST book, one request at a time; after each vain one a longer pause."""
        if book.live or not self._books or book.asked_t:
            return []
        book.asked_t = t
        delay = min(8.0, 0.25 * 2 ** min(book.attempts, 6)) if book.attempts else 0.0
        book.attempts += 1
        return [Fetch(f"{_DEPTH}?symbol={book.symbol}&limit=5000", delay_s=delay)]

    def _deals(self, t: int, stream: Stream, deals: Any) -> list[Record]:
        """Rule 3."""
        seen = self._ids.setdefault(stream.name, OrderedDict())
        out: list[Record] = []
        for deal in deals:
            side = _SIDES.get(deal.tradeType)
            if side is None:
                out.append(Unknown(t, f"mexc: deal of type {deal.tradeType}"))
                continue
            if deal.tradeId:
                if deal.tradeId in seen:
                    out.append(Notice(t, "duplicate", f"{stream.symbol} {deal.tradeId}"[:80]))
                    continue
                seen[deal.tradeId] = None
                if len(seen) > IDS:
                    seen.popitem(last=False)
            out.append(Trade(t, stamp(deal.time, MS), stream.symbol, stream.channel, deal.tradeId, deal.price, deal.quantity, side))
        return out

    # -- REST ------------------------------------------------------------------------------------------------------------

    def _rest(self, request: str, data: bytes) -> Event | None:
        if not request.startswith(f"{_DEPTH}?"):
            return None
        try:
            book = wire.rest_book(data)
        except BROKEN:
            return None
        return Event(book.lastUpdateId, book.lastUpdateId, book.timestamp * MS, book.bids, book.asks, True)

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """A REST book, for the books that are joined to it."""
        snapshot = self._rest(request, data)
        if snapshot is None or not self._books:
            return NOTHING
        records: list[Record] = []
        commands: list[Command] = []
        for book in self._depths.values():
            if book.symbol != _asked(request) or book.live:
                continue
            book.asked_t = 0
            joined = book.snapshot(t, snapshot)
            if joined is None:
                records.append(Notice(t, "stale", f"book {snapshot.last} of {book.symbol} does not join"))
                commands += self._needed(t, book)
            else:
                records += joined
        return (records, commands) if records or commands else NOTHING

    def anchor(self, symbol: str) -> Fetch | None:
        """1,000 levels, numbered as the book."""
        live = any(book.live and book.symbol == symbol for book in self._depths.values())
        return Fetch(f"{_DEPTH}?symbol={symbol}&limit=1000", retries=0) if live else None

    def anchored(self, t: int, request: str, data: bytes) -> BookSnapshot | None:
        """The reply to it."""
        event = self._rest(request, data)
        if event is None:
            return None
        return BookSnapshot(t, event.ts, _asked(request), "depth", event.last, event.bids, event.asks, "rest")

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """Of each symbol: its streams, the last ids of deals, its book's sequence (the levels are the consumer's to add)."""
        out: dict[str, dict[str, Any]] = {}
        for stream in self._known.values():
            fields = out.setdefault(stream.symbol, {"symbol": stream.symbol, "ids": {}})
            if stream.last_t:
                fields["ids"][stream.name] = [stream.first_id, stream.last_id, stream.first_t, stream.last_t]
        for name, book in self._depths.items():
            out[book.symbol].setdefault("states", {})[name] = book.state()
        for name, seen in self._ids.items():
            out[stream_of(name)[0]].setdefault("trades", {})[name] = list(seen)
        return list(out.values())

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """Go on from a checkpoint. Without the levels the book waits for the next snapshot."""
        symbol = str(checkpoint["symbol"])
        for name, (first_id, last_id, first_t, last_t) in checkpoint["ids"].items():
            stream = self.streams.setdefault(name, self.stream(name))
            stream.first_id, stream.last_id, stream.first_t, stream.last_t = first_id, last_id, first_t, last_t
        for name, ids in checkpoint.get("trades", {}).items():
            self._ids[name] = OrderedDict.fromkeys(ids)
        out: list[Record] = []
        states = dict(checkpoint.get("states", {}))
        with_levels = next((name for name, state in states.items() if state["live"]), "") if self._books and "bids" in checkpoint else ""
        for name, state in states.items():
            book = self._depths[name] = depth.book(symbol, state["channel"])
            book.restore(state, levels=name == with_levels)
            if book.live:
                at, ts, last = checkpoint["book"]
                bids, asks = ([(p, s) for p, s in checkpoint[side]] for side in ("bids", "asks"))
                out.append(BookSnapshot(at, ts, symbol, book.channel, last, bids, asks, "checkpoint"))
        if quote := checkpoint.get("quote"):
            out.append(Quote(*quote))
        return out, ()


def _asked(request: str) -> str:
    return request.partition("symbol=")[2].partition("&")[0]
