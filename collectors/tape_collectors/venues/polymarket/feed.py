"""One connection of the CLOB market channel.

Each window is subscribed by a frame of its own, so that the first array holds one window's books. PING every 10 s; PONG proves the
link, not the
data: a ``book`` must come for every asset, else the asset is subscribed again (above some 500 assets the venue sends none, and says
nothing).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import BookLost, BookSnapshot, Lifecycle, Notice, Quote, Record, TickSize, Trade, Unknown
from tape_collectors.venues.polymarket import wire
from tape_collectors.venues.polymarket.depth import AssetBook
from tape_collectors.venues.protocol import NOTHING, Command, Mark, Output, Send, Stream

SECOND = 1_000_000_000
PING_NS = 10 * SECOND


class ClobFeed:
    """``want`` takes names of the form ``<token>+<token>``: one window each."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.books: dict[str, AssetBook] = {}
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._first = True
        self._pinged = 0

    # -- subscriptions ---------------------------------------------------------------------------------------------------

    def opened(self, t: int) -> Output:
        """Nothing is sent before a window is wanted."""
        self._pinged = t
        return NOTHING

    def want(self, t: int, names: Iterable[str]) -> Output:
        """Subscribe the windows that are new, unsubscribe those that are over."""
        wanted = {name: tuple(name.split("+")) for name in names}
        new = [tokens for name, tokens in wanted.items() if name not in self._wanted]
        old = [token for name, tokens in self._wanted.items() if name not in wanted for token in tokens]
        self._wanted = wanted
        for token in old:
            self.streams.pop(token, None)
            self.books.pop(token, None)
        commands: list[Command] = [_operation("unsubscribe", old)] if old else []
        for tokens in new:
            commands.append(self._subscribe(t, tokens))
        return (), commands

    def _subscribe(self, t: int, tokens: Sequence[str]) -> Send:
        for token in tokens:
            self._stream(token).requested_t = t
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
        """PING."""
        if t - self._pinged < PING_NS:
            return ()
        self._pinged = t
        return (Send("PING"),)

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
            out: list[Record] = []
            for event in events:
                out += self._event(t, event)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return [Unknown(t, f"polymarket: {str(error)[:120]}")], ()
        return out, self._told(out)

    def _event(self, t: int, event: wire.Event) -> list[Record]:
        ts = wire.milliseconds(event.timestamp)
        # Frames of other readers' archives may lack the type; their shape tells it.
        kind = event.event_type or _shape(event)
        if kind == "book":
            return self._heard(t, event.asset_id).snapshot(t, event)
        if kind == "price_change":
            return self._changes(t, ts, event)
        if kind == "last_trade_price":
            self._heard(t, event.asset_id)
            side = "buy" if event.side == "BUY" else "sell"
            name = event.transaction_hash or event.timestamp
            return [Trade(t, ts, event.asset_id, kind, name, event.price, event.size, side)]
        if kind == "best_bid_ask":
            self._heard(t, event.asset_id)
            return [Quote(t, ts, event.asset_id, kind, 0, event.best_bid, "", event.best_ask, "")]
        if kind == "tick_size_change":
            book = self._heard(t, event.asset_id)
            change = TickSize(t, ts, event.asset_id, kind, event.old_tick_size, event.new_tick_size)
            return [change, *book.lose(t, f"tick size {event.old_tick_size} -> {event.new_tick_size}")]
        if kind in ("market_resolved", "new_market"):
            detail = event.winning_outcome if kind == "market_resolved" else event.slug
            return [Lifecycle(t, ts, event.market, kind, kind.partition("_")[2], detail)]
        return [Unknown(t, f"polymarket: event_type {kind[:40]!r}")]

    def _changes(self, t: int, ts: int, event: wire.Event) -> list[Record]:
        legs = event.price_changes
        if legs is None:
            # Before September 2025: one asset a frame; in 2024 one level, then `changes`.
            old = event.changes or [wire.OldLeg(event.price, event.size, event.side)]
            legs = [wire.Leg(event.asset_id, one.price, one.size, one.side) for one in old]
        out: list[Record] = []
        last: dict[str, wire.Leg] = {}
        for leg in legs:
            out += self._heard(t, leg.asset_id).leg(t, ts, leg)
            last[leg.asset_id] = leg
        for asset, leg in last.items():
            out += self.books[asset].agree(t, leg)
        return out

    def _heard(self, t: int, asset: str) -> AssetBook:
        stream = self._stream(asset)
        stream.frames += 1
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
                # Only a new snapshot can prove it again.
                out += self.resubscribe(record.t, [record.symbol])
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


def _shape(event: wire.Event) -> str:
    if event.bids or event.asks:
        return "book"
    if event.price_changes or event.changes:
        return "price_change"
    if event.new_tick_size:
        return "tick_size_change"
    return "last_trade_price" if event.price and event.size and event.asset_id else ""


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
    """Imported records of the recorder that Tapeline replaces: both tokens' REST books, once a second; ``timestamp`` is its own clock,
    in ms."""

    def receive(self, t: int, data: bytes) -> Output:
        """One record: a snapshot for each token that has a book."""
        try:
            record = _brief(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return [Unknown(t, f"brief: {str(error)[:120]}")], ()
        out: list[Record] = []
        for token in record.tokens:
            if token.orderbook is not None:
                stream = self._stream(token.token_id)
                stream.frames, stream.last_t, stream.first_t = stream.frames + 1, t, stream.first_t or t
                bids, asks = ([(wire.price(str(p)), str(s)) for p, s in side] for side in (token.orderbook.bids, token.orderbook.asks))
                out.append(BookSnapshot(t, 0, token.token_id, "book", 0, bids, asks, "rest"))
        return out, ()
