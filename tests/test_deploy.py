"""What runs the recorders: systemd accepts its units, the commands accept what they are given, the containers are what the pages say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tape_archive.commands import archive
from tape_collectors.cli.market_record import market_record
from tape_collectors.runtime import health
from tape_collectors.settings import MarketSettings, load
from tape_collectors.whole_market import processes, recorder

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def started(line: str) -> tuple[click.Command, list[str]]:
    """The command that a line starts, and its arguments."""
    words = shlex.split(line.replace("${TAPES}", "/x"))
    name = Path(words[0]).name
    assert name == "archiver"
    return archive.command, words[1:]


def test_the_archiver_s_lines_are_commands_of_ours() -> None:
    text = (DEPLOY / "archiver.service").read_text()
    lines = re.findall(r"^ExecStart(?:Post)?=(.*)$", text, re.M)
    cron = re.search(r"^# 0 4 \* \* \* nice -n 15 ionice -c 3 (.*) > /dev/null", text, re.M)
    added = re.search(r"^# add to ExecStart: (--prune .*)$", text, re.M)
    assert cron is not None and added is not None and len(lines) == 1
    for line in [*lines, f"{lines[0]} {added[1]}", cron[1].replace("/var/lib/tapeline", "/x")]:
        command, words = started(line)
        with command.make_context("x", words) as made:
            assert made.params["root"] == "/x"
    assert started(lines[0]) == started(cron[1].replace("/var/lib/tapeline", "/x")), "cron does what the timer does"
    assert "OnCalendar=*-*-* 04:00:00" in (DEPLOY / "archiver.timer").read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_accepts_them(tmp_path: Path) -> None:
    for name in ("archiver.service", "archiver.timer", "market-record.service"):
        text = (DEPLOY / name).read_text()
        # The paths of the example are not there on a machine that tests.
        (tmp_path / name).write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text).replace("User=tapeline", "User=root"))
    ran = subprocess.run(["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and not ran.stderr, ran.stderr


def test_the_recorder_s_unit_and_container_start_it_with_settings_that_it_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unit = (DEPLOY / "market-record.service").read_text()
    line = re.search(r"^ExecStart=(.*)$", unit, re.M)
    service = compose()["services"]["recorder"]
    assert line is not None
    given = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.M))
    for words, environment in ((shlex.split(line[1]), given), (service["command"], service["environment"])):
        assert Path(words[0]).name == "market-record"
        with market_record.make_context("x", list(words[1:])) as made:
            flags = {key: value for key, value in made.params.items() if key != "config"}
        with monkeypatch.context() as patch:
            for key in [key for key in os.environ if key.startswith("TAPE_")]:
                patch.delenv(key)
            for key, value in environment.items():
                patch.setenv(key, "parquet://x" if "$" in value else value)
            settings = load(MarketSettings, "market", flags)
        assert settings.log_json and settings.metrics_port == 8080 and settings.root == environment["TAPE_ROOT"]
        # ProtectHome, and a container's own file system: the budget is kept beside the tapes.
        assert settings.budgets.startswith(settings.root + "/")
    assert settings.metrics_host == "0.0.0.0"


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


def test_the_containers_are_on_the_loopback_and_their_files_are_there() -> None:
    services = compose()["services"]
    assert set(services) == {"recorder", "clickhouse", "timescaledb", "prometheus", "grafana"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for volume in service.get("volumes", ()):
            place = volume.partition(":")[0]
            assert (ROOT / place).exists() if place.startswith(".") else place in compose()["volumes"], volume
    example = (ROOT / ".env.example").read_text()
    for variable in re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()):
        assert f"{variable}=" in example
    over = compose("docker-compose.dev.yml")["services"]
    assert set(over) <= set(services)
    for folder in over["recorder"]["environment"]["PYTHONPATH"].split(":"):
        assert (ROOT / folder.removeprefix("/code/")).is_dir(), "the code is mounted"


def test_the_dashboard_of_the_market_asks_for_metrics_that_exist() -> None:
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "market.json").read_text())
    known = set(re.findall(r'"(tape_\w+)"', "".join(Path(str(one.__file__)).read_text() for one in (health, processes, recorder))))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {name.removesuffix("_total") for expr in asked for name in re.findall(r"\b(tape_\w+)(?=\{)", expr)}
    assert len(asked) >= 8 and used <= known, used - known
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in board["panels"]})


#: stands where docker is, and writes what it is told
DOCKER = """#!/bin/sh
echo "$@" >> "$SAID"
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("start",), "up --detach --build"),
        (("status",), "ps"),
        (("logs",), "logs --follow --tail 100 recorder"),
        (("logs", "clickhouse"), "logs --follow --tail 100 clickhouse"),
        (("restart",), "restart recorder"),
        (("stop",), "down"),
    ],
)
def test_development_mode(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """The script's own part: which files, which command. Docker itself is not run."""
    place = tmp_path / "repository"
    (place / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "dev-mode.sh", place / "scripts")
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    environment = os.environ | {"PATH": f"{docker.parent}:{os.environ['PATH']}", "SAID": str(tmp_path / "said")}
    script = str(place / "scripts" / "dev-mode.sh")
    if words == ("start",):
        ran = subprocess.run([script, "start"], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 2 and "cp .env.example .env" in ran.stderr
        (place / ".env").write_text("X=1\n")
    ran = subprocess.run([script, *words], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "said").read_text().splitlines()[-1] == f"compose -f docker-compose.yml -f docker-compose.dev.yml {said}"
    assert subprocess.run([script, "what"], env=environment, capture_output=True, text=True, check=False).returncode == 2


def test_the_check_that_earlier_tools_had(tmp_path: Path) -> None:
    words = [str(ROOT / "scripts" / "check_data_integrity.py"), "--root", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and "has no rows of" in ran.stderr and "Traceback" not in ran.stderr
