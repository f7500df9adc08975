"""The reference price of the settlement source: PolyBolt with credentials, else RTDS (deprecated), else none.

RTDS (project's sheet, section 4.1, read 2026-11-20):

1. One topic a subscribe frame: one unknown topic silences its whole batch. ``filters`` is JSON text without blanks: one blank
   gives a snapshot, then silence.
2. Text PING every 5 s, which is not answered; the subscribe frame again every 10 minutes, since such sockets fall silent while
   they are open.
3. A snapshot (``type`` "subscribe") replays a minute or two. Its points that never came before are prices; it fills what a
   silence lost. That of the Chainlink spot topic is labelled ``crypto_prices``: the form of the symbol tells (``btc/usd``, not
   ``btcusdt``).
4. ``full_accuracy_value`` is the price times 10¹⁸ on Chainlink topics, plain decimal text on ``crypto_prices``. Where it is
   missing, ``value`` (a rounded float) is all there is.

PolyBolt (section 4.2):

5. auth, then subscribe; the credentials stay in the feed. ``full_accuracy_value`` is decimal text on every channel.
6. ``seq`` counts from 1 for each connection and channel: a hole is a gap. ``dropped`` says how many frames the venue threw away
   for us.

Both:

7. One value a second. A second that has not come when a later one does is a gap; if it comes after all (late, or in a
   snapshot), it is a price like any other. The same second with another value is the feed's own correction, and a price; with
   the same value it is a double.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import Gap, Notice, Record, ReferencePrice, Reset, Unknown
from tape_collectors.venues.polymarket import wire
from tape_collectors.venues.protocol import NOTHING, Command, Mark, Output, Reconnect, Send, Stream

SECOND = 1_000_000_000
MS = 1_000_000
#: seconds that are remembered for rule 7: longer than the longest snapshot
REMEMBERED_S = 300
_AGAIN_NS = 600 * SECOND
_PING_NS = 5 * SECOND
_TWAPS = {"crypto_prices_twap_thirty": 30, "crypto_prices_twap_sixty": 60}


def exact(value: msgspec.Raw, full: str | None, *, scaled: bool) -> str:
    """Rule 4: the price as decimal text, no digit lost. Raises ValueError for what is no price."""
    if not full:
        text = wire.raw_decimal(value)
        if not text:
            raise ValueError("a tick without a price")
        return text
    return wire.decimal(full, -18 if scaled and "." not in full else 0)


class _Series:
    """What both sockets share: streams, and rule 7."""

    source = ""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, dict[int, str]] = {}

    def _heard(self, t: int, name: str, symbol: str, channel: str) -> None:
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = Stream(name, symbol, channel)
        stream.frames += 1
        stream.last_t = t
        stream.first_t = stream.first_t or t

    def _prices(self, t: int, symbol: str, channel: str, payload: wire.Payload, *, scaled: bool, window_s: int) -> list[Record]:
        points: Sequence[wire.Point | wire.Payload] = [payload] if payload.data is None else payload.data
        # Every price is read before any is believed: a frame is taken whole or not at all.
        ticks = [(_time(point.timestamp), exact(point.value, point.full_accuracy_value, scaled=scaled)) for point in points]
        out: list[Record] = []
        for ts, price in sorted(ticks) if payload.data is not None else ticks:
            out += self._price(ReferencePrice(t, ts, symbol, channel, price, self.source, window_s), known=payload.data is not None)
        if payload.data is not None:
            out.append(Notice(t, "snapshot", f"{channel}/{symbol} {len(points)} points"))
        return out

    def _price(self, record: ReferencePrice, *, known: bool) -> list[Record]:
        """Rule 7. ``known``: a snapshot's point, whose rounded value does not correct what came before."""
        key = f"{record.channel}/{record.symbol}"
        seen = self._seen.setdefault(key, {})
        ts = record.ts
        if ts in seen and (known or seen[ts] == record.price):
            return [] if known else [Notice(record.t, "duplicate", f"{key} {ts // SECOND}")]
        seen[ts] = record.price
        if len(seen) > 2 * REMEMBERED_S:
            self._seen[key] = dict(sorted(seen.items())[-REMEMBERED_S:])
        last, last_t = self._last.get(key, (0, 0))
        if ts <= last:
            return [record]
        self._last[key] = (ts, record.t)
        if last and ts >= last + 2 * SECOND:
            first, to = last // SECOND + 1, ts // SECOND - 1
            return [Gap(record.t, record.symbol, record.channel, last_t, first, to, "seconds that never came"), record]
        return [record]

    def _told(self, records: Sequence[Record]) -> list[Command]:
        return [
            Mark(type(record).__name__.lower(), {key: value for key, value in msgspec.structs.asdict(record).items() if key != "t"})
            for record in records
            if isinstance(record, Gap | Reset)
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
        """A tick, a snapshot, or text."""
        if data in (b"", b"PONG", b"PING"):
            return [Notice(t, "pong")], ()
        try:
            frame = wire.rtds(data)
            if frame.statusCode is not None and frame.statusCode >= 400:
                why = f"status {frame.statusCode}: a topic of the last subscribe frame does not exist any more"
                return [Notice(t, "error", str(frame.statusCode))], [Mark("source", {"channel": "rtds", "status": "refused", "why": why})]
            if not frame.topic.startswith("crypto_prices") or bytes(frame.payload) in (b"", b"null"):
                return [Notice(t, "foreign", f"{frame.topic} {frame.type}".strip()[:80])], ()
            records = self._ticks(t, frame.topic, wire.payload(frame.payload))
        except (ValueError, RecursionError) as error:
            return [Unknown(t, f"rtds: {' '.join(str(error).split())[:120]}")], ()
        return records, self._told(records)

    def _ticks(self, t: int, topic: str, payload: wire.Payload) -> list[Record]:
        if not payload.symbol:
            raise ValueError("a price without a symbol")
        topic = "crypto_prices_chainlink" if topic == "crypto_prices" and "/" in payload.symbol else topic
        window_s = payload.window_s or _TWAPS.get(topic, 0)
        records = self._prices(t, payload.symbol, topic, payload, scaled=topic != "crypto_prices", window_s=window_s)
        if payload.data is None:
            # A snapshot alone proves nothing: a dead topic still sends one.
            self._heard(t, f"{topic}/{payload.symbol}", payload.symbol, topic)
        return records


class PolyBoltFeed(_Series):
    """``want`` takes ``<channel>/<symbol>``, e.g. ``price.crypto.twap/btcusd``.

    The credentials stay in here: no mark, no record, no repr has them.
    """

    source = "polybolt"

    def __init__(self, credentials: tuple[str, str, str]) -> None:
        super().__init__()
        self.__credentials = credentials
        self._wanted: tuple[str, ...] = ()
        self._authed = False
        self._from_start = False
        self._seq: dict[str, tuple[int, int]] = {}
        #: frames that the venue says it threw away because we were slow
        self.dropped = 0

    def opened(self, t: int) -> Output:
        """Authenticate first."""
        self._from_start = True
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
            more: dict[str, object] = {"window_seconds": 60} if channel.endswith("twap") else {"provider": "chainlink"}
            items.append({"channel": channel, "filter": {"symbol": symbol, **more}})
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
            frame = wire.bolt(data)
            if frame.op:
                return self._answer(t, frame)
            channel, payload = frame.channel or "", frame.payload
            if payload is None or not channel or frame.seq < 0:
                return [Unknown(t, "polybolt: no known frame")], ()
            window_s = payload.window_seconds or (60 if channel.endswith(".twap") else 0)
            prices = self._prices(t, payload.symbol, channel, payload, scaled=False, window_s=window_s)
        except (ValueError, RecursionError) as error:
            return [Unknown(t, self._hidden(f"polybolt: {' '.join(str(error).split())[:120]}"))], ()
        if payload.data is None:
            self._heard(t, f"{channel}/{payload.symbol}", payload.symbol, channel)
        records = [*self._sequence(t, channel, frame), *prices]
        return records, self._told(records)

    def _sequence(self, t: int, channel: str, frame: wire.BoltFrame) -> list[Record]:
        """Rule 6. The first frame of a connection that was seen from its opening must be number 1."""
        last, last_t = self._seq.get(channel, (0, 0))
        self.dropped += frame.dropped or 0
        if not frame.seq:
            return []
        known = last or self._from_start
        self._seq[channel] = (frame.seq, t)
        if known and frame.seq > last + 1:
            return [Gap(t, "", channel, last_t, last + 1, frame.seq - 1, f"sequence ({frame.dropped or 0} dropped by the venue)")]
        if last and frame.seq <= last:
            return [Reset(t, "", channel, f"sequence went from {last} back to {frame.seq}")]
        if frame.dropped:
            return [Gap(t, "", channel, last_t, 0, 0, f"{frame.dropped} dropped by the venue")]
        return []

    def _answer(self, t: int, frame: wire.BoltFrame) -> Output:
        if frame.op == "authed":
            self._authed = True
            mark = Mark("source", {"channel": "polybolt", "status": "used", "why": "credentials accepted"})
            return [Notice(t, "ack", "authed")], [mark, *self._subscriptions(self._wanted)]
        if frame.op == "error":
            code, channel = self._hidden(frame.code or "")[:60], self._hidden(frame.channel or "")[:60]
            commands: list[Command] = [Mark("source", {"channel": channel or "polybolt", "status": "refused", "why": code})]
            if code == "auth_expired":
                commands.append(Reconnect("auth expired"))
            return [Notice(t, "error", code)], commands
        return [Notice(t, "ack", self._hidden(frame.channel or "")[:60])], ()

    def _hidden(self, text: str) -> str:
        """What the venue said, even if it said our own secret."""
        for secret in self.__credentials:
            if secret:
                text = text.replace(secret, "***")
        return text


class Close(msgspec.Struct, frozen=True):
    """What a close code of PolyBolt asks for. ``again``: connect anew, after ``least_s`` to ``most_s`` seconds; else somebody must act."""

    again: bool
    least_s: float
    most_s: float
    why: str


_CLOSES = {
    4001: Close(False, 0.0, 0.0, "credentials refused: mend POLY_API_KEY, POLY_API_SECRET and POLY_API_PASSPHRASE, or unset them"),
    4002: Close(True, 1.0, 30.0, "we read too slowly, or missed two pings"),
    4003: Close(True, 0.0, 10.0, "the server is being drained"),
    4008: Close(False, 0.0, 0.0, "a rule of the venue broken: a bug of ours"),
}


def after_close(code: int) -> Close:
    """Section 4.2's close codes; every other end is an ordinary one."""
    return _CLOSES.get(code) or Close(True, 1.0, 30.0, f"closed with {code}")


class Sources:
    """Which source of reference prices to use: PolyBolt with credentials, else RTDS, else none. Each decision is a ``source`` mark."""

    def __init__(self, *, credentials: bool) -> None:
        self._left = ["polybolt", "rtds"] if credentials else ["rtds"]
        self._why = "credentials are set" if credentials else "no credentials for PolyBolt (POLY_API_KEY, …)"

    @property
    def name(self) -> str:
        """The source in use; "" when none is left."""
        return self._left[0] if self._left else ""

    @property
    def last(self) -> bool:
        """Whether there is no other source to go on with."""
        return len(self._left) < 2

    def chosen(self) -> list[Command]:
        """The mark of the source in use."""
        if not self._left:
            why = "no source of reference prices; strike and result come from Gamma alone"
            return [Mark("source", {"channel": "reference", "status": "absent", "why": why})]
        why = self._why if self.name == "polybolt" else f"{self._why}; RTDS is deprecated and may be silent"
        return [Mark("source", {"channel": self.name, "status": "tried", "why": why})]

    def failed(self, why: str) -> list[Command]:
        """The source in use does not serve: go on with the next one."""
        if not self._left:
            return []
        gone = self._left.pop(0)
        self._why = f"{gone}: {why}"
        return [Mark("source", {"channel": gone, "status": "refused", "why": why}), *self.chosen()]


def _time(ms: int) -> int:
    if not 0 < ms < 1 << 43:
        raise ValueError(f"no time: {ms}")
    return ms * MS
