"""Payloads of many perpetuals, in the key order of ``binance_events``, written as text at once: (payload, id, the ledger's text).

``test_perpetuals`` holds them against ``binance_events`` and JSON.
"""

from __future__ import annotations

from tape_collectors.simulator.binance_events import FUNDING_MS
from tape_collectors.simulator.candles import Candle
from tape_collectors.simulator.market import Fill
from tape_collectors.simulator.perpetuals import Batch, Perpetual, decimal

Told = tuple[str, int, str]
_NEVER_MS = 4_133_404_800_000


def agg_trade(one: Perpetual, fill: Fill) -> Told:
    """aggTrade; each is one trade, so ``f`` and ``l`` are the trade's id."""
    price, short = one.prices[fill.price]
    size, little = one.sizes[fill.size]
    number, ms, symbol = one.agg_id, fill.ms, one.symbol
    maker = "true" if fill.taker_sells else "false"
    return (
        f'{{"e":"aggTrade","E":{ms},"a":{number},"s":"{symbol}","p":"{price}","q":"{size}","nq":"{size}",'
        f'"f":{fill.id},"l":{fill.id},"T":{ms},"m":{maker},"st":1}}',
        number,
        f"{symbol}|{number}|{short}|{little}|{ms}|{int(fill.taker_sells)}",
    )


def book_ticker(one: Perpetual, ms: int) -> Told:
    """bookTicker."""
    bid, symbol, number = one.bid, one.symbol, one.id
    b, b_short = one.prices[bid]
    a, a_short = one.prices[bid + 1]
    bq, bq_short = one.sizes[one.bids[bid]]
    aq, aq_short = one.sizes[one.asks[bid + 1]]
    return (
        f'{{"e":"bookTicker","u":{number},"s":"{symbol}","ps":"{symbol}","b":"{b}","B":"{bq}","a":"{a}","A":"{aq}",'
        f'"T":{ms - 1},"E":{ms},"st":1}}',
        number,
        f"{symbol}|{number}|{b_short}|{bq_short}|{a_short}|{aq_short}",
    )


def depth(one: Perpetual, ms: int, batch: Batch) -> Told:
    """depthUpdate with what the batch holds, best prices first; the batch begins anew."""
    prices, sizes, symbol, number = one.prices, one.sizes, one.symbol, one.id
    sides, shorts = [], []
    for changed, downwards in ((batch.bids, True), (batch.asks, False)):
        levels = [(prices[price], sizes[changed[price]]) for price in sorted(changed, reverse=downwards)]
        sides.append(",".join([f'["{price[0]}","{size[0]}"]' for price, size in levels]))
        shorts.append(",".join([f"{price[1]}:{size[1]}" for price, size in levels]))
    text = (
        f'{{"e":"depthUpdate","E":{ms},"T":{ms - 1},"s":"{symbol}","ps":"{symbol}","U":{batch.first},"u":{number},'
        f'"pu":{batch.last},"b":[{sides[0]}],"a":[{sides[1]}],"st":1}}'
    )
    ledger = f"{symbol}|{number}|{batch.last}|{shorts[0]}|{shorts[1]}"
    batch.last, batch.first, batch.bids, batch.asks = number, 0, {}, {}
    return text, number, ledger


def mark_price(one: Perpetual, ms: int) -> Told:
    """markPriceUpdate; ``T`` is the next funding time."""
    mark, index, settle, rate = one.premium()
    funding = (ms // FUNDING_MS + 1) * FUNDING_MS
    return (
        f'{{"e":"markPriceUpdate","E":{ms},"s":"{one.symbol}","p":"{mark}","i":"{index}","P":"{settle}","r":"{rate}","T":{funding},"st":1}}',
        ms,
        f"{one.symbol}|{ms}|{_short(mark)}|{_short(index)}|{_short(rate)}|{funding}",
    )


def _short(text: str) -> str:
    short = text.rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def kline(one: Perpetual, ms: int, interval: str, length: int, bar: Candle, *, closed: bool) -> Told:
    """kline; a closed one is known by its open time, a running one by the event's."""
    prices, symbol, lot, money = one.prices, one.symbol, one.lot, one.tick + one.lot
    opened, high, low, last = prices[bar.open], prices[bar.high], prices[bar.low], prices[bar.close]
    volume, bought = decimal(bar.volume, lot), decimal(bar.bought, lot)
    quote, spent = decimal(bar.quote, money), decimal(bar.quote_bought, money)
    text = (
        f'{{"e":"kline","E":{ms},"s":"{symbol}","k":{{"t":{bar.start},"T":{bar.start + length - 1},"s":"{symbol}","i":"{interval}",'
        f'"f":{bar.first},"L":{bar.last},"o":"{opened[0]}","c":"{last[0]}","h":"{high[0]}","l":"{low[0]}","v":"{volume[0]}",'
        f'"n":{bar.trades},"x":{"true" if closed else "false"},"q":"{quote[0]}","V":"{bought[0]}","Q":"{spent[0]}","B":"0"}}}}'
    )
    body = f"{opened[1]}|{high[1]}|{low[1]}|{last[1]}|{volume[1]}"
    if closed:
        return text, bar.start, f"{symbol}|{bar.start}|{body}|{quote[1]}|{bar.trades}|{bought[1]}|{spent[1]}"
    return text, ms, f"{symbol}|{ms}|{bar.start}|{body}|{bar.trades}"


def ticker(one: Perpetual, ms: int) -> Told:
    """24hrTicker, over what the instrument has lived so far."""
    prices, money, first = one.prices, one.tick + one.lot, one.mid
    opened, high, low, last = prices[first], prices[max(first, one.high)], prices[min(first, one.low)], prices[one.price]
    size, volume, quote = one.sizes[one.last_size], decimal(one.volume, one.lot), decimal(one.turnover, money)
    change = one.price - first
    moved, percent = f"{change / 10**one.tick:.{one.tick}f}", f"{100 * change / first:.3f}"
    mean = prices[round(one.turnover / one.volume) if one.volume else one.price]
    count = one.trade_id - one.trade_first
    return (
        f'{{"e":"24hrTicker","E":{ms},"s":"{one.symbol}","p":"{moved}","P":"{percent}","w":"{mean[0]}","c":"{last[0]}","Q":"{size[0]}",'
        f'"o":"{opened[0]}","h":"{high[0]}","l":"{low[0]}","v":"{volume[0]}","q":"{quote[0]}","O":{ms - 86_400_000},"C":{ms},'
        f'"F":{one.trade_first + 1 if count else -1},"L":{one.trade_id if count else -1},"n":{count},"st":1}}',
        ms,
        f"{one.symbol}|{ms}|{last[1]}|{size[1]}|{opened[1]}|{high[1]}|{low[1]}|{mean[1]}|{volume[1]}|{quote[1]}|{count}",
    )


def force_order(one: Perpetual, fill: Fill) -> Told:
    """forceOrder: the bankruptcy price ``p`` is a little worse than ``ap``, at which it was filled."""
    symbol, ms, side = one.symbol, fill.ms, "SELL" if fill.taker_sells else "BUY"
    size, little = one.sizes[fill.size]
    price, short = one.prices[fill.price]
    worse = one.price_text(fill.price - fill.price // 200 if fill.taker_sells else fill.price + fill.price // 200)
    return (
        f'{{"e":"forceOrder","E":{ms},"o":{{"s":"{symbol}","S":"{side}","o":"LIMIT","f":"IOC","q":"{size}","p":"{worse}",'
        f'"ap":"{price}","X":"FILLED","l":"{size}","z":"{size}","T":{ms},"ps":"{symbol}","st":1}}}}',
        ms,
        f"{symbol}|{ms}|{side}|{short}|{little}",
    )


def contract_info(symbol: str, ms: int, kind: str, status: str, onboard_ms: int, *, coin: bool = False) -> Told:
    """contractInfo; those of the coin margined contracts come on the same stream."""
    return (
        f'{{"e":"contractInfo","E":{ms},"s":"{symbol}","ps":"{symbol.partition("_")[0]}","ct":"{kind}","dt":{_NEVER_MS},'
        f'"ot":{onboard_ms},"cs":"{status}","st":{2 if coin else 1}}}',
        ms,
        f"{symbol}|{ms}|{status}|{kind}",
    )
