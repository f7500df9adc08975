"""The rows that books make: OFI, fusion, books and the events of both. Rules: see ``harvest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tape_archive.format.harvest import LEVELS
from tape_archive.format.records import BookDelta, BookSnapshot
from tape_collectors.market.features.divergence import Conflict, Divergence, DivergenceEvent, DivergenceSetup
from tape_collectors.market.features.fusion import Fusion
from tape_collectors.market.features.ofi import BestOFI, IntegratedOFI, LevelsOFI, RankDifference
from tape_collectors.market.features.zscore import SECOND_NS, LevelZ, Z
from tape_collectors.market.harvest_setup import HarvestSetup
from tape_collectors.market.sampler import Market

if TYPE_CHECKING:
    from tape_collectors.market.harvest import Rows
    from tape_collectors.market.harvest_trades import TradeRows

_MS = 1_000_000
Ladder = list[tuple[float, float]]
#: interval_end_ms, interval_ofi, interval_norm, norm_1..norm_5, integrated
_NO_INTERVAL: tuple[Any, ...] = (None,) * (4 + LEVELS)
_NO_LEVEL = (None, None)


class Flow:
    """Every measure of order flow of one market, and the last whole interval of each (rule 5)."""

    __slots__ = ("_best", "_every", "_integrated", "_interval", "_levels", "_ranks", "_retreat", "last", "z")

    def __init__(self, interval_s: int) -> None:
        self._every = interval_s * SECOND_NS
        self._interval: int | None = None
        self._best, self._retreat = BestOFI(), BestOFI("current")
        self._levels = LevelsOFI(LEVELS)
        self._ranks = RankDifference()
        self._integrated = IntegratedOFI()
        self.z = LevelZ(ddof=1)
        self.last = _NO_INTERVAL

    def reset(self) -> None:
        """What comes next is a first book."""
        for one in (self._best, self._retreat, self._levels, self._ranks, self.z):
            one.reset()
        self.last = _NO_INTERVAL

    def update(self, t: int, ts: int, bids: Ladder, asks: Ladder) -> tuple[float | None, Z, tuple[Any, ...]]:
        """One book at tape time ``t`` and event time ``ts``: OFI, its z, and the columns behind (by rank, retreat, rank difference)."""
        interval = t // self._every
        if interval != self._interval:
            self._turn(interval)
        top = (*bids[0], *asks[0]) if bids and asks else (0.0, 0.0, 0.0, 0.0)
        value = self._best.update(*top)
        ranks = self._levels.update(bids, asks) or [None] * LEVELS
        return value, self.z.update(ts, value), (*ranks, self._retreat.update(*top), self._ranks.update(bids, asks))

    def _turn(self, interval: int) -> None:
        """Intervals are over: the last of them is the last whole one."""
        passed = 1 if self._interval is None else interval - self._interval
        self._interval = interval
        for _ in range(min(passed, 2)):
            best, levels = self._best.take(), self._levels.take()
            integrated = self._integrated.update(levels.normalised)
            if best.ofi is None:
                self.last = _NO_INTERVAL
            else:
                end = interval * self._every // _MS
                self.last = (end, best.ofi, best.normalised, *levels.normalised, integrated)


class BookRows:
    """What the books of one market make."""

    __slots__ = (
        *(
            "_changed",
            "_conflict",
            "_divergences",
            "_flow",
            "_fusion",
            "_joined",
            "_leader",
            "_last",
            "_rows",
            "_second",
            "_setup",
            "_trades",
        ),
    )

    def __init__(self, setup: HarvestSetup, rows: Rows, trades: TradeRows) -> None:
        self._setup = setup
        self._rows = rows
        self._trades = trades
        self._flow = Flow(setup.interval_s)
        self._fusion = Fusion()
        self._conflict = Conflict()
        unscored = DivergenceSetup(scored=False)
        self._divergences = (Divergence("ofi"), Divergence("cvd", unscored), Divergence("fusion"))
        self._leader = ""
        self._last = 0
        #: the next update is the first one of another connection
        self._changed = False
        self._joined = 0
        self._second = 0

    # -- which book --------------------------------------------------------------------------------------------------------

    def snapshot(self, s: str, record: BookSnapshot, market: Market) -> None:
        """A whole book of epoch ``s``; of the connection that is read, or of one where none is, it begins anew."""
        if record.source == "checkpoint" and self._leader:
            return
        if self._leader and s != self._leader:
            return
        if self._leader:
            self._reset()
        self._leader, self._last, self._changed, self._joined = s, record.id, False, self._rows.now
        self._rows.event("book_back", {"id": record.id, "source": record.source}, record.channel, record.ts)
        bids, asks = self._top(market)
        self._flow.update(self._rows.now, record.ts, bids, asks)
        self._book(record.ts, (record.id, record.id, None, True, None), bids, asks, record.channel)

    def left(self, s: str, why: str, market: Market) -> None:
        """Rule 3: epoch ``s`` has no proven book any more."""
        if s != self._leader:
            return
        proven = {name: side.id for name, side in market.sides.items() if side.book is not None}
        if proven:
            self._leader = max(proven, key=lambda name: (proven[name], name))
            self._changed = True
            return
        self._leader = ""
        self._reset()
        self._rows.event("book_lost", {"why": why}, self._setup.depth)

    def _reset(self) -> None:
        self._flow.reset()
        self._fusion.reset()
        self._conflict.reset()
        for one in self._divergences:
            one.reset()

    # -- rows --------------------------------------------------------------------------------------------------------------

    def delta(self, s: str, record: BookDelta, market: Market) -> None:
        """An update of epoch ``s``, which its book has taken."""
        if s != self._leader or record.last <= self._last:
            return
        rows = self._rows
        now, ts = rows.now, record.ts
        previous = None if self._changed else record.previous
        self._last, self._changed = record.last, False
        # What waited for the snapshot came before: its latency is not known.
        latency = (now - ts) / _MS if ts and now != self._joined else None
        bids, asks = self._top(market)
        self._book(ts, (record.first, record.last, previous, False, latency), bids, asks, record.channel)
        value, z, more = self._flow.update(now, ts, bids, asks)
        regime = self._trades.labels(ts).regime
        front = (now // _MS, rows.symbol, value, z.z, z.scale, regime, ts // _MS, now, record.last)
        rows.add("ofi", (*front, *more, *self._flow.last, z.why or None, record.channel))
        mid = (bids[0][0] + asks[0][0]) / 2 if bids and asks else None
        self._fuse(ts, z.z, mid)

    def _top(self, market: Market) -> tuple[Ladder, Ladder]:
        side = market.sides.get(self._leader)
        if side is None or side.book is None:
            return [], []
        return side.book.numbers(LEVELS)

    def _book(self, ts: int, ids: tuple[Any, ...], bids: Ladder, asks: Ladder, channel: str) -> None:
        rows = self._rows
        levels: list[float | None] = []
        if len(bids) == LEVELS and len(asks) == LEVELS:
            for bid, ask in zip(bids, asks, strict=True):
                levels += bid
                levels += ask
        else:
            for rank in range(LEVELS):
                levels += bids[rank] if rank < len(bids) else _NO_LEVEL
                levels += asks[rank] if rank < len(asks) else _NO_LEVEL
        rows.add("book", (rows.now // _MS, rows.symbol, ts // _MS, rows.now, *ids, *levels, channel))

    def _fuse(self, ts: int, z_ofi: float | None, mid: float | None) -> None:
        rows, trades = self._rows, self._trades
        last, z = trades.last, trades.z
        z_cvd = z.z if z is not None else None
        lag = ts - last.ts if last is not None and z is not None else None
        point = self._fusion.update(ts, z_ofi, z_cvd, lag or 0)
        labels = trades.labels(ts)
        front = (rows.now // _MS, rows.symbol, point.score, point.score_z, labels.regime, ts // _MS, rows.now, z_ofi, z_cvd)
        score = (point.lagged, point.consistency, point.dispersion, point.probability, point.signal)
        feed = f"{self._setup.depth}+{self._setup.trades}"
        rows.add("fusion", (*front, None if lag is None else lag / _MS, *score, labels.session, labels.scenario, feed))
        if mid is None:
            return
        for found in self._conflict.update(ts, mid, z_ofi, z_cvd):
            meta = {"z_ofi": found.z_ofi, "z_cvd": found.z_cvd, "price_change": found.price_change, "price": mid}
            rows.event(found.kind, meta, feed, ts)
        if ts // SECOND_NS != self._second:
            self._second = ts // SECOND_NS
            indicators = (z_ofi, last.cvd if last is not None and z is not None else None, point.score)
            for one, indicator in zip(self._divergences, indicators, strict=True):
                for event in one.update(ts, mid, indicator, point.consistency):
                    rows.event(event.kind, _pivots(event), feed, event.ts, event.pivot_ts)


def _pivots(event: DivergenceEvent) -> dict[str, Any]:
    return {
        "channel": event.channel,
        "before_ts_ms": event.before_ts // _MS,
        "prices": event.prices,
        "indicators": event.indicators,
        "separation": event.separation,
        "score": event.score,
        "strength": event.strength,
    }
