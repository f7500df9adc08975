"""Debian's Prometheus on the loopback, with the rules of this repository."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules"


def tool(name: str) -> str:
    """A program of the Debian package ``prometheus``. Without it a test is skipped on a developer's machine, and fails in CI."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: apt-get install prometheus")
        pytest.skip(f"{name} is missing: apt-get install prometheus")
    return found


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Its answer."""
    return subprocess.run([tool("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False)


class Prometheus:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: object) -> Any:
        """``data`` of an answer; raises OSError for a refusal, such as an expression that does not parse."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The instant vector."""
        found: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return found

    def alarms(self) -> dict[str, str]:
        """The state of each alarm that is on."""
        return {alert["labels"]["alertname"]: alert["state"] for alert in self.get("alerts")["alerts"]}


def until(wanted: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """What ``wanted`` gives as soon as that is true; fails after so long."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            found = wanted()
        except OSError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


@contextmanager
def running(folder: Path, targets: dict[str, list[str]], rules: list[Path]) -> Iterator[Prometheus]:
    """A server with the rules, that scrapes ``targets`` (job -> addresses) five times a second."""
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": where}]} for job, where in targets.items()],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([tool("prometheus"), *arguments], stderr=log, stdout=log)
        try:
            server = Prometheus(port)
            until(lambda: urlopen(f"{server.url}/-/ready", timeout=5).close() is None)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
