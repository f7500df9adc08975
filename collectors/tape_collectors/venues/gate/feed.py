"""One Gate.io connection (spot; see ``futures`` for what differs there): channels, books of both kinds, trades.

1. A push may come before its ack; an ack names its request by ``id``, or by ``payload``, or is the next one of its channel.
2. Trades of a burst are not ordered (gatews#49): a hole in ``id_market`` is a gap only when it is not filled within ``LATE_NS``.
3. A doubled trade is a notice.
4. ``{"type":"upgrade"}``: the connection will be closed; it is replaced at once, overlapping.
5. The time in a request must be the venue's within a minute, so that a request is made when it is sent, never repeated as it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import BookLost, BookSnapshot, Candle, Gap, Notice, Quote, Record, Reset, Trade, Unknown
from tape_collectors.venues.gate import depth, wire
from tape_collectors.venues.gate.symbols import name_of, wire_of
from tape_collectors.venues.joined import Event, JoinedBook
from tape_collectors.venues.numbers import ns
from tape_collectors.venues.protocol import NOTHING, Command, Fetch, Output, Reconnect, Stream
from tape_collectors.venues.session import BROKEN, MS, SECOND, Session, told

#: rule 2
LATE_NS = 5 * SECOND
AHEAD = 5000
_BOOK = "GET /api/v4/spot/order_book"
_SPARSE = ("trades", "candlesticks", "tickers", "public_liquidates")
_STATISTICS = ("spot.tickers", "spot.order_book_update_v1", "spot.balances")


class Fills(Stream):
    """A stream of trades: ``last_id`` is the end of what is there without a hole; ``ahead`` are ids behind a hole, and when they came."""

    __slots__ = ("ahead",)

    def __init__(self, name: str, symbol: str, channel: str) -> None:
        super().__init__(name, symbol, channel, dense=False)
        self.ahead: dict[int, int] = {}


class GateFeed(Session):
    """Spot; the futures' feed is made from it."""

    per_request = 1
    product = "spot"
    #: channels of other products
    foreign: tuple[str, ...] = ("futures.", "options.")

    def __init__(self, *, books: bool = True) -> None:
        super().__init__()
        self._books = books
        self._depths: dict[str, JoinedBook] = {}
        self._pending: dict[str, deque[str]] = {}

    # -- subscriptions ---------------------------------------------------------------------------------------------------

    def request(self, id: str, subscribe: bool, names: Sequence[str]) -> str:
        """Rule 5: made at the time of the call."""
        channel, payload = wire_of(names[0], self.product)
        if subscribe:
            self._pending.setdefault(channel, deque(maxlen=1000)).append(id)
        event = "subscribe" if subscribe else "unsubscribe"
        body = {"time": self.now // SECOND, "id": int(id), "channel": channel, "event": event, "payload": payload}
        return msgspec.json.encode(body).decode()

    def stream_of(self, name: str) -> Stream:
        """A channel of a market."""
        channel, colon, symbol = name.partition(":")
        if not colon or not channel or not symbol:
            raise ValueError(f"no stream: {name[:60]!r}")
        numbered = channel == "trades" and self.product == "spot"
        return Fills(name, symbol, channel) if numbered else Stream(name, symbol, channel, dense=not channel.startswith(_SPARSE))

    def ready(self) -> bool:
        """Whether every dense stream has spoken and every book is proven."""
        return all(stream.first_t or not stream.dense for stream in self.streams.values()) and all(
            book.live or not self._books for name, book in self._depths.items() if name in self.streams
        )

    # -- frames ----------------------------------------------------------------------------------------------------------

    def frame(self, t: int, data: bytes) -> Output:
        """A channel's data, or an answer."""
        frame = wire.frame(data)
        if frame.type == "upgrade":
            return [Notice(t, "shutdown", "upgrade")], [Reconnect("the venue upgrades its service", overlap=True)]
        if frame.method or frame.channel.startswith(self.foreign):
            return [Notice(t, "foreign", f"{frame.method}{frame.channel}"[:60])], ()
        if frame.channel in (f"{self.product}.pong", f"{self.product}.ping"):
            return [Notice(t, "pong")], ()
        if frame.event in ("subscribe", "unsubscribe"):
            return self._answer(t, frame)
        return self.data(t, frame)

    def data(self, t: int, frame: wire.Frame) -> Output:
        """A channel's data."""
        if frame.channel == "spot.obu":
            one = wire.obu(frame.result)
            name = name_of("spot.obu", [one.s])
            self.spoke(t, name)
            return self.pushed(t, name, depth.event(one))
        if frame.channel == "spot.order_book_update":
            push = wire.update(frame.result)
            name = self.speed(push.s)
            self.spoke(t, name)
            return self.pushed(t, name, depth.event(push))
        if frame.channel == "spot.trades":
            records = self._trades(t, frame.result)
            return records, told(records)
        return self._other(t, frame)

    def _other(self, t: int, frame: wire.Frame) -> Output:
        if frame.channel == "spot.book_ticker":
            best = wire.best(frame.result)
            self.spoke(t, f"book_ticker:{best.s}")
            return [Quote(t, best.t * MS, best.s, "book_ticker", best.u, best.b, best.B, best.a, best.A)], ()
        if frame.channel == "spot.candlesticks":
            bar = wire.bar(frame.result)
            interval, _, symbol = bar.n.partition("_")
            channel = f"candlesticks.{interval}"
            self.spoke(t, f"{channel}:{symbol}")
            opened = ns(str(bar.t), SECOND)
            prices = bar.o, bar.h, bar.l, bar.c
            return [Candle(t, frame.time_ms * MS, symbol, channel, opened, interval, *prices, bar.a, bar.w)], ()
        if frame.channel == "spot.order_book":
            top = wire.top(frame.result)
            return [BookSnapshot(t, top.t * MS, top.s, "order_book", top.lastUpdateId, top.bids, top.asks, "top")], ()
        if frame.channel in _STATISTICS:
            symbol = str(msgspec.json.decode(frame.result, type=dict[str, Any]).get("currency_pair", ""))
            if symbol:
                self.spoke(t, f"{frame.channel.removeprefix('spot.')}:{symbol[:40]}")
            return [Notice(t, "statistic", frame.channel)], ()
        return [Unknown(t, f"gate: no decoder for channel {frame.channel[:40]!r} event {frame.event[:20]!r}")], ()

    def speed(self, symbol: str) -> str:
        """The stream of a book of changes: its frames do not say which of the two it is."""
        names = [f"order_book_update.{speed}:{symbol}" for speed in ("100ms", "20ms")]
        return next((name for name in names if name in self._known), names[0])

    def _answer(self, t: int, frame: wire.Frame) -> Output:
        """Rule 1."""
        if frame.event == "unsubscribe":
            return [Notice(t, "ack", frame.channel[:40])], ()
        waiting = self._pending.get(frame.channel, deque())
        id = str(frame.id) if isinstance(frame.id, int) and frame.id else ""
        if not id and (name := name_of(frame.channel, frame.payload)):
            id = next((one for one in waiting if self._asked.get(one) == (name,)), "")
        id = id or (waiting[0] if waiting else "")
        if id in waiting:
            waiting.remove(id)
        if frame.error:
            return self.refused(t, id, str(frame.error))
        return self.accepted(t, id)

    # -- books -----------------------------------------------------------------------------------------------------------

    def pushed(self, t: int, name: str, event: Event) -> Output:
        """One push of a book."""
        stream = self.stream(name)
        book = self._depths.get(name)
        if book is None:
            book = self._depths[name] = depth.book(stream.symbol, stream.channel)
        records = book.event(t, event)
        if event.full:
            self.found(name)
        stream.first_id = stream.first_id or event.first
        stream.last_id, stream.at = book.last, event.last
        commands = [*told(records), *self._needed(t, name, book)]
        if not self._books:
            records = [record for record in records if isinstance(record, Notice | Gap | Reset | BookLost)]
        return records, commands

    def _needed(self, t: int, name: str, book: JoinedBook) -> Sequence[Command]:
        """What gets a book that is not there: a new subscription of obu, a REST book of the other."""
        if book.live or not self._books:
            return ()
        if book.channel.startswith("obu"):
            return self.lost(t, name)
        if book.asked_t and t - book.asked_t < 60 * SECOND:
            return ()
        book.asked_t = t
        delay = min(8.0, 0.25 * 2 ** min(book.attempts, 6)) if book.attempts else 0.0
        book.attempts += 1
        return [Fetch(self.book_request(book.symbol, book.channel), delay_s=delay)]

    def book_request(self, symbol: str, channel: str = "") -> str:
        """100 levels, numbered as the books are; more of them would be old (rule of the sheet, 6.2)."""
        return f"{_BOOK}?currency_pair={symbol}&limit=100&with_id=true"

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """A REST book, for the books that are joined to it."""
        found = self.rest(request, data)
        if found is None or not self._books:
            return NOTHING
        symbol, snapshot = found
        records: list[Record] = []
        commands: list[Command] = []
        for name, book in self._depths.items():
            if book.symbol != symbol or book.live or book.channel.startswith("obu"):
                continue
            book.asked_t = 0
            joined = book.snapshot(t, snapshot) if snapshot.last else None
            if joined is None:
                records.append(Notice(t, "stale", f"book {snapshot.last} of {symbol[:40]} does not join {book.channel}"))
                commands += self._needed(t, name, book)
            else:
                records += joined
        return (records, commands) if records or commands else NOTHING

    def rest(self, request: str, data: bytes) -> tuple[str, Event] | None:
        """(market, book) of a reply; None: another request, or no book."""
        if not request.startswith(f"{_BOOK}?"):
            return None
        try:
            book = wire.rest_book(data)
        except BROKEN:
            return None
        symbol = request.partition("currency_pair=")[2].partition("&")[0]
        return symbol, Event(book.id, book.id, book.update * MS, book.bids, book.asks, True)

    def anchor(self, symbol: str) -> Fetch | None:
        """A book to compare with."""
        live = any(book.live and book.symbol == symbol for book in self._depths.values())
        return Fetch(self.book_request(symbol), retries=0) if live else None

    def anchored(self, t: int, request: str, data: bytes) -> BookSnapshot | None:
        """The reply to it."""
        found = self.rest(request, data)
        if found is None or not found[1].last:
            return None
        symbol, event = found
        return BookSnapshot(t, event.ts, symbol, "order_book", event.last, event.bids, event.asks, "rest")

    # -- trades ----------------------------------------------------------------------------------------------------------

    def _trades(self, t: int, data: msgspec.Raw) -> list[Record]:
        found = wire.fills(data)
        out: list[Record] = []
        for fill in found if isinstance(found, list) else [found]:
            stream = self.spoke(t, f"trades:{fill.currency_pair}")
            ts = ns(fill.create_time_ms, MS)
            trade = Trade(t, ts, fill.currency_pair, "trades", str(fill.id_market or fill.id), fill.price, fill.amount, fill.side)
            if not fill.id_market or not isinstance(stream, Fills):
                out.append(trade)
            else:
                out += self._numbered(t, stream, fill.id_market, trade)
        return out

    def _numbered(self, t: int, stream: Fills, number: int, trade: Trade) -> list[Record]:
        """Rules 2 and 3."""
        out: list[Record] = []
        if stream.ahead and (t - min(stream.ahead.values()) > LATE_NS or len(stream.ahead) > AHEAD):
            behind = min(stream.ahead)
            out.append(Gap(t, stream.symbol, stream.channel, stream.last_t, stream.last_id + 1, behind - 1, "ids"))
            stream.last_id = behind - 1
            self._advance(stream)
        if number in stream.ahead or 0 < number <= stream.last_id:
            return [*out, Notice(t, "duplicate", f"{stream.name} {number}"[:80])]
        if not stream.last_id:
            stream.first_id, stream.last_id = number, number - 1
        stream.ahead[number] = t
        self._advance(stream)
        return [*out, trade]

    def _advance(self, stream: Fills) -> None:
        while stream.last_id + 1 in stream.ahead:
            stream.last_id += 1
            del stream.ahead[stream.last_id]

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """Of each market: its streams, trades behind a hole, its book's sequence (the levels are the consumer's to add)."""
        out: dict[str, dict[str, Any]] = {}
        for stream in self._known.values():
            fields = out.setdefault(stream.symbol, {"symbol": stream.symbol, "ids": {}})
            if stream.last_t:
                fields["ids"][stream.name] = [stream.first_id, stream.last_id, stream.first_t, stream.last_t]
            if isinstance(stream, Fills) and stream.ahead:
                fields["ahead"] = [[number, at] for number, at in stream.ahead.items()]
        for name, book in self._depths.items():
            out[book.symbol].setdefault("states", {})[name] = book.state()
        return list(out.values())

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """Go on from a checkpoint. Without the levels the book waits for the next snapshot."""
        symbol = str(checkpoint["symbol"])
        for name, (first_id, last_id, first_t, last_t) in checkpoint["ids"].items():
            stream = self.streams.setdefault(name, self.stream(name))
            stream.first_id, stream.last_id, stream.first_t, stream.last_t = first_id, last_id, first_t, last_t
            if isinstance(stream, Fills):
                stream.ahead = {number: at for number, at in checkpoint.get("ahead", ())}
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
