"""The weight that a host allows in an interval, counted as the venue counts it. ``Budget`` is pure: times are passed in."""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tape_archive.format.atomic import make_folder
from tape_archive.format.errors import TapeError
from tape_archive.format.layout import element
from tape_collectors.venues.protocol import Limits

#: leave this share unused: other programs on this address count too
MARGIN = 0.9
#: another process holds the file: look again after so long
_RETRY_S = 0.01
#: and after so many looks in a row go on alone: it is stopped, and we must not be
_LOOKS = 100
#: of an interval: entries of a shared file are kept no finer, so that the file stays small
_GRAIN = 60


class Budget:
    """A sliding window of used weight, corrected by what the venue says it has counted, and a time before which nothing may be asked."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.blocked_until = 0.0
        self._used: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> int:
        """Weight used in the interval that ends at ``now``."""
        while self._used and self._used[0][0] <= now - self.limits.interval_s:
            self._sum -= self._used.popleft()[1]
        return self._sum

    def wait(self, now: float, weight: int) -> float:
        """Seconds until ``weight`` may be used; 0: now."""
        if now < self.blocked_until:
            return self.blocked_until - now
        room = int(self.limits.weight * MARGIN) - self.used(now)
        if weight <= room or not self._used:
            return 0.0
        freed = room
        for at, some in self._used:
            freed += some
            if freed >= weight:
                return max(0.001, at + self.limits.interval_s - now)
        return self.limits.interval_s

    def take(self, now: float, weight: int) -> None:
        """Use weight."""
        self._used.append((now, weight))
        self._sum += weight

    def reserve(self, now: float, weight: int) -> float:
        """Use weight if there is room, giving 0; else how long to wait before asking again."""
        if not (wait := self.wait(now, weight)):
            self.take(now, weight)
        return wait

    def told(self, now: float, counted: int) -> None:
        """The venue's own count: if it is higher, others use this address too."""
        if counted > (known := self.used(now)):
            self.take(now, counted - known)

    def block(self, now: float, seconds: float) -> None:
        """429, 418, Retry-After: nothing until then."""
        self.blocked_until = max(self.blocked_until, now + seconds)

    def eta_s(self, weights: int, now: float | None = None, others: int = 0) -> float:
        """How long ``weights`` in all will take: an interval's budget at once, then each time that an interval is over. ``now``: what was
        used before it counts; ``others``: what other requests use in each interval."""
        per_interval = max(1, int(self.limits.weight * MARGIN) - others)
        used = self.used(now) if now is not None else 0
        return max(0, -(-(weights + used) // per_interval) - 1) * self.limits.interval_s


class Budgets(msgspec.Struct, frozen=True):
    """Where budgets are kept: a venue counts by address, so all programs of this host share one file a venue, whatever their root.

    ``own`` is below the root: there lies what is for an address of this machine (a simulator, a proxy), which nobody else asks.
    ``chosen``: a folder that somebody named is for all of them.
    """

    own: Path
    host: Path
    chosen: bool = False

    def file(self, root: str, counted: str) -> Path:
        """The file of a host's address (``https://fapi.binance.com``)."""
        address = urlsplit(root)
        folder = self.host if self.chosen or not _here(address.hostname or "") else self.own
        return folder / f"{counted}-{element(address.netloc)}.json"


def budgets(own: Path, folder: str = "") -> Budgets:
    """``folder``: as the settings say; empty: one of this user, or ``own`` where he has none."""
    if folder:
        make_folder(Path(folder).expanduser())
        return Budgets(own, Path(folder).expanduser(), chosen=True)
    try:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tapeline" / "budgets"
        make_folder(home)
        home = home if os.access(home, os.W_OK) else own
    except (TapeError, OSError, RuntimeError):
        return Budgets(own, own)
    return Budgets(own, home)


def _here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _State(msgspec.Struct):
    blocked_until: float = 0.0
    used: list[tuple[float, int]] = []


class SharedBudget(Budget):
    """One budget for all processes of this machine that ask the same host, kept in a small file under flock.

    Times are the wall clock's: a ban must be kept over a reboot. The file is a help, not a condition: if it cannot be read, written or
    locked, this process goes on with what it knows itself, and ``alone`` says so.
    """

    def __init__(self, limits: Limits, path: Path) -> None:
        super().__init__(limits)
        self.path = path
        self.alone = False
        self._vain = 0

    def reserve(self, now: float, weight: int) -> float:
        """As ``Budget.reserve``, over all processes."""
        with self._together(now) as locked:
            if not locked and self._vain < _LOOKS:
                return _RETRY_S
            return super().reserve(now, weight)

    def eta_s(self, weights: int, now: float | None = None, others: int = 0) -> float:
        """As ``Budget.eta_s``, with what all processes used."""
        if now is None:
            return super().eta_s(weights, now, others)
        with self._together(now):
            return super().eta_s(weights, now, others)

    def told(self, now: float, counted: int) -> None:
        """As ``Budget.told``: what other processes of ours used is known, and not taken for others'."""
        with self._together(now):
            super().told(now, counted)

    def block(self, now: float, seconds: float) -> None:
        """As ``Budget.block``, for all processes."""
        with self._together(now):
            super().block(now, seconds)

    @contextmanager
    def _together(self, now: float) -> Iterator[bool]:
        """Take over the file's state, and write it back after. Gives whether the file is ours for this while."""
        fd = -1
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(os.pread(fd, 1 << 20, 0), now)
        except OSError as error:
            # Held by another: it will not be for long. Anything else: there is no file to share.
            self._vain = self._vain + 1 if isinstance(error, BlockingIOError) else _LOOKS
            self.alone = self._vain >= _LOOKS
            if fd >= 0:
                os.close(fd)
            yield False
            return
        self._vain, self.alone = 0, False
        try:
            yield True
            self._save(fd)
        finally:
            os.close(fd)

    def _load(self, data: bytes, now: float) -> None:
        try:
            state = msgspec.json.decode(data, type=_State) if data else _State()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        # The clock was set back: what lies ahead of us counts from now, and the longest ban that venues give is three days.
        self.blocked_until = min(max(self.blocked_until, state.blocked_until), now + 3 * 86_400)
        theirs = deque((min(at, now + self.limits.interval_s / _GRAIN), weight) for at, weight in state.used)
        self._used, self._sum = theirs, sum(weight for _, weight in theirs)

    def _save(self, fd: int) -> None:
        grain = self.limits.interval_s / _GRAIN
        used: dict[float, int] = {}
        for at, weight in self._used:
            # Rounded up: kept a little longer, never given back too early.
            key = -(-at // grain) * grain
            used[key] = used.get(key, 0) + weight
        data = msgspec.json.encode(_State(self.blocked_until, sorted(used.items())))
        try:
            os.pwrite(fd, data, 0)
            os.ftruncate(fd, len(data))
        except OSError:
            self.alone = True
