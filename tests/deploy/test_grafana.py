"""The dashboard, by Grafana's own schema and by a real Prometheus that answers each of its questions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as schema

from tape_archive.format import harvest
from tests.deploy.test_prometheus import exporter, say, shown
from tests.support.prometheus import DEPLOY, RULES, promtool, running, until

PATH = DEPLOY / "grafana" / "dashboards" / "ofi_cvd_harvest.json"
DASHBOARD: dict[str, Any] = json.loads(PATH.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}


def filled(expr: str, window: str = "1m") -> str:
    """What Grafana sends: its variables replaced."""
    for name, value in {"$__rate_interval": window, "$instance": ".*", "$symbol": ".*"}.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def test_grafana_s_schema_knows_every_field() -> None:
    register_default_plugins()
    read = schema.Dashboard.from_json(DASHBOARD)
    written = json.loads(JSONEncoder(sort_keys=True).encode(read))
    assert lost(DASHBOARD, written) == []


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """The places of ``given`` that ``kept`` does not have."""
    if isinstance(given, dict):
        return [place for key in given for place in (lost(given[key], kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"])]
    if isinstance(given, list):
        pairs = zip(given, kept, strict=True)
        return [place for at, (one, other) in enumerate(pairs) for place in lost(one, other, f"{path}[{at}]")]
    return [] if given == kept else [path]


def test_a_field_that_grafana_does_not_know_is_found() -> None:
    read = schema.Dashboard.from_json({**DASHBOARD, "tittle": "x"})
    assert lost({**DASHBOARD, "tittle": "x"}, json.loads(JSONEncoder(sort_keys=True).encode(read))) == [".tittle"]


def test_panels_have_their_own_ids_and_places() -> None:
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["description"] and panel["datasource"]["uid"] == "${datasource}"
        assert [target["refId"] for target in panel["targets"]] == ["A", "B"][: len(panel["targets"])]


def test_every_metric_has_a_panel_and_every_panel_a_metric_that_exists() -> None:
    used = {name for expr in EXPRESSIONS.values() for name in re.findall(r"\b([a-zA-Z_]+)(?=\{)", expr)}
    series = {name: shown(kind, name) for name, (kind, _, _) in harvest.METRICS.items()}
    assert used - set().union(*series.values()) == {"up", "ALERTS"}
    assert {name for name in series if not series[name] & used} == set()


def test_alarms_of_the_dashboard_are_those_of_the_rules() -> None:
    named = re.findall(r'alertname=~"([^"]+)"', PATH.read_text().replace('\\"', '"'))
    alarms = [rule["alert"] for group in yaml.safe_load((RULES / "ofi_cvd.yml").read_text())["groups"] for rule in group["rules"]]
    assert named and all(re.fullmatch(pattern, alarm) for pattern in named for alarm in alarms)


def test_every_expression_parses(tmp_path: Path) -> None:
    records = [{"record": f"panel:{at}", "expr": filled(expr)} for at, expr in enumerate(EXPRESSIONS.values())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    assert promtool("check", "rules", path).returncode == 0
    path.write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": [{"record": "a", "expr": filled("sum(rate(x[$__rate_interval])")}]}]})
    )
    assert promtool("check", "rules", path).returncode != 0


def test_every_panel_shows_something_of_a_running_recorder(tmp_path: Path) -> None:
    with exporter() as (process, address), running(tmp_path, {"ofi-record": [address]}, [RULES / "ofi_cvd.yml"]) as prometheus:
        until(lambda: prometheus.query("data_rows_total"))
        for name, (kind, _, _) in harvest.METRICS.items():
            say(process, f"{name} {0.7 if kind == 'gauge' else 25}")
        until(lambda: prometheus.query("rate(latency_ms_count[1m]) > 0 and on (symbol) rate(data_rows_total{kind='prices'}[1m]) > 0"))
        until(lambda: prometheus.alarms().get("HarvestWriteErrors") == "firing")
        for place, expr in EXPRESSIONS.items():
            found = until(lambda expr=expr: prometheus.query(filled(expr)))
            values = [float(one["value"][1]) for one in found]
            assert values and all(value == value for value in values), place
        for variable in DASHBOARD["templating"]["list"][1:]:
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            assert prometheus.query(f"count by ({label}) ({filled(selector)})"), variable["name"]


@pytest.mark.parametrize("kind", ["datasources", "dashboards"])
def test_provisioning_fits_the_dashboard(kind: str) -> None:
    files = list((DEPLOY / "grafana" / "provisioning" / kind).glob("*.yml"))
    content = yaml.safe_load(files[0].read_text())
    assert len(files) == 1 and content["apiVersion"] == 1
    if kind == "datasources":
        chosen = DASHBOARD["templating"]["list"][0]["current"]["value"]
        assert [(one["uid"], one["type"]) for one in content["datasources"]] == [(chosen, "prometheus")]
    else:
        assert [one["type"] for one in content["providers"]] == ["file"]
