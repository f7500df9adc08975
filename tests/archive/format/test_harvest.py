"""The output of ofi-record: the brief's columns stand first, names are unique, foreign files are not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tape_archive.format import harvest
from tape_archive.format.harvest import COLUMNS, KINDS, Kind

#: the brief, "Data tables"
BRIEF: dict[str, list[str]] = {
    "prices": ["ts_ms", "event_ts_ms", "symbol", "price", "qty", "agg_trade_id", "latency_ms", "recv_rate_tps"],
    "ofi": ["ts_ms", "symbol", "ofi_value", "ofi_z", "scale", "regime"],
    "cvd": ["ts_ms", "symbol", "cvd", "delta", "z_raw", "z_cvd", "scale", "sigma_floor", "floor_used", "regime"],
    "fusion": ["ts_ms", "symbol", "score", "score_z", "regime"],
    "events": ["ts_ms", "symbol", "event_type", "meta_json"],
}
METRICS = (
    *("recv_rate_tps", "ws_reconnects_total", "dedup_hits_total", "latency_ms", "cvd_scale_median", "cvd_floor_hit_rate"),
    *("data_rows_total", "write_errors_total"),
)


@pytest.mark.parametrize("kind", BRIEF)
def test_the_columns_of_the_brief_come_first(kind: Kind) -> None:
    assert harvest.names(kind)[: len(BRIEF[kind])] == BRIEF[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_what_the_columns_say(kind: Kind) -> None:
    schema = harvest.schema(kind)
    assert schema.names == [name for name, _, _ in COLUMNS[kind]] and len(set(schema.names)) == len(schema.names)
    assert [field.nullable for field in schema] == [of.endswith("?") for _, of, _ in COLUMNS[kind]]
    assert {"ts_ms", "recv_ns", "symbol", "feed"} <= set(schema.names)


def test_metrics_have_the_names_of_the_brief() -> None:
    assert tuple(harvest.METRICS) == METRICS


def test_places_are_found_again_and_others_are_left_alone(tmp_path: Path) -> None:
    first, last = 1767507300123456789, 1767507359999999999
    path = harvest.part_path(tmp_path, "BTCUSDT", "ofi", first, last)
    assert str(path.relative_to(tmp_path)) == (
        "data/ofi_cvd/date=2026-01-04/symbol=BTCUSDT/kind=ofi/part-1767507300123456789-1767507359999999999.parquet"
    )
    path.parent.mkdir(parents=True)
    for name in (path.name, "part-1.parquet", f".{path.name}.77.tmp", "notes.txt"):
        (path.parent / name).write_bytes(b"")
    (tmp_path / harvest.FOLDER / "date=2026-01-04" / "symbol=%ZZ").mkdir()
    assert [(part.first, part.last, part.path) for part in harvest.parts(tmp_path, "ofi", "BTCUSDT")] == [(first, last, str(path))]
    assert harvest.parts(tmp_path, "cvd", "BTCUSDT") == []
    assert "BTCUSDT" in harvest.symbols(tmp_path)
    assert tmp_path in harvest.part_path(tmp_path, "../../up", "ofi", first, last).parents


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_page_has_every_column(kind: Kind) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "ofi-cvd.md").read_text()
    section = page.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    rows = [row.split(" | ")[:2] for row in section.splitlines() if row.startswith("| `")]
    assert rows == [[f"| `{name}`", of.rstrip("?") + (", null" if of.endswith("?") else "")] for name, of, _ in COLUMNS[kind]]


def test_the_reference_page_has_every_event() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "ofi-cvd.md").read_text().partition("\n## Events\n")[2].partition("\n## ")[0]
    assert all(f"`{name}`" in page for name in harvest.EVENTS)
