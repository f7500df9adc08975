"""Polymarket as the protocol sheet (2026-11-20) describes it: Gamma, CLOB REST, and the market channel; feeds and chain beside."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from tape_collectors.simulator import chain
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.prices import PolyBolt, Rtds
from tape_collectors.simulator.server import Client, VenueServer
from tape_collectors.simulator.windows import Window, iso, size, span, text, twap

RESOLVE_S = 53.0
STRIKE_S = 60.0
MOST = 500


def dumps(value: object) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"))


class Polymarket(VenueServer):
    """Windows exist from 24 hours before they open. ``markets`` holds given Gamma markets by slug (playback)."""

    name = "polymarket"

    def __init__(
        self,
        faults: Faults,
        *,
        seed: int = 1,
        host: str = "127.0.0.1",
        window_s: float = 0.0,
        resolve_s: float = 0.0,
        credentials: tuple[str, str, str] | None = None,
    ) -> None:
        super().__init__(faults, host)
        self.seed = seed
        self.resolve_s = resolve_s or RESOLVE_S
        self.strike_s = min(STRIKE_S, window_s / 3) if window_s else STRIKE_S
        self.windows: dict[str, Window] = {}
        self.tokens: dict[str, Window] = {}
        self.conditions: dict[str, Window] = {}
        self.markets: dict[str, dict[str, Any]] = {}
        self.strikes: dict[str, float] = {}
        self.rtds = Rtds(self)
        self.polybolt = PolyBolt(self, credentials)
        self.announced: set[str] = set()
        self.now = time.time

    def window(self, slug: str) -> Window | None:
        """The window of a slug, if it exists by now."""
        if slug in self.windows:
            return self.windows[slug]
        found = span(slug)
        if found is None or found[1] - self.now() > 86_400:
            return None
        window = self.windows[slug] = Window(slug, *found, self.seed)
        self.tokens |= {window.up: window, window.down: window}
        self.conditions[window.condition] = window
        return window

    def adopt(self, rows: Iterable[dict[str, Any]], ticks: dict[int, str]) -> None:
        """Serve recorded markets and reference prices in place of simulated ones.

        A row has ``slug``, ``start_sec``, ``end_sec``, ``token_ids``, ``condition_id``, ``strike_value`` (times 10¹⁸) and Gamma's own
        body in ``raw``; ``ticks`` is second -> exact price times 10¹⁸.
        """
        for row in rows:
            window = self.windows[row["slug"]] = Window(row["slug"], row["asset"], row["start_sec"], row["end_sec"], self.seed)
            window.condition, (window.up, window.down) = row["condition_id"], row["token_ids"]
            self.tokens |= {window.up: window, window.down: window}
            self.conditions[window.condition] = window
            self.markets[window.slug] = row["raw"]
            if row["strike_value"]:
                self.strikes[window.slug] = int(row["strike_value"]) / 1e18
        self.rtds.ticks = ticks

    def _given(self, window: Window) -> dict[str, Any]:
        """A recorded market as Gamma would have told it now: it was recorded after its end."""
        market = dict(self.markets[window.slug])
        if not self.resolved(window):
            market |= {"closed": False, "outcomePrices": dumps(["0.5", "0.5"]), "umaResolutionStatus": "", "automaticallyResolved": False}
        return market

    def resolved(self, window: Window) -> bool:
        """Whether the result is out."""
        return self.now() >= window.end + self.resolve_s

    # -- Gamma -----------------------------------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/events/slug/{slug}", self._event_by_slug)
        app.router.add_get("/markets/slug/{slug}", self._market_by_slug)
        app.router.add_get("/events", self._events)
        app.router.add_get("/markets", self._markets)
        app.router.add_get("/book", self._book)
        app.router.add_post("/books", self._books)
        for path in ("midpoint", "price", "spread", "tick-size", "last-trade-price", "neg-risk", "fee-rate"):
            app.router.add_get(f"/{path}", self._quote)
        app.router.add_get("/clob-markets/{cid}", self._clob_market)
        app.router.add_get("/markets/{cid}", self._old_market)
        app.router.add_get("/time", self._time)
        app.router.add_get("/ok", self._ok)
        app.router.add_get("/v2/resolutions", self._resolutions)
        app.router.add_post("/rpc", self._rpc)

    async def _rpc(self, request: web.Request) -> web.StreamResponse:
        return await chain.reply(self, request)

    def market(self, window: Window) -> dict[str, Any]:
        """The Gamma market object. Lists are JSON inside strings."""
        if window.slug in self.markets:
            return self._given(window)
        done = self.resolved(window)
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
            "orderPriceMinTickSize": 0.01,
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
        strike = self.strikes.get(window.slug) if window.slug in self.markets else window.strike
        if self.now() >= window.start + self.strike_s and strike is not None:
            metadata["priceToBeat"] = strike
        if self.resolved(window) and window.slug not in self.markets:
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
        window = self.conditions.get(request.query.get("condition_ids", "")) or self.window(request.query.get("slug", ""))
        # Closed markets are silently left out unless asked for.
        hidden = window is None or (self.resolved(window) and request.query.get("closed") != "true")
        return web.json_response([] if hidden or window is None else [self.market(window)])

    # -- CLOB REST -------------------------------------------------------------------------------------------------------

    def book(self, token: str) -> dict[str, Any]:
        """A book body: bids ascending, asks descending."""
        window = self.tokens[token]
        bids, asks = window.levels(token)
        body = {"market": window.condition, "asset_id": token, "timestamp": str(int(self.now() * 1000))}
        body["hash"] = hashlib.sha1(f"{token}{bids}{asks}".encode(), usedforsecurity=False).hexdigest()
        return body | {"bids": [{"price": p, "size": s} for p, s in bids], "asks": [{"price": p, "size": s} for p, s in asks]}

    def _rest_book(self, token: str) -> dict[str, Any]:
        window = self.tokens[token]
        more = {"min_order_size": "5", "tick_size": "0.01", "neg_risk": False, "last_trade_price": text(window.last_trade)}
        return self.book(token) | more

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
        bids, asks = self.tokens[token].levels(token)
        bid, ask = float(bids[-1][0]), float(asks[-1][0])
        side = bids[-1][0] if request.query.get("side") == "BUY" else asks[-1][0]
        answers: dict[str, dict[str, Any]] = {
            "midpoint": {"mid": f"{(bid + ask) / 2:g}"},
            "price": {"price": side},
            "spread": {"spread": f"{ask - bid:g}"},
            "tick-size": {"minimum_tick_size": 0.01},
            "last-trade-price": {"price": text(self.tokens[token].last_trade), "side": "BUY"},
            "neg-risk": {"neg_risk": False},
            "fee-rate": {"base_fee": 0},
        }
        return web.json_response(answers[request.path[1:]])

    async def _clob_market(self, request: web.Request) -> web.StreamResponse:
        window = self.conditions.get(request.match_info["cid"])
        if window is None:
            return web.json_response({"error": "market not found"}, status=404)
        tokens = [{"t": window.up, "o": "Up"}, {"t": window.down, "o": "Down"}]
        return web.json_response({"t": tokens, "mts": 0.01, "mos": 5, "fd": {"r": 0.07, "e": 1, "to": True}})

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

    async def _time(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(int(self.now()))

    async def _ok(self, request: web.Request) -> web.StreamResponse:
        return web.json_response("OK")

    async def _resolutions(self, request: web.Request) -> web.StreamResponse:
        window = self.conditions.get(request.query.get("condition", ""))
        rows = [{"condition": window.condition, "reporter": "CHAINLINK"}] if window and self.resolved(window) else []
        return web.json_response({"data": rows})

    # -- sockets ---------------------------------------------------------------------------------------------------------

    async def message(self, client: Client, text: str) -> None:
        path = client.path.rstrip("/")
        if path.endswith("/ws/market"):
            self._clob(client, text)
        elif path.endswith("/ws"):
            self.polybolt.message(client, text)
        else:
            self.rtds.message(client, text)

    def _clob(self, client: Client, text: str) -> None:
        if text == "PING":
            self.write(client, "PONG")
            return
        try:
            ask = json.loads(text)
            assets = [str(token) for token in ask.get("assets_ids", [])]
        except (ValueError, AttributeError):
            self.write(client, "INVALID OPERATION")
            return
        client.state["custom"] = bool(ask.get("custom_feature_enabled"))
        if ask.get("operation") == "unsubscribe":
            client.names -= set(assets)
            return
        new = [token for token in assets if token not in client.names and token in self.tokens]
        client.names |= set(new)
        if new and len(client.names) <= MOST:
            extra = {"tick_size": "0.01"}
            books = [{**self.book(t), **extra, "last_trade_price": _last(self.tokens[t], t), "event_type": "book"} for t in new]
            self.send(client, "book", dumps(books))

    def step(self, ms: int) -> None:
        """Move every window that somebody watches; tick the reference prices; announce results."""
        now = self.now()
        watched = {token for client in self.clients for token in client.names}
        for window in {id(w): w for token in watched if (w := self.tokens.get(token))}.values():
            if self.resolved(window):
                self._announce(window, ms)
            elif now < window.end + 2 and window.random.random() < 0.3:
                self._move(window, now, ms)
        self.rtds.step(now)
        self.polybolt.step(now)

    def _move(self, window: Window, now: float, ms: int) -> None:
        changes = window.move(now)
        if not changes:
            return
        legs = []
        bids, asks = window.levels(window.up)
        bid, ask = bids[-1][0], asks[-1][0]
        for p, amount, side in changes:
            digest = hashlib.sha1(f"{window.slug}{ms}{p}{amount}{side}".encode(), usedforsecurity=False).hexdigest()
            leg = {"price": text(p), "size": size(amount), "side": side, "hash": digest}
            legs.append({"asset_id": window.up, **leg, "best_bid": bid, "best_ask": ask})
            other = {"price": text(1000 - p), "size": size(amount), "side": "SELL" if side == "BUY" else "BUY", "hash": digest[::-1]}
            legs.append({"asset_id": window.down, **other, "best_bid": _complement(ask), "best_ask": _complement(bid)})
        event = {"market": window.condition, "price_changes": legs, "timestamp": str(ms), "event_type": "price_change"}
        self._tell(window, "price_change", dumps(event))
        if window.random.random() < 0.1:
            self._trade(window, ms, bid, ask)

    def _trade(self, window: Window, ms: int, bid: str, ask: str) -> None:
        sell = window.random.random() < 0.5
        price = bid if sell else ask
        window.last_trade = round(float(price) * 1000)
        event = {"market": window.condition, "asset_id": window.up, "price": price, "size": "5", "fee_rate_bps": "0"}
        event |= {"side": "SELL" if sell else "BUY", "timestamp": str(ms), "event_type": "last_trade_price"}
        digest = hashlib.sha256(f"{window.slug}{ms}".encode()).hexdigest()
        self._tell(window, "last_trade_price", dumps(event | {"transaction_hash": f"0x{digest}"}))
        for token in (window.up, window.down):
            self._tell(window, "book", dumps({**self.book(token), "event_type": "book"}), token)
        quote = {"market": window.condition, "asset_id": window.up, "best_bid": bid, "best_ask": ask}
        quote |= {"spread": f"{float(ask) - float(bid):.3f}", "timestamp": str(ms), "event_type": "best_bid_ask"}
        self._tell(window, "best_bid_ask", dumps(quote), custom=True)

    def _announce(self, window: Window, ms: int) -> None:
        if window.slug in self.announced:
            return
        self.announced.add(window.slug)
        winner = window.up if window.up_won else window.down
        event = {"event_type": "market_resolved", "id": str(int(window.condition[2:10], 16)), "market": window.condition}
        event |= {"assets_ids": [window.up, window.down], "winning_asset_id": winner}  # type: ignore[dict-item]
        event |= {"winning_outcome": "Up" if window.up_won else "Down", "timestamp": str(ms)}
        self._tell(window, "market_resolved", dumps(event), custom=True)

    def _tell(self, window: Window, stream: str, frame: str, token: str = "", custom: bool = False) -> None:
        tokens = {token} if token else {window.up, window.down}
        self.journal(f"{window.slug}/{stream}", frame)
        for client in self.clients:
            if client.names & tokens and len(client.names) <= MOST and (not custom or client.state.get("custom")):
                self.send(client, stream, frame)


def _last(window: Window, token: str) -> str:
    return text(window.last_trade if token == window.up else 1000 - window.last_trade)


def _complement(price: str) -> str:
    return text(1000 - round(float(price) * 1000))


__all__ = ["Polymarket", "twap"]
