"""What every test starts from."""

from __future__ import annotations

import sys

import pytest
from hypothesis import settings

# A slow machine fails no test.
settings.register_profile("tape", deadline=None)
settings.load_profile("tape")


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the cache of the user, or reaches the user's machines."""
    monkeypatch.setenv("TAPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("TAPE_ROOT", "TAPE_REMOTE", "VPS_HOST", "VPS_USER", "VPS_PATH", "VPS_PORT", "VPS_PEM_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def recursion_limit() -> None:
    """Some libraries raise it for the whole process when they are imported; a test must not depend on who was imported before."""
    sys.setrecursionlimit(1000)
