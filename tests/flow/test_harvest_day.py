"""The short forms of ``python -m benchmarks.harvest``: minutes of tape time over an hour's and a day's turn, as fast as they go; and an hour
with defects, of which the report tells each and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.harvest import MIDNIGHT_MS, judged, run
from benchmarks.harvest_defects import Defects, Hole, planned, unlike

from tape_archive.format import harvest as layout
from tape_archive.format.layout import segments
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tests.support.harvests import files, rows, same, table
from tests.support.recording import environment

DAY_MS = 86_400_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def test_minutes_over_midnight(tmp_path: Path) -> None:
    found, day = run(tmp_path, 0.1, SYMBOLS, begin_ms=MIDNIGHT_MS + DAY_MS - 100_000)
    report, _ = judged(tmp_path)
    assert report.verdict == "good" and report.findings == [] and report.sample.rows > 1000
    assert (
        len(unlike(Defects(holes=[Hole(60_000, 90_000, "all")], steps=[(1, 50.0)]), [("BTCUSDT", 1)], report, day.begin_ms, SYMBOLS)) == 4
    )
    assert same(tmp_path) == sum(found["rows"].values())
    assert found["rows"]["prices"] == found["rows"]["cvd"] == found["trades"] > 2000
    assert found["rows"]["ofi"] == found["rows"]["fusion"] and found["updates"] - 30 < found["rows"]["ofi"] <= found["updates"]
    assert {name.split("/")[2] for name in files(tmp_path)} == {"date=2026-01-10", "date=2026-01-11"}
    for symbol in SYMBOLS:
        trades = table(tmp_path, "prices", symbol).to_pylist()
        assert not any(row["missed"] for row in trades)
        today = [row for row in table(tmp_path, "cvd", symbol).to_pylist() if row["event_ts_ms"] >= MIDNIGHT_MS + DAY_MS]
        assert today[0]["cvd"] == today[0]["delta"] and {(row["gaps"], row["anchor_ms"]) for row in today} == {(0, MIDNIGHT_MS + DAY_MS)}
        assert len(layout.parts(tmp_path, "book", symbol)) == 7, "six minutes that begin in mid-minute"
        assert rows(tmp_path, "ofi", symbol)[-1]["regime"] in ("active", "quiet"), "five minutes are watched"
        assert [row["event_type"] for row in rows(tmp_path, "events", symbol)].count("book_lost") == 0
    rebuilt(tmp_path)
    told = 0
    for segment in segments(tmp_path, "binance_usdm", "market"):
        lines = [parse(raw) for raw in read_lines(segment.file)]
        told += sum(float(json.loads(line.data)["data"]["q"]) for line in lines if line.data)
    assert abs(told - sum(row["qty"] for symbol in SYMBOLS for row in table(tmp_path, "prices", symbol).to_pylist())) < 1e-6


def rebuilt(root: Path) -> None:
    """``tape rebuild``, as its user runs it: the same bytes; and a part that was changed, one that is away and one too many are named."""

    def check() -> tuple[int, list[str]]:
        words = [sys.executable, "-m", "tape_archive", "rebuild", "--kind", "ofi_cvd", "--check", "--root", str(root)]
        done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    names = files(root)
    code, lines = check()
    assert code == 0 and len(lines) == 2 and lines[0] == f"{len(names)} files: {len(names)} identical"
    changed, away = root / names[0], root / names[1]
    kept = changed.read_bytes(), away.read_bytes()
    changed.write_bytes(kept[0][:-1] + b"?")
    more = away.rename(away.with_name("part-1999999999999999998-1999999999999999999.parquet"))
    code, lines = check()
    assert code == 1 and len(lines) == 5 and {line.rpartition("  ")[2] for line in lines[:3]} == {"DIFFERENT", "MISSING", "NOT ON THE TAPE"}
    more.unlink()
    changed.write_bytes(kept[0])
    away.write_bytes(kept[1])


@pytest.mark.parametrize("hours", [0.5, pytest.param(24.0, marks=pytest.mark.long)])
def test_each_planted_defect_is_told_and_nothing_else(tmp_path: Path, hours: float) -> None:
    """Of the day 12 holes, 5 late stretches, 300 trades sent twice, a clock step, an hour in which the process was dead."""
    defects = planned(hours, SYMBOLS) if hours == 24.0 else planned(hours, SYMBOLS, holes=2, spikes=1, doubles=20, dead_min=3)
    _, day = run(tmp_path, hours, SYMBOLS, defects=defects)
    report, _ = judged(tmp_path)
    assert unlike(defects, day.doubled, report, day.begin_ms, SYMBOLS) == []
    assert len(day.lives) == 2 and len(day.doubled) == len(defects.doubles)
    assert {check.name for check in report.checks if check.verdict == "fail"} <= {
        *("max_empty_bucket_rate", "max_missing_rate", "max_latency_p99_ms")
    }
    assert report.verdict == "missed" and report.sample.rows > 1000
    assert same(tmp_path) > 10_000, "and the parts are what the tape makes, those of the killed process included"
