"""The rules for Prometheus, by Prometheus itself: its checker, its unit tests, and a server that scrapes a process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tape_archive.format import harvest
from tape_collectors.runtime import health
from tape_collectors.whole_market import processes, recorder
from tests.support.prometheus import DEPLOY, RULES, promtool, running, until

PROMETHEUS = DEPLOY / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.test.yml"))
#: the brief's six
ALARMS = {
    "HarvestLatencyHigh",
    "HarvestReconnectsFrequent",
    "HarvestFloorHitRateHigh",
    "HarvestWriteErrors",
    "HarvestRateLow",
    "HarvestDown",
}


def rules(path: Path) -> list[dict[str, str]]:
    """The alarms of a file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def test_prometheus_accepts_the_configuration_with_both_rule_files() -> None:
    done = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert "2 rule files found" in done.stdout
    assert re.findall(r"SUCCESS: (\d+) rules found", done.stdout) == ["6", str(len(rules(RULES / "recorders.yml")))]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_every_alarm_fires_and_is_silent_as_its_unit_test_says(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["ofi_cvd", "recorders"])
def test_every_alarm_is_seen_firing_in_a_unit_test(name: str) -> None:
    text = (PROMETHEUS / "tests" / f"{name}.test.yml").read_text()
    for rule in rules(RULES / f"{name}.yml"):
        alarm = re.escape(rule["alert"])
        fires = re.search(rf'alertname="{alarm}", alertstate="firing"', text) or re.search(
            rf"alertname: {alarm}\n\s+exp_alerts:\n\s+- exp_labels", text
        )
        assert fires, rule["alert"]


@pytest.mark.parametrize(
    "old, new",
    [("> 120", "> 1200"), ("[1h])) > 10", "[1h])) > 100"), ("> 0.6", "> 0.9"), ("for: 15m", "for: 60m"), ("< 0.1 *", "< 0.01 *")],
)
def test_a_changed_rule_fails_its_unit_test(tmp_path: Path, old: str, new: str) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    path = tmp_path / "prometheus" / "rules" / "ofi_cvd.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert promtool("test", "rules", tmp_path / "prometheus" / "tests" / "ofi_cvd.test.yml").returncode != 0


def test_the_six_alarms_of_the_brief_say_what_to_do() -> None:
    found = rules(RULES / "ofi_cvd.yml")
    assert {rule["alert"] for rule in found} == ALARMS
    for rule in found + rules(RULES / "recorders.yml"):
        assert rule["for"] is not None
        assert rule["labels"]["severity"] in ("warning", "critical")  # type: ignore[index]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}


def shown(kind: str, name: str) -> set[str]:
    """The series that a metric of a type is shown as."""
    return {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}


def test_rules_use_only_metrics_that_exist() -> None:
    harvested = {series for name, (kind, _, _) in harvest.METRICS.items() for series in shown(kind, name)}
    source = "".join(Path(str(module.__file__)).read_text() for module in (health, processes, recorder))
    recorders = set(re.findall(r'"(tape_\w+)"', source))
    recorders |= {f"{name}_total" for name in recorders}
    for path, known in ((RULES / "ofi_cvd.yml", harvested), (RULES / "recorders.yml", recorders)):
        for rule in rules(path):
            used = set(re.findall(r"\b([a-z_]+)(?=[{\[])", rule["expr"])) | set(re.findall(r"\btape_\w+", rule["expr"]))
            assert used and used <= known | {"up"}, (rule["alert"], used - known)


@contextmanager
def exporter() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process with the metrics of ofi-record, and its address."""
    command = [sys.executable, "-m", "tests.support.exporter"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=DEPLOY.parent, env=environment)
    assert process.stdin and process.stdout
    try:
        yield process, f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def say(process: subprocess.Popen[str], line: str) -> None:
    """Change a metric of the exporter."""
    assert process.stdin and process.stdout
    process.stdin.write(line + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ok\n"


def test_a_real_server_scrapes_a_process_and_raises_its_alarms(tmp_path: Path) -> None:
    with exporter() as (process, address):
        say(process, "recv_rate_tps 12")
        with running(tmp_path, {"ofi-record": [address]}, [RULES / "ofi_cvd.yml"]) as prometheus:
            until(lambda: [one["value"][1] for one in prometheus.query('recv_rate_tps{symbol="BTCUSDT"}')] == ["12"])
            until(lambda: len(prometheus.query("count_over_time(write_errors_total[1m]) > 3")) == 1)
            assert "HarvestDown" not in prometheus.alarms() and "HarvestWriteErrors" not in prometheus.alarms()
            say(process, "write_errors_total 1")
            until(lambda: prometheus.alarms().get("HarvestWriteErrors") == "firing")
            say(process, "cvd_floor_hit_rate 0.75")
            until(lambda: prometheus.alarms().get("HarvestFloorHitRateHigh") == "pending")
            process.kill()
            until(lambda: prometheus.alarms().get("HarvestDown") == "pending")
