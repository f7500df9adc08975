"""What the records of the whole market are as rows of tables. Pure.

Each event is one row, whichever connection brought it (``once``); a candle is a row when it has closed. Symbols are in the normal form
(``BTC-USDT-PERP``), sizes in the base coin. Rows hold Python numbers and None; times are unix ns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.records import (
    BookDelta,
    BookSnapshot,
    Candle,
    Funding,
    Level,
    Liquidation,
    OpenInterest,
    Quote,
    Record,
    Ticker,
    Trade,
)
from tape_collectors.market.candles import Bar, Candles, lengths
from tape_collectors.market.once import Once

Row = tuple[Any, ...]
#: status of an instrument that the venue lists no more
_GONE = "GONE"
#: of an instrument that is still there ``last_seen`` is brought up to date so often
_SEEN_NS = 3_600_000_000_000
_FIRST = ("timestamp", "receipt_timestamp", "symbol")
_CANDLE = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_volume", "taker_quote_volume")
#: what the values of a row are (see ``tape_archive.tables.schema``)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "trades": (*_FIRST, "side", "amount", "price", "trade_id", "first_id", "last_id"),
    **{f"candles_{interval}": (*_FIRST, *_CANDLE) for interval in ("1m", "5m", "30m", "4h", "1d")},
    "custom_candles": (*_FIRST, "interval", *_CANDLE),
    "ticker": (*_FIRST, "last", "open", "high", "low", "volume", "quote_volume", "trades", "last_id"),
    "funding": (*_FIRST, "rate", "mark_price", "next_funding_time"),
    "index": (*_FIRST, "index_price", "mark_price", "settle_price", "funding_rate", "next_funding_time"),
    "l2_book": (
        *_FIRST,
        *("first_update_id", "last_update_id", "previous_update_id", "snapshot", "bid_prices", "bid_amounts", "ask_prices", "ask_amounts"),
    ),
    "liquidations": (*_FIRST, "side", "quantity", "price", "average_price", "filled", "status", "liquidation_id"),
    "open_interest": (*_FIRST, "open_interest"),
    "book_ticker": (*_FIRST, "update_id", "bid", "bid_amount", "ask", "ask_amount"),
    "instruments": (
        *(*_FIRST, "native", "status", "base", "quote", "multiplier", "tick_size", "lot_size"),
        *("first_seen", "last_seen", "listed", "delisted", "previous"),
    ),
}


class Rows:
    """Feed it the records of one tape; ``pending`` are the rows by table, to be taken whenever one likes."""

    def __init__(self, tables: Sequence[str], custom: Sequence[str] = ()) -> None:
        self.pending: dict[str, list[Row]] = {table: [] for table in tables}
        self.once = Once()
        self.names: dict[str, str] = {}
        self.custom: list[Candles] = lengths(custom) if "custom_candles" in self.pending else []
        self._settled: dict[str, tuple[float, int]] = {}
        #: the latest row of each instrument, by name
        self._instruments: dict[str, dict[str, Any]] = {}
        self._looked = 0
        self._kinds: dict[type, Callable[[str, Any], None]] = {
            Trade: self._trade,
            BookDelta: self._delta,
            BookSnapshot: self._snapshot,
            Quote: self._quote,
            Candle: self._candle,
            Funding: self._funding,
            Ticker: self._ticker,
            Liquidation: self._liquidation,
            OpenInterest: self._open_interest,
        }

    def record(self, s: str, record: Record) -> None:
        """What a line of epoch ``s`` said."""
        take = self._kinds.get(type(record))
        if take is not None:
            take(s, record)

    def closed(self, s: str | None) -> None:
        """Epoch ``s`` is over; None: the run is."""
        self.once.closed(s)

    def listing(self, t: int, fields: Mapping[str, Any]) -> None:
        """A ``listing`` mark: what a symbol means, and a row of the ledger of instruments."""
        symbol = str(fields["symbol"])
        self.names[symbol] = name = str(fields.get("name", symbol))
        if (rows := self.pending.get("instruments")) is not None:
            before = self._instruments.get(name)
            row = self._instruments[name] = _instrument(t, name, symbol, fields, before)
            rows.append(tuple(row.values()))

    def looked(self, t: int) -> None:
        """A ``listings`` mark: the venue was asked, and what is not told of is as it was."""
        if (rows := self.pending.get("instruments")) is None or t - self._looked < _SEEN_NS:
            return
        self._looked = t
        for row in self._instruments.values():
            if row["status"] != _GONE:
                row |= {"receipt_timestamp": t, "last_seen": t}
                rows.append(tuple(row.values()))

    def _new(self, table: str, s: str, symbol: str, id: int, ts: int, before: int = -1) -> list[Row] | None:
        rows = self.pending.get(table)
        return rows if rows is not None and self.once.new((table, symbol), s, id, ts, before) else None

    def _name(self, symbol: str) -> str:
        return self.names.get(symbol, symbol)

    # -- one kind of record each -------------------------------------------------------------------------------------------

    def _trade(self, s: str, one: Trade) -> None:
        number = int(one.id)
        if (rows := self._new("trades", s, one.symbol, number, one.ts, number - 1)) is not None:
            ids = number, _told(one.first_id), _told(one.last_id)
            rows.append((one.ts, one.t, self._name(one.symbol), one.side, float(one.size), float(one.price), *ids))

    def _delta(self, s: str, one: BookDelta) -> None:
        if (rows := self._new("l2_book", s, one.symbol, one.last, one.ts, one.previous)) is not None:
            before = one.previous if one.previous >= 0 else None
            rows.append((one.ts, one.t, self._name(one.symbol), one.first, one.last, before, False, *_levels(one.bids), *_levels(one.asks)))

    def _snapshot(self, s: str, one: BookSnapshot) -> None:
        if (rows := self.pending.get("l2_book")) is not None and self.once.new(("snapshot", one.symbol), "rest", one.id, one.ts):
            rows.append((one.ts, one.t, self._name(one.symbol), one.id, one.id, None, True, *_levels(one.bids), *_levels(one.asks)))

    def _quote(self, s: str, one: Quote) -> None:
        if (rows := self._new("book_ticker", s, one.symbol, one.id, one.ts)) is not None:
            values = (float(one.bid), float(one.bid_size), float(one.ask), float(one.ask_size))
            rows.append((one.ts, one.t, self._name(one.symbol), one.id, *values))

    def _candle(self, s: str, one: Candle) -> None:
        if not one.closed:
            return
        first, high, low, last, volume = (float(text) for text in (one.open, one.high, one.low, one.close, one.volume))
        quote, taker, taker_quote = (_number(text) for text in (one.quote_volume, one.taker_volume, one.taker_quote_volume))
        count = _told(one.trades)
        name, table = self._name(one.symbol), f"candles_{one.interval}"
        if (rows := self._new(table, s, one.symbol, one.open_ts, one.ts)) is not None:
            rows.append((one.open_ts, one.t, name, first, high, low, last, volume, quote, count, taker, taker_quote))
        if self.custom and one.interval == "1m" and self.once.new(("minutes", one.symbol), s, one.open_ts, one.ts):
            bar = Bar(one.open_ts, first, high, low, last, volume, quote or 0.0, count or 0, taker or 0.0, taker_quote or 0.0)
            for kind in self.custom:
                if (made := kind.minute(one.symbol, msgspec.structs.replace(bar))) is not None:
                    self.pending["custom_candles"].append(_custom(made, one.t, name, kind.interval))

    def _funding(self, s: str, one: Funding) -> None:
        rate = _number(one.rate)
        if one.index and (rows := self._new("index", s, one.symbol, one.ts, one.ts)) is not None:
            prices = float(one.index), float(one.mark), _number(one.settle)
            rows.append((one.ts, one.t, self._name(one.symbol), *prices, rate, one.next_ts or None))
        if "funding" in self.pending and rate is not None and self.once.new(("rates", one.symbol), s, one.ts, one.ts):
            self._settle(one, rate)

    def _settle(self, one: Funding, rate: float) -> None:
        """The rate in force when its time came is the one that was paid: a row when the next funding time moves on."""
        paid, due = self._settled.get(one.symbol, (0.0, 0))
        if due and one.next_ts > due:
            self.pending["funding"].append((due, one.t, self._name(one.symbol), paid, float(one.mark), one.next_ts))
        self._settled[one.symbol] = rate, one.next_ts

    def _ticker(self, s: str, one: Ticker) -> None:
        if (rows := self._new("ticker", s, one.symbol, one.ts, one.ts)) is not None:
            texts = (one.last, one.open, one.high, one.low, one.volume, one.quote_volume)
            rows.append((one.ts, one.t, self._name(one.symbol), *map(float, texts), _told(one.trades), _told(one.last_id)))

    def _liquidation(self, s: str, one: Liquidation) -> None:
        if (rows := self._new("liquidations", s, one.symbol, one.ts, one.ts)) is not None:
            id = f"{one.ts}-{one.side}-{one.average or one.price}-{one.size}"
            filled = _number(one.average), _number(one.filled), one.status or None
            rows.append((one.ts, one.t, self._name(one.symbol), one.side, float(one.size), float(one.price), *filled, id))

    def _open_interest(self, s: str, one: OpenInterest) -> None:
        if (rows := self._new("open_interest", s, one.symbol, one.ts, one.ts)) is not None:
            rows.append((one.ts, one.t, self._name(one.symbol), float(one.size)))

    # -- going on --------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs; rows that are pending are not in it."""
        return {
            "once": self.once.state(),
            "names": self.names,
            "settled": self._settled,
            "instruments": self._instruments,
            "looked": self._looked,
            "custom": {one.interval: one.state() for one in self.custom},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that was written as JSON."""
        self.once.restore(state["once"])
        self.names = dict(state["names"])
        self._settled = {symbol: (float(rate), int(due)) for symbol, (rate, due) in state["settled"].items()}
        self._instruments = dict(state.get("instruments", {}))
        self._looked = int(state.get("looked", 0))
        for one in self.custom:
            one.restore(state["custom"].get(one.interval, {}))


def _instrument(t: int, name: str, symbol: str, fields: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """A row of the ledger, by column. What was known before stays known: when it was first seen, listed and delisted."""
    gone = fields.get("what") == "gone"
    base, _, rest = name.partition("-")
    known = before or {"first_seen": t, "listed": None, "delisted": None, "previous": None}
    over, until = gone or bool(fields.get("ended")), int(fields.get("until", 0))
    delisted = known["delisted"] or (until if 0 < until <= t else t)
    return {
        **{"timestamp": t, "receipt_timestamp": t, "symbol": name, "native": symbol},
        **{
            "status": _GONE if gone else str(fields.get("status", "")),
            "base": str(fields.get("coin") or base),
            "quote": rest.partition("-")[0],
        },
        "multiplier": (_number(fields.get("contract")) or 1.0) * (_number(fields.get("multiplier")) or 1.0),
        **{"tick_size": _number(fields.get("tick")), "lot_size": _number(fields.get("lot"))},
        **{"first_seen": known["first_seen"], "last_seen": t, "listed": int(fields.get("since", 0)) or known["listed"]},
        **{"delisted": delisted if over else None, "previous": fields.get("previous") or known["previous"]},
    }


def _levels(levels: Sequence[Level]) -> tuple[list[float], list[float]]:
    return [float(price) for price, _ in levels], [float(size) for _, size in levels]


def _number(text: object) -> float | None:
    return float(text) if isinstance(text, str | float | int) and text != "" else None


def _told(number: int) -> int | None:
    return number if number >= 0 else None


def _custom(bar: Bar, t: int, name: str, interval: str) -> Row:
    values = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume, bar.trades, bar.taker_volume, bar.taker_quote_volume)
    return (bar.open_ts, t, name, interval, *values)
