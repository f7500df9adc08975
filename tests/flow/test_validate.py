"""``validate`` on what the recorder itself wrote, with its tape beside it: a quarter of an hour of tape time over a whole hour."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmarks.harvest import MIDNIGHT_MS, Day
from click.testing import CliRunner

from tape_archive.format import harvest
from tape_archive.format.harvest import Kind
from tape_collectors.harvest.report import CRITERIA, Reports
from tape_collectors.settings import HarvestSettings
from tape_collectors.simulator import binance_events as events
from tape_monitor.quality.command import command
from tape_monitor.quality.report import Report, decode
from tests.support.harvests import table
from tests.support.prometheus import until

MINUTE_STEPS = 1200
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    day = Day(root, SYMBOLS, begin_ms=MIDNIGHT_MS + 56 * 60_000)
    day.begin()
    for _ in range(9 * MINUTE_STEPS):
        day.step()
    day.end()
    return root


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "copy"))


def validate(root: Path, *words: str) -> tuple[int, Report]:
    done = CliRunner().invoke(
        command, ["--root", str(root), "--output", str(root / "r.json"), *words], catch_exceptions=False, standalone_mode=False
    )
    return done.return_value, decode((root / "r.json").read_bytes())


def verdicts(report: Report) -> dict[str, str]:
    return {check.name: check.verdict for check in report.checks}


def part(root: Path, kind: Kind, symbol: str, minute: int) -> Path:
    """The part of a minute after 00:00."""
    begin = (MIDNIGHT_MS + minute * 60_000) * 1_000_000
    return next(Path(one.path) for one in harvest.parts(root, kind, symbol) if one.first >= begin)


def test_what_the_recorder_wrote_is_good_and_what_the_tape_says(recorded: Path) -> None:
    code, report = validate(recorded)
    assert (code, report.verdict, report.findings) == (0, "good", [])
    assert verdicts(report)["recomputation"] == "pass" and len(report.sample.windows) == 2
    assert report.sample.rows > 10_000 and report.sample.values > 200_000
    begin, hour = report.sample.windows
    assert begin[0] == report.start and hour[0] == (MIDNIGHT_MS + 61 * 60_000) * 1_000_000


#: minute 57: every value is known; 61: what does not remember longer than the hour
CHANGES: list[tuple[int, Kind, str]] = [
    *((57, "prices", name) for name in ("price", "qty", "latency_ms", "sent_ts_ms")),
    *((57, "cvd", name) for name in ("sigma_floor", "cvd_quote", "gaps")),
    *((57, "ofi", name) for name in ("ofi_z", "ofi_3", "rank_difference", "interval_ofi")),
    *((57, "book", name) for name in ("ask_qty_4", "first_id")),
    *((61, "prices", name) for name in ("price", "recv_rate_tps")),
    *((61, "cvd", name) for name in ("delta_quote", "event_ts_ms")),
    *((61, "ofi", name) for name in ("ofi_z", "ofi_retreat", "interval_norm", "norm_2")),
    *((61, "book", name) for name in ("bid_price_5", "event_ts_ms")),
]


def test_one_value_that_is_not_what_the_tape_says_is_found_in_every_column(copy: Path) -> None:
    chance = random.Random(5)
    for minute, kind, column in CHANGES:
        path = part(copy, kind, "ETHUSDT", minute)
        table = pq.read_table(path, partitioning=None)
        values: list[Any] = table.column(column).to_pylist()
        at = chance.choice([at for at in range(len(values) // 8, len(values)) if values[at] is not None])
        values[at] += 1
        field = table.schema.field(column)
        pq.write_table(table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type)), path)
    code, report = validate(copy)
    assert code == 3 and verdicts(report)["recomputation"] == "fail"
    expected: dict[str, int] = {}
    for _, kind, column in CHANGES:
        expected[f"{kind}.{column}"] = expected.get(f"{kind}.{column}", 0) + 1
    assert report.sample.different == expected and (report.sample.lacking, report.sample.surplus) == (0, 0)
    assert all("ETHUSDT" in line and "by the tape" in line for line in report.sample.examples)


def test_while_it_records_what_is_not_written_yet_is_not_missing(tmp_path: Path) -> None:
    day = Day(tmp_path, SYMBOLS, begin_ms=MIDNIGHT_MS + 5 * 60_000)
    day.begin()
    for _ in range(3 * MINUTE_STEPS + MINUTE_STEPS // 2):
        day.step()
    assert day.life is not None
    day.life.recorder.work(60.0)
    written = (MIDNIGHT_MS + 8 * 60_000) * 1_000_000

    def rotated() -> bool:
        path = tmp_path / harvest.CHECKPOINT
        return path.exists() and msgspec.json.decode(path.read_bytes())["t"] >= written

    until(rotated)
    code, report = validate(tmp_path)
    assert (code, report.verdict, report.findings) == (0, "good", []) and report.sample.rows > 1000
    assert written <= report.end < written + 1_000_000_000, "the last half minute is on the tape, and in no part"
    day.end()


def lose(day: Day, seconds: float) -> None:
    """The market goes on and nothing of it comes; then the books come again."""
    record = day._record
    day._record = lambda stream, frames: 0.0  # type: ignore[method-assign]
    go(day, seconds)
    day._record = record  # type: ignore[method-assign]
    go(day, 0.5)
    assert day.life is not None
    for symbol, one in day.market.instruments.items():
        update, bids, asks = events.top(one, 1000)
        body = {"lastUpdateId": update, "E": day.ms, "T": day.ms, "bids": bids, "asks": asks}
        day.life.intakes["public"].reply(f"GET /fapi/v1/depth?symbol={symbol}&limit=1000", 200, msgspec.json.encode(body))
    day.life.recorder.work(60.0)


def go(day: Day, seconds: float) -> None:
    for _ in range(int(seconds * 20)):
        day.step()


def test_what_the_recorder_lost_is_found_once_and_nothing_else(tmp_path: Path) -> None:
    day = Day(tmp_path, SYMBOLS)
    day.begin()
    go(day, 130)
    lose(day, 200)
    go(day, 100)
    lose(day, 20)
    go(day, 60)
    day.end()
    code, report = validate(tmp_path)
    assert code == 3 and verdicts(report)["identities"] == verdicts(report)["recomputation"] == "pass"
    assert [(found.kind, len(found.where)) for found in report.findings] == [("hole", 10), ("trades_missed", 2), ("book_break", 2)]
    hole, trades, book = ((found.start - report.start) / 1e9 for found in report.findings)
    assert abs(hole - 130) < 2 and abs(trades - 431) < 2 and abs(book - 431) < 2
    told = sum(row["missed"] for symbol in SYMBOLS for row in table(tmp_path, "prices", symbol).to_pylist())
    assert sum(one.missing for one in report.continuity) == told > 300


def test_rows_that_are_gone_are_found(copy: Path) -> None:
    path = part(copy, "ofi", "BTCUSDT", 57)
    rows = pq.ParquetFile(path).metadata.num_rows
    path.unlink()
    code, report = validate(copy)
    assert code == 3 and 0 < report.sample.lacking <= rows and report.sample.surplus == 0
    assert {found.kind for found in report.findings} == {"hole", "recomputation"}


def test_an_output_that_stands_still_while_the_tape_goes_on_is_not_green(copy: Path) -> None:
    for kind in harvest.KINDS:
        for symbol in SYMBOLS:
            for one in harvest.parts(copy, kind, symbol):
                if one.first >= (MIDNIGHT_MS + 58 * 60_000) * 1_000_000:
                    Path(one.path).unlink()
    (copy / harvest.CHECKPOINT).unlink()
    code, report = validate(copy)
    assert code == 3 and "the output ends before the tape" in report.window
    assert [found.count for found in report.findings if found.kind == "hole"] == [70], "seven minutes of ten streams"


def test_a_symbol_that_was_asked_for_and_never_came_is_missed(copy: Path) -> None:
    shutil.rmtree(next((copy / harvest.FOLDER).glob("date=*/symbol=ETHUSDT")))
    code, report = validate(copy, "--samples", "0")
    assert code == 3 and report.symbols == list(SYMBOLS) and report.sample.why_not == "Not done: as asked."
    assert {one.empty for one in report.completeness if one.symbol == "ETHUSDT"} == {9}


async def test_the_recorder_s_own_report_is_judged_by_the_recorder_s_settings(
    copy: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with caplog.at_level("INFO"):
        await Reports(copy, 1.0, {name: getattr(HarvestSettings(), name) for name in CRITERIA}).last()
        await Reports(copy, 1.0, {"max_latency_p50_ms": 0.001}).last()
        await Reports(copy, 1.0, {"max_latency_p98_ms": 1.0}).last()
    told = [(record.verdict, getattr(record, "why", "")) for record in caplog.records if record.message == "data quality"]  # type: ignore[attr-defined]
    assert [verdict for verdict, _ in told] == ["green", "red", "failed (2)"] and "max-latency-p98-ms" in told[2][1]
    assert len(list((copy / harvest.REPORTS).glob("dq_*.html"))) in (1, 2)
