"""Bad input: each a clear one-line error or a mark, the documented exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tape_archive.format.read import read_lines
from tests.support.recording import arguments, environment, rows, simulator, tape

CEX = [sys.executable, "-m", "tape_collectors.cli.cex_record"]
POLY = [sys.executable, "-m", "tape_collectors.cli.poly_record"]
TAPE = [sys.executable, "-m", "tape_archive"]


def run(command: list[str], *words: str, **variables: str) -> tuple[int, str]:
    """Exit code and the one line on stderr (log lines aside)."""
    done = subprocess.run([*command, *words], capture_output=True, text=True, env=environment(**variables), timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if not line[:4].isdigit()]
    assert len(said) <= 1, said
    return done.returncode, said[0] if said else ""


def nowhere(*names: str) -> list[str]:
    return [
        word for name in names for word in ("--endpoint", f"{name}=http://127.0.0.1:1" if "rest" in name else f"{name}=ws://127.0.0.1:1")
    ]


@pytest.mark.parametrize(
    ("command", "words", "text"),
    [
        (POLY, ["--coins", "btcc"], "unknown coin 'btcc'; did you mean 'btc'?"),
        (POLY, ["--timeframes", "15"], "unknown time frame '15'; did you mean '15m'?"),
        (CEX, ["--venues", "binance_spt"], "unknown venue 'binance_spt'; did you mean 'binance_spot'?"),
        (CEX, ["--symbols", "BTC@USDT"], "cannot be a Binance symbol; write it like BTCUSDT"),
        (CEX, ["--channels", "depht"], "unknown channel 'depht'; did you mean 'depth'"),
        (CEX, ["--split-hours", "5"], "split-hours 5: expected 0, 1, 6, 12 or 24"),
        (CEX, ["--hz", "0"], "hz 0.0: expected more than 0"),
        (CEX, ["--hz", "abc"], "Invalid value for '--hz': 'abc' is not a valid float; see "),
        (CEX, ["--hz", "1e9"], "hz 1000000000.0: expected at most 1000"),
        (CEX, ["--hz", "inf"], "hz inf: expected a number of 0 or more"),
        (CEX, ["--band-bps", "nan"], "band-bps nan: expected a number of 0 or more"),
        (CEX, ["--stall-seconds", "-1"], "stall -1.0: expected a number of 0 or more"),
        (POLY, ["--lead-seconds", "-90"], "lead -90.0: expected a number of 0 or more"),
        (CEX, ["--sockets", "0"], "sockets 0: expected more than 0"),
        (CEX, ["--nope"], "No such option"),
        (CEX, ["--endpoint", "binance_spot=x"], "expected <venue>.<host>=<address>"),
        (
            CEX,
            ["--endpoint", "binance_spot.rst=http://x"],
            "unknown endpoint binance_spot.rst (known: binance_spot.rest, binance_spot.spot)",
        ),
        (CEX, ["--config", "/nowhere.yaml"], "cannot read /nowhere.yaml: No such file or directory"),
        (TAPE, ["simulate", "--fault", "explode@3s"], "--fault 'explode@3s': expected"),
        (TAPE, ["cat", "/nowhere.jsonl"], "/nowhere.jsonl is not there"),
        (TAPE, ["book", "--venue", "binance", "--symbol", "X", "--root", "/nowhere"], "no tape of binance_spot under /nowhere"),
        (TAPE, ["coverage", "--root", "/nowhere"], "/nowhere is no folder"),
        (TAPE, ["import", "--format", "csv", "--venue", "binance_spot", "x"], "unknown format 'csv'"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(tmp_path: Path, command: list[str], words: list[str], text: str) -> None:
    root = ["--root", str(tmp_path)] if "--root" not in words and words[0] not in ("cat", "simulate") else []
    code, said = run(command, *words, *root)
    assert text in said
    assert code == (2 if command != TAPE or words[0] in ("simulate", "import") else 1)


def test_an_unknown_settings_key_names_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("cex:\n  symbls: [BTCUSDT]\n")
    code, said = run(CEX, "--config", str(file), "--root", str(tmp_path))
    assert code == 2 and "unknown setting 'symbls'" in said and "did you mean 'symbols'" in said
    code, said = run(CEX, "--root", str(tmp_path), TAPE_SYMBLS="BTCUSDT")
    assert code == 2 and "TAPE_SYMBLS" in said and "did you mean 'symbols'" in said
    file.write_text("cex: [1, 2")
    assert run(CEX, "--config", str(file))[0] == 2


def test_flags_beat_the_environment_and_that_beats_the_file(tmp_path: Path) -> None:
    from tape_collectors.settings import CexSettings, load

    file = tmp_path / "settings.yaml"
    file.write_text("cex:\n  hz: 2\n  top: 3\n  band_bps: 7\n")
    os.environ |= {"TAPE_HZ": "4", "TAPE_TOP": "9", "TAPE_COINS": "btc"}
    try:
        settings = load(CexSettings, "cex", {"hz": 8.0, "top": None}, str(file))
    finally:
        for name in ("TAPE_HZ", "TAPE_TOP", "TAPE_COINS"):
            del os.environ[name]
    assert (settings.hz, settings.top, settings.band_bps) == (8.0, 9, 7.0)


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said = run(CEX, "--root", str(tmp_path / "file"), *nowhere("binance_spot.rest"))
    assert code in (2, 10) and str(tmp_path / "file") in said
    (tmp_path / "logs").write_text("")
    code, said = run(CEX, "--root", str(tmp_path), *nowhere("binance_spot.rest", "binance_usdm.rest"))
    assert code == 2 and "choose another --out" in said


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate")
    for name in ("absent", "text"):
        code, said = run(
            CEX, "--root", str(tmp_path), *nowhere("binance_spot.rest", "binance_usdm.rest"), TAPE_CA_FILE=str(tmp_path / name)
        )
        assert code == 2 and str(tmp_path / name) in said


@pytest.fixture(scope="module")
def venues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with simulator(tmp_path_factory.mktemp("simulator"), "--venues", "binance_spot") as endpoints:
        yield endpoints


def start(root: Path, endpoints: dict[str, str], *more: str) -> subprocess.Popen[str]:
    words = ["--root", str(root), "--venues", "binance_spot", "--symbols", "BTCUSDT", "--split-hours", "0", *arguments(endpoints), *more]
    (root / "state" / "cex.status.json").unlink(missing_ok=True)
    child = subprocess.Popen([*CEX, *words], env=environment(), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 20
    while time.monotonic() < until and child.poll() is None:
        if (root / "state" / "cex.status.json").exists() and json.loads((root / "state" / "cex.status.json").read_bytes())["frames"] > 20:
            break
        time.sleep(0.05)
    return child


def finish(child: subprocess.Popen[str], how: int = signal.SIGTERM) -> tuple[int, str]:
    child.send_signal(how)
    said = child.communicate(timeout=10)[1]
    return child.returncode, said


def test_an_unlisted_symbol_names_the_nearest(tmp_path: Path, venues: dict[str, str]) -> None:
    code, said = run(CEX, "--root", str(tmp_path), "--venues", "binance_spot", "--symbols", "BTCUSDX", *arguments(venues))
    assert code == 2 and "binance_spot does not list 'BTCUSDX'; did you mean 'BTCUSDT'?" in said


def test_a_second_instance_is_refused_and_the_first_goes_on(tmp_path: Path, venues: dict[str, str]) -> None:
    first = start(tmp_path, venues)
    code, said = run(CEX, "--root", str(tmp_path), *arguments(venues))
    assert code == 11 and f"process {first.pid} holds" in said
    begun = time.monotonic()
    assert finish(first)[0] == 0 and time.monotonic() - begun < 5, "SIGTERM: drained, sealed, within 5 s"
    assert tape(tmp_path)[-1].mark == "seal"


def test_ctrl_c_is_130_and_seals_too(tmp_path: Path, venues: dict[str, str]) -> None:
    assert finish(start(tmp_path, venues), signal.SIGINT)[0] == 130
    assert tape(tmp_path)[-1].mark == "seal"


def test_a_full_disk_ends_with_12_and_loses_nothing_before(tmp_path: Path, venues: dict[str, str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        child = start(disk, venues, "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT,XRPUSDT", "--hz", "20", "--log-level", "error")
        said = child.communicate(timeout=60)[1]
        assert child.returncode == 12 and "free some space" in said.strip().splitlines()[-1] and "Traceback" not in said
        lines = tape(disk)
        assert len(lines) > 20 and all(one.t < other.t for one, other in zip(lines, lines[1:], strict=False))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_nothing_at_all_moves(tmp_path: Path) -> None:
    words = [
        "--root",
        str(tmp_path),
        "--venues",
        "binance_spot",
        "--stall-seconds",
        "1",
        *nowhere("binance_spot.rest", "binance_spot.spot"),
    ]
    code, said = run(CEX, *words, "--log-level", "error")
    assert code == 13 and "no frame came for 1 s" in said


def test_a_torn_tail_is_mended_and_gone_on_with(tmp_path: Path, venues: dict[str, str]) -> None:
    child = start(tmp_path, venues)
    child.kill()
    child.communicate()
    (path,) = (tmp_path / "raw").rglob("*.zst")
    os.truncate(path, path.stat().st_size - 3)
    before = list(read_lines(path))
    code, _ = run(TAPE, "verify", "--root", str(tmp_path))
    assert code == 3
    assert finish(start(tmp_path, venues))[0] == 0
    after = list(read_lines(path, sealed=True))
    assert after[: len(before)] == before and len(after) > len(before)
    assert run(TAPE, "verify", "--root", str(tmp_path))[0] == 0
    assert len(rows(tmp_path / "logs" / "cex.csv")) >= 1


def test_a_port_that_is_taken(tmp_path: Path, venues: dict[str, str]) -> None:
    port = venues["binance_spot.rest"].rpartition(":")[2]
    code, said = run(CEX, "--root", str(tmp_path), "--venues", "binance_spot", *arguments(venues), "--metrics-port", port)
    assert code == 2 and f"metrics-port {port}" in said and "choose another --metrics-port" in said


def test_health_and_metrics_are_told_on_the_loopback(tmp_path: Path, venues: dict[str, str]) -> None:
    child = start(tmp_path, venues)
    port = json.loads((tmp_path / "state" / "cex.status.json").read_bytes())["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
        health = json.loads(answer.read())
    assert health["ok"] and health["connections"] == 1 and health["streams"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'tape_frames_total{s="spot-' in text and "tape_disk_free_bytes" in text and "tape_gaps" in text
    assert finish(child)[0] == 0


def test_half_of_the_credentials(tmp_path: Path) -> None:
    code, said = run(POLY, "--root", str(tmp_path), POLY_API_KEY="very-secret")
    assert code == 2 and "POLY_API_SECRET" in said and "very-secret" not in said
