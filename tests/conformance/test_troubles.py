"""Eight venue-markets in one recorder: what goes wrong at some of them is named, and the others do not notice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path

from tape_archive.format.layout import segments
from tape_archive.format.lines import time_of
from tape_archive.format.read import read_lines
from tape_collectors.series import derive
from tape_collectors.simulator.world import EXCHANGES
from tests.support.recording import arguments, environment, rows, simulator

SECOND = 10**9
HZ = 2
TROUBLES = {
    "bybit_spot": "silence(venue=bybit_spot)@8s+60s",
    "okx_spot": "refuse(venue=okx_spot)@8s+60s",
    "gate_spot": "garbage(venue=gate_spot,p=0.5)@8s+60s",
    "mexc_spot": "rest_429(venue=mexc_spot,stream=/api/v3/depth)@0s+90s",
}
SETTINGS = {"TAPE_LISTING_EVERY_S": "0", "TAPE_SILENCE_S": "2", "TAPE_FIRST_FRAME_S": "3"}
HEALTHY = [venue for venue in EXCHANGES if venue not in TROUBLES]


def asked(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def recorded(folder: Path) -> tuple[str, str, dict[str, object]]:
    """(log, metrics, health) of a run in which every trouble has come to be named."""
    faults = [word for fault in (*TROUBLES.values(), "disconnect(venue=okx_spot)@9s") for word in ("--fault", fault)]
    log = (folder / "log").open("w")
    with simulator(folder, "--venues", ",".join(EXCHANGES), "--symbols", "BTCUSDT,ETHUSDT", *faults) as endpoints:
        command = [sys.executable, "-m", "tape_collectors.cli.cex_record", "--root", str(folder / "data"), "--venues", ",".join(EXCHANGES)]
        options = ["--hz", str(HZ), "--split-hours", "0", "--metrics-port", "0", "--rest-every", "0"]
        child = subprocess.Popen([*command, *options, *arguments(endpoints)], env=environment(**SETTINGS), stderr=log)
        try:
            until = time.monotonic() + 60
            metrics, health = "", {}
            while time.monotonic() < until and not ('reason="silent"' in metrics and "tape_connect_failures_total 0.0" not in metrics):
                time.sleep(0.5)
                assert child.poll() is None
                try:
                    port = json.loads((folder / "data" / "state" / "cex.status.json").read_text())["port"]
                    metrics, health = asked(port, "/metrics"), json.loads(asked(port, "/health"))
                except (OSError, ValueError):
                    continue
            time.sleep(4 / HZ)
        finally:
            child.send_signal(signal.SIGTERM)
            assert child.wait(15) == 0
    log.close()
    return (folder / "log").read_text(), metrics, health


def test_troubles_are_named_and_the_other_venues_do_not_notice(tmp_path: Path) -> None:
    log, metrics, health = recorded(tmp_path)
    root = tmp_path / "data"
    series = rows(root / "logs" / "cex.csv")

    # The others: every tick has its row, no tick waits for its line, no book is unproven once it was there.
    times = sorted(time_of(line) for segment in segments(root) for line in read_lines(segment.file))
    assert max(after - before for before, after in pairwise(times)) < SECOND // HZ, "a tick's rows are made before the next tick"
    ticks = sorted({row["t_sample_unix"] for row in series})
    assert all(round((float(after) - float(before)) * HZ) == 1 for before, after in pairwise(ticks))
    for venue in HEALTHY:
        own = [row for row in series if row["venue"] == venue]
        assert len(own) == 2 * len(ticks)
        errors = [row["err"] for row in own]
        begun = errors.index("")
        assert not any(errors[begun + 4 :]), (venue, set(errors[begun + 4 :]))

    # The troubles: in err, in the log, in the metrics.
    said = {venue: {row["err"] for row in series if row["venue"] == venue and row["err"]} for venue in TROUBLES}
    assert any("silent" in err for err in said["bybit_spot"]) and any("connection lost" in err for err in said["okx_spot"])
    assert any("gap" in err for err in said["gate_spot"]) and said["mexc_spot"] == {"BookNotProven: no book yet"}
    assert "stream is silent" in log and "cannot connect" in log and "host is left alone" in log
    assert "tape_unknown_frames_total 0.0" not in metrics and "tape_connect_failures_total 0.0" not in metrics
    assert "tape_rest_failures_total 0.0" not in metrics and 'reason="silent"' in metrics
    assert health["ok"] is False and any("no connection" in str(reason) or "silent" in str(reason) for reason in health["reasons"])  # type: ignore[attr-defined]

    derive.write(root, root / "again")
    assert (root / "again" / "logs" / "cex.csv").read_bytes() == (root / "logs" / "cex.csv").read_bytes()
