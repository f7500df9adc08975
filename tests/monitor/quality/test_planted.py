"""A day of two symbols, whole and with defects: the report finds each of them, and nothing else."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tape_archive.format import harvest
from tape_monitor.quality.assess import How, assess
from tape_monitor.quality.compare import compare
from tape_monitor.quality.criteria import Criteria
from tape_monitor.quality.parts import Output
from tape_monitor.quality.report import Finding, Report, decode, encode, exit_code
from tape_monitor.quality.spans import Span
from tests.support.harvest_output import HOUR, MINUTE, MS, SECOND, START, SYMBOLS, Defects, write

DAY = Span(START, START + 24 * HOUR)
DENSE = {f"{symbol} {kind}" for symbol in SYMBOLS for kind in harvest.DENSE}


def judged(root: Path, window: Span = DAY, symbols: tuple[str, ...] = SYMBOLS, criteria: Criteria | None = None) -> Report:
    """The report of an output without a tape."""
    output = Output(root / harvest.FOLDER)
    made = compare([], "no tape")
    return assess(output, symbols, window, criteria or Criteria(), DAY.end, "tapeline", "as asked", made, How(8.0, True))


def of(report: Report, kind: str) -> list[Finding]:
    return [found for found in report.findings if found.kind == kind]


def verdicts(report: Report) -> dict[str, str]:
    return {check.name: check.verdict for check in report.checks}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    write(root)
    return root


def test_a_whole_day_is_green_and_has_no_findings(whole: Path) -> None:
    report = judged(whole)
    assert report.verdict == "good" and exit_code(report) == 0 and report.findings == []
    assert verdicts(report) == {
        **dict.fromkeys(("max_empty_bucket_rate", "max_missing_rate", "max_duplicate_rate", "max_latency_p50_ms"), "pass"),
        **dict.fromkeys(("max_latency_p99_ms", "min_events_per_72h", "identities", "unreadable"), "pass"),
        **dict.fromkeys(("recomputation", "min_winsor_effect"), "note"),
    }
    assert {one.minutes for one in report.completeness} == {1440} and len(report.completeness) == 10
    assert report.files.rows > 800_000 and decode(encode(report)) == report


def planted() -> Defects:
    """12 holes, a dead hour, 300 duplicates, 5 late stretches and a step of the clock, at random places that do not touch."""
    chance = random.Random(20260105)
    places = [at for at in range(1, 47) if at not in (42, 43, 44, 45)]
    chance.shuffle(places)
    at = [place * HOUR // 2 + chance.randrange(8 * MINUTE, 14 * MINUTE) for place in places[:18]]
    holes: dict[str, list[tuple[int, int]]] = {symbol: [(21 * HOUR + 600 * MS, 22 * HOUR + 600 * MS)] for symbol in SYMBOLS}
    for number, begin in enumerate(at[:12]):
        holes[SYMBOLS[number % 2]].append((begin, begin + chance.randrange(121 * SECOND, 400 * SECOND)))
    spikes = [(begin, begin + chance.randrange(5 * SECOND, 100 * SECOND), chance.uniform(150.0, 900.0)) for begin in at[12:17]]
    return Defects(holes=holes, spikes=spikes, steps=[(at[17], 430.0)], twice={"BTCUSDT": 190, "ETHUSDT": 110})


def test_each_planted_defect_is_found_and_nothing_else(tmp_path: Path) -> None:
    defects = planted()
    write(tmp_path, defects=defects)
    report = judged(tmp_path)
    assert Counter(found.kind for found in report.findings) == {"hole": 13, "duplicates": 2, "latency_spike": 5, "clock_step": 1}

    dead = [found for found in of(report, "hole") if len(found.where) == 10]
    assert len(dead) == 1 and set(dead[0].where) == DENSE and 590 <= dead[0].count <= 600
    assert 3598 * SECOND < dead[0].end - dead[0].start < 3605 * SECOND
    for symbol, holes in defects.holes.items():
        found = [hole for hole in of(report, "hole") if {name.split()[0] for name in hole.where} == {symbol}]
        assert len(found) == 6 and all(len(hole.where) == 5 and "ids are missing" in hole.text for hole in found)
        for hole, (begin, end) in zip(found, sorted(holes[1:]), strict=True):
            assert 0 < START + begin - hole.start < 3 * SECOND and 0 <= hole.end - START - end < 3 * SECOND
    assert sum(found.count for found in of(report, "duplicates")) == 300
    assert sum(len(set(one.ids)) for one in report.duplicates if one.kind == "prices") == 300
    for found, (begin, end, _) in zip(of(report, "latency_spike"), sorted(defects.spikes), strict=True):
        assert abs(found.start - START - begin) < 3 * SECOND and abs(found.end - START - end) < 3 * SECOND
        assert found.where == ["BTCUSDT book", "BTCUSDT prices", "ETHUSDT book", "ETHUSDT prices"]
    [step] = report.clock.steps
    assert abs(step.size_ms - 430.0) < 5 and 0 <= step.at - START - defects.steps[0][0] < 2 * SECOND

    assert {name for name, verdict in verdicts(report).items() if verdict == "fail"} == {"max_empty_bucket_rate", "max_missing_rate"}
    assert report.verdict == "missed" and exit_code(report) == 3
    prices = [one for one in report.latency if one.kind == "prices"]
    assert all(one.p99 is not None and one.raw_p99 is not None and one.p99 < 120 < one.raw_p99 for one in prices), (
        "the step is corrected for"
    )


def test_a_shorter_loss_than_a_minute_is_found_by_its_ids(tmp_path: Path) -> None:
    write(tmp_path, 1.0, Defects(holes={"ETHUSDT": [(20 * MINUTE + 5 * SECOND, 20 * MINUTE + 35 * SECOND)]}))
    report = judged(tmp_path, Span(START, START + HOUR))
    assert sorted((found.kind, *found.where, found.count) for found in report.findings) == [
        ("book_break", "ETHUSDT book", 0),
        ("trades_missed", "ETHUSDT prices", 30),
    ]
    assert verdicts(report)["max_empty_bucket_rate"] == "pass" and verdicts(report)["max_missing_rate"] == "fail"


def test_outages_at_head_and_tail_count(tmp_path: Path) -> None:
    write(tmp_path, 3.0)
    report = judged(tmp_path, Span(START - HOUR, START + 4 * HOUR))
    assert [(found.kind, found.count, len(found.where)) for found in report.findings] == [("hole", 600, 10), ("hole", 600, 10)]
    assert {one.empty_rate for one in report.completeness} == {120 / 300}
    late = Defects(holes={"ETHUSDT": [(0, 30 * MINUTE), (170 * MINUTE, 3 * HOUR)]})
    write(tmp_path / "late", 3.0, late)
    rates = {one.symbol: one.empty for one in judged(tmp_path / "late", Span(START, START + 3 * HOUR)).completeness}
    assert rates == {"BTCUSDT": 0, "ETHUSDT": 40}


def test_a_symbol_that_never_spoke_is_no_green_one(whole: Path) -> None:
    report = judged(whole, symbols=(*SYMBOLS, "SOLUSDT"))
    assert report.verdict == "missed"
    assert verdicts(report)["max_empty_bucket_rate"] == "fail" and verdicts(report)["max_latency_p99_ms"] == "unknown"
    assert [found.where for found in report.findings] == [[f"SOLUSDT {kind}" for kind in sorted(harvest.DENSE)]]


def test_latencies_that_are_not_there_do_not_pass(tmp_path: Path) -> None:
    write(tmp_path, 1.0)
    for kind in ("prices", "book"):
        for path in (tmp_path / harvest.FOLDER).rglob(f"kind={kind}/*.parquet"):
            table = pq.read_table(path, partitioning=None)
            at = table.schema.get_field_index("latency_ms")
            blank = pa.nulls(len(table), pa.float64())
            pq.write_table(table.set_column(at, table.schema.field(at), blank), path)
    report = judged(tmp_path, Span(START, START + HOUR))
    assert verdicts(report)["max_latency_p50_ms"] == "unknown" and report.verdict == "unknown" and exit_code(report) == 1


def test_a_clock_that_is_behind_is_told_and_corrected_for(tmp_path: Path) -> None:
    write(tmp_path, 1.0, Defects(offset_ms=-200.0))
    report = judged(tmp_path, Span(START, START + HOUR))
    assert [found.kind for found in of(report, "clock_behind")] == ["clock_behind"] and report.clock.behind_ms == pytest.approx(185, abs=1)
    assert all(one.negative == one.rows - one.unknown and (one.p50 or -1) > 0 for one in report.latency)


@pytest.mark.parametrize("kind, column", [("cvd", "cvd"), ("cvd", "z_raw"), ("ofi", "ofi_value"), ("cvd", "agg_trade_id")])
def test_one_wrong_value_in_an_hour_is_found(tmp_path: Path, kind: str, column: str) -> None:
    write(tmp_path, 1.0)
    path = next((tmp_path / harvest.FOLDER).rglob(f"symbol=ETHUSDT/kind={kind}/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    at = table.schema.get_field_index(column)
    values = table.column(column).to_pylist()
    values[1000] += 1
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)), path)
    report = judged(tmp_path, Span(START, START + HOUR))
    assert verdicts(report)["identities"] == "fail"
    assert {found.where[0] for found in of(report, "identity")} == {"ETHUSDT"} and len(report.findings) <= 3


def test_parts_that_cannot_be_read_and_other_files_are_told(tmp_path: Path) -> None:
    write(tmp_path, 2.0)
    part = sorted((tmp_path / harvest.FOLDER).rglob("symbol=BTCUSDT/kind=fusion/*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-200])
    (part.parent / ".part-1.parquet.77.tmp").write_bytes(b"x")
    report = judged(tmp_path, Span(START, START + 2 * HOUR))
    assert sorted(found.kind for found in report.findings) == ["hole", "stranger", "unreadable"]
    assert verdicts(report)["unreadable"] == "fail" and of(report, "hole")[0].where == ["BTCUSDT fusion"]


def test_the_fields_of_the_report_are_those_that_are_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "quality.md").read_text()
    for field in msgspec.structs.fields(Report):
        assert f"`{field.name}`" in page, field.name
    for name in msgspec.structs.fields(Criteria):
        assert f"`{name.name}`" in page, name.name
