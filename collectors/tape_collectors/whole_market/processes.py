"""The processes beside a recorder: one writes its tables (begun with it, begun again when it dies, ended when all is written), one fills
what they lack (begun every few hours, ended with the recorder)."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tape_archive.format.errors import StoreUnavailable

log = logging.getLogger(__name__)

#: beyond what the writer itself takes to end
_GRACE_S = 5.0


class TableProcess:
    """Runs ``tape fill --follow``. The store's address goes by the environment: it may hold a password."""

    def __init__(self, arguments: Sequence[str], store: str, status: Path, drain_s: float) -> None:
        self.arguments = arguments
        self.store = store
        self.status = status
        self.drain_s = drain_s
        self.ending = False
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Until the child ends; raises StoreUnavailable if nobody wanted it to."""
        command = [sys.executable, "-m", "tape_archive", "fill", "--follow", *self.arguments]
        environment = os.environ | {"TAPE_STORE": self.store}
        self._child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, env=environment
        )
        log.info("tables", extra={"pid": self._child.pid})
        # The supervisor cancels its parts before the tapes are sealed: the child goes on, until ``end``.
        code = await self._child.wait()
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

    def metrics(self, now_ns: int) -> Iterable[tuple[str, str, float]]:
        """(name, meaning, value): how far the tables are behind their tapes."""
        try:
            status = msgspec.json.decode(self.status.read_bytes())
        except (OSError, msgspec.DecodeError):
            return
        lag = max((now_ns - tape["t"] for tape in status["tapes"].values() if tape["t"]), default=0)
        yield "tape_tables_lag_seconds", "tape time that the tables are behind", lag / 1e9
        yield "tape_tables_rows", "rows written by the process that runs", sum(tape["rows"] for tape in status["tapes"].values())
        yield "tape_tables_waiting_rows", "rows that are not in the store yet", sum(tape["waiting"] for tape in status["tapes"].values())
        yield "tape_tables_failures", "batches that the store did not take at once", status["failures"]


class BackfillProcess:
    """Runs ``backfill --run``: soon after the start, for what the time without a recorder left, then every ``every_s`` seconds."""

    #: by then the tables have what the tapes have, and the books their snapshots
    FIRST_S = 600.0

    def __init__(self, arguments: Sequence[str], store: str, every_s: float) -> None:
        self.arguments = arguments
        self.store = store
        self.every_s = every_s
        self.runs = 0
        self.left = 0
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """For ever. A run that fails is logged by itself, and the next one comes as ever."""
        wait, scope = min(self.FIRST_S, self.every_s), "restart"
        while True:
            await asyncio.sleep(wait)
            code = await self._once(scope)
            self.runs += 1
            self.left = int(code != 0)
            log.info("backfill", extra={"scope": scope, "code": code})
            wait, scope = self.every_s, "scheduled"

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
