"""Tick Parquet of a live recorder: over hours, runs and crashes it is what the tape makes, byte for byte, each row once."""

from __future__ import annotations

import filecmp
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tape_archive.format import cursor, ticks
from tape_archive.format.errors import Corrupt
from tape_archive.format.layout import segments
from tape_archive.format.records import BookSnapshot
from tape_archive.format.rotation import HOUR
from tape_collectors.market import sampler
from tape_collectors.series import derive
from tape_collectors.series import ticks as tick_output
from tape_collectors.simulator.world import Simulator
from tests.flow.test_tape_time import clock_at
from tests.support.recording import arguments, environment, proven, record_cex, simulator

SECOND = 10**9
NEW_YEAR = 1_830_297_600
SETTINGS = {"venues": ("binance_spot", "binance_usdm"), "symbols": ("BTCUSDT", "ETHUSDT"), "hz": 1.0, "ticks": True}
KILLS = int(os.environ.get("TAPE_KILLS", "200")) // 20


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / ticks.FOLDER).rglob("*.parquet"))


def same(root: Path, name: str = "again") -> int:
    """The parts under the root are those that the tape makes, byte for byte; gives the rows."""
    rows = derive.write_ticks(root, root / name)
    assert files(root) == sorted(rows)
    assert not [path for path in rows if not filecmp.cmp(root / path, root / name / path, shallow=False)]
    assert not [path for path in (root / ticks.FOLDER).rglob("*") if path.is_file() and path.suffix != ".parquet"]
    return sum(rows.values())


def table(root: Path, exchange: str, symbol: str) -> pa.Table:
    parts = ticks.parts(ticks.market_folder(root, exchange, symbol))
    return pa.concat_tables([pq.ParquetFile(part.path).read().drop(["price", "amount"]) for part in parts])


def once(rows: pa.Table) -> None:
    """One chain: times never fall, and each update stands there once."""
    times, last = rows["ts_recv"].cast(pa.int64()).to_pylist(), rows["u"].to_pylist()
    assert times == sorted(times)
    ids: list[int] = []
    for row, (u, snapshot) in enumerate(zip(last, rows["snapshot"].to_pylist(), strict=True)):
        if not snapshot and (row == 0 or u != last[row - 1] or rows["snapshot"][row - 1].as_py()):
            ids.append(u)
    assert ids == sorted(set(ids)) and len(ids) > 5


async def test_hours_turn_and_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_at(monkeypatch, NEW_YEAR - 10)
    async with Simulator(["binance_spot", "binance_usdm"]) as venues:
        assert await record_cex(tmp_path, venues.endpoints, proven(tmp_path, 4, NEW_YEAR + 2), **SETTINGS) == 0
    assert same(tmp_path) > 2000
    names = files(tmp_path)
    assert len(names) == 8 and len({name.rpartition("/")[0] for name in names}) == 8, "two days of four markets"
    late = [part for part in names if "date=2028-01-01" in part]
    for name in late:
        rows = pq.ParquetFile(tmp_path / name).read()
        first = rows.slice(0, 1).to_pylist()[0]
        assert first["snapshot"] and first["ts_recv"].value >= NEW_YEAR * SECOND, "an hour begins with a book"
    saved = cursor.load(tmp_path / "state" / "ticks.cursor")
    assert saved is not None and saved.t == NEW_YEAR * SECOND
    once(table(tmp_path, "binance_spot", "BTCUSDT"))
    alone = [part for part in derive.ticks([one for one in segments(tmp_path) if one.hour == NEW_YEAR * SECOND])]
    assert sum(map(len, alone)) == sum(pq.ParquetFile(tmp_path / name).metadata.num_rows for name in late), "the hour alone is the same"


async def test_runs_follow_each_other_and_no_name_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_at(monkeypatch, NEW_YEAR + 100)
    seen: dict[str, bytes] = {}
    async with Simulator(["binance_spot", "binance_usdm"]) as venues:
        for run in range(3):
            assert await record_cex(tmp_path, venues.endpoints, proven(tmp_path, 4), **SETTINGS) == 0
            now = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
            assert all(now[name] == content for name, content in seen.items()), "no earlier part was touched"
            assert len(now) == len(seen) + 4, f"run {run}: a part a market"
            seen = now
    same(tmp_path)


async def test_redundant_sockets_give_each_update_once(tmp_path: Path) -> None:
    async with Simulator(["binance_spot"]) as venues:
        given = SETTINGS | {"venues": ("binance_spot",), "sockets": 2}
        assert await record_cex(tmp_path, venues.endpoints, 4.0, **given) == 0
    same(tmp_path)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        once(table(tmp_path, "binance_spot", symbol))


async def test_small_parts_end_by_rows_and_relieve_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = sampler.TickSetup(part_rows=500, all_rows=1200, group_rows=100)
    monkeypatch.setattr("tape_collectors.series.recorder.TickSetup", lambda: small)
    async with Simulator(["binance_spot", "binance_usdm"]) as venues:
        assert await record_cex(tmp_path, venues.endpoints, 5.0, **SETTINGS) == 0
    same(tmp_path)
    names = files(tmp_path)
    assert len(names) > 7
    assert max(pq.ParquetFile(tmp_path / name).metadata.num_rows for name in names) < 2500
    assert all(pq.ParquetFile(tmp_path / name).metadata.row_group(0).num_rows <= 100 for name in names)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        parts = ticks.parts(ticks.market_folder(tmp_path, "binance_spot", symbol))
        assert all(one.last < other.first for one, other in zip(parts, parts[1:], strict=False)), "no time stands in two parts"
        once(table(tmp_path, "binance_spot", symbol))


async def test_a_part_that_is_missing_is_made_again_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash between two parts leaves: some parts of the hour are there, others are not."""
    clock_at(monkeypatch, NEW_YEAR - 2.0)
    async with Simulator(["binance_spot", "binance_usdm"]) as venues:
        assert await record_cex(tmp_path, venues.endpoints, 5.0, **SETTINGS) == 0
        late = [name for name in files(tmp_path) if "date=2028-01-01" in name]
        kept, gone = late[0], late[1:]
        contents = {name: (tmp_path / name).read_bytes() for name in gone}
        stamp = (tmp_path / kept).stat().st_mtime_ns
        for name in gone:
            (tmp_path / name).unlink()
        torn = (tmp_path / gone[0]).with_name(f".{Path(gone[0]).name}.999999999.tmp")
        torn.write_bytes(b"PAR1")
        assert await record_cex(tmp_path, venues.endpoints, 4.0, **SETTINGS) == 0
    assert {name: (tmp_path / name).read_bytes() for name in gone} == contents
    assert (tmp_path / kept).stat().st_mtime_ns == stamp and not torn.exists()
    same(tmp_path)


@pytest.mark.parametrize("first", [("binance_spot", "binance_usdm"), ("binance_usdm",)])
async def test_what_an_earlier_run_of_other_venues_owes(tmp_path: Path, first: tuple[str, ...]) -> None:
    async with Simulator(["binance_spot", "binance_usdm"]) as venues:
        assert await record_cex(tmp_path, venues.endpoints, 2.0, **SETTINGS | {"venues": first}) == 0
        for name in files(tmp_path):
            (tmp_path / name).unlink()
        assert await record_cex(tmp_path, venues.endpoints, 3.0, **SETTINGS | {"venues": ("binance_spot",)}) == 0
    assert len(files(tmp_path)) == 2 * len(first) + 2
    same(tmp_path)


async def test_without_a_cursor_all_that_is_missing_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_at(monkeypatch, NEW_YEAR - 2.0)
    async with Simulator(["binance_spot", "binance_usdm"]) as venues:
        assert await record_cex(tmp_path, venues.endpoints, 4.0, **SETTINGS) == 0
        for name in files(tmp_path):
            (tmp_path / name).unlink()
        (tmp_path / "state" / "ticks.cursor").unlink()
        assert await record_cex(tmp_path, venues.endpoints, 4.0, **SETTINGS) == 0
    same(tmp_path)


async def test_a_run_with_ticks_after_runs_without(tmp_path: Path) -> None:
    async with Simulator(["binance_spot", "binance_usdm"]) as venues:
        assert await record_cex(tmp_path, venues.endpoints, 2.0, **SETTINGS | {"ticks": False}) == 0
        assert files(tmp_path) == []
        assert await record_cex(tmp_path, venues.endpoints, 2.0, **SETTINGS) == 0
    assert len(files(tmp_path)) == 4
    same(tmp_path)


async def test_the_cursor_waits_for_what_an_earlier_run_owes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot make the earlier one's parts, and that lives over an hour's turn, leaves them to the next."""

    def damaged(*given: object, **more: object) -> object:
        raise Corrupt("a segment")

    async with Simulator(["binance_spot", "binance_usdm"]) as venues:
        clock_at(monkeypatch, NEW_YEAR - 20)
        assert await record_cex(tmp_path, venues.endpoints, 2.0, **SETTINGS) == 0
        for name in files(tmp_path):
            (tmp_path / name).unlink()
        with monkeypatch.context() as patch:
            patch.setattr(tick_output.derive, "ticks", damaged)
            clock_at(monkeypatch, NEW_YEAR - 2)
            assert await record_cex(tmp_path, venues.endpoints, 5.0, **SETTINGS) == 0
        assert {name.split("/")[3] for name in files(tmp_path)} == {"date=2027-12-31", "date=2028-01-01"}
        clock_at(monkeypatch, NEW_YEAR + 60)
        assert await record_cex(tmp_path, venues.endpoints, 3.0, **SETTINGS) == 0
    same(tmp_path)


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_that_did_not_see_all_its_lines_leaves_the_open_parts_to_the_next(tmp_path: Path, whole: bool) -> None:
    setup = sampler.Setup((("binance_spot", "BTCUSDT"),), ticks=sampler.TickSetup())
    output = tick_output.TickOutput(tmp_path, sampler.Sampler(setup), sampler.TickSetup())
    output.begin(NEW_YEAR * SECOND, NEW_YEAR * SECOND)
    output.advance(NEW_YEAR * SECOND + 5)
    output.record("binance_spot", "spot-1", BookSnapshot(0, 0, "BTCUSDT", "depth", 1, [("1", "1")], []))
    output.stop(whole)
    assert len(files(tmp_path)) == whole


def test_the_tail_begins_where_a_reader_finds_every_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tape_archive.format.lines import mark_line
    from tape_archive.format.tape import Tape

    def segment(stream: str, hour: int, checkpoint: bool) -> None:
        tape = Tape(tmp_path, "binance_spot", stream)
        head = {"run": "r", "begun": HOUR, "checkpoint": checkpoint, "setup": {"ticks": {}}}
        tape.turn(hour * HOUR, [mark_line(hour * HOUR + 5, "tape", "tape", head)])
        tape.seal(hour * HOUR + 9)

    for stream, late in (("a", True), ("b", False)):
        for hour in (100, 101, 102):
            segment(stream, hour, late or hour < 102)
    path = tmp_path / "state" / "ticks.cursor"
    for saved, since in ((102, 101), (101, 101), (100, 100), (99, 100)):
        cursor.save(path, cursor.Cursor(t=saved * HOUR))
        assert min(one.hour for one in tick_output._unfinished(tmp_path, path)) == since * HOUR, saved
    path.unlink()
    assert min(one.hour for one in tick_output._unfinished(tmp_path, path)) == 100 * HOUR
    monkeypatch.setattr(tick_output, "_head", lambda segment: {})
    path.unlink()
    assert min(one.hour for one in tick_output._unfinished(tmp_path, path)) == 102 * HOUR, (
        "no run had ticks: only what may hide in the last"
    )


CHILD = """
import sys, time
hour = float(sys.argv.pop(1))
from tape_archive.format.clock import TapeClock
from tape_collectors import wiring
from tape_collectors.series import recorder
from tape_collectors.market.sampler import TickSetup
offset = int(hour * 1e9)
wiring.TapeClock = lambda after: TapeClock(lambda: time.time_ns() + offset, time.monotonic_ns, after)
recorder.TickSetup = lambda: TickSetup(part_rows=300, all_rows=900, group_rows=128)
from tape_collectors.cli.cex_record import main
main()
"""


def child(root: Path, endpoints: dict[str, str], offset: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, str(offset), "--root", str(root), "--metrics-port", "-1", "--ticks"]
    options = ["--venues", "binance_spot,binance_usdm", "--symbols", "BTCUSDT,ETHUSDT", "--log-level", "error"]
    return subprocess.Popen([*command, *options, *arguments(endpoints)], env=environment())


def campaign(tmp_path: Path, kills: int) -> None:
    root, chance = tmp_path / "data", random.Random(11)
    known: dict[str, bytes] = {}
    with simulator(tmp_path, "--venues", "binance_spot,binance_usdm") as endpoints:
        for life in range(kills):
            # Each life begins some seconds before an hour of its own clock, so that kills fall on every side of the turn.
            base = (int(time.time()) // 3600 + 1 + life) * 3600 - time.time()
            recorder = child(root, endpoints, base - 2.5)
            time.sleep(1.0 + chance.random() * 3.5)
            recorder.kill()
            recorder.wait()
            now = {name: (root / name).read_bytes() for name in files(root)}
            assert all(now[name] == content for name, content in known.items())
            known = now
        survivor = child(root, endpoints, base - 2.5)
        time.sleep(8.0)
        survivor.terminate()
        assert survivor.wait(30) == 0
    assert all((root / name).read_bytes() == content for name, content in known.items())
    assert same(root) > 1000
    for exchange in ("binance_spot", "binance_usdm"):
        for symbol in ("BTCUSDT", "ETHUSDT"):
            rows = table(root, exchange, symbol)
            times = rows["ts_recv"].cast(pa.int64()).to_pylist()
            assert times == sorted(times)


def test_kills(tmp_path: Path) -> None:
    campaign(tmp_path, KILLS)


@pytest.mark.long
def test_many_kills(tmp_path: Path) -> None:
    campaign(tmp_path, 200)
