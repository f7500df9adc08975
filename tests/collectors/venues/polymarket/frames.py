"""Frames of the market channel as the sheet writes them, and the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MARKET = "0x5dacb3919e3eb6372770cba85c42e0f980ddf18b1a767751de700ee272269233"
OTHER = "0x3bb59c17b8ec156f8ef55d6de522c53c8bcc8fc708bfba00e1c7820c208ee28b"
UP, DOWN = "63691357964355397861776339416833450653158434687925250159757815624217137833471", "7" * 77
SECOND = 1_000_000_000


def compact(value: object) -> bytes:
    """JSON as the venue writes it."""
    return json.dumps(value, separators=(",", ":")).encode()


def book(asset: str, ms: int, bids: dict[str, str], asks: dict[str, str], *, market: str = MARKET, digest: str = "") -> dict[str, Any]:
    """A ``book`` event; levels best-last."""
    rows = [[{"price": p, "size": s} for p, s in sorted(side.items(), key=lambda level: float(level[0]))] for side in (bids, asks)]
    head = {"market": market, "asset_id": asset, "timestamp": str(ms), "hash": digest or f"book-{asset[:3]}-{ms}"}
    return head | {"bids": rows[0], "asks": rows[1][::-1], "tick_size": "0.01", "event_type": "book"}


def leg(asset: str, price: str, size: str, side: str, best: tuple[str, str] = ("", ""), digest: str = "") -> dict[str, str]:
    """One element of ``price_changes``."""
    out = {"asset_id": asset, "price": price, "size": size, "side": side, "hash": digest or f"{price}{size}{side}"}
    return out | {"best_bid": best[0], "best_ask": best[1]}


def change(ms: int, *legs: dict[str, str], market: str = MARKET) -> dict[str, Any]:
    """A ``price_change`` event."""
    return {"market": market, "price_changes": list(legs), "timestamp": str(ms), "event_type": "price_change"}


def trade(
    asset: str, ms: int, price: str = "0.5", size: str = "3", side: str = "BUY", chain: str = "0xab", market: str = MARKET
) -> dict[str, Any]:
    """A ``last_trade_price`` event."""
    out = {"market": market, "asset_id": asset, "price": price, "size": size, "fee_rate_bps": "0", "side": side}
    return out | {"timestamp": str(ms), "event_type": "last_trade_price", "transaction_hash": chain}


def real(root: Path) -> list[tuple[str, bytes]]:
    """(file, frame) of every captured market-channel frame, compact as on the wire."""
    folder = root / "polymarket"
    out = []
    for path in sorted(folder.glob("netqo*/*.jsonl")):
        out += [(path.name, line.encode()) for line in path.read_text().splitlines() if line.strip()]
    out.append(("rest_book.json", (folder / "netqo-polymarket-scraper/rest_book.json").read_bytes().strip()))
    for path in [
        *sorted(folder.glob("nautilus_trader/ws_messages/*.json")),
        *sorted(folder.glob("nautilus_trader/rust_test_data/ws_*.json")),
    ]:
        value = json.loads(path.read_text())
        out += [(path.name, compact(one)) for one in (value if isinstance(value, list) else [value])]
    return out


def real_prices(root: Path) -> list[tuple[str, bytes]]:
    """(file, frame) of every captured RTDS frame."""
    folder = root / "polymarket"
    lines = (folder / "polyoxide-rtds-2026-09-05/rtds_frames.jsonl").read_text().splitlines()
    out = [("rtds_frames.jsonl", line.encode()) for line in lines if line.strip()]
    files = sorted(folder.glob("nautilus_trader/rust_test_data/rtds_*.json"))
    return out + [(path.name, compact(json.loads(path.read_text()))) for path in files]


def real_bolts(root: Path) -> list[bytes]:
    """The documented PolyBolt frames."""
    lines = (root / "polymarket/docs-examples/polybolt_doc_examples.jsonl").read_bytes().splitlines()
    return [line for line in lines if line.strip()]
