"""The book at a time, against a plain reconstruction and across segments, tapes and sockets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tape_access import book
from tape_access.commands.book import command
from tape_archive.format.errors import NotFound, SettingsError
from tape_archive.format.lines import frame_line, mark_line
from tape_archive.format.tape import FileTape
from tape_collectors.importing.tapes import import_recording
from tests.support import plain
from tests.support.captures import captures
from tests.support.tapes import NOON, Writer


@pytest.mark.captures
@pytest.mark.parametrize("venue, name", [("binance_usdm", "usdm/ethusdt_20240808.gz"), ("binance_spot", "spot/btcusdt_20240808.gz")])
def test_an_imported_book_equals_a_plain_reconstruction(tmp_path: Path, venue: str, name: str) -> None:
    path = captures() / "binance/hftbacktest-2024-08" / name
    import_recording([path], "hftbacktest", venue, tmp_path)
    symbol = path.name.partition("_")[0]
    begin = plain.hftbacktest(path)[0][0]
    for after in (2, 60, 200, 320):
        at = begin + after * 1_000_000_000
        view = book.at(tmp_path, venue, symbol, at, 50)
        bids, asks = plain.book(path, at, 50)
        assert view.proven and view.t <= at
        assert [list(level) for level in view.bids] == bids
        assert [list(level) for level in view.asks] == asks
    end = book.at(tmp_path, venue, symbol, 0, 20)
    assert ([list(level) for level in end.bids], [list(level) for level in end.asks]) == plain.book(path, 1 << 62, 20)


def _sound(tape: Writer, at: float = 0, s: str = "spot-1", symbol: str = "BTCUSDT") -> None:
    tape.open(at + 1, s)
    tape.depth(at + 2, 10, 10, s, symbol=symbol)
    tape.snapshot(at + 3, 10, [["100", "1"], ["99", "2"]], [["101", "3"]], symbol)


def test_a_gap_loses_the_book_until_the_next_snapshot(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    _sound(tape)
    tape.depth(4, 11, 11, bids=[["100", "5"]])
    tape.depth(5, 13, 13)
    tape.depth(6, 14, 14)
    tape.snapshot(7, 14, [["90", "1"]], [["91", "1"]])
    tape.seal(9)
    assert book.at(tmp_path, "binance_spot", "BTCUSDT", tape.ns(4)).bids == [("100", "5"), ("99", "2")]
    lost = book.at(tmp_path, "binance_spot", "BTCUSDT", tape.ns(6))
    assert (lost.proven, lost.bids, lost.why) == (False, [], "gap in the depth stream")
    assert book.at(tmp_path, "binance_spot", "BTC/USDT", tape.ns(8)).bids == [("90", "1")]


def test_hours_without_a_checkpoint_are_read_from_the_head_of_the_run(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    _sound(tape)
    tape.turn(3600)
    tape.depth(3601, 11, 11, bids=[["100", "7"]])
    tape.turn(7200)
    tape.depth(7201, 12, 12, asks=[["101", "0"], ["102", "1"]])
    tape.seal(7300)
    view = book.at(tmp_path, "binance_spot", "BTCUSDT")
    assert (view.bids, view.asks) == ([("100", "7"), ("99", "2")], [("102", "1")])


def test_a_checkpoint_spares_what_is_before_it(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    _sound(tape)
    tape.turn(3600)
    state = {"last": 10, "last_t": tape.ns(2), "live": True, "joining": 0, "channel": "depth@100ms"}
    levels = {"book": [tape.ns(3), 0, 10], "bids": [["77", "1"]], "asks": [["78", "1"]]}
    tape.mark(3600.001, "spot-1", "book", symbol="BTCUSDT", ids={}, state=state, **levels)
    tape.depth(3601, 11, 11, bids=[["76", "1"]])
    tape.seal(3700)
    # The levels differ from the first hour's on purpose: they tell where the reader began.
    assert book.at(tmp_path, "binance_spot", "BTCUSDT").bids == [("77", "1"), ("76", "1")]


def test_tapes_of_one_venue_are_read_by_time(tmp_path: Path) -> None:
    first = Writer(tmp_path, stream="import-a", run="a")
    _sound(first)
    first.close(50)
    first.seal(51)
    second = Writer(tmp_path, stream="import-b", run="b", at=10)
    _sound(second, 20, symbol="ETHUSDT")
    second.close(70)
    second.seal(71)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert book.at(tmp_path, "binance_spot", symbol, first.ns(40)).proven
        assert book.at(tmp_path, "binance_spot", symbol).proven, "the last book of a recording that ended"
    assert not book.at(tmp_path, "binance_spot", "BTCUSDT", first.ns(60)).proven


def _window(path: Path, lines: list[tuple[str, dict[str, object] | None, str]]) -> None:
    tape = FileTape(path)
    window = {"slug": path.stem, "tokens": ["111", "222"], "outcomes": ["Up", "Down"]}
    tape.append(mark_line(NOON, "tape", "tape", {"format": 1, "run": "r", "window": window}), 1)
    for number, (s, data, mark) in enumerate(lines, 1):
        t = NOON + number
        made = mark_line(t, s, mark, {"why": ""}) if mark else frame_line(t, s, json.dumps(data).encode())
        tape.append(made, 1)
    tape.seal(NOON + 1000)


def _snapshot(at: int, bids: list[tuple[str, str]]) -> dict[str, object]:
    levels = [{"price": price, "size": size} for price, size in bids]
    asks = [{"price": "0.9", "size": "1"}]
    return {"event_type": "book", "asset_id": "111", "market": "m", "timestamp": str(at), "hash": str(at), "bids": levels, "asks": asks}


def _change(at: int, price: str, size: str) -> dict[str, object]:
    leg = {"asset_id": "111", "price": price, "size": size, "side": "BUY", "hash": "h", "best_bid": "", "best_ask": ""}
    return {"event_type": "price_change", "market": "m", "timestamp": str(at), "price_changes": [leg]}


def test_a_window_whose_frames_came_from_two_sockets_has_one_book(tmp_path: Path) -> None:
    lines = [
        ("clob-1", None, "open"),
        ("clob-2", None, "open"),
        ("clob-1", _snapshot(1000, [("0.4", "10")]), ""),
        ("clob-2", _change(1001, "0.5", "20"), ""),
        ("clob-1", _change(1002, "0.45", "30"), ""),
        ("clob-1", None, "close"),
        ("clob-2", _change(1003, "0.4", "0"), ""),
    ]
    slug = "btc-updown-15m-1768046400"
    _window(tmp_path / "real_hot" / f"{slug}.jsonl", lines)
    for symbol in (slug, f"{slug}/up", "111"):
        view = book.at(tmp_path, "polymarket", symbol)
        assert view.proven
        assert [(float(p), float(s)) for p, s in view.bids] == [(0.5, 20), (0.45, 30)]
    with pytest.raises(SettingsError, match="no outcome 'Left'"):
        book.at(tmp_path, "polymarket", f"{slug}/Left")
    with pytest.raises(NotFound, match="did you mean 'btc-updown-15m-1768046400'"):
        book.at(tmp_path, "polymarket", "btc-updown-15m-1768046401")


def test_the_command(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    _sound(tape)
    tape.seal(9)
    arguments = ["--root", str(tmp_path), "--venue", "binance", "--symbol", "btc-usdt", "--depth", "1", "--json"]
    done = CliRunner().invoke(command, [*arguments, "--at", "2026-01-10T12:00:05Z"], standalone_mode=False)
    shown = json.loads(done.output)
    assert list(shown) == ["venue", "symbol", "t", "proven", "bids", "asks"]
    assert (shown["symbol"], shown["proven"], shown["bids"], shown["asks"]) == ("BTCUSDT", True, [["100", "1"]], [["101", "3"]])
    for at in (str(NOON // 10**9 + 5), str(NOON // 10**6 + 5000), str(NOON + 5 * 10**9)):
        again = CliRunner().invoke(command, [*arguments, "--at", at], standalone_mode=False)
        assert json.loads(again.output) == shown
    with pytest.raises(NotFound, match="did you mean 'BTCUSDT'"):
        book.at(tmp_path, "binance_spot", "BTCUSD")
    with pytest.raises(NotFound, match="before that time"):
        book.at(tmp_path, "binance_spot", "BTCUSDT", 1)
