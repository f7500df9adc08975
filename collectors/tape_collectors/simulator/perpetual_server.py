"""Binance USD-M as a whole-market recorder meets it: hundreds of perpetuals, every stream, at a set rate, over any number of sockets.

Commands, roots and REST are those of ``binance``. Made for rate: a frame is written as text once and goes to all who listen, with one write
a connection and step. Other than in ``binance``, a diff-depth stream has one batching for all connections, so that the ledger has one
truth; ``pu`` chains it as on the venue.
"""

from __future__ import annotations

import time
from collections import deque

from tape_collectors.simulator import perpetual_events as events
from tape_collectors.simulator.binance import Binance
from tape_collectors.simulator.candles import INTERVALS
from tape_collectors.simulator.faults import Faults, Frame
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.ledger import Ledger, Row, key, number
from tape_collectors.simulator.market import Change, Fill, Instrument
from tape_collectors.simulator.outlets import Channel, Outlet, framed
from tape_collectors.simulator.perpetual_events import Told
from tape_collectors.simulator.perpetual_listing import listed
from tape_collectors.simulator.perpetuals import PERPETUAL, TRADING, Batch, Perpetual, Perpetuals
from tape_collectors.simulator.server import Client

CONTRACT_INFO = "!contractInfo"
_KLINE_MS = 250
#: the streams that have a pace, by it, in ms of real time
_BY_PACE = {
    0: ("depth@0ms",),
    100: ("depth@100ms",),
    _KLINE_MS: ("depth", "depth@250ms", *(f"kline_{interval}" for interval in INTERVALS)),
    500: ("depth@500ms",),
    1000: ("markPrice@1s",),
    2000: ("ticker",),
    3000: ("markPrice",),
}
#: events of a symbol: trades, moves of the price, and for the rest another size of a best quote
_TRADES, _MOVES = 0.28, 0.45
#: levels of each depth frame that change beside those that trades and quotes changed
_LEVELS = 10
#: steps whose events are made up for after the machine had no time
_LATE = 5
#: the last trades of each symbol that REST tells
_KEPT = 200_000
#: faults that change what a frame is; others do not slow the sending
_FRAME_FAULTS = frozenset(("drop", "duplicate", "reorder", "delay", "garbage", "truncate", "silence", "half_open"))


class Clock:
    """The venue's time in ms: from ``at_ms`` on, ``speed`` times as fast as ours. It never stands still between two steps."""

    def __init__(self, speed: float = 1.0, at_ms: int | None = None) -> None:
        self.speed = speed
        self._at = int(time.time() * 1000) if at_ms is None else at_ms
        self._begun = time.monotonic()
        self.last = self._at

    def now(self) -> int:
        """The time, later than at every ``tick`` before."""
        return max(self.last + 1, self._at + int((time.monotonic() - self._begun) * 1000 * self.speed))

    def tick(self) -> int:
        """The time of a new step."""
        self.last = self.now()
        return self.last


class PerpetualVenue(Binance):
    """``rate``: frames a second over all streams that somebody hears, each counted once; what has a pace of its own is the floor.
    ``step_s``: how often ``step`` is called."""

    market: Perpetuals

    def __init__(
        self,
        faults: Faults,
        market: Perpetuals,
        *,
        rate: float = 15_000.0,
        step_s: float = 0.02,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        weight: int = 0,
        life_s: float = 86_400.0,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(faults, market, futures=True, host=host, weight=weight, journal=journal)
        self.rate = rate
        self.weight = weight or 2400
        self.clock = clock or Clock()
        self.life_s = life_s
        self.ledger = Ledger()
        self.frames = 0
        self.api.fills = {symbol: deque(maxlen=_KEPT) for symbol in market.instruments}
        self.channels: dict[str, Channel] = {}
        self.heard: dict[str, dict[str, Channel]] = {}
        self._outlets: dict[int, Outlet] = {}
        self._step_s = step_s
        self._steps = 0
        self._at = time.monotonic()
        self._budget = 0.0
        self._minute = 0
        self._careful = self._stepping = False
        self.tell_listed()

    def now_ms(self) -> int:
        return self.clock.now()

    def polled(self, one: Instrument, ms: int) -> None:
        if self.ledger.counting:
            self.ledger.row("openInterest", one.symbol).add(ms, key(one.symbol, ms, number(one.size_text(one.open_interest))))

    # -- who hears what ------------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Bring ``channels`` up to date with the subscriptions, if they changed."""
        if self._listeners is not None:
            return
        self._listeners = {}
        present = {client.number: client for client in self.clients}
        for socket in [socket for socket in self._outlets if socket not in present]:
            self._rejoin(self._outlets.pop(socket), set())
        for socket, client in present.items():
            outlet = self._outlets.get(socket)
            if outlet is not None and outlet.combined != client.state["combined"]:
                self._rejoin(outlet, set())
                outlet = None
            if outlet is None:
                outlet = self._outlets[socket] = Outlet(client)
            self._rejoin(outlet, {name for name in client.names if self._speaks(client, _channel_of(name))})

    def _rejoin(self, outlet: Outlet, names: set[str]) -> None:
        for name in outlet.streams - names:
            self.channels[name].leave(outlet)
            self._placed(self.channels[name])
        for name in names - outlet.streams:
            self.channel(name).join(outlet)
            self._placed(self.channels[name])
        outlet.streams = names

    def _speaks(self, client: Client, channel: str) -> bool:
        return super()._speaks(client, channel) if channel != CONTRACT_INFO else client.state["root"] == "market"

    def channel(self, name: str) -> Channel:
        """The stream of this name; it need not exist on the venue, and then it is silent."""
        found = self.channels.get(name)
        if found is None:
            symbol, kind = name.partition("@")[0].upper(), _channel_of(name)
            found = self.channels[name] = Channel(name, kind, self.ledger.row(kind, "" if kind == CONTRACT_INFO else symbol))
            if kind.startswith("kline_"):
                found.state = self.ledger.row(f"{kind}:open", symbol)
        return found

    def _placed(self, channel: Channel) -> None:
        """Put a channel where its symbol finds it, if it has a listener and the symbol is traded; away, if not."""
        symbol = channel.name.partition("@")[0].upper()
        one = self.market.instruments.get(symbol)
        mine = self.heard.setdefault(symbol, {})
        if channel.heard and one is not None and one.status == TRADING:
            if channel.kind not in mine and channel.kind.partition("@")[0] == "depth":
                channel.state = Batch(one.id)
                one.batches.append(channel.state)
            mine[channel.kind] = channel
        elif mine.pop(channel.kind, None) is not None and isinstance(channel.state, Batch) and one is not None:
            one.batches = [batch for batch in one.batches if batch is not channel.state]

    # -- sending -------------------------------------------------------------------------------------------------------------

    def emit(self, channel: Channel, told: Told, row: Row | None = None) -> None:
        """One event to all who hear it, and into the ledger: into ``row``, if not into the channel's."""
        text, number, ledger = told
        if self._careful:
            heard = self._emit_carefully(channel, text)
        else:
            heard = channel.heard
            if channel.combined:
                frame = framed(f"{channel.head}{text}}}")
                for outlet in channel.combined:
                    outlet.buffer += frame
            if channel.raw:
                frame = framed(text)
                for outlet in channel.raw:
                    outlet.buffer += frame
        self._budget -= 1
        self.frames += 1
        if self.ledger.counting:
            counted = row or channel.row
            (counted.add if heard else counted.unsend)(number, ledger)

    def _emit_carefully(self, channel: Channel, text: str) -> bool:
        """Through the faults and the journal; gives whether anybody was sent it as it is."""
        heard = False
        for outlet in [*channel.combined, *channel.raw]:
            whole = f"{channel.head}{text}}}" if outlet.combined else text
            before = len(outlet.buffer)
            self.send(outlet.client, channel.name, whole)
            heard |= whole.encode() in outlet.buffer[before:]
        return heard

    def write(self, client: Client, frame: Frame) -> None:
        """In a step, behind what was gathered for the client; else at once."""
        outlet = self._outlets.get(client.number) if self._stepping else None
        if outlet is None:
            super().write(client, frame)
        elif not client.dead and not client.closing:
            outlet.put(frame)

    # -- a step --------------------------------------------------------------------------------------------------------------

    def step(self, ms: int, moves: dict[str, tuple[list[Change], list[Fill]]]) -> None:
        """What is due now; ``ms`` is the world's time, the venue has its own."""
        self.attach()
        self._careful = self.journal.keep or self.faults.holding or any(fault.kind in _FRAME_FAULTS for fault in self.faults.active)
        now, self._steps = time.monotonic(), self._steps + 1
        # On a machine that is too busy the streams with a pace keep it, and the events of the market become fewer.
        self._budget += min(now - self._at, _LATE * self._step_s) * self.rate
        self._at = now
        ms = self.clock.tick()
        self._stepping = True
        self._close_candles(ms)
        for one in self.market.picked(int(max(0.0, self._budget))):
            if self._budget <= 0:
                break
            self._act(one, ms)
        # What nobody hears is not made up for later.
        self._budget = min(self._budget, 0.0)
        self._paced(ms)
        self._budget = max(self._budget, -self.rate)
        self._stepping = False
        self.flush()
        if self._steps % max(1, round(1 / self._step_s)) == 1:
            self.tell_listed()
            self._end_old()

    def _end_old(self) -> None:
        """A connection lives ``life_s`` (24 h on the venue)."""
        for outlet in self._outlets.values():
            if self._at - outlet.since > self.life_s and not outlet.client.closing:
                self.close(outlet.client, 1001)

    def flush(self) -> None:
        """Write what was gathered; who lets too much lie unread is closed."""
        for outlet in self._outlets.values():
            if outlet.buffer:
                if outlet.client.socket.transport.get_write_buffer_size() > self.slow_bytes and not outlet.client.closing:
                    self.close(outlet.client, self.slow_code, "slow consumer: send buffer full")
                outlet.flush()

    def _act(self, one: Perpetual, ms: int) -> None:
        """One event of the market, and the streams that speak at once."""
        heard = self.heard.get(one.symbol, {})
        chance = one.random.random()
        if chance < _TRADES:
            self._trade(one, ms, heard)
        elif chance < _MOVES:
            one.wander()
        else:
            one.quote()
        if (channel := heard.get("bookTicker")) is not None:
            self.emit(channel, events.book_ticker(one, ms))

    def _trade(self, one: Perpetual, ms: int, heard: dict[str, Channel]) -> None:
        fill = one.trade(ms)
        self.api.fills[one.symbol].append(fill)
        told = events.agg_trade(one, fill)
        if (channel := heard.get("aggTrade")) is not None:
            self.emit(channel, told)
        elif self.ledger.counting:
            self.ledger.row("aggTrade", one.symbol).unsend(told[1], told[2])
        if fill.forced and (channel := heard.get("forceOrder")) is not None and (channel.state or 0) <= self._at:
            # Only one liquidation of a symbol in each second is told (sheet 3.3).
            channel.state = self._at + 1
            self.emit(channel, events.force_order(one, fill))

    def _close_candles(self, ms: int) -> None:
        if ms // 60_000 == self._minute:
            return
        self._minute = ms // 60_000
        for one in self.market.trading:
            heard = self.heard.get(one.symbol, {})
            for interval, bar in one.candles.roll(ms):
                told = events.kline(one, ms, interval, INTERVALS[interval], bar, closed=True)
                if interval == "1m":
                    self.api.lived_minute(one.symbol, bar.start, bar)
                if (channel := heard.get(f"kline_{interval}")) is not None:
                    self.emit(channel, told)
                elif self.ledger.counting:
                    self.ledger.row(f"kline_{interval}", one.symbol).unsend(told[1], told[2])

    def _paced(self, ms: int) -> None:
        """Streams with a pace of their own; the symbols take turns, so that no step has them all."""
        for pace, kinds in _BY_PACE.items():
            slots = max(1, round(pace / 1000 / self._step_s))
            for one in self.market.trading[self._steps % slots :: slots]:
                heard = self.heard.get(one.symbol)
                if heard:
                    for kind in kinds:
                        if (channel := heard.get(kind)) is not None:
                            self._turn(one, channel, ms, pace)
                    if pace == _KLINE_MS:
                        one.traded = False

    def _turn(self, one: Perpetual, channel: Channel, ms: int, pace: int) -> None:
        """It is the turn of one stream of one symbol."""
        kind, state = channel.kind, channel.state
        if isinstance(state, Batch):
            if one.random.random() < one.churn * (pace or self._step_s * 1000) / 100:
                one.stir(1 + int(one.random.random() * 2 * _LEVELS))
            if state.first:
                self.emit(channel, events.depth(one, ms, state))
        elif kind.startswith("kline_"):
            if one.traded:
                interval = kind[6:]
                told = events.kline(one, ms, interval, INTERVALS[interval], one.candles.running(interval), closed=False)
                self.emit(channel, told, state)
        elif kind == "ticker":
            if state != one.trade_id:
                channel.state = one.trade_id
                self.emit(channel, events.ticker(one, ms))
        else:
            one.drift()
            self.emit(channel, events.mark_price(one, ms))

    # -- listings ------------------------------------------------------------------------------------------------------------

    def tell(self, *changed: Perpetual) -> None:
        """Symbols were listed, changed or settled: exchangeInfo and contractInfo say so, and their streams follow."""
        self.market.weigh()
        self.tell_listed()
        self.attach()
        symbols = {one.symbol for one in changed}
        for channel in [channel for name, channel in self.channels.items() if name.partition("@")[0].upper() in symbols]:
            self._placed(channel)
        self._stepping = True
        for one in changed:
            self.api.fills.setdefault(one.symbol, deque(maxlen=_KEPT))
            self.api.listed(one, one.onboard_ms)
            told = events.contract_info(one.symbol, self.clock.tick(), one.contract, one.status, one.onboard_ms)
            self.emit(self.channel(CONTRACT_INFO), told)
        self._stepping = False
        self.flush()

    def tell_foreign(self, symbol: str) -> None:
        """A coin margined contract was listed: its event is on the same stream, and not in the ledger."""
        text, _, _ = events.contract_info(symbol, self.clock.tick(), PERPETUAL, TRADING, self.clock.last, coin=True)
        channel = self.channel(CONTRACT_INFO)
        for outlet in [*channel.combined, *channel.raw]:
            outlet.put(f"{channel.head}{text}}}" if outlet.combined else text)
        self.flush()

    def tell_listed(self) -> None:
        """Answer exchangeInfo with what is listed now."""
        self.api.info_played = listed(self.market, self.clock.now(), self.weight)


def _channel_of(name: str) -> str:
    """``btcusdt@depth@100ms`` → ``depth@100ms``; ``!contractInfo`` is its own."""
    return name.partition("@")[2] or name
