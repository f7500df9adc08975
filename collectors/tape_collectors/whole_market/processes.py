"""The processes beside a recorder: some write its tables (begun with it, begun again when they die, ended when all is written), one fills
what they lack (begun every few hours and after lost connections, ended with the recorder)."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tape_archive.format.errors import SettingsError, StoreUnavailable

log = logging.getLogger(__name__)

#: beyond what the writer itself takes to end
_GRACE_S = 5.0
#: a writer that says nothing, or is behind, for so long is no longer well
_WELL_S = 120.0
#: What a writer of tables makes and frees is large and short-lived. By itself glibc gives each thread a heap of its own, and from the first
#: large block on keeps large ones in it too; Arrow keeps freed ones for the next merge. A hundred MiB in all.
_SMALL = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 17), "MALLOC_TRIM_THRESHOLD_": str(1 << 20)}
_SMALL |= {"ARROW_DEFAULT_MEMORY_POOL": "system"}


def parts(tapes: Sequence[str], number: int) -> list[tuple[str, ...]]:
    """Which process writes the tables of which tapes: one each, the last one all that is left. Raises SettingsError."""
    if not 1 <= number <= len(tapes):
        raise SettingsError(
            f"workers {number}: expected 1 to {len(tapes)}, one for each tape ({', '.join(tapes)}); "
            "to spread more, record parts of the symbols: --shard 1/2 and --shard 2/2"
        )
    return [*((tape,) for tape in tapes[: number - 1]), tuple(tapes[number - 1 :])]


def status_of(state: Path, shard: str, tapes: Sequence[str]) -> Path:
    """Where a process that writes tables tells of itself."""
    return state / f"tables-{shard}-{'-'.join(tapes)}.status.json"


class TableProcess:
    """Runs ``tape fill --follow``. The store's address goes by the environment: it may hold a password."""

    def __init__(self, arguments: Sequence[str], store: str, status: Path, drain_s: float) -> None:
        self.arguments = arguments
        self.store = store
        self.status = status
        self.drain_s = drain_s
        self.ending = False
        self._child: asyncio.subprocess.Process | None = None
        self._begun = 0.0

    async def run(self) -> None:
        """Until the child ends; raises StoreUnavailable if nobody wanted it to, SettingsError if the first one cannot even begin."""
        command = [sys.executable, "-m", "tape_archive", "fill", "--follow", *self.arguments]
        environment = _SMALL | os.environ | {"TAPE_STORE": self.store}
        first, self._begun = not self._begun, self._begun or time.time()
        self._child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, env=environment
        )
        log.info("tables", extra={"pid": self._child.pid})
        # The supervisor cancels its parts before the tapes are sealed: the child goes on, until ``end``.
        code = await self._child.wait()
        if first and code == SettingsError.exit_code and not self.ending:
            raise SettingsError("the tables cannot be written as the settings say; the line above says why (--store none: tapes only)")
        if not self.ending:
            raise StoreUnavailable(f"the process that writes tables ended with code {code}")

    async def end(self) -> bool:
        """After the tapes are sealed: until the tables have what they have, or ``drain_s`` later. Gives whether they have."""
        self.ending = True
        child = self._child
        if child is None or child.returncode is not None:
            return child is not None and child.returncode == 0
        assert child.stdin is not None
        child.stdin.close()
        try:
            code = await asyncio.wait_for(child.wait(), self.drain_s + _GRACE_S)
        except TimeoutError:
            child.send_signal(signal.SIGKILL)
            await child.wait()
            return False
        return code == 0

    def told(self) -> dict[str, Any]:
        """What it last said of itself; empty if it has said nothing yet."""
        try:
            status = msgspec.json.decode(self.status.read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return {}
        return status if status["at"] / 1e9 >= self._begun else {}


def metrics(writers: Sequence[TableProcess], now_ns: int) -> Iterable[tuple[str, str, float]]:
    """(name, meaning, value): how far the tables are behind their tapes."""
    told = [status for one in writers if (status := one.told())]
    tapes = [tape for status in told for tape in status["tapes"].values()]
    if not tapes:
        return
    lag = max((now_ns - tape["t"] for tape in tapes if tape["t"]), default=0)
    yield "tape_tables_lag_seconds", "tape time that the tables are behind", lag / 1e9
    yield "tape_tables_rows", "rows written by the processes that run", sum(tape["rows"] for tape in tapes)
    yield "tape_tables_waiting_rows", "rows that are not in the store yet", sum(tape["waiting"] for tape in tapes)
    if rows := sum(tape["rows"] for tape in tapes):
        slow = sum(tape["slow"] for tape in tapes)
        yield "tape_tables_slow_share", "of the rows those that took more than 3 s from the tape into the store", slow / rows
    yield "tape_tables_failures", "batches that the store did not take at once", sum(status["failures"] for status in told)


def worries(writers: Sequence[TableProcess], now_ns: int) -> Iterable[str]:
    """What is not as it should be with the tables, for ``/health``. The tape goes on meanwhile."""
    for one in writers:
        status = one.told()
        if not status:
            if one._begun and now_ns / 1e9 - one._begun > _WELL_S:
                yield "a process that writes tables does not begin"
        elif now_ns - status["at"] > _WELL_S * 1e9:
            yield f"a process that writes tables says nothing for {(now_ns - status['at']) / 1e9:.0f} s"
        elif status["why"]:
            yield f"the tables wait, the tape goes on: {status['why']}"
        else:
            late = max((now_ns - tape["t"] for tape in status["tapes"].values() if tape["t"]), default=0)
            if late > _WELL_S * 1e9:
                yield f"the tables are {late / 1e9:.0f} s behind the tape"


class BackfillProcess:
    """Runs ``backfill --run``: soon after the start, for what the time without a recorder left; some minutes after connections were lost;
    and every ``every_s`` seconds."""

    #: by then the tables have what the tapes have, and the books their snapshots
    FIRST_S = 600.0
    #: after a lost connection; losses in this time are one
    LOST_S = 180.0

    def __init__(self, arguments: Sequence[str], store: str, every_s: float) -> None:
        self.arguments = arguments
        self.store = store
        self.every_s = every_s
        self.runs = 0
        self.left = 0
        self._lost = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None

    def lost(self) -> None:
        """Connections were lost: what they did not bring is looked for soon."""
        self._lost.set()

    async def run(self) -> None:
        """For ever. A run that fails is logged by itself, and the next one comes as ever."""
        wait, scope = min(self.FIRST_S, self.every_s), "restart"
        due = time.monotonic() + wait
        while True:
            why = scope if await self._sleep(due - time.monotonic()) else "network"
            code = await self._once(why)
            self.runs += 1
            self.left = int(code != 0)
            log.info("backfill", extra={"scope": why, "code": code})
            if why == scope:
                due, scope = time.monotonic() + self.every_s, "scheduled"

    async def _sleep(self, seconds: float) -> bool:
        """Until it is time (True), or connections were lost a while ago (False)."""
        try:
            await asyncio.wait_for(self._lost.wait(), max(0.0, seconds))
        except TimeoutError:
            return True
        await asyncio.sleep(min(self.LOST_S, self.every_s))
        self._lost.clear()
        return False

    async def _once(self, scope: str) -> int:
        command = [sys.executable, "-m", "tape_collectors.cli.backfill", "--run", "--scope", scope, *self.arguments]
        environment = os.environ | {"TAPE_STORE": self.store}
        self._child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, env=environment
        )
        try:
            return await self._child.wait()
        finally:
            # It may be killed at any moment: the next run goes on.
            if self._child.returncode is None:
                self._child.kill()
                await self._child.wait()
