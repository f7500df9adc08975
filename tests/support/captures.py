"""Where the real captures lie. They are read, never copied into this repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def captures() -> Path:
    """The folder of real captures: ``TAPE_CAPTURES``, else ``../shared/captures``; the calling test is skipped where neither is."""
    root = Path(os.environ.get("TAPE_CAPTURES") or Path(__file__).parents[3] / "shared" / "captures")
    if not root.is_dir():
        pytest.skip(f"no captures at {root} (set TAPE_CAPTURES)")
    return root
