"""Recorded market data for strategies. ``from tape_access import DataAccessor``.

Nothing heavy is imported before it is used: pandas and pyarrow only when a table is asked for.
"""

from __future__ import annotations

from tape_access.accessor import DataAccessor, Window
from tape_archive.format.errors import FormatError, NotFound, SettingsError, StoreDenied, StoreUnavailable, TapeError

__all__ = ["DataAccessor", "FormatError", "NotFound", "SettingsError", "StoreDenied", "StoreUnavailable", "TapeError", "Window"]
