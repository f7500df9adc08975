"""The data-quality report, made by another process while this one records: every ``hours``, and at the end."""

from __future__ import annotations

import asyncio
import logging
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
    """``hours`` 0: none. ``criteria``: by name, what the output must fulfil. Where the monitor is not installed there is no report either,
    and that is said once."""

    def __init__(self, root: Path, hours: float, criteria: Mapping[str, float] | None = None) -> None:
        self.root = root
        self.options = [word for name, value in (criteria or {}).items() for word in (f"--{name.replace('_', '-')}", str(value))]
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
