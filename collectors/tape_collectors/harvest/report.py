"""The data-quality report, made by another process while this one records: every ``hours``, and at the end.

It judges the last day, or as much as the run was to be if that is more: a recorder that runs for ever must not read all that it ever wrote
each hour. Pauses and crashes within that time are part of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from tape_archive.format.harvest import REPORTS

log = logging.getLogger(__name__)
MODULE = "tape_monitor.quality"
#: the report at the end has so long
LAST_S = 600.0
#: a report looks back so far at least
BACK_HOURS = 24.0
#: the recorder goes first, where there is one core
NICE = 10
#: settings of the recorder that the report judges by
CRITERIA = (
    "max_empty_bucket_rate",
    "max_duplicate_rate",
    "max_missing_rate",
    "max_latency_p99_ms",
    "max_latency_p50_ms",
    "min_events_per_72h",
)


class Reports:
    """``hours`` 0: none. ``criteria``: by name, what the output must fulfil. ``run_hours``: how long the run is to be; 0: for ever. Where
    the monitor is not installed there is no report either, and that is said once."""

    def __init__(self, root: Path, hours: float, criteria: Mapping[str, float] | None = None, run_hours: float = 0.0) -> None:
        self.root = root
        given = {"last": max(BACK_HOURS, run_hours), **(criteria or {})}
        self.options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        self.hours = hours
        self._known = hours > 0 and _installed()
        if hours > 0 and not self._known:
            log.info("no data-quality reports: tapeline's monitor is not installed")

    async def run(self) -> None:
        """For ever."""
        if not self._known:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(self.hours * 3600)
            await self._make()

    async def last(self) -> None:
        """The report at the end."""
        if self._known:
            try:
                await asyncio.wait_for(self._make(), LAST_S)
            except TimeoutError:
                log.error("the data-quality report was not ready in time", extra={"seconds": LAST_S})

    async def _make(self) -> None:
        out = self.root / REPORTS / f"dq_{datetime.now(UTC):%Y%m%d_%H%M}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE, "--root", str(self.root), "--output", str(out), *self.options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, NICE)
        try:
            _, said = await child.communicate()
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
        verdict = {0: "green", 3: "red", 1: "not judged"}.get(child.returncode or 0, f"failed ({child.returncode})")
        lines = said.decode("utf-8", "replace").strip().splitlines()
        why = lines[-1][:200] if lines and child.returncode not in (0, 3) else ""
        log.info("data quality", extra={"verdict": verdict, "report": str(out), **({"why": why} if why else {})})


def _installed() -> bool:
    try:
        return find_spec(MODULE) is not None
    except ModuleNotFoundError:
        return False
