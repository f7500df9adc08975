"""What is listed on a venue of many perpetuals: exchangeInfo, and the plan by which symbols come and go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.simulator.perpetuals import PERPETUAL, Perpetual, Perpetuals

_NEVER_MS = 4_133_404_800_000
_PLAN = re.compile(r"(list|delist|cut|close)\s*[ =]\s*(\d{1,4})\s*@\s*(\d+(?:\.\d+)?)s")


@dataclass(frozen=True)
class Planned:
    """``what`` happens to ``count`` symbols or connections, ``at_s`` seconds after the start."""

    what: str
    count: int
    at_s: float


def parse(text: str) -> Planned:
    """``list 40@30s``, ``delist 15@60s``, ``cut 3@90s`` (reset), ``close 3@90s``. Raises SettingsError."""
    match = _PLAN.fullmatch(text.strip())
    if match is None or not int(match[2]):
        raise SettingsError(f"--plan {text!r}: expected list, delist, cut or close, a number and a time, as in 'delist 15@60s'")
    return Planned(match[1], int(match[2]), float(match[3]))


def listed(market: Perpetuals, ms: int, limit: int) -> bytes:
    """The body of exchangeInfo."""
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit}]
    rows = [_row(one) for one in market.instruments.values()]
    body = {"timezone": "UTC", "serverTime": ms, "rateLimits": limits, "exchangeFilters": [], "symbols": rows}
    return msgspec.json.encode(body)


def _row(one: Perpetual) -> dict[str, Any]:
    tick, lot = f"{10**-one.tick:.{one.tick}f}", f"{10**-one.lot:.{one.lot}f}"
    pair = one.symbol.partition("_")[0]
    quote = "USDC" if pair.endswith("USDC") else "USDT"
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "10000000", "stepSize": lot},
        {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": "1000000", "stepSize": lot},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
    ]
    return {
        **{"symbol": one.symbol, "pair": pair, "contractType": one.contract, "status": one.status},
        **{"deliveryDate": _NEVER_MS if one.contract == PERPETUAL else 1_798_185_600_000, "onboardDate": one.onboard_ms},
        **{"baseAsset": pair.removesuffix(quote), "quoteAsset": quote, "marginAsset": quote, "underlyingType": "COIN"},
        **{"pricePrecision": one.tick, "quantityPrecision": one.lot, "filters": filters},
        **{"orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC", "IOC", "FOK", "GTX"]},
    }
