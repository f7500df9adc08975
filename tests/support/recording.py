"""Running the real recorders in tests: in this process, or as a child that can be killed."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tape_archive.format.layout import segments
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import read_lines
from tape_collectors.harvest import recorder as harvest
from tape_collectors.harvest.recorder import Result
from tape_collectors.series.recorder import record
from tape_collectors.settings import CexSettings, HarvestSettings


def environment(**more: str) -> dict[str, str]:
    """This process's, without settings of its own, with our packages on the path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TAPE_", "POLY_", "COV_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def arguments(endpoints: dict[str, str]) -> list[str]:
    """``--endpoint`` options."""
    return [word for name, url in endpoints.items() for word in ("--endpoint", f"{name}={url}")]


async def record_cex(
    root: Path, endpoints: dict[str, str], until: asyncio.Event | float | Coroutine[Any, Any, None], **settings: object
) -> int:
    """``cex-record`` in this process until the event is set or the coroutine ends (or for so many seconds)."""
    task = asyncio.create_task(
        record(CexSettings(root=str(root), endpoints=endpoints, metrics_port=-1, split_hours=0, stall_s=0, **settings))  # type: ignore[arg-type]
    )
    if isinstance(until, float | int):
        until = asyncio.sleep(until)
    waiting = asyncio.create_task(until.wait() if isinstance(until, asyncio.Event) else until)
    done, _ = await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task not in done:
        os.kill(os.getpid(), signal.SIGTERM)
    return await task


def proven(root: Path, markets: int, after: float = 0.0) -> Coroutine[Any, Any, None]:
    """For ``record_cex``: until two new rows of each market, of a tape time after ``after`` (unix seconds), have no error."""
    path = root / "logs" / "cex.csv"
    before = len(rows(path)) if path.exists() else 0

    async def wait() -> None:
        async with asyncio.timeout(120):
            while True:
                new = rows(path)[before:] if path.exists() else []
                good = Counter((row["venue"], row["symbol"]) for row in new if not row["err"] and float(row["t_sample_unix"]) > after)
                if len(good) == markets and min(good.values()) > 1:
                    return
                await asyncio.sleep(0.05)

    return wait()


def lines(root: Path, venue: str | None = None, stream: str | None = None) -> Iterator[Line]:
    """Every line of the tapes, tape by tape, one after another: a tape may be larger than the memory."""
    return (parse(raw) for segment in segments(root, venue, stream) for raw in read_lines(segment.file))


def tape(root: Path, venue: str | None = None, stream: str | None = None) -> list[Line]:
    """Every line of the tapes, tape by tape."""
    return list(lines(root, venue, stream))


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


@contextmanager
def simulator(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """``tape simulate`` as a child; gives its endpoints."""
    import json
    import time

    ports = folder / "ports.json"
    ports.unlink(missing_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "tape_archive", "simulate", "--port-file", str(ports), *options],
        env=environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            if ports.exists():
                break
            assert child.poll() is None, "the simulator ended"
            time.sleep(0.05)
        yield json.loads(ports.read_text())
    finally:
        child.terminate()
        child.wait(60)


async def record_ofi(root: Path, endpoints: dict[str, str], until: asyncio.Event | float, **settings: object) -> Result:
    """``ofi-record`` in this process until the event is set (or for so many seconds)."""
    given = {"root": str(root), "endpoints": endpoints, "metrics_port": -1, "stall_s": 0, "report_hours": 0.0} | settings
    task = asyncio.create_task(harvest.record(HarvestSettings(**given)))  # type: ignore[arg-type]
    waiting = asyncio.create_task(asyncio.sleep(until) if isinstance(until, float | int) else until.wait())
    done, _ = await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task not in done:
        os.kill(os.getpid(), signal.SIGTERM)
    return await task
