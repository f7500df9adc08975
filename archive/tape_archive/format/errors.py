"""The whole error tree. Any other exception that leaves our code is a bug of ours.

    TapeError
    ├── SettingsError            2   the user: mend the setting that the line names
    ├── RemoteError              1   the venue broke its protocol, refused us, or is away
    │   ├── VenueProtocolError   1   a frame or reply that its own documents do not allow
    │   ├── Refused              1   the venue said no and will say it again
    │   └── RateLimited          1   wait ``retry_after`` seconds, then ask again
    ├── LocalError               1   a bug of ours; never retried
    ├── FormatError              1   a file that is not what it should be
    │   ├── TornTail             1   an unfinished end: readers stop before it, recovery mends it
    │   ├── Corrupt              1   a checksum or a line is wrong in the middle of a file
    │   └── UnknownVersion       1   written by a newer version: upgrade
    ├── StoreError              10   where files lie cannot be used
    │   ├── StoreUnavailable    10   not reachable now; worth a retry
    │   │   └── StoreSlow       10   no answer in time; what was sent may have been done
    │   ├── StoreDenied         10   reachable, but we may not
    │   ├── SchemaDiffers       10   a table is there that is not as ours: the operator changes or moves it
    │   └── OutOfStep           10   a batch that does not follow the last one: the writer asks for its cursors
    ├── NotFound                 1   reachable, and it is not there
    ├── Busy                    11   another process holds the lock
    ├── DiskFull                12   no space left: the operator frees some
    │   └── StoreFull           12   no space left where the tables are; worth a retry
    └── Stalled                 13   nothing at all moved for the settable time: the service manager restarts us

Exit codes beside these: 0 done, 3 done in part (gaps remain), 130 interrupted.
"""

from __future__ import annotations

from typing import ClassVar


class TapeError(Exception):
    """Root of the tree. ``retry``: whether the same call may succeed later. ``exit_code``: what a command returns."""

    retry: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class SettingsError(TapeError):
    """The user must act: the message names the setting and its fix."""

    exit_code = 2


class RemoteError(TapeError):
    """The venue must act, or time must pass."""

    retry = True


class VenueProtocolError(RemoteError):
    """The venue sent what its own documents do not allow."""

    retry = False


class Refused(RemoteError):
    """The venue said no and will say it again."""

    retry = False


class RateLimited(RemoteError):
    """Too fast. ``retry_after`` in seconds, as the venue said or as its rule says."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LocalError(TapeError):
    """A bug of ours: please report it."""


class FormatError(TapeError):
    """A file is not what it should be."""


class TornTail(FormatError):
    """The end of a file is unfinished; nothing that ``write`` returned for is lost by cutting there."""


class Corrupt(FormatError):
    """A checksum or a line is wrong in the middle of a file: restore it from a copy."""


class UnknownVersion(FormatError):
    """Written by a newer version of the format: upgrade tapeline."""


class StoreError(TapeError):
    """The place where files lie cannot be used."""

    exit_code = 10


class StoreUnavailable(StoreError):
    """Not reachable now."""

    retry = True


class StoreDenied(StoreError):
    """Reachable, but permission is missing: the operator must grant it."""


class StoreSlow(StoreUnavailable):
    """No answer in time. What was sent may have been done: it is sent again as it was."""


class SchemaDiffers(StoreError):
    """A table is there that is not as ours: the operator changes it as the message says, or names another database."""


class OutOfStep(StoreError):
    """A batch that does not follow the last one that is in: the writer asks for its cursors and goes on from there."""


class NotFound(TapeError):
    """Reachable, and it is not there."""


class Busy(TapeError):
    """Another process holds the lock; the message names its pid."""

    exit_code = 11


class DiskFull(TapeError):
    """No space left on the device: the operator must free some. Nothing written before is lost."""

    exit_code = 12


class StoreFull(DiskFull):
    """No space left where the tables are: the operator frees some there, and the writer goes on by itself. No row is lost: the tape has
    them."""

    retry = True


class Stalled(TapeError):
    """No stream moved for the settable time: exit, so that the service manager starts us anew."""

    retry = True
    exit_code = 13
