"""Every channel of every venue and market: subscribed by the real recorder, spoken by the simulated venue, decoded to what it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tape_access import book
from tape_archive.format.records import (
    BookDelta,
    BookSnapshot,
    Candle,
    Funding,
    Liquidation,
    Notice,
    OpenInterest,
    Quote,
    Record,
    Ticker,
    Trade,
    Unknown,
)
from tape_collectors.simulator.world import Simulator
from tape_collectors.venues import load
from tests.conformance.test_venues import records
from tests.support.recording import record_cex, tape
from tests.support.running import SYMBOLS, Run

#: what a channel's frames are, by how its name begins (the longest counts); None: a statistic that stands on the tape
KINDS: dict[str, dict[str, type[Record] | None]] = {
    "binance": {
        **{"trade": Trade, "aggTrade": Trade, "bookTicker": Quote, "depth@": BookDelta, "depth5": BookSnapshot, "depth20": BookSnapshot},
        **{"kline": Candle, "miniTicker": None, "ticker": Ticker, "markPrice": Funding, "forceOrder": Liquidation},
    },
    "okx": {
        **{"books": BookDelta, "books5": BookSnapshot, "bbo-tbt": Quote, "trades": Trade, "trades-all": Trade, "tickers": None},
        **{"funding-rate": Funding, "open-interest": OpenInterest, "liquidation-orders": Liquidation, "index-tickers": None},
        **{"mark-price": Funding, "candle": Candle},
    },
    "bybit": {
        **{"orderbook": BookDelta, "orderbook.1": Quote, "orderbook.1000": BookDelta, "publicTrade": Trade, "tickers": Funding},
        **{"allLiquidation": Liquidation, "kline": Candle},
    },
    "gate": {
        **{"obu": BookDelta, "order_book_update": BookDelta, "trades": Trade, "book_ticker": Quote, "tickers": Funding},
        **{"candlesticks": Candle, "public_liquidates": Liquidation},
    },
    "mexc": {"aggre.depth": BookDelta, "aggre.deals": Trade, "aggre.bookTicker": Quote, "limit.depth": BookSnapshot, "kline": Candle},
}
#: a book comes in several forms, of which one is recorded at a time
SETS = {
    "binance_spot": ["trade,aggTrade,bookTicker,depth@100ms,kline_1m,miniTicker", "depth20@100ms,trade"],
    "binance_usdm": ["trade,aggTrade,bookTicker,depth@100ms,kline_1m,markPrice@1s,forceOrder,miniTicker", "depth@0ms"],
    "okx_spot": ["books,books5,bbo-tbt,trades,tickers,index-tickers,trades-all,candle1m"],
    "okx_swap": [
        "books,books5,bbo-tbt,trades,tickers,index-tickers,trades-all,candle1m,funding-rate,open-interest,liquidation-orders,mark-price"
    ],
    "bybit_spot": ["orderbook.1,orderbook.200,publicTrade,tickers,kline.1", "orderbook.50", "orderbook.1000"],
    "bybit_linear": ["orderbook.1,orderbook.200,publicTrade,tickers,kline.1,allLiquidation", "orderbook.50", "orderbook.1000"],
    "gate_spot": [
        *("obu.400,trades,book_ticker,tickers,candlesticks.1m", "obu.50"),
        *("order_book_update.100ms", "order_book_update.20ms"),
    ],
    "gate_usdt": [
        *("obu.400,trades,book_ticker,tickers,candlesticks.1m,public_liquidates", "obu.50"),
        *("order_book_update.100ms", "order_book_update.20ms"),
    ],
    "mexc_spot": [
        "aggre.depth@100ms,aggre.deals@100ms,aggre.bookTicker@100ms,limit.depth@20,kline@Min1",
        "aggre.depth@10ms,aggre.deals@10ms,aggre.bookTicker@10ms,limit.depth@5,kline@Hour4",
    ],
}
CASES = [(venue, channels) for venue, some in SETS.items() for channels in some]
_STATISTICS = {("bybit_spot", "tickers"), ("gate_spot", "tickers")}


def kind_of(venue: str, channel: str) -> type[Record] | None:
    kinds = KINDS[venue.partition("_")[0]]
    return None if (venue, channel) in _STATISTICS else kinds[max((name for name in kinds if channel.startswith(name)), key=len)]


@pytest.mark.parametrize(("venue", "channels"), CASES)
async def test_every_channel_is_subscribed_spoken_and_decoded(tmp_path: Path, venue: str, channels: str) -> None:
    chosen = tuple(channels.split(","))
    one = load(venue)
    wanted = {name for group in one.groups(list(SYMBOLS), list(chosen), {}) for name in group.names}
    async with Run(tmp_path, venue, wait=False, channels=chosen) as run:
        await run.begin()
        # Twice: of a book the first frame may be the whole one.
        spoken = run.simulator.servers[venue].sent
        slow = ("funding", "candle", "kline", "open-interest", "Liquid", "liquid", "force", "tickers:", "tickers.")
        await run.until(lambda: sum(spoken[name] >= (1 if any(word in name for word in slow) else 2) for name in wanted) == len(wanted))
    assert run.code == 0
    found = list(records(tmp_path, venue))
    assert not [record for record in found if isinstance(record, Unknown)]
    statistics = [record.detail for record in found if isinstance(record, Notice) and record.kind == "statistic"]
    for channel in chosen:
        kind = kind_of(venue, channel)
        if kind is None:
            assert any(channel.partition("@")[0].partition(".")[0] in detail for detail in statistics), channel
            continue
        of = [record for record in found if type(record) is kind and record.channel == channel]  # type: ignore[union-attr]
        symbols = {record.symbol for record in of}  # type: ignore[union-attr]
        assert symbols <= {one.native(symbol) for symbol in SYMBOLS} and symbols, channel
        assert len(symbols) == 2 or kind is Liquidation, channel
    depths = [channel for channel in chosen if kind_of(venue, channel) is BookDelta]
    for symbol in SYMBOLS if depths else ():
        view = book.at(tmp_path, venue, one.native(symbol), depth=15)
        instrument = run.simulator.markets[venue].instruments[symbol]
        assert view.proven
        assert [(float(price), float(size)) for price, size in view.asks] == [
            (float(instrument.price_text(price)), float(instrument.size_text(instrument.asks[price])))
            for price in sorted(instrument.asks)[:15]
        ]


@pytest.mark.parametrize("venue", SETS)
def test_every_channel_that_the_venue_takes_is_in_a_set(venue: str) -> None:
    """So that no channel is offered that nobody ever heard here."""
    known = {name for channels in SETS[venue] for name in channels.split(",")}
    kinds = KINDS[venue.partition("_")[0]]
    one = load(venue)
    unheard = {name for name in kinds if not any(channel.startswith(name) for channel in known)}
    for name in unheard:
        # 24 h tickers come from the simulator of whole markets: tests/flow/test_market.py.
        assert name in ("depth5", "depth20", "ticker") or not one.carries(name), name


async def test_more_than_thirty_streams_of_mexc_are_on_several_connections(tmp_path: Path) -> None:
    """The venue refuses a 31st subscription, with code 0."""
    symbols = tuple(f"S{number}USDT" for number in range(12))
    async with Simulator(["mexc_spot"], symbols=symbols) as simulator:
        carried: list[list[int]] = []
        stop = asyncio.Event()

        async def watch() -> None:
            while not stop.is_set():
                await asyncio.sleep(0.1)
                carried.append(sorted(len(client.names) for client in simulator.servers["mexc_spot"].clients))
                if carried[-1] == [6, 30]:
                    await asyncio.sleep(1.0)
                    stop.set()

        task = asyncio.create_task(watch())
        assert await record_cex(tmp_path, simulator.endpoints, stop, venues=("mexc_spot",), symbols=symbols) == 0
        await task
    assert max(count for some in carried for count in some) == 30
    lines = tape(tmp_path, "mexc_spot")
    assert not [line for line in lines if line.mark == "refused"]
    heard = {record.symbol for record in records(tmp_path, "mexc_spot") if isinstance(record, BookSnapshot)}
    assert heard == set(symbols)
