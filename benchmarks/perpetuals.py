"""``python -m benchmarks.perpetuals [seconds] [perpetuals] [rate] [option of tape simulate …]``: what the simulator of a whole market costs by itself.

The simulator is one process; a client that only counts is another. Every stream of every perpetual, 200 a connection.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import picows
import psutil

from benchmarks.venues import pinned

MARKET = ("aggTrade", "kline_1m", "kline_5m", "kline_30m", "kline_4h", "kline_1d", "ticker", "markPrice@1s", "forceOrder")
PUBLIC = ("depth@100ms", "bookTicker")
EACH = 200


class Counter(picows.WSListener):
    """Counts frames and bytes."""

    frames = size = 0

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            Counter.frames += 1
            Counter.size += frame.payload_size


def ask(url: str, data: bytes | None = None) -> Any:
    return json.loads(urllib.request.urlopen(urllib.request.Request(url, data=data)).read())


async def measure(endpoints: dict[str, str], process: psutil.Process, seconds: float) -> None:
    """Subscribe to everything, wait until it is so, measure."""
    rest = endpoints["binance_usdm.rest"]
    rows = ask(rest + "/fapi/v1/exchangeInfo")["symbols"]
    symbols = [row["symbol"].lower() for row in rows if row["contractType"] == "PERPETUAL"]
    sockets = wanted = 0
    for root, channels in (("market", MARKET), ("public", PUBLIC)):
        names = [f"{symbol}@{channel}" for channel in channels for symbol in symbols]
        for at in range(0, len(names), EACH):
            transport, _ = await picows.ws_connect(Counter, f"{endpoints['binance_usdm.public']}/{root}/stream", enable_auto_pong=True)
            transport.send(
                picows.WSMsgType.TEXT, msgspec.json.encode({"method": "SUBSCRIBE", "params": names[at : at + EACH], "id": sockets})
            )
            sockets, wanted = sockets + 1, wanted + len(names[at : at + EACH])
    while (await asyncio.to_thread(ask, rest + "/control/status"))["streams"] < wanted:
        pass
    await asyncio.sleep(2)
    await asyncio.to_thread(ask, rest + "/control/ledger/reset", b"")
    frames, size, begun, used = Counter.frames, Counter.size, time.monotonic(), sum(process.cpu_times()[:2])
    await asyncio.sleep(seconds)
    wall, used = time.monotonic() - begun, sum(process.cpu_times()[:2]) - used
    frames, size = Counter.frames - frames, Counter.size - size
    totals = await asyncio.to_thread(ask, rest + "/control/ledger?totals=1")
    print(f"{len(symbols)} perpetuals, {wanted:,} streams over {sockets} connections, {wall:.1f} s")
    print(f"{frames:,} frames received, {frames / wall:,.0f}/s, {size / frames:.0f} bytes on average")
    print(
        f"simulator: {used / wall:.0%} of a core, {used / frames * 1e6:.1f} µs a frame: {frames / used:,.0f} frames/s a core; {process.memory_info().rss / 2**20:.0f} MiB"
    )
    for name, row in totals.items():
        print(f"  {name:16} {row['count'] / wall:9,.1f}/s")
    for order in ("list?count=40", "delist?count=15", "cut?count=3"):
        begun = time.monotonic()
        done = await asyncio.to_thread(ask, f"{rest}/control/{order}", b"")
        print(f"{order}: {(time.monotonic() - begun) * 1000:.0f} ms, {done.get('connections') or len(done['symbols'])} of them")
    frames = Counter.frames
    await asyncio.sleep(1)
    state = await asyncio.to_thread(ask, rest + "/control/status")
    print(f"after that: {state['trading']} trading, {state['connections']} connections, {Counter.frames - frames:,} frames in a second")


def main() -> None:
    seconds, count, rate = (sys.argv[1:4] + ["20", "600", "15000"][len(sys.argv) - 1 :])[:3]
    with tempfile.TemporaryDirectory(prefix="tape-perpetuals-") as name:
        ports = Path(name) / "ports.json"
        simulate = [
            sys.executable,
            "-m",
            "tape_archive",
            "simulate",
            "--perpetuals",
            count,
            "--rate",
            rate,
            "--port-file",
            str(ports),
            *sys.argv[4:],
        ]
        server = subprocess.Popen([*pinned(0), *simulate], stdout=subprocess.DEVNULL)
        try:
            while not ports.exists():
                if server.poll() is not None:
                    raise SystemExit(f"the simulator ended with {server.returncode}")
                time.sleep(0.1)
            asyncio.run(measure(json.loads(ports.read_text()), psutil.Process(server.pid), float(seconds)))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
