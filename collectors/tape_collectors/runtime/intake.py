"""The seam between sockets and the tape: what a connection tells, and what it asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from tape_collectors.venues.protocol import Command, Feed, Group


class Intake(Protocol):
    """Takes what connections read. All calls are made on the event loop's thread."""

    venue: str

    def opened(self, s: str, group: Group) -> Sequence[Command]:
        """A socket is up; gives what to send on it first."""
        ...

    def frame(self, s: str, data: bytes) -> None:
        """One frame, just read."""
        ...

    def closed(self, s: str, why: str, code: int) -> None:
        """The socket is gone."""
        ...

    def reply(self, request: str, status: int, data: bytes) -> None:
        """A REST reply; status 0 means that none came."""
        ...

    def feed(self, s: str) -> Feed | None:
        """The feed of an open socket."""
        ...

    def commands(self, s: str, commands: Sequence[Command]) -> None:
        """Carry out what a feed asked for."""
        ...

    def mark(self, s: str, kind: str, fields: Mapping[str, object]) -> int:
        """Write a mark."""
        ...


@runtime_checkable
class Ready(Protocol):
    """A feed that knows when it proves everything it carries; one that does not is judged by its streams' first frames."""

    def ready(self) -> bool:
        """Whether every dense stream has spoken and every book is proven."""
        ...


class Fetching(Protocol):
    """Asks by REST and gives every reply to the intake that asked."""

    def fetch(self, intake: Intake, command: object) -> None:
        """Ask once, or again as the command says."""
        ...
