"""What every test starts from."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def recursion_limit() -> None:
    """Some libraries raise it for the whole process when they are imported; a test must not depend on who was imported before."""
    sys.setrecursionlimit(1000)
