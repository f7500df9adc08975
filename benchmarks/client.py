"""One contender in a process of its own: connects to the load server, takes every frame, reports what it cost.

    python -m benchmarks.client <kind> <port file> <root> <frames> <warm>

``warm`` frames come first and are not counted: caches, snapshots and history are there when the measurement begins.

Kinds: ``count`` (receive only), ``floor`` (receive, stamp, append), ``sequence`` (the recorder, no books), ``coalesced`` (the same,
sockets looked at every 5 ms), ``whole`` (the recorder, every book, CSV),
``ticks`` (tick Parquet besides).
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
from tape_collectors.runtime.recorder import SLICE_S, Recorder
from tape_collectors.runtime.tapes import TapeIntake
from tape_collectors.series.recorder import record
from tape_collectors.settings import CexSettings
from tape_collectors.venues import binance
from tape_collectors.venues.protocol import Limits


def cpu() -> float:
    """Seconds of CPU that this process has used, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Meter:
    """CPU and wall time over ``frames`` frames, after ``warm`` others."""

    def __init__(self, frames: int, warm: int) -> None:
        self.frames = frames
        self.seen = -warm
        self.begun = self.ended = (0.0, 0.0)
        self.done = asyncio.Event()

    def count(self, number: int = 1) -> None:
        self.seen += number
        if self.seen >= 0 and not self.begun[0]:
            self.begun = (time.perf_counter(), cpu())
        if self.seen >= self.frames and not self.done.is_set():
            self.ended = (time.perf_counter(), cpu())
            self.done.set()

    def report(self, **more: object) -> dict[str, object]:
        wall, used = (end - begin for begin, end in zip(self.begun, self.ended, strict=True))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"frames": self.seen, "wall_s": wall, "us": used / self.frames * 1e6, "rate": self.frames / wall, "rss_mib": memory, **more}


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
    transport.send(picows.WSMsgType.TEXT, msgspec.json.encode({"method": "SUBSCRIBE", "params": where["streams"], "id": 1}))
    await meter.done.wait()
    return meter.report()


class Delays:
    """How long after the first frame of a write was stamped the write returned, and how long after it the disk had it (ns)."""

    def __init__(self, meter: Meter) -> None:
        self.writes: list[int] = []
        self.syncs: list[int] = []
        self._waiting: list[int] = []
        append, work, sync = TapeIntake.append, Recorder.work, Recorder.sync

        def appended(intake: TapeIntake, lines: list[bytes], first: int, t: int) -> None:
            append(intake, lines, first, t)
            if meter.seen >= 0:
                self.writes.append(intake.recorder.clock.now() - first)
                self._waiting.append(first)

        def worked(recorder: Recorder, seconds: float = SLICE_S) -> None:
            # What was read and decoded: counted once a wake-up, so that the measuring costs nothing.
            before = recorder.decoded
            work(recorder, seconds)
            meter.count(recorder.decoded - before)

        async def to_disk(recorder: Recorder) -> None:
            written, self._waiting = self._waiting, []
            await sync(recorder)
            now = recorder.clock.now()
            self.syncs += [now - first for first in written]

        TapeIntake.append, Recorder.work, Recorder.sync = appended, worked, to_disk  # type: ignore[method-assign]

    def report(self) -> dict[str, object]:
        writes, syncs = sorted(self.writes), sorted(self.syncs)
        at = lambda all_, share: all_[min(len(all_) - 1, int(len(all_) * share))] if all_ else None  # noqa: E731
        found = {
            "write_p50_ms": at(writes, 0.5),
            "write_p99_ms": at(writes, 0.99),
            "fsync_p50_ms": at(syncs, 0.5),
            "fsync_p99_ms": at(syncs, 0.99),
        }
        return {name: value and value / 1e6 for name, value in found.items()}


async def recorder(kind: str, where: dict[str, Any], root: Path, meter: Meter) -> dict[str, object]:
    """sequence, coalesced, whole, ticks: the real cex-record, measured from inside."""
    # One connection for every contender; and the load server has no weight limit, so that books are proven when the measurement begins.
    limits = {"rest": Limits(10**7, 60.0)}
    binance.USDM = msgspec.structs.replace(binance.USDM, streams=100_000, limits=limits)
    delays = Delays(meter)
    settings = CexSettings(
        root=str(root),
        venues=("binance_usdm",),
        symbols=tuple(where["symbols"]),
        channels=("depth@100ms", "bookTicker", "trade"),
        endpoints={f"binance_usdm.{name}": where["rest" if name == "rest" else "ws"] for name in ("rest", "public", "market")},
        tape_only=kind in ("sequence", "coalesced"),
        coalesce_ms=5.0 if kind == "coalesced" else 0.0,
        ticks=kind == "ticks",
        ca_file=where["ca"],
        metrics_port=-1,
        stall_s=0,
        log_level="error",
    )
    task = asyncio.create_task(record(settings))
    await asyncio.wait([task, asyncio.create_task(meter.done.wait())], return_when=asyncio.FIRST_COMPLETED)
    if not meter.done.is_set():
        raise SystemExit(f"the recorder ended after {meter.seen} frames: {task}")
    report = meter.report(**delays.report())
    ended = time.time()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    rows = unproven = 0
    for path in (root / "logs").glob("*.csv"):
        lines = path.read_text().splitlines()[1:]
        rows += len(lines)
        # Not the last tick of all: what waited is decoded after the sockets are closed, and ticks until the seal have no book to show.
        during = [line for line in lines if float(line.split(",", 2)[1]) <= ended]
        unproven += sum("NotProven" in line for line in during[-len(where["symbols"]) :])
    return report | {
        "tape_bytes": sum(path.stat().st_size for path in (root / "raw").rglob("*.zst")),
        "csv_rows": rows,
        "unproven": unproven,
    }


def main() -> None:
    kind, ports, root = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    frames, warm = int(sys.argv[4]), int(sys.argv[5])
    root.mkdir(parents=True, exist_ok=True)
    tls = ssl.create_default_context(cafile=ports["ca"]) if ports["ca"] else None

    async def run() -> dict[str, object]:
        meter = Meter(frames, warm)
        if kind in ("count", "floor"):
            return await bare(kind, ports, root, meter, tls)
        return await recorder(kind, ports, root, meter)

    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(run())).decode())


if __name__ == "__main__":
    main()
