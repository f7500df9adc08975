"""What the channels without a sequence say: quotes, best levels, candles, liquidations, prices of derivatives.

Sources: sheet sections 4.2 and 4.3, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Callable

from tape_archive.format.records import BookSnapshot, Candle, Funding, Level, Liquidation, Notice, OpenInterest, Quote, Record
from tape_collectors.venues.contracts import base
from tape_collectors.venues.numbers import ms
from tape_collectors.venues.okx import wire
from tape_collectors.venues.okx.symbols import name_of
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
            out.append(Quote(t, ms(book.ts) * MS, frame.arg.instId, "bbo-tbt", max(book.seqId, 0), bid, bid_size, ask, ask_size))
        return out

    def tops(self, t: int, frame: wire.Frame) -> list[Record]:
        """``books5``."""
        row = self.row(frame.arg.instId)
        return [
            BookSnapshot(
                *(t, ms(book.ts) * MS, frame.arg.instId, "books5", max(book.seqId, 0)),
                *([row(one) for one in book.bids], [row(one) for one in book.asks], "top"),
            )
            for book in wire.books(frame.data)
        ]

    def candles(self, t: int, frame: wire.Frame) -> list[Record]:
        """``candle<bar>``."""
        bar = frame.arg.channel.removeprefix("candle")
        out: list[Record] = []
        for row in wire.bars(frame.data):
            opened = ms(row[0]) * MS
            # The last column says whether the bar is closed; old frames lack it. Volume is contracts on derivatives, base coins on spot.
            closed = len(row) > 8 and row[8] == "1"
            volume = base(row[5], self._contracts.get(frame.arg.instId, "1"), row[4])
            out.append(Candle(t, 0, frame.arg.instId, frame.arg.channel, opened, bar, row[1], row[2], row[3], row[4], volume, closed))
        return out

    def interest(self, t: int, frame: wire.Frame) -> list[Record]:
        """``open-interest``: ``oi`` is contracts; inverse ones have no price here, and the venue's own coins (``oiCcy``) are taken."""
        out: list[Record] = []
        for row in wire.interests(frame.data):
            contract = self._contracts.get(row.instId, "1")
            size = row.oiCcy if contract.startswith("/") else base(row.oi, contract)
            out.append(OpenInterest(t, ms(row.ts) * MS, row.instId, "open-interest", size))
        return out

    def knows(self, frame: wire.Frame) -> bool:
        """Whether it is known what the contracts of these liquidations are."""
        return all(one.instId in self._contracts for one in wire.liquidations(frame.data))

    def forced(self, t: int, frame: wire.Frame) -> list[Record]:
        """Liquidations; one of an instrument that was listed after the list was asked for is noticed and no more."""
        out: list[Record] = []
        for one in wire.liquidations(frame.data):
            contract = self._contracts.get(one.instId)
            if contract is None:
                out.append(Notice(t, "statistic", f"liquidation of {one.instId[:40]}, whose contract is not known"))
                continue
            for row in one.details:
                size = base(row.sz, contract, row.bkPx)
                out.append(Liquidation(t, ms(row.ts) * MS, one.instId, "liquidation-orders", row.bkPx, size, row.side))
        return out

    def prices(self, t: int, frame: wire.Frame) -> list[Record]:
        """Mark, index and rate come on channels of their own; a record holds what is known of all."""
        out: list[Record] = []
        changed: list[tuple[str, int]] = []
        if frame.arg.channel == "mark-price":
            for mark in wire.marks(frame.data):
                self.fundings.setdefault(mark.instId, {})["mark"] = mark.markPx
                changed.append((mark.instId, ms(mark.ts)))
        elif frame.arg.channel == "funding-rate":
            for rate in wire.rates(frame.data):
                self.fundings.setdefault(rate.instId, {}).update(rate=rate.fundingRate, due=rate.fundingTime)
                changed.append((rate.instId, ms(rate.ts or "0")))
        else:
            for index in wire.indexes(frame.data):
                self.fundings.setdefault(f"{index.instId}-SWAP", {})["index"] = index.idxPx
            return [Notice(t, "statistic", name_of(frame.arg)[:60])]
        for symbol, ts in changed:
            known = self.fundings[symbol]
            due = ms(known.get("due") or "0") * MS
            out.append(
                Funding(t, ts * MS, symbol, frame.arg.channel, known.get("mark", ""), known.get("index", ""), known.get("rate", ""), due)
            )
        return out
