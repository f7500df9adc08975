"""Prometheus itself scrapes ofi-record itself, against the simulated venue."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tape_archive.format import harvest
from tests.deploy.test_grafana import EXPRESSIONS, filled
from tests.support.prometheus import RULES, running, until
from tests.support.recording import arguments, environment, simulator

OFI = [sys.executable, "-m", "tape_collectors.cli.ofi_record", "--report-hours", "0", "--rotate-seconds", "1", "--metrics-port", "0"]
#: a series of these begins with the first thing that it counts
LATER = {"tape_gaps_total", "tape_reconnects_total"}
#: market-record alone has tables
OTHERS = {"tape_tables_lag_seconds"}


def address(root: Path) -> str:
    """Where the recorder's log says that its metrics are."""
    for log in (root / harvest.RUN_LOGS).glob("*.log"):
        if found := re.search(r"http://(127\.0\.0\.1:\d+)", log.read_text().partition("health and metrics")[2]):
            return found[1]
    return ""


def test_a_recorder_shows_every_metric_that_rules_and_dashboard_ask_for(tmp_path: Path) -> None:
    rules = [RULES / "ofi_cvd.yml", RULES / "recorders.yml"]
    with simulator(tmp_path, "--venues", "binance_usdm") as endpoints:
        command = [*OFI, "--root", str(tmp_path), *arguments(endpoints)]
        recorder = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
        try:
            target = until(lambda: address(tmp_path))
            (tmp_path / "prometheus").mkdir()
            with running(tmp_path / "prometheus", {"ofi-record": [target]}, rules) as prometheus:
                until(lambda: prometheus.query('cvd_scale_median{symbol="BTCUSDT"}'))
                until(lambda: prometheus.query("count(rate(latency_ms_count[1m]) > 0) == 2"))
                shown = set(prometheus.get("label/__name__/values"))
                # The rate is known after a minute.
                wanted = {name if kind != "histogram" else f"{name}_bucket" for name, (kind, _, _) in harvest.METRICS.items()} - {
                    "recv_rate_tps"
                }
                assert wanted <= shown
                asked = {name for path in rules for name in re.findall(r"\btape_\w+", str(_expressions(path)))}
                assert asked - shown <= LATER | OTHERS
                for place in set(EXPRESSIONS) - {"Trades a second A", "Alarms A"}:
                    assert until(lambda place=place: prometheus.query(filled(EXPRESSIONS[place]))), place
                assert {"HarvestDown", "HarvestWriteErrors", "HarvestLatencyHigh"}.isdisjoint(prometheus.alarms())
                recorder.kill()
                until(lambda: prometheus.alarms().get("HarvestDown") == "pending")
        finally:
            recorder.kill()
            recorder.wait()


def _expressions(path: Path) -> list[str]:
    return [rule["expr"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def test_the_port_is_the_brief_s() -> None:
    config = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs["ofi-record"] == ["127.0.0.1:8009"] and len({str(targets) for targets in jobs.values()}) == 4
    assert json.dumps(jobs).count("127.0.0.1") == 4
