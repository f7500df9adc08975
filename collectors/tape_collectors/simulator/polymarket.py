"""Polymarket as the protocol sheet (2026-11-20) describes it: Gamma, CLOB REST, and the market channel; feeds and chain beside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.given import given
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.polymarket_rest import PolymarketRest, dumps
from tape_collectors.simulator.prices import PolyBolt, Rtds
from tape_collectors.simulator.server import Client
from tape_collectors.simulator.windows import Window, size, text, ticks

RESOLVE_S = 53.0
STRIKE_S = 60.0
MOST = 500
#: fault ``edge``: so long before a window's end its last trades come thick
EDGE_S = 1.0


class Polymarket(PolymarketRest):
    """Windows exist from 24 hours before they open."""

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
        journal: Journal | None = None,
    ) -> None:
        super().__init__(faults, host, journal)
        self.seed = seed
        self.resolve_s = resolve_s or RESOLVE_S
        self.strike_s = min(STRIKE_S, window_s / 3) if window_s else STRIKE_S
        self.rtds = Rtds(self)
        self.polybolt = PolyBolt(self, credentials)
        self.announced: set[str] = set()

    def adopt(self, rows: Iterable[dict[str, Any]], ticks: dict[int, str]) -> None:
        """Serve recorded markets and reference prices in place of simulated ones.

        A row has ``slug``, ``asset``, ``start_sec``, ``end_sec``, ``token_ids``, ``condition_id``, ``outcome_prices``, ``strike_value``
        (times 10¹⁸) and Gamma's own body in ``raw``; ``ticks`` is second -> exact price times 10¹⁸.
        """
        self.take(given(rows, ticks), ticks)

    def take(self, windows: Sequence[Window], ticks: dict[int, str]) -> None:
        """The same with windows that are made already; all of one coin."""
        for window in windows:
            self.windows[window.slug] = self.tokens[window.up] = self.tokens[window.down] = window
            self.conditions[window.condition] = window
            self.rtds.ticks[window.coin] = ticks

    # -- sockets ---------------------------------------------------------------------------------------------------------

    def endpoints(self) -> dict[str, str]:
        rest = {key: self.rest for key in ("gamma", "clob", "data")}
        return {**rest, "rpc": f"{self.rest}/rpc", **{key: self.ws for key in ("ws", "rtds", "polybolt")}}

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
        if "custom_feature_enabled" in ask:
            client.state["custom"] = bool(ask["custom_feature_enabled"])
        if ask.get("operation") == "unsubscribe":
            client.names -= set(assets)
            return
        new = [token for token in assets if token not in client.names and token in self.tokens]
        client.names |= set(new)
        if new and len(client.names) <= MOST:
            books = [{**self.book(t), **self.details(t), "event_type": "book"} for t in new]
            self.send(client, "book", dumps(books))

    def step(self, ms: int) -> None:
        """Move every window that somebody watches; tick the reference prices; announce results."""
        now = self.now()
        watched = {token for client in self.clients for token in client.names}
        windows = list({id(w): w for token in watched if (w := self.tokens.get(token))}.values())
        if self.faults.first("edge", self.name):
            self._edges(windows, now, ms)
        for window in windows:
            if self.resolved(window):
                self._announce(window, ms)
            elif now < window.end + 2 and window.random.random() < 0.3:
                self._move(window, now, ms)
        self.rtds.step(now)
        self.polybolt.step(now)

    def _move(self, window: Window, now: float, ms: int) -> None:
        changes = window.move(now)
        if changes:
            self._change(window, ms, changes)
        if window.random.random() < 0.1:
            self._trade(window, ms)
        if finer := window.finer():
            for token in (window.up, window.down):
                event = {"market": window.condition, "asset_id": token, "old_tick_size": finer[0], "new_tick_size": finer[1]}
                self._tell(window, "tick_size_change", dumps(event | {"timestamp": str(ms), "event_type": "tick_size_change"}), token)
            self._books_again(window)

    def _edges(self, windows: Sequence[Window], now: float, ms: int) -> None:
        """What races at an edge: the window that ends goes on trading until it is forgotten, the next one trades as much, and frames
        hold books of both (arrays may be mixed, sheet 2.4)."""
        for window in windows:
            following = next((one for one in windows if one.coin == window.coin and one.start == window.end), None)
            if following is None or now < window.end - EDGE_S:
                continue
            for one in (window, following):
                self._trade(one, ms)
            for client in self.clients:
                tokens = [token for token in (window.up, following.up, following.down) if token in client.names]
                if tokens:
                    self.send(client, "book", dumps([{**self.book(token), "event_type": "book"} for token in tokens]))

    def _change(self, window: Window, ms: int, changes: list[tuple[int, int, str]]) -> None:
        """Both legs of each change in one price_change."""
        legs = []
        bid, ask = max(window.bids), min(window.asks)
        for number, (price, amount, side) in enumerate(changes):
            digest = hashlib.sha1(f"{window.slug}{ms}{number}{price}{amount}{side}".encode(), usedforsecurity=False).hexdigest()
            leg = {"price": text(price), "size": size(amount), "side": side, "hash": digest}
            legs.append({"asset_id": window.up, **leg, "best_bid": text(bid), "best_ask": text(ask)})
            other = {"price": text(1000 - price), "size": size(amount), "side": "SELL" if side == "BUY" else "BUY", "hash": digest[::-1]}
            legs.append({"asset_id": window.down, **other, "best_bid": text(1000 - ask), "best_ask": text(1000 - bid)})
        event = {"market": window.condition, "price_changes": legs, "timestamp": str(ms), "event_type": "price_change"}
        self._tell(window, "price_change", dumps(event))

    def _trade(self, window: Window, ms: int) -> None:
        """A taker takes from the best level; the level, the trade, and both books again."""
        change, taken = window.trade()
        self._change(window, ms, [change])
        token = window.random.choice((window.up, window.down))
        price = window.last_trade if token == window.up else 1000 - window.last_trade
        sells = (change[2] == "BUY") == (token == window.up)
        event = {"market": window.condition, "asset_id": token, "price": text(price), "size": size(taken), "fee_rate_bps": "0"}
        event |= {"side": "SELL" if sells else "BUY", "timestamp": str(ms), "event_type": "last_trade_price"}
        digest = hashlib.sha256(f"{window.slug}{ms}".encode()).hexdigest()
        self._tell(window, "last_trade_price", dumps(event | {"transaction_hash": f"0x{digest}"}), token)
        self._books_again(window)
        for one in (window.up, window.down):
            bids, asks = window.levels(one)
            quote = {"market": window.condition, "asset_id": one, "best_bid": bids[-1][0], "best_ask": asks[-1][0]}
            quote |= {"spread": text(ticks(asks[-1][0]) - ticks(bids[-1][0])), "timestamp": str(ms), "event_type": "best_bid_ask"}
            self._tell(window, "best_bid_ask", dumps(quote), one, custom=True)

    def _books_again(self, window: Window) -> None:
        for token in (window.up, window.down):
            self._tell(window, "book", dumps({**self.book(token), "event_type": "book"}), token)

    def found(self, window: Window) -> None:
        """A market is known from now on: new_market, to everybody who wants such events."""
        tokens = [window.up, window.down]
        event = {"id": str(int(window.condition[2:10], 16)), "question": f"{window.coin.upper()} Up or Down", "market": window.condition}
        event |= {"condition_id": window.condition, "slug": window.slug, "assets_ids": tokens, "clob_token_ids": tokens}  # type: ignore[dict-item]
        event |= {"outcomes": ["Up", "Down"], "active": True, "timestamp": str(int(self.now() * 1000))}  # type: ignore[dict-item]
        self._tell_all("new_market", dumps(event | {"order_price_min_tick_size": "0.01", "event_type": "new_market"}))

    def _announce(self, window: Window, ms: int) -> None:
        if window.slug in self.announced:
            return
        self.announced.add(window.slug)
        winner = window.up if window.up_won else window.down
        event = {"id": str(int(window.condition[2:10], 16)), "market": window.condition}
        event |= {"assets_ids": [window.up, window.down], "winning_asset_id": winner}  # type: ignore[dict-item]
        event |= {"winning_outcome": "Up" if window.up_won else "Down", "timestamp": str(ms), "event_type": "market_resolved"}
        self._tell_all("market_resolved", dumps(event))

    def _tell_all(self, stream: str, frame: str) -> None:
        """Lifecycle events are not limited to a client's assets (sheet 2.6)."""
        for client in self.clients:
            if client.state.get("custom"):
                self.send(client, stream, frame)

    def _tell(self, window: Window, stream: str, frame: str, token: str = "", custom: bool = False) -> None:
        tokens = {token} if token else {window.up, window.down}
        for client in self.clients:
            if client.names & tokens and (not custom or client.state.get("custom")):
                self.send(client, stream, frame)
