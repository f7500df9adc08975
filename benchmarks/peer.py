"""cryptofeed in its own environment, on the same streams: books, trades, quotes. Run by its own interpreter; imports none of our code.

<its python> benchmarks/peer.py <port file> <frames> <warm> [<folder>]

With a folder it also stores what it receives, by its own raw data collection.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

import uvloop

# What it cannot handle at once it keeps in memory without bound: it shall fail before the machine does.
resource.setrlimit(resource.RLIMIT_AS, (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4,) * 2)
LOOP = uvloop.new_event_loop()
asyncio.set_event_loop(LOOP)

from cryptofeed import FeedHandler  # noqa: E402
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint  # noqa: E402
from cryptofeed.defines import L2_BOOK, TICKER, TRADES  # noqa: E402
from cryptofeed.exchanges import BinanceFutures  # noqa: E402
from cryptofeed.raw_data_collection import AsyncFileCallback  # noqa: E402

PORTS = json.loads(Path(sys.argv[1]).read_text())
FRAMES, WARM = int(sys.argv[2]), int(sys.argv[3])
FOLDER = sys.argv[4] if len(sys.argv) > 4 else ""


class Load(BinanceFutures):
    websocket_endpoints: ClassVar = [WebsocketEndpoint(PORTS["ws"], options={"compression": None})]
    rest_endpoints: ClassVar = [
        RestEndpoint(PORTS["rest"], routes=Routes("/fapi/v1/exchangeInfo", l2book="/fapi/v1/depth?symbol={}&limit={}"))
    ]


seen = -WARM
books = Counter()
begun = ended = (0.0, 0.0)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


handle = BinanceFutures.message_handler


async def message_handler(self, msg, conn, timestamp):
    global seen, begun, ended
    await handle(self, msg, conn, timestamp)
    seen += 1
    if seen >= 0 and not begun[0]:
        # Until a symbol's snapshot is there its updates are laid aside, and then those before it are dropped, which costs little: the
        # measurement begins when every book is kept.
        seen = -1 if len(books) < len(symbols) or min(books.values()) < 30 else 0
    if not seen:
        begun = (time.perf_counter(), cpu())
    if seen >= FRAMES:
        ended = (time.perf_counter(), cpu())
        wall, used = ended[0] - begun[0], ended[1] - begun[1]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            json.dumps(
                {
                    "frames": seen,
                    "wall_s": wall,
                    "us": used / FRAMES * 1e6,
                    "rate": FRAMES / wall,
                    "rss_mib": memory,
                    "books": books.total(),
                }
            ),
            flush=True,
        )
        os._exit(0)


Load.message_handler = message_handler


async def nothing(data, receipt):
    pass


async def kept(book, receipt):
    books[book.symbol] += 1


store = AsyncFileCallback(FOLDER) if FOLDER else None
handler = FeedHandler(config={"log": {"filename": "/dev/null", "level": "ERROR"}, "uvloop": False}, raw_data_collection=store)
symbols = [name.removesuffix("USDT") + "-USDT-PERP" for name in PORTS["symbols"]]
handler.add_feed(Load(symbols=symbols, channels=[L2_BOOK, TRADES, TICKER], callbacks={L2_BOOK: kept, TRADES: nothing, TICKER: nothing}))
handler.run(start_loop=True, install_signal_handlers=False)
