"""``validate`` as its user runs it: what it prints, writes and returns."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tape_archive.format import harvest
from tape_archive.format.errors import NotFound, SettingsError
from tape_monitor.quality.command import command
from tape_monitor.quality.page import page
from tape_monitor.quality.report import Report, decode
from tests.support.harvest_output import HOUR, MINUTE, SECOND, START, Defects, write
from tests.support.recording import environment


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours that are whole, and two with a hole."""
    root = tmp_path_factory.mktemp("outputs")
    write(root / "whole", 2.0)
    write(root / "holed", 2.0, Defects(holes={"ETHUSDT": [(30 * MINUTE, 40 * MINUTE)]}))
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No config/system.yaml of anybody's is read."""
    monkeypatch.chdir(tmp_path)


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)


def test_a_whole_output_is_good_and_both_reports_lie_where_the_brief_puts_them(outputs: Path) -> None:
    done = run("--root", outputs / "whole")
    assert done.return_value == 0 and "good: every criterion is met; 0 findings" in done.output
    [report] = (outputs / "whole" / harvest.REPORTS).glob("dq_*.json")
    assert re.fullmatch(r"dq_\d{8}_\d{4}\.json", report.name) and report.with_suffix(".html").exists()
    content = json.loads(report.read_bytes())
    assert content["schema"] == "tapeline.dq/1" and content["verdict"] == "good" and content["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert list(content) == [field.name for field in msgspec.structs.fields(Report)]


def test_a_hole_gives_3_and_says_which_criterion(outputs: Path, tmp_path: Path) -> None:
    done = run("--root", outputs / "holed", "--output", tmp_path / "deep" / "r.json")
    assert done.return_value == 3 and "not good: Empty minutes, Missing trades, books" in done.output
    assert "ETHUSDT: no rows for 10m" in done.output and (tmp_path / "deep" / "r.html").exists()


def test_the_brief_s_command_line(outputs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data" / "ofi_cvd"
    shutil.copytree(outputs / "whole" / harvest.FOLDER, copy)
    done = run("--base-dir", "data/ofi_cvd", "--output-dir", "artifacts/dq_reports", "--max-dup-rate", "0.1", "--min-events", "10")
    assert done.return_value == 0 and len(list((tmp_path / "artifacts" / "dq_reports").glob("dq_*.json"))) == 1
    lone = tmp_path / "lone"
    shutil.copytree(copy, lone)
    assert run("--base-dir", lone, "--output-dir", tmp_path).return_value == 0


def test_the_module_and_the_console_script_leave_with_the_code(outputs: Path, tmp_path: Path) -> None:
    for words in (["-m", "tape_monitor.quality"], ["-m", "tape_archive", "validate"]):
        call = [sys.executable, *words, "--root", str(outputs / "holed"), "--output", str(tmp_path / "r.json")]
        assert subprocess.run(call, env=environment(), capture_output=True, cwd=tmp_path, check=False).returncode == 3
    call = [sys.executable, "-m", "tape_monitor.quality", "--root", str(tmp_path)]
    done = subprocess.run(call, env=environment(), capture_output=True, cwd=tmp_path, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_thresholds_come_from_flag_then_environment_then_file(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(*words: str) -> float:
        run("--root", outputs / "whole", "--output", tmp_path / "r.json", *words)
        return decode((tmp_path / "r.json").read_bytes()).criteria.max_latency_p99_ms

    assert limit() == 120.0
    (tmp_path / "config").mkdir()
    criteria = "acceptance_criteria: {max_latency_p99_ms: 40, max_missing_rate: 0.5}"
    (tmp_path / "config" / "system.yaml").write_text(f"data_harvest:\n  run_hours: 24\n  data_quality:\n    {criteria}\n")
    assert limit() == 40.0
    assert run("--root", outputs / "whole", "--output", tmp_path / "r.json").return_value == 3, "p99 is above 40 ms"
    other = tmp_path / "other.yaml"
    other.write_text("data_harvest: {data_quality: {acceptance_criteria: {max_latency_p99_ms: 41}}}")
    assert limit("--config", str(other)) == 41.0
    monkeypatch.setenv("TAPE_MAX_LATENCY_P99_MS", "42")
    assert limit() == 42.0
    assert limit("--max-latency-p99-ms", "43") == 43.0
    other.write_text("data_harvest: {data_quality: {acceptance_criteria: {max_latency_p98_ms: 41}}}")
    with pytest.raises(SettingsError, match="did you mean 'max_latency_p99_ms'"):
        run("--root", outputs / "whole", "--config", other)


def test_the_window_is_what_is_asked(outputs: Path, tmp_path: Path) -> None:
    def window(*words: object) -> tuple[int, int, str]:
        run("--root", outputs / "holed", "--output", tmp_path / "r.json", *words)
        report = decode((tmp_path / "r.json").read_bytes())
        return report.start - START, report.end - START, report.verdict

    begin, end, verdict = window()
    assert begin == 0 and 2 * HOUR - 2 * SECOND < end <= 2 * HOUR and verdict == "missed"
    assert window("--from", START + HOUR, "--to", START + 2 * HOUR)[::2] == (HOUR, "good")
    begin, end, verdict = window("--last", 1)
    assert end - begin == HOUR and verdict == "good"
    assert window("--last", 24) == window(), "what was recorded, and no hour before it"
    assert window("--to", START + 3 * HOUR)[1:] == (3 * HOUR, "missed")


@pytest.mark.parametrize(
    "words, error, says",
    [
        (["--last", "1", "--from", "2026-01-05"], SettingsError, "--last and --from"),
        (["--from", "2026-01-05T01:00:00Z", "--to", "2026-01-05T01:01:00Z"], SettingsError, "no whole minute"),
        (["--from", "noon"], SettingsError, "'noon' is no time"),
        (["--output", "report.txt"], SettingsError, "ends in .json"),
        (["--max-latency-p50-ms", "fast"], Exception, "not a valid float"),
    ],
)
def test_wrong_options_are_told_in_one_line(outputs: Path, words: list[str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        run("--root", outputs / "whole", *words)


def test_nothing_there_is_an_error_unless_a_time_was_asked(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--root"):
        run("--root", tmp_path)
    (tmp_path / harvest.FOLDER).mkdir(parents=True)
    with pytest.raises(NotFound, match="no parts"):
        run("--root", tmp_path)
    asked = ["--from", START, "--to", START + HOUR]
    with pytest.raises(NotFound, match="--symbols"):
        run("--root", tmp_path, *asked)
    done = run("--root", tmp_path, *asked, "--symbols", "btcusdt")
    assert done.return_value == 3 and "100.000%" in done.output


def test_json_is_the_report(outputs: Path, tmp_path: Path) -> None:
    done = run("--root", outputs / "whole", "--output", tmp_path / "r.json", "--json")
    assert done.output.encode() == (tmp_path / "r.json").read_bytes()


class Reader(HTMLParser):
    """Whether tags are balanced, and what they refer to."""

    VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.refers: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.refers += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("which", ["whole", "holed"])
def test_the_page_is_whole_needs_nothing_from_outside_and_says_all(outputs: Path, tmp_path: Path, which: str) -> None:
    run("--root", outputs / which, "--output", tmp_path / "r.json")
    text = (tmp_path / "r.html").read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.open == [] and reader.refers == [] and not reader.seen & {"script", "img", "link", "iframe"}
    assert "http" not in text and "@import" not in text and "url(" not in text and "prefers-color-scheme: dark" in text
    report = decode((tmp_path / "r.json").read_bytes())
    for check in report.checks:
        assert check.title in text
    for found in report.findings:
        assert found.text in text
    assert len(re.findall(r'class="hole ', text)) == sum(len(one.holes) for one in report.completeness)
    assert "never decides" in text, "the Winsor effect"


def test_names_from_outside_are_no_markup(outputs: Path, tmp_path: Path) -> None:
    run("--root", outputs / "holed", "--output", tmp_path / "r.json")
    evil = (tmp_path / "r.json").read_text().replace("ETHUSDT", "<script>alert(1)</script>")
    text = page(decode(evil.encode()))
    assert "<script" not in text and "&lt;script&gt;" in text
