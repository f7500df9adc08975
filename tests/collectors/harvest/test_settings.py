"""Every setting of the brief: its default, its variable, its line in the file; and which of them wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tape_archive.format.errors import SettingsError
from tape_collectors.settings import CexSettings, HarvestSettings, load

#: the brief's table: variable, default, setting
TABLE = (
    ("SYMBOLS", "BTCUSDT,ETHUSDT", "symbols", ("BTCUSDT", "ETHUSDT")),
    ("RUN_HOURS", "72", "run_hours", 72.0),
    ("PARQUET_ROTATE_SEC", "60", "parquet_rotate_sec", 60),
    ("WSS_PING_INTERVAL", "20", "wss_ping_interval", 20.0),
    ("DEDUP_LRU", "8192", "dedup_lru", 8192),
    ("Z_MODE", "delta", "z_mode", "delta"),
    ("SCALE_MODE", "hybrid", "scale_mode", "hybrid"),
    ("MAD_MULTIPLIER", "1.8", "mad_multiplier", 1.8),
    ("SCALE_FAST_WEIGHT", "0.20", "scale_fast_weight", 0.2),
    ("HALF_LIFE_SEC", "600", "half_life_sec", 600.0),
    ("WINSOR_LIMIT", "8", "winsor_limit", 8.0),
    ("PROMETHEUS_PORT", "8009", "metrics_port", 8009),
    ("LOG_LEVEL", "info", "log_level", "info"),
)
OTHERS = {
    **{"SYMBOLS": ("solusdt xrpusdt", ("solusdt", "xrpusdt")), "RUN_HOURS": ("0.5", 0.5), "PARQUET_ROTATE_SEC": ("30", 30)},
    **{"WSS_PING_INTERVAL": ("5", 5.0), "DEDUP_LRU": ("100", 100), "Z_MODE": ("level", "level"), "SCALE_MODE": ("ewma", "ewma")},
    **{"MAD_MULTIPLIER": ("1.5", 1.5), "SCALE_FAST_WEIGHT": ("0.3", 0.3), "HALF_LIFE_SEC": ("300", 300.0), "WINSOR_LIMIT": ("3", 3.0)},
    **{"PROMETHEUS_PORT": ("9100", 9100), "LOG_LEVEL": ("DEBUG", "DEBUG")},
}
#: the brief's file
FILE = """
data_harvest:
  symbols: ["BTCUSDT", "ETHUSDT"]
  run_hours: 72
  parquet_rotate_sec: 60
  websocket:
    ping_interval: 20
    heartbeat_timeout: 30
  data_quality:
    precheck_minutes: 10
    acceptance_criteria:
      max_empty_bucket_rate: 0.001
      max_duplicate_rate: 0.005
      max_latency_p99_ms: 120
      max_latency_p50_ms: 60
      min_events_per_72h: 1000
      min_winsor_effect: 0.1
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*OTHERS, "TAPE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def settings(file: Path | None = None, **flags: object) -> HarvestSettings:
    return load(HarvestSettings, "data_harvest", flags, str(file) if file else None)


@pytest.mark.parametrize(("name", "text", "key", "value"), TABLE, ids=[row[0] for row in TABLE])
def test_defaults_are_the_brief_s(monkeypatch: pytest.MonkeyPatch, name: str, text: str, key: str, value: object) -> None:
    assert getattr(settings(), key) == value
    monkeypatch.setenv(name, text)
    assert getattr(settings(), key) == value


@pytest.mark.parametrize("name", OTHERS)
def test_each_variable_is_heard_and_a_flag_counts_more(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, value = OTHERS[name]
    key = {"PROMETHEUS_PORT": "metrics_port"}.get(name, name.lower())
    monkeypatch.setenv(name, text)
    assert getattr(settings(), key) == value
    assert getattr(settings(**{key: getattr(HarvestSettings(), key)}), key) == getattr(HarvestSettings(), key)


def test_the_file_of_the_brief_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "system.yaml"
    path.write_text(FILE)
    assert settings(path) == HarvestSettings()


def test_the_file_that_is_there_to_start_from_is_the_defaults() -> None:
    assert settings(Path(__file__).parents[3] / "config" / "system.yaml") == HarvestSettings()


def test_the_brief_s_file_is_read_where_it_lies_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "system.yaml").write_text("logging: {level: INFO}\ndata_harvest: {run_hours: 5}\n")
    other = tmp_path / "other.yaml"
    other.write_text("data_harvest: {run_hours: 6}\n")
    assert settings().run_hours == 5.0, "the section of another program is no matter of ours"
    assert load(CexSettings, "cex", {}, None) == CexSettings()
    monkeypatch.setenv("TAPE_CONFIG", str(other))
    assert settings().run_hours == 6.0
    (tmp_path / "config" / "system.yaml").write_text("data_harvest: {run_hour: 5}\n")
    monkeypatch.delenv("TAPE_CONFIG")
    with pytest.raises(SettingsError, match="did you mean 'run_hours'"):
        settings()


def test_flag_then_environment_then_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "system.yaml"
    path.write_text(FILE.replace("run_hours: 72", "run_hours: 10").replace("ping_interval: 20", "ping_interval: 7"))
    assert (settings(path).run_hours, settings(path).wss_ping_interval) == (10.0, 7.0)
    monkeypatch.setenv("RUN_HOURS", "11")
    assert settings(path).run_hours == 11.0
    monkeypatch.setenv("TAPE_RUN_HOURS", "12")
    assert settings(path).run_hours == 12.0
    assert settings(path, run_hours=13.0).run_hours == 13.0


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("run_hour: 7", "did you mean 'run_hours'?"),
        ("websocket: {ping_intervall: 7}", "did you mean 'ping_interval'?"),
        ("data_quality: {acceptance_criteria: {max_latency_p9_ms: 7}}", "did you mean 'max_latency_p99_ms'?"),
        ("z_mode: deltas", "z-mode 'deltas': expected delta or level"),
        ("scale_mode: mad", "scale-mode 'mad': expected hybrid or ewma"),
        ("depth: depth5@100ms", "depth 'depth5@100ms': expected depth, depth@100ms"),
        ("parquet_rotate_sec: 0", "parquet-rotate-sec 0: expected more than 0"),
        ("scale_fast_weight: 2", "expected 0 to 1"),
        ("symbols: []", "no symbols"),
        ("winsor_limit: eight", "settings:"),
    ],
)
def test_what_is_wrong_is_refused_with_the_fix(tmp_path: Path, line: str, hint: str) -> None:
    path = tmp_path / "system.yaml"
    path.write_text(f"data_harvest:\n  {line}\n")
    with pytest.raises(SettingsError) as error:
        settings(path)
    assert hint in str(error.value) and "\n" not in str(error.value)
