"""Books that are lost again and again: an hour of it costs no more requests than the venue allows."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable

import pytest

from tape_collectors.simulator.mexc import field
from tape_collectors.venues import load
from tape_collectors.venues.protocol import Command, Fetch, Reconnect, Send
from tape_collectors.venues.session import SECOND

#: what a venue allows of requests on one connection: (so many, in so many seconds); None: it names no limit
ALLOWED = {
    "binance_spot": (5, 1),
    "binance_usdm": (10, 1),
    "okx_spot": (480, 3600),
    "okx_swap": (480, 3600),
    "bybit_spot": None,
    "bybit_linear": None,
    "gate_spot": None,
    "gate_usdt": None,
    "mexc_spot": (100, 1),
}
#: where it names none we still ask for a book at most so often an hour
MODEST = 3600
SYMBOLS = [f"{letter}USDT" for letter in "ABCDEF"]


def binance(name: str, number: int, first: bool) -> bytes:
    symbol = name.partition("@")[0].upper()
    event = {"e": "depthUpdate", "E": number, "s": symbol, "U": number * 10, "u": number * 10 + 1, "pu": number * 10 - 5, "b": [], "a": []}
    return json.dumps({"stream": name, "data": event}).encode()


def okx(name: str, number: int, first: bool) -> bytes:
    channel, _, instrument = name.partition(":")
    book = {"bids": [], "asks": [], "ts": str(number), "seqId": number * 10, "prevSeqId": -1 if first else number * 10 - 5}
    return json.dumps(
        {"arg": {"channel": channel, "instId": instrument}, "action": "snapshot" if first else "update", "data": [book]}
    ).encode()


def bybit(name: str, number: int, first: bool) -> bytes:
    data = {"s": name.rpartition(".")[2], "b": [], "a": [], "u": number * 10}
    return json.dumps({"topic": name, "type": "snapshot" if first else "delta", "ts": number, "data": data, "cts": number}).encode()


def gate(name: str, number: int, first: bool, product: str = "spot") -> bytes:
    symbol, levels = name.partition(":")[2], name.partition(":")[0].partition(".")[2]
    ids = {"full": True, "u": number * 10} if first else {"U": number * 10, "u": number * 10 + 1}
    result = {"t": number, "s": f"ob.{symbol}.{levels}", **ids}
    return json.dumps({"channel": f"{product}.obu", "event": "update", "result": result}).encode()


def gate_usdt(name: str, number: int, first: bool) -> bytes:
    return gate(name, number, first, "futures")


def mexc(name: str, number: int, first: bool) -> bytes:
    body = field(4, str(number * 10)) + field(5, str(number * 10 + 1))
    return field(1, name) + field(3, name.rpartition("@")[2]) + field(6, number) + field(313, body)


MAKE: dict[str, Callable[[str, int, bool], bytes]] = {
    **{"binance_spot": binance, "binance_usdm": binance, "okx_spot": okx, "okx_swap": okx, "bybit_spot": bybit, "bybit_linear": bybit},
    **{"gate_spot": gate, "gate_usdt": gate_usdt, "mexc_spot": mexc},
}
BOOKS = ("@depth", "books:", "orderbook.200", "obu", "aggre.depth")


def replied(feed: object, venue: str, t: int, fetch: Fetch, number: int) -> list[Command]:
    """REST answers with a book that joins, or with what a contract is."""
    if "instruments" in fetch.request:
        name = fetch.request.partition("instId=")[2].partition("&")[0]
        body = {"code": "0", "data": [{"instId": name, "ctVal": "1", "ctMult": "1", "ctType": "linear"}]}
    elif "contracts/" in fetch.request:
        body = {"name": fetch.request.rpartition("/")[2], "quanto_multiplier": "1"}
    elif venue.startswith("okx"):
        body = {"code": "0", "data": [{"asks": [], "bids": [], "ts": "1", "seqId": number * 10}]}
    else:
        body = {"lastUpdateId": number * 10 + 1, "bids": [], "asks": []}
    return list(feed.fetched(t, fetch.request, json.dumps(body).encode())[1])  # type: ignore[attr-defined]


@pytest.mark.parametrize("venue", ALLOWED)
def test_an_hour_of_gaps_stays_within_the_venues_budget(venue: str) -> None:
    one, make = load(venue), MAKE[venue]
    group = next(group for group in one.groups(SYMBOLS, [], {}) if any(word in name for name in group.names for word in BOOKS))
    names = [name for name in group.names if any(word in name for word in BOOKS)]
    assert names
    feed = one.feed(group.name)
    asked: deque[tuple[int, Command]] = deque()
    fresh: set[str] = set(names)
    replaced = fetched = 0

    def act(t: int, commands: list[Command]) -> None:
        nonlocal replaced, fetched
        for command in commands:
            if isinstance(command, Reconnect):
                replaced += 1
            elif isinstance(command, Send):
                asked.append((t, command))
                if "nsubscri" not in command.data and "NSUBSCRI" not in command.data:
                    fresh.update(name for name in names if _meant(name, command.data))
            elif isinstance(command, Fetch):
                fetched += 1
                act(t, replied(feed, venue, t, command, t // SECOND))

    act(0, list(feed.want(1, group.names)[1]))
    begun = len(asked)
    for second in range(1, 3600):
        t = second * SECOND
        for name in names:
            # After each subscription the whole book, and from then on every frame is a gap.
            act(t, list(feed.receive(t, make(name, second, name in fresh))[1]))
            fresh.discard(name)
        act(t, list(feed.tick(t)))
        if replaced:
            break
    sent = [t for t, command in asked if "ing" not in getattr(command, "data", "")[:25]]
    if ALLOWED[venue] is not None:
        most, seconds = ALLOWED[venue]
        window: deque[int] = deque()
        # What the runtime paces (frames a second) it paces by ``sends_per_s``; here it is the hour's sum that counts.
        for t in sent if seconds > 1 else ():
            window.append(t)
            while window[0] <= t - seconds * SECOND:
                window.popleft()
            assert len(window) <= most
        assert seconds > 1 or group.sends_per_s <= most
    # Requests by REST wait for the weight budget of the host, however many they are: tests/collectors/runtime/test_fetch.py.
    assert len(sent) - begun <= MODEST * len(names) and fetched <= 2 * MODEST * len(names)
    if venue.startswith("okx"):
        assert replaced, "near the hour's budget the connection is replaced"


def _meant(name: str, data: str) -> bool:
    symbol = name.rpartition(":")[2].rpartition("@")[2].rpartition(".")[2]
    return name in data or f'"instId":"{symbol}"' in data or f"ob.{symbol}." in data
