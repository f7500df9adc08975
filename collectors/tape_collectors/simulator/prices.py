"""The reference price sockets: RTDS (deprecated, no credentials) and PolyBolt (credentials)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tape_collectors.simulator.server import Client
from tape_collectors.simulator.windows import COINS, price, twap

if TYPE_CHECKING:
    from tape_collectors.simulator.polymarket import Polymarket

_TOPICS = ("crypto_prices", "crypto_prices_chainlink", "crypto_prices_twap_thirty", "crypto_prices_twap_sixty")


def _e18(value: float) -> str:
    return f"{value:.8f}".replace(".", "").lstrip("0") + "0" * 10


#: no tick is sent later than this
_LATE_S = 60


class Rtds:
    """One tick a second, delivered a second late; a filter with a blank gives a snapshot and then silence."""

    def __init__(self, venue: Polymarket) -> None:
        self.venue = venue
        self.last = 0
        #: given ticks of a coin (second -> exact price as an E18 integer) on every Chainlink topic, in place of the simulated ones
        self.ticks: dict[str, dict[int, str]] = {}

    def message(self, client: Client, text: str) -> None:
        """subscribe, or PING (which is not answered)."""
        if text == "PING":
            return
        try:
            wanted = json.loads(text)["subscriptions"]
            items = [(str(item["topic"]), str(item.get("filters", ""))) for item in wanted]
        except (ValueError, KeyError, TypeError):
            return
        if any(topic not in _TOPICS for topic, _ in items):
            self.venue.write(client, '{"body":{"message":"leger GetTopics error"},"statusCode":401}')
            return
        for topic, filters in items:
            symbol = json.loads(filters).get("symbol", "") if filters else ""
            self._snapshot(client, topic, symbol)
            if " " not in filters:
                client.names.add(f"{topic}/{symbol}")

    def _payload(self, topic: str, symbol: str, second: int) -> dict[str, Any] | None:
        coin = symbol.partition("/")[0].removesuffix("usdt")
        if coin not in COINS:
            return None
        if coin in self.ticks and topic != "crypto_prices":
            given = self.ticks[coin].get(second)
            if given is None:
                return None
            return {"full_accuracy_value": given, "symbol": symbol, "timestamp": second * 1000, "value": int(given) / 1e18}
        value = twap(coin, second, self.venue.seed) if "twap" in topic else price(coin, second, self.venue.seed)
        exact = f"{value:.8f}" if topic == "crypto_prices" else _e18(value)
        out: dict[str, Any] = {"full_accuracy_value": exact, "symbol": symbol, "timestamp": second * 1000, "value": value}
        return out | ({"window_s": 60} if "twap_sixty" in topic else {})

    def _snapshot(self, client: Client, topic: str, symbol: str) -> None:
        second = int(self.venue.now()) - 1
        points = [self._payload(topic, symbol, second - back) for back in range(59, -1, -1)]
        data = [{"timestamp": p["timestamp"], "value": p["value"]} for p in points if p]
        label = "crypto_prices" if topic == "crypto_prices_chainlink" else topic
        frame = {"payload": {"data": data, "symbol": symbol}, "timestamp": second * 1000 + 900, "topic": label, "type": "subscribe"}
        self.venue.write(client, json.dumps(frame, separators=(",", ":")))

    def step(self, now: float) -> None:
        """The tick of the second before, and those that a busy machine is late with."""
        second = int(now) - 1
        for tick in range(max(self.last + 1, second - _LATE_S) if self.last else second, second + 1):
            self._tick(tick, now)
        self.last = max(self.last, second)

    def _tick(self, second: int, now: float) -> None:
        for client in list(self.venue.clients):
            for name in [name for name in client.names if name.startswith("crypto_prices")]:
                topic, _, symbol = name.partition("/")
                payload = self._payload(topic, symbol, second)
                if payload:
                    frame = {"connection_id": "c1", "payload": payload, "timestamp": int(now * 1000), "topic": topic, "type": "update"}
                    self.venue.send(client, f"rtds/{name}", json.dumps(frame, separators=(",", ":")))


class PolyBolt:
    """auth first; ``seq`` counts for each connection and channel."""

    def __init__(self, venue: Polymarket, credentials: tuple[str, str, str] | None) -> None:
        self.venue = venue
        self.credentials = credentials
        self.last = 0

    def message(self, client: Client, text: str) -> None:
        """auth, subscribe."""
        try:
            ask = json.loads(text)
            op, rid = ask["op"], ask.get("rid", "")
        except (ValueError, KeyError, TypeError):
            self._error(client, "bad_op", "")
            return
        if op == "auth":
            auth = ask.get("auth", {})
            given = (auth.get("apiKey"), auth.get("secret"), auth.get("passphrase"))
            if self.credentials is None or given != self.credentials:
                self._error(client, "auth_invalid", rid)
                self.venue.close(client, 4001, "auth")
                return
            client.state["authed"] = True
            self.venue.write(client, json.dumps({"op": "authed", "rid": rid}))
        elif op == "subscribe":
            for item in ask.get("subscriptions", []):
                self._subscribe(client, str(item.get("channel", "")), dict(item.get("filter", {})), rid)
        else:
            self._error(client, "bad_op", rid)

    def _subscribe(self, client: Client, channel: str, filters: dict[str, Any], rid: str) -> None:
        if not client.state.get("authed"):
            self._error(client, "auth_required", rid, channel)
            return
        symbol = str(filters.get("symbol", ""))
        if channel not in ("price.crypto", "price.crypto.twap") or symbol.removesuffix("usd") not in COINS:
            self._error(client, "bad_filter", rid, channel)
            return
        self.venue.write(client, json.dumps({"op": "subscribed", "channel": channel, "rid": rid}))
        second = int(self.venue.now()) - 1
        data = [self._point(channel, symbol, second - back) for back in range(119, -1, -1)]
        payload = {"symbol": symbol, "source": "chainlink", "data": data}
        self._envelope(client, channel, second * 1000, payload, snapshot=True)
        client.names.add(f"{channel}/{symbol}")

    def _point(self, channel: str, symbol: str, second: int) -> dict[str, Any]:
        coin = symbol.removesuffix("usd")
        value = twap(coin, second, self.venue.seed) if channel.endswith("twap") else price(coin, second, self.venue.seed)
        return {"timestamp": second * 1000, "value": value, "full_accuracy_value": f"{value:.8f}"}

    def _envelope(self, client: Client, channel: str, ms: int, payload: dict[str, Any], *, snapshot: bool = False) -> None:
        seqs: dict[str, int] = client.state.setdefault("seq", {})
        seqs[channel] = seqs.get(channel, 0) + 1
        frame = {"v": 1, "channel": channel, "seq": seqs[channel], "ts": ms} | ({"snapshot": True} if snapshot else {})
        self.venue.send(client, f"polybolt/{channel}", json.dumps(frame | {"payload": payload}, separators=(",", ":")))

    def _error(self, client: Client, code: str, rid: str, channel: str = "") -> None:
        self.venue.write(client, json.dumps({"op": "error", "code": code, "channel": channel, "rid": rid}))

    def step(self, now: float) -> None:
        """One tick a second."""
        second = int(now) - 1
        if second <= self.last:
            return
        self.last = second
        for client in list(self.venue.clients):
            for name in [name for name in client.names if name.startswith("price.crypto")]:
                channel, _, symbol = name.partition("/")
                payload = {"symbol": symbol, **self._point(channel, symbol, second), "source": "chainlink"}
                self._envelope(client, channel, second * 1000, payload | ({"window_seconds": 60} if channel.endswith("twap") else {}))
