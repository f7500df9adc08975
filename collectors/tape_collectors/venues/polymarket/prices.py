"""The reference price of the settlement source: PolyBolt with credentials, else RTDS (deprecated), else none.

RTDS (sheet 4.1): one topic a subscribe frame, filters as text without blanks; text PING every 5 s, which is not answered; the frame is
sent again
every 10 minutes, since such sockets fall silent. PolyBolt (sheet 4.2): auth, then subscribe; ``seq`` counts for each connection and
channel.
One value a second; a second that never came is a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tape_archive.format.records import Gap, Notice, Record, ReferencePrice, Unknown
from tape_collectors.venues.protocol import NOTHING, Command, Mark, Output, Reconnect, Send, Stream

SECOND = 1_000_000_000
MS = 1_000_000
_AGAIN_NS = 600 * SECOND
_PING_NS = 5 * SECOND
_TWAPS = {"crypto_prices_twap_thirty": 30, "crypto_prices_twap_sixty": 60}


class _Point(msgspec.Struct, gc=False):
    timestamp: int
    value: float = 0.0
    full_accuracy_value: str = ""


class _Payload(msgspec.Struct, gc=False):
    symbol: str = ""
    timestamp: int = 0
    value: float = 0.0
    full_accuracy_value: str = ""
    window_s: int = 0
    window_seconds: int = 0
    data: list[_Point] | None = None


class _RtdsFrame(msgspec.Struct, gc=False):
    topic: str = ""
    type: str = ""
    timestamp: int = 0
    payload: _Payload | None = None
    statusCode: int = 0
    body: Any = None


class _BoltFrame(msgspec.Struct, gc=False):
    op: str = ""
    code: str = ""
    channel: str = ""
    seq: int = 0
    dropped: int = 0
    payload: _Payload | None = None


_rtds = msgspec.json.Decoder(_RtdsFrame).decode
_bolt = msgspec.json.Decoder(_BoltFrame).decode


def exact(value: float, full: str, *, scaled: bool) -> str:
    """The price as decimal text: ``full_accuracy_value`` is an integer times 10¹⁸ on RTDS's Chainlink topics, plain elsewhere."""
    if not full:
        return repr(value)
    if not scaled or "." in full:
        return full
    number = Decimal(full).scaleb(-18)
    return format(number.normalize(), "f")


class _Series:
    """What both sockets share: streams, seconds that never came, PING."""

    source = ""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self._last: dict[str, tuple[int, int]] = {}

    def _heard(self, t: int, name: str, symbol: str, channel: str) -> None:
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = Stream(name, symbol, channel)
        stream.frames += 1
        stream.last_t = t
        stream.first_t = stream.first_t or t

    def _price(self, t: int, symbol: str, channel: str, payload: _Payload, *, scaled: bool, window_s: int) -> list[Record]:
        ts = payload.timestamp * MS
        price = exact(payload.value, payload.full_accuracy_value, scaled=scaled)
        record = ReferencePrice(t, ts, symbol, channel, price, self.source, window_s)
        key = f"{channel}/{symbol}"
        last, last_t = self._last.get(key, (0, 0))
        if ts < last:
            return [Notice(t, "late", key)]
        self._last[key] = (ts, t)
        if last and ts > last + SECOND:
            return [Gap(t, symbol, channel, last_t, last // SECOND + 1, ts // SECOND - 1, "seconds that never came"), record]
        return [record]

    def _told(self, records: Sequence[Record]) -> list[Command]:
        return [
            Mark("gap", {key: value for key, value in msgspec.structs.asdict(record).items() if key != "t"})
            for record in records
            if isinstance(record, Gap)
        ]

    def fetched(self, t: int, request: str, data: bytes) -> Output:
        """These sockets ask nothing by REST."""
        return NOTHING

    def restore(self, t: int, checkpoint: Mapping[str, Any]) -> Output:
        """Prices have no state worth keeping."""
        return NOTHING

    def checkpoint(self) -> Sequence[Mapping[str, object]]:
        """None."""
        return ()


class RtdsFeed(_Series):
    """``want`` takes ``<topic>/<symbol>``, e.g. ``crypto_prices_twap_sixty/btc/usd``."""

    source = "rtds"

    def __init__(self) -> None:
        super().__init__()
        self._wanted: tuple[str, ...] = ()
        self._pinged = 0
        self._asked = 0

    def opened(self, t: int) -> Output:
        """Nothing is sent before something is wanted."""
        self._pinged = self._asked = t
        return NOTHING

    def want(self, t: int, names: Iterable[str]) -> Output:
        """One topic a frame: one unknown topic silences its whole batch."""
        new = [name for name in names if name not in self._wanted]
        self._wanted = tuple(names)
        for name in new:
            topic, _, symbol = name.partition("/")
            self.streams.setdefault(name, Stream(name, symbol, topic)).requested_t = t
        return (), [self._subscription(name) for name in new]

    def _subscription(self, name: str) -> Send:
        topic, _, symbol = name.partition("/")
        filters = msgspec.json.encode({"symbol": symbol}).decode()
        body = {"action": "subscribe", "subscriptions": [{"topic": topic, "type": "update", "filters": filters}]}
        return Send(msgspec.json.encode(body).decode())

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """Ask again."""
        return [self._subscription(name) for name in names if name in self._wanted]

    def tick(self, t: int) -> Sequence[Command]:
        """PING every 5 s, the subscriptions again every 10 minutes."""
        out: list[Command] = []
        if t - self._pinged >= _PING_NS:
            self._pinged = t
            out.append(Send("PING"))
        if t - self._asked >= _AGAIN_NS:
            self._asked = t
            out += [self._subscription(name) for name in self._wanted]
        return out

    def receive(self, t: int, data: bytes) -> Output:
        """Snapshots are history that was sent before: only updates are prices."""
        if data in (b"", b"PONG", b"PING"):
            return [Notice(t, "pong")], ()
        try:
            frame = _rtds(data)
            payload = frame.payload
            if payload is None:
                kind = "error" if frame.statusCode >= 400 else "other"
                return [Notice(t, kind, f"{frame.topic} {frame.statusCode} {str(frame.body)[:80]}".strip())], ()
            # A snapshot of the Chainlink topic is labelled crypto_prices: its symbol tells.
            topic = "crypto_prices_chainlink" if frame.topic == "crypto_prices" and "/" in payload.symbol else frame.topic
            if frame.type == "subscribe" or payload.data is not None:
                return [Notice(t, "snapshot", f"{topic}/{payload.symbol} {len(payload.data or ())} points")], ()
            if not topic.startswith("crypto_prices") or not payload.timestamp:
                return [Notice(t, "foreign", topic)], ()
            scaled = topic != "crypto_prices"
            self._heard(t, f"{topic}/{payload.symbol}", payload.symbol, topic)
            records = self._price(t, payload.symbol, topic, payload, scaled=scaled, window_s=payload.window_s or _TWAPS.get(topic, 0))
        except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
            return [Unknown(t, f"rtds: {str(error)[:120]}")], ()
        return records, self._told(records)


class PolyBoltFeed(_Series):
    """``want`` takes ``<channel>/<symbol>``, e.g. ``price.crypto.twap/btcusd``. The credentials stay in here: no mark, no record, no
    repr has them."""

    source = "polybolt"

    def __init__(self, credentials: tuple[str, str, str]) -> None:
        super().__init__()
        self.__credentials = credentials
        self._wanted: tuple[str, ...] = ()
        self._authed = False
        self._seq: dict[str, int] = {}

    def opened(self, t: int) -> Output:
        """Authenticate first."""
        key, secret, passphrase = self.__credentials
        body = {"op": "auth", "rid": "a1", "auth": {"apiKey": key, "secret": secret, "passphrase": passphrase}}
        return (), [Send(msgspec.json.encode(body).decode())]

    def want(self, t: int, names: Iterable[str]) -> Output:
        """Sent once we are let in."""
        new = tuple(name for name in names if name not in self._wanted)
        self._wanted = tuple(names)
        for name in new:
            channel, _, symbol = name.partition("/")
            self.streams.setdefault(name, Stream(name, symbol, channel)).requested_t = t
        return (), self._subscriptions(new) if self._authed else ()

    def _subscriptions(self, names: Iterable[str]) -> list[Command]:
        items = []
        for name in names:
            channel, _, symbol = name.partition("/")
            spot = {"provider": "chainlink"}
            items.append(
                {"channel": channel, "filter": {"symbol": symbol, **({"window_seconds": 60} if channel.endswith("twap") else spot)}}
            )
        body = {"op": "subscribe", "rid": "s1", "subscriptions": items}
        return [Send(msgspec.json.encode(body).decode())] if items else []

    def resubscribe(self, t: int, names: Sequence[str]) -> Sequence[Command]:
        """Ask again."""
        return self._subscriptions(name for name in names if name in self._wanted)

    def tick(self, t: int) -> Sequence[Command]:
        """The server pings."""
        return ()

    def receive(self, t: int, data: bytes) -> Output:
        """Answers to our operations, and prices."""
        try:
            frame = _bolt(data)
            if frame.op:
                return self._answer(t, frame)
            payload = frame.payload
            if payload is None or not frame.channel:
                return [Unknown(t, "polybolt: no known frame")], ()
            out = self._sequence(t, frame)
            if payload.data is not None:
                out.append(Notice(t, "snapshot", f"{frame.channel}/{payload.symbol} {len(payload.data)} points"))
            else:
                self._heard(t, f"{frame.channel}/{payload.symbol}", payload.symbol, frame.channel)
                out += self._price(t, payload.symbol, frame.channel, payload, scaled=False, window_s=payload.window_seconds)
        except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
            return [Unknown(t, f"polybolt: {str(error)[:120]}")], ()
        return out, self._told(out)

    def _sequence(self, t: int, frame: _BoltFrame) -> list[Record]:
        last = self._seq.get(frame.channel, 0)
        self._seq[frame.channel] = frame.seq
        if last and frame.seq > last + 1:
            return [Gap(t, "", frame.channel, 0, last + 1, frame.seq - 1, f"sequence ({frame.dropped} dropped by the venue)")]
        return []

    def _answer(self, t: int, frame: _BoltFrame) -> Output:
        if frame.op == "authed":
            self._authed = True
            mark = Mark("source", {"channel": "polybolt", "status": "used", "why": "credentials accepted"})
            return [Notice(t, "ack", "authed")], [mark, *self._subscriptions(self._wanted)]
        if frame.op == "error":
            commands: list[Command] = [Mark("source", {"channel": frame.channel or "polybolt", "status": "refused", "why": frame.code})]
            if frame.code == "auth_expired":
                commands.append(Reconnect("auth expired"))
            return [Notice(t, "error", frame.code)], commands
        return [Notice(t, "ack", frame.channel)], ()
