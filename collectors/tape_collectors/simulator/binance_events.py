"""Binance payloads in the key order of real frames of 2026, else of the protocol sheet (2.2, 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tape_collectors.simulator.market import Change, Fill, Instrument

Event = dict[str, object]
Rows = list[tuple[str, str]]
FUNDING_MS = 8 * 3_600_000


@dataclass
class Batch:
    """A diff-depth stream: what changed since its last frame. The futures have one for each connection, spot one for all."""

    last: int
    due: int
    first: int = 0
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)

    def add(self, changes: list[Change]) -> None:
        """Absolute sizes: the latest of a price wins."""
        for change in changes:
            self.first = self.first or change.id
            self.bids |= dict(change.bids)
            self.asks |= dict(change.asks)

    def take(self, one: Instrument, ms: int, every_ms: int, *, futures: bool) -> Event | None:
        """The frame, if it is time and there is something in it."""
        if ms < self.due or not self.first:
            return None
        self.due = ms - (ms - self.due) % every_ms + every_ms if every_ms else 0
        event: Event = {"e": "depthUpdate", "E": ms}
        if futures:
            event["T"] = ms - 1
        event |= {"s": one.symbol, **({"ps": one.symbol} if futures else {}), "U": self.first, "u": one.id}
        if futures:
            event["pu"] = self.last
        event |= {"b": rows(one, self.bids), "a": rows(one, self.asks)}
        self.last, self.first, self.bids, self.asks = one.id, 0, {}, {}
        return event | ({"st": 1} if futures else {})


@dataclass
class Day:
    """The running candle and the rolling statistics of an instrument, from its fills."""

    minute: int = 0
    first: int = 0
    last: int = -1
    ohlc: tuple[int, int, int, int] = (0, 0, 0, 0)
    volume: int = 0
    bought: int = 0
    quote: int = 0
    quote_bought: int = 0
    trades: int = 0
    day_ohlc: tuple[int, int, int, int] = (0, 0, 0, 0)
    day_volume: int = 0
    day_quote: int = 0

    def add(self, one: Instrument, ms: int, fills: list[Fill]) -> None:
        """Count some fills in."""
        bid, _, ask, _ = one.best()
        price = self.ohlc[3] or (bid + ask) // 2
        if ms // 60_000 != self.minute:
            self.minute, self.ohlc = ms // 60_000, (price,) * 4
            self.volume = self.bought = self.quote = self.quote_bought = self.trades = 0
            self.first, self.last = one.trade_id - len(fills) + 1, -1
        self.day_ohlc = self.day_ohlc if self.day_ohlc[0] else (price,) * 4
        for fill in fills:
            self._fill(fill)

    def _fill(self, fill: Fill) -> None:
        amount = fill.price * fill.size
        self.ohlc, self.day_ohlc = _extend(self.ohlc, fill.price), _extend(self.day_ohlc, fill.price)
        self.volume += fill.size
        self.quote += amount
        self.day_volume += fill.size
        self.day_quote += amount
        self.trades += 1
        self.last = fill.id
        if not fill.taker_sells:
            self.bought += fill.size
            self.quote_bought += amount


def _extend(ohlc: tuple[int, int, int, int], price: int) -> tuple[int, int, int, int]:
    return ohlc[0], max(ohlc[1], price), min(ohlc[2], price), price


def _money(one: Instrument, amount: int) -> str:
    return f"{amount / 10 ** (one.tick + one.lot):.8f}"


def rows(one: Instrument, levels: dict[int, int]) -> Rows:
    """Levels as text."""
    return [(one.price_text(price), one.size_text(size)) for price, size in levels.items()]


def top(one: Instrument, limit: int) -> tuple[int, Rows, Rows]:
    """(update id, best bids, best asks)."""
    bids = {price: one.bids[price] for price in sorted(one.bids, reverse=True)[:limit]}
    asks = {price: one.asks[price] for price in sorted(one.asks)[:limit]}
    return one.id, rows(one, bids), rows(one, asks)


def partial(one: Instrument, limit: int, ms: int, last: int, *, futures: bool) -> Event:
    """depth5/10/20: on spot without symbol and time; on the futures of the same shape as a diff, ``pu`` included."""
    update, bids, asks = top(one, limit)
    if not futures:
        return {"lastUpdateId": update, "bids": bids, "asks": asks}
    ids = {"U": last + 1, "u": update, "pu": last}
    return {"e": "depthUpdate", "E": ms, "T": ms - 1, "s": one.symbol, "ps": one.symbol, **ids, "b": bids, "a": asks, "st": 1}


def ticker(one: Instrument, ms: int, update: int, *, futures: bool) -> Event:
    """bookTicker; spot has neither ``e`` nor a time."""
    bid, bid_size, ask, ask_size = one.best()
    quote = {"b": one.price_text(bid), "B": one.size_text(bid_size), "a": one.price_text(ask), "A": one.size_text(ask_size)}
    if not futures:
        return {"u": update, "s": one.symbol, **quote}
    return {"e": "bookTicker", "u": update, "s": one.symbol, "ps": one.symbol, **quote, "T": ms - 1, "E": ms, "st": 1}


def trade(one: Instrument, fill: Fill, *, futures: bool) -> Event:
    """trade; ``m``: the buyer is the maker, so the taker sold."""
    event: Event = {"e": "trade", "E": fill.ms}
    if futures:
        event["T"] = fill.ms
    event |= {"s": one.symbol, "t": fill.id, "p": one.price_text(fill.price), "q": one.size_text(fill.size)}
    return event | ({"X": "MARKET", "m": fill.taker_sells} if futures else {"T": fill.ms, "m": fill.taker_sells, "M": True})


def agg_trade(one: Instrument, fill: Fill, *, futures: bool) -> Event:
    """aggTrade: one fill each, so ``f`` and ``l`` are the trade's id, and ids count on their own."""
    size = one.size_text(fill.size)
    aggregate = one.agg_id - (one.trade_id - fill.id)
    event: Event = {"e": "aggTrade", "E": fill.ms}
    event |= {"a": aggregate, "s": one.symbol} if futures else {"s": one.symbol, "a": aggregate}
    event |= {"p": one.price_text(fill.price), "q": size, **({"nq": size} if futures else {})}
    event |= {"f": fill.id, "l": fill.id, "T": fill.ms, "m": fill.taker_sells}
    return event | ({"st": 1} if futures else {"M": True})


def mark(one: Instrument, ms: int) -> Event:
    """markPriceUpdate; ``T`` is the next funding time."""
    price, index, settle, rate = one.premium()
    event: Event = {"e": "markPriceUpdate", "E": ms, "s": one.symbol, "p": price, "i": index, "P": settle}
    return event | {"r": rate, "T": (ms // FUNDING_MS + 1) * FUNDING_MS, "st": 1}


def force_order(one: Instrument, fill: Fill, ms: int) -> Event:
    """forceOrder: ``S`` is the order's side, SELL closes a long."""
    price, size = one.price_text(fill.price), one.size_text(fill.size)
    order: Event = {"s": one.symbol, "S": "SELL" if fill.taker_sells else "BUY", "o": "LIMIT", "f": "IOC", "q": size, "p": price}
    order |= {"ap": price, "X": "FILLED", "l": size, "z": size, "T": fill.ms, "ps": one.symbol, "st": 1}
    return {"e": "forceOrder", "E": ms, "o": order}


def kline(one: Instrument, day: Day, ms: int, *, closed: bool) -> Event:
    """kline_1m."""
    opened, high, low, last = (one.price_text(price) for price in day.ohlc)
    bar: Event = {"t": day.minute * 60_000, "T": day.minute * 60_000 + 59_999, "s": one.symbol, "i": "1m"}
    bar |= {"f": day.first if day.trades else -1, "L": day.last, "o": opened, "c": last, "h": high, "l": low}
    bar |= {"v": one.size_text(day.volume), "n": day.trades, "x": closed, "q": _money(one, day.quote)}
    bar |= {"V": one.size_text(day.bought), "Q": _money(one, day.quote_bought), "B": "0"}
    return {"e": "kline", "E": ms, "s": one.symbol, "k": bar}


def mini_ticker(one: Instrument, day: Day, ms: int, *, futures: bool) -> Event:
    """24hrMiniTicker, over what the market has lived so far."""
    opened, high, low, last = (one.price_text(price) for price in day.day_ohlc)
    event: Event = {"e": "24hrMiniTicker", "E": ms, "s": one.symbol, **({"ps": one.symbol} if futures else {})}
    event |= {"c": last, "o": opened, "h": high, "l": low, "v": one.size_text(day.day_volume)}
    return event | {"q": _money(one, day.day_quote)} | ({"st": 1} if futures else {})
