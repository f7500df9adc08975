"""Frames that lie in the files of windows only are decoded too by a decoder that fell behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tape_archive.format.layout import segments
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_collectors.runtime import recorder as runtime
from tape_collectors.settings import PolySettings
from tape_collectors.simulator.world import Simulator
from tape_collectors.windows.recorder import record


async def test_a_decoder_that_fell_behind_reads_the_windows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Counter[tuple[int, str]] = Counter()
    behind = 0
    one = runtime.Recorder._one

    def seen(recorder: runtime.Recorder, entry: runtime.Entry) -> bool:
        nonlocal behind
        behind += recorder.behind
        decoded[entry[1], entry[2]] += entry[4] is None
        return one(recorder, entry)

    monkeypatch.setattr(runtime.Recorder, "_one", seen)
    monkeypatch.setattr(runtime, "SLICE_S", 0.0)
    # Whatever is left after a slice of sixteen lines is read from the tapes.
    monkeypatch.setattr(runtime, "LIMIT", 0)
    async with Simulator(["polymarket"], window_s=6, resolve_s=2) as simulator:
        settings = PolySettings(
            root=str(tmp_path), coins=("btc", "eth"), timeframes=("6s",), endpoints=simulator.endpoints, metrics_port=-1, stall_s=0,
            check_every_s=0, lead_s=5, result_after_s=1, sockets=1, first_frame_s=600, silence_s=600, coalesce_ms=400,
        )  # fmt: skip
        task = asyncio.create_task(record(settings))
        async with asyncio.timeout(120):
            while (
                sum(b'"mark":"seal"' in path.read_bytes()[-200:] for path in (tmp_path / "real_hot").glob("*-updown-*.jsonl")) < 4
                or behind < 300
            ):
                assert not task.done(), task
                await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0
    windows = [parse(raw) for path in (tmp_path / "real_hot").glob("*-updown-*.jsonl") for raw in read_lines(path)]
    rest = [parse(raw) for one in segments(tmp_path, "polymarket") for raw in read_lines(one.file)]
    frames, alone = (
        {(line.t, line.s) for line in lines if line.data is not None and line.request is None} for lines in ((*windows, *rest), windows)
    )
    assert len(alone - {(line.t, line.s) for line in rest}) > 200
    assert +decoded == Counter(dict.fromkeys(frames, 1)), "each frame is decoded once"
