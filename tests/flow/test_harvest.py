"""ofi-record against the simulator: over hours, runs, faults and errors its parts are what the tape makes, byte for byte, each trade once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tape_archive.format import cursor
from tape_archive.format import harvest as layout
from tape_archive.format.errors import Busy
from tape_archive.format.layout import segments
from tape_archive.format.lines import parse
from tape_archive.format.read import read_lines
from tape_collectors.harvest import output as outputs
from tape_collectors.harvest.report import Reports
from tape_collectors.market.harvest import Harvest
from tape_collectors.simulator.faults import Fault
from tape_collectors.simulator.world import Simulator
from tape_monitor.quality.report import decode
from tests.flow.test_tape_time import clock_at
from tests.support import harvest_output
from tests.support.harvests import files, rows, same, table, whole
from tests.support.prometheus import until
from tests.support.recording import arguments, environment, record_cex, record_ofi, simulator

NEW_YEAR = 1_830_297_600
SECOND = 10**9
OFI = [sys.executable, "-m", "tape_collectors.cli.ofi_record"]


def events(root: Path, symbol: str = "BTCUSDT") -> Counter[str]:
    return Counter(str(row["event_type"]) for row in rows(root, "events", symbol))


async def test_parts_are_what_the_tape_makes(tmp_path: Path) -> None:
    async with Simulator(["binance_usdm"]) as venues:
        ended = await record_ofi(tmp_path, venues.endpoints, 5.0, parquet_rotate_sec=1)
    assert ended.code == 0 and same(tmp_path) > 300
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert whole(tmp_path, symbol) > 30
        for kind in layout.DENSE:
            parts = layout.parts(tmp_path, kind, symbol)
            assert len(parts) >= 4 and all(one.last < other.first for one, other in zip(parts, parts[1:], strict=False))
            assert table(tmp_path, kind, symbol).schema.remove_metadata() == layout.schema(kind).remove_metadata()
        prices = {(row["agg_trade_id"], row["qty"], row["side"]) for row in rows(tmp_path, "prices", symbol)}
        on_the_tape = [
            json.loads(line.data)["data"] for line in _frames(tmp_path, "market") if symbol.lower() in (line.data or b"")[:60].decode()
        ]
        assert prices == {(one["a"], float(one["q"]), "sell" if one["m"] else "buy") for one in on_the_tape}
    saved = json.loads((tmp_path / layout.CHECKPOINT).read_text())
    assert {"last_offset", "last_timestamp", "run_tag"} <= set(saved) and saved["run_tag"] == ended.run
    assert saved["last_offset"] == {symbol: rows(tmp_path, "prices", symbol)[-1]["agg_trade_id"] for symbol in ("BTCUSDT", "ETHUSDT")}
    assert list((tmp_path / layout.RUN_LOGS).glob("harvest_????????_????.log"))


def _frames(root: Path, stream: str) -> list[object]:
    lines = [parse(raw) for one in segments(root, "binance_usdm", stream) for raw in read_lines(one.file)]
    return [line for line in lines if line.data and b'"stream"' in line.data]


async def test_hours_and_days_turn_and_the_next_run_goes_on_from_the_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_at(monkeypatch, NEW_YEAR - 3.2)
    async with Simulator(["binance_usdm"]) as venues:
        assert (await record_ofi(tmp_path, venues.endpoints, 7.0)).code == 0
        names = files(tmp_path)
        late = [name for name in names if "date=2028-01-01" in name]
        assert len({name.rpartition("/")[0] for name in late}) >= 10 and len(names) > len(late)
        saved = outputs.load(tmp_path)
        assert saved is not None and saved.hour == NEW_YEAR * SECOND
        held = cursor.load(tmp_path / "state" / "ofi_cvd.cursor")
        assert held is not None and held.t == saved.hour, "what the archiver looks at"
        before = {name: (tmp_path / name).read_bytes() for name in late}
        for name in late:
            (tmp_path / name).unlink()
        thawed: list[int] = []
        thaw = Harvest.thaw
        monkeypatch.setattr(Harvest, "thaw", lambda self, t, state: (thawed.append(t), thaw(self, t, state))[1])
        assert (await record_ofi(tmp_path, venues.endpoints, 3.0)).code == 0
    assert {name: (tmp_path / name).read_bytes() for name in late} == before and len(thawed) == 1
    same(tmp_path)
    whole(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "torn", "of another version"])
async def test_without_the_saved_state_the_run_is_read_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    clock_at(monkeypatch, NEW_YEAR - 2.2)
    async with Simulator(["binance_usdm"]) as venues:
        assert (await record_ofi(tmp_path, venues.endpoints, 5.0)).code == 0
        late = [name for name in files(tmp_path) if "date=2028-01-01" in name]
        before = {name: (tmp_path / name).read_bytes() for name in late}
        for name in late:
            (tmp_path / name).unlink()
        state = tmp_path / "state" / "ofi_cvd.state"
        if damage == "gone":
            state.unlink()
        elif damage == "torn":
            state.write_bytes(state.read_bytes()[:-100])
        else:
            monkeypatch.setattr("tape_collectors.harvest.derive.made_by", lambda: "another")
        assert (await record_ofi(tmp_path, venues.endpoints, 3.0)).code == 0
    assert {name: (tmp_path / name).read_bytes() for name in late} == before
    same(tmp_path)


async def test_runs_follow_each_other_and_cvd_goes_on(tmp_path: Path) -> None:
    async with Simulator(["binance_usdm"]) as venues:
        for _ in range(3):
            assert (await record_ofi(tmp_path, venues.endpoints, 2.0, parquet_rotate_sec=1)).code == 0
        venues.paused = True
    same(tmp_path)
    whole(tmp_path)
    begins = [json.loads(str(row["meta_json"])) for row in rows(tmp_path, "events") if row["event_type"] == "begin"]
    assert begins == [{"carried": False}, {"carried": True}, {"carried": True}]


@pytest.mark.parametrize("damage", ["gone", "not JSON"])
async def test_a_checkpoint_that_is_lost_is_made_again_from_the_tape(tmp_path: Path, damage: str) -> None:
    async with Simulator(["binance_usdm"]) as venues:
        assert (await record_ofi(tmp_path, venues.endpoints, 2.0)).code == 0
        path = tmp_path / layout.CHECKPOINT
        if damage == "gone":
            path.unlink()
        else:
            path.write_text("{")
        assert (await record_ofi(tmp_path, venues.endpoints, 2.0)).code == 0
    same(tmp_path)
    whole(tmp_path)


async def test_sockets_that_are_cut_make_gaps_and_nulls_never_zeros(tmp_path: Path) -> None:
    async with Simulator(["binance_usdm"]) as venues:
        task = asyncio.create_task(record_ofi(tmp_path, venues.endpoints, 9.0, first_frame_s=1.5, parquet_rotate_sec=1))
        await asyncio.sleep(3.0)
        with venues.faults.on("refuse"):
            venues.once(Fault("disconnect"))
            await asyncio.sleep(1.5)
        ended = await task
    assert ended.reconnects >= 2 and same(tmp_path) > 300
    whole(tmp_path)
    told = events(tmp_path)
    assert told["trades_missed"] == 1 and told["book_lost"] == 2 and told["book_back"] == 2, "cut, and closed at the end"
    back = [row for row in rows(tmp_path, "events") if row["event_type"] == "book_back"][1]
    behind = [row for row in rows(tmp_path, "ofi") if row["recv_ns"] > back["recv_ns"]]  # type: ignore[operator]
    assert behind[0]["ofi_z"] is None and behind[0]["interval_ofi"] is None and behind[0]["why"] == "warm-up"
    snapshot = [row for row in rows(tmp_path, "book") if row["snapshot"]]
    assert len(snapshot) == 2


@pytest.mark.parametrize("fault", ["duplicate", "drop", "reorder"])
async def test_frames_that_go_astray(tmp_path: Path, fault: str) -> None:
    async with Simulator(["binance_usdm"]) as venues:
        with venues.faults.on(fault, stream="*", p=0.05) as hit:
            ended = await record_ofi(tmp_path, venues.endpoints, 5.0, parquet_rotate_sec=1)
    assert hit.count > 5 and ended.code == 0 and same(tmp_path) > 200
    assert whole(tmp_path) > 20
    trades = _frames(tmp_path, "market")
    if fault == "drop":
        assert sum(int(row["missed"]) for row in rows(tmp_path, "prices")) > 0  # type: ignore[call-overload]
    else:
        assert sum(1 for _ in trades) >= len(rows(tmp_path, "prices")) + len(rows(tmp_path, "prices", "ETHUSDT"))
    again = [
        json.loads(str(row["meta_json"]))
        for one in ("BTCUSDT", "ETHUSDT")
        for row in rows(tmp_path, "events", one)
        if row["event_type"] == "trades_doubled"
    ]
    assert sum(one["count"] for one in again) == ended.doubles == sum(one["sent_twice"] for one in again)
    assert (ended.doubles > 0) == (fault == "duplicate")


async def test_redundant_sockets_give_each_trade_once(tmp_path: Path) -> None:
    async with Simulator(["binance_usdm"]) as venues:
        ended = await record_ofi(tmp_path, venues.endpoints, 4.0, sockets=2)
    same(tmp_path)
    assert whole(tmp_path) > 20 and events(tmp_path)["trades_missed"] == 0
    trades = len(rows(tmp_path, "prices")) + len(rows(tmp_path, "prices", "ETHUSDT"))
    assert trades + ended.doubles >= len(_frames(tmp_path, "market")) * 0.99 and ended.doubles > trades / 2
    books = table(tmp_path, "book")["last_id"].to_pylist()
    assert books == sorted(set(books))


async def test_a_part_that_cannot_be_written_is_left_to_the_next_run(tmp_path: Path) -> None:
    async with Simulator(["binance_usdm"]) as venues:
        given = {"parquet_rotate_sec": 1, "max_errors_per_hour": 5, "symbols": ("BTCUSDT",)}
        assert (await record_ofi(tmp_path, venues.endpoints, 1.5, **given)).errors == 0
        (day,) = (tmp_path / layout.FOLDER).glob("date=*")
        (day / "symbol=BTCUSDT").rename(tmp_path / "kept")
        (day / "symbol=BTCUSDT").write_text("in the way")
        ended = await record_ofi(tmp_path, venues.endpoints, 4.0, **given)
        assert ended.code == 0 and ended.errors == 6, "after five errors and one more nothing is tried for a while"
        (day / "symbol=BTCUSDT").unlink()
        (tmp_path / "kept").rename(day / "symbol=BTCUSDT")
        assert (await record_ofi(tmp_path, venues.endpoints, 3.0, **given)).code == 0
    same(tmp_path)
    whole(tmp_path)


async def test_metrics_have_the_names_of_the_brief(tmp_path: Path) -> None:
    def read(port: int) -> str:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()

    async with Simulator(["binance_usdm"]) as venues:
        stop = asyncio.Event()
        task = asyncio.create_task(record_ofi(tmp_path, venues.endpoints, stop, metrics_port=0))
        status, text = tmp_path / "state" / "ofi.status.json", ""
        for _ in range(400):
            await asyncio.sleep(0.05)
            if status.exists() and (port := json.loads(status.read_text())["port"]):
                text = await asyncio.to_thread(read, port)
                if "cvd_scale_median" in text:
                    break
        stop.set()
        await task
    for name, (kind, _, _) in layout.METRICS.items():
        family = name.removesuffix("_total") if kind == "counter" else name
        assert f"# TYPE {name} {kind}" in text or f"# TYPE {family} {kind}" in text, name
    for line in (
        'data_rows_total{kind="ofi",symbol="BTCUSDT"}',
        'dedup_hits_total{symbol="ETHUSDT"} 0.0',
        'latency_ms_bucket{le="+Inf",symbol=',
    ):
        assert line in text, line


async def test_two_recorders_of_one_root(tmp_path: Path) -> None:
    async with Simulator(["binance_usdm"]) as venues:
        task = asyncio.create_task(record_ofi(tmp_path, venues.endpoints, 2.0))
        await asyncio.sleep(0.5)
        with pytest.raises(Busy):
            await record_ofi(tmp_path, venues.endpoints, 1.0)
        assert (await task).code == 0


async def test_another_recorder_of_the_same_tapes(tmp_path: Path) -> None:
    async with Simulator(["binance_usdm", "binance_spot"]) as venues:
        task = asyncio.create_task(record_ofi(tmp_path, venues.endpoints, 30.0, run_s=3.0))
        await asyncio.sleep(0.5)
        with pytest.raises(Busy, match="binance_usdm"):
            await record_cex(tmp_path, venues.endpoints, 30.0, venues=("binance_spot", "binance_perp"), run_s=1.0)
        assert await record_cex(tmp_path, venues.endpoints, 30.0, venues=("binance_spot",), run_s=1.0) == 0
        assert (await task).code == 0
    assert same(tmp_path) > 50


def ofi(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*OFI, *words], capture_output=True, text=True, env=environment(**variables), timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_precheck(tmp_path: Path) -> None:
    with simulator(tmp_path, "--venues", "binance_usdm") as endpoints:
        words = ["--root", str(tmp_path / "data"), "--metrics-port", "-1", "--precheck-only", "--precheck-minutes", "0.06"]
        good = ofi(*words, *arguments(endpoints))
        assert good.returncode == 0 and good.stdout.splitlines()[-1] == "ready to record", good.stdout + good.stderr
        config = tmp_path / "system.yaml"
        config.write_text("data_harvest:\n  data_quality:\n    acceptance_criteria:\n      max_latency_p50_ms: 0.0001\n")
        bad = ofi(*words, *arguments(endpoints), "--config", str(config), "--json")
        verdict = json.loads(bad.stdout)
        assert bad.returncode == 1 and not verdict["ok"]
        assert {check["what"] for check in verdict["checks"] if not check["ok"]} == {"BTCUSDT latency p50", "ETHUSDT latency p50"}
    assert same(tmp_path / "data") > 100, "a precheck is a recording like any other"


def test_precheck_without_a_venue_is_not_ready(tmp_path: Path) -> None:
    nowhere = [word for name in ("rest=http", "public=ws", "market=ws") for word in ("--endpoint", f"binance_usdm.{name}://127.0.0.1:1")]
    done = ofi("--root", str(tmp_path), "--metrics-port", "-1", "--precheck-only", "--run-seconds", "1", *nowhere)
    assert done.returncode == 1 and done.stdout.splitlines()[-1].startswith("not ready")


async def test_the_report_is_made_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "packages" / "reporter.py"
    package.parent.mkdir()
    package.write_text(
        "import sys, pathlib\n"
        "given = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "pathlib.Path(given['--output']).write_text(given['--root'] + ' ' + given['--last'])\n"
        "sys.exit(3)\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), *sys.path]))
    monkeypatch.setattr("tape_collectors.harvest.report.MODULE", "reporter")
    await Reports(tmp_path, 1.0, run_hours=72.0).last()
    (report,) = (tmp_path / layout.REPORTS).glob("dq_????????_????.json")
    assert report.read_text() == f"{tmp_path} 72.0"
    monkeypatch.setattr("tape_collectors.harvest.report.MODULE", "tape_monitor.no_such")
    await Reports(tmp_path / "none", 1.0).last()
    assert not (tmp_path / "none").exists()


async def test_a_report_comes_by_itself_while_it_records(tmp_path: Path) -> None:
    # Rows of an earlier year, so that there are whole minutes to judge; the pause since then is no part of the last day.
    harvest_output.write(tmp_path, 1.0)
    async with Simulator(["binance_usdm"]) as venues:
        stop = asyncio.Event()
        task = asyncio.create_task(record_ofi(tmp_path, venues.endpoints, stop, report_hours=1 / 3600))
        for _ in range(1200):
            if found := list((tmp_path / layout.REPORTS).glob("dq_????????_????.html")):
                break
            assert not task.done()
            await asyncio.sleep(0.05)
        stop.set()
        assert (await task).code == 0
    assert decode(found[0].with_suffix(".json").read_bytes()).symbols == ["BTCUSDT", "ETHUSDT"]


async def test_a_report_comes_by_itself_at_the_end(tmp_path: Path) -> None:
    harvest_output.write(tmp_path, 1.0)
    async with Simulator(["binance_usdm"]) as venues:
        ended = await record_ofi(tmp_path, venues.endpoints, 300.0, run_s=2.0, report_hours=1.0, max_latency_p50_ms=61.0)
    assert ended.code == 0
    (made,) = (tmp_path / layout.REPORTS).glob("dq_????????_????.json")
    report = decode(made.read_bytes())
    assert made.with_suffix(".html").exists() and report.criteria.max_latency_p50_ms == 61.0
    assert report.end - report.start == 24 * 3600 * SECOND and report.symbols == ["BTCUSDT", "ETHUSDT"]
    assert report.end >= ended.begun + SECOND, "up to the end of the run"


def test_sigterm_ends_it_and_leaves_what_the_tape_says(tmp_path: Path) -> None:
    with simulator(tmp_path, "--venues", "binance_usdm") as endpoints:
        words = ["--root", str(tmp_path / "data"), "--metrics-port", "-1", "--report-hours", "0", *arguments(endpoints)]
        child = subprocess.Popen([*OFI, *words], env=environment(), stderr=subprocess.DEVNULL)
        log = tmp_path / "data" / layout.RUN_LOGS
        try:
            until(lambda: any("connected" in path.read_text() for path in log.glob("*.log")))
            assert child.poll() is None
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 0
        finally:
            child.kill()
            child.wait()
    same(tmp_path / "data")
