"""One Polymarket window, decoded by the recorder's own feeds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tape_archive.format.lines import Line, parse
from tape_archive.format.read import read_lines
from tape_archive.format.records import BookDelta, BookSnapshot, Gap, Quote, Record, ReferencePrice, Trade
from tape_collectors.market.replay import Merged
from tape_collectors.venues import load

if TYPE_CHECKING:
    import pandas as pd


class WindowData:
    """A window's tape. Tables are pandas DataFrames with two clocks: ``ts_event`` (venue) and ``ts_recv`` (ours), datetime64[ns, UTC].

    - ``trades``: outcome, price, size, side (of the taker), id
    - ``books``: one row a level of each snapshot and change: outcome, kind (``snapshot``, ``delta``), side, price, size, rank (best first,
      snapshots only). Size 0 removes.
    - ``prices``: the settlement source's price: price, source, window_s
    - ``strike``, ``result``: the best known (Gamma's over a socket's), None where nothing is; ``strikes``, ``results``: every mark
    - ``gaps``: what never came; ``market``: what the head mark says of the window
    """

    def __init__(self, path: Path, *, duplicates: bool = False) -> None:
        self.path = path
        self.market: dict[str, Any] = {}
        self.marks: list[Line] = []
        self.frames = 0
        self._duplicates = duplicates
        self._records: list[tuple[str, Record]] = []
        self._read()

    def _read(self) -> None:
        replay = Merged(load("polymarket").feed, "clob")
        seen: set[tuple[object, ...]] = set()
        for line in self._lines():
            for s, record in replay.line(line):
                if self._duplicates or not _again(record, seen):
                    self._records.append((s, record))

    def _lines(self) -> Iterator[Line]:
        for raw in read_lines(self.path):
            line = parse(raw)
            if line.mark is not None:
                self.marks.append(line)
                if line.mark == "tape":
                    self.market = dict(line.fields.get("window", {})) or self.market
            elif line.request is None:
                self.frames += 1
            yield line

    @cached_property
    def outcomes(self) -> dict[str, str]:
        """Token id -> outcome."""
        return dict(zip(map(str, self.market.get("tokens", [])), map(str, self.market.get("outcomes", [])), strict=False))

    def _table(self, rows: list[dict[str, object]], columns: list[str]) -> pd.DataFrame:
        import pandas as pd

        frame = pd.DataFrame(rows, columns=["ts_event", "ts_recv", *columns])
        for clock in ("ts_event", "ts_recv"):
            # Not by way of float64, which an absent time would make of the column: that is 256 ns coarse.
            times = [pd.NaT if row[clock] is None else row[clock] for row in rows]
            frame[clock] = pd.to_datetime(pd.Series(times, dtype="object"), unit="ns", utc=True).astype("datetime64[ns, UTC]")
        return frame

    @cached_property
    def trades(self) -> pd.DataFrame:
        """See the class."""
        rows: list[dict[str, object]] = [
            {"ts_event": r.ts or None, "ts_recv": r.t, "outcome": self.outcomes.get(r.symbol, r.symbol)}
            | {"price": float(r.price), "size": float(r.size), "side": r.side, "id": r.id}
            for _, r in self._records
            if isinstance(r, Trade)
        ]
        return self._table(rows, ["outcome", "price", "size", "side", "id"])

    @cached_property
    def books(self) -> pd.DataFrame:
        """See the class."""
        rows: list[dict[str, object]] = []
        for _, r in self._records:
            if isinstance(r, BookSnapshot | BookDelta):
                kind = "snapshot" if isinstance(r, BookSnapshot) else "delta"
                head = {"ts_event": r.ts or None, "ts_recv": r.t, "outcome": self.outcomes.get(r.symbol, r.symbol), "kind": kind}
                for side, levels, sign in (("bid", r.bids, -1), ("ask", r.asks, 1)):
                    ranked = sorted(((float(p), float(s)) for p, s in levels), key=lambda level: sign * level[0])
                    rows += [
                        {**head, "side": side, "price": p, "size": s, "rank": rank if kind == "snapshot" else None}
                        for rank, (p, s) in enumerate(ranked)
                    ]
        return self._table(rows, ["outcome", "kind", "side", "price", "size", "rank"])

    @cached_property
    def prices(self) -> pd.DataFrame:
        """See the class."""
        rows: list[dict[str, object]] = [
            {"ts_event": r.ts or None, "ts_recv": r.t, "price": float(r.price), "source": r.source, "window_s": r.window_s}
            for _, r in self._records
            if isinstance(r, ReferencePrice)
        ]
        return self._table(rows, ["price", "source", "window_s"])

    @cached_property
    def quotes(self) -> pd.DataFrame:
        """best_bid_ask events: a cross-check, not the book."""
        rows: list[dict[str, object]] = [
            {"ts_event": r.ts or None, "ts_recv": r.t, "outcome": self.outcomes.get(r.symbol, r.symbol)}
            | {"bid": float(r.bid), "ask": float(r.ask)}
            for _, r in self._records
            if isinstance(r, Quote)
        ]
        return self._table(rows, ["outcome", "bid", "ask"])

    @property
    def strikes(self) -> list[dict[str, Any]]:
        """Every strike mark."""
        return [line.fields for line in self.marks if line.mark == "strike"]

    @property
    def results(self) -> list[dict[str, Any]]:
        """Every result and chain mark."""
        return [{"mark": line.mark, **line.fields} for line in self.marks if line.mark in ("result", "chain")]

    @property
    def strike(self) -> float | None:
        """The price to beat."""
        best = sorted(self.strikes, key=lambda mark: str(mark.get("source", "")).startswith("gamma priceToBeat"))
        return float(best[-1]["price"]) if best else None

    @property
    def result(self) -> str | None:
        """``Up``, ``Down``, ``split``, or None while unresolved."""
        named = [mark for mark in self.results if mark["mark"] == "result" and mark.get("outcome")]
        best = sorted(named, key=lambda mark: mark.get("source") == "gamma")
        return str(best[-1]["outcome"]) if best else None

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """What never came: numbers that the feeds missed, and times without any connection."""
        from tape_access.coverage import of_file

        found = [msgspec.structs.asdict(r) for _, r in self._records if isinstance(r, Gap)]
        for row in of_file(self.path, "polymarket"):
            found += [
                {"symbol": row.symbol, "channel": row.channel, **msgspec.structs.asdict(gap)}
                for gap in row.gaps
                if gap.why.startswith("disc")
            ]
        return found


def _again(record: Record, seen: set[tuple[object, ...]]) -> bool:
    """Whether the venue sent this event before: same kind, asset, venue time and content (sheet 2.6)."""
    key: tuple[object, ...]
    if isinstance(record, Trade):
        key = ("trade", record.symbol, record.ts, record.id, record.price, record.size, record.side)
    elif isinstance(record, ReferencePrice):
        key = ("price", record.symbol, record.channel, record.ts, record.price)
    elif isinstance(record, Quote):
        key = ("quote", record.symbol, record.ts, record.bid, record.ask)
    else:
        return False
    if key in seen:
        return True
    seen.add(key)
    return False
