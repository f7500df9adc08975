"""Reference prices: PolyBolt with good credentials, RTDS when they are refused or it stays silent, and silence is said."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tape_archive.format.lines import Line
from tape_collectors.settings import PolySettings
from tape_collectors.simulator.faults import Fault
from tape_collectors.simulator.world import Simulator
from tape_collectors.windows import price_source
from tape_collectors.windows.recorder import record
from tests.support.recording import tape

GOOD = ("a-key", "c2VjcmV0", "a-phrase")


def prices(root: Path) -> list[Line]:
    return tape(root, "polymarket", "price")


def sources(root: Path) -> list[tuple[str, str]]:
    return [(str(line.fields["channel"]), str(line.fields["status"])) for line in prices(root) if line.mark == "source"]


def spoke(root: Path, group: str) -> bool:
    return any(line.s.startswith(group) and b'"value"' in (line.data or b"") for line in prices(root))


async def until(root: Path, simulator: Simulator, *steps: Callable[[], bool]) -> None:
    """Run poly-record until each of these has come to be so."""
    settings = PolySettings(
        root=str(root), coins=("btc",), timeframes=("15m",), endpoints=simulator.endpoints, metrics_port=-1, stall_s=0, check_every_s=0
    )
    task = asyncio.create_task(record(settings))
    for step in steps:
        for _ in range(400):
            assert not task.done(), task
            if step():
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("it did not come to be so in time")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await task == 0


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[str, str, str]], None]:
    def put(values: tuple[str, str, str]) -> None:
        for name, value in zip(("KEY", "SECRET", "PASSPHRASE"), values, strict=True):
            monkeypatch.setenv(f"POLY_API_{name}", value)

    return put


async def test_good_credentials_use_polybolt_alone(tmp_path: Path, credentials: Callable[[tuple[str, str, str]], None]) -> None:
    credentials(GOOD)
    async with Simulator(["polymarket"], credentials=GOOD) as simulator:
        await until(tmp_path, simulator, lambda: spoke(tmp_path, "polybolt"))
    assert sources(tmp_path) == [("polybolt", "tried"), ("polybolt", "used")]
    assert not any(line.s.startswith("rtds") for line in prices(tmp_path))


async def test_refused_credentials_go_on_with_rtds(tmp_path: Path, credentials: Callable[[tuple[str, str, str]], None]) -> None:
    credentials(("another", *GOOD[1:]))
    async with Simulator(["polymarket"], credentials=GOOD) as simulator:
        await until(tmp_path, simulator, lambda: spoke(tmp_path, "rtds"))
    told = sources(tmp_path)
    assert told[0] == ("polybolt", "tried") and told[-1] == ("rtds", "tried") and ("polybolt", "refused") in told
    assert sum(line.mark == "open" and line.s.startswith("polybolt") for line in prices(tmp_path)) == 1, "refused is not asked again"


async def test_a_silent_source_is_left_and_the_last_one_is_called_silent(
    tmp_path: Path, credentials: Callable[[tuple[str, str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials(GOOD)
    monkeypatch.setattr(price_source, "SILENT_S", 2)
    async with Simulator(["polymarket"], credentials=GOOD) as simulator:
        silence = Fault("silence", venue="polymarket", stream="*/*")
        simulator.faults.begin(silence)
        await until(
            tmp_path,
            simulator,
            lambda: ("rtds", "silent") in sources(tmp_path) and not simulator.faults.active.remove(silence),
            lambda: ("rtds", "used") in sources(tmp_path) and spoke(tmp_path, "rtds"),
        )
    assert [step for step in sources(tmp_path) if step != ("polybolt", "used")] == [
        ("polybolt", "tried"),
        ("polybolt", "refused"),
        ("rtds", "tried"),
        ("rtds", "silent"),
        ("rtds", "used"),
    ]
