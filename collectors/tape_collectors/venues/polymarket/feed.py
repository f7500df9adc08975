"""One connection of the CLOB market channel (project's sheet, section 2, read 2026-11-20).

1. Each window is subscribed by a frame of its own, so that the first array holds one window's books; the first frame of a
   connection has ``type``, later ones ``operation``.
2. PING every 10 s. PONG proves the link, not the data.
3. A ``book`` must come for every asset within ``BOOK_S``; above some 500 assets the venue sends none, and says nothing. An
   asset without one is subscribed again, alone, then a second time; if by then half of all assets or more have none, the
   connection is of no use.
4. A book that is no longer proven is subscribed again only if no ``book`` came by itself (they come after trades):
   unsubscribing makes a hole. The wait differs between connections, so that redundant ones do not make it at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import BookLost, BookSnapshot, Lifecycle, Notice, Quote, Record, TickSize, Trade, Unknown
from tape_collectors.venues.polymarket import wire
from tape_collectors.venues.polymarket.depth import AssetBook
from tape_collectors.venues.protocol import NOTHING, Command, Mark, Output, Reconnect, Send, Stream

SECOND = 1_000_000_000
PING_NS = 10 * SECOND
BOOK_S = 5
TRIES = 2
_LATER_S = 60


class _Due(msgspec.Struct):
    """When a book that is missing is asked for again."""

    t: int
    tries: int = 0


class ClobFeed:
    """``want`` takes names of the form ``<token>+<token>``: one window each."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.books: dict[str, AssetBook] = {}
        self._wanted: dict[str, tuple[str, ...]] | None = None
        self._due: dict[str, _Due] = {}
        self._first = True
        self._pinged = 0
        self._spread = 0

    # -- subscriptions ---------------------------------------------------------------------------------------------------

    def opened(self, t: int) -> Output:
        """Nothing is sent before a window is wanted."""
        self._pinged = t
        # Rule 4: up to six seconds, by the microseconds of the opening.
        self._spread = t // 1000 % 6007 * 1_000_000
        return NOTHING

    def want(self, t: int, names: Iterable[str]) -> Output:
        """Subscribe the windows that are new, unsubscribe those that are over."""
        before = self._wanted or {}
        wanted = {name: tuple(name.split("+")) for name in names}
        new = [tokens for name, tokens in wanted.items() if name not in before]
        kept = {token for tokens in wanted.values() for token in tokens}
        old = [token for name, tokens in before.items() if name not in wanted for token in tokens if token not in kept]
        self._wanted = wanted
        for token in old:
            self.streams.pop(token, None)
            self._due.pop(token, None)
        if old:
            self.books = {token: book for token, book in self.books.items() if token in kept}
        commands: list[Command] = [_operation("unsubscribe", old)] if old else []
        for tokens in new:
            commands.append(self._subscribe(t, tokens))
        return (), commands

    def _subscribe(self, t: int, tokens: Sequence[str]) -> Send:
        for token in tokens:
            self._stream(token).requested_t = t
            self._due[token] = _Due(t + BOOK_S * SECOND)
        if self._first:
            self._first = False
            body = {"type": "market", "assets_ids": list(tokens), "custom_feature_enabled": True}
            return Send(msgspec.json.encode(body).decode())
        return _operation("subscribe", tokens)

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """These tokens only. A duplicate subscribe is rejected by the venue, hence the unsubscribe before it."""
        tokens = [name for name in names if name in self.streams]
        for token in tokens:
            self.streams[token].requested_t = t
        return [_operation("unsubscribe", tokens), _operation("subscribe", tokens)] if tokens else []

    def tick(self, t: int) -> Sequence[Command]:
        """PING; books that did not come."""
        out: list[Command] = []
        if t - self._pinged >= PING_NS:
            self._pinged = t
            out.append(Send("PING"))
        return [*out, *self._overdue(t)] if self._due else out

    def _overdue(self, t: int) -> list[Command]:
        """Rules 3 and 4."""
        for token in [token for token in self._due if token in self.books and self.books[token].live]:
            del self._due[token]
        late = [token for token, due in self._due.items() if t >= due.t]
        if not late:
            return []
        never = [token for token in self._due if token not in self.books or not self.books[token].last_ts]
        vain = [token for token in never if self._due[token].tries >= TRIES]
        if 2 * len(vain) >= len(self.streams):
            return [Reconnect(f"no book for {len(vain)} of {len(self.streams)} assets")]
        for token in late:
            due = self._due[token]
            due.tries += 1
            # A market that never speaks (it may be over) must not cost the others their connection.
            self.streams[token].dense = due.tries <= TRIES
            due.t = t + (BOOK_S if due.tries <= TRIES else _LATER_S) * SECOND
        return [*self.resubscribe(t, late)]

    def ready(self) -> bool:
        """Whether a book came for every asset."""
        return all(token in self.books and self.books[token].live for token in self.streams)

    def _stream(self, token: str) -> Stream:
        stream = self.streams.get(token)
        if stream is None:
            # A book comes on subscribing; after that a market may be quiet for as long as it likes.
            stream = self.streams[token] = Stream(token, token, "market")
        return stream

    # -- frames ----------------------------------------------------------------------------------------------------------

    def receive(self, t: int, data: bytes) -> Output:
        """An object, an array of objects, or text."""
        if data in (b"PONG", b"PING", b""):
            return [Notice(t, "pong")], ()
        if data == b"INVALID OPERATION":
            return [Notice(t, "error", "INVALID OPERATION")], ()
        try:
            events = wire.events(data) if data[:1] == b"[" else [wire.event(data)]
        except (ValueError, RecursionError) as error:
            return [Unknown(t, f"polymarket: {' '.join(str(error).split())[:120]}")], ()
        out: list[Record] = []
        for event in events:
            out += self._event(t, event)
        if not out:
            return [Notice(t, "empty")], ()
        return out, self._told(out)

    def _event(self, t: int, event: wire.Event) -> list[Record]:
        ts = wire.milliseconds(event.timestamp)
        kind = wire.kind(event)
        if kind == "price_change":
            return self._changes(t, ts, event)
        if kind in ("market_resolved", "new_market"):
            detail = event.winning_outcome if kind == "market_resolved" else event.slug
            return [Lifecycle(t, ts, event.market, kind, kind.partition("_")[2], detail)]
        if not event.asset_id or kind not in ("book", "last_trade_price", "best_bid_ask", "tick_size_change"):
            return [Unknown(t, f"polymarket: event_type {kind[:40]!r}")]
        book = self._heard(t, event.asset_id)
        if kind == "book":
            return book.snapshot(t, event)
        if kind == "last_trade_price":
            return self._trade(t, ts, book, event)
        if kind == "best_bid_ask":
            return [Quote(t, ts, event.asset_id, kind, 0, event.best_bid, "", event.best_ask, "")]
        if book.doubled((kind, str(ts), event.old_tick_size, event.new_tick_size)):
            return [Notice(t, "duplicate", f"{kind} {event.asset_id[:12]}")]
        change = TickSize(t, ts, event.asset_id, kind, event.old_tick_size, event.new_tick_size)
        return [change, *book.lose(t, f"tick size {event.old_tick_size} -> {event.new_tick_size}")]

    def _trade(self, t: int, ts: int, book: AssetBook, event: wire.Event) -> list[Record]:
        side = {"BUY": "buy", "SELL": "sell"}.get(event.side)
        if side is None or not event.price or not event.size:
            return [Unknown(t, f"polymarket: last_trade_price of {event.asset_id[:12]} without side, price or size")]
        chain = event.transaction_hash
        if chain and book.doubled((chain, str(ts), side, event.price, event.size)):
            return [Notice(t, "duplicate", f"last_trade_price {event.asset_id[:12]} {chain[:12]}")]
        return [Trade(t, ts, event.asset_id, "last_trade_price", chain or str(event.timestamp), event.price, event.size, side)]

    def _changes(self, t: int, ts: int, event: wire.Event) -> list[Record]:
        legs = event.price_changes
        if legs is None:
            old = event.changes
            if old is None and event.price and event.size:
                old = [wire.OldLeg(event.price, event.size, event.side)]
            if not event.asset_id or old is None:
                return [Unknown(t, "polymarket: price_change without a change")]
            legs = [wire.Leg(event.asset_id, one.price, one.size, one.side, event.hash) for one in old]
        out: list[Record] = []
        last: dict[str, wire.Leg] = {}
        for leg in legs:
            out += self._heard(t, leg.asset_id).leg(t, ts, leg)
            last[leg.asset_id] = leg
        for asset, leg in last.items():
            out += self.books[asset].agree(t, ts, leg)
        return out

    def _heard(self, t: int, asset: str) -> AssetBook:
        # A live connection has the streams that it asked for, not those that an unsubscribe comes too late for; a reader has what it meets.
        stream = self.streams.get(asset) if self._wanted is not None else self._stream(asset)
        if stream is not None:
            # No two frames have the same time, but one frame may have many legs.
            stream.frames += stream.last_t != t
            stream.last_t = t
            stream.first_t = stream.first_t or t
        book = self.books.get(asset)
        if book is None:
            book = self.books[asset] = AssetBook(asset)
        return book

    def _told(self, records: Sequence[Record]) -> list[Command]:
        out: list[Command] = []
        for record in records:
            if isinstance(record, BookLost):
                fields = {"symbol": record.symbol, "channel": record.channel, "why": record.why}
                out.append(Mark("lost", fields, record.symbol))
                if record.why.startswith("best prices"):
                    out.append(Mark("diff", {"symbol": record.symbol, "source": "price_change", "levels": 1}, record.symbol))
                if record.symbol in self.streams:
                    self._due[record.symbol] = _Due(record.t + BOOK_S * SECOND + self._spread)
        return out

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """REST books are a check beside the stream, not a part of it."""
        return NOTHING

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """A window's file is read from its start."""
        return NOTHING

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """None: see ``restore``."""
        return ()


def _operation(name: str, tokens: Sequence[str]) -> Send:
    body: dict[str, object] = {"operation": name, "assets_ids": list(tokens)}
    if name == "subscribe":
        body["custom_feature_enabled"] = True
    return Send(msgspec.json.encode(body).decode())


class _BriefBook(msgspec.Struct, gc=False):
    bids: list[tuple[float | str, float | str]] = []
    asks: list[tuple[float | str, float | str]] = []


class _BriefToken(msgspec.Struct, gc=False):
    token_id: str
    outcome: str = ""
    orderbook: _BriefBook | None = None


class _BriefRecord(msgspec.Struct, gc=False):
    tokens: list[_BriefToken]
    timestamp: int = 0


_brief = msgspec.json.Decoder(_BriefRecord).decode


class BriefFeed(ClobFeed):
    """Imported records of the recorder that Tapeline replaces: both tokens' REST books, once a second.

    ``timestamp`` is that recorder's own clock, in ms.
    """

    def receive(self, t: int, data: bytes) -> Output:
        """One record: a snapshot for each token that has a book."""
        try:
            record = _brief(data)
        except (ValueError, RecursionError) as error:
            return [Unknown(t, f"brief: {str(error)[:120]}")], ()
        out: list[Record] = []
        for token in record.tokens:
            if token.orderbook is not None:
                stream = self._stream(token.token_id)
                stream.frames, stream.last_t, stream.first_t = stream.frames + 1, t, stream.first_t or t
                bids, asks = ([(wire.price(str(p)), str(s)) for p, s in side] for side in (token.orderbook.bids, token.orderbook.asks))
                out.append(BookSnapshot(t, 0, token.token_id, "book", 0, bids, asks, "rest"))
        return out, ()
