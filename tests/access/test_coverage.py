"""What ``tape coverage`` tells, against the captures' own numbers and tapes with known faults."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tape_access import coverage
from tape_access.commands.coverage import command
from tape_archive.format.errors import NotFound
from tape_collectors.importing.tapes import import_recording
from tests.support import plain
from tests.support.captures import captures
from tests.support.tapes import NOON, SECOND, Writer

KEYS = ["venue", "symbol", "channel", "frames", "first_ns", "last_ns", "complete", "gaps"]


def one(root: Path, channel: str, **span: int) -> coverage.Coverage:
    """The row of one channel."""
    (row,) = [row for row in coverage.of_root(root, **span) if row.channel == channel]
    return row


@pytest.mark.captures
@pytest.mark.parametrize("product, name", [("usdm", "ethusdt_20240808.gz"), ("spot", "btcusdt_20240808.gz")])
def test_a_capture_is_as_complete_as_its_numbers_say(tmp_path: Path, product: str, name: str) -> None:
    path = captures() / "binance/hftbacktest-2024-08" / product / name
    import_recording([path], "hftbacktest", f"binance_{product}", tmp_path)
    wanted = plain.holes(plain.hftbacktest(path))
    counts: dict[str, int] = {}
    for _, event, _ in plain.hftbacktest(path):
        if "stream" in event:
            channel = event["stream"].partition("@")[2]
            counts[channel] = counts.get(channel, 0) + 1
    rows = coverage.of_root(tmp_path)
    assert {(row.symbol, row.channel) for row in rows} == set(wanted)
    assert {row.channel: row.frames for row in rows} == counts
    assert [hole for found in wanted.values() for hole in found] == []
    assert all(row.complete and row.gaps == [] for row in rows)


@pytest.mark.captures
@pytest.mark.parametrize("product, name", [("usdm", "ethusdt_20240808.gz"), ("spot", "btcusdt_20240808.gz")])
def test_frames_taken_out_of_a_capture_are_found_with_their_numbers_and_times(tmp_path: Path, product: str, name: str) -> None:
    source = gzip.decompress((captures() / "binance/hftbacktest-2024-08" / product / name).read_bytes()).splitlines(keepends=True)
    kept = [line for number, line in enumerate(source) if number % 1000 not in (500, 501, 502) or b"lastUpdateId" in line[:60]]
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"".join(kept), 1))
    import_recording([cut], "hftbacktest", f"binance_{product}", tmp_path / "root")
    wanted = plain.holes(plain.hftbacktest(cut))
    assert sum(map(len, wanted.values())) > 20
    for row in coverage.of_root(tmp_path / "root"):
        assert [(gap.from_id, gap.to_id) for gap in row.gaps] == wanted[(row.symbol, row.channel)], row.channel
        assert row.complete == (not row.gaps)
        assert all(gap.from_ns < gap.to_ns for gap in row.gaps)


@pytest.mark.captures
@pytest.mark.parametrize(
    "folder, venue", [("spot-2021-04-05", "binance_spot"), ("spot-2021-10-11", "binance_spot"), ("usdm-2021-07-22", "binance_usdm")]
)
def test_the_captures_of_2021_are_judged_by_their_own_numbers(tmp_path: Path, folder: str, venue: str) -> None:
    import zstandard

    path = captures() / "binance/cryptofeed" / folder / "frames.ndjson.zst"
    with path.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:
        entries = [json.loads(line) for line in reader.read().splitlines()]
    events = [(entry["ns"], json.loads(entry["raw"]), b"") for entry in entries if entry["kind"] == "recv"]
    wanted = plain.holes(events)
    import_recording([path], "cryptofeed", venue, tmp_path)
    rows = {(row.symbol, row.channel): row for row in coverage.of_root(tmp_path)}
    assert set(rows) == set(wanted)
    for key, row in rows.items():
        assert [(gap.from_id, gap.to_id) for gap in row.gaps] == wanted[key]
    assert sum(row.frames for row in rows.values()) == len(events)


def test_two_sockets_miss_only_what_both_miss(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    tape.open(1, "spot-1")
    tape.open(2, "spot-2")
    for number in range(1, 31):
        if number not in (5, 6, 12, 13, 14):
            tape.trade(10 + number, number, "spot-1")
        if number not in (6, 20, 13, 14, 15):
            tape.trade(10.5 + number, number, "spot-2")
    tape.seal(100)
    row = one(tmp_path, "trade")
    assert [(gap.from_id, gap.to_id) for gap in row.gaps] == [(6, 6), (13, 14)]
    assert row.frames == 50


def test_a_disconnect_is_a_hole_of_a_numbered_stream_only_if_numbers_are_missing(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    tape.open(1)
    for number in (1, 2, 3):
        tape.trade(2 + number, number)
        tape.quote(2.1 + number, number)
        tape.depth(2.2 + number, number, number)
    tape.close(10)
    tape.open(12, "spot-2")
    tape.trade(13, 4, "spot-2")
    tape.quote(13.5, 9, "spot-2")
    tape.depth(14, 7, 8, "spot-2")
    tape.close(20, "spot-2", "done")
    tape.seal(21)
    assert one(tmp_path, "trade").complete
    (gap,) = one(tmp_path, "bookTicker").gaps
    assert (gap.from_ns, gap.to_ns, gap.from_id, gap.why) == (tape.ns(5.1), tape.ns(13.5), 0, "disconnect: connection lost")
    (gap,) = one(tmp_path, "depth@100ms").gaps
    assert (gap.from_ns, gap.to_ns, gap.from_id, gap.to_id) == (tape.ns(5.2), tape.ns(14), 4, 6)


def test_on_usdm_the_missing_numbers_are_those_before_pu(tmp_path: Path) -> None:
    tape = Writer(tmp_path, "binance_usdm", "public")
    tape.open(1, "public-1")
    for at, first, last, previous in ((2, 100, 110, 90), (3, 150, 160, 110), (4, 300, 310, 250)):
        data = {"e": "depthUpdate", "E": 1, "T": 1, "s": "ETHUSDT", "U": first, "u": last, "pu": previous, "b": [], "a": []}
        tape.frame(at, "ethusdt@depth@0ms", data, "public-1")
    tape.seal(5)
    (gap,) = one(tmp_path, "depth@0ms").gaps
    assert (gap.from_id, gap.to_id, gap.from_ns, gap.to_ns) == (161, 250, tape.ns(3), tape.ns(4))


def test_a_killed_recorder_is_a_disconnect(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    tape.open(1)
    tape.quote(2, 1)
    tape.tape.file.close()
    again = Writer(tmp_path, run="r2", at=60)
    again.open(61)
    again.quote(62, 2)
    again.seal(63)
    (gap,) = one(tmp_path, "bookTicker").gaps
    assert (gap.from_ns, gap.to_ns, gap.why) == (tape.ns(2), tape.ns(62), "disconnect: the recorder ended without closing")


def test_a_span_counts_its_own_frames_and_tells_an_outage_around_it(tmp_path: Path) -> None:
    hour = 3600
    tape = Writer(tmp_path)
    tape.open(1)
    for number in range(1, 11):
        tape.quote(10 * number, number)
    tape.close(200)
    tape.turn(5 * hour)
    tape.open(5 * hour + 1, "spot-2")
    for number in range(11, 21):
        tape.quote(5 * hour + 10 * number, number, "spot-2")
    tape.seal(5 * hour + 900)
    row = one(tmp_path, "bookTicker", from_ns=NOON + 25 * SECOND, to_ns=NOON + 65 * SECOND)
    assert (row.frames, row.first_ns, row.last_ns, row.complete) == (4, tape.ns(30), tape.ns(60), True)
    inside = one(tmp_path, "bookTicker", from_ns=NOON + 2 * hour * SECOND, to_ns=NOON + 3 * hour * SECOND)
    assert (inside.frames, inside.complete) == (0, False)
    assert [(gap.from_ns, gap.to_ns) for gap in inside.gaps] == [(tape.ns(100), tape.ns(5 * hour + 110))]
    later = one(tmp_path, "bookTicker", from_ns=NOON + (5 * hour + 150) * SECOND)
    assert (later.frames, later.complete) == (6, True)


def test_the_command_ends_with_3_where_gaps_remain_and_its_json_is_stable(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    tape.open(1)
    tape.trade(2, 1)
    tape.trade(3, 5)
    tape.seal(4)
    done = CliRunner().invoke(command, ["--root", str(tmp_path), "--json"], standalone_mode=False)
    assert done.return_value == 3
    (row,) = json.loads(done.output)
    assert list(row) == KEYS
    assert row["gaps"] == [{"from_ns": tape.ns(2), "to_ns": tape.ns(3), "from_id": 2, "to_id": 4, "why": "ids"}]
    human = CliRunner().invoke(command, ["--root", str(tmp_path), "--symbol", "btc-usdt"], standalone_mode=False)
    assert human.output.splitlines()[-1] == "1 stream, 2 frames, 1 gap"


@pytest.mark.parametrize(
    "arguments", [["--json"], [], ["--venue", "binance_usdm", "--json"], ["--from", "2020-01-01", "--to", "2020-01-02", "--symbol", "X"]]
)
def test_nothing_there_is_an_error_never_an_empty_list(tmp_path: Path, arguments: list[str]) -> None:
    if arguments != ["--json"] and arguments:
        tape = Writer(tmp_path)
        tape.open(1)
        tape.trade(2, 1)
        tape.seal(4)
    with pytest.raises(NotFound):
        CliRunner().invoke(command, ["--root", str(tmp_path), *arguments], standalone_mode=False, catch_exceptions=False)
