"""A venue with a past in a process of its own: prints its address, and serves until it is ended."""

from __future__ import annotations

import asyncio
import sys

from tests.support.past import venue


async def main(count: int) -> None:
    async with venue(count) as server:
        print(server.rest, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
