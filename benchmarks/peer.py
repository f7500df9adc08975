"""cryptofeed in its own environment, on the same frames: books and trades, nothing stored. Run by its own interpreter; imports none of our code.

<its python> benchmarks/peer.py <port file> <frames>
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import ClassVar

import uvloop

LOOP = uvloop.new_event_loop()
asyncio.set_event_loop(LOOP)

from cryptofeed import FeedHandler  # noqa: E402
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint  # noqa: E402
from cryptofeed.defines import L2_BOOK, TICKER, TRADES  # noqa: E402
from cryptofeed.exchanges import BinanceFutures  # noqa: E402

PORTS = json.loads(Path(sys.argv[1]).read_text())
FRAMES = int(sys.argv[2])


class Load(BinanceFutures):
    websocket_endpoints: ClassVar = [WebsocketEndpoint(PORTS["ws"], options={"compression": None})]
    rest_endpoints: ClassVar = [
        RestEndpoint(PORTS["rest"], routes=Routes("/fapi/v1/exchangeInfo", l2book="/fapi/v1/depth?symbol={}&limit={}"))
    ]


seen = 0
begun = ended = (0.0, 0.0)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


handle = BinanceFutures.message_handler


async def message_handler(self, msg, conn, timestamp):
    global seen, begun, ended
    if not seen:
        begun = (time.perf_counter(), cpu())
    await handle(self, msg, conn, timestamp)
    seen += 1
    if seen >= FRAMES:
        ended = (time.perf_counter(), cpu())
        wall, used = ended[0] - begun[0], ended[1] - begun[1]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"frames": seen, "wall_s": wall, "us": used / seen * 1e6, "rate": seen / wall, "rss_mib": memory}), flush=True)
        import os

        os._exit(0)


Load.message_handler = message_handler


async def nothing(data, receipt):
    pass


handler = FeedHandler(config={"log": {"filename": "/dev/null", "level": "ERROR"}, "uvloop": False})
symbols = [name.removesuffix("USDT") + "-USDT-PERP" for name in PORTS["symbols"]]
handler.add_feed(Load(symbols=symbols, channels=[L2_BOOK, TRADES, TICKER], callbacks={L2_BOOK: nothing, TRADES: nothing, TICKER: nothing}))
handler.run(start_loop=True, install_signal_handlers=False)
