"""Whether to try again. Not beside the delays: who has no socket needs none of these libraries (15 MiB of them)."""

from __future__ import annotations

import aiohttp
import picows

from tape_archive.format.errors import RateLimited, TapeError


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
