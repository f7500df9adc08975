"""Importing: byte for byte, with the recording's own times, all or nothing, never twice; and every bad file is one line."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tape_access import book, coverage
from tape_access.accessor import DataAccessor
from tape_archive.format.errors import FormatError, NotFound, SettingsError, TapeError
from tape_archive.format.layout import segments
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import read_lines
from tape_collectors.cli.import_ import command
from tape_collectors.importing.tapes import import_recording
from tests.support import plain
from tests.support.captures import captures

T = 1_768_046_400_000_000_000


def run(root: Path, kind: str, venue: str, *paths: Path) -> list[dict[str, object]]:
    """``tape import --json``."""
    arguments = ["--format", kind, "--venue", venue, "--root", str(root), "--json", *map(str, paths)]
    done = CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)
    assert done.return_value == 0
    return json.loads(done.output)


def tape(root: Path) -> list[Line]:
    """Every line of every tape under a root."""
    return [parse(raw) for segment in segments(root) for raw in read_lines(segment.file, sealed=True)]


def left(root: Path) -> list[str]:
    """Every file under a root."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def hft(path: Path, rows: list[tuple[int, str]]) -> Path:
    """A recording of hftbacktest's collector."""
    path.write_bytes(gzip.compress("".join(f"{ns} {payload}\n" for ns, payload in rows).encode()))
    return path


def trade(number: int, symbol: str = "btcusdt") -> str:
    """One fill."""
    return f'{{"stream":"{symbol}@trade","data":{{"e":"trade","s":"{symbol.upper()}","t":{number},"p":"1","q":"1","T":1,"m":true}}}}'


@pytest.mark.captures
@pytest.mark.parametrize("product, name", [("usdm", "ethusdt_20240808.gz"), ("spot", "btcusdt_20240808.gz")])
def test_hftbacktest_comes_in_byte_for_byte_with_its_own_times(tmp_path: Path, product: str, name: str) -> None:
    path = captures() / "binance/hftbacktest-2024-08" / product / name
    (told,) = run(tmp_path, "hftbacktest", f"binance_{product}", path)
    lines = tape(tmp_path)
    wanted = [(ns, payload) for ns, _, payload in plain.hftbacktest(path)]
    # The head marks stand at the first frame's own time, so that one comes a few ns later.
    got = [(line.t, line.data) for line in lines if line.data is not None]
    assert [data for _, data in got] == [payload for _, payload in wanted]
    assert [t for t, _ in got][1:] == [ns for ns, _ in wanted][1:] and 0 <= got[0][0] - wanted[0][0] <= 3
    assert told["moved"] == 0 and told["frames"] == len(wanted) - 1 and told["replies"] == 1
    marks = [line.mark for line in lines if line.mark]
    assert marks == ["tape", "open", "close", "import", "seal"]
    (about,) = [line.fields for line in lines if line.mark == "import"]
    assert about["source"] == [name] and len(about["sha256"][0]) == 64
    assert [line.t for line in lines] == sorted({line.t for line in lines})


@pytest.mark.captures
@pytest.mark.parametrize(
    "folder, venue", [("spot-2021-04-05", "binance_spot"), ("spot-2021-10-11", "binance_spot"), ("usdm-2021-07-22", "binance_usdm")]
)
def test_a_cryptofeed_session_is_the_same_from_its_raw_files_and_from_ndjson(tmp_path: Path, folder: str, venue: str) -> None:
    source = captures() / "binance/cryptofeed" / folder
    (a,) = run(tmp_path / "a", "cryptofeed", venue, source / "frames.ndjson.zst")
    (b,) = run(tmp_path / "b", "cryptofeed", venue, source / "original")
    assert (a["frames"], a["replies"]) == (b["frames"], b["replies"])
    frames = [[(line.request, line.data) for line in tape(tmp_path / name) if line.data is not None] for name in "ab"]
    assert sorted(map(repr, frames[0])) == sorted(map(repr, frames[1]))
    times = [{line.data: line.t for line in tape(tmp_path / name) if line.data is not None} for name in "ab"]
    # ndjson was made from the raw files' decimal seconds by way of float: the same to a few hundred ns.
    assert max(abs(times[0][data] - times[1][data]) for data in times[0]) < 1000
    rows = [[(row.symbol, row.channel, row.frames, row.complete) for row in coverage.of_root(tmp_path / name)] for name in "ab"]
    assert rows[0] == rows[1] and all(complete for *_, complete in rows[0])
    depths = [symbol for symbol, channel, *_ in rows[0] if channel.startswith("depth")]
    proven = [symbol for symbol in depths if book.at(tmp_path / "b", venue, symbol).proven]
    assert proven == depths


@pytest.mark.captures
def test_recordings_of_another_exchange_or_product_are_refused(tmp_path: Path) -> None:
    root = captures() / "binance"
    with pytest.raises(FormatError, match=r"recording of api\.binance\.us, which is neither binance_usdm"):
        run(tmp_path, "cryptofeed", "binance_usdm", root / "cryptofeed/us-2021-10-11/frames.ndjson.zst")
    with pytest.raises(FormatError, match="import it with --venue binance_usdm"):
        run(tmp_path, "cryptofeed", "binance_spot", root / "cryptofeed/usdm-2021-07-22/frames.ndjson.zst")
    with pytest.raises(FormatError, match="import it with --venue binance_spot"):
        run(tmp_path, "hftbacktest", "binance_usdm", root / "hftbacktest-2024-08/spot/btcusdt_20240808.gz")
    assert left(tmp_path) == []


@pytest.mark.captures
def test_binance_us_speaks_as_spot_but_shares_no_root_with_it(tmp_path: Path) -> None:
    root = captures() / "binance/cryptofeed"
    us, com = root / "us-2021-10-11/frames.ndjson.zst", root / "spot-2021-10-11/frames.ndjson.zst"
    run(tmp_path / "us", "cryptofeed", "binance_spot", us)
    assert tape(tmp_path / "us")[0].fields["origin"] == "binance.us"
    rows = coverage.of_root(tmp_path / "us")
    assert sum(row.frames for row in rows) == 480 and all(row.complete for row in rows)
    assert book.at(tmp_path / "us", "binance_spot", "COMP-USDT").proven
    before = left(tmp_path / "us")
    with pytest.raises(SettingsError, match="use a --root for each"):
        run(tmp_path / "us", "cryptofeed", "binance_spot", com)
    assert left(tmp_path / "us") == before
    run(tmp_path / "com", "cryptofeed", "binance_spot", com)
    with pytest.raises(SettingsError, match="use a --root for each"):
        run(tmp_path / "com", "cryptofeed", "binance_spot", us)


def test_the_same_file_is_not_imported_twice(tmp_path: Path) -> None:
    source = hft(tmp_path / "a.gz", [(T, trade(1)), (T + 5, trade(2))])
    other = hft(tmp_path / "b.gz", [(T, trade(3))])
    root = tmp_path / "root"
    run(root, "hftbacktest", "binance_spot", source)
    before = left(root)
    copy = tmp_path / "copy.gz"
    copy.write_bytes(source.read_bytes())
    with pytest.raises(SettingsError, match=r"copy\.gz was imported here already, as raw/binance_spot/import-.*: nothing was done for it"):
        run(root, "hftbacktest", "binance_spot", copy, other)
    assert [line.data for line in tape(root) if line.data].count(trade(1).encode()) == 1
    assert set(before) < set(left(root)) and trade(3).encode() in [line.data for line in tape(root)]
    # Killed after the tape was moved in, before the ledger knew of it.
    (root / "state/imports.jsonl").unlink()
    before = left(root)
    with pytest.raises(SettingsError, match="imported here already"):
        run(root, "hftbacktest", "binance_spot", source)
    assert left(root) == sorted([*before, "state/imports.jsonl"])


def test_times_are_made_strictly_rising_and_what_went_back_is_counted(tmp_path: Path) -> None:
    times = [T, T, T + 10, T + 4, T + 11, T + 11]
    source = hft(tmp_path / "a.gz", [(ns, trade(number)) for number, ns in enumerate(times, 1)])
    (told,) = run(tmp_path / "root", "hftbacktest", "binance_spot", source)
    lines = tape(tmp_path / "root")
    assert told["moved"] == 3
    assert [line.t for line in lines] == sorted({line.t for line in lines})
    assert [line.data for line in lines if line.data] == [trade(number).encode() for number in range(1, 7)]
    assert next(line.fields["moved"] for line in lines if line.mark == "import") == 3


def test_a_recording_over_an_hour_makes_a_segment_for_each_hour(tmp_path: Path) -> None:
    hour = 3_600_000_000_000
    source = hft(tmp_path / "a.gz", [(T + 7 + at * hour // 2, trade(at + 1)) for at in range(5)])
    (told,) = run(tmp_path / "root", "hftbacktest", "binance_spot", source)
    assert [path.rpartition("/")[2] for path in told["files"]] == ["12.jsonl.zst", "13.jsonl.zst", "14.jsonl.zst"]
    lines = tape(tmp_path / "root")
    assert [line.t for line in lines] == sorted({line.t for line in lines})
    (row,) = coverage.of_root(tmp_path / "root")
    assert (row.frames, row.complete) == (5, True)


def test_a_snapshot_before_the_first_frame_gets_the_symbol_of_the_file(tmp_path: Path) -> None:
    snapshot = '{"lastUpdateId":9,"bids":[["1","1"]],"asks":[["2","1"]]}'
    depth = '{"stream":"ethusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"ETHUSDT","U":10,"u":10,"b":[["1.5","4"]],"a":[]}}'
    source = hft(tmp_path / "a.gz", [(T, snapshot), (T + 5, depth)])
    run(tmp_path / "root", "hftbacktest", "binance_spot", source)
    assert next(line.request for line in tape(tmp_path / "root") if line.request) == "GET /api/v3/depth?symbol=ETHUSDT&limit=5000"
    mixed = hft(tmp_path / "b.gz", [(T, trade(1)), (T + 1, snapshot), (T + 2, trade(1, "ethusdt"))])
    with pytest.raises(FormatError, match="nameless snapshot in a file of BTCUSDT and ETHUSDT"):
        run(tmp_path / "other", "hftbacktest", "binance_spot", mixed)


def test_sockets_of_one_recording_keep_their_own_lives(tmp_path: Path) -> None:
    rows = [("open", "wss://stream.binance.com:9443/a", ""), ("open", "wss://stream.binance.com:9443/b", "")]
    rows += [("recv", "wss://stream.binance.com:9443/a", trade(1)), ("recv", "wss://stream.binance.com:9443/b", trade(1))]
    rows += [("open", "wss://stream.binance.com:9443/a", ""), ("recv", "wss://stream.binance.com:9443/a", trade(2))]
    source = tmp_path / "frames.ndjson"
    source.write_text(
        "".join(json.dumps({"ns": T + at, "kind": kind, "url": url, "raw": raw}) + "\n" for at, (kind, url, raw) in enumerate(rows))
    )
    run(tmp_path / "root", "cryptofeed", "binance_spot", source)
    marks = [(line.mark, line.s) for line in tape(tmp_path / "root") if line.mark in ("open", "close")]
    assert marks == [
        ("open", "spot-1"),
        ("open", "spot-2"),
        ("close", "spot-1"),
        ("open", "spot-3"),
        ("close", "spot-2"),
        ("close", "spot-3"),
    ]


@pytest.mark.parametrize("key", ["recv_ns", "t", "ns"])
@pytest.mark.parametrize("body", ["raw", "m", "payload", "data"])
def test_jsonl_takes_text_and_objects_byte_for_byte(tmp_path: Path, key: str, body: str) -> None:
    spaced = trade(2).replace(":", ": ")
    source = tmp_path / "a.jsonl"
    source.write_text(json.dumps({key: T, body: trade(1)}) + "\n" + f'{{"{key}": {T + 9}, "{body}": {spaced}}}\n')
    run(tmp_path / "root", "jsonl", "binance_spot", source)
    assert [line.data for line in tape(tmp_path / "root") if line.data] == [trade(1).encode(), spaced.encode()]


def test_the_briefs_own_polymarket_recording_becomes_windows(tmp_path: Path) -> None:
    tokens = [
        {"outcome": name, "token_id": token, "orderbook": {"bids": [[0.4, 10], [0.45, 5]], "asks": [[0.6, 1], [0.5, 2]]}}
        for name, token in (("Up", "1"), ("Down", "2"))
    ]
    record = {"timestamp": T // 10**6, "market_key": "btc_15m", "market_slug": "btc-updown-15m-1768046400", "tokens": tokens}
    source = tmp_path / "any.jsonl"
    source.write_text("".join(json.dumps(record | {"timestamp": T // 10**6 + second * 1000}) + "\n" for second in range(3)))
    old = tmp_path / "btc-updown-15m-1768047300_1768047300_20260110_121500.jsonl"
    old.write_text(json.dumps({"timestamp": T // 10**6 + 900_000, "tokens": tokens}) + "\n")
    root = tmp_path / "root"
    run(root, "jsonl", "polymarket", source, old)
    assert DataAccessor(root).list_all_windows() == [1768046400, 1768047300]
    data = DataAccessor(root).read_window(1768046400)
    assert data.frames == 3 and data.market["outcomes"] == ["Up", "Down"]
    best = data.books[(data.books["rank"] == 0) & (data.books["outcome"] == "Up")].groupby("side")["price"].unique()
    assert list(best["bid"]) == [0.45] and list(best["ask"]) == [0.5]
    assert book.at(root, "polymarket", "btc-updown-15m-1768046400/Down").bids[0] == ("0.45", "5.0")
    changed = tmp_path / "more.jsonl"
    changed.write_text(source.read_text() + json.dumps(record) + "\n")
    with pytest.raises(SettingsError, match="a window is one file"):
        run(root, "jsonl", "polymarket", changed)


_BAD = {
    "empty": b"",
    "text": b"hello\n",
    "binary": bytes(range(256)) * 4,
    "torn gzip": gzip.compress(b"1723161253937085768 {}\n" * 5000)[:-40],
    "damaged gzip": gzip.compress(os.urandom(4000))[:200] + b"\xff" * 400,
    "torn zstd": zstandard.compress(b'{"ns":1768046400000000000,"kind":"recv","url":"","raw":"{}"}\n' * 9000)[:-30],
    "no time": b'{"raw":"{}"}\n',
    "NaN": b'{"recv_ns":"NaN","raw":"{}"}\n',
    "no frame": b'{"recv_ns":1768046400000000000}\n',
    "bare trade": b'{"e":"trade","t":5,"m":true}\n',
    "torn line": f"{T} {trade(1)}\n{T + 1} {trade(2)[:20]}".encode(),
    "kind": b'{"ns":1768046400000000000,"kind":"what","raw":""}\n',
    "address": b'{"ns":1768046400000000000,"kind":"open","url":"wss://[x","raw":""}\n',
    "time 0": b'{"ns":0,"kind":"recv","url":"","raw":"{}"}\n',
}


@pytest.mark.parametrize("name", _BAD)
@pytest.mark.parametrize("kind", ["hftbacktest", "cryptofeed", "jsonl"])
def test_a_bad_file_is_one_line_and_leaves_nothing(tmp_path: Path, name: str, kind: str) -> None:
    source = tmp_path / "x.1.bin"
    source.write_bytes(_BAD[name])
    root = tmp_path / "root"
    with pytest.raises(TapeError) as caught:
        run(root, kind, "binance_spot", source)
    assert "\n" not in str(caught.value) and "x.1.bin" in str(caught.value)
    assert left(root) == []


def test_a_bad_line_late_in_a_long_file_leaves_nothing(tmp_path: Path) -> None:
    source = hft(tmp_path / "a.gz", [(T + at, trade(at + 1)) for at in range(3000)])
    source.write_bytes(gzip.compress(gzip.decompress(source.read_bytes()) + b"what\n"))
    with pytest.raises(FormatError, match="line 3001"):
        run(tmp_path / "root", "hftbacktest", "binance_spot", source)
    assert left(tmp_path / "root") == []


def test_a_second_zstd_frame_that_has_no_end_is_told(tmp_path: Path) -> None:
    line = json.dumps({"ns": T, "kind": "recv", "url": "wss://stream.binance.com/x", "raw": trade(1)}).encode() + b"\n"
    source = tmp_path / "a.zst"
    source.write_bytes(zstandard.compress(line) + zstandard.compress(line * 100)[:12])
    with pytest.raises(FormatError, match="is torn"):
        run(tmp_path / "root", "cryptofeed", "binance_spot", source)
    assert left(tmp_path / "root") == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), value=st.binary(max_size=8), kind=st.sampled_from(["hftbacktest", "cryptofeed", "jsonl"]))
def test_a_mutated_file_is_imported_or_refused_never_a_traceback(tmp_path: Path, at: int, value: bytes, kind: str) -> None:
    content = {
        "hftbacktest": "".join(f"{T + n} {trade(n)}\n" for n in range(1, 9)),
        "cryptofeed": "".join(
            json.dumps({"ns": T + n, "kind": "recv", "url": "wss://stream.binance.com/x", "raw": trade(n)}) + "\n" for n in range(1, 9)
        ),
        "jsonl": "".join(json.dumps({"recv_ns": T + n, "raw": trade(n)}) + "\n" for n in range(1, 9)),
    }[kind].encode()
    at %= len(content)
    source = tmp_path / "m"
    source.write_bytes(content[:at] + value + content[at + len(value) :])
    root = tmp_path / "root"
    try:
        import_recording([source], kind, "binance_spot", root)
    except TapeError as error:
        assert "\n" not in str(error)
    assert [name for name in left(root) if ".import-" in name] == []
    for line in tape(root):
        assert line.t > 0


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'cryptofeed'"):
        run(tmp_path, "cryptofed", "binance_spot", tmp_path)
    with pytest.raises(SettingsError, match="did you mean"):
        run(tmp_path, "jsonl", "binance_spt", tmp_path)
    with pytest.raises(NotFound, match="is not there"):
        run(tmp_path, "jsonl", "binance_spot", tmp_path / "none")
