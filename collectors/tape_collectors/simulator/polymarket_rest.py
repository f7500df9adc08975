"""Polymarket's REST: Gamma (what windows there are and how they ended), the CLOB's public reads, and the way to the chain."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tape_collectors.simulator import chain
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.server import VenueServer
from tape_collectors.simulator.windows import COINS, Window, iso, span, text, ticks

#: a window exists so long before it opens (sheet 1.2)
AHEAD_S = 86_400
_MANY = {"midpoints": "midpoint", "prices": "price", "spreads": "spread", "last-trades-prices": "last-trade-price"}
_SERIES = 10_191
_SERIES_LENGTHS = (("5m", 300), ("15m", 900))


def dumps(value: object) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"))


class PolymarketRest(VenueServer):
    """``now`` is the venue's clock in seconds."""

    resolve_s: float
    strike_s: float
    seed: int

    def __init__(self, faults: Faults, host: str, journal: Journal | None) -> None:
        super().__init__(faults, host, journal)
        self.windows: dict[str, Window] = {}
        self.tokens: dict[str, Window] = {}
        self.conditions: dict[str, Window] = {}
        self.now: Callable[[], float] = time.time

    def found(self, window: Window) -> None:
        """A window is known from now on."""

    def window(self, slug: str) -> Window | None:
        """The window of a slug, if it exists by now."""
        if slug in self.windows:
            return self.windows[slug] if self.windows[slug].start - self.now() <= AHEAD_S else None
        found = span(slug)
        if found is None or found[1] - self.now() > AHEAD_S:
            return None
        window = self.windows[slug] = Window(slug, *found, self.seed)
        self.tokens |= {window.up: window, window.down: window}
        self.conditions[window.condition] = window
        self.found(window)
        return window

    def resolved(self, window: Window) -> bool:
        """Whether the result is out."""
        return self.now() >= (window.closes or window.end + self.resolve_s)

    # -- Gamma -----------------------------------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/events/slug/{slug}", self._event_by_slug)
        app.router.add_get("/markets/slug/{slug}", self._market_by_slug)
        app.router.add_get("/events", self._events)
        app.router.add_get("/markets", self._markets)
        app.router.add_get("/events/keyset", self._keyset)
        app.router.add_get("/series", self._series)
        app.router.add_get("/book", self._book)
        app.router.add_post("/books", self._books)
        for path in ("midpoint", "price", "spread", "tick-size", "last-trade-price", "neg-risk", "fee-rate"):
            app.router.add_get(f"/{path}", self._quote)
        for path in _MANY:
            app.router.add_post(f"/{path}", self._quotes)
        app.router.add_get("/clob-markets/{cid}", self._clob_market)
        app.router.add_get("/markets/{cid}", self._old_market)
        app.router.add_get("/time", self._time)
        app.router.add_get("/ok", self._ok)
        app.router.add_get("/", self._ok)
        app.router.add_get("/v2/resolutions", self._resolutions)
        app.router.add_post("/rpc", self._rpc)

    def market(self, window: Window) -> dict[str, Any]:
        """The Gamma market object. Lists are JSON inside strings."""
        done = self.resolved(window)
        given = window.market(done)
        if given is not None:
            return given
        tokens = [window.up, window.down]
        prices = (["1", "0"] if window.up_won else ["0", "1"]) if done else ["0.5", "0.5"]
        hidden = self.faults.first("no_tokens", self.name, window.slug)
        return {
            "id": str(int(window.condition[2:10], 16)),
            "question": f"{window.coin.upper()} Up or Down",
            "conditionId": window.condition,
            "questionID": "0x" + hashlib.sha256(window.condition.encode()).hexdigest(),
            "slug": window.slug,
            "outcomes": dumps(["Up", "Down"]),
            "outcomePrices": dumps(prices),
            "clobTokenIds": "" if hidden else dumps(tokens),
            "startDate": iso(window.start - 85_000),
            "eventStartTime": iso(window.start),
            "endDate": iso(window.end),
            "active": True,
            "closed": done,
            "acceptingOrders": not done,
            "enableOrderBook": True,
            "orderPriceMinTickSize": window.tick / 1000,
            "orderMinSize": 5,
            "negRisk": False,
            "automaticallyResolved": done,
            "version": "v1",
            "cryptoMarketConfig": {"asset": window.coin, "twapEnabled": True, "twapLookbackSeconds": 60},
            "resolutionSource": f"https://data.chain.link/streams/{window.coin}-usd-twap-60s-streams",
            **({"umaResolutionStatus": "resolved", "closedTime": iso(int(window.end + self.resolve_s))} if done else {}),
        }

    def event(self, window: Window) -> dict[str, Any]:
        """The Gamma event object around the market."""
        market = self.market(window)
        body = {"id": "9" + market["id"], "slug": window.slug, "ticker": window.slug, "title": market["question"], "markets": [market]}
        body |= {"startTime": iso(window.start), "endDate": market["endDate"], "closed": market["closed"], "active": True}
        metadata = {}
        if self.now() >= window.start + self.strike_s and window.known_strike is not None:
            metadata["priceToBeat"] = window.strike
        if self.resolved(window):
            metadata["finalPrice"] = window.final
        return body | ({"eventMetadata": metadata} if metadata else {})

    async def _event_by_slug(self, request: web.Request) -> web.StreamResponse:
        window = self.window(request.match_info["slug"])
        return web.json_response(self.event(window)) if window else web.json_response({"type": "not found error"}, status=404)

    async def _market_by_slug(self, request: web.Request) -> web.StreamResponse:
        window = self.window(request.match_info["slug"])
        return web.json_response(self.market(window)) if window else web.json_response({"type": "not found error"}, status=404)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        window = self.window(request.query.get("slug", ""))
        return web.json_response([self.event(window)] if window else [])

    async def _markets(self, request: web.Request) -> web.StreamResponse:
        ids = [cid for text in request.query.getall("condition_ids", []) for cid in text.split(",")]
        found = [self.conditions.get(cid) for cid in ids] + [self.window(slug) for slug in request.query.getall("slug", [])]
        # Closed markets are silently left out unless asked for (sheet 1).
        closed = request.query.get("closed") == "true"
        return web.json_response([self.market(window) for window in found if window and (closed or not self.resolved(window))])

    async def _keyset(self, request: web.Request) -> web.StreamResponse:
        if "offset" in request.query:
            return web.json_response({"type": "validation error", "error": "offset is not supported"}, status=422)
        series = self._series_of(request.query.get("series_id", ""))
        if series is None:
            return web.json_response({"events": []})
        coin, name, seconds = series
        first = int(self.now()) // seconds * seconds
        starts = range(first, first + AHEAD_S, seconds)
        after = int(request.query.get("after_cursor") or 0)
        limit = min(100, int(request.query.get("limit", "20")))
        some = [start for start in starts if start > after][:limit]
        windows = [self.window(f"{coin}-updown-{name}-{start}") for start in some]
        body: dict[str, Any] = {"events": [self.event(window) for window in windows if window]}
        return web.json_response(body | ({"next_cursor": str(some[-1])} if len(some) == limit else {}))

    def _series_of(self, number: str) -> tuple[str, str, int] | None:
        at = int(number) - _SERIES if number.isdigit() else -1
        if not 0 <= at < len(COINS) * len(_SERIES_LENGTHS):
            return None
        return (COINS[at // len(_SERIES_LENGTHS)], *_SERIES_LENGTHS[at % len(_SERIES_LENGTHS)])

    async def _series(self, request: web.Request) -> web.StreamResponse:
        slug = request.query.get("slug", "")
        rows = []
        for at in range(len(COINS) * len(_SERIES_LENGTHS)):
            coin, name, _ = self._series_of(str(_SERIES + at)) or ("", "", 0)
            if slug in ("", f"{coin}-up-or-down-{name}"):
                rows.append({"id": str(_SERIES + at), "slug": f"{coin}-up-or-down-{name}", "recurrence": name})
        return web.json_response(rows)

    # -- CLOB REST -------------------------------------------------------------------------------------------------------

    def book(self, token: str) -> dict[str, Any]:
        """A book as the market channel sends it: bids ascending, asks descending. ``hash`` by the official client's formula."""
        window = self.tokens[token]
        bids, asks = ([{"price": price, "size": amount} for price, amount in side] for side in window.levels(token))
        head = {"market": window.condition, "asset_id": token, "timestamp": str(int(self.now() * 1000))}
        summary = {**head, "hash": "", "bids": bids, "asks": asks, **self._summary(token)}
        digest = hashlib.sha1(dumps(summary).encode(), usedforsecurity=False).hexdigest()
        return {**head, "hash": digest, "bids": bids, "asks": asks}

    def details(self, token: str) -> dict[str, str]:
        """What only the first book of a subscription has."""
        window = self.tokens[token]
        last = window.last_trade if token == window.up else 1000 - window.last_trade
        return {"tick_size": text(window.tick), "last_trade_price": text(last)}

    def _summary(self, token: str) -> dict[str, Any]:
        details = self.details(token)
        return {
            "min_order_size": "5",
            "tick_size": details["tick_size"],
            "neg_risk": False,
            "last_trade_price": details["last_trade_price"],
        }

    def _rest_book(self, token: str) -> dict[str, Any]:
        return self.book(token) | self._summary(token)

    def _known(self, token: str) -> bool:
        return token in self.tokens and not self.resolved(self.tokens[token])

    async def _book(self, request: web.Request) -> web.StreamResponse:
        token = request.query.get("token_id", "")
        if not self._known(token):
            return web.json_response({"error": "No orderbook exists for the requested token id"}, status=404)
        return web.json_response(self._rest_book(token))

    async def _books(self, request: web.Request) -> web.StreamResponse:
        tokens = [row["token_id"] for row in await request.json()]
        return web.json_response([self._rest_book(token) for token in tokens if self._known(token)])

    async def _quote(self, request: web.Request) -> web.StreamResponse:
        token = request.query.get("token_id", "")
        if not self._known(token):
            return web.json_response({"error": "No orderbook exists for the requested token id"}, status=404)
        return web.json_response(self._answer(request.path[1:], token, request.query.get("side", "")))

    async def _quotes(self, request: web.Request) -> web.StreamResponse:
        """The POST forms: what is not known is left out."""
        kind = _MANY[request.path[1:]]
        asked = [(row["token_id"], row.get("side", "")) for row in await request.json() if self._known(row["token_id"])]
        if kind == "last-trade-price":
            return web.json_response([{"token_id": token, **self._answer(kind, token, "")} for token, _ in asked])
        if kind == "price":
            prices: dict[str, dict[str, str]] = {}
            for token, side in asked:
                prices.setdefault(token, {})[side] = self._answer(kind, token, side)["price"]
            return web.json_response(prices)
        key = {"midpoint": "mid", "spread": "spread"}[kind]
        return web.json_response({token: self._answer(kind, token, "")[key] for token, _ in asked})

    def _answer(self, kind: str, token: str, side: str) -> dict[str, Any]:
        window = self.tokens[token]
        bids, asks = window.levels(token)
        bid, ask = ticks(bids[-1][0]), ticks(asks[-1][0])
        answers: dict[str, dict[str, Any]] = {
            "midpoint": {"mid": f"{(bid + ask) / 2000:g}"},
            # The best bid for BUY, the best ask for SELL (sheet 3).
            "price": {"price": text(bid if side == "BUY" else ask)},
            "spread": {"spread": text(ask - bid)},
            "tick-size": {"minimum_tick_size": window.tick / 1000},
            "last-trade-price": {"price": self.details(token)["last_trade_price"], "side": "BUY"},
            "neg-risk": {"neg_risk": False},
            "fee-rate": {"base_fee": 0},
        }
        return answers[kind]

    async def _clob_market(self, request: web.Request) -> web.StreamResponse:
        window = self.conditions.get(request.match_info["cid"])
        if window is None:
            return web.json_response({"error": "market not found"}, status=404)
        tokens = [{"t": window.up, "o": "Up"}, {"t": window.down, "o": "Down"}]
        return web.json_response({"t": tokens, "mts": window.tick / 1000, "mos": 5, "fd": {"r": 0.07, "e": 1, "to": True}})

    async def _old_market(self, request: web.Request) -> web.StreamResponse:
        window = self.conditions.get(request.match_info["cid"])
        if window is None:
            return web.json_response({"error": "market not found"}, status=404)
        done = self.resolved(window)
        tokens = [
            {"token_id": token, "outcome": name, "price": 0.5, "winner": done and window.up_won == (name == "Up")}
            for name, token in (("Up", window.up), ("Down", window.down))
        ]
        return web.json_response({"condition_id": window.condition, "market_slug": window.slug, "closed": done, "tokens": tokens})

    async def _rpc(self, request: web.Request) -> web.StreamResponse:
        return await chain.reply(self, request)

    async def _time(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(int(self.now()))

    async def _ok(self, request: web.Request) -> web.StreamResponse:
        return web.json_response("OK")

    async def _resolutions(self, request: web.Request) -> web.StreamResponse:
        window = self.conditions.get(request.query.get("condition", ""))
        rows = [{"condition": window.condition, "reporter": "CHAINLINK"}] if window and self.resolved(window) else []
        return web.json_response({"data": rows})
