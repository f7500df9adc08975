"""As many connections as the streams of one root need, while symbols come and go.

A stream that moves to another connection is carried by both until the new one goes on where the old one is: no message is lost, and what
comes twice has the same ids. A stream that is new or gone disturbs no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

import msgspec

from tape_collectors.market.balance import balance
from tape_collectors.runtime.intake import Intake
from tape_collectors.runtime.pool import READY_S, Pool
from tape_collectors.venues.protocol import Group, Stream

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Runs pools (see ``wiring.Process``)."""

    def pool(self, group: Group) -> Pool:
        """A pool that runs from now on."""
        ...

    def drop(self, pool: Pool) -> None:
        """A pool that was stopped is forgotten."""
        ...


class Fleet:
    """The connections of one root. ``model``: what each is like; its name is the root's. ``most``: streams on one connection."""

    def __init__(self, model: Group, most: int, intake: Intake, keeper: Keeper, *, ready_s: float = READY_S) -> None:
        self.model = model
        self.most = most
        self.pools: dict[str, Pool] = {}
        self.moved = 0
        self._intake = intake
        self._keeper = keeper
        self._ready_s = ready_s
        self._turn = asyncio.Lock()

    @property
    def carried(self) -> dict[str, tuple[str, ...]]:
        """The streams by connection."""
        return {name: pool.group.names for name, pool in self.pools.items()}

    async def carry(self, names: Sequence[str]) -> None:
        """Carry these streams; returns when it is so, and what was too many is closed. One change at a time."""
        async with self._turn:
            before = self.carried
            plan = balance(before, names, self.most, self.model.name)
            was = {stream: name for name, streams in before.items() for stream in streams}
            moves = {stream: name for name, streams in plan.items() for stream in streams if was.get(stream, name) != name}
            wanted = set(names)
            for name, streams in plan.items():
                leaving = [stream for stream in before.get(name, ()) if stream in wanted and stream not in streams]
                self._want(name, (*streams, *leaving))
            if moves:
                self.moved += len(moves)
                log.info("streams move", extra={"root": self.model.name, "streams": len(moves), "connections": len(plan)})
                await self._until_joined({stream: (was[stream], name) for stream, name in moves.items()})
            for name in [name for name in self.pools if name not in plan]:
                await self._end(name)
            for name, streams in plan.items():
                self._want(name, streams)

    def _want(self, name: str, streams: tuple[str, ...]) -> None:
        pool = self.pools.get(name)
        if pool is None:
            self.pools[name] = self._keeper.pool(msgspec.structs.replace(self.model, name=name, names=streams))
        elif pool.group.names != streams:
            pool.want(streams)

    async def _end(self, name: str) -> None:
        pool = self.pools.pop(name)
        pool.stop()
        await pool.stopped()
        self._keeper.drop(pool)

    async def _until_joined(self, moves: dict[str, tuple[str, str]]) -> None:
        """However long it takes to connect. What is only quiet there is waited for ``ready_s``, then left to the watchdog."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._ready_s
        waiting = dict(moves)
        while waiting:
            late = loop.time() >= until
            waiting = {stream: move for stream, move in waiting.items() if not self._joined(stream, *move, late=late)}
            if waiting:
                await asyncio.sleep(0.02)

    def _joined(self, stream: str, old: str, new: str, late: bool) -> bool:
        """Whether the new connection goes on with a stream where the old one is, or the old one has it no more."""
        before, after = self._stream(old, stream), self._stream(new, stream)
        if after is None or not (after.acked_t or after.first_t):
            return False
        if late or not after.dense or before is None or not before.first_t:
            return True
        return bool(after.first_t) and (not before.last_id or not after.first_id or after.first_id <= before.last_id + 1)

    def _stream(self, name: str, stream: str) -> Stream | None:
        pool = self.pools.get(name)
        feeds = [self._intake.feed(s) for s in pool.open] if pool is not None else []
        return next((feed.streams[stream] for feed in feeds if feed is not None and stream in feed.streams), None)
