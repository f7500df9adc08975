"""Trees of small windows, as poly-record leaves them."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

from tape_archive.format.lines import frame_line, mark_line
from tape_archive.format.tape import register

SECOND = 1_000_000_000
#: 2026-01-04T06:15:00Z
FIRST = 1_767_507_300
LENGTH = 900


def slug(start: int, coin: str = "btc") -> str:
    return f"{coin}-updown-15m-{start}"


def content(start: int, coin: str = "btc", books: int = 20, resolved: bool = True, sealed: bool = True) -> bytes:
    """A window's tape; the same for the same arguments."""
    chance = random.Random(f"{coin} {start}")
    t = start * SECOND
    name = slug(start, coin)
    window = {
        "slug": name,
        "start": start,
        "end": start + LENGTH,
        "coin": coin,
        "timeframe": "15m",
        "tokens": ["1", "2"],
        "outcomes": ["Up", "Down"],
    }
    lines = [mark_line(t, "tape", "tape", {"format": 1, "venue": "polymarket", "stream": name, "run": "r", "window": window})]
    lines.append(mark_line(t + 1, "clob-1", "open", {"group": "clob", "names": ["1+2"]}))
    for n in range(books):
        price = chance.randrange(10, 90)
        book = {
            "event_type": "book",
            "asset_id": str(1 + n % 2),
            "timestamp": str((start + n) * 1000),
            "hash": f"{chance.getrandbits(160):040x}",
            "bids": [{"price": f"0.{price - level:02d}", "size": f"{chance.randrange(1, 9000) / 10}"} for level in range(9, 0, -1)],
            "asks": [{"price": f"0.{price + level:02d}", "size": f"{chance.randrange(1, 9000) / 10}"} for level in range(9, 0, -1)],
        }
        lines.append(frame_line(t + (n + 2) * 1_000_000, "clob-1", json.dumps([book]).encode()))
    if resolved:
        lines.append(mark_line(t + LENGTH * SECOND, "tape", "result", {"outcome": "Up", "source": "gamma", "ts": t, "final": True}))
    if sealed:
        lines.append(mark_line(t + LENGTH * SECOND + 1, "tape", "seal", {"lines": len(lines)}))
    return b"".join(lines)


def record(root: Path, count: int, *, first: int = FIRST, coin: str = "btc", books: int = 20) -> dict[str, str]:
    """``count`` sealed windows in ``real_hot``; gives the sha256 of each by slug."""
    sums = {}
    for n in range(count):
        sums[slug(first + n * LENGTH, coin)] = hot(root, first + n * LENGTH, coin, books=books)
    return sums


def hot(root: Path, start: int, coin: str = "btc", *, books: int = 20, resolved: bool = True, sealed: bool = True) -> str:
    """One hot window; gives its sha256."""
    path = root / "real_hot" / f"{slug(start, coin)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content(start, coin, books, resolved, sealed)
    path.write_bytes(data)
    if sealed:
        register(path)
    return hashlib.sha256(data).hexdigest()
