"""Oracles that share nothing with the product: plain json over the captures' own files."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any


@cache
def hftbacktest(path: Path) -> list[tuple[int, dict[str, Any], bytes]]:
    """(receive ns, parsed payload, payload as received)."""
    out = []
    for line in gzip.decompress(path.read_bytes()).splitlines():
        ns, payload = line.split(b" ", 1)
        out.append((int(ns), json.loads(payload), payload))
    return out


def holes(events: Iterable[tuple[int, dict[str, Any], bytes]]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """(symbol, channel) -> missing id ranges, by the venue's own rule, stream by stream."""
    out: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    last: dict[tuple[str, str], int] = {}
    for _, event, _ in events:
        if "stream" not in event:
            continue
        symbol, _, channel = event["stream"].partition("@")
        key, data = (symbol.upper(), channel), event["data"]
        if channel.startswith("depth"):
            first, end = data.get("pu", data["U"] - 1) + 1, data["u"]
        elif channel in ("trade", "aggTrade"):
            first = end = data["t" if channel == "trade" else "a"]
        else:
            out[key] = out[key]
            continue
        found = out[key]
        if key in last and first > last[key] + 1:
            found.append((last[key] + 1, first - 1))
        last[key] = max(end, last.get(key, 0))
    return dict(out)


def book(path: Path, at: int, depth: int) -> tuple[list[list[str]], list[list[str]]]:
    """The best levels of both sides after every event received until ``at``."""
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    kept: list[dict[str, Any]] = []
    snapshot = 0
    for ns, event, _ in hftbacktest(path):
        if ns > at:
            break
        if "lastUpdateId" in event:
            snapshot = event["lastUpdateId"]
            bids, asks = dict(event["bids"]), dict(event["asks"])
            for old in kept:
                _apply(old, snapshot, bids, asks)
        elif "depth" in event["stream"]:
            if not snapshot:
                kept.append(event["data"])
            else:
                _apply(event["data"], snapshot, bids, asks)
    return (
        [[p, s] for p, s in sorted(bids.items(), key=lambda level: -float(level[0]))][:depth],
        [[p, s] for p, s in sorted(asks.items(), key=lambda level: float(level[0]))][:depth],
    )


def _apply(data: dict[str, Any], snapshot: int, bids: dict[str, str], asks: dict[str, str]) -> None:
    if data["u"] < snapshot or ("pu" not in data and data["u"] <= snapshot):
        return
    for side, levels in ((bids, data["b"]), (asks, data["a"])):
        for price, size in levels:
            if float(size):
                side[price] = size
            else:
                side.pop(price, None)
