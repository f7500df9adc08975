"""Small tapes, made as a recorder makes them, for tests of readers."""

from __future__ import annotations

import json
from pathlib import Path

from tape_archive.format.lines import frame_line, mark_line, reply_line
from tape_archive.format.tape import Tape

SECOND = 1_000_000_000
#: 2026-01-10T12:00:00Z
NOON = 1_768_046_400 * SECOND


class Writer:
    """One tape of ``binance_spot``; times in seconds after noon."""

    def __init__(self, root: Path, venue: str = "binance_spot", stream: str = "spot", run: str = "r1", at: float = 0.0) -> None:
        self.tape = Tape(root, venue, stream)
        self.head = {"format": 1, "venue": venue, "stream": stream, "run": run, "setup": {}}
        self.turn(at)

    def turn(self, at: float) -> None:
        """Begin a segment."""
        self.tape.turn(self.ns(at), [mark_line(self.ns(at), "tape", "tape", self.head)])

    @staticmethod
    def ns(at: float) -> int:
        """Tape time."""
        return NOON + round(at * SECOND)

    def mark(self, at: float, s: str, kind: str, **fields: object) -> None:
        """One mark."""
        self.tape.append(mark_line(self.ns(at), s, kind, fields), 1)

    def open(self, at: float, s: str = "spot-1", names: tuple[str, ...] = ()) -> None:
        """A socket is up."""
        self.mark(at, s, "open", url="wss://x", group=s.rpartition("-")[0], **({"names": list(names)} if names else {}))

    def close(self, at: float, s: str = "spot-1", why: str = "connection lost") -> None:
        """A socket is gone."""
        self.mark(at, s, "close", why=why, code=1006)

    def frame(self, at: float, stream: str, data: dict[str, object], s: str = "spot-1") -> None:
        """One frame of a combined stream."""
        payload = json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()
        self.tape.append(frame_line(self.ns(at), s, payload), 1)

    def trade(self, at: float, number: int, s: str = "spot-1", symbol: str = "BTCUSDT") -> None:
        """One fill."""
        data = {"e": "trade", "E": 1, "s": symbol, "t": number, "p": "1.0", "q": "2.0", "T": 1, "m": True}
        self.frame(at, f"{symbol.lower()}@trade", data, s)

    def quote(self, at: float, number: int, s: str = "spot-1", symbol: str = "BTCUSDT") -> None:
        """One bookTicker."""
        self.frame(at, f"{symbol.lower()}@bookTicker", {"u": number, "s": symbol, "b": "1", "B": "1", "a": "2", "A": "1"}, s)

    def depth(
        self, at: float, first: int, last: int, s: str = "spot-1", bids: object = (), asks: object = (), symbol: str = "BTCUSDT"
    ) -> None:
        """One depth event."""
        data = {"e": "depthUpdate", "E": 1, "s": symbol, "U": first, "u": last, "b": bids, "a": asks}
        self.frame(at, f"{symbol.lower()}@depth@100ms", data, s)

    def snapshot(self, at: float, last: int, bids: object, asks: object, symbol: str = "BTCUSDT") -> None:
        """A REST depth reply."""
        body = json.dumps({"lastUpdateId": last, "bids": bids, "asks": asks}, separators=(",", ":")).encode()
        self.tape.append(reply_line(self.ns(at), f"GET /api/v3/depth?symbol={symbol}&limit=5000", body), 1)

    def seal(self, at: float) -> None:
        """The end."""
        self.tape.seal(self.ns(at))
