"""Units for a service manager: systemd accepts them, and the commands accept what they are given."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from tape_archive.commands import archive

DEPLOY = Path(__file__).parents[1] / "deploy"


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
    for name in ("archiver.service", "archiver.timer"):
        text = (DEPLOY / name).read_text()
        # The paths of the example are not there on a machine that tests.
        (tmp_path / name).write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text).replace("User=tapeline", "User=root"))
    ran = subprocess.run(["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and not ran.stderr, ran.stderr
