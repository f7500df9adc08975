"""One Bybit connection: topics, pings, books by push, trades, tickers.

1. Sizes of spot and linear are in the base coin (sheet 8.2).
2. A trade's id is a UUID or a number, and no id follows from another: doubles are known by the last ids seen; a hole cannot be seen.
3. ``tickers`` of linear send what changed: fields that are absent keep their value since the last snapshot of the connection. Mark, index,
   rate and open interest ride on it; ``openInterest`` counts both sides of each position, and half of it is told.
4. ``allLiquidation`` names the side of the position: a long that is liquidated is a forced sell.
5. ``orderbook.1`` is the best bid and offer, whole each time, sent again with the same ``u`` after three quiet seconds: a quote. Its
   ``u`` is not that of the deeper books, so the quote has no id.
6. A refusal may name the topic and no request (spot testnet, captured 2026-09): the request is the one that has the topic, else the oldest
   that waits.
7. The client pings every 20 s; without traffic the venue hangs up after ten minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import BookSnapshot, Candle, Funding, Liquidation, Notice, OpenInterest, Quote, Record, Trade, Unknown
from tape_collectors.venues.bybit import wire
from tape_collectors.venues.bybit.depth import DepthBook
from tape_collectors.venues.bybit.symbols import topic_of
from tape_collectors.venues.numbers import exact, ms
from tape_collectors.venues.protocol import NOTHING, Command, Fetch, Output, Send, Stream
from tape_collectors.venues.session import BROKEN, MS, SECOND, Session, told

PING_NS = 20 * SECOND
#: rule 2
IDS = 2000
_SPARSE = ("allLiquidation", "publicTrade")
_PRICES = ("markPrice", "indexPrice", "fundingRate", "nextFundingTime")
_TOLD = (*_PRICES, "openInterest", "singleOpenInterest")
_SIDES = {"Buy": "buy", "Sell": "sell"}
_ORDERBOOK = "/v5/market/orderbook"


class BybitFeed(Session):
    """Spot and linear differ by ``category``."""

    def __init__(self, category: str, *, books: bool = True) -> None:
        super().__init__()
        self._category = category
        self._books = books
        self._depths: dict[str, DepthBook] = {}
        self._ids: dict[str, OrderedDict[str, None]] = {}
        self._tickers: dict[str, wire.Ticker] = {}
        self._quotes: dict[str, int] = {}
        self._pinged = 0

    # -- subscriptions ---------------------------------------------------------------------------------------------------

    def request(self, id: str, subscribe: bool, names: Sequence[str]) -> str:
        """At most ten topics (spot's limit)."""
        return msgspec.json.encode({"req_id": id, "op": "subscribe" if subscribe else "unsubscribe", "args": list(names)}).decode()

    def stream_of(self, name: str) -> Stream:
        """A topic."""
        symbol, channel = topic_of(name)
        return Stream(name, symbol, channel, dense=not channel.startswith(_SPARSE))

    def tick(self, t: int) -> Sequence[Command]:
        """Rule 7, and what the session repeats."""
        out = list(super().tick(t))
        if t - self._pinged >= PING_NS:
            self._pinged = t
            out.append(Send('{"req_id":"ping","op":"ping"}'))
        return out

    def ready(self) -> bool:
        """Whether every dense stream has spoken and every book is proven."""
        return all(stream.first_t or not stream.dense for stream in self.streams.values()) and all(
            depth.live or not self._books for name, depth in self._depths.items() if name in self.streams
        )

    # -- frames ----------------------------------------------------------------------------------------------------------

    def frame(self, t: int, data: bytes) -> Output:
        """A topic's data, or an answer."""
        frame = wire.frame(data)
        if not frame.topic:
            return self._answer(t, frame)
        # What is no topic is known here, before anything is kept of it.
        channel = self.stream(frame.topic).channel
        if channel == "orderbook.1":
            records = self._quote(t, frame)
        elif channel.startswith("orderbook."):
            return self._depth(t, frame)
        elif channel == "publicTrade":
            records = self._trades(t, frame)
        elif channel == "tickers":
            records = self._ticker(t, frame)
        elif channel == "allLiquidation":
            records = [
                Liquidation(t, row.T * MS, row.s, channel, row.p, row.v, "sell" if _SIDES[row.S] == "buy" else "buy")
                for row in wire.forced(frame.data)
            ]
        elif channel.startswith("kline."):
            symbol = frame.topic.rpartition(".")[2]
            records = [_candle(t, frame.ts, symbol, channel, bar) for bar in wire.bars(frame.data)]
        else:
            return [Unknown(t, f"bybit: no decoder for topic {frame.topic[:60]!r}")], ()
        self.spoke(t, frame.topic)
        return records, ()

    def _answer(self, t: int, frame: wire.Frame) -> Output:
        if frame.op in ("ping", "pong") or frame.ret_msg == "pong":
            return [Notice(t, "pong", frame.req_id[:40])], ()
        if frame.op in ("subscribe", "unsubscribe"):
            if frame.success or frame.op == "unsubscribe":
                return self.accepted(t, frame.req_id)
            return self.refused(t, frame.req_id or self._meant(frame.ret_msg), frame.ret_msg)
        if frame.type == "COMMAND_RESP":
            # The options socket answers in another shape; it is another product.
            return [Notice(t, "foreign", "an answer of the options socket")], ()
        return [Unknown(t, f"bybit: no topic and no answer: op {frame.op[:20]!r} {frame.ret_msg[:60]!r}")], ()

    def _meant(self, why: str) -> str:
        """Rule 6."""
        waiting = [id for id, names in self._asked.items() if names]
        return next((id for id in waiting if any(name in why for name in self._asked[id])), waiting[0] if waiting else "")

    def _depth(self, t: int, frame: wire.Frame) -> Output:
        event = wire.book(frame.data)
        stream = self.spoke(t, frame.topic)
        book = self._depths.get(frame.topic)
        if book is None:
            book = self._depths[frame.topic] = DepthBook(stream.symbol, stream.channel)
        if frame.type == "snapshot":
            records = book.snapshot(t, frame.ts, frame.cts, event)
            self.found(frame.topic)
        else:
            records = book.delta(t, frame.ts, frame.cts, event)
        # Lost just now, or its snapshot never came (or came broken): the stream speaks, so no watchdog asks for it.
        needed = () if book.live else self.lost(t, frame.topic)
        stream.first_id = stream.first_id or event.u
        stream.last_id, stream.at = book.last, event.u
        if not self._books:
            records = [record for record in records if isinstance(record, Notice) or type(record).__name__ in ("Gap", "Reset")]
        return records, [*told(records), *needed]

    def _quote(self, t: int, frame: wire.Frame) -> list[Record]:
        """Rule 5."""
        book = wire.book(frame.data)
        if self._quotes.get(frame.topic) == book.u:
            return [Notice(t, "duplicate", f"{frame.topic} u={book.u}")]
        self._quotes[frame.topic] = book.u
        if not book.b or not book.a:
            return [Notice(t, "one-sided", frame.topic)]
        (bid, bid_size), (ask, ask_size) = book.b[0], book.a[0]
        return [Quote(t, (frame.cts or frame.ts) * MS, book.s, "orderbook.1", 0, bid, bid_size, ask, ask_size)]

    def _trades(self, t: int, frame: wire.Frame) -> list[Record]:
        """Rule 2."""
        seen = self._ids.setdefault(frame.topic, OrderedDict())
        out: list[Record] = []
        for row in wire.fills(frame.data):
            if row.i in seen:
                out.append(Notice(t, "duplicate", f"{frame.topic} {row.i[:40]}"))
                continue
            seen[row.i] = None
            if len(seen) > IDS:
                seen.popitem(last=False)
            out.append(Trade(t, row.T * MS, row.s, "publicTrade", row.i, row.p, row.v, _SIDES[row.S]))
        return out

    def _ticker(self, t: int, frame: wire.Frame) -> list[Record]:
        """Rule 3."""
        ticker = wire.ticker(frame.data)
        held = self._tickers.get(frame.topic)
        if frame.type == "delta" and held is not None:
            for name in _TOLD:
                if not getattr(ticker, name):
                    setattr(ticker, name, getattr(held, name))
        else:
            held = None
        self._tickers[frame.topic] = ticker
        ts, out = frame.ts * MS, list[Record]()
        if ticker.markPrice and (held is None or any(getattr(ticker, name) != getattr(held, name) for name in _PRICES)):
            due = ms(ticker.nextFundingTime or "0") * MS
            out.append(Funding(t, ts, ticker.symbol, "tickers", ticker.markPrice, ticker.indexPrice, ticker.fundingRate, due))
        size = _interest(ticker)
        if size and (held is None or size != _interest(held)):
            out.append(OpenInterest(t, ts, ticker.symbol, "tickers", size))
        return out or [Notice(t, "statistic", frame.topic)]

    # -- REST ------------------------------------------------------------------------------------------------------------

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """Books come by push: REST is only an anchor."""
        return NOTHING

    def anchor(self, symbol: str) -> Fetch | None:
        """1,000 levels."""
        if not any(book.live and book.symbol == symbol for book in self._depths.values()):
            return None
        return Fetch(f"GET {_ORDERBOOK}?category={self._category}&symbol={symbol}&limit=1000", retries=0)

    def anchored(self, t: int, request: str, data: bytes) -> BookSnapshot | None:
        """``u`` of REST is that of the 1,000-level topic; another depth is compared by time (id 0)."""
        if not request.startswith(f"GET {_ORDERBOOK}?"):
            return None
        try:
            book = wire.rest_book(wire.reply(data).result)
        except BROKEN:
            return None
        counted = any(depth.live and depth.symbol == book.s and depth.channel == "orderbook.1000" for depth in self._depths.values())
        return BookSnapshot(t, book.ts * MS, book.s, "orderbook", book.u if counted else 0, book.b, book.a, "rest")

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """Of each symbol: its streams, its book's sequence (the levels are the consumer's to add), the ticker, and the last trade ids."""
        out: dict[str, dict[str, Any]] = {}
        for stream in self._known.values():
            fields = out.setdefault(stream.symbol, {"symbol": stream.symbol, "ids": {}})
            if stream.last_t:
                fields["ids"][stream.name] = [stream.first_id, stream.last_id, stream.first_t, stream.last_t]
        for name, book in self._depths.items():
            out[book.symbol].setdefault("states", {})[name] = book.state()
        for name, ticker in self._tickers.items():
            out[topic_of(name)[0]].setdefault("tickers", {})[name] = msgspec.to_builtins(ticker)
        for name, seen in self._ids.items():
            out[topic_of(name)[0]].setdefault("trades", {})[name] = list(seen)
        for name, u in self._quotes.items():
            out[topic_of(name)[0]].setdefault("quotes", {})[name] = u
        return list(out.values())

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """Go on from a checkpoint. Without the levels the book waits for the next snapshot."""
        for name, (first_id, last_id, first_t, last_t) in checkpoint["ids"].items():
            stream = self.streams.setdefault(name, self.stream(name))
            stream.first_id, stream.last_id, stream.first_t, stream.last_t = first_id, last_id, first_t, last_t
        out: list[Record] = []
        states = dict(checkpoint.get("states", {}))
        with_levels = next((name for name, state in states.items() if state["live"]), "") if self._books and "bids" in checkpoint else ""
        for name, state in states.items():
            book = self._depths[name] = DepthBook(*topic_of(name))
            book.restore(state, levels=name == with_levels)
            if book.live:
                at, ts, last = checkpoint["book"]
                bids, asks = ([(p, s) for p, s in checkpoint[side]] for side in ("bids", "asks"))
                out.append(BookSnapshot(at, ts, book.symbol, book.channel, last, bids, asks, "checkpoint"))
        for name, fields in checkpoint.get("tickers", {}).items():
            self._tickers[name] = msgspec.convert(fields, wire.Ticker)
        for name, ids in checkpoint.get("trades", {}).items():
            self._ids[name] = OrderedDict.fromkeys(ids)
        self._quotes |= checkpoint.get("quotes", {})
        if quote := checkpoint.get("quote"):
            out.append(Quote(*quote))
        return out, ()


def _interest(ticker: wire.Ticker) -> str:
    """One side of the open interest (rule 3)."""
    if ticker.singleOpenInterest or not ticker.openInterest:
        return ticker.singleOpenInterest
    return f"{(exact(ticker.openInterest) / 2).normalize():f}"


def _candle(t: int, ts: int, symbol: str, channel: str, bar: wire.Bar) -> Candle:
    prices = bar.open, bar.high, bar.low, bar.close
    return Candle(t, ts * MS, symbol, channel, bar.start * MS, bar.interval, *prices, bar.volume, bar.confirm)
