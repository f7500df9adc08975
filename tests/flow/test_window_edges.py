"""At a window's edge nothing is lost and nothing is filed twice, whatever races there; the simulator's journal is the oracle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from tape_archive.format.layout import segments
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import read_lines
from tape_collectors.settings import PolySettings
from tape_collectors.simulator.world import Simulator
from tape_collectors.windows.recorder import record

WINDOW_S = 6


def sealed(root: Path) -> list[Path]:
    return [path for path in sorted((root / "real_hot").glob("btc*.jsonl")) if b'"mark":"seal"' in path.read_bytes()[-200:]]


def frames(path: Path) -> list[Line]:
    """Of the market channel, with events in them."""
    lines = map(parse, read_lines(path))
    return [line for line in lines if line.s.startswith("clob") and line.data and b"event_type" in line.data]


def events(data: bytes) -> list[dict[str, Any]]:
    found = json.loads(data)
    return found if isinstance(found, list) else [found]


async def test_nothing_is_lost_or_filed_twice_where_windows_meet(tmp_path: Path) -> None:
    async with Simulator(["polymarket"], keep=True, window_s=WINDOW_S, resolve_s=2) as simulator:
        settings = PolySettings(
            root=str(tmp_path), coins=("btc",), timeframes=(f"{WINDOW_S}s",), endpoints=simulator.endpoints, metrics_port=-1, stall_s=0,
            check_every_s=0, lead_s=5, result_after_s=1, sockets=2, first_frame_s=600, silence_s=600,
        )  # fmt: skip
        with simulator.faults.on("edge") as edge:
            task = asyncio.create_task(record(settings))
            async with asyncio.timeout(120):
                while len(sealed(tmp_path)) < 4 or edge.count < 50:
                    assert not task.done(), task
                    await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0
        sent = [one for one in simulator.journal.of("polymarket") if "event_type" in one.text]
    check_whole(tmp_path, [(one.connection, frame.encode()) for one in sent for frame in one.out if isinstance(frame, str)])
    check_windows(tmp_path)


def check_whole(root: Path, sent: list[tuple[int, bytes]]) -> None:
    """Every frame is whole on one tape, as often as on the socket that had it most often; its pieces are of the same moment."""
    by_socket: dict[int, Counter[bytes]] = {}
    for connection, frame in sent:
        by_socket.setdefault(connection, Counter())[frame] += 1
    due: Counter[bytes] = Counter()
    for counts in by_socket.values():
        due |= counts
    assert len(by_socket) == 2 and len(due) > 500 and sum(frame.startswith(b"[") for frame in due) > 20
    windows = [line for path in (root / "real_hot").glob("btc*.jsonl") for line in frames(path)]
    rest = [line for segment in segments(root, "polymarket", "clob") for line in frames(segment.file)]
    whole = Counter(line.data for line in (*windows, *rest) if line.part is None and line.data)
    assert not whole - due, "filed twice"
    # What was on the wire when the sockets were left is nobody's.
    late = max(int(events(frame)[0]["timestamp"]) for frame in whole)
    assert not [frame for frame in due - whole if int(events(frame)[0]["timestamp"]) < late - 1500], "sent, and on no tape"
    arrays = {line.t: events(line.data) for line in rest if line.data}
    pieces = [line for line in windows if line.part is not None]
    assert pieces and all(event in arrays[line.t] for line in pieces for event in events(line.data or b""))


def check_windows(root: Path) -> None:
    """Each file holds its own market's events only, of both sides of its edges."""
    markets, whole = set(), 0
    for path in sealed(root):
        found = [event for line in frames(path) for event in events(line.data or b"")]
        assert len({event["market"] for event in found}) == 1, path
        markets.add(found[0]["market"])
        times = [int(event["timestamp"]) for event in found]
        end = (int(path.stem.rpartition("-")[2]) + WINDOW_S) * 1000
        whole += min(times) < end < max(times)
    assert len(markets) == len(sealed(root))
    assert whole >= 2, "also what came after the end, until the result"
