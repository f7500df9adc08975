"""One contender in a process of its own: connects to the load server, takes every frame, reports what it cost.

    python -m benchmarks.client <kind> <port file> <root> <frames>

Kinds: ``count`` (receive only), ``floor`` (receive, stamp, append), ``sequence`` (the recorder, no books), ``whole`` (the recorder, every book, CSV).
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import picows
import uvloop

from tape_archive.format.clock import TapeClock
from tape_archive.format.lines import frame_line
from tape_archive.format.segment import Appender


def cpu() -> float:
    """Seconds of CPU that this process has used, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Meter:
    """CPU and wall time between the first frame and the last."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.seen = 0
        self.begun = self.ended = (0.0, 0.0)
        self.done = asyncio.Event()

    def count(self, number: int = 1) -> None:
        if not self.seen:
            self.begun = (time.perf_counter(), cpu())
        self.seen += number
        if self.seen >= self.frames and not self.done.is_set():
            self.ended = (time.perf_counter(), cpu())
            self.done.set()

    def report(self, **more: object) -> dict[str, object]:
        wall, used = (end - begin for begin, end in zip(self.begun, self.ended, strict=True))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"frames": self.seen, "wall_s": wall, "us": used / self.seen * 1e6, "rate": self.seen / wall, "rss_mib": memory, **more}


async def bare(kind: str, where: dict[str, Any], root: Path, meter: Meter, tls: ssl.SSLContext | None) -> dict[str, object]:
    """count, floor."""
    clock, appender = TapeClock(), Appender(root / "floor.jsonl.zst")
    lines: list[bytes] = []
    loop = asyncio.get_running_loop()

    def flush() -> None:
        data, number = b"".join(lines), len(lines)
        lines.clear()
        appender.append(data, number)
        meter.count(number)

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            if frame.msg_type != picows.WSMsgType.TEXT or frame.payload_size < 60:
                return
            if kind == "count":
                meter.count()
                return
            if not lines:
                loop.call_soon(flush)
            lines.append(frame_line(clock.now(), "public-1", frame.get_payload_as_bytes()))

    transport, _ = await picows.ws_connect(Listener, where["ws"] + "/public/stream", ssl_context=tls, enable_auto_pong=True)
    transport.send(picows.WSMsgType.TEXT, b'{"method":"SUBSCRIBE","params":[],"id":1}')
    await meter.done.wait()
    return meter.report()


async def recorder(kind: str, where: dict[str, Any], root: Path, meter: Meter, ca: str) -> dict[str, object]:
    """sequence, whole: the real cex-record, measured from inside."""
    from tape_collectors.runtime import recorder as runtime
    from tape_collectors.runtime.tapes import TapeIntake
    from tape_collectors.series_recorder import record
    from tape_collectors.settings import CexSettings
    from tape_collectors.venues import binance

    delays: list[int] = []
    synced: list[tuple[int, int]] = []
    append, one, sync = TapeIntake.append, runtime.Recorder._one, runtime.Recorder.sync

    def appended(self: TapeIntake, lines: list[bytes], first: int, t: int) -> None:
        append(self, lines, first, t)
        delays.append(self.recorder.clock.now() - first)

    def decoded(self: runtime.Recorder, entry: Any) -> None:
        one(self, entry)
        if entry[4] is None and len(entry[3]) > 60:
            meter.count()

    async def to_disk(self: runtime.Recorder) -> None:
        oldest = min((intake.places[-1][0] for intake in self.intakes if intake.places), default=0)
        await sync(self)
        synced.append((oldest, self.clock.now()))

    TapeIntake.append, runtime.Recorder._one, runtime.Recorder.sync = appended, decoded, to_disk  # type: ignore[method-assign]
    # The load server gives all frames to each connection: let there be one.
    binance.USDM = msgspec.structs.replace(binance.USDM, streams=100_000)
    endpoints = {"binance_usdm.rest": where["rest"], "binance_usdm.public": where["ws"], "binance_usdm.market": where["ws"]}
    settings = CexSettings(
        root=str(root),
        venues=("binance_usdm",),
        symbols=tuple(where["symbols"]),
        channels=("depth@100ms", "bookTicker", "trade"),
        endpoints=endpoints,
        tape_only=kind == "sequence",
        ca_file=ca,
        metrics_port=-1,
        stall_s=0,
        log_level="error",
    )
    task = asyncio.create_task(record(settings))
    await asyncio.wait([task, asyncio.create_task(meter.done.wait())], return_when=asyncio.FIRST_COMPLETED)
    if not meter.done.is_set():
        raise SystemExit(f"the recorder ended after {meter.seen} frames: {task}")
    report = meter.report()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    delays.sort()
    at = lambda share: delays[min(len(delays) - 1, int(len(delays) * share))] / 1e6  # noqa: E731
    waits = sorted((end - begin) / 1e9 for begin, end in synced if begin)
    size = sum(path.stat().st_size for path in (root / "raw").rglob("*.zst"))
    rows = sum(path.read_bytes().count(b"\n") for path in (root / "logs").glob("*.csv")) if (root / "logs").exists() else 0
    more = {
        "write_p50_ms": at(0.5),
        "write_p99_ms": at(0.99),
        "fsync_max_s": waits[-1] if waits else None,
        "tape_bytes": size,
        "csv_rows": rows,
    }
    return report | more


def main() -> None:
    kind, ports, root, frames = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]), int(sys.argv[4])
    root.mkdir(parents=True, exist_ok=True)
    tls = ssl.create_default_context(cafile=ports["ca"]) if ports["ca"] else None

    async def run() -> dict[str, object]:
        meter = Meter(frames)
        if kind in ("count", "floor"):
            return await bare(kind, ports, root, meter, tls)
        return await recorder(kind, ports, root, meter, ports["ca"])

    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(run())).decode())


if __name__ == "__main__":
    main()
