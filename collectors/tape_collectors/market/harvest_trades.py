"""The rows that trades make: prices and CVD. Rules: see ``harvest``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tape_archive.format.harvest import LATENCY_BUCKETS_MS
from tape_archive.format.records import Trade
from tape_collectors.market.features.regimes import Labels, Regimes, session
from tape_collectors.market.features.zscore import SECOND_NS, DeltaZ, LevelZ, Z
from tape_collectors.market.harvest_setup import HarvestSetup
from tape_collectors.market.trade_chain import Taken, TradeChain

if TYPE_CHECKING:
    from tape_collectors.market.harvest import Rows

_MS = 1_000_000
RATE_S = 60
#: scales that the metrics look back on
SCALES = 300
#: ids that one event names of trades that came twice
MOST_IDS = 100


class Rate:
    """Trades a second over the last ``RATE_S`` whole seconds of tape time and the one that runs; None until so long was watched."""

    __slots__ = ("_begun", "_buckets", "_count", "_second", "_total")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin to watch anew."""
        self._buckets: deque[tuple[int, int]] = deque()
        self._begun: int | None = None
        self._second = self._count = self._total = 0

    def add(self, t: int) -> float | None:
        """One trade at tape time ``t`` (unix ns): the rate with it."""
        second = t // SECOND_NS
        if second != self._second:
            self._advance(second)
        self._count += 1
        return self._value()

    def at(self, t: int) -> float | None:
        """The rate at tape time ``t``, without a trade."""
        if self._begun is None:
            return None
        if t // SECOND_NS != self._second:
            self._advance(t // SECOND_NS)
        return self._value()

    def _value(self) -> float | None:
        if self._begun is None or self._second - self._begun < RATE_S:
            return None
        return (self._total + self._count) / RATE_S

    def _advance(self, second: int) -> None:
        if self._begun is None:
            self._begun = second
        elif self._count:
            self._buckets.append((self._second, self._count))
            self._total += self._count
        self._second, self._count = second, 0
        while self._buckets and self._buckets[0][0] <= second - RATE_S:
            self._total -= self._buckets.popleft()[1]


class TradeRows:
    """What the trades of one market make. Other rows read ``z``, ``price`` and the labels."""

    __slots__ = (
        *("_doubles", "_epochs", "_labels", "_labelled", "_level", "_rows", "_setup", "_twice", "_z"),
        *("buckets", "chain", "floors", "last", "latency_ms"),
        *("rate", "regimes", "scales", "z"),
    )

    def __init__(self, setup: HarvestSetup, rows: Rows) -> None:
        self._setup = setup
        self._rows = rows
        self._epochs: set[str] = set()
        #: trades of this rotation that came again, and the ids of those that one connection sent twice
        self._doubles = 0
        self._twice: list[int] = []
        self._z: DeltaZ | LevelZ = DeltaZ(setup.delta()) if setup.z_mode == "delta" else LevelZ(limit=setup.limit)
        self._level = setup.z_mode == "level"
        self._labels = Labels("Tokyo")
        self._labelled = -1
        self.chain = TradeChain(setup.remembered, setup.carry.get(rows.symbol))
        self.rate = Rate()
        self.regimes = Regimes()
        self.z: Z | None = None
        self.last: Taken | None = None
        #: for the metrics: trades by latency, the sum of latencies, the last scales, and whether each was the floor
        self.buckets = [0] * (len(LATENCY_BUCKETS_MS) + 1)
        self.latency_ms = 0.0
        self.scales: deque[float] = deque(maxlen=SCALES)
        self.floors: deque[bool] = deque(maxlen=SCALES)

    def labels(self, ts: int) -> Labels:
        """Session, regime and scenario at event time ``ts`` (unix ns), looked at once in each second."""
        second = ts // SECOND_NS
        if second != self._labelled:
            self._labelled = second
            self._labels = self.regimes.labels(ts) if self._epochs else Labels(session(ts))
        return self._labels

    def trade(self, s: str, record: Trade) -> None:
        """One trade of epoch ``s``."""
        self._epochs.add(s)
        taken = self.chain.take(record)
        if not isinstance(taken, Taken):
            if taken == "double":
                self._doubles += 1
            elif taken == "late":
                meta = {"agg_trade_id": int(record.id), "price": record.price, "qty": record.size, "side": record.side}
                self._rows.event("late_trade", meta, record.channel, record.ts)
            return
        if taken.missed or taken.reset:
            self._broken(record, taken)
        self.regimes.update(taken.ts, taken.price)
        self.last = taken
        self.z = z = self._z.update(taken.ts, taken.cvd if self._level else taken.delta)
        if z.scale is not None:
            self.scales.append(z.scale)
            self.floors.append(z.floor_used)
        self._add(record, taken, z)

    def _broken(self, record: Trade, taken: Taken) -> None:
        """Rule 4."""
        self._z.reset()
        self.rate.reset()
        self.regimes.reset()
        self._labelled = -1
        if taken.missed:
            first = taken.id - taken.missed
            meta = {"from_id": first, "to_id": taken.id - 1, "missed": taken.missed}
            self._rows.event("trades_missed", meta, record.channel, taken.ts)

    def again(self, number: int) -> None:
        """Rule 7: a connection sent the trade of this id a second time."""
        if self.chain.again(number) == "double":
            self._doubles += 1
            self._twice.append(number)

    def settle(self) -> None:
        """Rule 7: a rotation is over."""
        if self._doubles:
            meta = {"count": self._doubles, "sent_twice": len(self._twice), "ids": self._twice[:MOST_IDS]}
            self._rows.event("trades_doubled", meta, self._setup.trades)
            self._doubles, self._twice = 0, []

    def _add(self, record: Trade, taken: Taken, z: Z) -> None:
        rows, symbol, channel = self._rows, self._rows.symbol, record.channel
        now, event = rows.now, taken.ts // _MS
        stamp = now // _MS
        latency = (now - record.sent) / _MS if record.sent else None
        if latency is not None:
            self.latency_ms += latency
            self.buckets[_bucket(latency)] += 1
        sent = record.sent // _MS if record.sent else None
        rate = self.rate.add(now)
        rows.add(
            "prices",
            (stamp, event, symbol, taken.price, taken.size, taken.id, latency, rate, now, sent, record.side, taken.missed, channel),
        )
        regime = self.labels(taken.ts).regime
        scaled = (z.z_raw, z.z, z.scale, z.sigma_floor, z.floor_used if z.scale is not None else None)
        counted = (taken.id, taken.cvd_quote, taken.delta_quote, taken.anchor // _MS, taken.gaps, z.why or None, channel)
        rows.add("cvd", (stamp, symbol, taken.cvd, taken.delta, *scaled, regime, event, now, *counted))

    def closed(self, s: str) -> None:
        """Rule 4: epoch ``s`` is over."""
        if s in self._epochs:
            self._epochs.discard(s)
            if not self._epochs:
                self.rate.reset()
                self.regimes.reset()
                self.z = None
                self._labelled = -1


def _bucket(latency_ms: float) -> int:
    for at, most in enumerate(LATENCY_BUCKETS_MS):
        if latency_ms <= most:
            return at
    return len(LATENCY_BUCKETS_MS)
