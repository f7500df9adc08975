"""What the channels without a sequence say: quotes, best levels, candles, liquidations, prices of derivatives.

Sources: sheet sections 4.2 and 4.3, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Callable

from tape_archive.format.records import BookSnapshot, Candle, Funding, Level, Liquidation, Notice, Quote, Record
from tape_collectors.venues.okx import wire
from tape_collectors.venues.okx.symbols import base, name_of
from tape_collectors.venues.session import MS


class Events:
    """``contracts``: the base-coin value of one unit of size, by instrument; shared with the feed that learns them."""

    def __init__(self, contracts: dict[str, str]) -> None:
        self._contracts = contracts
        #: mark, index, rate and the time it is due, by instrument
        self.fundings: dict[str, dict[str, str]] = {}

    def row(self, symbol: str) -> Callable[[wire.Row], Level]:
        """A row of the wire as (price, size in the base coin)."""

        def sized(row: wire.Row) -> Level:
            return row[0], base(row[1], self._contracts.get(symbol, "1"), row[0])

        return sized

    def quotes(self, t: int, frame: wire.Frame) -> list[Record]:
        """``bbo-tbt``: its ``seqId`` is that of the books."""
        out: list[Record] = []
        row = self.row(frame.arg.instId)
        for book in wire.books(frame.data):
            if not book.bids or not book.asks:
                out.append(Notice(t, "one-sided", name_of(frame.arg)[:60]))
                continue
            (bid, bid_size), (ask, ask_size) = row(book.bids[0]), row(book.asks[0])
            out.append(Quote(t, int(book.ts) * MS, frame.arg.instId, "bbo-tbt", max(book.seqId, 0), bid, bid_size, ask, ask_size))
        return out

    def tops(self, t: int, frame: wire.Frame) -> list[Record]:
        """``books5``."""
        row = self.row(frame.arg.instId)
        return [
            BookSnapshot(
                *(t, int(book.ts) * MS, frame.arg.instId, "books5", max(book.seqId, 0)),
                *([row(one) for one in book.bids], [row(one) for one in book.asks], "top"),
            )
            for book in wire.books(frame.data)
        ]

    def candles(self, t: int, frame: wire.Frame) -> list[Record]:
        """``candle<bar>``."""
        bar = frame.arg.channel.removeprefix("candle")
        out: list[Record] = []
        for row in wire.bars(frame.data):
            opened = int(row[0]) * MS
            # The last column says whether the bar is closed; old frames lack it. The volume is the venue's own: contracts, on derivatives.
            closed = len(row) > 8 and row[8] == "1"
            out.append(Candle(t, 0, frame.arg.instId, frame.arg.channel, opened, bar, row[1], row[2], row[3], row[4], row[5], closed))
        return out

    def forced(self, t: int, frame: wire.Frame) -> list[Record]:
        """Liquidations come for a whole product; those of instruments that are not recorded are noticed and no more."""
        out: list[Record] = []
        for one in wire.liquidations(frame.data):
            contract = self._contracts.get(one.instId)
            if contract is None:
                out.append(Notice(t, "statistic", f"liquidation of {one.instId[:40]}, which is not recorded"))
                continue
            for row in one.details:
                size = base(row.sz, contract, row.bkPx)
                out.append(Liquidation(t, int(row.ts) * MS, one.instId, "liquidation-orders", row.bkPx, size, row.side))
        return out

    def prices(self, t: int, frame: wire.Frame) -> list[Record]:
        """Mark, index and rate come on channels of their own; a record holds what is known of all."""
        out: list[Record] = []
        changed: list[tuple[str, int]] = []
        if frame.arg.channel == "mark-price":
            for mark in wire.marks(frame.data):
                self.fundings.setdefault(mark.instId, {})["mark"] = mark.markPx
                changed.append((mark.instId, int(mark.ts)))
        elif frame.arg.channel == "funding-rate":
            for rate in wire.rates(frame.data):
                self.fundings.setdefault(rate.instId, {}).update(rate=rate.fundingRate, due=rate.fundingTime)
                changed.append((rate.instId, int(rate.ts or 0)))
        else:
            for index in wire.indexes(frame.data):
                self.fundings.setdefault(f"{index.instId}-SWAP", {})["index"] = index.idxPx
            return [Notice(t, "statistic", name_of(frame.arg)[:60])]
        for symbol, ts in changed:
            known = self.fundings[symbol]
            due = int(known.get("due", "0")) * MS
            out.append(
                Funding(t, ts * MS, symbol, frame.arg.channel, known.get("mark", ""), known.get("index", ""), known.get("rate", ""), due)
            )
        return out
