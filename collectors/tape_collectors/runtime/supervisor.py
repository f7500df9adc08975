"""Runs the parts of a recorder, restarts one that fails, and ends all of them in order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from types import FrameType

from tape_archive.format.errors import Busy, DiskFull, LocalError, SettingsError, Stalled, StoreDenied, TapeError
from tape_collectors.runtime.backoff import delays
from tape_collectors.runtime.error_budget import ErrorBudget

log = logging.getLogger(__name__)

#: errors that end the process: restarting a part does not mend them
FATAL = (LocalError, SettingsError, Busy, DiskFull, StoreDenied, Stalled)
DRAIN_S = 4.5


class Supervisor:
    """Parts are coroutines that should never end. ``run`` returns the exit code."""

    def __init__(self, *, stall_s: float = 0.0, run_s: float = 0.0, budget: ErrorBudget | None = None) -> None:
        self.stall_s = stall_s
        self.run_s = run_s
        #: how many failures of parts are borne an hour before a pause; None: any number
        self.budget = budget
        self.restarts: dict[str, int] = {}
        self.stop = asyncio.Event()
        #: ``run_s`` are over: nobody waits for the process to end
        self.over = False
        self._code = 0
        self.error: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, name: str, part: Callable[[], Awaitable[None]], over: Callable[[], bool] = lambda: False) -> None:
        """Start a part now, and again whenever it fails or ends, unless it is ``over``."""
        self._tasks.append(asyncio.create_task(self._keep(name, part, over), name=name))

    def every(self, name: str, seconds: float, job: Callable[[], Awaitable[None] | None]) -> None:
        """Do a job again and again; a failing one is logged and done again."""

        async def part() -> None:
            while True:
                await asyncio.sleep(seconds)
                if (result := job()) is not None:
                    await result

        self.add(name, part)

    def watch(self, moved: Callable[[], int]) -> None:
        """End with Stalled when ``moved()`` (frames so far) stands still for ``stall_s``."""
        if self.stall_s <= 0:
            return

        async def part() -> None:
            last, since = moved(), time.monotonic()
            while True:
                await asyncio.sleep(min(1.0, self.stall_s / 4))
                if (now := moved()) != last:
                    last, since = now, time.monotonic()
                elif time.monotonic() - since > self.stall_s:
                    raise Stalled(f"no frame came for {self.stall_s:g} s; leaving, so that the service manager starts anew")

        self.add("stall watch", part)

    def fail(self, error: BaseException) -> None:
        """End the process with this error."""
        self.error = self.error or error
        self.stop.set()

    async def run(self) -> int:
        """Until a signal, the end of ``run_s``, or a fatal error (raised). Gives the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number, None)
        try:
            await asyncio.wait_for(self.stop.wait(), self.run_s or None)
        except TimeoutError:
            self.over = True
            log.info("recorded for as long as was asked")
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if self.error is not None:
            raise self.error
        return self._code

    async def end(self) -> None:
        """Cancel every part and wait for it, within the time that SIGTERM has."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        log.info("signal", extra={"signal": signal.Signals(number).name})
        self._code = 130 if number == signal.SIGINT else 0
        self.stop.set()

    async def _keep(self, name: str, part: Callable[[], Awaitable[None]], over: Callable[[], bool]) -> None:
        waits = delays()
        while True:
            begun = time.monotonic()
            try:
                await part()
                if over():
                    return
                log.warning("part ended", extra={"part": name})
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                fatal = _fatal(error)
                if fatal is not None:
                    self.fail(fatal)
                    return
                log.error("part failed", extra={"part": name, "why": repr(error)[:300]}, exc_info=not isinstance(error, TapeError))
            self.restarts[name] = self.restarts.get(name, 0) + 1
            if time.monotonic() - begun > 300:
                waits = delays()
            await asyncio.sleep(max(next(waits), self._cooldown()))

    def _cooldown(self) -> float:
        """Seconds that the error budget wants a part that failed to wait."""
        budget = self.budget
        if budget is None:
            return 0.0
        now = time.monotonic()
        if budget.error(now):
            log.error("too many errors in an hour: a pause", extra={"errors": budget.most, "seconds": budget.cooldown_s})
        return budget.wait(now)


def _fatal(error: BaseException) -> BaseException | None:
    if isinstance(error, FATAL):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for one in error.exceptions if (found := _fatal(one)) is not None), None)
    return None
