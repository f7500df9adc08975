"""Every venue-market in one recorder: what goes wrong at some of them is named, and the others do not notice."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from tape_archive.format.layout import segments
from tape_archive.format.lines import time_of
from tape_archive.format.read import read_lines
from tape_collectors.series import derive
from tape_collectors.simulator.faults import Fault
from tape_collectors.simulator.world import EXCHANGES, Simulator
from tests.support.recording import arguments, environment, rows

SECOND = 10**9
SYMBOLS = ("BTCUSDT", "ETHUSDT")
#: venue -> (the fault, what ``err`` says, what counts it, what the log says)
TROUBLES = {
    "bybit_spot": (
        {"kind": "silence"},
        r"disconnected: silent",
        r'tape_reconnects_total{group="public",reason="silent",venue="bybit_spot"}',
        "streams are silent",
    ),
    "okx_spot": (
        {"kind": "refuse"},
        r"cannot connect: .*503",
        r'tape_connect_failures_total{group="public",venue="okx_spot"}',
        "cannot connect",
    ),
    "gate_spot": (
        {"kind": "garbage", "p": 0.5},
        r"gap in the depth stream",
        r'tape_unknown_frames_total{venue="gate_spot"}',
        "a frame that no decoder knows",
    ),
    "mexc_spot": (
        {"kind": "rest_429", "stream": "/api/v3/depth"},
        r"REST answers 429",
        r'tape_rest_failures_total{venue="mexc_spot"}',
        "host is left alone",
    ),
}
SETTINGS = {"TAPE_LISTING_EVERY_S": "0", "TAPE_SILENCE_S": "2", "TAPE_FIRST_FRAME_S": "3"}
HEALTHY = [venue for venue in EXCHANGES if venue not in TROUBLES]


def asked(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def counted(metrics: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


class Recording:
    """The real command, over all venues."""

    def __init__(self, folder: Path, endpoints: dict[str, str]) -> None:
        self.root = folder / "data"
        self.file = folder / "log"
        command = [sys.executable, "-m", "tape_collectors.cli.cex_record", "--root", str(self.root), "--venues", ",".join(EXCHANGES)]
        options = ["--symbols", ",".join(SYMBOLS), "--split-hours", "0", "--metrics-port", "0", "--rest-every", "0"]
        with self.file.open("w") as log:
            self.child = subprocess.Popen([*command, *options, *arguments(endpoints)], env=environment(**SETTINGS), stderr=log)

    def rows(self) -> list[dict[str, str]]:
        path = self.root / "logs" / "cex.csv"
        return [row for row in rows(path) if row["coverage"]] if path.exists() else []

    def last(self) -> list[dict[str, str]]:
        """The rows of the last whole tick."""
        found = self.rows()
        return found[-2 * len(EXCHANGES) - len(found) % (2 * len(EXCHANGES)) :][: 2 * len(EXCHANGES)]

    async def ask(self, path: str) -> str:
        port = json.loads((self.root / "state" / "cex.status.json").read_text())["port"]
        return await asyncio.to_thread(asked, port, path)

    async def until(self, true: Callable[[], Any], seconds: float = 90.0) -> None:
        for _ in range(int(seconds / 0.5)):
            assert self.child.poll() is None, self.file.read_text()[-2000:]
            try:
                result = true()
                if await result if asyncio.iscoroutine(result) else result:
                    return
            except (OSError, ValueError):
                pass
            await asyncio.sleep(0.5)
        raise AssertionError([(row["venue"], row["err"]) for row in self.last() if row["err"]])

    def healthy(self) -> bool:
        last = self.last()
        return len(last) == 2 * len(EXCHANGES) and not any(row["err"] for row in last)

    async def named(self) -> bool:
        metrics, log = await self.ask("/metrics"), self.file.read_text()
        said = {venue: {row["err"] for row in self.rows() if row["venue"] == venue} for venue in TROUBLES}
        return all(
            any(re.search(err, text) for text in said[venue]) and counted(metrics, series) and _logged(log, venue, words)
            for venue, (_, err, series, words) in TROUBLES.items()
        )


def _logged(log: str, venue: str, words: str) -> bool:
    """The log names the trouble, and whose it is (REST by the address of the host)."""
    lines = [line for line in log.splitlines() if words in line]
    return any(venue in line or words == "host is left alone" for line in lines)


async def test_troubles_are_named_and_the_other_venues_do_not_notice(tmp_path: Path) -> None:
    async with Simulator(list(EXCHANGES), symbols=SYMBOLS, seed=5) as venues:
        recording = Recording(tmp_path, venues.endpoints)
        try:
            await recording.until(recording.healthy)
            begun = len(recording.rows()) // (2 * len(EXCHANGES))
            with ExitStack() as faults:
                for venue, (fault, *_) in TROUBLES.items():
                    faults.enter_context(venues.faults.on(venue=venue, **fault))  # type: ignore[arg-type]
                for venue in ("okx_spot", "mexc_spot"):
                    venues.once(Fault("disconnect", venue=venue))
                await recording.until(recording.named)
                metrics, health = await recording.ask("/metrics"), json.loads(await recording.ask("/health"))
            ended = len(recording.rows()) // (2 * len(EXCHANGES))
            # What was wrong is over: each venue comes back by itself.
            await recording.until(recording.healthy)
        finally:
            recording.child.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(recording.child.wait, 20)
    assert code == 0

    # The others: every tick has its row, no tick waits for its line, no book is unproven, and nothing is counted against them.
    root, series = recording.root, recording.rows()
    times = sorted(time_of(line) for segment in segments(root) for line in read_lines(segment.file))
    assert max(after - before for before, after in pairwise(times)) < SECOND, "a tick's rows are made before the next tick"
    ticks = sorted({row["t_sample_unix"] for row in series})
    assert all(round(float(after) - float(before)) == 1 for before, after in pairwise(ticks)) and ended > begun + 2
    for venue in HEALTHY:
        own = [row["err"] for row in series if row["venue"] == venue]
        assert len(own) == 2 * len(ticks) and not any(own[2 * begun :]), (venue, {err for err in own if err})
        for name in ("reconnects", "connect_failures", "unknown_frames", "rest_failures", "resubscribes"):
            assert not re.search(rf'^tape_{name}_total{{[^}}]*venue="{venue}"}} (?!0\.0)', metrics, re.MULTILINE), (venue, name)
    assert health["ok"] is False and any("okx_spot" in reason and "no connection" in reason for reason in health["reasons"])

    derive.write(root, root / "again")
    assert (root / "again" / "logs" / "cex.csv").read_bytes() == (root / "logs" / "cex.csv").read_bytes()
