"""Process-wide pacing of connection attempts: venues count them by address, whichever group they are for."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

#: between two attempts at one host: OKX allows 3 a second, Binance 300 in 5 minutes for each address (sheet 1)
GAP_S = 0.35


class Dial:
    """Shared by all pools of a process."""

    def __init__(self, gap_s: float = GAP_S) -> None:
        self._gap = gap_s
        self._free: dict[str, float] = {}

    async def turn(self, url: str) -> None:
        """Wait for this host's next attempt."""
        host = urlsplit(url).netloc
        now = asyncio.get_running_loop().time()
        at = max(now, self._free.get(host, now))
        self._free[host] = at + self._gap
        if at > now:
            await asyncio.sleep(at - now)
