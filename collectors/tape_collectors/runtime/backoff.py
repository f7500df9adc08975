"""When to try again: the delays are a generator, and whether it is worth it is one function."""

from __future__ import annotations

import random
from collections.abc import Iterator

import aiohttp
import picows

from tape_archive.format.errors import RateLimited, TapeError

CAP_S = 60.0


def delays(first_s: float = 0.25, cap_s: float = CAP_S, chance: random.Random | None = None) -> Iterator[float]:
    """Endless delays in seconds: nearly none, then full jitter under a ceiling that doubles up to ``cap_s``.

    The caller throws the generator away after *data* came (not after a mere connect), and begins another.
    """
    chance = chance or random.Random()
    yield chance.uniform(0, first_s)
    ceiling = first_s * 2
    while True:
        yield chance.uniform(ceiling / 4, ceiling)
        ceiling = min(cap_s, ceiling * 2)


def worth_retry(error: BaseException) -> float | None:
    """At least so many seconds to wait before trying again; None: never again, it is a bug or a setting."""
    if isinstance(error, RateLimited):
        return error.retry_after
    if isinstance(error, TapeError):
        return 0.0 if error.retry else None
    if isinstance(error, picows.WSInvalidStatusError):
        # 403, 418, 429: a ban that grows if it is not obeyed. Anything else (503 in maintenance) may end at any moment.
        status = getattr(error.response, "status", 0)
        return 30.0 if int(status) in (403, 418, 429) else 0.0
    if isinstance(error, (OSError, TimeoutError, picows.WSError, aiohttp.ClientError)):
        return 0.0
    return None
