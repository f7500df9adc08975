"""The life of windows against a model Gamma, and every rule of it."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from itertools import chain
from typing import Any

import msgspec
import pytest

from tape_archive.format.lines import mark_line, parse
from tape_archive.format.records import Lifecycle, Notice, ReferencePrice, Unknown
from tape_collectors.venues.polymarket import windows as module
from tape_collectors.venues.polymarket.symbols import Window, at
from tape_collectors.venues.polymarket.windows import Life, Windows, outcome_of
from tape_collectors.venues.polymarket.wire import Market, gamma
from tape_collectors.venues.protocol import Command, Fetch, Mark
from tests.collectors.venues.polymarket.frames import SECOND, compact
from tests.support.captures import captures
from tests.support.mutate import mutations, retyped

FUZZ = int(os.environ.get("TAPE_FUZZ", "20000"))
START = 1_790_000_100
CID = "0x606c9caa2173133da65456e6b78430add339a7a580882bec4ae50f5c899fe67e"


def rows(path: str = "BTC-5m-markets-2026-06-08.jsonl.gz") -> list[dict[str, Any]]:
    with gzip.open(captures() / "polymarket/ligengxin96-polymarket-data-samples" / path) as file:
        return [json.loads(line) for line in file]


def market(window: Window, **more: Any) -> dict[str, Any]:
    """A Gamma market as it looks before its window opens."""
    up, down = str(10**70 + window.start), str(10**70 + window.start + 1)
    out = {
        "slug": window.slug,
        "conditionId": f"0x{window.start:064x}",
        "outcomes": '["Up", "Down"]',
        "clobTokenIds": json.dumps([up, down]),
    }
    return (
        out
        | {"outcomePrices": '["0.5", "0.5"]', "closed": False, "eventStartTime": None, "version": "v1", "umaResolutionStatus": None}
        | more
    )


SETTLED = {"closed": True, "umaResolutionStatus": "resolved", "outcomePrices": '["1", "0"]', "closedTime": "2026-07-24 00:10:52+00"}


class Gamma:
    """A model venue: answers what is asked, from the times when it would know."""

    def __init__(self, *, born: float = -86_400, lag: float = 0, strike: float = 60, final: float = 55, metadata: bool = True) -> None:
        self.born, self.lag, self.strike, self.final, self.metadata = born, lag, strike, final, metadata
        self.asked: list[tuple[float, str]] = []
        self.winner = "Up"

    def reply(self, windows: Windows, now: float, request: str) -> tuple[int, bytes]:
        self.asked.append((now, request))
        slug = windows.owner(request)
        assert slug, request
        life = windows.lives[slug]
        window, name = life.window, request.split()[1]
        if name.startswith("/clob-markets/"):
            assert life.facts
            return 200, compact(
                {"t": [{"t": token, "o": o} for token, o in zip(life.facts.tokens, life.facts.outcomes, strict=True)], "mts": 0.01}
            )
        if name.startswith("/markets/0x"):
            return 200, compact(
                {
                    "closed": True,
                    "tokens": [{"token_id": "1", "outcome": o, "winner": o == self.winner, "price": 1} for o in ("Up", "Down")],
                }
            )
        if now < window.start + self.born:
            return 404, b'{"type":"not found error"}'
        found = market(window) | ({"clobTokenIds": ""} if now < window.start + self.born + self.lag else {})
        done = now >= window.end + self.final
        found |= SETTLED if done else {}
        if name.startswith("/markets/slug/"):
            return 200, compact(found)
        metadata: dict[str, Any] = {}
        if self.metadata and now >= window.start + self.strike:
            metadata["priceToBeat"] = msgspec.Raw(b"%d.316000000000000001" % window.start)
        if self.metadata and done:
            metadata["finalPrice"] = msgspec.Raw(b"%d.316000000000000001" % window.end)
        return 200, msgspec.json.encode({"slug": slug, "markets": [found], "eventMetadata": metadata})


class Run:
    """One process's seconds: ticks, fetches, files, ends."""

    def __init__(self, venue: Gamma, kinds: list[tuple[str, str]] | None = None, **settings: float) -> None:
        self.windows = Windows(kinds or [("btc", "5m")], **settings)
        self.venue = venue
        self.marks: list[tuple[float, Mark]] = []
        self.over: dict[str, float] = {}
        self.opened: dict[str, float] = {}
        self.records: list[Any] = []

    def until(self, first: float, last: float) -> Run:
        now = first
        while now < last:
            self.second(now)
            now += 1
        return self

    def second(self, now: float) -> None:
        t = int(now * SECOND)
        pending: list[Command] = [*self.windows.tick(t)]
        while pending:
            command = pending.pop(0)
            if isinstance(command, Mark):
                self.marks.append((now, command))
            elif isinstance(command, Fetch):
                status, data = self.venue.reply(self.windows, now, command.request)
                records, more = self.windows.fetched(t, command.request, status, data)
                self.records += records
                pending += more
        for life in self.windows.wanted(t):
            if life.window.slug not in self.opened:
                self.opened[life.window.slug] = now
                self.windows.file(life)
        for life in self.windows.over(t):
            assert life.window.slug not in self.over
            self.over[life.window.slug] = now

    def said(self, slug: str, kind: str) -> list[tuple[float, dict[str, Any]]]:
        return [(now, dict(mark.fields)) for now, mark in self.marks if mark.kind == kind and (mark.key or mark.fields.get("slug")) == slug]


def first_window() -> Window:
    window = at("btc", "5m", START)
    assert window.start == START
    return window


# -- an ordinary life ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeframe", "lead"), [("5m", 90.0), ("15m", 60.0), ("4h", 120.0), ("30s", 20.0), ("1h", 90.0)])
def test_a_window_is_found_ahead_opened_in_time_and_ends_with_its_result(timeframe: str, lead: float) -> None:
    window = at("btc", timeframe, START + 7200)
    run = Run(Gamma(), [("btc", timeframe)], lead_s=lead).until(window.start - 400, window.end + 120)
    assert window.start - lead <= run.opened[window.slug] <= window.start - lead + 1
    assert window.end + 50 <= run.over[window.slug] <= window.end + 75
    strikes = [(fields["source"], fields["price"]) for _, fields in run.said(window.slug, "strike")]
    assert strikes[-1] == ("gamma priceToBeat", f"{window.start}.316000000000000001")
    results = run.said(window.slug, "result")
    assert [(fields["outcome"], fields["source"]) for _, fields in results] == [("Up", "gamma"), ("Up", "clob")]
    line = parse(mark_line(5, "tape", "result", results[0][1]))
    assert line.fields["final"] == pytest.approx(window.end + 0.316) and line.fields["ts"] == 1784851852 * SECOND
    assert not run.records and not run.said(window.slug, "diff")


def test_the_venue_is_not_asked_more_than_it_needs() -> None:
    run = Run(Gamma()).until(START - 200, START + 3600)
    per_window = Counter(request for _, request in run.venue.asked)
    assert max(per_window.values()) <= 30
    busiest = Counter(int(now) // 10 for now, _ in run.venue.asked)
    assert max(busiest.values()) <= 12
    many = Run(Gamma(), [(coin, timeframe) for coin in ("btc", "eth", "sol", "xrp") for timeframe in ("5m", "15m", "1h", "4h", "1d")])
    many.until(START - 200, START + 1200)
    assert max(Counter(int(now) // 10 for now, _ in many.venue.asked).values()) <= 200


def test_nothing_is_left_behind_after_many_windows() -> None:
    run = Run(Gamma()).until(START - 200, START + 300 * 40)
    assert len(run.over) >= 38 and len(run.windows.lives) <= 6 and len(run.windows._done) <= 256
    assert all(late <= int(slug.rsplit("-", 1)[1]) + 300 + 75 for slug, late in run.over.items())


def test_a_restart_goes_on_with_a_window_that_has_ended() -> None:
    window = first_window()
    run = Run(Gamma())
    run.windows.lives[window.slug] = Life(window)
    run.until(window.end + 20, window.end + 120)
    assert window.slug in run.over and next(fields["outcome"] for _, fields in run.said(window.slug, "result")) == "Up"


def test_owners_of_requests() -> None:
    run = Run(Gamma()).until(START - 100, START - 80)
    slug = first_window().slug
    facts = run.windows.lives[slug].facts
    assert facts
    for request in (
        f"GET /events/slug/{slug}",
        f"GET /markets/slug/{slug}",
        f"GET /clob-markets/{facts.condition}",
        f"GET /markets/{facts.condition}",
    ):
        assert run.windows.owner(request) == slug
    for request in ("", "GET /", "GET /events/slug/other", "POST /books [1]"):
        assert run.windows.owner(request) == ""


# -- rules -----------------------------------------------------------------------------------------------------------------------------


def rule_1() -> None:
    """Markets that come late, or without token ids, are asked for again, by both addresses, never all the time."""
    window = first_window()
    run = Run(Gamma(born=-60, lag=25)).until(window.start - 200, window.start)
    assert window.start - 35 <= run.opened[window.slug] <= window.start - 1
    assert [fields["status"] for _, fields in run.said(window.slug, "source")] == ["incomplete"]
    asked = [(now, request) for now, request in run.venue.asked if request.endswith(window.slug) and now < run.opened[window.slug]]
    assert {"events", "markets"} == {request.split("/")[1] for _, request in asked} and len(asked) <= 20


def rule_2() -> None:
    window = first_window()
    run = Run(Gamma()).until(window.start - 95, window.start - 80)
    facts = run.windows.lives[window.slug].facts
    assert facts and facts.outcomes == ("Up", "Down") and facts.tokens[0] == str(10**70 + window.start)
    wrong = compact({"t": [{"t": facts.tokens[0], "o": "Down"}, {"t": facts.tokens[1], "o": "Up"}]})
    _, commands = run.windows.fetched(1, f"GET /clob-markets/{facts.condition}", 200, wrong)
    assert [(c.kind, c.key) for c in commands if isinstance(c, Mark)] == [("diff", window.slug)]


def rule_3() -> None:
    """1 November 2026, 1am ET comes twice; Gamma says which. The slug is one, and so is the file."""
    first = at("btc", "1h", 1_793_509_200)
    second = at("btc", "1h", first.end)
    assert first.slug == second.slug
    windows = Windows([("btc", "1h")])
    t = (first.start - 60) * SECOND
    windows.tick(t)
    body = market(first, eventStartTime="2026-11-01T06:00:00Z", endDate="2026-11-01T07:00:00Z")
    _, commands = windows.fetched(t, f"GET /markets/slug/{first.slug}", 200, compact(body))
    assert [(c.kind, c.fields["status"]) for c in commands if isinstance(c, Mark)] == [("source", "followed")]
    assert (windows.lives[first.slug].window.start, windows.lives[first.slug].window.end) == (second.start, second.end)
    run = Run(Gamma(), [("btc", "1h")]).until(first.start - 100, second.end + 200)
    assert run.over[first.slug] < second.start + 100 and first.slug not in run.windows.lives


def rule_4() -> None:
    """Best source last; a tick is a strike only where Chainlink settles; a window takes the price of the window before."""
    window, after = first_window(), at("btc", "5m", first_window().end)
    run = Run(Gamma(metadata=False, final=20), [("btc", "5m"), ("btc", "1h"), ("eth", "5m")], result_after_s=10.0)
    run.until(window.start - 95, after.start)
    tick = ReferencePrice(1, after.start * SECOND, "btc/usd", "crypto_prices_twap_sixty", "64000.5", "rtds", 60)
    other = [msgspec.structs.replace(tick, **change) for change in ({"window_s": 0}, {"symbol": "eth/usd"}, {"ts": tick.ts + SECOND})]
    run.windows.lives.pop(at("eth", "5m", after.start).slug, None)
    assert [command for record in other for command in run.windows.heard(1, record)] == []
    assert [c.fields["source"] for c in run.windows.heard(1, tick) if isinstance(c, Mark)] == ["rtds TWAP60 at the start"]
    assert run.windows.heard(1, tick) == []
    run.venue.metadata = True
    run.until(after.start + 1, after.end - 100)
    assert [fields["source"] for _, fields in run.said(after.slug, "strike")] == [
        "gamma finalPrice of the window before",
        "gamma priceToBeat",
    ]
    assert run.windows.heard(1, tick) == []
    hour = at("btc", "1h", START + 7200)
    run.windows.lives[hour.slug] = Life(hour)
    assert run.windows.heard(1, msgspec.structs.replace(tick, ts=hour.start * SECOND)) == []


def rule_5() -> None:
    window = first_window()
    run = Run(Gamma(final=120)).until(window.start - 95, window.end + 119)
    assert not run.said(window.slug, "result")
    condition = run.windows.lives[window.slug].facts.condition  # type: ignore[union-attr]
    told = Lifecycle(1, 7, condition, "market_resolved", "resolved", "Down")
    assert [c.fields["source"] for c in run.windows.heard(1, told) if isinstance(c, Mark)] == ["market_resolved"]
    assert run.windows.heard(1, told) == [] and window.slug in run.windows.lives
    run.venue.winner = "Down"
    run.until(window.end + 119, window.end + 260)
    assert [(fields["outcome"], fields["source"]) for _, fields in run.said(window.slug, "result")] == [("Up", "gamma"), ("Down", "clob")]
    assert [fields["source"] for _, fields in run.said(window.slug, "diff")] == ["clob"]


def rule_6() -> None:
    window = first_window()
    run = Run(Gamma(final=10**9), linger_s=400.0).until(window.start - 95, window.end + 500)
    assert window.end + 400 < run.over[window.slug] <= window.end + 402
    asked = [now for now, request in run.venue.asked if request.endswith(window.slug) and now > window.end + 50]
    waits = [late - early for early, late in zip(asked, asked[1:], strict=False)]
    assert waits == sorted(waits) and waits[0] <= 3 and waits[-1] >= 40


RULES: list[tuple[Any, Any, str, Any]] = [
    (rule_1, Windows, "_wait", lambda self, life, now: 0.0),
    (rule_2, Windows, "_clob", lambda self, life, one: []),
    (rule_3, Windows, "_times", lambda self, life, one: []),
    (rule_3, module, "_DONE", 0),
    (rule_4, module, "_BINANCE", ()),
    (rule_4, Windows, "_carried", lambda self, life: []),
    (rule_5, module, "outcome_of", lambda one: "Up"),
    (rule_5, Windows, "_clob", lambda self, life, one: []),
    (rule_6, Windows, "_complete", lambda self, life, t: t > life.window.end * SECOND),
    (rule_6, Windows, "_wait", lambda self, life, now: 5.0),
]


@pytest.mark.parametrize(("rule", "where", "name", "broken"), RULES, ids=[f"{row[0].__name__}-{row[2]}" for row in RULES])
def test_each_rule_is_kept_and_its_absence_seen(rule: Any, where: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    monkeypatch.setattr(where, name, broken)
    with pytest.raises((AssertionError, StopIteration)):
        rule()


# -- real markets ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.captures
def test_real_markets_become_windows_with_their_tokens_and_results() -> None:
    found = rows()
    assert len(found) == 292
    for row in found:
        slug = row["slug"]
        windows = Windows([])
        window = at("btc", "5m", row["start_sec"])
        windows.lives[slug] = Life(window)
        t = (window.end + 60) * SECOND
        body = compact(
            {
                "slug": slug,
                "markets": [row["raw"]],
                "eventMetadata": {"priceToBeat": row["strike_value"] and int(row["strike_value"]) / 1e18},
            }
        )
        _, commands = windows.fetched(t, f"GET /events/slug/{slug}", 200, body)
        life = windows.lives[slug]
        assert life.facts and list(life.facts.tokens) == row["token_ids"] and life.facts.condition == row["condition_id"]
        assert life.window == window and life.facts.outcomes == ("Up", "Down")
        assert life.result == ("Up" if row["outcome_prices"] == ["1", "0"] else "Down")
        marks = {command.kind: command.fields for command in commands if isinstance(command, Mark)}
        assert ("strike" in marks) == (row["strike_value"] is not None) and set(marks) <= {"strike", "result"}
        if row["strike_value"]:
            assert float(str(marks["strike"]["price"])) == pytest.approx(int(row["strike_value"]) / 1e18, rel=1e-15)


def said_by_gamma(row: dict[str, Any], now: float) -> bytes:
    """What Gamma said of a market at a time: unresolved before its end, as recorded after it."""
    market = dict(row["raw"])
    done = now >= row["end_sec"] + 16
    if not done:
        market |= {"closed": False, "outcomePrices": '["0.5", "0.5"]', "umaResolutionStatus": ""}
    metadata = {"priceToBeat": int(row["strike_value"]) / 1e18} if row["strike_value"] and now > row["start_sec"] + 60 else {}
    return json.dumps({"slug": row["slug"], "markets": [market], "eventMetadata": metadata or None}).encode()


@pytest.mark.captures
def test_the_292_real_markets_are_found_filed_and_settled() -> None:
    markets = {row["slug"]: row for row in rows()}
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
            for mark in windows.fetched(now * SECOND, command.request, 200, said_by_gamma(markets[slug], now))[1]:
                if not isinstance(mark, Mark):
                    continue
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


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "Up"),
        ({"outcomePrices": ["0", "1"]}, "Down"),
        ({"outcomePrices": '["0.5", "0.5"]'}, "split"),
        ({"umaResolutionStatus": None}, "Up"),
        ({"closed": False}, ""),
        ({"closed": None}, ""),
        ({"umaResolutionStatus": "proposed"}, ""),
        ({"umaResolutionStatus": "disputed"}, ""),
        ({"outcomePrices": '["0", "0"]'}, ""),
        ({"outcomePrices": '["1", "1"]'}, ""),
        ({"outcomePrices": '["0.97", "0.03"]'}, ""),
        ({"outcomePrices": None}, ""),
        ({"outcomePrices": '["1"]'}, ""),
        ({"outcomePrices": "nonsense"}, ""),
    ],
)
def test_what_is_a_result(change: dict[str, Any], outcome: str) -> None:
    assert outcome_of(msgspec.convert(market(first_window()) | SETTLED | change, Market)) == outcome


def test_the_event_may_be_an_array_and_a_market_of_another_slug_is_not_ours() -> None:
    window = first_window()
    ours, other = market(window), market(at("btc", "5m", window.end))
    one, _ = gamma(compact([{"slug": "x", "markets": [other]}, {"slug": window.slug, "markets": [other, ours]}]), window.slug, event=True)
    assert one is not None and one.slug == window.slug
    assert gamma(compact({"slug": window.slug, "markets": [other]}), window.slug, event=True)[0] is None
    assert gamma(compact(other), window.slug, event=False)[0] is None
    assert gamma(compact({"markets": None}), window.slug, event=True)[0] is None
    lists = {"outcomes": ["Up", "Down"], "clobTokenIds": ["1", "2"], "unknown": {"x": [1]}}
    windows = Windows([])
    windows.lives[window.slug] = Life(window)
    windows.fetched(1, f"GET /events/slug/{window.slug}", 200, compact({"slug": window.slug, "markets": [market(window) | lists]}))
    assert windows.lives[window.slug].facts.tokens == ("1", "2")  # type: ignore[union-attr]


def test_position_ids_of_version_two_are_taken_and_told() -> None:
    window, windows = first_window(), Windows([])
    windows.lives[window.slug] = Life(window)
    body = market(window, clobTokenIds=None, positionIds='["5", "6"]', version="v2")
    _, commands = windows.fetched(1, f"GET /markets/slug/{window.slug}", 200, compact(body))
    assert windows.lives[window.slug].facts.tokens == ("5", "6")  # type: ignore[union-attr]
    assert [c.fields["status"] for c in commands if isinstance(c, Mark)] == ["v2"]


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (404, b"{}", None),
        (0, b"no answer", None),
        (200, b"<html>", Unknown),
        (200, b'{"slug":"\xff"}', Unknown),
        (200, b"[]", Notice),
        (200, b"", Unknown),
    ],
)
def test_bad_replies_are_told_and_asked_again(status: int, data: bytes, kind: Any) -> None:
    window = first_window()
    windows = Windows([("btc", "5m")])
    t = (window.start - 100) * SECOND
    request = next(c.request for c in windows.tick(t) if isinstance(c, Fetch) and c.request.endswith(window.slug))
    records, commands = windows.fetched(t, request, status, data)
    assert [type(record) for record in records] == ([kind] if kind else []) and not commands
    later = [c.request for second in range(1, 40) for c in windows.tick(t + second * SECOND) if isinstance(c, Fetch)]
    assert any(window.slug in request for request in later)


@pytest.mark.fuzz
@pytest.mark.captures
def test_fuzz() -> None:
    """Whatever Gamma or the CLOB answer: marks that can be written, never an exception, and facts that are whole."""
    window = first_window()
    settled = market(window, **SETTLED, eventStartTime="2026-09-21T14:15:00Z", endDate="2026-09-21T14:20:00Z")
    bodies = [
        compact({"slug": window.slug, "markets": [settled], "eventMetadata": {"priceToBeat": 83884.316, "finalPrice": 1e5}}),
        compact([{"slug": window.slug, "markets": [market(window)]}]),
        compact({"t": [{"t": "1", "o": "Up"}, {"t": "2", "o": "Down"}]}),
        compact({"tokens": [{"token_id": "1", "outcome": "Up", "winner": True}]}),
        *(compact({"slug": row["slug"], "markets": [row["raw"]]}) for row in rows()[:3]),
    ]
    seen: Counter[str] = Counter()
    condition = f"0x{window.start:064x}"
    requests = (f"/events/slug/{window.slug}", f"/markets/slug/{window.slug}", f"/clob-markets/{condition}", f"/markets/{condition}")
    for number, body in enumerate(chain(mutations(bodies, FUZZ, seed=3), retyped(bodies, FUZZ // 4, seed=3))):
        windows = Windows([("btc", "5m")])
        windows.lives[window.slug] = life = Life(window)
        if number % 2:
            windows.fetched(1, f"GET {requests[0]}", 200, bodies[0])
        records, commands = windows.fetched(SECOND, f"GET {requests[number % 4]}", 200, body)
        seen.update(type(one).__name__ for one in [*records, *commands])
        for command in commands:
            if isinstance(command, Mark):
                assert parse(mark_line(1, "tape", command.kind, command.fields)).mark == command.kind
        if life.facts:
            assert len(life.facts.tokens) == len(life.facts.outcomes) >= 2 and all(token.isdecimal() for token in life.facts.tokens)
        windows.tick(SECOND * START)
        windows.over(SECOND * START)
    assert seen["Unknown"] and seen["Mark"]
