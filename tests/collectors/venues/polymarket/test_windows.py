"""Windows: their names, their life, and whose frame is whose."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.polymarket.route import Router, Union
from tape_collectors.venues.polymarket.symbols import COINS, TIMEFRAMES, at, check, following, length, parse, seconds
from tape_collectors.venues.polymarket.windows import Windows
from tape_collectors.venues.protocol import Fetch, Mark
from tests.support.captures import captures

SECOND = 10**9
pairs = st.sampled_from([(coin, frame) for coin in COINS for frame in TIMEFRAMES if coin != "zec" or frame in ("5m", "15m", "4h")])


@given(pairs, st.integers(1_767_225_600, 1_956_528_000))
def test_a_slug_names_its_window(pair: tuple[str, str], second: int) -> None:
    window = at(*pair, second)
    assert window.start <= second < window.end
    again = parse(window.slug)
    # On the day when clocks go back two hours share one hourly name.
    assert again == window or (pair[1] == "1h" and abs(again.start - window.start) == 3600)


@given(pairs, st.integers(1_767_225_600, 1_956_528_000))
def test_windows_tile_time(pair: tuple[str, str], second: int) -> None:
    windows = following(*pair, second, 12)
    assert all(one.end == other.start for one, other in zip(windows, windows[1:], strict=False))
    usual = length(pair[1])
    assert all(abs(window.end - window.start - usual) <= 3600 for window in windows)


@pytest.mark.parametrize(
    ("slug", "start"),
    [
        ("btc-updown-15m-1767507300", 1767507300),
        ("eth-updown-4h-1780459200", 1780459200),
        ("btc-updown-4h-1763485200", 1763485200),
        ("btc-updown-4h-1770483600", 1770483600),
        ("bitcoin-up-or-down-june-3-2026-3am-et", 1780470000),
        ("ethereum-up-or-down-on-november-20-2026", 1795107600),
    ],
)
def test_real_names(slug: str, start: int) -> None:
    assert parse(slug).start == start


@pytest.mark.parametrize(
    ("coin", "timeframe", "text"),
    [
        ("btcc", "15m", "did you mean 'btc'"),
        ("bitcoin", "15m", "unknown coin"),
        ("btc", "15", "did you mean '15m'"),
        ("zec", "1h", "zec has no 1h"),
    ],
)
def test_what_has_no_windows_is_refused_with_the_nearest(coin: str, timeframe: str, text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        check(coin, timeframe)


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse(text)
    except SettingsError as error:
        assert "\n" not in str(error).replace(repr(text), "")


def test_gammas_times() -> None:
    assert seconds("2026-07-24T00:05:00Z") == seconds("2026-07-24 00:05:00+00") == 1784851500 and seconds("soon") == 0


# -- the 292 real markets --------------------------------------------------------------------------------------------------------------


def real_markets() -> dict[str, dict[str, Any]]:
    path = captures() / "polymarket" / "ligengxin96-polymarket-data-samples" / "BTC-5m-markets-2026-06-08.jsonl.gz"
    with gzip.open(path) as file:
        return {row["slug"]: row for row in map(json.loads, file)}


def gamma(row: dict[str, Any], now: float) -> bytes:
    """What Gamma said of a market at a time: unresolved before its end, as recorded after it."""
    market = dict(row["raw"])
    done = now >= row["end_sec"] + 16
    if not done:
        market |= {"closed": False, "outcomePrices": '["0.5", "0.5"]', "umaResolutionStatus": ""}
    metadata = {"priceToBeat": int(row["strike_value"]) / 1e18} if row["strike_value"] and now > row["start_sec"] + 60 else {}
    return json.dumps({"slug": row["slug"], "markets": [market], "eventMetadata": metadata or None}).encode()


@pytest.mark.captures
def test_the_292_real_markets_are_found_filed_and_settled() -> None:
    markets = real_markets()
    assert len(markets) == 292
    windows = Windows([("btc", "5m")], result_after_s=15.0)
    first, last = min(row["start_sec"] for row in markets.values()), max(row["end_sec"] for row in markets.values())
    subscribed: dict[str, float] = {}
    tokens: dict[str, tuple[str, ...]] = {}
    results: dict[str, str] = {}
    strikes: dict[str, float] = {}
    asked = 0
    for now in range(first - 200, last + 400, 2):
        for command in windows.tick(now * SECOND):
            assert isinstance(command, Fetch)
            asked += 1
            slug = command.request.rpartition("/")[2]
            if slug not in markets:
                continue
            for mark in windows.fetched(now * SECOND, command.request, 200, gamma(markets[slug], now))[1]:
                assert isinstance(mark, Mark)
                if mark.kind == "result":
                    results[mark.key] = str(mark.fields["outcome"])
                elif mark.kind == "strike" and "priceToBeat" in str(mark.fields["source"]):
                    strikes[mark.key] = float(str(mark.fields["price"]))
        for life in windows.wanted(now * SECOND):
            assert life.facts is not None
            subscribed.setdefault(life.window.slug, life.window.start - now)
            tokens[life.window.slug] = life.facts.tokens
            if not life.filed:
                windows.file(life)
        windows.over(now * SECOND)
    assert set(markets) <= set(subscribed)
    assert all(subscribed[slug] >= 60 for slug in markets), "subscribed at least 60 s before they open"
    assert all(list(tokens[slug]) == row["token_ids"] for slug, row in markets.items())
    assert results == {slug: "Up" if row["outcome_prices"] == ["1", "0"] else "Down" for slug, row in markets.items()}
    assert strikes == {slug: int(row["strike_value"]) / 1e18 for slug, row in markets.items() if row["strike_value"]}
    assert asked < 292 * 80


def test_missing_token_ids_are_said_once_and_asked_again() -> None:
    windows = Windows([("btc", "5m")])
    windows.tick(1_780_876_500 * SECOND)
    slug = "btc-updown-5m-1780876500"
    request = f"GET /events/slug/{slug}"
    body = {"slug": slug, "markets": [{"slug": slug, "conditionId": "0xab", "clobTokenIds": "", "outcomes": '["Up","Down"]'}]}
    marks = windows.fetched(1, request, 200, json.dumps(body).encode())[1]
    assert [mark.fields["status"] for mark in marks if isinstance(mark, Mark)] == ["incomplete"]
    assert windows.fetched(2, request, 200, json.dumps(body).encode())[1] == []
    assert not windows.wanted(1_780_876_500 * SECOND)
    body["markets"][0]["clobTokenIds"] = ["11", "22"]  # type: ignore[index]
    windows.fetched(3, request, 200, json.dumps(body).encode())
    assert [life.facts.tokens for life in windows.wanted(1_780_876_500 * SECOND) if life.facts] == [("11", "22")]
    assert any(isinstance(command, Fetch) for command in windows.tick(1_780_876_800 * SECOND))


# -- whose frame ------------------------------------------------------------------------------------------------------------------------

A, B = "0x" + "a" * 64, "0x" + "b" * 64


def router() -> Router:
    out = Router()
    out.add("win-a", A, ("1", "2"))
    out.add("win-b", B, ("3", "4"))
    return out


def test_a_frame_goes_to_its_window_and_a_mixed_array_to_each() -> None:
    one = b'{"market":"%b","asset_id":"1","event_type":"book"}' % A.encode()
    other = b'{"market":"%b","asset_id":"3","event_type":"book"}' % B.encode()
    foreign = b'{"market":"0x%b","event_type":"new_market"}' % (b"c" * 64)
    assert router().route(one) == [("win-a", None, one)]
    assert router().route(b"[%b,%b]" % (one, one)) == [("win-a", None, b"[%b,%b]" % (one, one))]
    mixed = b"[%b, %b,%b]" % (one, other, foreign)
    assert router().route(mixed) == [("", None, mixed), ("win-a", 0, one), ("win-b", 1, other)]
    assert router().route(foreign) == [("", None, foreign)]
    for text in (b"PONG", b"", b"[", b"[{", b'{"market":', b"\xff"):
        assert router().route(text) == [("", None, text)]
    gone = router()
    gone.remove("win-a")
    assert gone.route(one) == [("", None, one)]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_the_union_of_two_sockets_files_each_frame_as_often_as_the_better_one(seed: int) -> None:
    chance = random.Random(seed)
    sent = [b"%d" % chance.randint(0, 12) for _ in range(60)]
    union = Union()
    seen: dict[str, Counter[bytes]] = {"a-1": Counter(), "b-1": Counter()}
    filed: Counter[bytes] = Counter()
    queues = {s: [frame for frame in sent if chance.random() > 0.2] for s in seen}
    t = 0
    while any(queues.values()):
        s = chance.choice([s for s in queues if queues[s]])
        frame = queues[s].pop(0)
        t += 1
        seen[s][frame] += 1
        if not union.seen(s, t, frame):
            filed[frame] += 1
    assert filed == {frame: max(seen["a-1"][frame], seen["b-1"][frame]) for frame in set(sent) if seen["a-1"][frame] or seen["b-1"][frame]}


def test_what_is_old_is_forgotten() -> None:
    union = Union(remembered_ns=100)
    assert not union.seen("a-1", 1, b"x") and union.seen("b-1", 2, b"x")
    union.closed("a-1")
    assert not union.seen("a-2", 500, b"x"), "a first book after a reconnect is not an old one"
    assert msgspec.json.encode(len(union._order)) == b"1"
